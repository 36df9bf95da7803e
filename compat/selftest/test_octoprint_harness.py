"""The OctoPrint harness itself, against OctoPrint's own virtual printer: what fails here is not the gateway's fault."""

import pytest

from harness.octoprint_server import OctoPrint
from harness.waiting import wait_for

# Dwells make the job last about a minute: long enough to pause in.
JOB = "".join(f"G4 P100\nG1 X{n % 100} Y{n % 50} F3000\n" for n in range(600))


@pytest.fixture(scope="module", params=[1, 2])
def octoprint(request):
    with OctoPrint(f"selftest{request.param}", virtual=True, major=request.param) as server:
        sd = next(server.base.rglob("virtualSd"), server.base / "virtualSd")
        sd.mkdir(exist_ok=True)
        (sd / "a_long_name.gcode").write_text(JOB)
        server.connect_and_wait("VIRTUAL", seconds=60)
        yield server


def test_temperatures_and_targets(octoprint):
    wait_for(lambda: octoprint.temperatures()["tool0"]["actual"] > 0, "tool temperature")
    octoprint.tool_target(45)
    octoprint.bed_target(35)
    wait_for(lambda: octoprint.temperatures()["tool0"]["target"] == 45, "tool target")
    wait_for(lambda: octoprint.temperatures()["bed"]["target"] == 35, "bed target")
    octoprint.tool_target(0)
    octoprint.bed_target(0)


def test_print_from_storage_with_pause_and_cancel(octoprint):
    since = octoprint.mark()
    entry = wait_for(lambda: octoprint.printer_files(), "the file is listed")[0]
    octoprint.select(entry, start=True)
    octoprint.wait_state("Printing")
    wait_for(lambda: (octoprint.job()["progress"]["completion"] or 0) > 0, "progress")
    octoprint.pause()
    octoprint.wait_state("Paused")
    octoprint.resume()
    # The virtual printer may take a resume for the end of the job, so the cancel gets a print of its own.
    if octoprint.wait_state("Printing", "Operational", "Finishing") != "Printing":
        octoprint.wait_state("Printing", "Operational")
    if octoprint.state() == "Operational":
        octoprint.start_job()
        octoprint.wait_state("Printing")
    octoprint.cancel()
    octoprint.wait_state("Operational")
    seen = octoprint.transitions(since)
    assert {"Pausing", "Paused", "Resuming", "Cancelling"} <= set(seen), seen
    assert octoprint.sent(since) and octoprint.received(since), "the serial log is read"


def test_trouble_is_recognised(octoprint):
    since = octoprint.mark()
    octoprint.command("!!DEBUG:trigger_resend_lineno")
    octoprint.command("N1 M105*1")
    wait_for(lambda: octoprint.trouble(since), "a provoked resend is found in the log")


def test_reconnect(octoprint):
    octoprint.disconnect()
    octoprint.connect_and_wait("VIRTUAL")
