"""Every row of docs/ref/permissions.md with every role, at both ports and every way in: let in or refused as the page says."""

import re
from pathlib import Path

import pytest

from attacker import ADDRESS, ask, connect, open_socket, rpc
from harness.farm import Farm
from harness.waiting import wait_for

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ref" / "permissions.md"
RANK = {"anyone": 0, "view": 1, "operate": 2, "admin": 3}
ROLES = ("nobody", "view", "operate", "admin")
# Ends every login of its caller, or the key itself: after all others.
LAST = ("access.logout", "/api/logout", "/logout", "access.post_api_key", "server.restart")
# What the gateway does for nobody: the machine it runs on is not its own.
NEVER = ("machine.reboot", "machine.shutdown", "machine.services.start", "machine.services.stop")


def rows():
    """(name or path, where or verb, role) of each row."""
    found = re.findall(r"^\| `([^`]+)` \| (.*?) \| (\w+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(found) > 150, len(found)
    return sorted(found, key=lambda row: row[0] in LAST)


def own_routes():
    """Those of the gateway's own port."""
    chapter = PAGE.read_text().split("\n## The gateway's own port\n")[1]
    return set(re.findall(r"^\| `([^`]+)`", chapter, re.MULTILINE))


@pytest.fixture(scope="module")
def house():
    """Nobody is trusted but the test; users of each role from another address."""
    farm = Farm(("cc1",), label="roles", access='trusted_clients = ["127.0.0.1"]\n'
                'viewers = ["vera"]\noperators = ["otto"]')
    try:
        yield farm.start()
    finally:
        farm.remove()


class Callers:
    """Headers by role; a login that ended is made anew."""

    USERS = {"view": "vera", "operate": "otto", "admin": "ada"}

    def __init__(self, printer):
        self.printer = printer
        with printer.moonraker() as client:
            self.tokens = {role: client.call("access.post_user", {"username": name, "password": "secret-" + name})["token"]
                           for role, name in self.USERS.items()}

    def headers(self, role):
        return [f"Authorization: Bearer {self.tokens[role]}"] if role in self.tokens else []

    def again(self):
        def login():
            for role, name in self.USERS.items():
                answer = self.printer.post("/access/login", json={"username": name, "password": "secret-" + name})
                self.tokens[role] = answer.json()["result"]["token"]
            return True
        # A restart of the server closes what was open.
        wait_for(login, "logged in again", 30)


@pytest.fixture(scope="module")
def callers(house):
    return Callers(house["cc1"])


def judged(status, role, needed, what):
    """What the answer says of the judgement; a request without sense is refused for its sense, after the judgement."""
    mine = RANK.get(role, 0)
    if mine >= RANK[needed]:
        assert status not in (0, 401, 403), f"{what}: {role} is refused with {status}"
    else:
        assert status == (401 if role == "nobody" else 403), f"{what}: {role} gets {status}"


def test_methods_over_http(house, callers):
    printer = house["cc1"]
    for name, where, needed in rows():
        if name.startswith("/") or " /" not in where:
            continue
        verbs, path = where.rsplit(" ", 1)
        for verb in verbs.split(", "):
            for role in ROLES:
                for port, prefix in ((printer.port, ""), (house.gateway_port, "/printers/cc1")):
                    status, _ = ask(port, verb, prefix + path, {}, callers.headers(role))
                    # A password or token that is none is answered so, whoever shows it.
                    if name in ("access.login", "access.refresh_jwt"):
                        assert status in (400, 401, 429), (name, status)
                        continue
                    if name in NEVER:
                        assert status == (401 if role == "nobody" else 403), (name, role, status)
                        continue
                    judged(status, role, needed, f"{verb} {prefix}{path}")
                    if name in LAST:
                        callers.again()


def test_methods_over_the_socket(house, callers):
    printer = house["cc1"]
    for role in ROLES:
        stream = None
        for name, where, needed in rows():
            if name.startswith("/") or name in ("access.login", "access.refresh_jwt", "access.logout", "server.restart"):
                continue
            if stream is None:
                stream = open_socket(printer.port)
                if role != "nobody":
                    told = rpc(stream, "server.connection.identify", {
                        "client_name": "roles", "version": "1", "type": "other", "url": "x",
                        "access_token": callers.tokens[role]})
                    assert "result" in told, told
            answer = rpc(stream, name, {})
            error = answer.get("error", {})
            refused = error.get("message") == "Unauthorized" or error.get("code") == 403
            mine, rank = RANK.get(role, 0), RANK[needed] if name not in NEVER else 9
            assert refused == (mine < rank), f"{name}: {role} gets {answer}"
            # The same over HTTP JSON-RPC.
            if "and" in where or " /" in where:
                frame = {"jsonrpc": "2.0", "method": name, "params": {}, "id": 1}
                status, text = ask(printer.port, "POST", "/server/jsonrpc", frame, callers.headers(role))
                refused = status in (401, 403) or "Unauthorized" in text or '"code":403' in text
                # Not offered there to anybody.
                refused |= role == "nobody" and "not available for HTTP" in text
                assert refused == (mine < rank), f"{name} by JSON-RPC: {role} gets {status} {text[-300:]}"
                if name == "access.post_api_key":
                    callers.again()
        stream.close()


def test_routes(house, callers):
    printer = house["cc1"]
    own = own_routes()
    for path, verb, needed in rows():
        if not path.startswith("/"):
            continue
        gateway = path in own
        real = path.replace("<name>", "cc1").replace("{file}", "0.ts")
        places = [(house.gateway_port, "")] if gateway else [(printer.port, ""), (house.gateway_port, "/printers/cc1")]
        for port, prefix in places:
            for role in ROLES:
                body = {} if verb in ("POST", "DELETE") else None
                status, _ = ask_briefly(port, verb, prefix + real, body, callers.headers(role))
                judged(status, role, needed, f"{verb} {prefix}{real}")
                if path in LAST:
                    callers.again()


def test_verbs_that_no_row_has(house, callers):
    """What the page does not offer is offered to nobody, and does nothing."""
    printer = house["cc1"]
    offered = {}
    for name, where, _ in rows():
        path, verbs = (name, where) if name.startswith("/") else (where.rsplit(" ", 1)[-1], where.rsplit(" ", 1)[0])
        if path.startswith("/"):
            offered.setdefault(path.split("{")[0].rstrip("/") or "/", set()).update(verbs.split(", "))
    for path, verbs in offered.items():
        if path in own_routes():
            continue
        for verb in {"POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"} - verbs:
            if path.startswith("/server/files/gcodes") or path.startswith("/api/files"):
                continue
            status, text = ask(printer.port, verb, path, {}, callers.headers("admin"))
            assert status in (400, 404, 405, 501), f"{verb} {path}: {status} {text[:200]}"


def ask_briefly(port, verb, path, body, headers):
    """The head of the answer: streams never end."""
    if any(word in path for word in ("/stream", "/webcam", "/console")):
        return first_line(port, verb, path, headers)
    return ask(port, verb, path, body, headers)


def first_line(port, verb, path, headers):
    with connect(port, ADDRESS) as stream:
        lines = [f"{verb} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
        stream.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        with stream.makefile("rb") as answer:
            line = answer.readline().split()
    return (int(line[1]) if len(line) > 1 else 0), ""
