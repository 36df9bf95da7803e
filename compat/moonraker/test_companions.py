"""The agents of Obico, OctoEverywhere and others that run beside a Moonraker, as they speak to it.

CONSTRUCTED from their sources (TheSpaghettiDetective/moonraker-obico 2.1.4, moonraker_conn.py and passthru_targets.py;
QuinnDamerell/OctoPrint-OctoEverywhere, moonraker_octoeverywhere). Obico asks by HTTP and posts forms, never JSON.
"""

import json

import pytest
import websocket

from harness.moonraker import Moonraker, http
from harness.waiting import wait_for

OBICO = {"client_name": "Obico", "version": "2.1.4", "type": "agent", "url": "https://obico.io"}
EVERYWHERE = {"client_name": "OctoEverywhere", "version": "5.3.1", "type": "agent", "url": "https://octoeverywhere.com"}
STATS = ["state", "filename", "message", "exception", "error", "error_message", "reason", "pause_reason", "code",
         "error_code", "platform_error_code"]
JPEG = b"\xff\xd8"


@pytest.fixture
def get(printer):
    """`api_get` of Obico."""
    def ask(method, **params):
        answer = http("GET", f"{printer.url}/{method.replace('.', '/')}", params=params)
        assert answer.status_code == 200, (method, answer.text)
        return answer.json()["result"]
    return ask


@pytest.fixture
def post(printer):
    """`api_post` of Obico: a form."""
    def ask(method, **fields):
        answer = http("POST", f"{printer.url}/{method}", seconds=60, data=fields)
        assert answer.status_code == 200, (method, fields, answer.text)
        return answer.json()["result"]
    return ask


def test_obico_connects(printer, get):
    assert get("access/api_key")
    assert get("server/info")["klippy_state"] == "ready"
    with Moonraker(printer.url) as agent:
        agent.call("server.connection.identify", OBICO)
        agent.call("connection.register_remote_method", {"method_name": "obico_remote_event"})
        known = get("printer.objects.list")["objects"]
        wanted = ("print_stats", "webhooks", "gcode_move", "history", "gcode_macro _OBICO_LAYER_CHANGE",
                  "gcode_macro TIMELAPSE_TAKE_FRAME")
        agent.subscribe({name: None for name in wanted if name in known})
        heaters = get("printer/objects/query", heaters="")["status"]["heaters"]
        assert {"extruder", "heater_bed"} <= set(heaters["available_heaters"])
        asked = ["webhooks", "print_stats", "virtual_sdcard", "display_status", "heaters", "toolhead", "extruder",
                 "gcode_move", "gcode_macro _OBICO_LAYER_CHANGE", "fan", *heaters["available_sensors"]]
        status = agent.query(*asked)
        assert {"temperature", "target"} <= set(status["extruder"]) and len(status["toolhead"]["position"]) == 4
        assert status["fan"]["speed"] is not None and status["gcode_move"]["extrude_factor"]
    assert isinstance(get("machine/update/status", refresh="false")["version_info"], dict)
    assert isinstance(get("server/history/list", order="desc", limit=1)["jobs"], list)


def test_obico_keeps_its_number(post, get):
    post("server/database/item", namespace="obico", key="printer_id", value=4711)
    assert get("server/database/item", namespace="obico", key="printer_id")["value"] == "4711"


def test_obico_fetches_a_file_and_prints_it(idle_printer, printer, moonraker, post, get):
    post("printer/gcode/script", script="M117 watched")
    kept = get("server/files/metadata", filename="cube.gcode")
    assert kept["modified"] and kept["size"]
    post("printer/print/start", filename="cube.gcode")
    wait_for(lambda: moonraker.print_state() == "printing", "printing", 60)
    post("printer/print/pause")
    wait_for(lambda: moonraker.print_state() == "paused", "paused", 60)
    post("printer/print/resume")
    wait_for(lambda: moonraker.print_state() == "printing", "printing again", 60)
    post("printer/print/cancel")
    wait_for(lambda: moonraker.print_state() == "cancelled", "cancelled", 60)
    recent = get("server/history/list", order="desc", limit=1)["jobs"][0]
    assert (recent["filename"], recent["status"]) == ("cube.gcode", "cancelled")


def test_octoeverywhere_connects(printer):
    with Moonraker(printer.url) as agent:
        agent.call("server.connection.identify", EVERYWHERE)
        assert agent.call("access.get_api_key")
        names = agent.call("printer.objects.list")["objects"]
        agent.subscribe({"print_stats": STATS, "webhooks": None, "display_status": ["message"], "virtual_sdcard": None,
                         "history": None})
        status = agent.query("virtual_sdcard", "print_stats", "gcode_move", "toolhead", "extruder", "heater_bed",
                             *[name for name in names if name.startswith(("extruder", "heater_generic", "temperature_sensor"))])
        assert {"state", "filename", "total_duration", "print_duration"} <= set(status["print_stats"])
        assert isinstance(status["heater_bed"]["temperature"], (int, float))
        assert isinstance(agent.call("machine.device_power.devices")["devices"], list)
        assert isinstance(agent.call("server.database.list")["namespaces"], list)
        agent.call("server.database.post_item", {"namespace": "octoeverywhere", "key": "public.printerId", "value": "x"})
        agent.call("connection.send_event", {"event": "oe-notification", "data": {"title": "t", "text": "x"}})
        assert agent.call("server.files.metadata", {"filename": "cube.gcode"})["size"]


def test_octoeverywhere_takes_no_start_for_a_resume(idle_printer, printer, moonraker):
    """It takes `printing` for a resumed print where the same message tells no progress (moonrakerclient.py,
    `_OnWsNonResponseMessage`; seen in the companion itself: the phone was told *resumed* before *started*)."""
    moonraker.call("printer.gcode.script", {"script": "SDCARD_RESET_FILE"})
    with Moonraker(printer.url) as agent:
        agent.call("server.connection.identify", EVERYWHERE)
        agent.subscribe({"print_stats": STATS, "webhooks": None, "display_status": ["message"], "virtual_sdcard": None,
                         "history": None})
        agent.call("printer.print.start", {"filename": "cube.gcode"})
        told = wait_for(lambda: next((frame["params"][0] for frame in agent.frames
                                      if isinstance(frame, dict) and frame.get("method") == "notify_status_update"
                                      and frame["params"][0].get("print_stats", {}).get("state") == "printing"), None),
                        "printing", 60)
        assert told["virtual_sdcard"]["progress"] <= 0.01, told


def test_octoapp_means_fields_by_a_text(idle_printer, printer, moonraker):
    """OctoApp's companion (crysxd/OctoApp-Plugin, 46acd3e, moonrakerclient.py) sends a set of Python's as its text. Without
    the state it would tell the phone of no pause and no end."""
    with Moonraker(printer.url) as agent:
        told = agent.subscribe({"print_stats": "{'message', 'state', 'filename'}", "webhooks": None,
                                "virtual_sdcard": None, "history": None})
        if printer.kind != "moonraker":
            assert set(told["status"]["print_stats"]) == {"message", "state", "filename"}
        agent.call("printer.print.start", {"filename": "cube.gcode"})
        wait_for(lambda: agent.status["print_stats"].get("state") == "printing", "told of the start", 60)
        agent.call("printer.print.pause", seconds=60)
        wait_for(lambda: agent.status["print_stats"].get("state") == "paused", "told of the pause", 60)


def test_telegram_bot_sends_its_requests_as_bytes(printer):
    """moonraker-telegram-bot (nlef, e5ff187): websocket_helper.py, `on_open` and `subscribe`, in frames of bytes."""
    def send(socket, method, number, **params):
        socket.send_binary(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number}).encode())

    def answer(socket, number):
        return wait_for(lambda: (frame := json.loads(socket.recv())).get("id") == number and frame["result"], "an answer")

    socket = websocket.create_connection("ws" + printer.url[4:] + "/websocket", timeout=15)
    try:
        send(socket, "printer.info", 1)
        assert answer(socket, 1)["state"] == "ready"
        send(socket, "machine.device_power.devices", 2)
        assert isinstance(answer(socket, 2)["devices"], list)
        wanted = {"print_stats": None, "display_status": None, "toolhead": ["position"],
                  "gcode_move": ["position", "gcode_position"], "virtual_sdcard": ["progress"]}
        send(socket, "printer.objects.subscribe", 3, objects=wanted)
        status = answer(socket, 3)["status"]
        assert {"state", "filename", "print_duration", "filament_used"} <= set(status["print_stats"])
        assert {"message", "progress"} <= set(status["display_status"]) and "progress" in status["virtual_sdcard"]
    finally:
        socket.close()


def test_both_find_the_pictures(printer, moonraker):
    [camera] = [c for c in moonraker.call("server.webcams.list")["webcams"] if c["enabled"]][:1]
    address = camera["snapshot_url"]
    picture = http("GET", address if address.startswith("http") else printer.url + address, seconds=30)
    assert picture.status_code == 200 and picture.content.startswith(JPEG)
