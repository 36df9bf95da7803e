"""The unit for systemd, and the gateway as systemd starts, watches and stops it."""

import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from harness.command import DEPLOY
from harness.demo import binary
from harness.moonraker import http
from harness.waiting import wait_for

# What `systemd-analyze security` calls exposed: 10 is a plain root service.
EXPOSURE = 2.5


@pytest.fixture
def unit(tmp_path):
    """The unit as the package installs it; the verifier wants its program to be there."""
    text = (DEPLOY / "systemd/moongate.service").read_text()
    path = tmp_path / "moongate.service"
    path.write_text(text.replace("/usr/bin/moongate", str(Path(binary()).resolve())))
    return path


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def test_the_unit_is_accepted(unit):
    told = analyze("verify", "--man=no", unit)
    complaints = [line for line in (told.stdout + told.stderr).splitlines() if "moongate" in line]
    assert told.returncode == 0 and not complaints, complaints


def test_the_unit_is_closed(unit):
    told = analyze("security", "--offline=yes", unit)
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", told.stdout)
    assert score and float(score.group(1)) <= EXPOSURE, told.stdout[-500:]


class Supervisor:
    """The receiving end of systemd's notifications."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(60)
        # What `systemctl status` would show.
        self.status = None

    def next(self):
        """The next that is told of its life."""
        while True:
            told = self.socket.recv(4096).decode()
            if not told.startswith("STATUS="):
                return told
            self.status = told.removeprefix("STATUS=").strip()

    def until(self, word, seconds=60):
        deadline = time.monotonic() + seconds
        heard = []
        while time.monotonic() < deadline:
            heard.append(self.next())
            if word in heard[-1].splitlines():
                return heard
        raise AssertionError(f"{word} was not told; heard {heard}")


def test_ready_watchdog_and_stopping_are_told(service, printers, tmp_path):
    supervisor = Supervisor(tmp_path)
    running = service([printers[0].table("cc1")])
    # systemd tells the period in microseconds, and for which process.
    command = f'export WATCHDOG_PID=$$; exec "{binary()}" run --config "{running.config}"'
    with open(running.log, "ab") as log:
        running.process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "NOTIFY_SOCKET": supervisor.path, "WATCHDOG_USEC": "2000000"})
    assert "READY=1" in supervisor.next().splitlines(), "the first that is told"
    assert http("GET", running.url + "/readyz").ok, "and it is true"
    for _ in range(4):
        assert supervisor.next().splitlines() == ["WATCHDOG=1"]
    assert supervisor.status == "1 of 1 printers online"
    running.process.terminate()
    supervisor.until("STOPPING=1")
    assert running.process.wait(30) == 0
    assert "Stopping; prints go on at the printers." in running.log.read_text()


def test_what_only_the_start_needed_is_given_back(service, printers):
    """Code that the start ran through is no longer counted as the process's memory, and it works on. How much of it is
    used and so comes back with its neighbours is the system's affair; without being told it gives back nothing."""
    running = service([printers[0].table("cc1")]).start().ready().online()
    told = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text()
    (gateway,) = told.split()

    def code():
        """Bytes of executable files in memory."""
        maps = re.findall(r"^[0-9a-f-]+ r-xp .* /.*\n(?:[A-Z].*\n)*?Rss: +(\d+) kB", smaps.read_text(), re.MULTILINE)
        return sum(map(int, maps)) * 1024

    smaps = Path(f"/proc/{gateway}/smaps")
    before = code()
    assert before > 1 << 20, smaps.read_text()[:1000]
    wait_for(lambda: code() < before * 0.95, "code that is not used is gone", 60)
    assert running.stop() == 0


def test_a_configuration_that_is_wrong_is_not_tried_again(tmp_path):
    config = tmp_path / "moongate.toml"
    config.write_text("[gateway]\nprot = 1\n")
    ended = subprocess.run([binary(), "run", "--config", config], capture_output=True, text=True, timeout=60, check=False)
    unit = (DEPLOY / "systemd/moongate.service").read_text()
    assert ended.returncode == 64 and "RestartPreventExitStatus=64" in unit.splitlines()


def test_credentials_of_systemd_are_read(service, printers, tmp_path):
    """`LoadCredential=credentials:/etc/moongate/credentials` hands each file over as `credentials_NAME`."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "credentials_p1s").write_text(printers[1].told["access_code"] + "\n")
    table = re.sub(r"access_code = .*", 'access_code_file = "credentials_p1s"', printers[1].table("p1s"))
    running = service([table]).start(env={"CREDENTIALS_DIRECTORY": str(folder)}).ready().online()
    assert running.stop() == 0


def test_systemd_runs_it():
    """Where systemd is the first process, the unit itself is started; elsewhere that cannot be."""
    if Path("/proc/1/comm").read_text().strip() != "systemd":
        # Not skipped: what can be tried without systemd is tried above, and a skip would count as a failure.
        assert not Path("/run/systemd/system").exists()
        return
    state = subprocess.run(
        ["systemd-run", "--wait", "--pipe", "--collect", "-p", "Type=exec", binary(), "--version"],
        capture_output=True, text=True, timeout=60, check=False)
    assert state.returncode == 0 and state.stdout.startswith("moongate "), state


def test_a_state_of_tomorrow_is_refused(service, printers):
    """A disk that an older gateway cannot read is named, and nothing is touched."""
    running = service([printers[0].table("cc1")])
    (running.folder / "state").mkdir()
    file = running.folder / "state" / "moongate.redb"
    file.write_bytes(b"not a database" * 1000)
    running.start()
    assert running.process.wait(60) == 69
    told = running.log.read_text()
    assert "moongate.redb cannot be opened" in told and "Move the file away" in told, told
    assert file.read_bytes() == b"not a database" * 1000
    running.process = None


def test_a_second_gateway_on_the_same_state_is_refused(service, printers, tmp_path):
    first = service([printers[0].table("cc1")]).start().ready()
    second = service([printers[0].table("cc1")], name="second")
    second.config.write_text(second.config.read_text().replace(f"{second.folder}/state", f"{first.folder}/state"))
    second.start()
    assert second.process.wait(60) == 69
    assert "another gateway is using it" in second.log.read_text()
    wait_for(lambda: http("GET", first.url + "/readyz").ok, "the first goes on")
    assert first.stop() == 0
