"""The OctoPrint REST interface on each printer's port, called as slicers, Cura and apps do (octoprint.md section 10)."""

import json
import time

import pytest
import websocket

from harness.moonraker import http
from harness.waiting import wait_for


@pytest.fixture
def twin(idle_printer):
    """Calls the twin: `twin("GET", "/api/version")` returns the response."""
    def call(method, path, **options):
        return http(method, idle_printer.url + path, seconds=60, **options)
    return call


@pytest.fixture
def cube(twin, idle_printer):
    """The printer's sample as G-code."""
    return http("GET", idle_printer.url + "/server/files/gcodes/cube.gcode").content


def job(twin, **command):
    return twin("POST", "/api/job", json=command)


def state(twin):
    return twin("GET", "/api/job").json()["state"]


def upload(twin, name, content, **fields):
    return twin("POST", "/api/files/local", files={"file": (name, content)}, data=fields)


def start(twin, idle_printer):
    """Starts the sample, as Cura and apps start a file that is there."""
    started = twin("POST", "/api/files/local/cube.gcode", json={"command": "select", "print": True})
    assert started.status_code == 204, started.text
    wait_for(lambda: state(twin) == "Printing", "Printing", 60)


def test_version_as_slicers_test_it(twin):
    """OrcaSlicer and PrusaSlicer ask before every upload, with whatever key the user typed or none."""
    answer = twin("GET", "/api/version")
    assert answer.status_code == 200
    assert answer.json()["api"] and answer.json()["text"].startswith("OctoPrint")


def test_what_cura_asks_when_it_connects(twin):
    assert twin("GET", "/plugin/appkeys/probe").status_code == 204
    asked = twin("POST", "/plugin/appkeys/request", json={"app": "Cura"})
    assert asked.status_code == 201
    decided = twin("GET", "/plugin/appkeys/request/" + asked.json()["app_token"])
    key = decided.json()["api_key"]
    with_key = {"X-Api-Key": key}
    settings = twin("GET", "/api/settings", headers=with_key).json()
    assert "sdSupport" in settings["feature"] and "streamUrl" in settings["webcam"] and "plugins" in settings
    # Home Assistant's own integration gives up without it.
    assert len(settings["plugins"]["discovery"]["upnpUuid"]) == 32
    assert http("GET", settings["webcam"]["snapshotUrl"], seconds=30).content.startswith(b"\xff\xd8")
    # FDM Monster connects with no key whose user is OctoPrint's `_api`.
    for answer in (twin("POST", "/api/login", json={"passive": True}, headers=with_key),
                   twin("GET", "/api/currentuser", headers=with_key)):
        assert answer.json()["name"] == "Cura"
    profiles = twin("GET", "/api/printerprofiles", headers=with_key).json()["profiles"]
    assert profiles["_default"]["heatedBed"]
    assert twin("GET", "/api/printerprofiles/_default").json()["id"] == "_default"
    assert twin("GET", "/api/settings", headers={"X-Api-Key": "0" * 32}).status_code == 401, "a wrong key"


def test_printer_and_its_parts(twin):
    whole = twin("GET", "/api/printer").json()
    assert whole["state"]["text"] == "Operational" and whole["state"]["flags"]["ready"]
    assert whole["temperature"]["tool0"]["actual"] > 5 and whole["temperature"]["bed"]["actual"] > 5
    assert set(twin("GET", "/api/printer/bed").json()) == {"bed"}
    assert "tool0" in twin("GET", "/api/printer/tool").json()
    assert twin("GET", "/api/printer/sd").json() == {"ready": False}
    connection = twin("GET", "/api/connection").json()
    assert connection["current"]["state"] == "Operational" and connection["options"]["ports"]
    assert twin("POST", "/api/connection", json={"command": "connect"}).status_code == 204
    assert twin("POST", "/api/connection", json={"command": "disconnect"}).status_code == 400


def test_targets(twin, moonraker):
    assert twin("POST", "/api/printer/tool", json={"command": "target", "targets": {"tool0": 61}}).status_code == 204
    assert twin("POST", "/api/printer/bed", json={"command": "target", "target": 41}).status_code == 204
    wait_for(lambda: twin("GET", "/api/printer").json()["temperature"]["tool0"]["target"] == 61, "nozzle target")
    wait_for(lambda: twin("GET", "/api/printer").json()["temperature"]["bed"]["target"] == 41, "bed target")
    assert twin("POST", "/api/printer/bed", json={"command": "target"}).status_code == 400
    assert twin("POST", "/api/printer/bed", json={"command": "target", "target": 9000}).status_code == 409
    sent = twin("POST", "/api/printer/command", json={"commands": ["M104 S0", "M140 S0"]})
    assert sent.status_code == 200
    wait_for(lambda: moonraker.query("heater_bed")["heater_bed"]["target"] == 0, "the bed is off")


def test_a_jog_in_three_lines_is_relative(twin, moonraker):
    """Cura's plug-in jogs so: each line is one of its own, and the second holds only after the first."""
    homed = lambda: moonraker.query("toolhead")["toolhead"]["homed_axes"] == "xyz"  # noqa: E731
    twin("POST", "/api/printer/command", json={"commands": ["G28 X Y", "G28 Z"]})
    wait_for(homed, "all axes homed", 60)
    before = len(moonraker.call("server.gcode_store", {"count": 1000})["gcode_store"])
    jog = ["G91", "G0 X0 Y0 Z5 F3000", "G90"]
    assert twin("POST", "/api/printer/command", json={"commands": jog}).status_code == 200
    said = [line["message"] for line in moonraker.call("server.gcode_store", {"count": 1000})["gcode_store"][before:]]
    assert said == jog, "carried out without a refusal"


def test_upload_alone_and_what_is_said_of_the_file(twin, cube):
    answer = upload(twin, "from a slicer.gcode", cube, print="false", path="")
    # Slicers look at the status only; the body is Moonraker's.
    assert answer.status_code == 201 and answer.headers["Location"].endswith("from%20a%20slicer.gcode")
    assert state(twin) == "Operational", "nothing was started"
    listed = twin("GET", "/api/files/local?recursive=true").json()["files"]
    facts = next(entry for entry in listed if entry["path"] == "from a slicer.gcode")
    assert facts["size"] == len(cube)
    one = twin("GET", "/api/files/local/from%20a%20slicer.gcode")
    assert one.status_code == 200 and one.json() == facts
    assert twin("DELETE", "/api/files/local/from%20a%20slicer.gcode").status_code == 204
    assert twin("GET", "/api/files/local/from%20a%20slicer.gcode").status_code == 404


def test_upload_with_print_starts_once(twin, cube, moonraker):
    """The button "Upload and print" of every slicer; a second one during the print is told so and loses nothing."""
    before = moonraker.call("server.history.list", {"limit": 0})["count"]
    answer = upload(twin, "upload and print.gcode", cube, print="true", path="")
    assert answer.status_code == 201, answer.text
    wait_for(lambda: state(twin) == "Printing", "Printing", 120)
    wait_for(lambda: moonraker.call("server.history.list", {"limit": 0})["count"] == before + 1, "one job")
    again = upload(twin, "another.gcode", cube, print="true", path="")
    assert again.status_code == 201
    assert moonraker.call("server.history.list", {"limit": 0})["count"] == before + 1, "no second job"
    assert job(twin, command="cancel").status_code == 204
    wait_for(lambda: state(twin) == "Operational", "Operational", 60)


def test_job_life(twin, idle_printer, moonraker):
    assert job(twin, command="pause", action="pause").status_code == 409, "nothing prints"
    assert job(twin, command="cancel").status_code == 409
    start(twin, idle_printer)
    shown = wait_for(lambda: twin("GET", "/api/job").json()["progress"]["completion"] and twin("GET", "/api/job").json(),
                     "progress", 180)
    assert shown["job"]["file"]["name"] == "cube.gcode" and 0 < shown["progress"]["completion"] <= 100
    assert job(twin, command="start").status_code == 409, "one print at a time"
    assert job(twin, command="pause", action="pause").status_code == 204
    wait_for(lambda: state(twin) == "Paused", "Paused", 60)
    assert twin("GET", "/api/printer").json()["state"]["flags"]["paused"]
    assert job(twin, command="pause", action="resume").status_code == 204
    wait_for(lambda: state(twin) == "Printing", "Printing", 60)
    assert job(twin, command="pause", action="toggle").status_code == 204
    wait_for(lambda: state(twin) == "Paused", "Paused", 60)
    assert job(twin, command="cancel").status_code == 204
    wait_for(lambda: state(twin) == "Operational", "Operational", 60)


def test_select_first_and_start_later(twin, moonraker):
    assert twin("POST", "/api/files/local/none.gcode", json={"command": "select"}).status_code == 404
    assert twin("POST", "/api/files/local/cube.gcode", json={"command": "select", "print": False}).status_code == 204
    assert state(twin) == "Operational"
    assert job(twin, command="start").status_code == 204
    wait_for(lambda: state(twin) == "Printing", "Printing", 60)
    assert job(twin, command="restart").status_code == 409
    assert job(twin, command="cancel").status_code == 204
    wait_for(lambda: state(twin) == "Operational", "Operational", 60)


def test_a_key_of_an_application_is_limited_and_can_be_taken_back(twin):
    asked = twin("POST", "/plugin/appkeys/request", json={"app": "compat"})
    key = twin("GET", "/plugin/appkeys/request/" + asked.json()["app_token"]).json()["api_key"]
    as_app = {"X-Api-Key": key}
    assert twin("GET", "/api/printer", headers=as_app).status_code == 200
    assert twin("GET", "/access/api_key", headers=as_app).status_code == 403
    assert twin("GET", "/api/plugin/appkeys", headers=as_app).status_code == 403
    for known in twin("GET", "/api/plugin/appkeys").json()["keys"]:
        if known["app_id"] == "compat":
            gone = twin("POST", "/api/plugin/appkeys", json={"command": "revoke", "id": known["id"]})
            assert gone.status_code == 204
    assert twin("GET", "/api/printer", headers=as_app).status_code == 401


def test_the_push_channel_follows_a_print(twin, idle_printer, moonraker):
    """As phone apps listen: raw WebSocket frames of SockJS."""
    assert twin("GET", "/sockjs/info").json()["websocket"]
    session = twin("POST", "/api/login", json={"passive": True}).json()
    push = websocket.create_connection(idle_printer.url.replace("http", "ws") + "/sockjs/websocket", timeout=30)
    try:
        assert "connected" in json.loads(push.recv())
        push.send(json.dumps({"auth": f"{session['name']}:{session['session']}"}))
        push.send(json.dumps({"throttle": 1}))
        start(twin, idle_printer)
        seen, deadline = set(), time.monotonic() + 120
        while not {"history", "PrintStarted", "printing"} <= seen:
            assert time.monotonic() < deadline, seen
            message = json.loads(push.recv())
            if "event" in message:
                seen.add(message["event"]["type"])
            elif "current" in message:
                seen |= {flag for flag, on in message["current"]["state"]["flags"].items() if on}
                assert message["current"]["temps"][0]["tool0"]["actual"] > 5
            else:
                seen |= set(message)
        job(twin, command="cancel")
    finally:
        push.close()


@pytest.mark.parametrize("path", ["/api/nothing", "/api/printer/nothing", "/plugin/nothing"])
def test_unknown_paths(twin, path):
    assert twin("GET", path).status_code == 404
