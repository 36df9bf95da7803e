"""The Debian package on a machine that boots: Debian and systemd in a container, simulated printers as its neighbours.

Not part of "everything": it builds a Debian of its own and needs root and a kernel that lets systemd-nspawn boot one.
"""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness.command import DEPLOY
from harness.demo import binary

PRINTERS = {"p1s": "127.0.0.11", "cc1": "127.0.0.12", "cc2": "127.0.0.13"}
CONFIG = """
[[printer]]
name = "p1s"
kind = "bambu"
host = "127.0.0.11"
serial = "{p1s[serial]}"
access_code_file = "credentials_p1s"
pty_group = "dialout"

[[printer]]
name = "cc1"
kind = "elegoo_cc1"
host = "127.0.0.12"

[[printer]]
name = "cc2"
kind = "elegoo_cc2"
host = "127.0.0.13"
access_code = "{cc2[access_code]}"
"""
# Long enough to be printing while the service ends in every way there is.
JOB = "G28\\nM104 S200\\n;LAYER_CHANGE\\nG1 X10 E1 F600\\n;LAYER_CHANGE\\nG1 X20 E2\\nM84\\n"
PACKAGES = "systemd,systemd-sysv,dbus,iproute2,curl"
# The first test waits for the Debian, which takes minutes by itself.
pytestmark = pytest.mark.timeout(1800)


def wait_for(look, what, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"never seen: {what}")


class Machine:
    """A booted Debian."""

    def __init__(self, root):
        self.root = root
        self.log = open(root.parent / "boot.log", "wb")
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--register=no", "--keep-unit", "--boot", "--private-network", "--machine=moongate-test",
             f"--directory={root}"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        self.init = wait_for(self._init, "the machine's first process", 30)
        wait_for(lambda: self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"),
                 "the machine is up", 120)

    def _init(self):
        told = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(iter(told), None)

    def run(self, *command, check=True):
        done = subprocess.run(["nsenter", "--target", self.init, "--all", "--", *command], capture_output=True, text=True,
                              timeout=180, check=False)
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def shown(self, *names):
        told = self.run("systemctl", "show", "moongate", "--property", ",".join(names))
        return dict(line.split("=", 1) for line in told.splitlines())

    def active(self):
        return self.shown("ActiveState")["ActiveState"] == "active"

    def signal(self, name):
        self.run("sh", "-c", f"kill -{name} {self.shown('MainPID')['MainPID']}")

    def write(self, path, text, mode=0o600):
        file = self.root / path
        # In place: systemd-tmpfiles gave the file its owner.
        file.write_text(text)
        file.chmod(mode)

    def status(self):
        printers = json.loads(self.run("moongate", "status", "--json", check=False) or "{}").get("printers", [])
        return {printer["name"]: printer for printer in printers}

    def print_state(self, port):
        url = f"http://127.0.0.1:{port}/printer/objects/query?print_stats"
        told = self.run("curl", "--silent", "--max-time", "5", url, check=False)
        return json.loads(told or "{}").get("result", {}).get("status", {}).get("print_stats", {}).get("state")

    def off(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


@pytest.fixture(scope="module")
def debian():
    """A bare Debian, made once: the release and the archive of this machine's own."""
    folder = Path(os.environ["MOONGATE_TARGET"]) / "compat" / "debian"
    if not (folder / "sbin/init").exists():
        made = folder.with_name("debian.part")
        shutil.rmtree(made, ignore_errors=True)
        release = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE).group(1)
        sites = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)"], capture_output=True, text=True, check=True)
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, made, sites.stdout.split()[0]],
                       check=True, timeout=1200, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return folder


@pytest.fixture(scope="module")
def machine(debian, tmp_path_factory):
    folder = tmp_path_factory.mktemp("booted")
    root = folder / "root"
    subprocess.run(["cp", "--archive", "--reflink=auto", debian, root], check=True, timeout=300)
    subprocess.run(["strip", "-o", folder / "moongate", binary()], check=True, timeout=120)
    subprocess.run([DEPLOY / "deb/build", folder / "moongate", root / "given"], check=True, timeout=300, capture_output=True)
    machine = Machine(root)
    try:
        machine.run("sh", "-c", "dpkg --install /given/*.deb")
        told = {}
        for name, address in PRINTERS.items():
            machine.run("systemd-run", "--quiet", "--unit", f"sim-{name}", "/usr/bin/moongate", "simulate", name,
                        "--address", address, "--real-ports", "--speed", "4")
            def line(name=name):
                return re.search(r"^\{.*\}$", machine.run("journalctl", "-u", f"sim-{name}", "-o", "cat", "--no-pager"), re.MULTILINE)
            told[name] = json.loads(wait_for(line, f"{name} tells where it is").group(0))
        machine.config = CONFIG.format(**told)
        machine.told = told
        yield machine
    finally:
        machine.off()
        shutil.rmtree(root, ignore_errors=True)


def test_it_waits_for_a_configuration(machine):
    shown = machine.shown("ActiveState", "ConditionResult", "UnitFileState")
    assert shown == {"ActiveState": "inactive", "ConditionResult": "no", "UnitFileState": "enabled"}


def test_it_starts_and_finds_its_printers(machine):
    machine.write("etc/moongate/credentials/p1s", machine.told["p1s"]["access_code"])
    machine.write("etc/moongate/moongate.toml", machine.config)
    machine.run("systemd-tmpfiles", "--create", "moongate.conf")
    machine.run("systemctl", "restart", "moongate")
    wait_for(lambda: machine.shown("StatusText")["StatusText"] == "3 of 3 printers online", "all printers online")
    assert set(machine.status()) == set(PRINTERS)


def test_its_serial_ports_are_for_those_who_are_named(machine):
    told = machine.run("stat", "--dereference", "--format", "%a %U %G", "/run/moongate/p1s", "/run/moongate/cc1")
    assert told.splitlines()[0] == "660 moongate dialout"
    assert told.splitlines()[1].startswith("600 moongate ")


def test_a_print_outlives_every_end_of_the_service(machine):
    machine.run("sh", "-c", f"printf '{JOB}' > /tmp/job.gcode; moongate print --printer cc1 /tmp/job.gcode")
    wait_for(lambda: machine.print_state(7126) == "printing", "it prints")
    folder = machine.run("stat", "--format", "%i", "/run/moongate")
    machine.run("systemctl", "restart", "moongate")
    wait_for(lambda: machine.print_state(7126) == "printing", "it prints after a restart")
    machine.signal("KILL")
    wait_for(lambda: machine.shown("NRestarts")["NRestarts"] == "1" and machine.active(), "systemd starts it again")
    # A gateway that hangs: the watchdog's 30 s.
    machine.signal("STOP")
    wait_for(lambda: machine.shown("NRestarts")["NRestarts"] == "2" and machine.active(), "the watchdog starts it again", 120)
    assert "watchdog" in machine.run("journalctl", "-u", "moongate", "--no-pager").lower()
    history = json.loads(machine.run("curl", "--silent", "http://127.0.0.1:7126/server/history/list"))["result"]["jobs"]
    assert len(history) == 1 and history[0]["status"] in ("in_progress", "completed"), history
    wait_for(lambda: machine.print_state(7126) == "complete", "it ends as if nothing had been", 240)
    told = machine.run("stat", "--format", "%i", "/run/moongate")
    assert told == folder, "a container that has it mounted sees the same folder"


def test_a_wrong_configuration_is_told_and_not_tried_again(machine):
    machine.write("etc/moongate/moongate.toml", machine.config.replace('"bambu"', '"bambo"'))
    machine.run("systemctl", "restart", "moongate", check=False)
    # Longer than the unit waits before it starts a service again.
    time.sleep(7)
    assert machine.shown("ActiveState", "ExecMainStatus") == {"ActiveState": "failed", "ExecMainStatus": "64"}
    assert 'did you mean "bambu"?' in machine.run("journalctl", "-u", "moongate", "-n", "20", "--no-pager")
    machine.write("etc/moongate/moongate.toml", machine.config)
    machine.run("systemctl", "restart", "moongate")
    assert machine.active()


def test_it_stops_in_order_and_leaves_with_its_package(machine):
    machine.run("systemctl", "stop", "moongate")
    assert machine.shown("Result")["Result"] == "success"
    machine.run("test", "!", "-e", "/run/moongate")
    machine.run("dpkg", "--purge", "moongate")
    left = [path for path in ("etc/moongate", "var/lib/moongate", "usr/bin/moongate") if (machine.root / path).exists()]
    assert left == []
