"""One simulated printer by itself (`moongate simulate`), for clients that speak the vendor's own protocol."""

import json
import socket
import subprocess
import threading
from contextlib import contextmanager

from harness import process
from harness.demo import binary
from harness.simulator import Simulator

# A simulator nobody stops ends by itself after this many seconds.
LIFETIME = 600
START_SECONDS = 30


class SimulatedPrinter:
    """A running simulator: what its first line tells, and its control port."""

    def __init__(self, child, told):
        self.child = child
        self.model = told["model"]
        self.serial = told.get("serial", "")
        self.access_code = told.get("access_code", "")
        self.addresses = {name: split(text) for name, text in told["addresses"].items() if text}

    def control(self):
        return Simulator(*self.addresses["control"])

    @property
    def host(self):
        return self.addresses["mqtt"][0]


def split(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


@contextmanager
def simulated(model, *options, speed=30):
    """Runs a simulated printer on free ports inside this block."""
    command = [binary(), "simulate", model, "--speed", speed, "--seconds", LIFETIME, *options]
    child = process.start(command, f"simulate-{model}.log", stdout=subprocess.PIPE)
    try:
        lines = []
        reader = threading.Thread(target=lambda: lines.append(child.stdout.readline()), daemon=True)
        reader.start()
        reader.join(START_SECONDS)
        assert lines and lines[0], f"{binary()} simulate {model} said nothing; see {process.LOGS}"
        yield SimulatedPrinter(child, json.loads(lines[0]))
    finally:
        process.stop(child)
        child.stdout.close()


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
