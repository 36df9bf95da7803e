"""Printers that lie: huge, deep, endless, wrong, with HTML in their names. The gateway, the other printers and the
people who look at its pages must not suffer.
"""

import json
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from each import at_rest, on_each
from harness import process
from harness.demo import binary
from harness.moonraker import Moonraker, http
from harness.waiting import wait_for

PAGE = Path(__file__).resolve().parents[2] / "src" / "front" / "admin" / "page"
SCRIPT = '<img src=x onerror="alert(1)">'


def others_live(farm, name):
    for other in farm.printers:
        if other.name != name:
            assert farm.status_of(other.name)["link"] == "online", f"{other.name} suffers from {name}"
            # New objects of its own, just found, are a restart to its clients.
            wait_for(other.ready, f"{other.name} is ready", 15)
            with Moonraker(other.url) as client:
                assert "temperature" in client.query("extruder")["extruder"]
    assert http("GET", f"{farm.own_url}/readyz").ok


def wrapped(name, body):
    """A report of this printer with these fields."""
    return {
        "p1s": lambda: json.dumps({"print": {"command": "push_status", "msg": 1, **body}}),
        "cc1": lambda: json.dumps({"Status": body, "MainboardID": "x", "Topic": "sdcp/status/x"}),
        "cc2": lambda: json.dumps({"id": 1, "method": 6000, "result": body}),
    }[name]()


HOSTILE = {
    "deep": '{"print":' + '{"a":' * 5000 + "1" + "}" * 5001,
    "deep list": '{"Status":' + "[" * 9000 + "]" * 9001,
    "not an object": "[1,2,3]",
    "a number": "1e999",
    "nothing": "",
    "no JSON": "\0\1\2",
    "cut": '{"print":{"gcode_state":"RUNN',
    "wrong types": json.dumps({"print": {"gcode_state": 1, "mc_percent": "x", "ams": [], "hms": {}, "nozzle_temper": {},
                                         "command": [], "msg": "1"}, "Status": {"PrintInfo": [], "TempOfBox": "hot"},
                               "method": "6000", "result": [], "id": {}}),
    "wrong numbers": '{"print":{"command":"push_status","msg":1,"mc_percent":1e308,"layer_num":-99999999999999999999,'
                     '"nozzle_temper":-1e308,"mc_remaining_time":9223372036854775807}}',
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
@on_each
def test_hostile_reports(farm, printer, name, what):
    for _ in range(20):
        printer.publish(HOSTILE[what])
    wait_for(printer.ready, "online, or again", 60)
    with printer.moonraker() as client:
        shown = client.query("extruder", "print_stats", "virtual_sdcard", "heater_bed")
    text = json.dumps(shown, allow_nan=False)
    assert 0 <= shown["virtual_sdcard"]["progress"] <= 1, text
    assert farm.alive()


def test_huge_reports(farm):
    """30 MB in one message: the connection may end, the memory comes back, nobody else notices."""
    for printer in farm.printers:
        with at_rest(printer):
            for other in farm.printers:
                wait_for(lambda p=other: farm.status_of(p.name)["link"] == "online" and p.ready(), "all are well", 60)
            before = farm.resident()
            for _ in range(2):
                printer.control.fault("oversized", bytes=30 << 20)
                time.sleep(1)
                others_live(farm, printer.name)
            wait_for(printer.ready, "online again", 60)
            assert farm.resident() - before < 120 << 20, (farm.resident() - before) >> 20


@on_each
def test_names_with_html(farm, printer, name):
    """What a printer calls its job and its files reaches web pages as text."""
    fields = {
        "p1s": {"subtask_name": SCRIPT, "gcode_file": SCRIPT, "print_error": 0},
        "cc1": {"PrintInfo": {"Filename": SCRIPT, "Status": 0}},
        "cc2": {"print_status": {"filename": SCRIPT}},
    }[name]
    printer.publish(wrapped(name, fields))
    status = http("GET", f"{farm.own_url}/status")
    assert status.headers["content-type"].startswith("application/json")
    page = http("GET", farm.own_url + "/")
    assert SCRIPT not in page.text
    for url in (f"{printer.url}/{SCRIPT}", f"{printer.url}/server/files/gcodes/{SCRIPT}", f"{farm.own_url}/{SCRIPT}",
                f"{printer.url}/webcam/?action={SCRIPT}"):
        answer = http("GET", url)
        html = "html" in answer.headers.get("content-type", "")
        assert not html or "<img" not in answer.text, (url, answer.text[:300])


def test_the_status_page_writes_text_only():
    """No text of a printer becomes markup on the gateway's own page."""
    page = "".join(piece.read_text() for piece in sorted(PAGE.iterdir()))
    assert "textContent" in page
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)


class Liar:
    """A server that answers each connection with what `say` makes of it."""

    def __init__(self, say):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = 0
        self._say = say
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self.asked += 1
            threading.Thread(target=self._answer, args=(stream,), daemon=True).start()

    def _answer(self, stream):
        try:
            with stream:
                stream.settimeout(60)
                self._say(stream)
        except OSError:
            pass

    def close(self):
        self._listener.close()


def endless(head):
    def say(stream):
        stream.recv(4096)
        stream.sendall(head)
        for _ in range(4096):
            stream.sendall(b"x" * 65536)
    return say


def trickle(stream):
    stream.recv(4096)
    for byte in b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 10_000:
        stream.sendall(bytes([byte]))
        time.sleep(0.5)


LIARS = {
    "silent": lambda stream: time.sleep(60),
    "closes": lambda stream: None,
    "endless head": endless(b"HTTP/1.1 200 OK\r\nX-A: "),
    "endless body": endless(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[1"),
    "redirect": lambda stream: (stream.recv(4096), stream.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")),
    "trickle": trickle,
    "endless MQTT": endless(b"\x20\x02\x00\x00\x30\xff\xff\xff\x7f"),
    "wrong MQTT": endless(b"\x20\xff\xff\xff\xff\xff\xff"),
    "echo": lambda stream: [stream.sendall(stream.recv(4096)) for _ in range(100)],
    "ftp": lambda stream: [stream.sendall(b"220-welcome\r\n" * 1000) for _ in range(1000)],
}


def test_liars(tmp_path):
    """Servers that are no printers at every port of each kind: told as a fault, bounded in memory, ended in time."""
    names, text = [], ""
    liars = {what: Liar(say) for what, say in LIARS.items()}
    for number, (what, liar) in enumerate(liars.items()):
        for kind, keys in (("bambu", ("mqtt", "ftps", "detect", "camera")), ("elegoo_cc1", ("websocket", "http", "camera")),
                           ("elegoo_cc2", ("mqtt", "http", "camera"))):
            name = f"{kind.replace('_', '-')}-{number}"
            names.append((name, what))
            text += f'[[printer]]\nname = "{name}"\nkind = "{kind}"\nhost = "127.0.0.1"\npty = false\n' \
                    f"moonraker_port = {process.free_port()}\n"
            text += "".join(f"{key}_port = {liar.port}\n" for key in keys)
            if kind == "bambu":
                text += 'serial = "01P00A000000001"\naccess_code = "12345678"\n'
            if kind != "bambu":
                text += f"discovery_port = {process.free_port()}\n"
            if kind == "elegoo_cc2":
                text += 'serial = "F01X0000000000"\naccess_code = "123456"\n'
    port = process.free_port()
    config = tmp_path / "moongate.toml"
    config.write_text(f'[gateway]\nport = {port}\nstate_dir = "{tmp_path}/state"\nruntime_dir = "{tmp_path}/run"\n' + text)
    config.chmod(0o600)
    gateway = process.start([binary(), "run", "--config", config], "liars.log")
    try:
        wait_for(lambda: http("GET", f"http://127.0.0.1:{port}/readyz").ok, "up", 30)

        def all_told():
            printers = http("GET", f"http://127.0.0.1:{port}/status").json()["printers"]
            quiet = [p["name"] for p in printers if not p["link_fault"]]
            assert not quiet, quiet
            return printers
        printers = wait_for(all_told, "every lie is a fault", 180, every=2)
        assert all(p["link"] != "online" and p["link_fault"]["remedy"] for p in printers)
        for liar in liars.values():
            assert liar.asked > 0
        pages = int(Path(f"/proc/{gateway.pid}/statm").read_text().split()[1])
        assert pages * 4096 < 300 << 20, pages * 4096 >> 20
        # Cameras and files of a liar: refused in time.
        for printer in printers[:6]:
            at = f"http://127.0.0.1:{printer['moonraker_port']}"
            assert http("GET", f"{at}/webcam/?action=snapshot", 60).status_code >= 500
            assert http("GET", f"{at}/server/files/list?root=gcodes", 60).ok
    finally:
        assert process.stop(gateway, 15) == 0
        for liar in liars.values():
            liar.close()
