"""The page before a gateway whose cameras all show nothing: a stand-in that passes the page on and never gives a picture."""

import copy
import json
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.browser import Browser
from harness.demo import Demo
from harness.moonraker import http
from harness.waiting import wait_for

PRINTERS = 12


class Slow(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, gateway):
        super().__init__(("127.0.0.1", 0), Handler)
        self.gateway, self.over, self.lock = gateway, threading.Event(), threading.Lock()
        self.looks = self.waiting = self.most = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, path = self.server, self.path.split("?")[0]
        if "webcam" in path:
            with server.lock:
                server.waiting += 1
                server.most = max(server.most, server.waiting)
            # Until the browser gives up.
            while not server.over.wait(0.2) and not (select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK)):
                pass
            with server.lock:
                server.waiting -= 1
            self.close_connection = True
            return None
        told = http("GET", server.gateway + path)
        body = told.content
        if path == "/status":
            status = told.json()
            status["printers"] = [{**copy.deepcopy(status["printers"][0]), "name": f"p{number}"} for number in range(PRINTERS)]
            body = json.dumps(status).encode()
            with server.lock:
                server.looks += 1
        return self.answer(told.status_code, told.headers["content-type"], body)

    def answer(self, code, kind, body):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_the_status_goes_on_while_no_camera_answers():
    """A browser opens six connections to one server; pictures that do not come must not take all of them."""
    with Demo(6, "slow-cameras", printers=["cc1"]) as demo:
        server = Slow(f"http://127.0.0.1:{demo.gateway_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = Browser()
        try:
            browser.open(f"http://127.0.0.1:{server.server_port}/")
            wait_for(lambda: browser.run("document.querySelectorAll('article').length") == PRINTERS, "a card per printer", 60)
            wait_for(lambda: server.waiting >= 2, "pictures are on their way", 30)
            looks = server.looks
            wait_for(lambda: server.looks >= looks + 5, "the status goes on", 60)
            assert server.most <= 3
            assert browser.run("document.getElementById('trouble').textContent") == ""
        finally:
            browser.close()
            server.over.set()
            server.shutdown()
            server.server_close()
