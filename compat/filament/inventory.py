"""A Spoolman to report to: the real one named by MOONGATE_SPOOLMAN, else the recorded one.

No package registry holds the Spoolman server, so the suite cannot install it: `Recorded` answers with the bodies that
a real Spoolman 0.26.1 gave (fixtures/spoolman, with what was asked), and lays over them only the numbers that it
counts itself. `record.py` makes the recording anew.
"""

import contextlib
import copy
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.moonraker import http

RECORDING = Path(__file__).resolve().parents[2] / "fixtures" / "spoolman" / "conversation.json"


class Spoolman:
    """What both have in common: their address and what the test asks of them."""

    def __init__(self, url):
        self.url = url

    def call(self, method, path, body=None):
        answer = http(method, f"{self.url}/api{path}", json=body)
        assert answer.status_code == 200, (method, path, answer.status_code, answer.text)
        return answer.json()

    def add_spool(self, name, extra=None):
        """A new spool of a new filament; its number."""
        filament = self.call("POST", "/v1/filament", {
            "name": name, "material": "PLA", "density": 1.24, "diameter": 1.75, "weight": 1000, "color_hex": "F27818"})
        return self.call("POST", "/v1/spool", {"filament_id": filament["id"], **({"extra": extra} if extra else {})})["id"]

    def used(self, spool):
        return self.call("GET", f"/v1/spool/{spool}")["used_weight"]

    def close(self):
        pass


class Recorded(Spoolman):
    """The recorded answers on a port of loopback; every `use` is kept for the test to look at."""

    def __init__(self):
        with open(RECORDING, encoding="utf-8") as file:
            self.recorded = json.load(file)["exchanges"]
        self.things = {"vendor": {}, "filament": {}, "spool": {}}
        self.fields, self.uses, self.lock = [], [], threading.Lock()
        # What happens to the next uses: "lost" counts and answers with an error, "refuse" does not count, "hang" counts
        # and does not answer before `let_go`.
        self.trouble = []
        self.going, self.gone = threading.Event(), False
        recorded = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                if recorded.gone:
                    # A connection that was kept open from before.
                    self.close_connection = True
                    return
                with recorded.lock:
                    hangs = recorded.trouble[:1] == ["hang"] and self.path.endswith("/use")
                    status, answer = recorded.serve(self.command, self.path.split("?")[0], body)
                if hangs:
                    recorded.going.wait(60)
                data = json.dumps(answer).encode()
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_):
                pass

        self.handler = Handler
        self.listen(0)
        super().__init__(f"http://127.0.0.1:{self.server.server_port}")

    def listen(self, port):
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self.handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def let_go(self):
        self.going.set()

    def away(self):
        """Nobody answers at its port any more; what it counted stays."""
        self.gone = True
        self.close()

    def back(self):
        self.gone = False
        self.listen(self.server.server_port)

    def close(self):
        self.going.set()
        self.server.shutdown()
        self.server.server_close()

    def body(self, method, pattern, status=200):
        """A recorded answer to such a request."""
        found = [e for e in self.recorded
                 if e["method"] == method and e["status"] == status and re.fullmatch(pattern, e["path"])]
        assert found, f"the recording has no {method} {pattern} answered {status}"
        return copy.deepcopy(found[0]["answer"])

    def serve(self, method, path, body):
        path = path.removeprefix("/api")
        if match := re.fullmatch(r"/v1/spool/(\d+)/use", path):
            return self.use(int(match[1]), body)
        if match := re.fullmatch(r"/v1/(vendor|filament|spool)/(\d+)", path):
            return self.one(match[1], int(match[2]))
        if match := re.fullmatch(r"/v1/(vendor|filament|spool)", path):
            kind = self.things[match[1]]
            return (200, list(kind.values())) if method == "GET" else self.add(match[1], body)
        if match := re.fullmatch(r"/v1/field/spool/(\w+)", path):
            known = {**self.body("POST", r"/v1/field/spool/\w+")[0], **body, "key": match[1]}
            self.fields = [field for field in self.fields if field["key"] != match[1]] + [known]
            return 200, self.fields
        return 200, self.body(method, re.escape(path))

    def one(self, kind, number):
        if number not in self.things[kind]:
            answer = self.body("GET", rf"/v1/{kind}/\d+", 404)
            answer["message"] = re.sub(r"\d+", str(number), answer["message"])
            return 404, answer
        return 200, self.things[kind][number]

    def add(self, kind, body):
        made = {**self.body("POST", f"/v1/{kind}"), **{k: v for k, v in body.items() if not k.endswith("_id")}}
        made["id"] = len(self.things[kind]) + 1
        if kind == "spool":
            unknown = set(body.get("extra") or {}) - {field["key"] for field in self.fields}
            if unknown:
                return 400, {**self.body("POST", "/v1/spool", 400), "message": f"Unknown extra field {unknown.pop()}."}
            made["filament"] = self.things["filament"][body["filament_id"]]
            made["extra"] = body.get("extra") or {}
        for other in ("vendor",) if kind == "filament" else ():
            if body.get("vendor_id"):
                made[other] = self.things[other][body["vendor_id"]]
        self.things[kind][made["id"]] = made
        return 200, made

    def use(self, number, body):
        status, spool = self.one("spool", number)
        if status != 200:
            return status, spool
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble != "refuse":
            spool["used_weight"] += body["use_weight"]
            spool["remaining_weight"] = spool["filament"]["weight"] - spool["used_weight"]
            self.uses.append((number, body["use_weight"]))
        return (500, {"message": "Internal Server Error"}) if trouble in ("lost", "refuse") else (200, spool)


def opened():
    """The real one where it is named, else the recorded one."""
    url = os.environ.get("MOONGATE_SPOOLMAN")
    return Spoolman(url.rstrip("/")) if url else Recorded()
