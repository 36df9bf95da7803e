"""The gateway dies at every phase of a job: it comes back to the truth, and the printer got one start at most.

Each phase on each printer is a life of its own, with its own gateway and simulator. They spend their time waiting for
prints, so several of them run beside each other; the tests tell how each one ended.
"""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import requests

from harness import sliced
from harness.single import Gateway, SimulatedPrinter
from harness.waiting import holds_for, wait_for

# Lives beside each other.
BESIDE = 6


def in_background(act, *arguments):
    """Runs `act` while the gateway may die under it."""
    def run():
        with contextlib.suppress(requests.RequestException, AssertionError):
            act(*arguments)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def put(gateway, **options):
    name, content = sliced.for_printer(gateway.printer.model, **options)
    answer = gateway.upload(name, content)
    assert answer.status_code == 201, answer.text
    return "cube.gcode"


def start(gateway, name="cube.gcode"):
    answer = gateway.post("/printer/print/start", json={"filename": name})
    assert answer.ok, answer.text


def printing(gateway, **options):
    start(gateway, put(gateway, **options))
    gateway.until_phase("printing")


def ends_well(gateway, entries=1):
    """The print goes to its end, is told as complete, and is one entry of the history."""
    gateway.until_state("complete", seconds=150)
    jobs = wait_for(lambda: [j for j in gateway.history() if j["status"] == "completed"], "history completed", 20)
    assert len(gateway.history()) == entries, gateway.history()
    assert gateway.printer.starts() == 1
    return jobs[0]


def while_a_file_is_uploaded(gateway, print_it):
    """Also one that is to be printed when it is there, as slicers send it."""
    content = sliced.gcode(extra=b"; filler\n" * 2_000_000)
    body = (b'--b\r\nContent-Disposition: form-data; name="print"\r\n\r\n' + print_it.encode() + b"\r\n"
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="half.gcode"\r\n\r\n' + content + b"\r\n--b--\r\n")
    with socket.create_connection(("127.0.0.1", gateway.moonraker_port)) as half:
        half.sendall(b"POST /server/files/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                     + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) // 2])
        incoming = gateway.library
        wait_for(lambda: any(p.is_file() and p.stat().st_size > 1 << 20 for p in incoming.rglob("*")), "half a file", 20)
        gateway.kill()
    gateway.start()
    listed = gateway.get("/server/files/list?root=gcodes")
    assert not [f for f in listed if "half" in f["path"]], listed
    leftovers = [p for p in incoming.rglob("*") if p.is_file() and p.stat().st_size > 1 << 20]
    assert not leftovers, leftovers
    assert gateway.printer.starts() == 0


def started_once_or_not_at_all(gateway):
    """Where the printer got nothing, nothing is sent by itself either."""
    assert gateway.printer.starts() <= 1
    if gateway.printer.starts() == 1:
        ends_well(gateway)
        return
    gateway.until_state("standby", "error", seconds=130)
    holds_for(lambda: gateway.printer.starts() == 0, "no start", 2)


def while_a_file_is_looked_into(gateway):
    """What lay on the disk is known after the restart, and can be printed."""
    name, content = sliced.padded(gateway.printer.model, 16 << 20)
    gateway.stop()
    (gateway.library / name).write_bytes(content)
    gateway.start(online=False)
    gateway.kill()
    gateway.start()
    wait_for(lambda: gateway.get("/server/files/metadata?filename=big.gcode").get("estimated_time"), "metadata", 60, 0.2)
    start(gateway, "big.gcode")
    gateway.until_phase("printing", seconds=240)
    assert gateway.printer.starts() == 1


def after_an_upload_that_is_to_be_printed(gateway, wait):
    name, content = sliced.for_printer(gateway.printer.model)
    sending = in_background(lambda: gateway.upload(name, content, print="true"))
    time.sleep(wait)
    gateway.kill()
    sending.join(30)
    gateway.start()
    started_once_or_not_at_all(gateway)


def while_the_file_goes_to_the_printer(gateway):
    gateway.printer.slow_files(True, 400_000, 500)
    name, content = sliced.padded(gateway.printer.model, 12 << 20)
    assert gateway.upload(name, content).status_code == 201
    start(gateway, "big.gcode")
    wait_for(lambda: gateway.status()["job"]["phase"] == "transferring", "transferring", 20, 0.02)
    wait_for(lambda: (gateway.status()["job"].get("transfer") or {}).get("sent", 0) > 0, "some bytes", 20, 0.05)
    gateway.kill()
    gateway.printer.slow_files(False)
    gateway.start()
    assert gateway.until_state("error", "standby", seconds=30)
    assert gateway.printer.starts() == 0
    assert not list(gateway.library.glob(".sending-*")), "no copy that was made for the printer"
    job = gateway.history()[0] if gateway.history() else None
    assert job is None or job["status"] != "in_progress", job
    # What was half sent is removed, and the printer can be used at once.
    wait_for(lambda: not any(f.startswith("big") for f in gateway.printer_files() or ["big"]), "part removed", 60, 1)
    # An Elegoo counts as receiving until it gives the transfer up.
    name = put(gateway)
    wait_for(lambda: gateway.post("/printer/print/start", json={"filename": name}).ok, "a start is taken", 60, 1)
    gateway.until_phase("printing", "preparing")
    assert gateway.printer.starts() == 1


def between_the_start_and_its_landing(gateway):
    printer = gateway.printer
    if printer.kind == "bambu":
        printer.control.fault("delayed_start", seconds=3)
    name = put(gateway)
    in_background(start, gateway, name)
    wait_for(lambda: printer.starts() == 1, "start received", 60, 0.005)
    gateway.kill()
    gateway.start()
    job = ends_well(gateway)
    assert job["filename"] == "cube.gcode"


def shortly_after_the_start_was_asked_for(gateway, wait):
    name = put(gateway)
    asking = in_background(start, gateway, name)
    time.sleep(wait)
    gateway.kill()
    asking.join(30)
    gateway.start()
    started_once_or_not_at_all(gateway)


def while_it_prints(gateway):
    printing(gateway, seconds=400)
    before = gateway.history()[0]["job_id"]
    gateway.kill()
    gateway.start()
    gateway.until_state("printing")
    assert gateway.query("print_stats")["print_stats"]["filename"] == "cube.gcode"
    job = ends_well(gateway)
    assert job["job_id"] == before
    assert job["total_duration"] >= job["print_duration"] > 0


def while_it_pauses(gateway):
    """Whether the printer heard of it is up to the moment: the gateway shows what the printer does."""
    printing(gateway, seconds=400)
    in_background(gateway.post, "/printer/print/pause")
    wait_for(lambda: gateway.phase() in ("pausing", "paused"), "pausing", 30, 0.01)
    gateway.kill()
    gateway.start()

    def goes_on_to_its_end():
        # The pause may become true only now.
        if gateway.print_state() == "paused":
            gateway.post("/printer/print/resume")
        return gateway.print_state() == "complete"
    wait_for(goes_on_to_its_end, "the end of the print", 150)
    ends_well(gateway)


def while_it_is_paused(gateway):
    printing(gateway, seconds=400)
    assert gateway.post("/printer/print/pause").ok
    gateway.until_state("paused")
    gateway.kill()
    gateway.start()
    gateway.until_state("paused")
    holds_for(lambda: gateway.print_state() == "paused", "paused", 2)
    assert gateway.post("/printer/print/resume").ok
    ends_well(gateway)


def while_it_finishes(gateway):
    # Long enough that its last fifth outlasts a look, also on a busy machine.
    printing(gateway, seconds=800)
    wait_for(lambda: gateway.query("virtual_sdcard")["virtual_sdcard"]["progress"] > 0.8, "nearly done", 90, 0.05)
    gateway.kill()
    assert gateway.printer.busy(), "the end comes when nobody looks"
    wait_for(lambda: not gateway.printer.busy(), "the printer finished alone", 90)
    gateway.start()
    # A Centauri Carbon 2 forgets at once what it printed: its list of jobs tells.
    job = ends_well(gateway)
    assert job["filename"] == "cube.gcode"
    if gateway.printer.kind == "bambu":
        # A file left in the root could start by itself after a power cut (bambu.md T20).
        wait_for(lambda: gateway.printer_files() == [], "left clean", 60, 1)


def while_it_is_cancelled(gateway):
    printing(gateway, seconds=400)
    in_background(gateway.post, "/printer/print/cancel")
    wait_for(lambda: gateway.phase() in ("cancelling", "cancelled"), "cancelling", 30, 0.01)
    gateway.kill()
    gateway.start()
    # Whether the printer heard of it is up to the moment: the gateway tells what the printer does.
    ended = gateway.until_state("cancelled", "error", "standby", "complete", seconds=90)
    assert not gateway.printer.busy()
    jobs = wait_for(lambda: (jobs := gateway.history()) and jobs[0]["status"] != "in_progress" and jobs, "history", 20)
    assert len(jobs) == 1 and (ended == "complete") == (jobs[0]["status"] == "completed"), jobs
    assert gateway.printer.starts() == 1


PHASES = {
    "uploading": partial(while_a_file_is_uploaded, print_it="false"),
    "uploading-to-print": partial(while_a_file_is_uploaded, print_it="true"),
    "reading": while_a_file_is_looked_into,
    "uploaded-0.1": partial(after_an_upload_that_is_to_be_printed, wait=0.1),
    "uploaded-0.5": partial(after_an_upload_that_is_to_be_printed, wait=0.5),
    "transferring": while_the_file_goes_to_the_printer,
    "starting": between_the_start_and_its_landing,
    "asked-0.0": partial(shortly_after_the_start_was_asked_for, wait=0.0),
    "asked-0.05": partial(shortly_after_the_start_was_asked_for, wait=0.05),
    "asked-0.15": partial(shortly_after_the_start_was_asked_for, wait=0.15),
    "asked-0.4": partial(shortly_after_the_start_was_asked_for, wait=0.4),
    "printing": while_it_prints,
    "pausing": while_it_pauses,
    "paused": while_it_is_paused,
    "finishing": while_it_finishes,
    "cancelling": while_it_is_cancelled,
}


def life(phase, model):
    """One gateway and one printer, killed in this phase."""
    printer = SimulatedPrinter(model, speed=40, label=f"kill-{phase}-simulated")
    try:
        with Gateway(printer, label=f"kill-{phase}-gateway") as gateway:
            PHASES[phase](gateway)
    finally:
        printer.stop()


@pytest.fixture(scope="session")
def lives(request):
    """The lives of all tests that were asked for, on their way."""
    chosen = [item.callspec.params for item in request.session.items if item.originalname == "test_killed"]
    pool = ThreadPoolExecutor(BESIDE)
    yield {(each["phase"], each["model"]): pool.submit(life, each["phase"], each["model"]) for each in chosen}
    pool.shutdown(cancel_futures=True)


# A life may wait for its turn behind others.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("phase", PHASES)
def test_killed(lives, phase, model):
    lives[phase, model].result()
