"""Every control that each simulated Bambu model offers, through the console as the UIs use it: the message that arrives
at the printer, field by field, and what comes of it. What a model does not offer is refused with its reason and sends
nothing."""

import json
import re

import pytest

from expected import (AIR_MODES, AMS_OPTIONS, CALIBRATIONS, CHAMBER_NODES, DRYERS, DUAL, FANS, H2, HOTTEST, MODELS,
                      OFFERED_CALIBRATIONS, OPTIONS, WORK_LIGHT, X1, command, gcode, led)
from harness.moonraker import RpcError

# `fun` bit 32 is set in the captured report (bambu.md 3.11).
NEW_HOMING = (*X1, *H2, "p2s", "x2d", "a2l")
HOMING = re.compile(r"G28\nM400\nM1002 gcode_claim_action : 20[0-5]\n")

pytestmark = pytest.mark.parametrize("bench", MODELS, indirect=True)


def refused(bench, script, why):
    """Not done, with a reason that says why, and nothing is sent."""
    before = len(bench.requests())
    with pytest.raises(RpcError, match=why):
        bench.client.gcode(script)
    assert len(bench.requests()) == before, f"{bench.model} was sent something by {script}"


def offered(bench):
    return bench.client.call("printer.gcode.help")


def settled(bench, script):
    """The one line of G-code sent by `script`, without the step marker that tells its end."""
    (category, body), = bench.sent(script)
    assert (category, body["command"]) == ("print", "gcode_line")
    found = re.fullmatch(r"(.*)\nM400\nM1002 gcode_claim_action : 20[0-5]\n", body["param"], re.DOTALL)
    assert found, body
    return found[1]


def test_lights(bench):
    for on in (True, False):
        nodes = CHAMBER_NODES[bench.model]
        assert bench.sent(f"SET_PIN PIN=chamber_light VALUE={int(on)}") == [led(node, on) for node in nodes]
        bench.shows("the light", lambda: bench.object("output_pin chamber_light")["value"] == float(on))
        assert {bench.printer.truth()["lights"][node] for node in nodes} == {"on" if on else "off"}
    if bench.model in WORK_LIGHT:
        assert bench.sent("SET_PIN PIN=work_light VALUE=0") == [led("work_light", False)]
        bench.shows("the work light", lambda: bench.object("output_pin work_light")["value"] == 0)
    else:
        refused(bench, "SET_PIN PIN=work_light VALUE=1", "not valid for PIN")
    assert bench.sent("LIGHT ON=1") == [led(node, True) for node in CHAMBER_NODES[bench.model]]
    assert bench.sent("M355 S0") == [led(node, False) for node in CHAMBER_NODES[bench.model]]


def test_speed(bench):
    for name, level in (("Silent", "1"), ("Sport", "3"), ("Ludicrous", "4"), ("2", "2")):
        assert bench.sent(f"SPEED_PROFILE LEVEL={name}") == [command("print_speed", param=level)]
        assert bench.printer.truth()["speed_level"] == int(level)
    # The nearest of the four to 55 %, which are no steps of a percent scale (bambu.md 4.3).
    assert bench.sent("M220 S55") == [command("print_speed", param="1")]
    bench.shows("the factor", lambda: abs(bench.object("gcode_move")["speed_factor"] - 0.5) < 0.01)
    bench.sent("M220 S100")
    refused(bench, "SPEED_PROFILE LEVEL=A", "LEVEL must be one of")


def test_targets(bench):
    dual = bench.model in DUAL
    # On one nozzle no tool is named: T0 is the right one of two (bambu.md 4.3).
    assert bench.sent("M104 S200") == [gcode("M104 S200 T0" if dual else "M104 S200")]
    bench.shows("the nozzle", lambda: bench.object("extruder")["target"] == 200)
    if dual:
        assert bench.sent("SET_HEATER_TEMPERATURE HEATER=extruder1 TARGET=180") == [gcode("M104 S180 T1")]
        bench.shows("the left nozzle", lambda: bench.object("extruder1")["target"] == 180)
        bench.sent("M104 T1 S0")
    else:
        refused(bench, "M104 T1 S200", "no tool T1")
    assert bench.sent("M140 S55") == [gcode("M140 S55")]
    bench.shows("the bed", lambda: bench.object("heater_bed")["target"] == 55)
    bench.sent("M140 S0")
    bench.sent("M104 S0")
    refused(bench, "M104 S400", f"0 to {HOTTEST[bench.model]} °C")


def test_chamber(bench):
    if bench.model in (*H2, "x2d"):
        expected = command("set_ctt", ctt_val=50, temper_check=True)
        assert bench.sent("M141 S50") == [expected]
        bench.shows("the chamber", lambda: bench.object("heater_generic chamber")["target"] == 50)
        assert bench.sent("SET_HEATER_TEMPERATURE HEATER=chamber TARGET=0") == [
            command("set_ctt", ctt_val=0, temper_check=True)]
        refused(bench, "M141 S20", "40")
    elif bench.model == "x1e":
        # The only one of its family, by G-code (bambu.md 3.7, 4.3).
        assert bench.sent("M141 S50") == [gcode("M141 S50")]
        bench.shows("the chamber", lambda: bench.object("heater_generic chamber")["target"] == 50)
        assert bench.sent("M141 S0") == [gcode("M141 S0")]
        refused(bench, "M141 S65", "60")
    else:
        refused(bench, "M141 S50", "no chamber heater")


def test_fans(bench):
    assert bench.sent("M106 S255") == [gcode("M106 P1 S255")]
    bench.shows("the part fan", lambda: bench.object("fan")["speed"] > 0.9)
    assert bench.sent("M107") == [gcode("M106 P1 S0")]
    for name, number in FANS[bench.model].items():
        assert bench.sent(f"SET_FAN_SPEED FAN={name} SPEED=0.6") == [gcode(f"M106 P{number} S153")]
        # Where the printer tells the fan's speed: the left one of an X2D has no place in our simulated reports.
        if number <= 3:
            bench.shows(name, lambda name=name: abs(bench.object(f"fan_generic {name}")["speed"] - 0.6) < 0.1)
        assert bench.sent(f"M106 P{number} S0") == [gcode(f"M106 P{number} S0")]
    for absent in {"aux_fan", "chamber_fan", "aux_fan_left"} - set(FANS[bench.model]):
        refused(bench, f"SET_FAN_SPEED FAN={absent} SPEED=1", "not valid for FAN")
    refused(bench, "M106 P7 S255", "no fan P7")


def test_air_duct(bench):
    modes = AIR_MODES.get(bench.model)
    if modes is None:
        assert "AIR_MODE" not in offered(bench)
        refused(bench, "AIR_MODE MODE=COOLING", "no air duct")
        return
    for name, number in [*modes.items(), ("COOLING", 0)]:
        assert bench.sent(f"AIR_MODE MODE={name}") == [command("set_airduct", modeId=number, submode=-1)]
    for name in {"COOLING", "HEATING", "EXHAUST"} - set(modes):
        refused(bench, f"AIR_MODE MODE={name}", "MODE must be one of")


def test_motion(bench):
    (category, body), = bench.sent("G28")
    if bench.model in NEW_HOMING:
        assert (category, body) == command("back_to_center")
    else:
        assert HOMING.fullmatch(body["param"]), body
    bench.shows("homed", lambda: bench.object("toolhead")["homed_axes"] == "xyz")
    # All axes together, whatever was asked: Z alone would let the bed rise into the toolhead (bambu.md 4.3).
    (_, body), = bench.sent("G28 Z")
    assert body["command"] == "back_to_center" or HOMING.fullmatch(body["param"]), body
    # Inside the limits that MQTT does not enforce by itself (bambu.md 4.3).
    frame = "M211 S\nM211 X1 Y1 Z1\nM1002 push_ref_mode\nG91\n{}\nM1002 pop_ref_mode\nM211 R"
    assert bench.sent("G91\nG1 X10 F3000\nG90") == [gcode(frame.format("G1 X10 F3000"))]
    assert bench.sent("G91\nG1 Z-2.5 F600\nG90") == [gcode(frame.format("G1 Z-2.5 F600"))]
    refused(bench, "G91\nM83\nG1 E10 F300", "cold|170|hot")
    assert bench.sent("M84") == [gcode("M84")]
    refused(bench, "M302 P1", "[Cc]old extrusion")
    truth = bench.printer.truth()["counters"]
    assert truth["partial_homings"] == truth["out_of_bounds_moves"] == truth["unhomed_moves"] == 0


def test_extrude(bench):
    bench.client.gcode("M109 S200", 120)
    assert bench.sent("G91\nM83\nG1 E10 F300\nG90") == [gcode("M83\nG1 E10 F300\nM82")]
    bench.client.gcode("M104 S0")


def test_calibrations(bench):
    """Each alone; they run as a job of the printer's own, so the next waits for its end."""
    names = OFFERED_CALIBRATIONS[bench.model]
    for name in names:
        assert bench.sent(f"CALIBRATE {name}=1") == [command("calibration", option=1 << CALIBRATIONS[name])]
        bench.rest()
    both = (1 << CALIBRATIONS[names[0]]) | (1 << CALIBRATIONS[names[-1]])
    assert bench.sent(f"CALIBRATE {names[0]}=1 {names[-1]}=1") == [command("calibration", option=both)]
    bench.rest()
    for name in set(CALIBRATIONS) - set(names):
        refused(bench, f"CALIBRATE {name}=1", "Name what to calibrate")


def test_options(bench):
    text = offered(bench)["PRINT_OPTION"]
    names = text.split("one of ")[1].split(", ")
    assert {"AUTO_RECOVERY", "AUTO_SWITCH_FILAMENT", "TIMELAPSE", *AMS_OPTIONS} <= set(names)
    for name in names:
        if name in AMS_OPTIONS:
            continue
        for on in (True, False):
            (category, body), = bench.sent(f"PRINT_OPTION OPTION={name} ON={int(on)}")
            assert (category, body) == OPTIONS[name](on, body.get("halt_print_sensitivity")), name
            assert body.get("halt_print_sensitivity") in (None, "low", "medium", "high")
    refused(bench, "PRINT_OPTION OPTION=NONSENSE ON=1", "OPTION must be one of")
    refused(bench, "PRINT_OPTION OPTION=AUTO_RECOVERY", "ON=1 or ON=0")


def test_filament_unit_settings(bench):
    for name, field in AMS_OPTIONS.items():
        (category, body), = bench.sent(f"PRINT_OPTION OPTION={name} ON=1")
        assert (category, body["command"], body["ams_id"]) == ("print", "ams_user_setting", -1)
        assert body[field] is True
        assert set(body) == {"command", "ams_id", *AMS_OPTIONS.values()} and all(
            isinstance(body[other], bool) for other in AMS_OPTIONS.values())


def test_nozzle(bench):
    if bench.model in DUAL:
        assert "SET_NOZZLE" not in offered(bench)
        refused(bench, "SET_NOZZLE DIAMETER=0.6 MATERIAL=hardened_steel", "cannot")
        return
    assert bench.sent("SET_NOZZLE DIAMETER=0.6 MATERIAL=hardened_steel") == [
        ("system", {"command": "set_accessories", "accessory_type": "nozzle", "nozzle_diameter": 0.6,
                    "nozzle_type": "hardened_steel"})]
    bench.client.gcode("SET_NOZZLE DIAMETER=0.4 MATERIAL=stainless_steel")
    refused(bench, "SET_NOZZLE DIAMETER=0.5 MATERIAL=hardened_steel", "0.2, 0.4, 0.6 or 0.8")
    refused(bench, "SET_NOZZLE DIAMETER=0.4 MATERIAL=brass", "stainless_steel, hardened_steel")


def test_active_tool(bench):
    if bench.model not in DUAL:
        refused(bench, "T99", "no")
        return
    active = bench.object("toolhead")["extruder"]
    other = 1 if active == "extruder" else 0
    for tool in (other, 1 - other):
        assert bench.sent(f"T{tool}") == [command("select_extruder", extruder_index=tool)]
        bench.shows("the tool", lambda tool=tool: bench.object("toolhead")["extruder"] == ("extruder1" if tool else "extruder"))
    refused(bench, "T2", "no tool T2")


def test_buzzer(bench):
    if bench.model in (*H2, "p2s", "x2d"):
        for mode in (1, 2, 0):
            assert bench.sent(f"BUZZER MODE={mode}") == [command("buzzer_ctrl", mode=mode)]
        refused(bench, "BUZZER MODE=3", "MODE=0")
    else:
        refused(bench, "BUZZER MODE=1", "cannot")


def test_own_words(bench):
    assert settled(bench, "M960 S5 P1") == "M960 S5 P1"
    message = {"print": {"command": "print_option", "auto_recovery": True}}
    assert bench.sent(f"VENDOR_JSON MESSAGE='{json.dumps(message)}'") == [("print", message["print"])]
    accessories = {"system": {"command": "get_accessories", "accessory_type": "none"}}
    assert bench.sent(f"VENDOR_JSON MESSAGE='{json.dumps(accessories)}'") == [("system", accessories["system"])]
    refused(bench, "VENDOR_JSON MESSAGE='{\"upgrade\": {\"command\": \"start\"}}'", "own screen")
    refused(bench, "VENDOR_JSON MESSAGE='[]'", "Write one object")
