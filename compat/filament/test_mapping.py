"""Which slot feeds which tool of the next print: by the panels' dialogs, by macros, by the command line, by itself.

What arrived is read from the simulated printer: `ams_mapping` of a Bambu, `slot_map` of a Centauri Carbon 2.
"""

import json
import os
import re
import subprocess

import pytest

from filament_files import four_colours, one_colour
from harness.demo import binary
from harness.moonraker import RpcError
from view import check

# As somebody writes it by hand: no slicer, no settings.
GENERIC = b"G28\nM104 S200\n" + b"".join(b";LAYER_CHANGE\nG1 X%d Y10 E%d F600\n" % (10 + n, n) for n in range(60))


def dialog(skip, gates):
    """What Fluidd's print dialog sends before it starts the print."""
    groups = ",".join(str(number) for number in range(len(gates)))
    return (f"MMU_SLICER_TOOL_MAP SKIP_AUTOMAP={skip}\nMMU_TTG_MAP MAP=\"{','.join(map(str, gates))}\" QUIET=1\n"
            f"MMU_ENDLESS_SPOOL GROUPS=\"{groups}\" QUIET=1")


def test_by_itself_each_filament_finds_its_colour(bench):
    """The file names the colours of the slots in reverse."""
    path = four_colours(bench)
    assert bench.print(path) == [3, 2, 1, 0]
    shown = bench.mmu
    assert shown["ttg_map"][:4] == [3, 2, 1, 0], "the panel shows what is printed"
    tools = shown["slicer_tool_map"]["tools"]
    assert len(tools) == 4 and all(tool["in_use"] for tool in tools.values()), tools
    assert tools["0"]["color"].upper() == shown["gate_color"][3]


def test_the_print_dialog_as_it_is_leaves_the_match_alone(either):
    path = four_colours(either)
    gates = either.mmu["ttg_map"]
    # Fluidd does not wait for the answer before it starts the print.
    requests = ((9001, "printer.gcode.script", {"script": dialog(0, gates)}),
                (9002, "printer.print.start", {"filename": path}))

    def both():
        for number, method, params in requests:
            frame = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            either.client.send_text(json.dumps(frame))
        for number, _, _ in requests:
            assert "error" not in either.client.answer(number, 60)
    assert either.begun(both) == [3, 2, 1, 0]


def test_what_is_changed_in_the_print_dialog_arrives(either):
    path = four_colours(either)
    gates = either.mmu["ttg_map"]
    gates[0], gates[3] = 2, 1
    either.client.gcode(dialog(0, gates))
    assert either.mmu["ttg_map"] == gates
    mapping = either.print(path)
    assert mapping[0] == 2 and mapping[3] == 1 and sorted(mapping) == [0, 1, 2, 3], mapping


def test_without_automap_the_map_is_printed_as_shown(either):
    path = four_colours(either)
    gates = either.mmu["ttg_map"]
    either.client.gcode(dialog(1, gates))
    assert either.mmu["slicer_tool_map"]["skip_automap"]
    assert either.print(path) == [0, 1, 2, 3]
    either.client.call("printer.print.cancel", seconds=60)
    either.until_state("cancelled")


def test_mainsails_dialog_sets_one_tool_at_a_time(either):
    path = four_colours(either)
    either.client.gcode("MMU_REMAP_TTG TOOL=0 GATE=0 QUIET=1")
    either.client.gcode("MMU_REMAP_TTG TOOL=1 GATE=3 QUIET=1")
    mapping = either.print(path)
    assert mapping[:2] == [0, 3] and sorted(mapping) == [0, 1, 2, 3], mapping


def test_by_the_macro_and_reset(either):
    path = four_colours(either)
    either.client.gcode('MMU_TTG_MAP MAP="0,2,1,3"')
    assert either.mmu["ttg_map"][:4] == [0, 2, 1, 3]
    assert either.begun(lambda: either.client.gcode(f"SDCARD_PRINT_FILE FILENAME={path}")) == [0, 2, 1, 3]
    either.until("something is printed", lambda: either.objects("virtual_sdcard")["virtual_sdcard"]["progress"] > 0)
    either.client.call("printer.print.cancel", seconds=60)
    either.until_state("cancelled")
    either.until("the map was for one print", lambda: either.mmu["ttg_map"][:4] == [0, 1, 2, 3])
    either.client.gcode('MMU_TTG_MAP MAP="3,3,3,3"')
    either.client.gcode("MMU_TTG_MAP RESET=1")
    assert either.mmu["ttg_map"][:4] == [0, 1, 2, 3]


def test_a_file_that_names_no_filament(either):
    """It takes what is loaded; where nothing is, the refusal names the line that helps."""
    either.upload("generic.gcode", GENERIC)
    if either.mmu["gate"] >= 0:
        either.client.gcode("MMU_UNLOAD")
    either.until("nothing is loaded", lambda: either.mmu["gate"] < 0)
    with pytest.raises(RpcError) as refused:
        either.client.call("printer.print.start", {"filename": "generic.gcode"}, seconds=60)
    [(line, gate)] = re.findall(r'(MMU_TTG_MAP MAP="(\d+)")', refused.value.message)
    either.client.gcode(line)
    assert either.print("generic.gcode") == [int(gate)]
    either.until("it is loaded", lambda: either.mmu["gate"] == int(gate))
    either.make_idle()
    assert either.mmu["gate"] == int(gate), "it stays loaded"
    assert either.print("generic.gcode") == [int(gate)]


@pytest.mark.parametrize("script", ['MMU_TTG_MAP MAP="0,99"', "MMU_REMAP_TTG TOOL=0 GATE=-3", "MMU_SELECT GATE=77",
                                    'MMU_ENDLESS_SPOOL GROUPS="0,0,0,0"', "MMU_GATE_MAP GATE=0 COLOR=nocolour"])
def test_nonsense_is_refused_in_words(either, script):
    answer = either.client.request("printer.gcode.script", {"script": script})
    assert "error" in answer and len(answer["error"]["message"]) > 10, answer
    found = either.objects("mmu", "mmu_machine")
    check(found["mmu"], found["mmu_machine"])


def command_line(bench, *arguments):
    done = subprocess.run(
        [str(binary()), "print", *arguments, "--printer", bench.name, "--gateway", bench.gateway],
        capture_output=True, text=True, timeout=120, env={**os.environ, "NO_PROXY": "*"},
    )
    return done.returncode, done.stdout, done.stderr


def test_by_the_command_line_with_a_preview(either):
    path = four_colours(either)
    code, out, err = command_line(either, path, "--library", "--dry-run")
    assert code == 0, (out, err)
    rows = [line for line in out.splitlines() if "filament" in line]
    assert [row.split("<- slot ")[1].split()[0] for row in rows] == ["0.3", "0.2", "0.1", "0.0"], out
    assert either.client.print_state() not in ("printing", "paused"), "a dry run starts nothing"

    code, out, err = command_line(either, path, "--library", "--dry-run", "--json", "--slots", "0.0,-,0.2,0.3")
    assert code == 0, (out, err)
    preview = json.loads(out)
    told = [filament["slot"] for filament in preview["filaments"]]
    assert told == ["0.0", "0.1", "0.2", "0.3"], preview

    def run():
        code, out, err = command_line(either, path, "--library", "--slots", "0.1,0.0,0.3,0.2")
        assert code == 0, (out, err)
    assert either.begun(run) == [1, 0, 3, 2]


def test_the_command_line_refuses_what_cannot_be(either):
    path = four_colours(either)
    for slots in ("9.9", "nonsense", "0.0,0.1,0.2,7.1"):
        code, out, err = command_line(either, path, "--library", "--slots", slots)
        assert code != 0 and "slot" in (out + err), (slots, out, err)
    slot = {"tray": 0} if either.name == "cc2" else {"unit": 0, "slot": 0}
    either.simulator.fault("spool", **slot)
    either.until("slot empty", lambda: either.mmu["gate_status"][0] == 0)
    code, out, err = command_line(either, path, "--library", "--dry-run")
    assert code != 0 and "finds no free slot" in out, (out, err)
    assert either.client.print_state() not in ("printing", "paused")


# Per printer: what is chosen, and what must arrive in the flat and in the detailed list (bambu.md 4.5).
PLACES = {
    "p1s": {"0.2": (2, (0, 2)), "external": (-1, (255, 0))},
    # The AMS HT is unit 128; external spool 0 feeds the right nozzle, 1 the left one.
    "h2d": {"0.1": (1, (0, 1)), "128.0": (128, (128, 0)), "external": (-1, (255, 0)), "external1": (-1, (254, 0))},
}


def told(bench, flat, detailed):
    """The newest start that reached the printer names this place and no other."""
    payload = bench.sent("project_file")[-1]
    unit, slot = detailed
    assert payload["ams_mapping"] == [flat], payload
    assert payload["ams_mapping2"] == [{"ams_id": unit, "slot_id": slot}], payload
    # Without any slot of a unit a printer of one nozzle is told so.
    assert payload["use_ams"] == (flat >= 0 or bench.name == "h2d"), payload


def fill_ht(h2d):
    h2d.simulator.fault("spool", unit=128, slot=0, spool={"material": "PLA", "color": "123456FF"})
    h2d.until("a spool in the AMS HT", lambda: "123456" in h2d.mmu["gate_color"])


@pytest.mark.parametrize("name, place", [(name, place) for name, places in PLACES.items() for place in places])
def test_each_place_by_its_name(name, place, request):
    bench = request.getfixturevalue(name)
    path = one_colour(bench)
    if place == "128.0":
        fill_ht(bench)
    count = len(bench.sent("project_file"))
    code, out, err = command_line(bench, path, "--library", "--slots", place, "--override", "filament")
    assert code == 0, (out, err)
    assert len(bench.sent("project_file")) == count + 1
    told(bench, *PLACES[name][place])


def test_the_ams_ht_by_its_gate(h2d):
    """The panels count gates through all units."""
    path = one_colour(h2d)
    fill_ht(h2d)
    gate = next(gate for gate, colour in enumerate(h2d.mmu["gate_color"]) if "123456" in colour)
    count = len(h2d.sent("project_file"))
    h2d.client.gcode(f'MMU_TTG_MAP MAP="{gate}"')
    h2d.client.gcode(f'SDCARD_PRINT_FILE FILENAME="{path}" OVERRIDE=filament')
    h2d.until("the start reached the printer", lambda: len(h2d.sent("project_file")) > count)
    told(h2d, 128, (128, 0))
