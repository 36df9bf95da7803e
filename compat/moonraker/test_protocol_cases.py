"""The captured protocol cases, sent byte for byte: JSON-RPC frames, the HTTP endpoint, CORS, subscriptions."""

import json

import pytest
import websocket

import shape
from harness.moonraker import Moonraker, RpcError, http, make_idle
from harness.waiting import holds_for, wait_for

RULES = shape.Rules()
FRAMES = shape.golden("jsonrpc_protocol_cases")
POSTS = shape.golden("http_jsonrpc_endpoint")
CORS = shape.golden("cors_and_origin")
NO_ANSWER = "<no answer>"
# Texts that clients compare; everywhere else the code is enough.
EXACT_TEXT = {"db_missing_namespace", "db_missing_namespace_nokey", "db_protected_write", "db_forbidden", "missing_param"}
# Answers of the server itself to what no client sends on purpose; clients are better served by leniency.
LENIENT = {"params_as_list"}


def identifier_of(answer):
    return [a.get("id") for a in answer] if isinstance(answer, list) else answer.get("id")


@pytest.mark.parametrize("name", [name for name in FRAMES if name != "identify_twice"])
def test_frame(name, moonraker):
    sent, expected = FRAMES[name]["sent"], FRAMES[name]["received"]
    before = len(moonraker.frames)
    moonraker.send_text(sent)
    # Answers may overtake each other, so silence is proven by a later request of our own that is answered.
    marker = "compat-marker"
    moonraker.send_text(json.dumps({"jsonrpc": "2.0", "method": "access.info", "id": marker}))

    def answers():
        frames = moonraker.frames[before:]
        return [f for f in frames if isinstance(f, list) or ("method" not in f and f.get("id") != marker)]

    moonraker.answer(marker)
    if expected == NO_ANSWER:
        holds_for(lambda: not answers(), f"no answer to {sent}", 1.0)
        return
    got = wait_for(answers, f"an answer to {sent}", 10)[0]
    assert type(got) is type(expected), got
    assert identifier_of(got) == identifier_of(expected)
    pairs = zip(got, expected, strict=True) if isinstance(got, list) else [(got, expected)]
    for answer, golden in pairs:
        if name in LENIENT and "error" not in answer:
            continue
        found = shape.compare_rpc(name, golden, answer, RULES)
        assert not found, "\n".join(map(str, found))
        if name in EXACT_TEXT:
            assert answer["error"]["message"] == golden["error"]["message"]
    assert not moonraker.closed


def test_identify_twice_is_refused(moonraker):
    moonraker.identify()
    with pytest.raises(RpcError) as error:
        moonraker.identify()
    assert error.value.code == 400 and error.value.message.startswith("Connection already identified")


def test_connection_survives_garbage(moonraker):
    for text in ("", "[", "null", "[[]]", "{}", "17", '"x"', "{" * 2000, '{"jsonrpc":"2.0","method":"printer.objects.query","params":{"objects":7},"id":{}}'):
        moonraker.send_text(text)
    assert moonraker.call("server.info")["klippy_state"] == "ready"


@pytest.mark.parametrize("name", list(POSTS))
def test_http_jsonrpc(name, printer):
    request, golden = POSTS[name]["request"], POSTS[name]
    options = {"data": request["body"]} if isinstance(request["body"], str) else {"json": request["body"]}
    response = http("POST", printer.url + request["path"], headers=request.get("headers", {}), **options)
    assert response.status_code == golden["status"]
    body, expected = response.json(), golden["body"]
    if response.status_code != 200:
        assert body["error"]["code"] == response.status_code
        return
    pairs = zip(body, expected, strict=True) if isinstance(expected, list) else [(body, expected)]
    for answer, wanted in pairs:
        assert answer["id"] == wanted["id"]
        found = shape.compare_rpc("http " + name, wanted, answer, RULES)
        assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("name", [name for name in CORS if "request" in CORS[name]])
def test_cors(name, printer):
    request, golden = CORS[name]["request"], CORS[name]
    response = http(request["method"], printer.url + request["path"], headers=request["headers"])
    assert response.status_code == golden["status"]
    wanted = {k: v for k, v in golden["headers"].items() if k.startswith("access-control-")}
    got = {k.lower(): v for k, v in response.headers.items() if k.lower().startswith("access-control-")}
    for header in ("access-control-allow-origin", "access-control-allow-private-network"):
        assert got.get(header) == wanted.get(header), header
    for header in ("access-control-allow-methods", "access-control-allow-headers"):
        offered = {item.strip().lower() for item in got.get(header, "").split(",")}
        needed = {item.strip().lower() for item in wanted.get(header, "").split(",")}
        assert needed <= offered, f"{header}: {sorted(needed - offered)} not allowed"


def test_websocket_origin(printer):
    allowed = ["http://mainsail.local", printer.url, "http://localhost:8080", None]
    for origin in allowed:
        with Moonraker(printer.url, origin=origin) as client:
            assert client.call("access.info")["trusted"] is True, origin
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Moonraker(printer.url, origin="http://evil.example")
    assert refused.value.status_code == 403


def test_subscriptions_are_per_connection_and_replace_each_other(printer, idle_printer):
    with Moonraker(printer.url) as first, Moonraker(printer.url) as second:
        answer = first.subscribe({"extruder": ["temperature", "target"], "noobject": None, "toolhead": ["nofield"]})
        assert set(answer) == {"eventtime", "status"}
        assert set(answer["status"]["extruder"]) == {"temperature", "target"}
        assert answer["status"]["noobject"] == {} and answer["status"]["toolhead"] == {"nofield": None}
        assert set(second.subscribe({"heater_bed": None})["status"]) == {"heater_bed"}

        first.gcode("SET_HEATER_TEMPERATURE HEATER=extruder TARGET=60")
        first.gcode("SET_HEATER_TEMPERATURE HEATER=heater_bed TARGET=40")
        wait_for(lambda: first.status["extruder"]["target"] == 60, "the first sees the nozzle's target", 15)
        wait_for(lambda: second.status["heater_bed"]["target"] == 40, "the second sees the bed's target", 15)
        # A fast simulated bed is warm at once: a second target makes a second update in any case.
        second.gcode("SET_HEATER_TEMPERATURE HEATER=heater_bed TARGET=45")
        wait_for(lambda: second.status["heater_bed"]["target"] == 45, "the bed's new target", 15)
        assert len(updates(second)) >= 2
        for client, name in ((first, "extruder"), (second, "heater_bed")):
            got = updates(client)
            assert all(set(params[0]) == {name} for params in got), got
            assert all(params[0][name] for params in got), "no empty differences"
            times = [params[1] for params in got]
            assert times == sorted(times) and len(set(times)) == len(times), times

        assert set(first.subscribe({"fan": ["speed"]})["status"]) == {"fan"}
        mark = len(first.frames)
        first.gcode("SET_HEATER_TEMPERATURE HEATER=extruder TARGET=50")
        holds_for(lambda: not updates(first, mark), "the first is no longer told of the nozzle", 1.5)
        assert first.subscribe({})["status"] == {}
        assert first.request("printer.objects.subscribe", {})["result"]["status"] == {}


def updates(client, since=0):
    frames = client.frames[since:]
    return [f["params"] for f in frames if isinstance(f, dict) and f.get("method") == "notify_status_update"]


def test_heartbeat(moonraker):
    """Mainsail gives a connection up after ten silent seconds (moonraker.md, fact 2)."""
    first = moonraker.next_notification("notify_proc_stat_update", 4)
    second = moonraker.next_notification("notify_proc_stat_update", 4)
    golden = shape.golden("notify_proc_stat_update", "notifications")
    samples = golden if isinstance(golden, list) else golden.get("examples", [golden])
    found = shape.compare("machine.proc_stats", samples[0]["params"][0], second["params"][0], RULES)
    assert not found, "\n".join(map(str, found))
    assert first["params"][0]["websocket_connections"] >= 1


def test_print_life_cycle(idle_printer, moonraker):
    """moonraker.md 2.16: the order of states, and history told once at each end."""
    moonraker.subscribe({"print_stats": None, "virtual_sdcard": None, "idle_timeout": None, "pause_resume": None})
    states = []

    def follow(wanted, seconds=90):
        def probe():
            state = moonraker.status["print_stats"]["state"]
            if not states or states[-1] != state:
                states.append(state)
            return state == wanted
        wait_for(probe, f"print_stats.state {wanted}", seconds, every=0.02)

    assert moonraker.call("printer.print.start", {"filename": "cube.gcode"}, 60) == "ok"
    follow("printing")
    added = moonraker.next_notification("notify_history_changed", where=lambda p: p[0]["action"] == "added")
    assert added["params"][0]["job"]["status"] == "in_progress" and added["params"][0]["job"]["end_time"] is None
    wait_for(lambda: moonraker.status["idle_timeout"]["state"] == "Printing", "idle_timeout Printing")
    assert moonraker.status["print_stats"]["filename"] == "cube.gcode"
    assert moonraker.call("printer.print.pause", seconds=90) == "ok"
    follow("paused")
    # While a start is under way the same file asked for again is no error (moonraker.md 6, Rinkhals #50); later it is.
    busy = moonraker.request("printer.print.start", {"filename": "cube.gcode"}, 60)
    assert busy.get("error", {}).get("code") == 400, f"a second start is refused: {busy}"
    wait_for(lambda: moonraker.status["pause_resume"]["is_paused"] is True, "is_paused")
    wait_for(lambda: moonraker.status["idle_timeout"]["state"] == "Ready", "idle_timeout Ready")
    assert moonraker.call("printer.print.resume", seconds=60) == "ok"
    follow("printing")
    assert moonraker.call("printer.print.cancel", seconds=60) == "ok"
    follow("cancelled")
    done = moonraker.next_notification("notify_history_changed", where=lambda p: p[0]["action"] == "finished")
    assert done["params"][0]["job"]["status"] == "cancelled"
    assert done["params"][0]["job"]["job_id"] == added["params"][0]["job"]["job_id"]
    moonraker.gcode("SDCARD_RESET_FILE")
    follow("standby")
    assert states == ["standby", "printing", "paused", "printing", "cancelled", "standby"] or states == [
        "printing", "paused", "printing", "cancelled", "standby"], states


def test_print_to_the_end(idle_printer, moonraker):
    moonraker.subscribe({"print_stats": None, "virtual_sdcard": None})
    moonraker.call("printer.print.start", {"filename": "cube.gcode"}, 60)
    wait_for(lambda: moonraker.status["print_stats"]["state"] == "complete", "complete", 240, every=0.05)
    seen = [p[0]["print_stats"]["state"] for p in updates(moonraker) if "state" in p[0].get("print_stats", {})]
    assert "standby" not in seen[:-1], f"a passing standby makes history say cancelled: {seen}"
    progress = [p[0]["virtual_sdcard"]["progress"] for p in updates(moonraker) if "progress" in p[0].get("virtual_sdcard", {})]
    assert progress == sorted(progress), "progress never goes back"
    jobs = moonraker.call("server.history.list", {"limit": 1})["jobs"]
    assert jobs and jobs[0]["status"] == "completed" and jobs[0]["filename"] == "cube.gcode"
    make_idle(moonraker)
