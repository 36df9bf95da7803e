"""One simulated printer in a process of its own (`moongate simulate`): it lives on whatever becomes of a gateway."""

import json
import socket
import subprocess
import threading
from contextlib import contextmanager

from harness import process
from harness.process import binary
from harness.simulator import Simulator

# A simulator nobody stops ends by itself after this many seconds.
LIFETIME = 1800
START_SECONDS = 30
KINDS = {"cc1": "elegoo_cc1", "cc2": "elegoo_cc2"}
# Keys of the configuration, by the names of the services in the simulator's first line.
PORTS = {service: f"{service}_port"
         for service in ("mqtt", "ftps", "detect", "camera", "rtsp", "websocket", "http", "discovery")}


def split(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class SimulatedPrinter:
    """A running simulator: what its first line tells, its control port, and its faults in one set of words."""

    def __init__(self, model, speed=20, label="simulated", seconds=LIFETIME, options=()):
        self.name = self.model = model
        self.kind = KINDS.get(model, "bambu")
        self.bambu = self.kind == "bambu"
        command = [binary(), "simulate", model, "--speed", speed, "--seconds", seconds, *options]
        log = f"{label}-{model}.log"
        self._process = process.start(command, log, stdout=subprocess.PIPE)
        self.told = self._first_line(log)
        self.serial = self.told.get("serial", "")
        self.access_code = self.told.get("access_code", "")
        self.addresses = {name: split(text) for name, text in self.told["addresses"].items() if text}
        self.control = Simulator(*self.addresses["control"])

    def _first_line(self, log):
        lines, arrived = [], threading.Event()

        def read(stream):
            lines.append(stream.readline())
            arrived.set()
            stream.read()
        threading.Thread(target=read, args=(self._process.stdout,), daemon=True).start()
        if not arrived.wait(START_SECONDS) or not lines[0]:
            process.stop(self._process)
            raise RuntimeError(f"{binary()} simulate {self.model} said nothing; see {process.LOGS / log}")
        return json.loads(lines[0])

    @property
    def host(self):
        return self.addresses["mqtt"][0]

    def ports(self):
        """Where a gateway finds its services, by the keys of a configuration."""
        ports = {PORTS[service]: port for service, (_, port) in self.addresses.items() if service in PORTS}
        # A Bambu printer has one of two kinds of camera, and tells one address.
        return {**ports, "rtsp_port": ports["camera_port"]} if self.bambu else ports

    def keys(self):
        """The keys of its [[printer]] table."""
        secret = {key: self.told[key] for key in ("serial", "access_code") if self.told.get(key)}
        return {"name": self.model, "kind": self.kind, "host": "127.0.0.1", **secret, **self.ports()}

    def truth(self):
        return self.control.truth()

    def starts(self):
        """Start commands it received, whatever became of them."""
        truth = self.truth()
        return truth["counters"]["project_files"] if self.bambu else truth["starts_received"]

    def begun(self):
        """Prints that it really began."""
        truth = self.truth()
        return truth["counters"]["jobs_started"] if self.bambu else truth["starts_accepted"]

    def busy(self):
        """A job of any kind is under way at the printer."""
        truth = self.truth()
        if self.bambu:
            return truth["gcode_state"] in ("PREPARE", "SLICING", "RUNNING", "PAUSE")
        return truth["stage"] not in ("Idle", "Finished", "Cancelled", "Failed", "Stopped")

    def power_off(self):
        self.control.fault("power_cut", **({"seconds": 3600} if self.bambu else {}))

    def power_on(self):
        if self.bambu:
            # It is on again once the time of the cut is over.
            self.control.fault("power_cut", seconds=0.1)
        else:
            self.control.fault("power_on")

    def drop(self):
        """It ends every connection, as a service that is started anew."""
        self.control.fault("drop_link" if self.bambu else "drop")

    def slow_files(self, slow, bytes_per_second=20000, millis=3000):
        """Transfers to it take long, by the rate or by the chunk, or the usual time again."""
        if self.bambu:
            self.control.fault("slow_ftp", bytes_per_second=bytes_per_second if slow else 0)
        else:
            self.control.fault("slow", millis=millis if slow else 0)

    def blink(self):
        """It loses its power and is back at once."""
        if self.bambu:
            self.control.fault("power_cut", seconds=0.5)
        else:
            self.power_off()
            self.power_on()

    def disk_full(self, full):
        self.control.fault("full_disk" if self.bambu else "disk_full", on=full)

    def mend(self):
        """Everything that was made wrong is right again."""
        self.slow_files(False)
        self.disk_full(False)
        if self.bambu:
            self.control.fault("access_code", code=self.access_code)
        else:
            self.control.fault("refuse", on=False)
        if self.kind == "elegoo_cc2":
            self.control.fault("wrong_code", on=False)

    def publish(self, text):
        self.control.fault("publish", text=text)

    def stop(self):
        process.stop(self._process)
        self._process.stdout.close()


@contextmanager
def simulated(model, *options, speed=30):
    """A simulated printer inside this block, for clients that speak the vendor's own protocol."""
    printer = SimulatedPrinter(model, speed, "simulate", options=options)
    try:
        yield printer
    finally:
        printer.stop()


@contextmanager
def redirected(printer, ports):
    """Connections to the vendor's fixed ports of this printer go to the ports the simulator has instead.

    `ports` maps the number a client uses to the name of the address in the simulator's first line.
    """
    real = socket.create_connection
    moved = {number: printer.addresses[name] for number, name in ports.items() if name in printer.addresses}

    def connect(address, *arguments, **options):
        host, port = address[0], address[1]
        return real(moved.get(port, (host, port)), *arguments, **options)

    socket.create_connection = connect
    try:
        yield
    finally:
        socket.create_connection = real
