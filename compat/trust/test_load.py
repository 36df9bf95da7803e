"""Too many, too fast, too slow: one bad client never costs another one its answer, nor the printer its link."""

import json
import os
import socket
import threading
import time

import pytest
import websocket

from harness.moonraker import Moonraker, http
from harness.waiting import wait_for

# What a well-behaved client waits for an answer while others misbehave. Generous: the machine is busy too.
PATIENCE = 20
MESSAGES = int(os.environ.get("MOONGATE_FLOOD", "200000"))


def healthy(farm, printer):
    """A new client is served, an answer is right, the printer is still there."""
    with Moonraker(printer.url, seconds=PATIENCE) as client:
        assert client.call("server.info")["klippy_state"] == "ready"
        assert "temperature" in client.query("extruder")["extruder"]
    assert http("GET", f"{farm.own_url}/readyz", PATIENCE).ok


def back_to(farm, probe, before, slack, what):
    wait_for(lambda: probe() <= before + slack, f"{what} back to {before}", 60)


def test_500_idle_websockets(farm):
    printer = farm["cc1"]
    before = farm.descriptors()
    idle = []
    try:
        for _ in range(500):
            idle.append(websocket.create_connection(f"ws://127.0.0.1:{printer.port}/websocket", timeout=PATIENCE,
                                                    suppress_origin=True))
        for one in idle[:50]:
            one.send(json.dumps({"jsonrpc": "2.0", "method": "printer.objects.subscribe", "id": 1,
                                 "params": {"objects": {"extruder": None}}}))
        healthy(farm, printer)
        info = http("GET", f"{printer.url}/server/info").json()["result"]
        assert info["websocket_count"] >= 500, info
        assert farm.resident() < 400 << 20, farm.resident()
    finally:
        for one in idle:
            one.shutdown()
    back_to(farm, farm.descriptors, before, 20, "descriptors")
    healthy(farm, printer)


def test_connection_storm(farm):
    """Connections that come and go as fast as they can, on every port."""
    stop, counts = threading.Event(), []

    def storm(port):
        count = 0
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as one:
                    if count % 3 == 0:
                        one.sendall(b"GET /server/info HTTP/1.1\r\nHost: x\r\n\r\n")
                    elif count % 3 == 1:
                        one.sendall(b"\x16\x03\x01\x02\x00\x01" + b"\xff" * 64)
                count += 1
            except OSError:
                time.sleep(0.05)
        counts.append(count)

    before = farm.descriptors()
    threads = [threading.Thread(target=storm, args=(port,))
               for port in [p.port for p in farm.printers] * 2 + [farm.gateway_port] * 2]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            healthy(farm, farm["cc1"])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert sum(counts) > 500, counts
    back_to(farm, farm.descriptors, before, 20, "descriptors")
    for printer in farm.printers:
        healthy(farm, printer)


def test_flood_of_requests(farm):
    """A client that asks without reading the answers, and one that sends batches of the most that is allowed."""
    printer = farm["cc1"]
    memory = farm.resident()
    deaf = websocket.create_connection(f"ws://127.0.0.1:{printer.port}/websocket", timeout=2, suppress_origin=True)
    batch = [{"jsonrpc": "2.0", "method": "printer.objects.query", "id": n, "params": {"objects": {"toolhead": None}}}
             for n in range(1000)]
    sent = 0
    try:
        for _ in range(200):
            deaf.send(json.dumps(batch))
            sent += 1000
    except (OSError, websocket.WebSocketException):
        pass
    healthy(farm, printer)
    assert farm.resident() - memory < 200 << 20, farm.resident() - memory
    deaf.shutdown()
    eager = Moonraker(printer.url, seconds=60)
    for number in range(2000):
        eager.send_text(json.dumps({"jsonrpc": "2.0", "method": "server.info", "id": f"n{number}"}))
    for number in range(2000):
        assert eager.answer(f"n{number}", 60)["result"]
    eager.close()
    assert sent >= 1000
    healthy(farm, printer)


def test_slow_readers(farm):
    """Clients that take a byte now and then: of large files, of status, of camera streams."""
    printer = farm["p1s"]
    content = b"; filler\n" * 1_000_000
    http("POST", f"{printer.url}/server/files/upload", 60, files={"file": ("large-gone.gcode", content)})
    memory, readers = farm.resident(), []
    for path in ["/server/files/gcodes/large-gone.gcode"] * 40 + ["/webcam/?action=stream"] * 20:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        one.connect(("127.0.0.1", printer.port))
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        readers.append(one)
    for reader in readers:
        reader.recv(64)
    try:
        healthy(farm, printer)
        assert farm.resident() - memory < 150 << 20, farm.resident() - memory
        # One of them reads to the end after all, and gets everything.
        whole = http("GET", f"{printer.url}/server/files/gcodes/large-gone.gcode", 60).content
        assert whole == content
    finally:
        for reader in readers:
            reader.close()
    http("DELETE", f"{printer.url}/server/files/gcodes/large-gone.gcode")
    healthy(farm, printer)


@pytest.mark.timeout(600 + MESSAGES / 300)
def test_a_flood_from_the_printer_leaves_memory_flat(farm):
    """Reports at full speed: all are read, clients are told at their own pace, memory stays.

    A quarter million of them in the gate; `MOONGATE_FLOOD=10000000 ./compat/run trust -k flood_from` takes its time.
    """
    printer = farm["p1s"]
    wait_for(printer.ready, "online", 60)
    client = Moonraker(printer.url)
    client.subscribe({"heater_bed": None, "print_stats": None})

    def flood(messages):
        before = printer.truth()["counters"]["flooded"]
        printer.control.fault("flood", messages=messages)
        wait_for(lambda: printer.truth()["counters"]["flooded"] >= before + messages, f"{messages} reports",
                 280 + messages / 500)

    flood(50_000)
    warm = farm.resident()
    for _ in range(0, MESSAGES, 200_000):
        flood(200_000)
        grown = farm.resident() - warm
        assert grown < 16 << 20, f"{grown >> 20} MiB more"
    assert printer.ready()
    client.close()
    healthy(farm, printer)
