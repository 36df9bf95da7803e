"""The queue starts a job only when somebody says so: that is how a user confirms that the bed is clear."""

from harness import sliced
from harness.waiting import holds_for, wait_for


def put(gateway, *names):
    stored, content = sliced.for_printer(gateway.printer.model, seconds=60)
    ending = stored.removeprefix("cube")
    for name in names:
        answer = gateway.upload(f"{name}{ending}", content)
        assert answer.status_code == 201, answer.text
    return [f"{name}.gcode" for name in names]


def queue(gateway):
    status = gateway.get("/server/job_queue/status")
    return status["queue_state"], [job["filename"] for job in status["queued_jobs"]]


def start(gateway):
    return gateway.post("/server/job_queue/start")


def test_the_next_job_waits_until_the_bed_is_said_to_be_clear(gateway):
    first, second = put(gateway, "first", "second")
    assert gateway.post("/server/job_queue/job", json={"filenames": [first, second]}).ok
    holds_for(lambda: gateway.printer.starts() == 0, "no start by itself", 2)
    assert start(gateway).ok
    gateway.until_phase("printing")
    assert queue(gateway) == ("paused", [second])
    # Nor is it loaded while the printer prints, nor when it has finished.
    assert start(gateway).status_code == 400
    gateway.until_state("complete")
    holds_for(lambda: gateway.printer.starts() == 1 and queue(gateway) == ("paused", [second]), "it waits", 3)
    gateway.kill()
    gateway.start()
    holds_for(lambda: gateway.printer.starts() == 1 and queue(gateway) == ("paused", [second]), "it still waits", 3)
    assert start(gateway).ok
    gateway.until_phase("printing")
    assert gateway.printer.starts() == 2 and queue(gateway) == ("paused", [])
    assert gateway.query("print_stats")["print_stats"]["filename"] == second


def test_killed_as_the_queue_starts_a_job(gateway):
    """It was started once and is not in the queue any more."""
    if gateway.printer.kind == "bambu":
        gateway.printer.control.fault("delayed_start", seconds=3)
    first, second = put(gateway, "first", "second")
    assert gateway.post("/server/job_queue/job", json={"filenames": [first, second]}).ok
    assert start(gateway).ok
    wait_for(lambda: gateway.printer.starts() == 1, "start received", 60, 0.005)
    gateway.kill()
    gateway.start()
    gateway.until_phase("printing", "complete")
    assert queue(gateway) == ("paused", [second])
    gateway.until_state("complete", seconds=150)
    holds_for(lambda: gateway.printer.starts() == 1, "one start", 2)
