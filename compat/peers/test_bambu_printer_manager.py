"""The third-party client `bambu-printer-manager`, unmodified, drives the simulated Bambu printer.

It knows only the printer's own port numbers, so connections to those are sent to the simulator's.
"""

import json

import pytest
from bpm.bambuconfig import BambuConfig
from bpm.bambuprinter import BambuPrinter
from bpm.bambutools import PlateType

from harness.simulated import redirected, simulated
from harness.waiting import wait_for

PORTS = {8883: "mqtt", 990: "ftps"}


@pytest.fixture(scope="module", params=["p1s", "a1mini", "h2d"])
def machine(request):
    with simulated(request.param) as printer, redirected(printer, PORTS):
        yield printer


@pytest.fixture(scope="module")
def client(machine):
    client = BambuPrinter(BambuConfig(machine.host, machine.access_code, machine.serial))
    client.start_session()
    wait_for(lambda: state(client) in ("IDLE", "FINISH", "FAILED"), "the printer is idle", 30)
    yield client
    client.quit()


def state(client):
    return client.printer_state.gcode_state


def test_first_report(client):
    wait_for(lambda: client.config.firmware_version.count(".") == 3, "firmware is known", 60)
    wait_for(lambda: "cube.gcode.3mf" in json.dumps(client.get_sdcard_contents()), "the sample is listed")


def test_bed(client):
    client.set_bed_temp_target(50)
    wait_for(lambda: client.printer_state.climate.bed_temp_target == 50, "bed target")
    client.set_bed_temp_target(0)
    wait_for(lambda: client.printer_state.climate.bed_temp_target == 0, "bed target off")


# The tray numbers of the others are not asked of this client.
@pytest.mark.parametrize("machine", ["p1s"], indirect=True)
def test_filament(client):
    wait_for(lambda: client.printer_state.ams_units, "filament units are known")
    client.load_filament(1, 0)
    wait_for(lambda: client.printer_state.active_tray_id == 1, "slot 1 is loaded", 60)
    client.unload_filament(0)
    wait_for(lambda: client.printer_state.active_tray_id in (255, -1), "unloaded", 60)


def test_a_job(client, machine):
    ams = machine.model == "p1s"
    client.print_3mf_file("/cube.gcode.3mf", 1, PlateType.AUTO, ams, "[0]" if ams else "")
    wait_for(lambda: state(client) == "RUNNING", "the print runs", 60)
    client.pause_printing()
    wait_for(lambda: state(client) == "PAUSE", "paused", 30)
    client.resume_printing()
    wait_for(lambda: state(client) == "RUNNING", "runs again", 30)
    client.stop_printing()
    wait_for(lambda: state(client) == "FAILED", "stopped", 30)
