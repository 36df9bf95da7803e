"""The life of a print, from either side."""

from pathlib import Path

import pytest

from harness.moonraker import Moonraker, http
from harness.waiting import holds_for, wait_for


def completion(octoprint):
    return octoprint.job()["progress"]["completion"] or 0


def no_false_states(octoprint, since, *allowed):
    """OctoPrint passed only through states a real printer would have shown it."""
    seen = octoprint.transitions(since)
    wrong = [state for state in seen if not state.startswith(allowed)]
    assert not wrong, f"{wrong} in {seen}"


def pause_at_the_printer(moonraker):
    """Pauses by another client; refused in words until the job has begun at the printer."""
    wait_for(lambda: moonraker.call("printer.print.pause", seconds=60), "the printer takes a pause", 60, every=3)


def test_list_shows_the_sample(octoprint, cube):
    assert cube["size"] > 0
    name = cube["path"].rsplit("/", 1)[-1]
    assert name == name.lower() and name.endswith((".gco", ".gcode")), "rule 4"


def test_select_start_and_progress(octoprint, cube, moonraker):
    since = octoprint.mark()
    octoprint.select(cube)
    wait_for(lambda: octoprint.job()["job"]["file"]["name"], "a file is selected")
    octoprint.start_job()
    octoprint.wait_state("Printing")
    wait_for(lambda: moonraker.print_state() == "printing", "the printer prints", 60)
    holds_for(lambda: octoprint.state().startswith("Printing"), "Printing while the printer prepares", 5)
    first = wait_for(lambda: completion(octoprint), "progress", 180)
    wait_for(lambda: completion(octoprint) > first, "progress grows", 120)
    no_false_states(octoprint, since, "Starting", "Printing")
    octoprint.cancel()
    octoprint.wait_state("Operational")
    wait_for(lambda: moonraker.print_state() == "cancelled", "the printer stops", 60)


def test_pause_and_resume(printing, moonraker):
    since = printing.mark()
    printing.pause()
    printing.wait_state("Paused", seconds=8)  # not the ten seconds of a lost M114 (rules 5 and 6)
    wait_for(lambda: moonraker.print_state() == "paused", "the printer pauses", 60)
    holds_for(lambda: printing.state() == "Paused", "Paused (rule 7)", 5)
    printing.resume()
    printing.wait_state("Printing")
    wait_for(lambda: moonraker.print_state() == "printing", "the printer goes on", 60)
    seen = [state.split(" ")[0] for state in printing.transitions(since)]
    assert seen == ["Pausing", "Paused", "Resuming", "Printing"], seen


def test_repeated_pauses(printing, moonraker):
    for _ in range(3):
        printing.pause()
        printing.wait_state("Paused", seconds=8)
        wait_for(lambda: moonraker.print_state() == "paused", "the printer pauses", 60)
        printing.resume()
        printing.wait_state("Printing")
        wait_for(lambda: moonraker.print_state() == "printing", "the printer goes on", 60)


def test_cancel_is_not_a_pause(printing, moonraker):
    """Rule 12, and rule 13: the burst after a cancel does not reach a print started elsewhere."""
    moonraker.subscribe({"print_stats": None, "extruder": ["target"]})
    printing.cancel()
    printing.wait_state("Operational")
    wait_for(lambda: moonraker.status["print_stats"]["state"] == "cancelled", "the printer stops", 60)
    told = [f["params"][0] for f in moonraker.frames if isinstance(f, dict) and f.get("method") == "notify_status_update"]
    assert not any(d.get("print_stats", {}).get("state") == "paused" for d in told)
    holds_for(lambda: printing.state() == "Operational", "Operational (rule 8)", 4)


def test_cancel_while_paused(printing, moonraker):
    printing.pause()
    printing.wait_state("Paused", seconds=8)
    wait_for(lambda: moonraker.print_state() == "paused", "the printer pauses", 60)
    printing.cancel()
    printing.wait_state("Operational")
    wait_for(lambda: moonraker.print_state() == "cancelled", "the printer stops", 60)


def test_end_of_print(printing, moonraker):
    since = printing.mark()
    wait_for(lambda: moonraker.print_state() == "complete", "the printer finishes", 240)
    printing.wait_state("Operational", seconds=30)
    wait_for(lambda: completion(printing) == 100, "100 %")
    assert any("Done printing file" in line for line in printing.received(since))
    assert not any(state.startswith(("Cancel", "Error")) for state in printing.transitions(since))


def test_pause_and_resume_at_the_printer(printing, moonraker):
    since = printing.mark()
    pause_at_the_printer(moonraker)
    printing.wait_state("Paused")
    holds_for(lambda: printing.state() == "Paused", "Paused", 3)
    moonraker.call("printer.print.resume", seconds=60)
    printing.wait_state("Printing")
    codes = [line.split("*")[0].split()[-1] for line in printing.sent(since)]
    assert "M25" not in codes and "M24" not in codes, "rule 18: told, not asked to do it again"


@pytest.fixture
def run_out(printer):
    """Takes the filament from the printer; afterwards somebody fills it up, or no print could go on."""
    yield lambda: printer.simulator().fault("runout")
    refill = {"bambu": "refill", "elegoo_cc2": "filament_loaded"}.get(printer.kind)
    if refill:
        printer.simulator().fault(refill)


def test_filament_runs_out(printing, run_out, moonraker):
    """A pause the printer makes on its own: OctoPrint follows and is told the reason."""
    since = printing.mark()
    wait_for(lambda: completion(printing) > 0, "the print is under way", 180)
    run_out()
    printing.wait_state("Paused", seconds=60)
    assert moonraker.print_state() == "paused"
    wait_for(lambda: any("action:notification" in line or "action:prompt" in line for line in printing.received(since)),
             "the reason is given", 30)


def test_the_buttons_of_a_dialog_do_the_thing(printing, run_out, printer, moonraker):
    """A fault with a remedy becomes a dialog; its button reaches the printer, and the dialog goes."""
    since = printing.mark()
    wait_for(lambda: completion(printing) > 0, "the print is under way", 180)
    run_out()
    printing.wait_state("Paused", seconds=60)
    if printer.kind == "elegoo_cc1":
        # It reports a pause and no more (elegoo.md 2.7): there is nothing to ask about.
        wait_for(lambda: any("action:notification" in line for line in printing.received(since)), "it is told so")
        return
    shown = wait_for(lambda: printing.prompt().get("choices") and printing.prompt(), "a dialog", 30)
    assert shown["text"].strip() and "Stop the print" in shown["choices"], shown
    printing.press("Stop the print")
    wait_for(lambda: moonraker.print_state() == "cancelled", "the printer stops", 60)
    printing.wait_state("Operational")
    wait_for(lambda: not printing.prompt().get("choices"), "the dialog has gone", 30)


def test_print_fails_at_the_printer(printing, printer, moonraker):
    wait_for(lambda: completion(printing) > 0, "the print is under way", 180)
    since = printing.mark()
    if printer.kind == "bambu":
        printer.simulator().fault("fail_job", code=0x0300_8008)
    else:
        printer.simulator().fault("fail")
    printing.wait_state("Operational", seconds=60)
    wait_for(lambda: moonraker.print_state() == "error", "the print failed", 30)
    assert any("action:notification" in line for line in printing.received(since)), "OctoPrint is told why"


def test_cancel_at_the_printer(printing, moonraker):
    moonraker.call("printer.print.cancel", seconds=60)
    printing.wait_state("Operational")
    holds_for(lambda: printing.state() == "Operational", "Operational", 3)


def test_cancel_at_the_printer_while_paused(printing, moonraker):
    pause_at_the_printer(moonraker)
    printing.wait_state("Paused")
    moonraker.call("printer.print.cancel", seconds=60)
    printing.wait_state("Operational")


def test_print_started_elsewhere(octoprint, cube, moonraker):
    moonraker.call("printer.print.start", {"filename": "cube.gcode"}, 60)
    octoprint.wait_state("Printing", seconds=60)
    wait_for(lambda: octoprint.job()["job"]["file"]["path"].lstrip("/") == cube["path"].lstrip("/"), "the right file")
    moonraker.call("printer.print.cancel", seconds=60)
    octoprint.wait_state("Operational")


def test_connect_during_a_print(server, idle_printer, moonraker):
    since = server.mark()
    moonraker.call("printer.print.start", {"filename": "cube.gcode"}, 60)
    wait_for(lambda: moonraker.print_state() == "printing", "the printer prints", 60)
    wait_for(lambda: idle_printer.pty in server.ports(), "the pty is offered")
    server.connect(idle_printer.pty)
    server.wait_state("Printing", seconds=60)
    server.disconnect()
    wait_for(lambda: moonraker.print_state() == "printing", "disconnecting does not stop a print", 10)
    holds_for(lambda: moonraker.print_state() == "printing", "the print goes on", 3)
    assert server.trouble(since) == []


def test_pause_before_the_job_has_begun(octoprint, cube, moonraker):
    """Pressed while the gateway still sends the file or the printer unpacks it: paused as soon as it begins."""
    octoprint.select(cube, start=True)
    octoprint.wait_state("Printing")
    octoprint.pause()
    octoprint.wait_state("Paused", seconds=8)
    wait_for(lambda: moonraker.print_state() == "paused", "the printer pauses", 60)
    holds_for(lambda: octoprint.state() == "Paused", "Paused", 3)
    octoprint.resume()
    octoprint.wait_state("Printing")
    wait_for(lambda: moonraker.print_state() == "printing", "the printer goes on", 60)
    octoprint.cancel()
    octoprint.wait_state("Operational")
    wait_for(lambda: moonraker.print_state() == "cancelled", "the printer stops", 60)


def test_second_start_is_refused(printing, cube, moonraker):
    before = moonraker.call("server.history.list", {"limit": 0})["count"]
    answer = printing.request("POST", f"/api/files/{printing.storage}/{cube['path'].lstrip('/')}", json={"command": "select", "print": True})
    assert answer.status_code == 409, "OctoPrint itself refuses"
    printing.command("M24", "M23 /none.gco")
    holds_for(lambda: moonraker.print_state() == "printing", "the print goes on", 3)
    assert moonraker.call("server.history.list", {"limit": 0})["count"] == before


def test_upload_over_serial(octoprint, moonraker):
    """M28/M29: lands in the library, or is refused in words; in either case the transfer ends (section 8.3)."""
    since = octoprint.mark()
    lines = "".join(f"G1 X{n % 100} Y{n % 80} F1200\n" for n in range(3000))
    octoprint.upload("serial upload.gcode", lines.encode(), location=octoprint.storage)
    wait_for(lambda: any("M29" in line for line in octoprint.sent(since)), "the transfer ends", 120)
    octoprint.wait_state("Operational", seconds=60)
    refused = any("action:notification" in line for line in octoprint.received(since))

    def listed():
        files = moonraker.call("server.files.list", {"root": "gcodes"})
        return [f for f in files if f["path"].lower().startswith("serial") and f["size"] > 30_000]
    if not refused:
        wait_for(listed, "the file is in the library", 30)


STUB = b"; nothing a slicer made\nG28\nG1 X10 Y10 F3000\nG1 X20\n" + b"G1 X30 Y30 E1 F1200\n" * 500


def test_streamed_file_that_is_not_sliced_is_refused(octoprint, moonraker):
    """Design D11: refused in words before anything moves."""
    since = octoprint.mark()
    octoprint.upload("stub.gcode", STUB, select="true", print="true")
    wait_for(lambda: any("action:notification" in line for line in octoprint.received(since)), "a notification", 30)
    octoprint.wait_state("Operational", "Paused", seconds=60)
    assert moonraker.print_state() == "standby", "nothing was started"


# Real output of a slicer for no particular machine.
GENERIC = Path(__file__).resolve().parents[2] / "fixtures/gcode/prusaslicer-2.5.0/box.gcode"


def test_streamed_file_of_a_generic_profile(octoprint, moonraker, printer):
    """Decision 004: dangerous on a Bambu, and taken by printers whose own files look no different."""
    since = octoprint.mark()
    octoprint.upload("generic.gcode", GENERIC.read_bytes(), select="true", print="true")
    if printer.kind == "bambu":
        wait_for(lambda: any("not sliced for" in line for line in octoprint.received(since)), "the reason", 60)
        octoprint.wait_state("Operational", seconds=60)
        assert moonraker.print_state() == "standby", "nothing was started"
        return
    wait_for(lambda: moonraker.print_state() == "printing", "the printer prints it", 120)
    octoprint.wait_state("Printing", seconds=60)
    octoprint.cancel()
    octoprint.wait_state("Operational", seconds=60)
    wait_for(lambda: moonraker.print_state() == "cancelled", "the printer stops", 60)


def test_streamed_file_of_another_machine_is_refused(octoprint, moonraker):
    """A file that names or changes another machine is refused by every printer."""
    since = octoprint.mark()
    foreign = b'M862.3 P "MK3S"\nM92 E400\n' + GENERIC.read_bytes()
    octoprint.upload("foreign.gcode", foreign, select="true", print="true")
    wait_for(lambda: any("was not started" in line for line in octoprint.received(since)), "the reason", 60)
    octoprint.wait_state("Operational", seconds=60)
    assert moonraker.print_state() == "standby", "nothing was started"


def test_streamed_file_that_is_sliced_becomes_a_job(octoprint, moonraker, printer):
    """Design D11: assembled, sent, started, and shown as the printer's own print."""
    sliced = http("GET", printer.url + "/server/files/gcodes/cube.gcode").content
    if printer.kind == "bambu":
        # Comments are stripped, so nothing names the material: it is printed with what is loaded.
        octoprint.command("LOAD_FILAMENT SLOT=0.0")
        loaded = printer.simulator().truth
        wait_for(lambda: loaded()["tray_now"] == 0, "the filament is loaded", 60)
    octoprint.upload("streamed cube.gcode", sliced, select="true", print="true")
    wait_for(lambda: moonraker.print_state() == "printing", "the printer prints it", 180)
    octoprint.wait_state("Printing", seconds=60)
    with Moonraker(printer.url) as client:
        client.call("printer.print.cancel", seconds=60)
    octoprint.wait_state("Operational", seconds=60)
