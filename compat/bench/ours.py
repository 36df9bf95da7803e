"""The real gateway in front of the load program's printers."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import requests

from harness import process
from harness.process import binary
from harness.waiting import wait_for

CODE = "12345678"
TICKS = os.sysconf("SC_CLK_TCK")


def free_ports(count):
    """The first of so many free ports in a row, below those that the system gives out by itself."""
    for first in range(20000, 32000 - count, 100):
        taken = []
        try:
            for port in range(first, first + count):
                probe = socket.socket()
                taken.append(probe)
                probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for probe in taken:
                probe.close()
    raise RuntimeError(f"there are no {count} free ports in a row")


def serial(number):
    return f"01P00A{number:09d}"


class Gateway:
    """A running gateway with `count` printers, its state in memory; 0 is one printer that is off, as there must be one."""

    def __init__(self, count, places, ftps_port=1, program=None):
        self.count = count
        self.program = program or binary()
        self.folder = Path(tempfile.mkdtemp(prefix="moongate-bench-", dir="/dev/shm"))
        self.first = free_ports(count + 2)
        self.port = self.first + count + 1
        self.config = self.folder / "moongate.toml"
        lines = ["[gateway]", f"port = {self.port}", f'state_dir = "{self.folder}/state"',
                 f'runtime_dir = "{self.folder}/run"', "max_upload_mb = 8192"]
        places = places if count else {"mqtt_port": 1, "camera_port": 1}
        for number in range(max(count, 1)):
            lines += ["[[printer]]", f'name = "{self.name(number)}"', 'kind = "bambu"', 'host = "127.0.0.1"',
                      f'serial = "{serial(number)}"', f'access_code = "{CODE}"',
                      f"moonraker_port = {self.first + number}", f"mqtt_port = {places['mqtt_port']}",
                      f"camera_port = {places['camera_port']}", f"ftps_port = {ftps_port}", "detect_port = 1",
                      "rtsp_port = 1"]
        self.config.write_text("\n".join(lines) + "\n")
        self.config.chmod(0o600)
        self._process = None

    @staticmethod
    def name(number):
        return f"b{number}"

    def printer_port(self, number=0):
        return self.first + number

    def url(self, number=0):
        return f"http://127.0.0.1:{self.printer_port(number)}"

    def serial_port(self, number=0):
        return self.folder / "run" / self.name(number)

    def library(self, number=0):
        return self.folder / "state" / "library" / self.name(number) / "gcodes"

    def launch(self):
        """Starts the process; the seconds until it answered for the first time."""
        self._process = process.start([self.program, "run", "--config", self.config], "bench-gateway.log")
        return first_answer(self.port, "/livez", self._process)

    def __enter__(self):
        self.launch()
        return self

    def wait_online(self, load, seconds=120):
        wait_for(lambda: load.ask("online")["online"] >= self.count, f"{self.count} printers are online", seconds)
        if self.count:
            wait_for(lambda: self.ready(self.count - 1) and self.ready(0), "the printers are ready", seconds)

    def ready(self, number):
        answer = requests.get(self.url(number) + "/server/info", timeout=10).json()
        return answer["result"]["klippy_state"] == "ready"

    def __exit__(self, *_):
        process.stop(self._process, 20)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self):
        return self._process.pid

    def memory(self):
        return memory(self.pid)

    def processor(self):
        return processor(self.pid)


def first_answer(port, path, child, seconds=60):
    """Seconds until a just started program answers on its port."""
    began = time.perf_counter()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    while time.perf_counter() - began < seconds:
        assert child.poll() is None, f"it ended with {child.returncode}; see {process.LOGS}"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(request)
                if connection.recv(16).startswith(b"HTTP/1.1 200"):
                    return time.perf_counter() - began
        except OSError:
            pass
        time.sleep(0.001)
    raise AssertionError(f"no answer on port {port} within {seconds} s")


def memory(pid):
    """Resident bytes, those of anonymous pages, and the highest so far."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    size = {key: int(fields[name].split()[0]) * 1024
            for key, name in (("resident", "VmRSS"), ("own", "RssAnon"), ("highest", "VmHWM"))}
    return size


def forget_highest(pid):
    """The highest resident size counts from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def processor(pid):
    """Processor seconds of all threads so far, from the scheduler's own nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass
    return total / 1e9


def certificate(folder):
    """One key and certificate for all printers; its name is no serial number, so that it fits each of them."""
    pair = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=bench",
                    "-keyout", pair[1], "-out", pair[0]], check=True, capture_output=True, timeout=60)
    return pair
