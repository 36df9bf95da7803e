"""One gateway with several simulated printers that outlive it: it offers what `Demo` does, and a print goes on."""

import os
import shutil
import signal
import tempfile
from functools import lru_cache
from pathlib import Path

from harness import process
from harness.demo import Demo, Printer, binary
from harness.moonraker import Moonraker, http
from harness.single import SimulatedPrinter
from harness.waiting import wait_for


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


class Household:
    """Printers by their names in the demo; the gateway is ended by `kill` or `stop_process` and comes back by `start`."""

    def __init__(self, names, speed=20, label="household", options="", lifetime=900, tables=""):
        self.label = label
        # Not below target/: the path of a pty link must stay short.
        self.folder = Path(tempfile.mkdtemp(prefix="moongate-compat-"))
        self._process, self._machines, self.printers = None, [], []
        config = (f'[gateway]\nport = {process.free_port()}\nstate_dir = "{self.folder}/state"\n'
                  f'runtime_dir = "{self.folder}/run"\n{tables}\n')
        for name in names:
            machine = SimulatedPrinter(name, speed, label, lifetime)
            self._machines.append(machine)
            port = process.free_port()
            link = str(self.folder / "run" / name)
            self.printers.append(Printer(name, machine.kind, port, link, *machine.control.address))
            config += f"{machine.config()}moonraker_port = {port}\n{options}\n"
            file, content = sample(name)
            library = self.folder / "state" / "library" / name / "gcodes"
            library.mkdir(parents=True)
            (library / file).write_bytes(content)
        self._config = self.folder / "moongate.toml"
        self._config.touch(mode=0o600)
        self._config.write_text(config)

    def printer(self, name):
        return next(p for p in self.printers if p.name == name)

    def start(self):
        """Starts the gateway and waits until every printer is online."""
        self._process = process.start([binary(), "run", "--config", self._config], f"{self.label}.log")
        for printer in self.printers:
            def ready(url=printer.url):
                assert self.running(), f"the gateway ended; see {process.LOGS / (self.label + '.log')}"
                return http("GET", f"{url}/server/info").json()["result"]["klippy_state"] == "ready"
            # A Centauri Carbon 2 keeps the place of a killed client for about a minute (elegoo.md 3).
            wait_for(ready, f"{printer.name} is online", 120)
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
        for machine in self._machines:
            machine.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()
