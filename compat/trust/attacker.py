"""Somebody at another address, who writes his own bytes."""

import json
import re
import socket
from pathlib import Path

import websocket

SOURCE = Path(__file__).resolve().parents[2] / "src" / "front"
# The farm trusts 127.0.0.1 alone; this is somebody else on the network.
ADDRESS = "127.0.0.66"
BOUNDARY_FORM = (b'--b\r\nContent-Disposition: form-data; name="print"\r\n\r\ntrue\r\n--b\r\n'
                 b'Content-Disposition: form-data; name="file"; filename="evil.gcode"\r\n\r\nG28\r\n--b--\r\n')


def methods():
    """(name, verbs, path, open) of every row of the table of methods."""
    table = (SOURCE / "moonraker/methods/mod.rs").read_text()
    rows = re.findall(r'^    "([\w.]+)" (\w+) "([^"]*)" (.*?) =>', table, re.MULTILINE)
    assert len(rows) > 70, "the table is read"
    return [(name, verb, path, "ANYONE" in flags, flags) for name, verb, path, flags in rows]


def routes(room):
    """Every route of a folder of front ends that has routes instead of methods."""
    found = set()
    for file in (SOURCE / room).rglob("*.rs"):
        if "test" not in file.name:
            found |= set(re.findall(r'\.route\("([^"]+)"', file.read_text()))
    assert found, room
    return sorted(path.replace("{file}", "0.ts") for path in found)


def octoprint_paths():
    """Every path of the OctoPrint twin that its source names."""
    text = "".join(file.read_text() for file in (SOURCE / "moonraker/octoprint").glob("*.rs"))
    found = set(re.findall(r'"(/api/[a-z_/]*)"', text))
    assert len(found) > 12, found
    return sorted(found | {"/api/files/local/cube.gcode"})


def connect(port, address=ADDRESS, seconds=20):
    return socket.create_connection(("127.0.0.1", port), seconds, source_address=(address, 0))


def send(port, data, address=ADDRESS, seconds=20):
    """(status, whole answer) of raw bytes; status 0 where the connection ended without one."""
    with connect(port, address, seconds) as stream:
        try:
            stream.sendall(data)
        except OSError:
            pass
        answer = b""
        while True:
            try:
                piece = stream.recv(65536)
            except (ConnectionError, OSError):
                break
            if not piece or len(answer) > 1 << 20:
                break
            answer += piece
    head = answer.split(b"\r\n", 1)[0].split()
    return (int(head[1]) if len(head) > 1 and head[1].isdigit() else 0), answer.decode(errors="replace")


def ask(port, verb, path, body=None, headers=(), address=ADDRESS, kind="application/json", seconds=20):
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    lines = [f"{verb} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    if body is not None:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    return send(port, "\r\n".join(lines).encode() + b"\r\n\r\n" + data, address, seconds)


def open_socket(port, path="/websocket", origin=None, address=ADDRESS):
    return websocket.create_connection(
        f"ws://127.0.0.1:{port}{path}", timeout=20, origin=origin, suppress_origin=origin is None,
        socket=connect(port, address))


def rpc(stream, method, params=None, identifier=1):
    stream.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}, "id": identifier}))
    while True:
        answer = json.loads(stream.recv())
        if isinstance(answer, dict) and answer.get("id") == identifier:
            return answer


# Arguments that would make any method do something.
TEMPTING = {
    "script": "M112", "filename": "cube.gcode", "path": "gcodes/cube.gcode", "namespace": "trust", "key": "note",
    "value": 1, "source": "gcodes/cube.gcode", "dest": "gcodes/other.gcode", "name": "cam", "username": "eve",
    "password": "x", "new_password": "y", "objects": {"print_stats": None}, "all": True, "force": True,
    "filenames": ["cube.gcode"], "root": "gcodes", "event": "e", "method_name": "m", "command": "cancel",
    "commands": ["M112"], "targets": {"tool0": 200}, "file": "cube.gcode",
}
