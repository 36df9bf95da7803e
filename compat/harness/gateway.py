"""`moongate run` with simulated printers in processes of their own: the gateway dies and comes back, a print goes on."""

import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from harness import process
from harness.demo import Demo, Printer, binary
from harness.moonraker import Moonraker, http
from harness.simulated import simulated
from harness.waiting import wait_for

KINDS = {"cc1": "elegoo_cc1", "cc2": "elegoo_cc2"}
# Key of the configuration by the name the simulator gives the address.
PORTS = {
    "bambu": {"mqtt": "mqtt_port", "ftps": "ftps_port", "detect": "detect_port", "camera": "camera_port"},
    "elegoo_cc1": {"websocket": "websocket_port", "http": "http_port", "camera": "camera_port",
                   "discovery": "discovery_port"},
    "elegoo_cc2": {"mqtt": "mqtt_port", "http": "http_port", "camera": "camera_port", "discovery": "discovery_port"},
}


@lru_cache(maxsize=None)
def sample(name):
    """The file that the demo lays into the library of this printer: its name and content."""
    with Demo(100, f"sample-{name}", printers=[name], lifetime=60) as demo, Moonraker(demo.printers[0].url) as client:
        def laid():
            names = [f["path"] for f in client.call("server.files.list", {"root": "gcodes"})]
            # The archive itself where there is one: its plate is the other entry.
            return max((name for name in names if name.startswith("cube.")), key=len, default=None)
        chosen = wait_for(laid, "the sample is in the library", 30)
        return chosen, http("GET", f"{demo.printers[0].url}/server/files/gcodes/{chosen}").content


class Gateway:
    """What `Demo` offers, but the printers live as long as this object, whatever happens to the gateway."""

    def __init__(self, names, speed=20, label="gateway", options="", lifetime=600):
        self.label, self.options = label, options
        # Not below target/: the path of a pty link must stay short.
        self.folder = Path(tempfile.mkdtemp(prefix="moongate-compat-"))
        self._stack, self._process = ExitStack(), None
        self.gateway_port = process.free_port()
        self.printers, tables = [], []
        for name in names:
            kind = KINDS.get(name, "bambu")
            machine = self._stack.enter_context(simulated(name, speed=speed, seconds=lifetime))
            port = process.free_port()
            host, control = machine.addresses["control"]
            self.printers.append(Printer(name, kind, port, str(self.folder / "run" / name), host, control))
            tables.append(self._table(name, kind, port, machine))
            self._lay(name)
        self._tables = tables

    def _table(self, name, kind, port, machine):
        lines = ["[[printer]]", f'name = "{name}"', f'kind = "{kind}"', 'host = "127.0.0.1"', f"moonraker_port = {port}"]
        if kind != "elegoo_cc1":
            lines.append(f'access_code = "{machine.access_code}"')
        if kind == "bambu":
            lines.append(f'serial = "{machine.serial}"')
        lines += [f"{key} = {machine.addresses[place][1]}" for place, key in PORTS[kind].items()
                  if place in machine.addresses]
        return "\n".join(lines) + f"\n{self.options}\n"

    def _lay(self, name):
        file, content = sample(name)
        folder = self.folder / "state" / "library" / name / "gcodes"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)

    def printer(self, name):
        return next(p for p in self.printers if p.name == name)

    def start(self):
        """Starts the gateway and waits until every printer is online."""
        config = self.folder / "moongate.toml"
        config.touch(mode=0o600)
        config.write_text(
            f'[gateway]\nport = {self.gateway_port}\nstate_dir = "{self.folder}/state"\n'
            f'runtime_dir = "{self.folder}/run"\n' + "".join(self._tables)
        )
        self._process = process.start([binary(), "run", "--config", config], f"{self.label}.log")
        for printer in self.printers:
            def ready(url=printer.url):
                assert self.running(), f"the gateway ended; see {process.LOGS / (self.label + '.log')}"
                return http("GET", f"{url}/server/info").json()["result"]["klippy_state"] == "ready"
            wait_for(ready, f"{printer.name} is online", 60)
        return self

    def running(self):
        return self._process is not None and self._process.poll() is None

    def kill(self):
        """Ends the gateway the hard way, as a crash would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop_process(self):
        """Ends the gateway politely; the printers go on."""
        if self._process is not None:
            process.stop(self._process)
            self._process = None

    def stop(self):
        self.stop_process()
        self._stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()
