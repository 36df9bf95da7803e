"""Stop, start, supervision: everything is told, in time; a print at a printer is never touched."""

import os
import signal
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from each import at_rest, unsent
from harness.farm import Farm
from harness.serial import Serial
from harness.moonraker import Moonraker, http, make_idle
from harness.waiting import wait_for

GRACE = 10


def phase(farm, name):
    return farm.status_of(name)["job"]["phase"]


def bring_to(farm, printer, wanted):
    with printer.moonraker() as client:
        make_idle(client)
    if wanted == "idle":
        return
    printer.slow_files(wanted == "transferring")
    file = unsent(printer) if wanted == "transferring" else "cube.gcode"
    with printer.moonraker() as client:
        client.send_later("printer.print.start", {"filename": file})
        if wanted == "transferring":
            wait_for(lambda: phase(farm, printer.name) == "transferring", "transfer", 60)
            # It stays so: nothing comes through any more, and nobody says so.
            printer.wires.quality.held = True
        if wanted != "transferring":
            printer.until_printing()
        if wanted == "paused":
            client.call("printer.print.pause", seconds=60)
            wait_for(lambda: printer.print_state() == "paused", "paused", 60)


@pytest.mark.parametrize("at", ["idle", "transferring", "printing", "paused"])
def test_sigterm(farm, at):
    """SIGTERM at each phase: clients told, pty gone, end within the grace; the print is as if nothing had happened."""
    with ExitStack() as left:
        printers = [left.enter_context(at_rest(printer)) for printer in farm.printers]
        before = {p.name: {job["job_id"] for job in p.history()} for p in printers}
        with ThreadPoolExecutor(len(printers)) as pool:
            list(pool.map(lambda printer: bring_to(farm, printer, at), printers))
        starts = {p.name: p.begun() for p in printers}
        clients = [Moonraker(p.url) for p in printers]
        serials = [Serial(p.link) for p in printers]
        code, took = farm.terminate()
        assert code == 0, code
        assert took < GRACE + 2, took
        for client, serial, printer in zip(clients, serials, printers, strict=True):
            wait_for(lambda c=client: c.closed, "the WebSocket is closed", 5)
            assert not os.path.lexists(printer.link), "the link of the serial port is gone"
            serial.close()
            printer.slow_files(False)
            printer.wires.cut()
            printer.wires.quality.held = False
        farm.start()
        assert {p.name: p.begun() for p in printers} == starts, "nothing is started a second time, or later"
        for printer in printers:
            as_before(farm, printer, at, before[printer.name])


def as_before(farm, printer, at, known):
    if at == "transferring":
        assert phase(farm, printer.name) != "printing"
    if at in ("idle", "transferring"):
        return
    if at == "printing":
        wait_for(lambda: printer.print_state() in ("printing", "complete"), "the print is shown again", 60)
    if at == "paused":
        wait_for(lambda: printer.print_state() == "paused", "the pause is shown again", 60)
        with printer.moonraker() as again:
            again.call("printer.print.resume", seconds=60)
    ended_once(printer, known)


def ended_once(printer, known):
    """One entry, completed. (A Centauri Carbon 2 forgets the end it had shown; a gateway started after that is at rest.)"""
    def ends():
        return [job["status"] for job in printer.history() if job["job_id"] not in known]
    wait_for(lambda: ends() == ["completed"], f"{printer.name}: the end is in the history, once", 150)
    wait_for(lambda: printer.print_state() in ("complete", "standby"), f"{printer.name} is at rest", 30)
    assert ends() == ["completed"], (printer.name, ends())


def test_a_closed_terminal():
    """SIGHUP ends it in order; below nohup it goes on."""
    farm = Farm(("cc1",), label="hangup")
    try:
        farm.start()
        assert os.path.lexists(farm["cc1"].link)
        code, took = farm.terminate(first=signal.SIGHUP)
        assert (code, took < GRACE + 2) == (0, True), (code, took)
        assert not os.path.lexists(farm["cc1"].link), "the link of the serial port is gone"
        farm.wrapper = ["nohup"]
        farm.start()
        os.kill(farm.pid, signal.SIGHUP)
        assert farm.terminate()[0] == 0, "it went on until it was asked"
        assert "Stopping" in farm.log.read_text()
    finally:
        farm.remove()


class Supervisor:
    """The socket on which systemd hears of its services."""

    def __init__(self):
        self.path = os.path.join(tempfile.mkdtemp(prefix="moongate-notify-"), "socket")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self.heard = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            for line in self._socket.recv(4096).decode().split("\n"):
                self.heard.append((time.monotonic(), line))

    def said(self, word):
        return [at for at, line in self.heard if line.startswith(word)]


def test_systemd_watchdog():
    supervisor = Supervisor()
    farm = Farm(("cc1",), label="watchdog",
                environment={"NOTIFY_SOCKET": supervisor.path, "WATCHDOG_USEC": "2000000"})
    try:
        farm.start()
        wait_for(lambda: supervisor.said("READY=1"), "READY=1", 20)
        wait_for(lambda: len(supervisor.said("WATCHDOG=1")) >= 4, "signs of life", 20)
        # A gateway that hangs gives no sign: that is what the watchdog is for.
        os.kill(farm.pid, 19)
        time.sleep(0.5)
        count = len(supervisor.said("WATCHDOG=1"))
        time.sleep(3)
        assert len(supervisor.said("WATCHDOG=1")) == count
        os.kill(farm.pid, 18)
        wait_for(lambda: len(supervisor.said("WATCHDOG=1")) > count, "it lives again", 20)
        assert farm.terminate()[0] == 0
        wait_for(lambda: supervisor.said("STOPPING=1"), "STOPPING=1", 5)
    finally:
        farm.remove()


# A Centauri Carbon 2 keeps the place of a killed client for a minute, after each kill (elegoo.md 3.4).
@pytest.mark.timeout(900)
def test_kill_and_restart_in_a_loop(farm):
    """A service manager that restarts a gateway killed again and again: one print, one entry."""
    with ExitStack() as left:
        printers = [left.enter_context(at_rest(printer)) for printer in farm.printers]
        before = {p.name: {job["job_id"] for job in p.history()} for p in printers}
        starts = {p.name: p.begun() for p in printers}
        for printer in printers:
            printer.start_print()
        for printer in printers:
            printer.until_printing()
        for _ in range(3):
            farm.kill()
            farm.start()
        for printer in printers:
            ended_once(printer, before[printer.name])
            assert printer.begun() == starts[printer.name] + 1


def test_an_upload_under_way_at_the_end_leaves_nothing(farm):
    """SIGTERM while a slicer uploads: no half file, no hang."""
    printer = farm["cc1"]
    with socket.create_connection(("127.0.0.1", printer.port), 5) as slicer:
        head = ('--b\r\nContent-Disposition: form-data; name="file"; filename="half.gcode"\r\n\r\n').encode()
        slicer.sendall(b"POST /server/files/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n"
                       b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + head + b"G1 X1\n" * 10000)
        code, took = farm.terminate()
    assert code == 0 and took < GRACE + 2, (code, took)
    farm.start()
    assert "half.gcode" not in printer.files()
    assert not [path for path in farm.state.rglob("*") if "half" in path.name]
    assert http("GET", f"{printer.url}/server/info").ok
