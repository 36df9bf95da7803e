"""Starts `moongate demo` as a user would and reads the one line that says where everything is."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass

from harness import process
from harness.process import binary
from harness.simulator import Simulator

# A demo nobody stops ends by itself after this many seconds.
LIFETIME = 1800
START_SECONDS = 60
# Long enough for the gateway to notice and for OctoPrint to connect meanwhile.
BAMBU_OFF_SECONDS = 45


@dataclass(frozen=True)
class Printer:
    """One printer of the demo, as its JSON line describes it."""

    name: str
    kind: str
    port: int
    pty: str
    control_host: str
    control_port: int

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def simulator(self):
        return Simulator(self.control_host, self.control_port)

    @contextmanager
    def without_power(self):
        """The printer is off inside this block; afterwards it starts again, without the print it had."""
        simulator = self.simulator()
        if self.kind == "bambu":
            # This simulator switches itself on again.
            simulator.fault("power_cut", seconds=BAMBU_OFF_SECONDS)
            yield
        else:
            simulator.fault("power_cut")
            try:
                yield
            finally:
                simulator.fault("power_on")


class Demo:
    """A running demo on free ports with a private runtime folder."""

    def __init__(self, speed, label="demo", printers=None, lifetime=LIFETIME, options=()):
        self.speed = speed
        self.label = label
        self.only = printers
        self.lifetime = lifetime
        self.options = options
        # Not below target/: the path of a pty link must stay short.
        self.runtime = tempfile.mkdtemp(prefix="moongate-compat-")
        self._process = None
        self.gateway_port = self.rtsp_port = None
        self.printers = []

    def start(self, ports=None):
        """Starts the demo and waits until every printer is online."""
        command = [binary(), "demo", "--json", "--any-port", "--speed", self.speed, "--seconds", self.lifetime]
        if self.only:
            command += ["--printers", ",".join(self.only)]
        command += self.options
        self._process = process.start(
            command,
            f"{self.label}.log",
            env={"XDG_RUNTIME_DIR": self.runtime, "RUST_BACKTRACE": "1"},
            stdout=subprocess.PIPE,
        )
        line = self._first_json_line()
        self.gateway_port, self.rtsp_port = line["gateway"]["port"], line["gateway"]["rtsp_port"]
        self.printers = [
            Printer(p["name"], p["kind"], p["port"], p["pty"], p["control"]["host"], p["control"]["port"])
            for p in line["printers"]
        ]
        return self

    def _first_json_line(self):
        found, lines = threading.Event(), []

        def read(stream):
            for raw in stream:
                if not found.is_set() and raw.lstrip().startswith(b"{"):
                    lines.append(raw)
                    found.set()
            found.set()

        threading.Thread(target=read, args=(self._process.stdout,), daemon=True).start()
        arrived = found.wait(START_SECONDS)
        if not arrived or not lines:
            code = self._process.poll()
            self.stop()
            why = "no JSON line" if code is None else f"it ended with exit code {code}"
            raise RuntimeError(
                f"`{binary()} demo --json` did not come up within {START_SECONDS} s: {why}; "
                f"see {process.LOGS / (self.label + '.log')}"
            )
        return json.loads(lines[0])

    def printer(self, name):
        return next(p for p in self.printers if p.name == name)

    def restart(self):
        """Ends the gateway politely and starts it again: same folder, same pty names, possibly other ports."""
        self.stop_process()
        return self.start()

    def kill(self):
        """Ends the gateway the hard way, as a crash would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def running(self):
        return self._process is not None and self._process.poll() is None

    def stop_process(self):
        if self._process is not None:
            code = process.stop(self._process, first=signal.SIGINT)
            self._process.stdout.close()
            self._process = None
            return code
        return None

    def stop(self):
        self.stop_process()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
