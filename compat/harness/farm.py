"""The real gateway (`moongate run`) with simulated printers in processes of their own, each behind wires of its own."""

import json
import os
import pty as _pty  # noqa: F401 - fails early where there are no terminals
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from harness import process
from harness.demo import binary
from harness.moonraker import Moonraker, http
from harness.simulator import Simulator
from harness.waiting import wait_for
from harness.wire import Wires

LIFETIME = 3600
KINDS = {"cc1": "elegoo_cc1", "cc2": "elegoo_cc2"}
# Port key of the configuration by service of the simulator; and whether it is UDP.
SERVICES = {
    "bambu": {"mqtt": "mqtt_port", "ftps": "ftps_port", "detect": "detect_port", "camera": "camera_port"},
    "elegoo_cc1": {"websocket": "websocket_port", "http": "http_port", "camera": "camera_port",
                   "discovery": "discovery_port"},
    "elegoo_cc2": {"mqtt": "mqtt_port", "http": "http_port", "camera": "camera_port", "discovery": "discovery_port"},
}


def address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class SimulatedPrinter:
    """One simulator process, the wires to it, and what the gateway shows of it."""

    def __init__(self, name, speed, label):
        self.name = name
        self.kind = KINDS.get(name, "bambu")
        self.speed = speed
        self.label = label
        self.wires = Wires()
        self.port = process.free_port()
        self.link = None
        self._process = None
        self.start()

    def start(self, *extra):
        command = [binary(), "simulate", self.name, "--speed", self.speed, "--seconds", LIFETIME, *extra]
        self._process = process.start(command, f"{self.label}-{self.name}.log", stdout=subprocess.PIPE)
        line = json.loads(self._process.stdout.readline())
        self.told = line
        self.lead()

    def lead(self):
        """Wires to each service, those that exist keep their ports."""
        places = self.told["addresses"]
        self.control = Simulator(*address(places["control"]))
        self.ports = {
            key: self.wires.lead(service, address(places[service]), datagrams=service == "discovery")
            for service, key in SERVICES[self.kind].items() if places.get(service)
        }

    def stop(self):
        process.stop(self._process)
        self._process.stdout.close()
        self.wires.close()

    def configuration(self):
        lines = ["[[printer]]", f'name = "{self.name}"', f'kind = "{self.kind}"', 'host = "127.0.0.1"',
                 f"moonraker_port = {self.port}"]
        if self.kind != "elegoo_cc1":
            lines.append(f'access_code = "{self.told["access_code"]}"')
        if self.kind == "bambu":
            lines.append(f'serial = "{self.told["serial"]}"')
        return "\n".join(lines + [f"{key} = {port}" for key, port in self.ports.items()]) + "\n"

    # What a test does to it, in the words of each simulator.

    def power_off(self):
        if self.kind == "bambu":
            self.control.fault("power_cut", seconds=3600)
        else:
            self.control.fault("power_cut")

    def power_on(self):
        if self.kind == "bambu":
            self.control.fault("power_cut", seconds=0.1)
        else:
            self.control.fault("power_on")

    def drop(self):
        self.control.fault("drop_link" if self.kind == "bambu" else "drop")

    def mend(self):
        """Everything that was made wrong at the printer is right again, and it has power."""
        if self.kind == "bambu":
            self.control.fault("access_code", code=self.told["access_code"])
            self.control.fault("slow_ftp", bytes_per_second=0)
            self.control.fault("full_disk", on=False)
        else:
            self.control.fault("slow", millis=0)
            self.control.fault("refuse", on=False)
            self.control.fault("disk_full", on=False)
        if self.kind == "elegoo_cc2":
            self.control.fault("wrong_code", on=False)
        if not self.ready():
            self.power_on()

    def publish(self, text):
        self.control.fault("publish", text=text)

    def slow_files(self, slow):
        """Transfers to the printer take long, or the usual time again."""
        if self.kind == "bambu":
            self.control.fault("slow_ftp", bytes_per_second=20000 if slow else 0)
        else:
            self.control.fault("slow", millis=3000 if slow else 0)

    def truth(self):
        return self.control.truth()

    def starts(self):
        """Prints that this printer really began."""
        truth = self.truth()
        return truth["counters"]["jobs_started"] if self.kind == "bambu" else truth["starts_accepted"]

    # What the front ends show.

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def moonraker(self, **options):
        return Moonraker(self.url, **options)

    def info(self):
        return http("GET", f"{self.url}/server/info").json()["result"]

    def ready(self):
        return self.info()["klippy_state"] == "ready"

    def stats(self):
        answer = http("GET", f"{self.url}/printer/objects/query?print_stats&virtual_sdcard&webhooks").json()
        return answer["result"]["status"] if "result" in answer else {}

    def print_state(self):
        return self.stats()["print_stats"]["state"]

    def octoprint(self, path):
        return http("GET", f"{self.url}/api/{path}")

    def history(self):
        with self.moonraker() as client:
            return client.call("server.history.list", {"limit": 1000})["jobs"]

    def files(self):
        with self.moonraker() as client:
            paths = {f["path"] for f in client.call("server.files.list", {"root": "gcodes"})}
            # What lies on the printer itself appears below this folder as it is listed.
            return {path for path in paths if not path.startswith("printer/")}

    def cube(self):
        """The file that every library of a farm begins with."""
        return "cube.gcode"

    def start_print(self, file="cube.gcode", seconds=60):
        with self.moonraker() as client:
            client.call("printer.print.start", {"filename": file}, seconds)

    def until_printing(self, seconds=90):
        """Until the machine itself is at the print, whose file has arrived."""
        def printing():
            truth = self.truth()
            machine = truth["gcode_state"] if self.kind == "bambu" else truth["stage"]
            return machine in ("RUNNING", "Printing") and self.print_state() == "printing"
        wait_for(printing, f"{self.name} prints", seconds)


class Serial:
    """The virtual serial port as a terminal program sees it."""

    def __init__(self, path):
        self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def send(self, line):
        os.write(self._file, line.encode() + b"\n")

    def read_until(self, ends, seconds=10.0):
        """Lines up to one for which `ends` holds."""
        deadline, text = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._file], [], [], 0.2)
            if ready:
                try:
                    text += os.read(self._file, 65536).decode(errors="replace")
                except BlockingIOError:
                    continue
            lines = text.splitlines()
            if any(ends(line) for line in lines):
                return lines
        return text.splitlines()

    def ask(self, line, seconds=10.0):
        self.send(line)
        return self.read_until(lambda answer: answer.startswith(("ok", "Error", "!!")), seconds)

    def close(self):
        os.close(self._file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Farm:
    """Simulators, wires and one gateway on free ports; the gateway can be stopped, killed and started anew."""

    def __init__(self, names=("p1s", "cc1", "cc2"), speed=20, label="farm", gateway="", access="", printer="",
                 environment=None, state=None, wrapper=()):
        self.label = label
        self.folder = Path(tempfile.mkdtemp(prefix="moongate-trust-"))
        self.state = Path(state) if state else self.folder / "state"
        self.runtime = self.folder / "run"
        self.gateway_port = process.free_port()
        self.extra = (gateway, access, printer)
        self.environment = environment or {}
        self.wrapper = list(wrapper)
        self.printers = [SimulatedPrinter(name, speed, label) for name in names]
        self.config = self.folder / "moongate.toml"
        self._process = None
        self._seed()

    def __getitem__(self, name):
        return next(p for p in self.printers if p.name == name)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.gateway_port}"

    def _seed(self):
        """The sample of the demo, for each printer in its own form."""
        for printer in self.printers:
            folder = self.state / "library" / printer.name / "gcodes"
            folder.mkdir(parents=True, exist_ok=True)
            name, content = samples()[printer.name]
            (folder / name).write_bytes(content)

    def write_configuration(self):
        gateway, access, printer = self.extra
        text = (f'[gateway]\nport = {self.gateway_port}\nstate_dir = "{self.state}"\nruntime_dir = "{self.runtime}"\n'
                f"{gateway}\n[access]\n{access}\n")
        self.config.write_text(text + "".join(p.configuration() + printer + "\n" for p in self.printers))
        self.config.chmod(0o600)

    def start(self, online=True):
        self.write_configuration()
        self._process = process.start(
            [*self.wrapper, binary(), "run", "--config", self.config], f"{self.label}.log",
            env={"XDG_RUNTIME_DIR": str(self.folder), "RUST_BACKTRACE": "1", **self.environment},
        )
        if online:
            wait_for(self._up, "the gateway is up", 30)
            wait_for(lambda: all(p.ready() for p in self.printers), "all printers are online", 60)
        for printer in self.printers:
            printer.link = self.runtime / printer.name
        return self

    def _up(self):
        assert self._process.poll() is None, f"the gateway ended with {self._process.poll()}; see {self.log}"
        return http("GET", f"{self.url}/readyz").ok

    @property
    def log(self):
        return process.LOGS / f"{self.label}.log"

    @property
    def pid(self):
        return self._process.pid

    def alive(self):
        return self._process.poll() is None

    def memory(self):
        """Resident bytes of the gateway."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def status(self, name):
        printers = http("GET", f"{self.url}/status").json()["printers"]
        return next(p for p in printers if p["name"] == name)

    def kill(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def terminate(self, patience=15.0):
        """The exit code and the seconds it took."""
        began = time.monotonic()
        code = process.stop(self._process, patience)
        return code, time.monotonic() - began

    def restart(self):
        self.terminate()
        return self.start()

    def shown(self, name, serial=True):
        """What each front end shows of a printer, side by side."""
        printer, status = self[name], self.status(name)
        info = printer.info()
        view = {
            "klippy": info["klippy_state"],
            "message": http("GET", f"{printer.url}/printer/info").text,
            "octoprint": printer.octoprint("connection").json()["current"]["state"],
            "octoprint_printer": printer.octoprint("printer").status_code,
            "link": status["link"],
            "fault": (status["link_fault"] or {}).get("code"),
            "remedy": (status["link_fault"] or {}).get("remedy"),
            "phase": status["job"]["phase"],
            "camera": http("GET", f"{printer.url}/webcam/?action=snapshot", 20).status_code,
        }
        if serial:
            with Serial(printer.link) as port:
                view["serial"] = port.ask("M105")
        return view

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            process.stop(self._process)
        for printer in self.printers:
            printer.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()


_SAMPLES = {}


def samples():
    """The files of the demo's libraries, by printer: (name, content)."""
    if not _SAMPLES:
        from harness.demo import Demo
        with Demo(100, "samples", printers=["p1s", "h2d", "cc1", "cc2"], lifetime=120) as demo:
            for printer in demo.printers:
                with Moonraker(printer.url) as client:
                    names = [f["path"] for f in client.call("server.files.list", {"root": "gcodes"})]
                name = next((n for n in names if n.endswith(".3mf")), "cube.gcode")
                if printer.kind == "bambu":
                    name = "cube.gcode.3mf"
                content = http("GET", f"{printer.url}/server/files/gcodes/{name}").content
                _SAMPLES[printer.name] = (name, content)
    return _SAMPLES
