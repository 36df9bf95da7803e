"""The recorded start-up conversations of Mainsail and Fluidd, replayed frame by frame."""

import json

import pytest

import shape
from golden_calls import is_left_out
from harness.moonraker import Moonraker, http

# Other requests of the recording went to Spoolman's own port.
RECORDED_SERVER = "//127.0.0.1:7125/"
OPTIONAL_ROOTS = {"config_examples", "docs", "gcodes/.thumbs"}
HEADERS = {"Origin": "http://mainsail.local"}


def recorded(front_end):
    """(requests, method and id of each answered with an error) of a recording."""
    events = shape.golden(f"{front_end}_startup", "frontends")["events"]
    errors = {event["id"] for event in events if "answer_to" in event and "error" in event}
    return events, errors


@pytest.mark.parametrize("front_end", ["mainsail", "fluidd"])
def test_startup(front_end, printer):
    events, errors = recorded(front_end)
    with Moonraker(printer.url, origin=HEADERS["Origin"]) as client:
        components = None
        for event in events:
            if "send" in event:
                answer = replay(client, event)
                assert answer.get("id") == event["id"]
                if event["send"] == "server.info" and "result" in answer:
                    components = answer["result"]["components"]
                judge(event, answer, errors, components)
            elif "http" in event and RECORDED_SERVER in event["url"]:
                replay_http(event, printer.url)
    assert components, "the recording asks server.info"


def replay(client, event):
    frame = {"jsonrpc": "2.0", "method": event["send"], "id": event["id"]}
    if event.get("params") is not None:
        frame["params"] = event["params"]
    if event["send"] == "printer.objects.subscribe":
        # A front end subscribes what it was told exists.
        names = client.call("printer.objects.list")["objects"]
        frame["params"] = {"objects": {name: None for name in names}}
    # Real front ends batch metadata requests (moonraker.md 2.2); the recording shows them singly.
    batched = event["send"] == "server.files.metadata"
    client.send_text(json.dumps([frame] if batched else frame))
    return client.answer(event["id"])


def judge(event, answer, errors, components):
    method = event["send"]
    if components is not None and is_left_out(method, components):
        assert answer.get("error", {}).get("code") == -32601, f"{method} is not advertised: {answer}"
    elif method == "server.files.get_directory" and event["params"]["path"] in OPTIONAL_ROOTS:
        pass  # a front end asks for the roots it was told; these belong to Klipper's own installation
    elif event["id"] not in errors:
        assert "error" not in answer, f"{method} {event.get('params')}: {answer['error']}"


def replay_http(event, url):
    path = "/" + event["url"].split("/", 3)[3]
    options = {"data": event["body"], "headers": {**HEADERS, "Content-Type": "application/json"}} if "body" in event else {"headers": HEADERS}
    if event["http"] == "OPTIONS":
        options["headers"] = {**HEADERS, "Access-Control-Request-Method": "POST"}
    response = http(event["http"], url + path, **options)
    if ".thumbs/" in path:
        # The picture of their sample file; ours has its own name or none.
        assert response.status_code in (200, 404), path
    elif "/config/.theme/" in path:
        # Supplied where the user has none (src/front/moonraker/theme.rs): hides panels that no printer serves.
        assert response.status_code == 200, path
    else:
        assert response.status_code == event["status"], f"{event['http']} {path}: {response.status_code}"
    assert response.headers.get("access-control-allow-origin") == HEADERS["Origin"]


@pytest.mark.parametrize("front_end", ["mainsail", "fluidd"])
def test_startup_below_the_prefix(front_end, printer, request):
    """The same conversation on the gateway's own port below /printers/<name> (design D3)."""
    if printer.kind == "moonraker":
        pytest.skip("the reference server has no gateway port")
    gateway = request.getfixturevalue("demo").gateway_port
    url = f"http://127.0.0.1:{gateway}/printers/{printer.name}"
    events, errors = recorded(front_end)
    with Moonraker(url, origin=HEADERS["Origin"]) as client:
        for event in events:
            if "send" in event:
                components = client.call("server.info")["components"]
                judge(event, replay(client, event), errors, components)
