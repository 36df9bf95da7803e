"""The gateway itself (`moongate run`): one process class for all, and the builder for printers that are not ours.

The rooms of this folder: `process` (children), `simulated` (one simulated printer), `gateway` (one gateway process),
`front` (what a printer's port shows), and on top of them `single` (one simulated printer behind a gateway), `farm`
(several, behind wires that can be made bad), `household` (several, as the demo offers them), `demo` (all in one process).
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from harness import process
from harness.front import FrontEnds
from harness.moonraker import http
from harness.process import binary
from harness.waiting import wait_for


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f'"{value}"'


def table(keys):
    """A [[printer]] table of a configuration."""
    return "\n".join(["[[printer]]", *(f"{key} = {toml(value)}" for key, value in keys.items())]) + "\n"


class GatewayProcess:
    """`moongate run` on a free port with a configuration of its own; state and files outlive `kill`.

    `configuration()` of a builder gives the [[printer]] tables; it is asked at each start.
    """

    # A killed gateway's place at a Centauri Carbon 2 is free after about a minute (elegoo.md 3).
    ONLINE_SECONDS = 120

    def __init__(self, label, gateway="", access="", folder=None, state=None, environment=None, wrapper=(), level="info"):
        self.label = label
        # Not below target/: the path of a pty link must stay short.
        self.folder = Path(folder or tempfile.mkdtemp(prefix="moongate-compat-"))
        self.state = Path(state) if state else self.folder / "state"
        self.runtime = self.folder / "run"
        self.config = self.folder / "moongate.toml"
        self.gateway_port = process.free_port()
        self.gateway, self.access = gateway, access
        self.environment, self.wrapper, self.level = environment or {}, list(wrapper), level
        self._process = None

    def configuration(self):
        raise NotImplementedError

    @property
    def own_url(self):
        return f"http://127.0.0.1:{self.gateway_port}"

    def seed(self, name, file, content):
        """Lays a file into the library of this printer, as if uploaded long ago."""
        folder = self.state / "library" / name / "gcodes"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)

    def launch(self):
        """Writes the configuration and starts the process; waits for nothing."""
        self.config.touch(mode=0o600)
        self.config.write_text(
            f'[gateway]\nport = {self.gateway_port}\nstate_dir = "{self.state}"\nruntime_dir = "{self.runtime}"\n'
            f"{self.gateway}\n[access]\n{self.access}\n{self.configuration()}")
        self._process = process.start(
            [*self.wrapper, binary(), "run", "--config", self.config, "--log", self.level], self.log.name,
            env={"XDG_RUNTIME_DIR": str(self.folder), "RUST_BACKTRACE": "1", **self.environment},
        )

    def wait_up(self, seconds=60):
        """Until the gateway serves its printers, whether these are there or not."""
        def up():
            assert self.alive(), f"the gateway ended with {self.exit_code}; see {self.log}"
            return http("GET", f"{self.own_url}/readyz").ok
        wait_for(up, "the gateway is up", seconds)

    @property
    def log(self):
        return process.LOGS / f"{self.label}.log"

    @property
    def pid(self):
        return self._process.pid

    @property
    def exit_code(self):
        return self._process.poll()

    def alive(self):
        return self._process is not None and self._process.poll() is None

    def kill(self):
        """Pulls the plug: nothing of the process runs on."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def terminate(self, patience=15.0, first=signal.SIGTERM):
        """Ends it politely, the printers go on; the exit code and the seconds it took."""
        began = time.monotonic()
        code = process.stop(self._process, patience, first)
        return code, time.monotonic() - began

    def stop(self):
        """Ends it politely, if it runs."""
        if self.alive():
            self.terminate()

    def resident(self):
        """Resident bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def memory(self):
        """(resident, highest resident) in MiB."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Vm")}
        return values["VmRSS"], values["VmHWM"]

    def forget_peak(self):
        """Begins to measure the highest resident memory anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def status_of(self, name):
        """The gateway's own view of a printer."""
        printers = http("GET", f"{self.own_url}/status").json()["printers"]
        return next(p for p in printers if p["name"] == name)

    def cli(self, *arguments, seconds=120):
        """The program's own command line against this gateway: (exit code, what it printed)."""
        done = subprocess.run(
            [str(binary()), *map(str, arguments), "--gateway", self.own_url],
            capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
            env={**os.environ, "XDG_RUNTIME_DIR": str(self.folder)},
        )
        return done.returncode, done.stdout + done.stderr

    def remove(self):
        """Ends it and takes its folder away."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_):
        self.remove()


class Gateway(FrontEnds, GatewayProcess):
    """One printer behind a running gateway; `printer` holds the keys of its [[printer]] table."""

    def __init__(self, label, printer, **options):
        super().__init__(label, **{"level": "debug", **options})
        self.moonraker_port = process.free_port()
        self._table = printer

    def configuration(self):
        return table({"moonraker_port": self.moonraker_port, "pty": False, **self._table})

    @property
    def url(self):
        return f"http://127.0.0.1:{self.moonraker_port}"

    def start(self, online=False):
        self.launch()
        self.wait_up()
        if online:
            self.wait_online(self.ONLINE_SECONDS)
        return self

    def info(self):
        return http("GET", self.url + "/printer/info").json()

    def wait_ready(self, seconds=60):
        wait_for(lambda: self.info()["result"]["state"] == "ready", "the printer is ready", seconds)
