"""A transfer to the printer: its progress in every front end, its end by a cancel from any of them, and what it leaves."""

import json
import re
import subprocess
import threading

import pytest

from harness import sliced
from harness.demo import binary
from harness.moonraker import http
from harness.waiting import holds_for, wait_for

SIZE = 24 << 20


def ready(gateway, file):
    """An Elegoo counts as receiving until it gives up what was cancelled before."""
    dry_run = ("print", file, "--library", "--printer", gateway.printer.model, "--dry-run")
    wait_for(lambda: gateway.cli(*dry_run)[0] == 0, f"nothing against {file}", 60, 1)


@pytest.fixture
def slow(lasting):
    """A printer that takes about half a minute for the big file."""
    printer = lasting.printer

    def throttle(on):
        if printer.kind == "bambu":
            printer.control.fault("slow_ftp", bytes_per_second=800_000 if on else 0)
        else:
            printer.control.fault("slow", millis=1000 if on else 0)

    name, content = sliced.padded(printer.model, SIZE)
    if not (lasting.library / name).exists():
        assert lasting.upload(name, content).status_code == 201
    ready(lasting, "big.gcode")
    throttle(True)
    yield lasting
    throttle(False)
    if lasting.print_state() in ("printing", "paused"):
        lasting.post("/printer/print/cancel")
    lasting.until_state("standby", "cancelled", "complete", "error")


def begin(gateway):
    """Starts the big file; a printer that still counts the last transfer as under way is asked again."""
    wait_for(lambda: gateway.post("/printer/print/start", json={"filename": "big.gcode"}).ok, "the start is taken", 60, 1)
    wait_for(lambda: sent(gateway) > 0, "bytes on their way", 30, 0.05)


def sent(gateway):
    return (gateway.status()["job"].get("transfer") or {}).get("sent", 0)


def left_clean(gateway, starts):
    """Nothing was started, and nothing of the file stays where it could start by itself."""
    assert gateway.printer.starts() == starts
    gateway.until_state("cancelled", "standby", "error")
    wait_for(lambda: "big" not in json.dumps(gateway.printer_files()), "part removed", 60, 1)


def test_progress_is_told_everywhere_and_a_moonraker_client_cancels(slow):
    starts = slow.printer.starts()
    with slow.moonraker() as client:
        client.subscribe({"print_stats": None, "display_status": None, "virtual_sdcard": None})
        begin(slow)
        assert client.print_state() == "printing"
        seen = wait_for(lambda: re.search(r"\d+ ?%", client.status["display_status"]["message"] or "") and
                        client.status["display_status"]["message"], "progress in Mainsail's message line", 20)
        print(seen)
    # OctoPrint REST, as apps ask it.
    job = http("GET", slow.url + "/api/job").json()
    assert job["state"] in ("Printing", "Starting", "Transferring file to SD", "Sending file to SD"), job
    # The status page and the command line.
    first = sent(slow)
    wait_for(lambda: sent(slow) > first, "it moves", 20)
    code, told = slow.cli("status", slow.printer.model)
    assert code == 0 and ("transferring" in told.lower() or "sending" in told.lower()), told
    assert slow.post("/printer/print/cancel").ok
    left_clean(slow, starts)


def test_octoprint_cancels(slow):
    starts = slow.printer.starts()
    begin(slow)
    assert slow.post("/api/job", json={"command": "cancel"}).status_code == 204
    left_clean(slow, starts)


def test_the_command_line_follows_and_cancels(slow):
    starts = slow.printer.starts()
    model = slow.printer.model
    following = subprocess.Popen(
        [str(binary()), "print", "big.gcode", "--library", "--printer", model, "--wait",
         "--gateway", f"http://127.0.0.1:{slow.gateway_port}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
    )
    output = []
    threading.Thread(target=lambda: output.append(following.stdout.read()), daemon=True).start()
    try:
        wait_for(lambda: sent(slow) > 0, "bytes on their way", 60, 0.05)
        code, told = slow.cli("cancel", model)
        assert code == 0, told
        following.wait(60)
        assert following.returncode == 1
        wait_for(lambda: output, "its output", 10)
        assert "ancel" in output[0], output[0]
    finally:
        if following.poll() is None:
            following.kill()
    left_clean(slow, starts)


def test_a_second_start_during_a_transfer_is_refused_and_the_same_one_is_not(slow):
    starts = slow.printer.starts()
    begin(slow)
    other = slow.upload("other" + ".gcode", sliced.gcode(note="another"))
    assert other.status_code == 201
    refused = slow.post("/printer/print/start", json={"filename": "other.gcode"})
    assert refused.status_code == 400 and "second" in refused.json()["error"]["message"], refused.text
    assert slow.post("/printer/print/start", json={"filename": "big.gcode"}).ok, "said twice"
    in_use = slow.upload("big.gcode.3mf" if slow.printer.kind == "bambu" else "big.gcode", b"G28\n")
    assert in_use.status_code == 403, in_use.text
    deleted = http("DELETE", slow.url + "/server/files/gcodes/big.gcode")
    assert deleted.status_code == 403, deleted.text
    assert slow.post("/printer/print/cancel").ok
    left_clean(slow, starts)


def test_a_pause_during_a_transfer_is_withdrawn_by_resume(slow):
    starts = slow.printer.starts()
    begin(slow)
    pausing = threading.Thread(target=lambda: slow.post("/printer/print/pause"), daemon=True)
    pausing.start()
    holds_for(lambda: slow.phase() == "transferring", "the transfer goes on", 1)
    assert slow.post("/printer/print/resume").ok
    pausing.join(20)
    assert not pausing.is_alive(), "the pause was answered"
    assert slow.post("/printer/print/cancel").ok
    left_clean(slow, starts)


def test_a_job_leaves_nothing_that_could_start_by_itself(lasting):
    """Finished, cancelled and failed jobs, by the list of the printer's own storage (bambu.md T20)."""
    name, content = sliced.for_printer(lasting.printer.model, seconds=100)
    assert lasting.upload("tidy" + name[4:], content).status_code == 201
    printer = lasting.printer
    for end in ("complete", "cancelled", "error"):
        ready(lasting, "tidy.gcode")
        assert lasting.post("/printer/print/start", json={"filename": "tidy.gcode"}).ok
        lasting.until_phase("printing")
        if end == "cancelled":
            assert lasting.post("/printer/print/cancel").ok
        elif end == "error":
            printer.control.fault(**({"name": "fail_job", "code": 0x0300_8003} if printer.kind == "bambu" else {"name": "fail"}))
        lasting.until_state(end)
        if printer.kind == "bambu":
            wait_for(lambda: "tidy" not in json.dumps(lasting.printer_files()), f"clean after {end}", 60, 1)


NAMES = ["Würfel größe 20%", "立方体 テスト", "مكعب & куб", "🧊" * 50]


def test_a_name_in_any_script_is_printed(lasting):
    """The printer gets a name that it takes; the front ends show the user's."""
    printer = lasting.printer
    name, content = sliced.for_printer(printer.model, seconds=300)
    for title in (*NAMES, "x" * (255 - len(name[4:]))):
        path = lasting.upload(title + name[4:], content).json()["item"]["path"]
        listed = [f["path"] for f in lasting.get("/server/files/list?root=gcodes")]
        [printable] = [p for p in listed if p.startswith(title[:40]) and p.endswith(".gcode")]
        ready(lasting, printable)
        before = printer.starts()
        answer = lasting.post("/printer/print/start", json={"filename": printable})
        assert answer.ok, answer.text
        lasting.until_phase("printing")
        assert lasting.query("print_stats")["print_stats"]["filename"] == printable
        assert lasting.post("/printer/print/cancel").ok
        lasting.until_state("cancelled")
        assert printer.starts() == before + 1 and path
