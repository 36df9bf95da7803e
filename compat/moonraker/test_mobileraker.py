"""The requests of Mobileraker, and what its strict parsers need of the answers.

CONSTRUCTED from its source (Clon1998/mobileraker at b89cbf1d, common/lib/service/moonraker and common/lib/data/dto): the
app is Flutter and does not run here. A field named below is `required` there: without it a page or the whole printer is lost.
"""

import re

import pytest

from harness.moonraker import Moonraker, RpcError
from harness.waiting import wait_for

IDENTITY = {"client_name": "Mobileraker", "version": "2.9.0", "type": "mobile", "url": "https://github.com/Clon1998/mobileraker"}
NUMBER = (int, float)
# Settings sections by the first word of their name: the fields that have no default, and those that are lists of numbers.
CONFIG = {
    "printer": {"kinematics": str},
    "extruder": {"nozzle_diameter": NUMBER, "max_extrude_only_distance": NUMBER, "min_temp": NUMBER,
                 "min_extrude_temp": NUMBER, "max_temp": NUMBER, "filament_diameter": NUMBER},
    "heater_bed": {"min_temp": NUMBER, "max_temp": NUMBER},
    "heater_generic": {"min_temp": NUMBER, "max_temp": NUMBER},
    "gcode_macro": {"gcode": str},
}
JOB = {"job_id": str, "user": str, "filename": str, "status": str, "start_time": NUMBER, "print_duration": NUMBER,
       "total_duration": NUMBER, "filament_used": NUMBER, "metadata": dict, "auxiliary_data": list, "exists": bool}
WEBCAM = {"uid": str, "name": str, "service": str, "stream_url": str, "snapshot_url": str}


@pytest.fixture
def app(printer):
    """A socket with the app's pings, greeted as the app does."""
    with Moonraker(printer.url) as client:
        client.call("server.connection.identify", IDENTITY)
        yield client


def has(value, fields, what):
    for name, kind in fields.items():
        assert isinstance(value.get(name), kind), f"{what}: {name} is {value.get(name)!r}"


def test_it_connects(app):
    info = app.call("server.info")
    assert re.fullmatch(r"v?\d+\.\d+\.\d+(-\d+-\S+)?", info["moonraker_version"]), info["moonraker_version"]
    assert info["klippy_state"] in ("ready", "error", "shutdown", "startup", "disconnected")
    state = app.call("printer.info")
    assert state["state"] == "ready" and state["state_message"]
    system = app.call("machine.system_info")["system_info"]
    assert isinstance(system["available_services"], list) and isinstance(system["service_state"], dict)
    names = app.call("printer.objects.list")["objects"]
    status = app.query(*names)
    # Without these four the printer is refused (printer_builder.dart).
    assert {"toolhead", "gcode_move", "print_stats", "configfile"} <= {name for name in names if status[name]}
    app.call("printer.objects.subscribe", {"objects": {name: None for name in names}})
    config = status["configfile"]
    for section, values in config["settings"].items():
        has(values, CONFIG.get(re.split(r"[ \d]", section)[0], {}), section)
    assert isinstance(config["save_config_pending"], bool)
    for name in names:
        if name.split(" ")[0] in ("temperature_sensor", "heater_generic", "extruder", "heater_bed"):
            assert isinstance(status[name]["temperature"], NUMBER), name
    assert {len(status["gcode_move"][field]) for field in ("position", "gcode_position", "homing_origin")} == {4}
    for kept in app.call("server.gcode_store")["gcode_store"]:
        has(kept, {"message": str, "type": str, "time": NUMBER}, "gcode_store")
    for name, kept in app.call("server.temperature_store").items():
        assert kept["temperatures"] is not None, name
    assert all(isinstance(text, str) for text in app.call("printer.gcode.help").values())
    for notice in app.call("server.announcements.list", {"include_dismissed": False})["entries"]:
        has(notice, {"entry_id": str, "title": str, "description": str, "date": NUMBER}, "announcement")


def test_its_settings(app):
    """It compares the whole text of what is missing (moonraker.md 2.9)."""
    assert isinstance(app.call("server.database.list")["namespaces"], list)
    app.call("server.database.post_item", {"namespace": "mobileraker", "key": "settings", "value": {"created": 1}})
    assert "mobileraker" in app.call("server.database.list")["namespaces"]
    assert app.call("server.database.get_item", {"namespace": "mobileraker", "key": "settings"})["value"] == {"created": 1}
    with pytest.raises(RpcError, match="Key 'fcm' in namespace 'mobileraker' not found"):
        app.call("server.database.get_item", {"namespace": "mobileraker", "key": "fcm.device"})
    app.call("server.database.delete_item", {"namespace": "mobileraker", "key": "settings"})


def test_its_files(app):
    for root in app.call("server.files.roots"):
        has(root, {"name": str, "path": str, "permissions": str}, "root")
    app.call("server.files.post_directory", {"path": "gcodes/mobileraker"})
    listed = app.call("server.files.get_directory", {"path": "gcodes", "extended": True})
    assert "mobileraker" in [folder["dirname"] for folder in listed["dirs"]]
    cube = next(file for file in listed["files"] if file["filename"] == "cube.gcode")
    has(cube, {"modified": NUMBER, "size": int}, "file")
    for picture in cube.get("thumbnails", []):
        has(picture, {"width": int, "height": int, "size": int, "relative_path": str}, "thumbnail")
    metadata = app.call("server.files.metadata", {"filename": "cube.gcode"})
    has(metadata, {"filename": str, "modified": NUMBER, "size": int}, "metadata")
    assert None not in [value for name, value in metadata.items() if name not in ("print_start_time", "job_id")]
    copied = app.call("server.files.copy", {"source": "gcodes/cube.gcode", "dest": "gcodes/mobileraker/two.gcode"})
    has(copied["item"], {"path": str, "root": str, "size": int, "modified": NUMBER}, "copy")
    moved = app.call("server.files.move", {"source": "gcodes/mobileraker/two.gcode", "dest": "gcodes/mobileraker/three.gcode"})
    assert moved["action"] == "move_file" and moved["source_item"]["path"] == "mobileraker/two.gcode"
    packed = {"dest": "gcodes/mobileraker/all.zip", "items": ["gcodes/mobileraker/three.gcode"], "store_only": True}
    assert app.call("server.files.zip", packed)["destination"]["path"] == "mobileraker/all.zip"
    app.call("server.files.delete_file", {"path": "gcodes/mobileraker/three.gcode"})
    app.call("server.files.delete_directory", {"path": "gcodes/mobileraker", "force": True})


def test_its_cameras(app):
    for camera in app.call("server.webcams.list")["webcams"]:
        has(camera, WEBCAM, "webcam")
    own = {"name": "Door", "service": "mjpegstreamer", "stream_url": "/door?stream", "snapshot_url": "/door?shot",
           "enabled": True, "icon": "mdiWebcam", "aspect_ratio": "4:3", "target_fps": 15, "target_fps_idle": 5,
           "location": "printer", "flip_horizontal": False, "flip_vertical": True, "rotation": 90, "extra_data": {}}
    made = app.call("server.webcams.post_item", own)["webcam"]
    has(made, WEBCAM, "webcam")
    assert app.call("server.webcams.get_item", {"uid": made["uid"]})["webcam"]["rotation"] == 90
    app.call("server.webcams.delete_item", {"uid": made["uid"]})


def test_a_print_and_its_history(app, idle_printer):
    app.call("printer.print.start", {"filename": "cube.gcode"}, seconds=60)
    wait_for(lambda: app.print_state() in ("printing", "complete"), "printing", 60)
    asked = {"start": 0, "limit": 20, "order": "desc"}
    wait_for(lambda: app.call("server.history.list", asked)["jobs"], "a job in the history", 30)
    app.call("printer.print.cancel", seconds=60)
    wait_for(lambda: app.call("server.history.list", asked)["jobs"][0]["end_time"], "its end", 60)
    for job in app.call("server.history.list", asked)["jobs"]:
        has(job, JOB, "job")
        has(job["metadata"], {"modified": NUMBER, "size": int}, "metadata of a job")


def test_what_it_may_not_do(app):
    """The power menu of the app: refused in words, not unknown; Mainsail shows only what the console says of it."""
    for method in ("machine.reboot", "machine.shutdown"):
        with pytest.raises(RpcError) as refused:
            app.call(method)
        assert refused.value.code == 403 and refused.value.message, method
        app.next_notification("notify_gcode_response", where=lambda said: said == [f"!! {refused.value.message}"])
