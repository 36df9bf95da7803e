"""What the panels of Mainsail and Fluidd rely on, and the simulated printer's own truth in the same words."""

import re

# Fluidd draws a spool for each entry of these lists, Mainsail throws where one is short.
PER_GATE = ("gate_status", "gate_filament_name", "gate_material", "gate_color", "gate_color_rgb", "gate_temperature",
            "gate_spool_id", "gate_speed_override", "drying_state", "ttg_map", "endless_spool_groups",
            "tool_extrusion_multipliers", "tool_speed_multipliers")


def check(mmu, machine):
    """Every list has one entry per gate, colours are well formed, nothing is null."""
    gates = mmu["num_gates"]
    for field in PER_GATE:
        assert len(mmu[field]) == gates, (field, mmu[field], gates)
    assert "null" not in str(mmu) and "None" not in str(mmu), mmu
    assert all(re.fullmatch(r"([0-9A-F]{6})?", colour) for colour in mmu["gate_color"]), mmu["gate_color"]
    assert all(0 <= gate < gates for gate in mmu["ttg_map"] + mmu["endless_spool_groups"])
    assert -1 <= mmu["gate"] < gates and -1 <= mmu["tool"] < gates
    first = 0
    for number in range(machine["num_units"]):
        unit = machine[f"unit_{number}"]
        assert unit["first_gate"] == first
        first += unit["num_gates"]
    assert first == gates


def truth_gates(bench):
    """(present, material, RRGGBB) of every slot of the units, in the order of the gates."""
    truth = bench.truth()
    if bench.name == "cc2":
        return [(tray["status"] != 0, tray["kind"], tray["colour"].lstrip("#").upper()) if tray["status"] else
                (False, "", "") for tray in truth["trays"]]
    def gate(slot):
        spool = slot["spool"]
        return (True, spool["material"], spool["color"][:6].upper()) if spool else (False, "", "")
    return [gate(slot) for slot in truth["slots"]]


def shown_gates(mmu, count):
    rows = zip(mmu["gate_status"], mmu["gate_material"], mmu["gate_color"])
    return [(status == 1, material, colour) for status, material, colour in rows][:count]


def matches(bench):
    """The panel shows what is in the printer."""
    expected = truth_gates(bench)
    mmu = bench.mmu
    return mmu and shown_gates(mmu, len(expected)) == expected


def feeding(bench):
    """The gate that really feeds; -1 for none, None for a spool outside the units."""
    truth = bench.truth()
    if bench.name == "cc2":
        return truth["active_tray"]
    if truth["tray_now"] == 255:
        return -1
    trays = [slot["tray"] for slot in truth["slots"]]
    return trays.index(truth["tray_now"]) if truth["tray_now"] in trays else None
