"""History and totals as Moonraker keeps them, with jobs that another program started."""

import json
import time
from pathlib import Path

import pytest
import websocket

from harness import sliced
from harness.single import farm
from harness.waiting import wait_for

GOLDEN = Path(__file__).resolve().parents[2] / "fixtures" / "moonraker" / "klippy_ready"


@pytest.fixture(scope="module")
def gateway():
    with farm("cc1", "files-history") as gateway:
        name, content = sliced.for_printer("cc1", seconds=200)
        assert gateway.upload(name, content).status_code == 201
        yield gateway


def golden(name):
    recorded = json.loads((GOLDEN / f"{name}.json").read_text())
    return (recorded.get("http") or {}).get("body", {}).get("result") or recorded["ws"]["response"]["result"]


def rounded(value):
    """Times to a millisecond: a database of JSON text may lose the last bit."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 3) if isinstance(value, float) else value


def print_to_the_end(gateway, end="complete"):
    assert gateway.post("/printer/print/start", json={"filename": "cube.gcode"}).ok
    gateway.until_phase("printing")
    if end == "cancelled":
        assert gateway.post("/printer/print/cancel").ok
    gateway.until_state(end)


def printed_before(gateway):
    """Tests may be run alone."""
    if not gateway.history():
        print_to_the_end(gateway)


def start_elsewhere(gateway, file):
    """As another client of the printer starts a file (fixtures/elegoo/captured/cc1-request-start-print-128.json)."""
    request = json.loads((GOLDEN.parents[1] / "elegoo/captured/cc1-request-start-print-128.json").read_text())
    request["Data"]["Data"]["Filename"] = f"/local/{file}"
    request["Data"]["TimeStamp"] = int(time.time() * 1000)
    address = gateway.printer.told["addresses"]["websocket"]
    client = websocket.create_connection(f"ws://{address}/websocket", timeout=10)
    client.send(json.dumps(request))
    client.recv()
    client.close()


def test_what_was_printed_is_kept_with_its_figures(gateway):
    print_to_the_end(gateway)
    print_to_the_end(gateway, "cancelled")
    wait_for(lambda: len(gateway.history()) == 2 and all(j["end_time"] for j in gateway.history()), "two ended jobs", 20)
    last, first = gateway.history()
    # `before` bounds the end of a job, and -1 is no bound (moonraker history.py).
    asked = lambda query: gateway.get(f"/server/history/list?{query}")["count"]  # noqa: E731
    assert asked("before=-1&since=-1") == 2 and asked(f"before={last['end_time']}") == 1
    assert asked(f"before={first['end_time']}") == 0 and asked(f"since={first['start_time']}") == 1
    assert (first["status"], last["status"]) == ("completed", "cancelled")
    assert (first["job_id"], last["job_id"]) == ("000001", "000002")
    for job in (first, last):
        assert job.keys() == golden("server.history.list_filled")["jobs"][0].keys()
        assert job["exists"] and job["filename"] == "cube.gcode"
        assert job["metadata"]["layer_count"] == 40 and job["metadata"]["filament_total"] == 1210.5
        assert job["end_time"] > job["start_time"]
        assert job["total_duration"] >= job["print_duration"] > 0
    assert first["filament_used"] == pytest.approx(1210.5) and 0 <= last["filament_used"] < first["filament_used"]
    totals = gateway.get("/server/history/totals")
    assert totals.keys() == golden("server.history.totals_filled").keys()
    totals, jobs = totals["job_totals"], (first, last)
    assert totals.keys() == golden("server.history.totals_filled")["job_totals"].keys()
    assert totals["total_jobs"] == 2
    for key, part in (("total_time", "total_duration"), ("total_print_time", "print_duration"), ("total_filament_used", "filament_used")):
        assert totals[key] == pytest.approx(sum(job[part] for job in jobs))
    assert totals["longest_job"] == pytest.approx(max(job["total_duration"] for job in jobs))
    assert totals["longest_print"] == pytest.approx(max(job["print_duration"] for job in jobs))


def test_it_outlives_a_kill_and_the_file(gateway):
    printed_before(gateway)
    before, totals = gateway.history(), gateway.get("/server/history/totals")
    gateway.kill()
    gateway.start()
    assert rounded(gateway.history()) == rounded(before)
    assert rounded(gateway.get("/server/history/totals")) == rounded(totals)
    record = gateway.get("/server/files/metadata?filename=cube.gcode")
    assert record["job_id"] == before[0]["job_id"] and record["print_start_time"] == before[0]["start_time"]


def test_a_job_that_another_program_started_is_known_by_its_file(gateway):
    printed_before(gateway)
    starts, known = gateway.printer.starts(), len(gateway.history())
    start_elsewhere(gateway, "cube.gcode")
    gateway.until_state("printing")
    assert gateway.printer.starts() == starts + 1
    wait_for(lambda: gateway.query("print_stats")["print_stats"]["filename"] == "cube.gcode", "its name", 20)
    job = wait_for(lambda: len(gateway.history()) == known + 1 and gateway.history()[0], "its entry", 20)
    assert job["status"] == "in_progress"
    wait_for(lambda: gateway.history()[0]["metadata"].get("layer_count") == 40, "its metadata", 20)
    # It can be steered like any other, and is counted.
    assert gateway.post("/printer/print/pause").ok
    gateway.until_state("paused")
    assert gateway.post("/printer/print/resume").ok
    gateway.until_state("complete")
    wait_for(lambda: gateway.history()[0]["status"] == "completed", "completed", 20)
    assert gateway.get("/server/history/totals")["job_totals"]["total_jobs"] == known + 1


def test_the_queue_never_goes_on_by_itself(gateway):
    """The next job starts when somebody who saw the bed says so, by `job_queue/start`."""
    for _ in range(2):
        assert gateway.post("/server/job_queue/job", json={"filenames": ["cube.gcode"]}).ok
    starts = gateway.printer.starts()
    assert gateway.post("/server/job_queue/start").ok
    gateway.until_phase("printing")
    assert gateway.printer.starts() == starts + 1
    busy = gateway.post("/server/job_queue/start")
    assert not busy.ok, busy.text
    gateway.until_state("complete")
    wait_for(lambda: gateway.history()[0]["status"] == "completed", "completed", 20)
    time.sleep(2)
    assert gateway.printer.starts() == starts + 1 and not gateway.printer.busy()
    queue = gateway.get("/server/job_queue/status")
    assert len(queue["queued_jobs"]) == 1 and queue["queue_state"] == "paused"
