"""Spools of a Spoolman in the slots, and what it counts after ten jobs of which three failed.

With MOONGATE_SPOOLMAN=http://host:port a real server is used; else the recorded one of `inventory.py`.
"""

import json

import pytest

import projects
from harness.single import Gateway, SimulatedPrinter
from harness.waiting import wait_for
from inventory import opened

SPEED = 20
# Material, colour and grams of each tool; the slots hold these colours in this order.
FILAMENTS = [("PLA", "#FFFFFF", 10.0), ("PLA", "#F27818", 30.0), ("PLA", "#0A2CA5", 5.0)]
GRAMS = [grams for _, _, grams in FILAMENTS]
TAG = "0123456789ABCDEF0123456789ABCDEF"
# P1S: the printer counts whole percents.
STEP = 0.015


@pytest.fixture
def spoolman():
    server = opened()
    yield server
    server.close()


class Life(Gateway):
    """The gateway with a connection of its own for each life, and the printer's truth."""

    def start(self, online=True):
        super().start(online)
        self.client = self.moonraker()
        return self

    @property
    def simulator(self):
        return self.printer.control

    def truth(self):
        return self.printer.truth()

    def until(self, what, probe, seconds=60):
        return wait_for(probe, what, seconds)


@pytest.fixture
def gateway(spoolman):
    printer = SimulatedPrinter("p1s", SPEED, "spools")
    with Life(printer, "spools", settings=f'spoolman = "{spoolman.url}"') as started:
        yield started
    printer.stop()


def mmu(gateway):
    return gateway.client.query("mmu")["mmu"]


def assign(gateway, gate, spool):
    gateway.client.gcode(f"MMU_GATE_MAP GATE={gate} SPOOLID={spool} QUIET=1")
    assert mmu(gateway)["gate_spool_id"][gate] == spool


def start(gateway):
    begun = lambda: gateway.truth()["counters"]["jobs_started"]  # noqa: E731
    before = begun()
    gateway.client.call("printer.print.start", {"filename": "job.gcode"}, 60)
    gateway.until("the job began", lambda: begun() > before)
    gateway.until_state("printing")


def printed(gateway, part):
    gateway.until(f"{part:.0%} printed", lambda: gateway.truth()["progress"] >= part)


def reported(gateway):
    """Every report of the gateway has reached the server."""
    def none_pending():
        status = gateway.client.call("server.spoolman.status")
        return status["spoolman_connected"] and not status["pending_reports"]
    gateway.until("all reported", none_pending, 90)


def counted(gateway, spoolman, spool, grams, within=1e-6):
    """The server counts exactly this of a spool, soon, and then not more."""
    def there():
        used = spoolman.used(spool)
        return used if used >= grams - within else None
    used = gateway.until(f"{grams:.2f} g of spool {spool}", there, 90)
    assert used == pytest.approx(grams, abs=within), (spool, used, grams)


def complete(gateway):
    start(gateway)
    gateway.until_state("complete")


def cancelled(gateway):
    start(gateway)
    printed(gateway, 0.3)
    gateway.client.call("printer.print.cancel", seconds=60)
    gateway.until_state("cancelled")


def failed(gateway):
    start(gateway)
    printed(gateway, 0.5)
    gateway.simulator.fault("fail_job", code=0x03008000)
    gateway.until_state("error")


def killed_in_the_middle(gateway):
    start(gateway)
    printed(gateway, 0.2)
    gateway.kill()
    gateway.start()
    gateway.until_state("complete")


def ended_at_the_screen_while_the_gateway_was_dead(gateway):
    start(gateway)
    printed(gateway, 0.4)
    gateway.kill()
    gateway.simulator.fault("cancel_at_screen")
    gateway.until("stopped", lambda: gateway.truth()["gcode_state"] == "FAILED")
    gateway.start()


def completed_while_the_gateway_was_dead(gateway):
    start(gateway)
    printed(gateway, 0.4)
    gateway.kill()
    gateway.until("finished", lambda: gateway.truth()["gcode_state"] == "FINISH")
    gateway.start()


def an_equal_spool_took_over(gateway):
    orange = {"material": "PLA", "color": "F27818FF"}
    gateway.simulator.fault("spool", unit=0, slot=3, spool=orange)
    gateway.until("orange in gate 3", lambda: mmu(gateway)["gate_color"][3] == "F27818")
    assign(gateway, 3, gateway.spare)
    gateway.client.gcode("MMU_REMAP_TTG TOOL=1 GATE=1")
    start(gateway)
    gateway.until("gate 1 feeds", lambda: gateway.truth()["tray_now"] == 1)
    printed(gateway, 0.4)
    gateway.simulator.fault("runout")
    gateway.until("gate 3 feeds", lambda: gateway.truth()["tray_now"] == 3)
    gateway.until_state("complete")
    # The empty spool was taken out: it is told, and another one is put in.
    gateway.until("spool gone", lambda: mmu(gateway)["gate_spool_id"][1] == -1)
    gateway.simulator.fault("spool", unit=0, slot=1, spool=orange)
    gateway.simulator.fault("spool", unit=0, slot=3)
    gateway.until("orange in gate 1", lambda: mmu(gateway)["gate_color"][1] == "F27818")
    assign(gateway, 1, gateway.spare)


JOBS = [complete, complete, cancelled, killed_in_the_middle, failed, an_equal_spool_took_over,
        ended_at_the_screen_while_the_gateway_was_dead, completed_while_the_gateway_was_dead, complete, complete]


def test_ten_jobs_of_which_three_failed(gateway, spoolman):
    spools = [spoolman.add_spool(f"spool {number}") for number in range(3)]
    gateway.spare = spoolman.add_spool("spare orange")
    for gate, spool in enumerate(spools):
        assign(gateway, gate, spool)
    assert gateway.upload("job.gcode.3mf", projects.archive("C12", FILAMENTS, minutes=2)).status_code == 201
    if hasattr(spoolman, "trouble"):
        # Counted, but the answer was lost; refused without being counted.
        spoolman.trouble = ["lost", None, None, "refuse"]
    parts = []
    for job in JOBS:
        before = [spoolman.used(spool) for spool in (spools[0], spools[2])]
        job(gateway)
        parts.append(1.0 if gateway.truth()["gcode_state"] == "FINISH" else gateway.truth()["progress"])
        counted(gateway, spoolman, spools[0], before[0] + GRAMS[0] * parts[-1], STEP * GRAMS[0])
        counted(gateway, spoolman, spools[2], before[1] + GRAMS[2] * parts[-1], STEP * GRAMS[2])
        reported(gateway)
    assert sum(part < 1.0 for part in parts) == 3, parts

    used = {spool: spoolman.used(spool) for spool in (*spools, gateway.spare)}
    printed_parts = sum(parts)
    for spool, grams in ((spools[0], GRAMS[0]), (spools[2], GRAMS[2])):
        assert used[spool] == pytest.approx(grams * printed_parts, abs=3 * STEP * grams), (used, parts)
    both = used[spools[1]] + used[gateway.spare]
    assert both == pytest.approx(GRAMS[1] * printed_parts, abs=3 * STEP * GRAMS[1]), (used, parts)
    # Jobs 1 to 5 and a part of job 6 came from the first orange spool, the rest from the spare one.
    before, after = sum(parts[:5]) * GRAMS[1], sum(parts[6:]) * GRAMS[1]
    assert before < used[spools[1]] < before + GRAMS[1] and after < used[gateway.spare] < after + GRAMS[1]
    if hasattr(spoolman, "uses"):
        assert sum(grams for _, grams in spoolman.uses) == pytest.approx(sum(used.values()))
        assert len(spoolman.uses) == 3 * len(JOBS) + 1, "one report for each spool and job, two for the refill"
    # What the gateway says it used is what the server counted.
    gateway.client.gcode("MMU_STATS")
    store = gateway.client.call("server.gcode_store", {"count": 100})["gcode_store"]
    told = [line["message"].split(": ")[1].split(" g")[0] for line in store if "by the sliced weights." in line["message"]
            and "Slot " in line["message"]][-4:]
    assert sum(map(float, told)) == pytest.approx(sum(used.values()), abs=0.3), (told, used)


@pytest.fixture
def recorded(spoolman):
    """Only of the recorded server it can be said when it answers."""
    if not hasattr(spoolman, "trouble"):
        pytest.skip("a real Spoolman cannot be made to answer late")
    return spoolman


def one_job(gateway, spoolman):
    spools = [spoolman.add_spool(f"spool {number}") for number in range(3)]
    for gate, spool in enumerate(spools):
        assign(gateway, gate, spool)
    assert gateway.upload("job.gcode.3mf", projects.archive("C12", FILAMENTS, minutes=2)).status_code == 201
    return spools


def test_killed_before_the_answer_a_report_is_not_sent_again(gateway, recorded):
    """The server has counted the first spool, and its answer never came."""
    spools = one_job(gateway, recorded)
    recorded.trouble = ["hang"]
    complete(gateway)
    gateway.until("the first report counted", lambda: recorded.uses)
    gateway.kill()
    recorded.let_go()
    gateway.start()
    for spool, grams in zip(spools, GRAMS):
        counted(gateway, recorded, spool, grams)
    reported(gateway)
    assert sorted(recorded.uses) == [(spool, pytest.approx(grams)) for spool, grams in zip(spools, GRAMS)]


def test_reports_wait_for_a_server_that_is_away(gateway, recorded):
    """Over the end of the job and the end of the gateway."""
    spools = one_job(gateway, recorded)
    recorded.away()
    complete(gateway)
    gateway.until("reports wait", lambda: gateway.client.call("server.spoolman.status")["pending_reports"])
    gateway.kill()
    gateway.start()
    assert len(gateway.client.call("server.spoolman.status")["pending_reports"]) == 3
    recorded.back()
    for spool, grams in zip(spools, GRAMS):
        counted(gateway, recorded, spool, grams)
    reported(gateway)
    assert len(recorded.uses) == 3, recorded.uses


def test_a_tagged_spool_finds_its_slot_and_can_be_made(gateway, spoolman):
    spoolman.call("POST", "/v1/field/spool/tag", {"name": "Tag", "field_type": "text"})
    known = spoolman.add_spool("tagged", {"tag": json.dumps(TAG)})
    gateway.simulator.fault("spool", unit=0, slot=3, spool={"material": "PLA", "color": "112233FF", "tag": TAG})
    gateway.until("matched by its tag", lambda: mmu(gateway)["gate_spool_id"][3] == known)
    other = TAG[::-1]
    gateway.simulator.fault("spool", unit=0, slot=3, spool={"material": "PETG", "color": "445566FF", "tag": other})
    gateway.until("another spool", lambda: mmu(gateway)["gate_spool_id"][3] == -1)
    gateway.client.gcode("MMU_SPOOLMAN CREATE=3")
    made = gateway.until("made", lambda: max(mmu(gateway)["gate_spool_id"][3], 0))
    spool = spoolman.call("GET", f"/v1/spool/{made}")
    assert spool["extra"]["tag"] == json.dumps(other)
    assert spool["filament"]["material"] == "PETG" and spool["filament"]["color_hex"] == "445566"
    # The gateway remembers its spools.
    gateway.stop()
    gateway.start()
    assert mmu(gateway)["gate_spool_id"][3] == made


def test_the_proxy_answers_as_spoolman_does(gateway, spoolman):
    proxy = lambda **request: gateway.client.request("server.spoolman.proxy", request)  # noqa: E731
    wait_for(lambda: gateway.client.call("server.spoolman.status")["spoolman_connected"], "connected", 30)
    # Fluidd follows the spools there by itself.
    assert gateway.client.call("server.config")["config"]["spoolman"] == {"server": spoolman.url}
    spool = spoolman.add_spool("proxied")
    for path in ("/v1/info", "/v1/health", "/v1/vendor", "/v1/setting/currency", f"/v1/spool/{spool}"):
        assert proxy(request_method="GET", path=path)["result"] == spoolman.call("GET", path), path
    missing = proxy(request_method="GET", path="/v1/spool/999", use_v2_response=True)["result"]
    assert missing["error"]["status_code"] == 404 and "999" in missing["error"]["message"], missing
    assert "error" in proxy(request_method="GET", path="/v1/spool/999")
    answer = gateway.client.call("server.spoolman.post_spool_id", {"spool_id": spool})
    assert answer == {"spool_id": spool} == gateway.client.call("server.spoolman.get_spool_id")
    gateway.client.next_notification("notify_active_spool_set")
    assert gateway.client.call("server.spoolman.post_spool_id", {}) == {"spool_id": None}
