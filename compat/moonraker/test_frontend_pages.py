"""What Mainsail and Fluidd ask for on each page and in each dialog, replayed: every request is answered, and refused only
where the real server refuses it too.

The recordings (fixtures/moonraker/frontends/*_pages.json) hold the requests of a click through everything clickable; each
carries what Moonraker 0.11.0 said to the same request: `result`, or the code of its error.
"""

import json

import pytest

import shape
from golden_calls import is_left_out
from harness.moonraker import Moonraker, http
from harness.waiting import wait_for

# What the dialogs were worked on, made anew for each replay, and what they leave behind.
FILES = ("gcodes/a1.gcode", "gcodes/a2.gcode", "gcodes/a3.gcode", "config/b.cfg")
LEFT = (*FILES, "gcodes/a1r.gcode", "gcodes/a1f.gcode", "gcodes/a2d.gcode", "config/b2.cfg")
# Ends the connection, the login or the job of another test.
NOT_REPLAYED = ("server.restart", "access.logout", "printer.emergency_stop", "printer.print.", "printer.firmware_restart",
                "server.job_queue.start")


def recorded(front_end):
    return shape.golden(f"{front_end}_pages", "frontends")


@pytest.fixture
def worked_on(printer):
    """The files of the recording, as long as a test runs."""
    def remove():
        http("DELETE", f"{printer.url}/server/job_queue/job?all=true")
        for path in LEFT:
            http("DELETE", f"{printer.url}/server/files/{path}")
    remove()
    for path in FILES:
        root, name = path.split("/")
        answer = http("POST", f"{printer.url}/server/files/upload", data={"root": root}, files={"file": (name, b"G28\n")})
        assert answer.status_code == 201, answer.text
    yield
    remove()


@pytest.mark.parametrize("front_end", ["mainsail", "fluidd"])
def test_pages(front_end, printer, idle_printer, worked_on):
    pages = recorded(front_end)
    with Moonraker(printer.url) as client:
        components = client.call("server.info")["components"]
        names = client.call("printer.objects.list")["objects"]
        refused = []
        for number, call in enumerate(pages["calls"]):
            method, params = call["method"], call.get("params")
            if method.startswith(NOT_REPLAYED):
                continue
            if params == "all":
                params = {"objects": {name: None for name in names}}
            frame = {"jsonrpc": "2.0", "method": method, "id": f"{front_end} {number}"}
            client.send_text(json.dumps({**frame, "params": params} if params is not None else frame))
            answer = client.answer(frame["id"])
            if (params or {}).get("script") == "FIRMWARE_RESTART":
                # What saving a config file ends with; the front ends go on at klippy_ready.
                wait_for(lambda: client.call("server.info")["klippy_state"] == "ready", "ready again", 60)
            # The recorded server had been visited before; on one that was not, a front end's settings are missing too.
            expected = call["real"] != "result" or method == "server.database.get_item"
            if "error" in answer and not expected and not is_left_out(method, components):
                refused.append(f"{call['at']}: {method} {params}: {answer['error']}")
        assert not refused, "\n".join(refused)


@pytest.mark.parametrize("front_end", ["mainsail", "fluidd"])
def test_downloads(front_end, printer, worked_on):
    for request in recorded(front_end)["http"]:
        answer = http(request["verb"], printer.url + request["path"])
        # A picture or file of the recorded printer may have another name here; a page that is not there is JSON too.
        assert answer.status_code in (200, 206, 304, 404), request
        if answer.status_code == 404:
            assert answer.json()["error"]["code"] == 404, request
