#!/usr/bin/env python3
"""Drives a Centauri Carbon 2 (real protocol, simulated printer) with the independent client `pycentauri`.

Steps: wrong code, connect (HTTP serial number, MQTT, registration), status, attributes, watch, files, upload,
start, pause, resume, light, fans, Canvas, stop, snapshot. Requests are spaced, because the printer goes deaf after
bursts. Exits 0 when all hold, 1 with the failed step otherwise. Needs `pip install pycentauri`.
pycentauri has no CC2 discovery, so that step is a plain datagram here. The serial number is fetched from port 80
by pycentauri's own code, which cannot be moved: give `--serial` when HTTP is elsewhere.
"""

import argparse
import asyncio
import json
import socket
import sys
import tempfile
from pathlib import Path

from pycentauri import camera, cc2, upload
from pycentauri.client import PrinterError

SPACING = 1.2
GCODE = (
    "; HEADER_BLOCK_START\n; total layers count = 20\n; HEADER_BLOCK_END\n"
    "M140 S45\nM190 S45\nM109 S180\nG28\n"
    + "".join(f"M73 L{n + 1}\nG1 X{n} Y10 E0.1\n" for n in range(20))
    + "; estimated printing time (normal mode) = 10m 0s\n"
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--code", default="123456")
    parser.add_argument("--serial", default=None)
    parser.add_argument("--mqtt-port", type=int, default=1883)
    parser.add_argument("--http-port", type=int, default=80)
    parser.add_argument("--camera-port", type=int, default=8080)
    parser.add_argument("--discovery-port", type=int, default=52700)
    parser.add_argument("--deadline", type=float, default=120.0, help="seconds for each wait")
    return parser.parse_args()


def check(what: str, holds: bool, seen: object = "") -> None:
    print(("ok   " if holds else "FAIL ") + what + (f"  [{seen}]" if seen != "" else ""), flush=True)
    if not holds:
        raise SystemExit(1)


def discover(host: str, port: int) -> dict:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(5)
        probe.sendto(b'{"id":0,"method":7000}', (host, port))
        return json.loads(probe.recv(2048))["result"]


async def until(printer, what, accept, deadline) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    while True:
        await asyncio.sleep(SPACING)
        await printer.status()
        raw = printer._last_full_result
        state = raw["machine_status"]
        if accept(raw):
            check(what, True, f"{state['status']} {state['sub_status']}")
            return
        if loop.time() > end:
            check(what, False, raw)


async def spaced(call):
    await asyncio.sleep(SPACING)
    return await call


def sub(raw) -> int:
    return raw["machine_status"]["sub_status"]


async def run(args: argparse.Namespace) -> None:
    cc2.MQTT_PORT, upload.UPLOAD_PORT = args.mqtt_port, args.http_port
    found = discover(args.host, args.discovery_port)
    check("discovery answers", found["machine_model"] == "Centauri Carbon 2", found)
    serial = args.serial or None
    try:
        wrong = await cc2.CC2Printer.connect(args.host, access_code="wrong!", serial_number=found["sn"])
        await wrong.close()
        check("a wrong code is refused", False)
    except PrinterError as refusal:
        check("a wrong code is refused", True, refusal)

    printer = await cc2.CC2Printer.connect(
        args.host, enable_control=True, access_code=args.code, serial_number=serial, push_period_ms=3000
    )
    async with printer:
        check("serial number", printer._serial_number == found["sn"], printer._serial_number)
        attributes = await printer.attributes()
        check("attributes", attributes.mainboard_id == found["sn"], attributes.firmware_version)
        await until(printer, "idle at first", lambda r: r["machine_status"]["status"] == 1, 10)
        listing = await spaced(printer.list_files())
        check("sample file is listed", "cube.gcode" in [f["filename"] for f in listing["file_list"]])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "peer_check.gcode"
            path.write_text(GCODE + "; padding\n" * 150_000)  # two chunks
            name = await printer.upload_file(path)
        await until(printer, "upload finished", lambda r: r["machine_status"]["status"] != 11, 60)
        listing = await spaced(printer.list_files())
        entry = [f for f in listing["file_list"] if f["filename"] == name]
        check("upload is listed with its layers", bool(entry) and entry[0]["layer"] == 20, entry)
        canvas = await spaced(printer.canvas_status())
        check("Canvas reports", canvas is not None, canvas)

        await spaced(printer.start_print(name))
        await until(printer, "started", lambda r: r["machine_status"]["status"] == 2, 30)
        await until(printer, "printing", lambda r: sub(r) == 2075, args.deadline)
        seen = 0
        async for _ in printer.watch():
            seen += 1
            if seen == 4:
                break
        check("watch yields while printing", seen == 4)
        await spaced(printer.set_fan_speed(model=80))
        await until(printer, "fan 80", lambda r: r["fans"]["fan"]["speed"] == 80, 10)
        await spaced(printer.set_light(False))
        await until(printer, "light off", lambda r: r["led"]["status"] == 0, 10)
        await spaced(printer.pause())
        await until(printer, "paused", lambda r: sub(r) == 2502, args.deadline)
        await spaced(printer.resume())
        await until(printer, "resumed", lambda r: sub(r) == 2075, args.deadline)
        await spaced(printer.stop())
        await until(printer, "idle again", lambda r: r["machine_status"]["status"] == 1, args.deadline)
        history = await spaced(printer.print_history())
        check("history has the job", history["history_task_list"][-1]["task_name"] == name)
        picture = await camera.snapshot(args.host, port=args.camera_port)
        check("snapshot is a JPEG", picture[:2] == b"\xff\xd8" and len(picture) > 1000, len(picture))
        await spaced(printer.delete_files([name]))
        listing = await spaced(printer.list_files())
        check("deleted", name not in [f["filename"] for f in listing["file_list"]])
    print("all steps passed")


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(run(arguments()), 600))
    sys.exit(0)
