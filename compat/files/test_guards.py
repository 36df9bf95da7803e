"""What is held against a start: each reason told to a Moonraker client and on the command line, with its override."""

import pytest

from harness import sliced
from harness.single import farm
from harness.waiting import wait_for


@pytest.fixture(scope="module")
def lasting():
    """Only archives say for whom and with what they were sliced: these guards are seen with a P1S."""
    with farm("p1s", "files-guards", printer_settings='bed = "Textured PEI Plate"') as gateway:
        yield gateway


CASES = {
    # name: (archive options, code, words of the reason)
    "model": ({"code": "N1"}, "model", "model N1"),
    "nozzle": ({"nozzle": "0.8"}, "nozzle", "0.8"),
    "bed": ({"bed": "Cool Plate"}, "bed", "Cool Plate"),
    "material": ({"plates": {1: {1: ("ASA-CF", "#101010")}}}, "slots", "no free slot"),
}


def put(gateway, name, **options):
    answer = gateway.upload(f"{name}.gcode.3mf", sliced.archive(gateway.printer.model, **options))
    assert answer.status_code == 201, answer.text
    return f"{name}.gcode"


def refused(gateway, name, words, *arguments):
    """The same reason from both; nothing reached the printer."""
    before = gateway.printer.starts()
    answer = gateway.post("/printer/print/start", json={"filename": name})
    assert answer.status_code == 400 and words in answer.json()["error"]["message"], answer.text
    code, told = gateway.cli("print", name, "--library", "--printer", gateway.printer.model, *arguments)
    assert code != 0 and words in told, told
    code, told = gateway.cli("print", name, "--library", "--printer", gateway.printer.model, "--dry-run", *arguments)
    assert code != 0 and words in told, told
    assert gateway.printer.starts() == before
    return told


def overridden(gateway, name, *arguments):
    before = gateway.printer.starts()
    code, told = gateway.cli("print", name, "--library", "--printer", gateway.printer.model, *arguments)
    assert code == 0, told
    assert gateway.printer.starts() == before + 1
    assert gateway.post("/printer/print/cancel").ok
    gateway.until_state("cancelled", "error")


@pytest.mark.parametrize("case", CASES)
def test_the_file_is_not_for_this_printer(lasting, case):
    options, code, words = CASES[case]
    told = refused(lasting, put(lasting, case, **options), words)
    assert f"[{code}]" in told, told


def overridden_in_the_console(gateway, name, code):
    """With the line that the refusal names."""
    before = gateway.printer.starts()
    told = gateway.post("/printer/print/start", json={"filename": name}).json()["error"]["message"]
    line = told[told.index("SDCARD_PRINT_FILE"):]
    assert line.endswith(f"OVERRIDE={code}"), told
    answer = gateway.post("/printer/gcode/script", json={"script": line})
    assert answer.ok, answer.text
    gateway.until_phase("printing")
    assert gateway.printer.starts() == before + 1
    assert gateway.post("/printer/print/cancel").ok
    gateway.until_state("cancelled", "error")


@pytest.mark.parametrize("case", ["model", "bed"])
def test_what_was_sliced_for_another_can_be_overridden(lasting, case):
    options, code, _ = CASES[case]
    name = put(lasting, case, **options)
    overridden(lasting, name, "--override", code)
    overridden_in_the_console(lasting, name, code)


def test_a_printer_may_still_refuse_another_nozzle(lasting):
    """Overridden here, it gets the start and says no itself: its own reason is told."""
    name = put(lasting, "nozzle", nozzle="0.8")
    before = lasting.printer.starts()
    code, told = lasting.cli("print", name, "--library", "--printer", "p1s", "--override", "nozzle")
    assert code != 0 and "0500_4047" in told, told
    assert lasting.printer.starts() == before + 1 and not lasting.printer.busy()


def test_the_bed_on_the_printer_can_be_said(lasting):
    """The printer is told of the bed that lies on it, in its own words."""
    def told_bed():
        commands = lasting.printer.truth()["counters"]["commands"]
        return [entry["payload"] for entry in commands if entry["command"] == "project_file"][-1]["bed_type"]
    cool, textured = put(lasting, "cool", bed="Cool Plate"), put(lasting, "textured", bed="textured_plate")
    overridden(lasting, cool, "--bed", "Cool Plate")
    assert told_bed() == "cool_plate"
    overridden(lasting, textured)
    assert told_bed() == "textured_plate"
    code, told = lasting.cli("print", textured, "--library", "--printer", "p1s", "--bed", "Engineering Plate")
    assert code != 0 and "--override bed" in told, told


def test_a_slot_of_another_material_is_told_and_can_be_overridden(lasting):
    name = put(lasting, "asa", plates={1: {1: ("ASA-CF", "#101010")}})
    code, told = lasting.cli("print", name, "--library", "--printer", lasting.printer.model, "--slots", "0.0", "--dry-run")
    assert code != 0 and "[filament]" in told, told
    overridden(lasting, name, "--slots", "0.0", "--override", "filament")
    code, told = lasting.cli("print", name, "--library", "--printer", lasting.printer.model, "--slots", "7.3", "--dry-run")
    assert code != 0 and "does not have" in told and "[slots]" in told, told


def test_the_plate_is_not_in_the_file(lasting):
    plates = {n: {1: ("PLA", "#F27818")} for n in (1, 2)}
    put(lasting, "plates", plates=plates)
    arguments = ("print", "plates.gcode.3mf", "--library", "--printer", lasting.printer.model)
    code, told = lasting.cli(*arguments, "--plate", "3", "--dry-run")
    assert code != 0 and "no sliced plate 3" in told, told
    code, told = lasting.cli(*arguments, "--dry-run")
    assert code != 0 and "say which one" in told, told
    ambiguous = lasting.post("/printer/print/start", json={"filename": "plates.gcode.3mf"})
    assert ambiguous.status_code == 400 and "1, 2" in ambiguous.text
    code, told = lasting.cli(*arguments, "--plate", "2", "--dry-run")
    assert code == 0 and "plate 2" in told, told


def test_the_preview_shows_where_each_filament_comes_from(lasting):
    name = put(lasting, "preview")
    code, told = lasting.cli("print", name, "--library", "--printer", lasting.printer.model, "--dry-run")
    assert code == 0 and "slot 0." in told and "PLA" in told, told


def test_no_storage(lasting):
    name = put(lasting, "storage")
    lasting.printer.control.fault("storage_missing", on=True)
    # A P1S tells its card in full reports only: the next connection begins with one.
    lasting.printer.control.fault("drop_link")
    try:
        dry = ("print", name, "--library", "--printer", "p1s", "--dry-run")
        wait_for(lambda: "no storage" in lasting.cli(*dry)[1], "the gateway knows", 30, 1)
        refused(lasting, name, "no storage")
    finally:
        lasting.printer.control.fault("storage_missing", on=False)
        lasting.printer.control.fault("drop_link")
        lasting.wait_online()


def test_busy(lasting):
    name = put(lasting, "busy", seconds=600)
    other = put(lasting, "second")
    wait_for(lambda: lasting.post("/printer/print/start", json={"filename": name}).ok, "started", 30, 1)
    lasting.until_phase("printing")
    refused(lasting, other, "second one is never started")
    assert lasting.post("/printer/print/cancel").ok
    lasting.until_state("cancelled")


def test_the_gate_is_closed(lasting):
    name = put(lasting, "gated")
    before = lasting.printer.starts()
    lasting.printer.control.fault("gate", on=True)
    try:
        answer = lasting.post("/printer/print/start", json={"filename": name})
        lasting.until_state("standby", "error", "cancelled", "complete", seconds=120)
        again = lasting.post("/printer/print/start", json={"filename": name})
        text = answer.text + again.text + str(lasting.status())
        assert "Developer Mode" in text, text
        assert lasting.printer.starts() == before
    finally:
        lasting.printer.control.fault("gate", on=False)


def test_a_filament_is_fed_to_its_own_nozzle():
    """H2D: group 0 is the left nozzle; external spool 0 feeds the right one."""
    with farm("h2d", "files-guards-h2d") as gateway:
        for group, own, other in ((0, "external1", "external"), (1, "external", "external1")):
            name = f"group{group}.gcode.3mf"
            content = sliced.archive("h2d", nozzle="0.4,0.4", groups={1: group})
            assert gateway.upload(name, content).status_code == 201
            arguments = ("print", name, "--library", "--printer", "h2d", "--dry-run", "--slots")
            code, told = gateway.cli(*arguments, other)
            assert code != 0 and "[slots]" in told and "nozzle" in told, told
            code, told = gateway.cli(*arguments, own)
            assert "nozzle, and slot" not in told, told
