"""A simulated P1S and a gateway as two processes, so that the gateway can be killed while the printer prints on."""

import json
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

from harness import process
from harness.demo import binary
from harness.moonraker import Moonraker, http
from harness.simulator import Simulator
from harness.waiting import wait_for

LIFETIME = 900


class Gateway:
    """One state folder, any number of lives."""

    def __init__(self, spoolman, speed, model="p1s", label="spools"):
        self.folder = Path(tempfile.mkdtemp(prefix="moongate-compat-"))
        self.label = label
        self.printer = process.start(
            [binary(), "simulate", model, "--speed", speed, "--seconds", LIFETIME], f"{label}-simulator.log",
            stdout=subprocess.PIPE,
        )
        told = json.loads(self.printer.stdout.readline())
        ports = {name: address.rsplit(":", 1)[1] for name, address in told["addresses"].items() if address}
        self.simulator = Simulator("127.0.0.1", int(ports["control"]))
        self.port, self.gateway_port = process.free_port(), process.free_port()
        self.name = model
        lines = [
            "[gateway]", f"port = {self.gateway_port}", f'state_dir = "{self.folder}/state"', f'spoolman = "{spoolman}"',
            "[[printer]]", f'name = "{model}"', 'kind = "bambu"', 'host = "127.0.0.1"',
            f"moonraker_port = {self.port}", f'serial = "{told["serial"]}"', f'access_code = "{told["access_code"]}"',
            *(f"{key}_port = {ports[key]}" for key in ("mqtt", "ftps", "detect", "camera") if key in ports),
        ]
        config = self.folder / "moongate.toml"
        config.write_text("\n".join(lines) + "\n")
        config.chmod(0o600)
        self.config, self.process, self.client = config, None, None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process = process.start([binary(), "run", "--config", self.config], f"{self.label}-gateway.log",
                                     env={"XDG_RUNTIME_DIR": str(self.folder)})
        # Nothing outlives the test run by much.
        threading.Timer(LIFETIME, self.process.kill).start()
        def ready():
            return http("GET", f"{self.url}/server/info").json()["result"]["klippy_state"] == "ready"
        wait_for(ready, "gateway ready", 60)
        self.client = Moonraker(self.url)
        return self

    def kill(self):
        """As a crash: nothing is written any more."""
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        return process.stop(self.process, first=signal.SIGINT)

    def upload(self, name, content):
        assert http("POST", f"{self.url}/server/files/upload", files={"file": (name, content)}).status_code == 201

    def truth(self):
        return self.simulator.truth()

    def until(self, what, probe, seconds=60):
        return wait_for(probe, what, seconds)

    def until_state(self, *words, seconds=90):
        return wait_for(lambda: self.client.print_state() in words, f"print_stats {words}", seconds)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
        process.stop(self.printer, first=signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)
