"""One gateway per simulated model, with the maker's own messages allowed and no serial port."""

from contextlib import contextmanager

import pytest

from harness.moonraker import Moonraker
from harness.single import Gateway, SimulatedPrinter
from harness.waiting import wait_for

SPEED = 40


class Bench:
    """A simulated printer, the gateway in front of it, and a Moonraker client of that."""

    def __init__(self, model, printer, gateway, client):
        self.model, self.printer, self.gateway, self.client = model, printer, gateway, client

    def requests(self):
        """Everything that came on the request topic, but what asks for reports and clears step markers."""
        commands = self.printer.truth()["counters"]["commands"]
        cleared = {"param": "M1002 gcode_claim_action : 0\n"}
        return [
            (entry["category"], entry["payload"]) for entry in commands
            if entry["category"] != "pushing" and not cleared.items() <= entry["payload"].items()
        ]

    def sent(self, script, seconds=60):
        """What the printer received because of this script: category and message, without their running number."""
        before = len(self.requests())
        self.client.gcode(script, seconds)
        fresh = self.requests()[before:]
        for _, payload in fresh:
            assert isinstance(payload["sequence_id"], str) and 0 < int(payload["sequence_id"]) < 2**31, payload
        return [(category, {k: v for k, v in payload.items() if k != "sequence_id"}) for category, payload in fresh]

    def shows(self, what, probe, seconds=40):
        """Waits for something in the objects or in the printer itself."""
        return wait_for(probe, f"{self.model}: {what}", seconds)

    def object(self, name):
        return self.client.query(name)[name]

    def rest(self):
        """Waits until nothing is under way."""
        self.shows("rest", lambda: self.printer.truth()["gcode_state"] not in ("PREPARE", "RUNNING", "PAUSE"), 90)
        self.shows("rest", lambda: self.client.print_state() not in ("printing", "paused"))


@contextmanager
def bench_of(model, settings="allow_vendor_json = true"):
    printer = SimulatedPrinter(model, SPEED, "commands")
    try:
        gateway = Gateway(printer, "commands", printer_settings=f"pty = false\n{settings}")
        try:
            gateway.start()
            with Moonraker(gateway.url, seconds=60) as client:
                yield Bench(model, printer, gateway, client)
        finally:
            gateway.remove()
    finally:
        printer.stop()


@pytest.fixture(scope="module")
def bench(request):
    with bench_of(request.param) as made:
        yield made
