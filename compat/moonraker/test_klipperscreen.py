"""What KlipperScreen asks, page by page (KlipperScreen/KlipperScreen at 686d106a, seen running against the demo)."""

import pytest

from harness.moonraker import Moonraker, http

IDENTITY = {"client_name": "KlipperScreen", "version": "v0.4.7", "type": "display",
            "url": "https://github.com/KlipperScreen/KlipperScreen"}
OBJECTS = ("configfile", "bed_mesh", "display_status", "extruder", "fan", "gcode_move", "heater_bed", "idle_timeout",
           "motion_report", "pause_resume", "print_stats", "toolhead", "virtual_sdcard", "webhooks", "exclude_object")


@pytest.mark.parametrize("token", ["", "False"])
def test_it_connects_without_a_key(printer, token):
    """Its socket always carries a token: the key, or what an empty one becomes in Python."""
    with Moonraker(printer.url, path=f"/websocket?token={token}") as screen:
        screen.call("server.connection.identify", IDENTITY)
        info = screen.call("server.info")
        assert info["klippy_state"] == "ready" and info["components"]
        assert screen.call("server.config")["config"]["data_store"]["temperature_store_size"] > 0
        config = screen.query("configfile")["configfile"]
        assert config["config"]["virtual_sdcard"]["path"] and config["config"]["printer"]["kinematics"]
        assert screen.call("printer.objects.list")["objects"]
        status = screen.query(*OBJECTS)
        assert {"toolhead", "extruder", "print_stats"} <= {name for name in OBJECTS if status[name]}
        assert screen.call("machine.system_info")["system_info"]["cpu_info"]["cpu_count"]
        assert isinstance(screen.call("printer.gcode.help"), dict)


def test_its_pages_have_their_answers(printer):
    with Moonraker(printer.url) as screen:
        screen.call("server.connection.identify", IDENTITY)
        files = screen.call("server.files.get_directory", {"path": "gcodes", "extended": True})
        cube = next(file for file in files["files"] if file["filename"] == "cube.gcode")
        for picture in cube.get("thumbnails", []):
            assert http("GET", f"{printer.url}/server/files/gcodes/{picture['relative_path']}").status_code == 200
        assert isinstance(screen.call("server.webcams.list")["webcams"], list)
        assert isinstance(screen.call("machine.device_power.devices")["devices"], list)
        # Its page of updates is there whatever the components say.
        updates = screen.call("machine.update.status")
        assert updates["busy"] is False and isinstance(updates["version_info"], dict)
        assert screen.call("machine.update.refresh", {"name": "moonraker"})["version_info"] == updates["version_info"]
        assert screen.call("server.gcode_store", {"count": 100})["gcode_store"] is not None
        assert http("GET", f"{printer.url}/server/history/job?uid=None").status_code == 404
        for script in ("SET_HEATER_TEMPERATURE heater=heater_bed target=0", "SET_FAN_SPEED FAN=aux_fan SPEED=0", "LOAD_FILAMENT"):
            answer = screen.request("printer.gcode.script", {"script": script})
            assert "result" in answer or answer["error"]["code"] == 400, answer


def test_happy_hares_edition_shows_the_filament_system(printer):
    """moggieuk/KlipperScreen-Happy-Hare-Edition at 32489fb, seen running: printer.py and panels/mmu_main.py."""
    with Moonraker(printer.url) as screen:
        if "mmu" not in screen.call("printer.objects.list")["objects"]:
            pytest.skip("no filament system")
        status = screen.query("configfile", "mmu", "mmu_machine")
        section = status["configfile"]["config"]["mmu"]
        assert section["gate_homing_endstop"] and section["spoolman_support"] in ("off", "push")
        mmu, machine = status["mmu"], status["mmu_machine"]
        unit = machine[f"unit_{mmu['unit']}"]
        assert unit["name"] and unit["selector_type"] and unit["num_gates"] > 0
        for word in ("print_state", "action", "filament", "filament_position", "filament_direction", "tool", "next_tool",
                     "last_tool", "sync_drive", "enabled", "sensors", "endless_spool", "gate_spool_id"):
            assert word in mmu, word
        # The button "MMU Pause": words of information while nothing prints, never an error.
        assert screen.call("printer.gcode.script", {"script": "MMU_PAUSE FORCE_IN_PRINT=1"}) == "ok"
