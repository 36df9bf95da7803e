"""The real gateway against a replayed printer of Debian's mosquitto and vsftpd: nothing here is our simulator's."""

import pytest

from harness.gateway import Gateway
from harness.moonraker import RpcError
from harness.replay_printer import CODE, ReplayPrinter
from harness.sliced import archive
from harness.waiting import wait_for

IDLE = {"gcode_state": "IDLE", "print_error": 0, "mc_percent": 0, "subtask_name": "", "gcode_file": ""}

# Captured report, captured module list, serial prefix, code of the slices, shape of acknowledgements, and the
# captured words in which the job shows: H2-class firmware names a path in memory, the small ones the stored file.
PRINTERS = {
    "a1mini": ("a1mini-idle", "info-get_version-a1mini-01.07.02.00", "030", "N1", "nameless", False),
    "p1p": ("p1p-01.08.02.00-finish-noams", None, "01S", "C11", "whole", False),
    "p1s-ams": ("p1s-finish-ams2pro", "info-get_version-p1p-01.08.02.00-finish-noams", "01P", "C11", "whole", False),
    "x1c": ("x1c-01.09.00.01-finish-4ams", None, "00M", "BL-P001", "whole", True),
    "p2s": ("p2s-01.01.00.00-running", None, "22E", "N7", "whole", True),
    "h2d": ("h2d-01.01.02.00-idle-mixed-ams", None, "094", "O1D", "whole", True),
}


def material(report):
    """What a spool of this captured report holds: a slot of the first unit, else the external spool."""
    units = report.get("ams", {}).get("ams", [])
    trays = [tray for unit in units for tray in unit["tray"]] + [report.get("vt_tray", {})] + report.get("vir_slot", [])
    return next((tray["tray_type"] for tray in trays if tray.get("tray_type")), None)


def allowed(overrides):
    """Developer Mode on: bit 29 of `fun` clear, as in the captured pair of one H2D."""
    return {"fun": "3EC18FFF9CFF", **overrides}


@pytest.fixture(scope="module", params=PRINTERS)
def bench(request):
    suffix, versions, prefix, code, acks, in_memory = PRINTERS[request.param]
    overrides = dict(IDLE)
    if in_memory:
        overrides = allowed(overrides)
    with ReplayPrinter(f"{prefix}00A000000077", suffix, versions, acks, overrides) as printer:
        printer.code, printer.in_memory = code, in_memory
        with Gateway(f"replay-{request.param}", printer.config()) as gateway:
            gateway.wait_ready()
            yield printer, gateway


def test_online_with_one_complete_report(bench):
    printer, gateway = bench
    with gateway.moonraker() as client:
        bed = client.query("heater_bed")["heater_bed"]
        assert bed["temperature"] == pytest.approx(printer.report["bed_temper"], abs=0.6)
        printer.delta(bed_temper=43.5)
        # Where the printer packs its temperatures, the packed one counts.
        if "device" not in printer.report:
            wait_for(lambda: client.query("heater_bed")["heater_bed"]["temperature"] == pytest.approx(43.5),
                     "the bed of the delta")
    assert len(printer.asked("pushall")) == 1
    assert len(printer.asked("get_version")) == 1
    assert {kind for kind, _ in printer.requests} == {"pushing", "info"}, "nothing else was said unasked"


def test_commands_arrive_as_documented(bench):
    printer, gateway = bench
    with gateway.moonraker() as client:
        client.gcode("M106 S255")
        assert printer.wait_asked("gcode_line")["param"] == "M106 P1 S255\n"
        for body in printer.asked("gcode_line"):
            assert isinstance(body["sequence_id"], str) and body["sequence_id"].isdigit()


def test_a_job_is_sent_started_and_followed(bench):
    printer, gateway = bench
    held = material(printer.report)
    content = archive(code=printer.code, plates={1: {1: (held or "PLA", "#FFFFFF")}}, layers=5)
    gateway.upload("peer.gcode.3mf", content)
    with gateway.moonraker() as client:
        client.call("printer.print.start", {"filename": "peer.gcode"}, seconds=60)
        started = printer.wait_asked("project_file", 60)
        name = started["url"].removeprefix("ftp:///")
        assert (printer.stored / name).read_bytes() == content, "what vsftpd stored is the file"
        assert started["param"] == "Metadata/plate_1.gcode"
        assert isinstance(started["use_ams"], bool) and isinstance(started["bed_leveling"], bool)
        assert started["task_id"] == started["subtask_id"] and 0 < int(started["task_id"]) < 2**31
        assert len(started["ams_mapping"]) == len(started["ams_mapping2"])
        if not held:
            # Every slot was empty when this was captured, and nobody had told what hangs outside: that feeds the job.
            assert (started["use_ams"], started["ams_mapping"]) == (False, [-1])

        file = "/data/Metadata/plate_1.gcode" if printer.in_memory else name
        printer.delta(gcode_state="PREPARE", gcode_file=file, subtask_name=started["subtask_name"],
                      subtask_id=started["subtask_id"], task_id=started["task_id"])
        printer.delta(gcode_state="RUNNING", mc_percent=0, layer_num=0, total_layer_num=5, mc_remaining_time=3)
        wait_for(lambda: client.print_state() == "printing", "printing", 20)
        printer.delta(mc_percent=40, layer_num=2, mc_remaining_time=2)
        wait_for(lambda: client.query("print_stats")["print_stats"]["info"]["current_layer"] == 2, "the layer")

        pausing = client.send_later("printer.print.pause")
        assert printer.wait_asked("pause")["param"] == ""
        printer.delta(gcode_state="PAUSE", stg_cur=16)
        client.answer(pausing, 30)
        wait_for(lambda: client.print_state() == "paused", "paused")
        resuming = client.send_later("printer.print.resume")
        printer.wait_asked("resume")
        printer.delta(gcode_state="RUNNING", stg_cur=0)
        client.answer(resuming, 30)
        wait_for(lambda: client.print_state() == "printing", "printing again")

        printer.delta(gcode_state="FINISH", mc_percent=100, layer_num=5, mc_remaining_time=0)
        wait_for(lambda: client.print_state() == "complete", "complete", 20)
    assert len(printer.asked("project_file")) == 1
    wait_for(lambda: not (printer.stored / name).exists(), "the file is taken off the card again", 30)


@pytest.mark.parametrize("acks", ["verify-failed", "bare"])
def test_a_rejection_makes_it_read_only(acks):
    with ReplayPrinter("01S00A000000078", "p1p-01.08.02.00-finish-noams", acks=acks, overrides=IDLE) as printer:
        with Gateway(f"replay-{acks}", printer.config()) as gateway:
            gateway.wait_ready()
            with gateway.moonraker() as client:
                with pytest.raises(RpcError, match="Developer Mode"):
                    client.gcode("M140 S50")
                sent = len(printer.requests)
                with pytest.raises(RpcError, match="Developer Mode"):
                    client.gcode("M140 S50")
                assert len(printer.requests) == sent, "a second command is not even sent"


def test_a_gate_in_the_report_is_respected_without_a_write():
    with ReplayPrinter("09400A000000079", "h2d-01.01.02.07-running") as printer:
        with Gateway("replay-gated", printer.config()) as gateway:
            gateway.wait_ready()
            with gateway.moonraker() as client, pytest.raises(RpcError, match="Developer Mode"):
                client.gcode("M140 S50")
            assert {kind for kind, _ in printer.requests} == {"pushing", "info"}


def test_a_wrong_code_is_said():
    with ReplayPrinter("01S00A000000080", "p1p-01.08.02.00-finish-noams") as printer:
        assert printer.config()["access_code"] == CODE
        with Gateway("replay-code", printer.config(access_code="87654321")) as gateway:
            wait_for(lambda: "access code" in str(gateway.info()), "the reason", 30)


def test_a_printer_that_moved_is_followed_by_its_serial_number():
    with ReplayPrinter("01S00A000000081", "p1p-01.08.02.00-finish-noams", overrides=IDLE) as printer:
        # Nothing listens at the configured address.
        with Gateway("replay-moved", printer.config(host="127.0.0.2")) as gateway:
            wait_for(lambda: "127.0.0.2" in str(gateway.info()), "the printer is away", 30)

            def announced():
                printer.announce()
                return gateway.info()["result"]["state"] == "ready"

            wait_for(announced, "it is followed to 127.0.0.1", 60, every=1)


def test_an_unknown_model_is_shown_and_never_commanded():
    with ReplayPrinter("99Z00A000000082", "p1p-01.08.02.00-finish-noams", overrides=IDLE) as printer:
        for module in printer.versions["module"]:
            module.pop("product_name", None)
            module.update({key: "XX99" for key in ("project_name", "hw_ver") if key in module})
        with Gateway("replay-unknown", printer.config()) as gateway:
            gateway.wait_ready()
            with gateway.moonraker() as client:
                assert client.query("heater_bed")["heater_bed"]["temperature"] > 0
                with pytest.raises(RpcError, match="does not know this model"):
                    client.gcode("M140 S50")
            assert {kind for kind, _ in printer.requests} == {"pushing", "info"}


def test_a_certificate_that_names_nobody_is_taken():
    with ReplayPrinter("01S00A000000083", "p1p-01.08.02.00-finish-noams", overrides=IDLE, name="Print Bridge") as printer:
        with Gateway("replay-bridge", printer.config()) as gateway:
            gateway.wait_ready()
    with ReplayPrinter("01S00A000000084", "p1p-01.08.02.00-finish-noams", name="01S00A000000085") as printer:
        with Gateway("replay-other", printer.config()) as gateway:
            wait_for(lambda: "another serial" in str(gateway.info()) or "serial number" in str(gateway.info()),
                     "another printer is told apart", 30)


def test_a_bridge_without_acknowledgements_works_by_its_reports():
    with ReplayPrinter("01S00A000000086", "p1p-01.08.02.00-finish-noams", acks="none", overrides=IDLE) as printer:
        with Gateway("replay-mute", printer.config()) as gateway:
            gateway.wait_ready()
            with gateway.moonraker() as client:
                heating = client.send_later("printer.gcode.script", {"script": "M140 S50"})
                printer.wait_asked("gcode_line")
                printer.delta(bed_target_temper=50)
                assert client.answer(heating, 9)["result"] == "ok", "the report shows it before any deadline"
