"""A job on each of the fourteen simulated models: who it is, how the file is started, and every control of a running job,
as messages at the printer and as its own state (bambu.md 1.3, 4.2, 4.5)."""

import hashlib
import io
import zipfile

import pytest

from expected import command
from harness.sliced import archive

# Name, code in SSDP, detect and slices, and whether AMS spools are in the captured report.
MODELS = {
    "x1": ("X1", "BL-P002", True), "x1c": ("X1C", "BL-P001", True), "x1e": ("X1E", "C13", True),
    "p1p": ("P1P", "C11", False), "p1s": ("P1S", "C12", True), "a1": ("A1", "N2S", True),
    "a1mini": ("A1 mini", "N1", True), "a2l": ("A2L", "N9", True), "p2s": ("P2S", "N7", True),
    "x2d": ("X2D", "N6", True), "h2s": ("H2S", "O1S", True), "h2d": ("H2D", "O1D", True),
    "h2dpro": ("H2D Pro", "O1E", True), "h2c": ("H2C", "O1C2", True),
}
# They report only what changes (bambu.md 3.2).
DELTAS = ("p1p", "p1s", "a1", "a1mini", "a2l")
COLOURS = ("FF0000", "0000FF")

pytestmark = pytest.mark.parametrize("bench", MODELS, indirect=True)


def two_objects(content):
    """The same archive with two cubes instead of one."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "Metadata/slice_info.config":
                one = b'<object identify_id="101" name="cube" skipped="false"/>'
                assert one in data
                data = data.replace(one, one + b'\n  <object identify_id="102" name="ring" skipped="false"/>')
            if name == "Metadata/plate_1.json":
                data = (b'{"bbox_objects":[{"name":"cube","bbox":[90,110,110,130]},'
                        b'{"name":"ring","bbox":[50,60,70,80]}]}')
            new.writestr(name, data)
    return out.getvalue()


def spools(bench):
    """Two filled slots of one unit, told to hold PLA of two colours; `None` where everything hangs outside."""
    if not MODELS[bench.model][2]:
        bench.client.gcode(f"EDIT_SLOT SLOT=external MATERIAL=PLA COLOR={COLOURS[0]}")
        return None
    present = [slot for slot in bench.printer.truth()["slots"] if slot["spool"]]
    unit = next((s["unit"] for s in present if sum(o["unit"] == s["unit"] for o in present) > 1), present[0]["unit"])
    chosen = [slot for slot in present if slot["unit"] == unit][:2]
    for slot, colour in zip(chosen, COLOURS):
        bench.client.gcode(f"EDIT_SLOT SLOT={unit}.{slot['slot']} MATERIAL=PLA COLOR={colour}")
    # The choice goes by what the printer shows.
    def shown():
        colours = [colour.lower()[:6] for colour in bench.object("mmu")["gate_color"]]
        return all(colour.lower() in colours for colour in COLOURS[:len(chosen)])
    bench.shows("the spools", shown)
    return [(unit, slot["slot"]) for slot in chosen]


def mapping(bench, chosen):
    """`ams_mapping` and `ams_mapping2` of filaments 1 and 3, or of 1 alone."""
    if chosen is None:
        return [-1], [{"ams_id": 255, "slot_id": 0}]
    flat = [unit if unit >= 128 else slot if unit == 16 else unit * 4 + slot for unit, slot in chosen]
    both = [{"ams_id": unit, "slot_id": slot} for unit, slot in chosen]
    if len(chosen) == 1:
        return flat, both
    # Filament 2 is in the project and not on the plate: unmapped, but counted.
    return [flat[0], -1, flat[1]], [both[0], {"ams_id": 255, "slot_id": 255}, both[1]]


def test_it_is_itself(bench):
    name, _, _ = MODELS[bench.model]
    assert bench.client.call("printer.info")["cpu_info"].startswith(f"Bambu Lab {name},")
    asked = [entry["command"] for entry in bench.printer.truth()["counters"]["commands"]]
    assert asked.count("get_version") == asked.count("pushall") == 1, asked


def test_a_job(bench):
    _, code, _ = MODELS[bench.model]
    chosen = spools(bench)
    filaments = {1: ("PLA", f"#{COLOURS[0]}")}
    if chosen and len(chosen) > 1:
        filaments[3] = ("PLA", f"#{COLOURS[1]}")
    content = two_objects(archive(code=code, plates={1: filaments}, layers=60, seconds=2400))
    assert bench.gateway.upload("part one.gcode.3mf", content).ok
    before = len(bench.requests())
    # Refused until the report shows a change of spools; a refused start sends nothing.
    bench.shows("the start is taken", lambda: bench.client.call(
        "printer.print.start", {"filename": "part one.gcode"}, seconds=90) == "ok")
    (category, job), = bench.shows("the start", lambda: bench.requests()[before:], 90)
    assert (category, job["command"]) == ("print", "project_file")
    flat, detailed = mapping(bench, chosen)
    stored = job["url"].removeprefix("ftp:///")
    expected = {
        "command": "project_file", "param": "Metadata/plate_1.gcode", "url": f"ftp:///{stored}", "file": stored,
        "subtask_name": "part one", "md5": hashlib.md5(content).hexdigest().upper(), "project_id": "0",
        "profile_id": "0", "bed_type": "auto", "use_ams": chosen is not None, "ams_mapping": flat,
        "ams_mapping2": detailed, "timelapse": False, "layer_inspect": False, "flow_cali": False,
        "bed_leveling": True, "vibration_cali": bench.model != "p2s", "cfg": "0", "auto_bed_leveling": 2,
        "extrude_cali_flag": 0, "nozzle_offset_cali": 2,
    }
    assert {key: job.get(key) for key in expected} == expected
    assert job["task_id"] == job["subtask_id"] and 0 < int(job["task_id"]) < 2**31
    # Percent signs, blanks and the like are decoded differently by each firmware (bambu.md 4.5).
    assert stored.endswith(".gcode.3mf") and stored.replace("-", "").replace("_", "").replace(".", "").isalnum()
    for flag in ("bed_leveling", "flow_cali", "vibration_cali", "layer_inspect", "timelapse", "use_ams"):
        assert isinstance(job[flag], bool), flag

    # Past heating and levelling: objects are skipped at the moves.
    bench.shows("printing", lambda: bench.printer.truth()["layer"] > 0 and
                bench.client.print_state() == "printing", 120)
    # Whatever it answers, nothing of it reaches the printer: its counter is looked at below.
    bench.client.request("printer.print.start", {"filename": "part one.gcode"}, 30)
    if bench.model in DELTAS:
        # The total of layers is told once, sometimes before the job itself (bambu.md T9).
        bench.shows("one more full report", lambda: bench.printer.truth()["counters"]["pushalls"] == 2)
    steer(bench)
    assert bench.printer.truth()["counters"]["project_files"] == 1
    assert bench.printer.truth()["counters"]["motion_while_printing"] == 0


def steer(bench):
    """Pause, resume, skip, stop, and the fault of a job."""
    assert bench.sent("EXCLUDE_OBJECT NAME=ring") == [command("skip_objects", obj_list=[102], timestamp=0)]
    bench.shows("skipped", lambda: bench.printer.truth()["skipped"] == [102])
    bench.shows("skipped", lambda: bench.object("exclude_object")["excluded_objects"], 60)
    assert bench.sent("PAUSE", 90) == [command("pause", param="")]
    assert bench.client.print_state() == "paused" and bench.printer.truth()["gcode_state"] == "PAUSE"
    assert bench.sent("RESUME", 90) == [command("resume", param="")]
    assert bench.client.print_state() == "printing"
    before = len(bench.requests())
    answer = bench.client.request("printer.gcode.script", {"script": "G91\nG1 X10 F3000"}, 30)
    assert "error" in answer and len(bench.requests()) == before, "nothing moves while it prints"
    bench.printer.control.fault("fail_job", code=0x0300_8008)
    bench.shows("the failure", lambda: bench.client.print_state() == "error")
    before = len(bench.requests())
    bench.client.gcode("CLEAR_FAULT")
    # The second of them is not acknowledged, so the word may be done before it is there.
    sent = bench.shows("both messages", lambda: (new := bench.requests()[before:]) and len(new) > 1 and new)
    assert [(category, body["command"]) for category, body in sent] == [
        ("print", "clean_print_error"), ("system", "uiop")]
    assert sent[0][1]["print_error"] == 0x0300_8008
    assert sent[1][1].items() >= {"name": "print_error", "action": "close", "source": 1, "type": "dialog",
                                  "err": "03008008"}.items()


def test_stop(bench):
    """Another job, stopped: that is no fault."""
    bench.rest()
    bench.client.call("printer.print.start", {"filename": "part one.gcode"}, seconds=90)
    bench.shows("printing", lambda: bench.printer.truth()["gcode_state"] == "RUNNING", 120)
    assert bench.sent("CANCEL_PRINT", 100) == [command("stop", param="")]
    bench.shows("cancelled", lambda: bench.client.print_state() == "cancelled")
