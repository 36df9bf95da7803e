"""A small Moonraker client for assertions: JSON-RPC over WebSocket, and plain HTTP."""

import itertools
import json
import queue
import threading

import requests
import websocket

from harness.waiting import wait_for


class RpcError(Exception):
    """The error member of a JSON-RPC answer."""

    def __init__(self, error):
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.code = error.get("code")
        self.message = error.get("message")


class Moonraker:
    """One WebSocket connection; answers are matched by id, everything else is kept in arrival order."""

    def __init__(self, url, seconds=15.0, origin=None, headers=None, path="/websocket"):
        self.url = url.rstrip("/")
        self.seconds = seconds
        self._ids = itertools.count(1)
        self._answers = {}
        self._changed = threading.Condition()
        self.frames = []
        self.notifications = queue.Queue()
        self.status = {}
        self.closed = False
        self._socket = websocket.create_connection(
            "ws" + self.url[4:] + path, timeout=seconds, header=headers or [], origin=origin,
            suppress_origin=origin is None,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                text = self._socket.recv()
            except websocket.WebSocketTimeoutException:
                continue
            except Exception:  # noqa: BLE001 - any failure means the connection is over
                text = ""
            with self._changed:
                if not text:
                    self.closed = True
                    self._changed.notify_all()
                    return
                frame = json.loads(text)
                self.frames.append(frame)
                self._sort(frame)
                self._changed.notify_all()

    def _sort(self, frame):
        if isinstance(frame, list):
            for answer in frame:
                self._keep(answer)
        elif "method" in frame:
            if frame["method"] == "notify_status_update":
                self._merge(frame["params"][0])
            self.notifications.put(frame)
        else:
            self._keep(frame)

    def _keep(self, answer):
        identifier = answer.get("id")
        # A server may echo an id that is no id at all; nobody waits for such an answer.
        if isinstance(identifier, (str, int, float)):
            self._answers[identifier] = answer

    def _merge(self, difference):
        for name, fields in difference.items():
            self.status.setdefault(name, {}).update(fields)

    def send_text(self, text):
        """Sends a frame as it is, well formed or not."""
        self._socket.send(text)

    def answer(self, identifier, seconds=None):
        """The answer with this id, removed from the store."""
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: identifier in self._answers or self.closed, seconds or self.seconds
            )
            assert arrived and identifier in self._answers, f"no answer to id {identifier!r}" + (
                " (connection closed)" if self.closed else ""
            )
            return self._answers.pop(identifier)

    def request(self, method, params=None, seconds=None):
        """Sends a request and returns the whole answer object."""
        return self.answer(self.send_later(method, params), seconds)

    def send_later(self, method, params=None):
        """Sends a request whose answer is read with `answer` later; returns its id."""
        identifier = next(self._ids)
        frame = {"jsonrpc": "2.0", "method": method, "id": identifier}
        if params is not None:
            frame["params"] = params
        self.send_text(json.dumps(frame))
        return identifier

    def call(self, method, params=None, seconds=None):
        """Sends a request and returns its result, or raises `RpcError`."""
        answer = self.request(method, params, seconds)
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def identify(self, name="moongate-compat", kind="web"):
        return self.call("server.connection.identify", {
            "client_name": name, "version": "1.0.0", "type": kind, "url": "https://example.invalid",
        })

    def subscribe(self, objects):
        """Subscribes and keeps `self.status` up to date from then on."""
        result = self.call("printer.objects.subscribe", {"objects": objects})
        self.status = {}
        self._merge(result["status"])
        return result

    def query(self, *objects):
        return self.call("printer.objects.query", {"objects": {name: None for name in objects}})["status"]

    def gcode(self, script, seconds=60):
        return self.call("printer.gcode.script", {"script": script}, seconds)

    def next_notification(self, method, seconds=15.0, where=lambda params: True):
        """The next notification of this name for which `where(params)` holds; others before it are dropped."""
        def probe():
            while True:
                frame = self.notifications.get_nowait()
                if frame["method"] == method and where(frame.get("params", [])):
                    return frame
        return wait_for(probe, f"notification {method}", seconds)

    def print_state(self):
        return self.query("print_stats")["print_stats"]["state"]

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def http(method, url, seconds=15.0, **options):
    """One HTTP request, never through a proxy of the environment."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=seconds, **options)


def make_idle(client):
    """Brings a printer to rest: cancels what runs, clears the last job, switches the heaters off."""
    if client.print_state() in ("printing", "paused"):
        client.call("printer.print.cancel", seconds=60)
    wait_for(lambda: client.print_state() not in ("printing", "paused"), "printer idle", 60)
    if client.print_state() != "standby":
        client.gcode("SDCARD_RESET_FILE")
    client.gcode("TURN_OFF_HEATERS")
