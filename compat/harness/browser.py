"""Debian's Chromium, headless, driven over its debugging port."""

import base64
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import threading

import websocket

from harness import process
from harness.waiting import wait_for


class Browser:
    """One page; `flags` are further switches of the program."""

    def __init__(self, *flags):
        self._profile = tempfile.mkdtemp(prefix="moongate-chromium-")
        self._process = process.start(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
             "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0",
             "--remote-allow-origins=*", f"--user-data-dir={self._profile}", *flags, "about:blank"],
            "chromium.log", stdout=subprocess.DEVNULL,
        )
        self._ids = itertools.count(1)
        self._answers, self._changed = {}, threading.Condition()
        # What the browser told by itself: (method, parameters), oldest first.
        self.events = []
        port_file = f"{self._profile}/DevToolsActivePort"

        def address():
            with open(port_file, encoding="ascii") as lines:
                port, path = lines.read().split("\n")[:2]
            return f"ws://127.0.0.1:{port}{path}"

        self._socket = websocket.create_connection(
            wait_for(address, "Chromium opens its debugging port", 60), timeout=60, suppress_origin=True)
        threading.Thread(target=self._read, daemon=True).start()
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    def _read(self):
        while True:
            try:
                message = json.loads(self._socket.recv())
            except Exception:  # noqa: BLE001 - the browser has ended
                return
            with self._changed:
                if "id" in message:
                    self._answers[message["id"]] = message
                else:
                    self.events.append((message["method"], message["params"]))
                self._changed.notify_all()

    def _call(self, method, params=None):
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params or {}}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        with self._changed:
            assert self._changed.wait_for(lambda: number in self._answers, 60), f"no answer to {method}"
            answer = self._answers.pop(number)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url):
        self._call("Page.navigate", {"url": url})

    def listen(self):
        """From here on `events` has requests, console lines and uncaught errors."""
        for domain in ("Network", "Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def told(self, method):
        with self._changed:
            return [parameters for name, parameters in self.events if name == method]

    def emulate(self, width, height, scheme="light", phone=False):
        """A window of this size in CSS pixels, and what the user prefers."""
        self._call("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone})
        self._call("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def picture(self, path):
        """The whole page as PNG."""
        shown = self._call("Page.captureScreenshot", {"captureBeyondViewport": True})
        with open(path, "wb") as file:
            file.write(base64.b64decode(shown["data"]))

    def run(self, script):
        """The value of an expression, promises awaited."""
        answer = self._call("Runtime.evaluate", {
            "expression": script, "awaitPromise": True, "returnByValue": True})
        assert "exceptionDetails" not in answer, re.sub(r"\s+", " ", str(answer["exceptionDetails"]))[:800]
        return answer["result"].get("value")

    def close(self):
        self._socket.close()
        process.stop(self._process)
        shutil.rmtree(self._profile, ignore_errors=True)
