"""One simulated printer in a process of its own, and a gateway in front of it that can be killed and started again."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

from harness import process
from harness.demo import binary
from harness.moonraker import Moonraker, http
from harness.simulator import Simulator
from harness.waiting import wait_for

# A farm nobody stops ends by itself after this many seconds.
LIFETIME = 1500
START_SECONDS = 60
KINDS = {"cc1": "elegoo_cc1", "cc2": "elegoo_cc2"}


def port_of(address):
    return int(address.rsplit(":", 1)[1])


class SimulatedPrinter:
    """`moongate simulate MODEL`: it lives on when the gateway is killed."""

    def __init__(self, model, speed=20, label="simulated", seconds=LIFETIME):
        self.model = model
        self.kind = KINDS.get(model, "bambu")
        command = [binary(), "simulate", model, "--speed", speed, "--seconds", seconds]
        self._process = process.start(command, f"{label}-{model}.log", stdout=subprocess.PIPE)
        self.told = json.loads(self._process.stdout.readline())
        threading.Thread(target=self._process.stdout.read, daemon=True).start()
        host, port = self.told["addresses"]["control"].rsplit(":", 1)
        self.control = Simulator(host, int(port))

    def config(self):
        """Its part of a gateway's configuration."""
        lines = [f'[[printer]]\nname = "{self.model}"\nkind = "{self.kind}"\nhost = "127.0.0.1"']
        names = {"mqtt": "mqtt_port", "ftps": "ftps_port", "detect": "detect_port", "camera": "camera_port",
                 "websocket": "websocket_port", "http": "http_port", "discovery": "discovery_port"}
        for name, address in self.told["addresses"].items():
            if name in names and address:
                lines.append(f"{names[name]} = {port_of(address)}")
            # A printer has one of the two cameras.
            if name == "camera" and self.kind == "bambu":
                lines.append(f"rtsp_port = {port_of(address)}")
        for name in ("serial", "access_code"):
            if name in self.told:
                lines.append(f'{name} = "{self.told[name]}"')
        return "\n".join(lines) + "\n"

    def truth(self):
        return self.control.truth()

    def starts(self):
        """Start commands it received, whatever became of them."""
        truth = self.truth()
        return truth["counters"]["project_files"] if self.kind == "bambu" else truth["starts_received"]

    def busy(self):
        """A job of any kind is under way at the printer."""
        truth = self.truth()
        if self.kind == "bambu":
            return truth["gcode_state"] in ("PREPARE", "SLICING", "RUNNING", "PAUSE")
        return truth["stage"] not in ("Idle", "Finished", "Cancelled", "Failed", "Stopped")

    def stop(self):
        process.stop(self._process)
        self._process.stdout.close()


class Gateway:
    """`moongate run` with a configuration of its own; state and files outlive `kill`."""

    def __init__(self, printer, label="gateway", folder=None, settings="", printer_settings=""):
        self.printer = printer
        self.label = label
        self.folder = Path(folder or tempfile.mkdtemp(prefix="moongate-files-"))
        self.state = self.folder / "state"
        self.runtime = self.folder / "run"
        self.runtime.mkdir(parents=True, exist_ok=True)
        self.port, self.moonraker_port = process.free_port(), process.free_port()
        self.config = self.folder / "moongate.toml"
        self.config.write_text(
            f'[gateway]\nport = {self.port}\nstate_dir = "{self.state}"\nruntime_dir = "{self.runtime}"\n{settings}\n'
            f"{printer.config()}moonraker_port = {self.moonraker_port}\n{printer_settings}\n"
        )
        self.config.chmod(0o600)
        self._process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.moonraker_port}"

    @property
    def library(self):
        return self.state / "library" / self.printer.model / "gcodes"

    def start(self, online=True):
        self._process = process.start([binary(), "run", "--config", self.config, "--log", "info"],
                                      f"{self.label}-{self.printer.model}.log",
                                      env={"XDG_RUNTIME_DIR": str(self.runtime), "RUST_BACKTRACE": "1"})
        wait_for(lambda: http("GET", f"{self.url}/server/info").ok, "gateway answers", START_SECONDS)
        if online:
            self.wait_online()
        return self

    def wait_online(self, seconds=START_SECONDS):
        wait_for(lambda: self.get("/server/info")["klippy_state"] == "ready", "printer online", seconds)

    def kill(self):
        """Pulls the plug: nothing of the process runs on."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def stop(self):
        if self._process is not None:
            process.stop(self._process, first=signal.SIGINT)
            self._process = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self):
        return self._process.pid

    def memory(self):
        """(resident, highest resident) in MiB."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Vm")}
        return values["VmRSS"], values["VmHWM"]

    def forget_peak(self):
        """Begins to measure the highest resident memory anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def get(self, path):
        answer = http("GET", self.url + path)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()["result"]

    def post(self, path, **options):
        return http("POST", self.url + path, seconds=150, **options)

    def upload(self, name, content, **fields):
        """As Mainsail does it; the answer is the caller's to look at."""
        return self.post("/server/files/upload", data={"root": "gcodes", **fields}, files={"file": (name, content)})

    def query(self, *objects):
        return self.get("/printer/objects/query?" + "&".join(objects))["status"]

    def print_state(self):
        return self.query("print_stats")["print_stats"]["state"]

    def until_state(self, *wanted, seconds=90):
        return wait_for(lambda: (state := self.print_state()) in wanted and state, f"one of {wanted}", seconds)

    def history(self):
        return self.get("/server/history/list?limit=50&order=desc")["jobs"]

    def status(self):
        """The gateway's own view of the printer."""
        answer = http("GET", f"http://127.0.0.1:{self.port}/status")
        return next(p for p in answer.json()["printers"] if p["name"] == self.printer.model)

    def phase(self):
        return self.status()["job"]["phase"]

    def until_phase(self, *wanted, seconds=90, every=0.02):
        return wait_for(lambda: (phase := self.phase()) in wanted and phase, f"one of {wanted}", seconds, every)

    def printer_files(self):
        """Names on the printer's own storage, asked of the printer now."""
        listed = http("GET", f"{self.url}/server/files/directory?path=gcodes/printer")
        if not listed.ok:
            return None
        return sorted(f["filename"] for f in listed.json()["result"]["files"])

    def cli(self, *arguments, seconds=120):
        """The program's own command line against this gateway: (exit code, what it printed)."""
        done = subprocess.run(
            [str(binary()), *map(str, arguments), "--gateway", f"http://127.0.0.1:{self.port}"],
            capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
            env={**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)},
        )
        return done.returncode, done.stdout + done.stderr

    def moonraker(self):
        return Moonraker(self.url)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()


@contextmanager
def farm(model, label, **options):
    """A printer of this model with a gateway in front of it."""
    printer = SimulatedPrinter(model, speed=40, label=label)
    gateway = Gateway(printer, label=f"{label}-gateway", **options)
    try:
        yield gateway.start()
    finally:
        gateway.remove()
        printer.stop()
