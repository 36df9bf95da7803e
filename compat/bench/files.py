"""Large files: from a slicer by HTTP, and to a printer by FTPS."""

import re
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import requests

from bench.ours import CODE, Gateway, forget_highest
from bench.peers import Moonraker
from bench.table import median
from harness import sliced
from harness.replay_printer import ReplayPrinter
from harness.waiting import wait_for

MEGABYTE = 1 << 20
# The model that the replayed module list names, and its report.
MODEL, NAME = "C11", "p1p-01.08.02.00-finish-noams"


def upload(bench, table):
    """A G-code file by POST, on tmpfs: the copy's rate is what the machine does at best."""
    size = bench.upload_bytes
    found = {"ours": [], "sent": [], "copy": [], "peer": [], "growth": []}
    with bench.load() as load, ExitStack() as stack:
        gateway = stack.enter_context(Gateway(1, bench.farm(load)))
        moonraker = stack.enter_context(Moonraker(load))
        gateway.wait_online(load)
        for number in range(bench.rounds):
            touch(load, size)
            found["copy"].append(bare_copy(load, size))
            touch(load, size)
            forget_highest(gateway.pid)
            before = gateway.memory()["resident"]
            ours = load.ask("upload", port=gateway.printer_port(), name="big.gcode", bytes=size)
            found["ours"].append(ours["answered"])
            found["sent"].append(ours["sent"])
            found["growth"].append(gateway.memory()["highest"] - before)
            remove(gateway.url(), "big.gcode")
            if number == 0 or not bench.quick:
                found["peer"].append(load.ask("upload", port=moonraker.port, name="big.gcode", bytes=size)["answered"])
                remove(moonraker.url, "big.gcode")
    ours = median(found["ours"])
    what = f"upload of {size // MEGABYTE} MiB"
    table.add("files", f"{what}: rate, of a bare socket copy to tmpfs", median(found["copy"]) / ours, at_least=0.9)
    table.add("files", f"{what}: rate until all is sent, of the same copy", median(found["copy"]) / median(found["sent"]))
    table.add("files", f"{what}: rate, of Moonraker's", median(found["peer"]) / ours)
    table.add("files", f"{what}: memory at its highest above the start", max(found["growth"]) / 1e6, "MB", at_most=8)
    table.keep("upload", found)


def bare_copy(load, size):
    copy = Path(tempfile.mkstemp(prefix="moongate-bench-", dir="/dev/shm")[1])
    seconds = load.ask("socket_copy", path=str(copy), bytes=size)["answered"]
    copy.unlink()
    return seconds


def touch(load, size):
    """Memory that is free gets lost to a virtual machine's host within seconds, and its first touch costs more than a
    copy: what is measured finds what this has just left."""
    bare_copy(load, 2 * size)


def remove(url, name):
    requests.delete(f"{url}/server/files/gcodes/{name}", timeout=30).raise_for_status()


class Storage(ReplayPrinter):
    """vsftpd as a printer's storage; the printer itself is the load program's."""

    def _start_mosquitto(self):
        pass

    def _connect(self):
        pass

    def uploads(self):
        """Bytes and bytes per second of each file that came, as vsftpd itself measured them."""
        log = self.folder / "vsftpd.log"
        lines = re.findall(r'OK UPLOAD: .*?, (\d+) bytes, ([\d.]+)Kbyte/sec', log.read_text() if log.exists() else "")
        return [(int(size), float(rate) * 1024) for size, rate in lines]

    def next_upload(self, known, size, told="", seconds=20):
        """The rate of the next whole file; `told` is what its sender said, for the failure."""
        new = wait_for(lambda: [one for one in self.uploads()[known:] if one[0] >= size],
                       f"a file at vsftpd ({told[:300]})", seconds)
        return new[-1][1]


def ftps(bench, table):
    """The file of a print on its way to the printer, beside curl to the same vsftpd; it measures both."""
    size = bench.ftps_bytes
    found = {"ours": [], "curl": []}
    old, tempfile.tempdir = tempfile.tempdir, "/dev/shm"
    try:
        with bench.load() as load, Storage("bench", NAME) as storage:
            # Without an AMS, whose slots would have to hold the file's filament.
            farm = load.farm(storage.certificate, storage.key, NAME)
            with Gateway(1, farm, ftps_port=storage.ftps_port) as gateway:
                gateway.wait_online(load)
                content = sliced.archive("p1s", code=MODEL, padding=size)
                answer = requests.post(f"{gateway.url()}/server/files/upload",
                                       files={"file": ("big.gcode.3mf", content)}, timeout=120)
                assert answer.status_code == 201, answer.text
                local = storage.folder / "local.bin"
                local.write_bytes(content)
                # One transfer of the same program takes up to three times another one.
                for _ in range(3 * bench.rounds):
                    touch(load, size)
                    found["curl"].append(by_curl(storage, local))
                    touch(load, size)
                    found["ours"].append(by_print(gateway, storage, size))
    finally:
        tempfile.tempdir = old
    rate = median(found["ours"]) / median(found["curl"])
    table.add("files", f"FTPS push of {size // MEGABYTE} MiB: rate, of curl's to the same vsftpd", rate, at_least=0.95)
    table.keep("ftps", found)


def by_curl(storage, local):
    known = len(storage.uploads())
    target = f"ftps://127.0.0.1:{storage.ftps_port}/curl.bin"
    subprocess.run(["curl", "-sS", "--insecure", "--tls-max", "1.2", "--user", f"bblp:{CODE}", "-T", local, target],
                   check=True, timeout=180)
    (storage.stored / "curl.bin").unlink()
    return storage.next_upload(known, local.stat().st_size)


def by_print(gateway, storage, size):
    """The printer refuses the start once it has the file: the transfer is what is measured."""
    known = len(storage.uploads())
    files = requests.get(f"{gateway.url()}/server/files/list", timeout=30).json()["result"]
    name = next(entry["path"] for entry in files if entry["path"].endswith(".gcode"))
    started = requests.post(f"http://127.0.0.1:{gateway.port}/printers/{gateway.name(0)}/moongate/start",
                            json={"file": name, "overrides": ["filament"]}, timeout=240)
    rate = storage.next_upload(known, size, started.text, seconds=120)
    wait_for(lambda: over(gateway), f"the refused start has ended ({started.text[:200]})", 120)
    for left in storage.stored.rglob("*.3mf"):
        left.unlink()
    return rate


def over(gateway):
    answer = requests.get(f"{gateway.url()}/printer/objects/query?print_stats", timeout=10).json()
    return answer["result"]["status"]["print_stats"]["state"] not in ("printing", "paused")
