"""Filament of each simulated Bambu model through the console: what is sent (bambu.md 4.6) and what comes of it."""

import pytest

from expected import DRYERS, DUAL, MODELS, command
from test_commands import offered, refused

# The captured P1P has no filament unit: there are no slots, and no panel for them.
pytestmark = pytest.mark.parametrize("bench", [model for model in MODELS if model != "p1p"], indirect=True)


def first_slot(bench):
    """Unit and slot of a spool that is there, and its number in `target`."""
    slot = next(slot for slot in bench.printer.truth()["slots"] if slot["spool"])
    unit, number = slot["unit"], slot["slot"]
    return unit, number, unit if unit >= 128 else unit * 4 + number


def change(bench, **fields):
    return command("ams_change_filament", **fields)


def at_rest(bench):
    bench.shows("no change under way", lambda: bench.object("mmu")["action"] == "Idle", 60)


def test_load_and_unload(bench):
    unit, slot, target = first_slot(bench)
    sent = bench.sent(f"LOAD_FILAMENT SLOT={unit}.{slot}")
    assert sent == [change(bench, ams_id=unit, slot_id=slot, target=target, curr_temp=-1, tar_temp=-1)]
    tray = slot if unit == 16 else target
    bench.shows("loaded", lambda: bench.printer.truth()["tray_now"] == tray, 60)
    at_rest(bench)
    refused(bench, f"READ_SPOOL_TAG SLOT={unit}.{slot}", "[Uu]nload")
    (category, body), = bench.sent("UNLOAD_FILAMENT")
    assert (category, body["command"]) == ("print", "ams_change_filament")
    assert (body["ams_id"], body["slot_id"], body["target"]) == (unit, 255, 255)
    assert body["curr_temp"] == body["tar_temp"] >= 170
    bench.shows("unloaded", lambda: bench.printer.truth()["tray_now"] == 255, 60)
    at_rest(bench)
    refused(bench, "LOAD_FILAMENT SLOT=99", "no filament slot 99")


def test_external_spool(bench):
    (category, body), = bench.sent("LOAD_FILAMENT SLOT=external")
    expected = {"ams_id": 255, "slot_id": 0, "target": 255} if bench.model in DUAL else {
        "ams_id": 255, "slot_id": 254, "target": 254, "curr_temp": -1, "tar_temp": -1}
    assert category == "print" and expected.items() <= body.items()
    if bench.model in DUAL:
        assert body["curr_temp"] == body["tar_temp"] >= 170, "a real temperature for the right nozzle (bambu.md 4.6)"
    bench.shows("loaded", lambda: bench.printer.truth()["tray_now"] == 254, 60)
    at_rest(bench)
    (_, body), = bench.sent("UNLOAD_FILAMENT")
    assert (body["ams_id"], body["slot_id"], body["target"]) == (255, 255, 255)
    bench.shows("unloaded", lambda: bench.printer.truth()["tray_now"] == 255, 60)
    at_rest(bench)


def test_tags_and_details(bench):
    unit, slot, _ = first_slot(bench)
    gate = [(s["unit"], s["slot"]) for s in bench.printer.truth()["slots"]].index((unit, slot))

    def shown(material, color):
        mmu = bench.object("mmu")
        return mmu["gate_material"][gate] == material and mmu["gate_color"][gate].lower().startswith(color)

    bench.client.gcode(f"EDIT_SLOT SLOT={unit}.{slot} MATERIAL=PLA COLOR=FFFFFF")
    # A spool keeps its profile as long as its material stays.
    bench.shows("another material", lambda: shown("PLA", "ffffff"))
    assert bench.sent(f"READ_SPOOL_TAG SLOT={unit}.{slot}") == [command("ams_get_rfid", ams_id=unit, slot_id=slot)]
    at_rest(bench)
    sent = bench.sent(f"EDIT_SLOT SLOT={unit}.{slot} MATERIAL=PETG COLOR=00AE42 NOZZLE_MIN=220 NOZZLE_MAX=260")
    assert sent == [command("ams_filament_setting", ams_id=unit, tray_id=slot, slot_id=slot, tray_info_idx="GFG99",
                            setting_id="", tray_type="PETG", tray_color="00AE42FF", nozzle_temp_min=220,
                            nozzle_temp_max=260)]
    bench.shows("the spool", lambda: shown("PETG", "00ae42"))
    tray = unit if unit >= 128 else slot if unit == 16 else unit * 4 + slot
    (category, body), = bench.sent(f"FLOW_PROFILE SLOT={unit}.{slot} PROFILE=1")
    assert (category, body["command"], body["tray_id"], body["cali_idx"]) == ("print", "extrusion_cali_sel", tray, 1)
    assert body["filament_id"] == "GFG99" and float(body["nozzle_diameter"]) > 0
    (_, body), = bench.sent(f"FLOW_PROFILE SLOT={unit}.{slot} PROFILE=DEFAULT")
    assert body["cali_idx"] == -1
    # The spool outside: tray_id 254 (bambu.md 4.6), 0 is refused by a P1S.
    (_, body), = bench.sent("EDIT_SLOT SLOT=external MATERIAL=PLA COLOR=FF0000")
    assert (body["ams_id"], body["tray_id"], body["slot_id"]) == (255, 254, 0)
    # The profile stays where the spool was PLA already; else it is the generic one.
    assert body["tray_info_idx"].startswith("GF") and body["tray_color"] == "FF0000FF"
    sent = bench.sent(f"EDIT_SLOT SLOT={unit}.{slot} CLEAR=1")
    assert sent == [command("ams_filament_setting", ams_id=unit, tray_id=slot, slot_id=slot, tray_info_idx="",
                            setting_id="", tray_type="", tray_color="00000000", nozzle_temp_min=0, nozzle_temp_max=0)]
    bench.client.gcode(f"EDIT_SLOT SLOT={unit}.{slot} MATERIAL=PLA COLOR=FFFFFF")
    refused(bench, f"EDIT_SLOT SLOT={unit}.{slot} MATERIAL=UNOBTAINIUM", "nozzle temperatures")
    refused(bench, f"EDIT_SLOT SLOT={unit}.{slot} MATERIAL=PLA COLOR=XYZ", "no colour")


def test_stuck_changes(bench):
    """An answer is sent where the printer shows something that it can be for."""
    refused(bench, "FILAMENT_DONE", "nothing waits")

    def told():
        return [line["message"] for line in bench.client.call("server.gcode_store", {"count": 1000})["gcode_store"]]
    before = len(told())
    bench.printer.control.fault("raise_hms", attr=0x07002000, code=0x00020002)
    bench.shows("the fault", lambda: any("HMS_0700_2000" in line for line in told()[before:]))
    for word, param in (("RETRY", "resume"), ("DONE", "done"), ("RESET", "reset"), ("ABORT", "abort")):
        assert bench.sent(f"FILAMENT_{word}") == [command("ams_control", param=param)]
    bench.printer.control.fault("clear_hms")
    bench.shows("no fault", lambda: any("No longer reported" in line for line in told()[before:]))


def test_endless_spool(bench):
    for on in (1, 0):
        assert bench.sent(f"MMU_ENDLESS_SPOOL ENABLE={on}") == [command("print_option", auto_switch_filament=bool(on))]


def test_drying(bench):
    dryers = DRYERS.get(bench.model)
    if dryers is None:
        assert "DRY_FILAMENT" not in offered(bench)
        refused(bench, "DRY_FILAMENT UNIT=0 TEMP=50 HOURS=4", "dry|own screen|no filament unit")
        return
    for unit, hottest in dryers.items():
        (category, body), = bench.sent(f"DRY_FILAMENT UNIT={unit} TEMP={hottest} HOURS=6")
        assert category == "print" and isinstance(body.pop("filament"), str)
        assert body == {"command": "ams_filament_drying", "ams_id": unit, "mode": 1, "temp": hottest, "duration": 6,
                        "humidity": 0, "rotate_tray": True, "cooling_temp": 35, "close_power_conflict": False}

        def drying(unit=unit):
            return next(u for u in bench.printer.truth()["units"] if u["unit"] == unit)["drying"]
        bench.shows("drying", drying)
        (_, body), = bench.sent(f"STOP_DRYING UNIT={unit}")
        assert (body["ams_id"], body["mode"], body["temp"], body["duration"]) == (unit, 0, 0, 0)
        bench.shows("no drying", lambda: not drying())
        refused(bench, f"DRY_FILAMENT UNIT={unit} TEMP={hottest + 5} HOURS=6", "dries at")
        refused(bench, f"DRY_FILAMENT UNIT={unit} TEMP=50 HOURS=100", "HOURS|hours")
