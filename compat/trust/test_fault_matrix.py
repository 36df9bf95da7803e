"""Each thing that can happen to a printer or its network, at each kind of printer: what every front end shows, that it
heals by itself, and that nothing is lost. The table is docs/ref/fault-matrix.md.
"""

import glob
import os
import re
import tempfile
import time
from contextlib import ExitStack

import pytest

from each import at_rest, heal, on_each, unsent
from harness.farm import Farm
from harness.serial import Serial
from harness.moonraker import RpcError, http
from harness.waiting import holds_for, wait_for

# The gateway notices a dead link within this time: the keep-alives of the three protocols and their patience.
NOTICED = 120
BACK = 120


def away(farm, name, codes=("UNREACHABLE", "LOST", "SILENT"), seconds=NOTICED):
    """All front ends say that the printer is not there, and why; commands are refused everywhere."""
    printer = farm[name]
    wait_for(lambda: not printer.ready(), f"{name} is seen to be away", seconds)
    view = wait_for(lambda: _told(farm, name, codes), f"all front ends tell the reason at {name}", NOTICED)
    refused(farm, name)
    return view


def _told(farm, name, codes):
    """What all front ends show, taken between two tries of the link; each has its own moment to notice."""
    view = farm.shown(name)
    assert (view["fault"] or "").startswith("MG-") and view["fault"].endswith(codes), view
    assert view["remedy"], view
    assert view["klippy"] in ("disconnected", "startup", "shutdown", "error"), view
    assert view["link"] in ("backoff", "connecting", "resolving", "authenticating", "syncing"), view
    # What only a person can mend is an error, as a refused login is to OctoPrint.
    assert view["octoprint"] in ("Offline", "Error"), view
    # A camera that was opened before, and one that asks nobody for a code (Centauri Carbon 2), may go on for a while.
    assert (name, codes) == ("cc2", ("AUTH",)) or view["camera"] in (503, 504), view
    # No time-out at the serial port, and nothing seems to be heated (octoprint.md 2).
    assert any(re.fullmatch(r"ok T:[\d.]+ /0\.0 .*", line) for line in view["serial"]), view
    return view


def refused(farm, name):
    """A command to a printer that is away is refused by every way in, and is not kept for later."""
    printer = farm[name]
    with printer.moonraker() as client:
        with pytest.raises(RpcError) as error:
            client.call("printer.print.start", {"filename": "cube.gcode"}, 30)
        assert error.value.code in (400, 503), error.value
        with pytest.raises(RpcError):
            client.gcode("SET_HEATER_TEMPERATURE HEATER=extruder TARGET=213", 30)
        assert client.call("server.files.list", {"root": "gcodes"}), "the library needs no printer"
    answer = http("POST", f"{printer.url}/api/printer/tool", json={"command": "target", "targets": {"tool0": 213}})
    assert answer.status_code in (409, 503), answer.text
    steered = http("POST", f"{farm.own_url}/printers/{name}/moongate/pause", json={})
    assert steered.status_code in (409, 503), steered.text
    with Serial(printer.link) as port:
        port.send("M104 S213")
        lines = port.read_until(lambda line: line.startswith(("Error", "echo", "//", "!!")))
        assert any(line.startswith(("Error", "echo", "//", "!!")) for line in lines), lines


def back(farm, name, seconds=BACK):
    printer = farm[name]
    wait_for(printer.ready, f"{name} is back", seconds)
    view = wait_for(lambda: _healthy(farm, name), f"all front ends show {name} again", 30)
    target = {"p1s": lambda t: t["nozzles"][0][1]}.get(name, lambda t: t["nozzle_target"])(printer.truth())
    assert target != 213, "a command was kept and sent later"
    return view


def _healthy(farm, name):
    view = farm.shown(name)
    good = view["link"] == "online" and view["octoprint"] not in ("Offline", "Error") and view["fault"] is None
    return view if good and any(line.startswith("ok T:") for line in view["serial"]) else None


def job_of(printer, known):
    """The one new entry of the history."""
    fresh = [job for job in printer.history() if job["job_id"] not in known]
    assert len(fresh) == 1, fresh
    return fresh[0]


def known(printer):
    return {job["job_id"] for job in printer.history()}


@on_each
def test_power_cut_idle(farm, printer, name):
    printer.power_off()
    away(farm, name)
    printer.power_on()
    view = back(farm, name)
    assert view["phase"] == "idle", view


@on_each
def test_power_cut_printing(farm, printer, name):
    before, starts = known(printer), printer.begun()
    printer.start_print()
    printer.until_printing()
    printer.power_off()
    away(farm, name)
    status = farm.status_of(name)
    assert status["job"]["phase"] not in ("complete",), "an end that nobody saw is not made up"
    printer.power_on()
    wait_for(printer.ready, f"{name} is back", BACK)
    # A Centauri Carbon 2 asks at its screen whether to go on; the others have forgotten the print.
    if name == "cc2":
        with printer.moonraker() as client:
            client.call("printer.print.cancel", seconds=60)
    wait_for(lambda: printer.print_state() in ("error", "cancelled", "standby"), "the lost print has an end", 60)
    job = job_of(printer, before)
    assert job["status"] in ("error", "cancelled", "interrupted", "klippy_disconnect", "klippy_shutdown"), job
    assert job["filename"] == "cube.gcode", job
    holds_for(lambda: printer.begun() == starts + 1, "it is not started a second time", 3)
    back(farm, name)


@pytest.mark.timeout(600)
@on_each
def test_power_cut_uploading(farm, printer, name):
    """The printer goes off while its file is on the way: no print, an honest history, no half file that could print."""
    starts = printer.begun()
    file = unsent(printer)
    with printer.moonraker() as client:
        printer.slow_files(True)
        if name != "p1s":
            # The file is small and the way is short: here it is long.
            printer.wires.quality.delay = 4.0
        client.send_later("printer.print.start", {"filename": file})
        wait_for(lambda: farm.status_of(name)["job"]["phase"] in ("transferring", "starting"), "the transfer", 60)
        printer.power_off()
        printer.wires.quality.delay = 0.0
        wait_for(lambda: not printer.ready(), "away", NOTICED)
        def phase():
            return farm.status_of(name)["job"]["phase"]
        wait_for(lambda: phase() != "transferring", "the transfer is given up", 200)
        assert printer.begun() == starts
        printer.slow_files(False)
        printer.power_on()
        back(farm, name)
        # A start whose fate nobody could know is settled by what the printer shows after its return.
        wait_for(lambda: phase() not in ("transferring", "starting"), "it is settled", 150)
        assert phase() in ("failed", "idle", "cancelled"), phase()
        holds_for(lambda: printer.begun() == starts, "what was interrupted does not start by itself", 4)
    holds_for(printer.ready, "the new link stays", 3, every=0.5)
    printer.start_print(file)
    printer.until_printing()
    assert printer.begun() == starts + 1, "started anew by a person, once"


@on_each
def test_broker_restart(farm, printer, name):
    """The printer's service ends every connection; the print goes on, and is the same print afterwards."""
    before, starts = known(printer), printer.begun()
    printer.start_print()
    printer.until_printing()
    for _ in range(3):
        printer.drop()
        wait_for(lambda: farm.status_of(name)["link"] == "online" and printer.print_state() in ("printing", "complete"),
                 "the print is shown again", BACK)
    assert printer.begun() == starts + 1
    wait_for(lambda: printer.print_state() == "complete", "it ends", 120)
    assert job_of(printer, before)["status"] == "completed"


@on_each
def test_half_open(farm, printer, name):
    """A connection that nobody answers any more is noticed, though no packet says so."""
    before = known(printer)
    printer.start_print()
    printer.until_printing()
    with printer.wires.half_open():
        away(farm, name)
        # The last that is known stays; an end is not made up.
        assert farm.status_of(name)["job"]["phase"] not in ("complete", "cancelled")
    wait_for(printer.ready, "back", BACK)
    wait_for(lambda: printer.print_state() == "complete", "the end that came meanwhile, or comes", 120)
    assert job_of(printer, before)["status"] == "completed"


@on_each
def test_loss_and_delay(farm, printer, name):
    """10 % loss and 2 s delay each way: a print is sent, started once, seen to its end."""
    before, starts = known(printer), printer.begun()
    with printer.wires.bad(delay=2.0, loss=0.1):
        holds_for(lambda: farm.status_of(name)["link"] in ("online", "connecting", "backoff"), "told", 5, every=0.5)
        wait_for(printer.ready, "online over the bad network", BACK)
        with printer.moonraker(seconds=120) as client:
            client.call("printer.print.start", {"filename": "cube.gcode"}, 300)
        wait_for(lambda: printer.begun() == starts + 1, "the print begins", 240)
        # A failed one ends the wait as well: told as what it is, at once.
        assert printer.until_state("complete", "error", "cancelled", seconds=240) == "complete"
    assert printer.begun() == starts + 1, "never twice"
    assert job_of(printer, before)["status"] == "completed"


@on_each
def test_garbage_frames(farm, printer, name):
    """Frames that are no JSON, cut frames, bytes of another protocol: dropped or a new connection, never an end."""
    printer.start_print()
    printer.until_printing()
    for _ in range(5):
        printer.control.fault("garbage")
    if name == "cc2":
        printer.control.fault("garbage_bytes")
    way = {"p1s": "mqtt", "cc1": "websocket", "cc2": "mqtt"}[name]
    printer.wires.ways[way].say(b"\x00\xff\x82\x7f" * 50)
    for _ in range(2):
        printer.wires.ways[way].truncate += 1
        wait_for(lambda: printer.wires.ways[way].truncate == 0, "a frame was cut", 60)
        wait_for(lambda: printer.ready() and printer.print_state() in ("printing", "complete"), "it is over it", BACK)
    assert farm.alive()
    back(farm, name)


@on_each
def test_refused_code(farm, printer, name):
    """The access code changed under way, as after a toggle of LAN mode: told as such, tried rarely, good again."""
    if name == "cc1":
        # It has no code; a printer whose places are all taken refuses in its own way.
        printer.control.fault("refuse", on=True)
        printer.drop()
        away(farm, name, codes=("FULL", "UNREACHABLE"))
        printer.control.fault("refuse", on=False)
    else:
        if name == "p1s":
            printer.control.fault("access_code", code="99999999")
        else:
            printer.control.fault("wrong_code", on=True)
        printer.drop()
        printer.wires.cut()
        view = away(farm, name, codes=("AUTH",))
        assert "code" in view["remedy"], view
        if name == "p1s":
            failed = printer.truth()["counters"]["failed_logins"]
            time.sleep(10)
            assert printer.truth()["counters"]["failed_logins"] - failed <= 4, "no storm of logins"
            printer.control.fault("access_code", code=printer.access_code)
        else:
            printer.control.fault("wrong_code", on=False)
    # A person who has mended it does not wait: every front end's restart tries at once.
    http("POST", f"{printer.url}/printer/restart")
    back(farm, name)


@pytest.fixture
def believed(farm):
    """Whatever key the printer has after the test, a person confirms it."""
    yield
    http("POST", f"{farm.own_url}/printers/p1s/moongate/trust", json={})


def test_certificate_change(farm, believed):
    """Another key is a fault that only a person ends; an Elegoo printer that is who it was stays so."""
    name, printer = "p1s", farm["p1s"]
    heal(printer)
    printer.control.fault("certificate_change")
    # Its services start anew, the camera's too.
    printer.wires.cut()
    view = away(farm, name, codes=("CERT",))
    assert "trust" in view["remedy"], view
    holds_for(lambda: not printer.ready(), "it is not believed by itself", 5)
    for path in ("/printers/cc1/moongate/trust",):
        answer = http("POST", f"{farm.own_url}{path}", json={})
        assert answer.status_code == 200
        back(farm, "cc1")
    assert http("POST", f"{farm.own_url}/printers/p1s/moongate/trust", data="x").status_code in (400, 415)
    assert not printer.ready()
    assert http("POST", f"{farm.own_url}/printers/p1s/moongate/trust", json={}).status_code == 200
    back(farm, name)
    # The new key is kept: another one is a fault again, also after a start.
    farm.restart()
    back(farm, name)
    printer.control.fault("certificate_change")
    # Its services start anew, the camera's too.
    printer.wires.cut()
    away(farm, name, codes=("CERT",))
    http("POST", f"{farm.own_url}/printers/p1s/moongate/trust", json={})
    back(farm, name)


def test_another_printer_since_before_the_start(farm):
    """Somebody else has the address when the gateway is started again: told, given nothing, taken when a person says so."""
    name, printer = "cc1", farm["cc1"]
    heal(printer)
    trust = lambda: http("POST", f"{farm.own_url}/printers/{name}/moongate/trust", json={})
    truth = printer.control.truth()
    farm.terminate()
    printer.control.fault("identity", mainboard_id="ab" * 16, mac="02:00:00:cc:99:99")
    farm.launch()
    farm.wait_up()
    view = away(farm, name, codes=("OTHER",))
    assert f"moongate trust {name}" in view["remedy"], view
    holds_for(lambda: not printer.ready(), "it is not believed by itself", 5)
    assert printer.control.truth()["starts_received"] == truth["starts_received"]
    assert trust().status_code == 200
    back(farm, name)
    # That one is kept: after a start it is the printer.
    farm.restart()
    back(farm, name)


def test_address_change(farm):
    """The printers are at other addresses: told with the remedy, and after the change of the configuration all is there.

    (Those that announce themselves or answer a search need nobody: `test_moved_printer_is_found`.)
    """
    with ExitStack() as left:
        printers = [left.enter_context(at_rest(printer)) for printer in farm.printers]
        files, old = {p.name: p.files() for p in printers}, {p.name: set(p.ports().values()) for p in printers}
        with ExitStack() as cut:
            for printer in printers:
                cut.enter_context(printer.wires.down())
            for printer in printers:
                assert "address" in away(farm, printer.name, codes=("UNREACHABLE",))["remedy"]
        for printer in printers:
            for service, way in list(printer.wires.ways.items()):
                # The old address leads nowhere any more.
                way.close()
                del printer.wires.ways[service]
            assert old[printer.name].isdisjoint(printer.ports().values())
        farm.restart()
        for printer in printers:
            back(farm, printer.name)
            assert printer.files() == files[printer.name]


@on_each
def test_moved_printer_is_found(farm, printer, name):
    """An Elegoo printer gets another address while it prints: found by its serial number, the print goes on, and back."""
    if name == "p1s":
        # It announces itself: `a_printer_that_moved_is_found_again`.
        return
    before, starts = known(printer), printer.begun()
    printer.start_print()
    printer.until_printing()
    try:
        printer.wires.move("127.0.0.5")
        wait_for(lambda: farm.status_of(name)["link"] != "online", f"{name} is away", NOTICED)
        wait_for(printer.ready, f"{name} is found", BACK)
        back(farm, name)
        wait_for(lambda: printer.print_state() == "complete", "it ends", 180)
    finally:
        printer.wires.move("127.0.0.1")
    wait_for(printer.ready, f"{name} is found where the configuration says", BACK)
    back(farm, name)
    assert printer.begun() == starts + 1
    assert job_of(printer, before)["status"] == "completed"


def test_clock_jumps():
    """The gateway's clock jumps a day on and a day back while a print runs: nothing starts, ends or lasts a day."""
    rate = tempfile.NamedTemporaryFile("w", prefix="moongate-clock-", delete=False)
    library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
    assert library, "libfaketime is missing (Debian package faketime)"

    def clock(offset):
        # A rename, so that no half line is ever read.
        with open(rate.name + ".new", "w", encoding="ascii") as new:
            new.write(offset + "\n")
        os.replace(rate.name + ".new", rate.name)
    clock("+0")
    farm = Farm(("p1s", "cc1", "cc2"), label="clock", environment={
        "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": rate.name, "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"})
    try:
        farm.start()
        printers = farm.printers
        with printers[0].moonraker() as client:
            login = client.call("access.post_user", {"username": "tina", "password": "secret"})
        bearer = {"Authorization": f"Bearer {login['token']}"}
        assert http("GET", f"{printers[0].url}/server/info", headers=bearer).ok
        for printer in printers:
            printer.start_print()
        for printer in printers:
            printer.until_printing()
        for offset in ("+1d", "-1d", "+0"):
            clock(offset)
            holds_for(lambda: all(p.ready() for p in printers), f"online at {offset}", 4)
            expected = 401 if offset == "+1d" else 200
            wait_for(lambda: http("GET", f"{printers[0].url}/server/info", headers=bearer).status_code == expected,
                     f"a token of one hour at {offset}", 10)
        for printer in printers:
            wait_for(lambda p=printer: p.print_state() == "complete", f"{printer.name} ends", 180)
            assert printer.begun() == 1
            stats = printer.query("print_stats")["print_stats"]
            job = printer.history()[0]
            assert job["status"] == "completed" and len(printer.history()) == 1, job
            for seconds in (stats["print_duration"], stats["total_duration"], job["print_duration"], job["total_duration"]):
                assert 0 <= seconds < 3600, (stats, job)
    finally:
        farm.remove()
        os.unlink(rate.name)
