"""The panels' objects beside the simulated printer's truth, through runouts, jams, drying and hot-plugging."""

import json

import pytest

from filament_files import fill, four_colours, one_colour
from view import check, feeding, matches, truth_gates

OBJECTS = ("mmu", "mmu_machine")


def test_the_gates_are_what_is_in_the_printer(bench):
    bench.until("gates", lambda: matches(bench))
    found = bench.objects(*OBJECTS)
    check(found["mmu"], found["mmu_machine"])
    assert found["mmu"]["print_state"] == "ready" and not found["mmu"]["runout"]


def test_a_spool_that_is_changed_is_shown(bench):
    slot = {"tray": 3} if bench.name == "cc2" else {"unit": 0, "slot": 3}
    if bench.name == "cc2":
        bench.simulator.fault("spool", tray=3, material="PETG", color="#00AA55")
    else:
        bench.simulator.fault("spool", **slot, spool={"material": "PETG", "color": "00AA55FF"})
    bench.until("new spool", lambda: matches(bench) and bench.mmu["gate_color"][3] == "00AA55")
    bench.simulator.fault("spool", **slot)
    bench.until("empty slot", lambda: matches(bench) and bench.mmu["gate_status"][3] == 0)


@pytest.mark.parametrize("name", ["h2d", "cc2"])
def test_units_come_and_go(name, request):
    """The object list changes, so the clients are told to read it anew.

    Not on the P1S: its only unit pulled out looks like the last words of a printer that is switched off (bambu.md T6).
    """
    bench = request.getfixturevalue(name)
    bench.client.subscribe({"mmu": None})
    before = bench.objects(*OBJECTS)
    units = before["mmu_machine"]["num_units"]
    last = 128 if bench.name == "h2d" else 0
    if bench.name == "cc2":
        bench.simulator.fault("canvas", on=False)
    else:
        bench.unplug(last)
    bench.client.next_notification("notify_klippy_ready", 60)

    def gone():
        found = bench.objects(*OBJECTS)
        if bench.name != "h2d":
            return "mmu" not in bench.client.call("printer.objects.list")["objects"]
        check(found["mmu"], found["mmu_machine"])
        return found["mmu_machine"]["num_units"] == units - 1
    bench.until("unit gone", gone)
    if bench.name == "cc2":
        bench.simulator.fault("canvas", on=True)
    else:
        bench.plug(last)
    bench.client.next_notification("notify_klippy_ready", 60)
    bench.until("unit back", lambda: bench.objects(*OBJECTS) and matches(bench))
    after = bench.objects(*OBJECTS)
    check(after["mmu"], after["mmu_machine"])
    assert after["mmu_machine"] == before["mmu_machine"]


def test_partial_and_broken_reports_leave_the_gates_alone(p1s):
    p1s.until("gates", lambda: matches(p1s))
    shown = p1s.mmu
    hostile = [{"ams": {}}, {"ams": {"ams": [{"id": "0"}]}}, {"ams": {"tray_now": 7.5}}, {"ams": {"ams": "x"}},
               {"ams": {"ams": [{"id": "0", "tray": [{"id": "1", "tray_color": "no"}]}]}}]
    for part in hostile:
        text = json.dumps({"print": {"command": "push_status", "msg": 1, **part}})
        p1s.simulator.fault("publish", text=text)
        found = p1s.objects(*OBJECTS)
        check(found["mmu"], found["mmu_machine"])
    assert p1s.mmu["num_gates"] == shown["num_gates"]
    # A P1S is asked for everything every five minutes at most (bambu.md 3.2), but at each connection.
    p1s.simulator.fault("drop_link")
    p1s.until("gates", lambda: matches(p1s), 60)


def test_four_colours_with_a_runout(bench):
    """The gate in the panel is the tray that feeds; an empty spool is told, filled and printed on."""
    path = four_colours(bench)
    bench.client.subscribe({"mmu": None})
    mapping = bench.print(path)
    assert len(mapping) == len(set(mapping)) == 4
    seen = set()

    def compare():
        really, mmu = feeding(bench), bench.mmu
        if really == mmu["gate"]:
            seen.add(really)
        # The trays of a CANVAS are read every 30 s and at steps that this fast simulator rushes through.
        return len(seen) >= (1 if bench.name == "cc2" else 2)
    bench.until("tool changes", compare, 90)
    bench.simulator.fault("runout")
    bench.until_state("paused")
    bench.until("the panel says why", lambda: bench.mmu["reason_for_pause"] and bench.mmu["runout"])
    mmu = bench.mmu
    assert mmu["is_paused"] and mmu["is_in_print"], mmu
    bench.until("the empty slot", lambda: matches(bench))
    if bench.name == "cc2":
        bench.simulator.fault("filament_loaded")
    else:
        assert mmu["print_state"] == "pause_locked"
        bench.simulator.fault("refill")
        fill(bench)
    bench.until("filled again", lambda: matches(bench))
    bench.client.call("printer.print.resume", seconds=60)
    bench.until_state("complete", 120)
    found = bench.objects(*OBJECTS)
    check(found["mmu"], found["mmu_machine"])
    assert not found["mmu"]["runout"] and found["mmu"]["print_state"] == "complete"
    # Every update that a panel received can be drawn.
    assert "null" not in json.dumps(bench.client.status["mmu"])


@pytest.mark.parametrize("word", ["MMU_UNLOCK", "MMU_RECOVER", "FILAMENT_RETRY"])
def test_a_jam_is_shown_and_tried_again(p1s, word):
    path = one_colour(p1s)
    if feeding(p1s) != -1:
        p1s.client.gcode("MMU_UNLOAD")
        p1s.until("unloaded", lambda: feeding(p1s) == -1)
    p1s.simulator.fault("ams_jam", on=True)
    p1s.client.call("printer.print.start", {"filename": path}, 60)
    p1s.until("stuck", lambda: p1s.mmu["print_state"] == "pause_locked" and p1s.mmu["is_locked"], 60)
    # The printer asks for help before it has paused.
    p1s.until_state("paused")
    assert p1s.mmu["reason_for_pause"] and not p1s.mmu["runout"]
    p1s.simulator.fault("ams_jam", on=False)
    p1s.client.gcode(word)
    p1s.until_state("printing")
    p1s.until("unlocked", lambda: p1s.mmu["print_state"] == "printing" and feeding(p1s) == p1s.mmu["gate"] != -1)


def test_an_equal_spool_takes_over(p1s):
    """Endless spool: the group is shown, the print goes on from the other gate without a pause."""
    orange = {"material": "PLA", "color": "F27818FF"}
    p1s.simulator.fault("spool", unit=0, slot=3, spool=orange)
    p1s.until("groups", lambda: p1s.mmu["endless_spool_groups"][3] == p1s.mmu["endless_spool_groups"][1])
    p1s.client.gcode("MMU_ENDLESS_SPOOL ENABLE=1")
    p1s.client.gcode("MMU_REMAP_TTG TOOL=0 GATE=1")
    p1s.print(one_colour(p1s))
    p1s.until("gate 1 feeds", lambda: p1s.mmu["gate"] == 1 == feeding(p1s))
    p1s.simulator.fault("runout")
    p1s.until("gate 3 feeds", lambda: p1s.mmu["gate"] == 3 == feeding(p1s))
    p1s.until_state("complete", 90)
    assert p1s.client.call("server.history.list", {"limit": 1})["jobs"][0]["status"] == "completed"


def test_endless_spool_is_switched(bench):
    for on in (0, 1, 0):
        bench.client.gcode(f"MMU_ENDLESS_SPOOL ENABLE={on}")
        bench.until(f"endless spool {on}", lambda: bench.mmu["endless_spool_enabled"] == on)
        assert bench.truth()["auto_refill"] == bool(on)


def test_drying_from_the_panels(h2d):
    """The unit's heater is the dryer: a target starts it, 0 stops it, the truth agrees."""
    machine = h2d.objects("mmu_machine")["mmu_machine"]
    dryers = {number: machine[f"unit_{number}"].get("filament_heater") for number in range(machine["num_units"])}
    assert dryers[0] is None and dryers[2] == "heater_generic ams_ht_1_dryer", dryers

    def drying():
        return {unit["unit"]: unit["drying"] for unit in h2d.truth()["units"]}
    h2d.client.gcode("SET_HEATER_TEMPERATURE HEATER=ams_ht_1_dryer TARGET=60")
    h2d.until("it dries", lambda: drying()[128] and drying()[128][1] == 60)
    first = machine["unit_2"]["first_gate"]
    h2d.until("shown", lambda: h2d.mmu["drying_state"][first] == "active")
    # This firmware does not report the target; what is not known is not shown.
    h2d.until("power", lambda: h2d.objects(dryers[2])[dryers[2]]["power"] == 1.0)
    h2d.client.gcode("MMU_HEATER UNIT=1 TEMP=50 TIMER=120")
    h2d.until("the other too", lambda: drying()[1] and drying()[1][1] == 50)
    h2d.client.gcode("SET_HEATER_TEMPERATURE HEATER=ams_ht_1_dryer TARGET=0")
    h2d.client.gcode("MMU_HEATER UNIT=1 STOP=1")
    h2d.until("stopped", lambda: not any(drying().values()))
    h2d.until("shown", lambda: not any(h2d.mmu["drying_state"]))


def test_a_dryer_that_takes_no_commands_is_not_offered(p1s):
    objects = p1s.client.call("printer.objects.list")["objects"]
    assert "temperature_sensor ams_1" in objects and "heater_generic ams_1_dryer" not in objects
    assert "filament_heater" not in p1s.objects("mmu_machine")["mmu_machine"]["unit_0"]
    assert not {"MMU_HEATER", "DRY_FILAMENT"} & set(p1s.client.call("printer.gcode.help"))


def test_a_gate_is_edited(bench):
    """As both dialogs send it; what the printer took is what it shows."""
    if bench.name == "cc2":
        script = 'MMU_GATE_MAP GATE=1 COLOR="00FF00" QUIET=1'
    else:
        script = ("MMU_GATE_MAP MAP=\"{1: {'status':1,'spool_id':-1,'material':'PETG','color':'00FF00FF',"
                  "'name':'','temp':0,'speed_override':100}}\" QUIET=1")
    bench.client.gcode(script)
    bench.until("edited", lambda: truth_gates(bench)[1][2] == "00FF00" and matches(bench))
    if bench.name != "cc2":
        assert bench.mmu["gate_material"][1] == "PETG"


def test_select_load_change_and_unload(bench):
    """The buttons of the panel, by the tray that really feeds."""
    bench.client.gcode("MMU_SELECT GATE=1")
    bench.until("selected", lambda: bench.mmu["gate"] == 1 or feeding(bench) not in (-1, None))
    bench.client.gcode("MMU_LOAD")
    bench.until("loaded", lambda: feeding(bench) == 1 and bench.mmu["filament_pos"] == 10 and bench.mmu["gate"] == 1)
    bench.until("idle", lambda: bench.mmu["action"] == "Idle")
    bench.client.gcode("MMU_CHANGE_TOOL GATE=2")
    bench.until("changed", lambda: feeding(bench) == 2 and bench.mmu["gate"] == 2 and bench.mmu["action"] == "Idle")
    if bench.name != "h2d":
        bench.client.gcode("T0")
        bench.until("T0", lambda: feeding(bench) == 0 and bench.mmu["tool"] == 0 and bench.mmu["action"] == "Idle")
    bench.client.gcode("MMU_UNLOAD")
    bench.until("unloaded", lambda: feeding(bench) == -1)
    bench.until("shown", lambda: bench.mmu["action"] == "Idle")


def test_the_macros_behind_the_panels_are_listed(bench):
    listed = set(bench.client.call("printer.gcode.help"))
    wanted = {"T0", "T1", "MMU_SELECT", "MMU_LOAD", "MMU_UNLOAD", "MMU_EJECT", "MMU_GATE_MAP", "MMU_TTG_MAP",
              "MMU_REMAP_TTG", "MMU_ENDLESS_SPOOL", "MMU_CHANGE_TOOL", "MMU_RECOVER", "MMU_STATS", "MMU_SPOOLMAN",
              "MMU_SLICER_TOOL_MAP"}
    if bench.name == "h2d":
        wanted |= {"MMU_HEATER", "MMU_CHECK_GATES", "MMU_UNLOCK"}
    assert wanted <= listed, wanted - listed
    errors = len(bench.errors())
    # What the panels have buttons for and these printers cannot do is answered without an error.
    for text in ("MMU_STATS SHOWCOUNTS=1", "MMU_HOME", "MMU_GRIP", "MMU_SERVO POS=up", "MMU_LED QUIET=1",
                 "MMU_MOTORS_OFF", "MMU_PRELOAD", "MMU_TTG_MAP RESET=1\nMMU_ENDLESS_SPOOL RESET=1", "MMU_RECOVER"):
        assert bench.client.gcode(text) == "ok", text
    assert len(bench.errors()) == errors


def test_lane_data_for_orcaslicer(bench):
    """Strings where OrcaSlicer reads strings, no nulls, one lane per gate."""
    value = bench.client.call("server.database.get_item", {"namespace": "lane_data"})["value"]
    lanes = sorted(value.values(), key=lambda lane: int(lane["lane"]))
    assert [lane["lane"] for lane in lanes] == [str(number) for number in range(bench.mmu["num_gates"])]
    assert "null" not in json.dumps(value)
    for lane, (present, material, colour) in zip(lanes, truth_gates(bench)):
        assert lane["material"] == material and lane["color"] == (f"#{colour}" if present else "")
        assert not present or isinstance(lane["nozzle_temp"], int)
