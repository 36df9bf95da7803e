"""The printer loses its power while its file is on the way, and is back at once: nothing starts by itself."""

import pytest

from harness import sliced
from harness.waiting import holds_for, wait_for

SIZE = 12 << 20


@pytest.fixture
def on_the_way(gateway):
    """A big file of which some bytes are at the printer."""
    gateway.printer.slow_files(True, 400_000, 500)
    name, content = sliced.padded(gateway.printer.model, SIZE)
    assert gateway.upload(name, content).status_code == 201
    assert gateway.post("/printer/print/start", json={"filename": "big.gcode"}).ok
    wait_for(lambda: (gateway.status()["job"].get("transfer") or {}).get("sent", 0) > 0, "some bytes", 30, 0.05)
    return gateway


@pytest.mark.parametrize("lose", ["blink", "drop"])
def test_a_printer_that_is_back_at_once_waits_for_a_person(on_the_way, lose):
    gateway, printer = on_the_way, on_the_way.printer
    getattr(printer, lose)()
    # From now on the way is free: what is sent on arrives.
    printer.slow_files(False)
    gateway.until_phase("failed", seconds=120)
    reason = gateway.status()["job"]["reason"]
    assert "not start by itself" in reason or "nothing was started" in reason, reason
    gateway.wait_online(60)
    # Each front end says so.
    stats = gateway.query("print_stats")["print_stats"]
    assert stats["state"] == "error" and stats["message"] == reason, stats
    code, told = gateway.cli("status", printer.model)
    assert code == 0 and reason in told, told
    [job] = wait_for(lambda: [job for job in gateway.history() if job["status"] == "error"], "history", 20)
    assert job["filename"] == "big.gcode" and job["print_duration"] == 0, job
    assert any(reason in line["message"] for line in gateway.get("/server/gcode_store?count=100")["gcode_store"])
    holds_for(lambda: printer.starts() == 0, "it does not start by itself", 3)
    # The half file goes, and a person starts it again: once.
    wait_for(lambda: not any(f.startswith("big") for f in gateway.printer_files() or ["big"]), "part removed", 90, 1)
    wait_for(lambda: gateway.post("/printer/print/start", json={"filename": "big.gcode"}).ok, "started again", 90, 1)
    gateway.until_phase("preparing", "printing", seconds=120)
    assert printer.starts() == 1
