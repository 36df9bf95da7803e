"""Three printers with filament units behind one gateway, each put back to how it began before every test."""

import pytest

from harness.demo import Demo
from harness.moonraker import Moonraker, http, make_idle
from harness.waiting import wait_for

SPEED = 20
FARM = ("p1s", "h2d", "cc2")
# What the simulated CANVAS holds at first.
TRAYS = (("PLA", "#2850DF"), ("PLA", "#FFFFFF"), ("PLA", "#F32FF8"), (None, None))


@pytest.fixture(scope="session")
def farm():
    with Demo(SPEED, "demo-filament", printers=FARM) as demo:
        yield demo


class Bench:
    """One printer: its Moonraker port, its truth, and the files that are put into its library."""

    def __init__(self, printer, gateway_port):
        self.printer = printer
        self.name = printer.name
        self.simulator = printer.simulator()
        self.gateway = f"http://127.0.0.1:{gateway_port}"
        self.client = Moonraker(printer.url)

    @property
    def mmu(self):
        return self.client.query("mmu")["mmu"]

    def objects(self, *names):
        return self.client.query(*names)

    def truth(self):
        return self.simulator.truth()

    def upload(self, name, content):
        answer = http("POST", f"{self.printer.url}/server/files/upload", files={"file": (name, content)})
        assert answer.status_code == 201, answer.text
        return answer.json()["item"]["path"]

    def sent(self, command):
        """The requests of this command that reached the printer, oldest first."""
        return [entry["payload"] for entry in self.truth()["counters"]["commands"] if entry["command"] == command]

    def until(self, what, probe, seconds=40):
        return wait_for(probe, f"{self.name}: {what}", seconds)

    def starts(self):
        """Jobs that really began at the printer."""
        truth = self.truth()
        return truth["starts_accepted"] if self.name == "cc2" else truth["counters"]["jobs_started"]

    def begun(self, action):
        """Does what starts a print; the tray of each tool as the printer was told."""
        before = self.starts()
        action()
        self.until("the job began", lambda: self.starts() > before)
        self.until_state("printing")
        return self.truth()["mapping"]

    def print(self, path):
        return self.begun(lambda: self.client.call("printer.print.start", {"filename": path}, 60))

    def until_state(self, word, seconds=60):
        return self.until(f"print_stats {word}", lambda: self.client.print_state() == word, seconds)

    def errors(self):
        """What the console was told as an error so far."""
        store = self.client.call("server.gcode_store", {"count": 1000})["gcode_store"]
        return [line["message"] for line in store if line["message"].startswith("!!")]

    def make_idle(self):
        make_idle(self.client)
        if self.name == "cc2":
            self.simulator.fault("canvas", on=True)
            self.simulator.fault("filament_loaded")
            for tray, (material, color) in enumerate(TRAYS):
                self.simulator.fault("spool", tray=tray, material=material, color=color)
        else:
            self.simulator.fault("ams_jam", on=False)
            for unit in self.unplugged:
                self.simulator.fault("unit", unit=unit, on=True)
            self.simulator.fault("refill")
            self.simulator.fault("clear_hms")
        self.unplugged = []
        self.client.gcode("MMU_TTG_MAP RESET=1")

    unplugged = []

    def unplug(self, unit):
        self.simulator.fault("unit", unit=unit, on=False)
        self.unplugged = [*self.unplugged, unit]

    def plug(self, unit):
        self.simulator.fault("unit", unit=unit, on=True)
        self.unplugged = [other for other in self.unplugged if other != unit]


def _bench(farm, name):
    bench = Bench(farm.printer(name), farm.gateway_port)
    bench.make_idle()
    return bench


@pytest.fixture(params=FARM)
def bench(farm, request):
    bench = _bench(farm, request.param)
    yield bench
    bench.make_idle()
    bench.client.close()


@pytest.fixture(params=("p1s", "cc2"))
def either(farm, request):
    """One printer of each protocol that takes a tool map."""
    bench = _bench(farm, request.param)
    yield bench
    bench.make_idle()
    bench.client.close()


def _only(name):
    @pytest.fixture
    def one(farm):
        bench = _bench(farm, name)
        yield bench
        bench.make_idle()
        bench.client.close()
    return one


p1s = _only("p1s")
h2d = _only("h2d")
cc2 = _only("cc2")
