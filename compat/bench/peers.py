"""The programs that moongate is measured beside, unmodified from the Python package index."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.load import FIXTURES
from bench.ours import first_answer, free_ports, memory, processor
from harness import process
from harness.waiting import wait_for

import requests

HERE = Path(__file__).resolve().parent
CONFIGURATION = """
[server]
host: 127.0.0.1
port: {port}
klippy_uds_address: {folder}/klippy.sock
max_upload_size: 8192
max_websocket_connections: 500
[authorization]
trusted_clients:
  127.0.0.0/8
[octoprint_compat]
[history]
[machine]
provider: none
[file_manager]
enable_object_processing: False
"""


class Moonraker:
    """Real Moonraker with the load program in Klipper's place."""

    def __init__(self, load):
        self.load = load
        self.folder = Path(tempfile.mkdtemp(prefix="moonraker-bench-", dir="/dev/shm"))
        self.port = free_ports(1)
        (self.folder / "config").mkdir()
        (self.folder / "config" / "moonraker.conf").write_text(
            CONFIGURATION.format(port=self.port, folder=self.folder))
        self._process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def gcodes(self):
        return self.folder / "gcodes"

    def launch(self):
        """Starts the process; the seconds until it answered for the first time."""
        python = process.WORK / "venv-bench" / "bin" / "python"
        self._process = process.start([python, "-m", "moonraker", "-d", self.folder], "bench-moonraker.log")
        return first_answer(self.port, "/server/info", self._process)

    def __enter__(self):
        self.gcodes.mkdir()
        self.load.ask("klippy", socket=f"{self.folder}/klippy.sock", golden=str(FIXTURES / "moonraker" / "klippy_ready"))
        self.first_answer = self.launch()
        wait_for(self._ready, "Moonraker's printer is ready", 60)
        return self

    def _ready(self):
        return requests.get(self.url + "/server/info", timeout=10).json()["result"]["klippy_state"] == "ready"

    def memory(self):
        return memory(self._process.pid)

    def processor(self):
        return processor(self._process.pid)

    def __exit__(self, *_):
        process.stop(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)


def virtual_printer(rounds, throttle):
    """Seconds of M105 rounds with OctoPrint's virtual printer."""
    python = process.WORK / "venv" / "bin" / "python"
    run = subprocess.run([python, HERE / "virtual_printer.py", str(rounds), str(throttle)],
                         check=True, capture_output=True, text=True, timeout=120)
    return json.loads(run.stdout.splitlines()[-1])
