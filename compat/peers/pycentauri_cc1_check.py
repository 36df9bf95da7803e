#!/usr/bin/env python3
"""Drives a Centauri Carbon (real protocol, simulated printer) with the independent client `pycentauri`.

Steps: discover, status, attributes, watch, files, upload, start, pause, resume, light, fans, speed, stop, snapshot.
Exits 0 when all hold, 1 with the failed step otherwise. Needs `pip install pycentauri`.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from pycentauri import camera, client, discovery, sdcp, upload

GCODE = (
    "; HEADER_BLOCK_START\n; total layers count = 20\n; HEADER_BLOCK_END\n"
    "M140 S45\nM190 S45\nM109 S180\nG28\n"
    + "".join(f";LAYER:{n}\nG1 X{n} Y10 E0.1\n" for n in range(20))
    + "; estimated printing time (normal mode) = 10m 0s\n"
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ws-port", type=int, default=3030)
    parser.add_argument("--http-port", type=int, default=80)
    parser.add_argument("--camera-port", type=int, default=3031)
    parser.add_argument("--discovery-port", type=int, default=3000)
    parser.add_argument("--deadline", type=float, default=120.0, help="seconds for each wait")
    return parser.parse_args()


def check(what: str, holds: bool, seen: object = "") -> None:
    print(("ok   " if holds else "FAIL ") + what + (f"  [{seen}]" if seen != "" else ""), flush=True)
    if not holds:
        raise SystemExit(1)


async def fresh(printer: client.Printer, mainboard: str):
    """A status frame asked for now: `Printer.status` may answer from its cache."""
    printer._latest_status_event.clear()
    await printer._request(sdcp.Cmd.GET_PRINTER_STATUS, None, mainboard)
    await asyncio.wait_for(printer._latest_status_event.wait(), 10)
    return printer._latest_status


async def until(printer, mainboard, what, accept, deadline) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    while True:
        status = await fresh(printer, mainboard)
        if accept(status.raw):
            check(what, True, f"{status.raw['CurrentStatus']} {status.raw['PrintInfo']['Status']}")
            return
        if loop.time() > end:
            check(what, False, status.raw)
        await asyncio.sleep(0.2)


def sub(raw) -> int:
    return raw["PrintInfo"]["Status"]


async def run(args: argparse.Namespace) -> None:
    client.WS_PORT, upload.UPLOAD_PORT = args.ws_port, args.http_port
    found = await discovery.discover(
        timeout=2.0, broadcast_address=args.host, port=args.discovery_port
    )
    check("discover answers", len(found) == 1, [f.machine_name for f in found])
    check("it is a Centauri Carbon", found[0].machine_name == "Centauri Carbon")
    mainboard = found[0].mainboard_id
    check("mainboard id has 32 characters", len(mainboard or "") == 32, mainboard)

    printer = await client.Printer.connect(args.host, enable_control=True, push_period_ms=1000)
    async with printer:
        check("mainboard id is pushed while idle", await printer.wait_for_mainboard() == mainboard)
        attributes = await printer.attributes()
        check("firmware matches discovery", attributes.firmware_version == found[0].firmware_version)
        status = await printer.status()
        check("idle at first", status.raw["CurrentStatus"] == [0], status.raw["CurrentStatus"])

        listing = await printer.list_files()
        check("sample file is listed", "cube.gcode" in [f["filename"] for f in listing["file_list"]])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "peer_check.gcode"
            path.write_text(GCODE + "; padding\n" * 150_000)  # two chunks
            name = await printer.upload_file(path)
        await until(printer, mainboard, "upload checked", lambda r: not {2, 8} & set(r["CurrentStatus"]), 60)
        listing = await printer.list_files()
        entry = [f for f in listing["file_list"] if f["filename"] == name]
        check("upload is listed with its layers", bool(entry) and entry[0]["layer"] == 20, entry)

        await printer.start_print(name)
        await until(printer, mainboard, "started", lambda r: r["CurrentStatus"][0] == 1, 30)
        await until(printer, mainboard, "printing", lambda r: sub(r) == 13, args.deadline)
        seen = 0
        async for _ in printer.watch():
            seen += 1
            if seen == 3:
                break
        check("watch yields while printing", seen == 3)
        await printer.set_print_speed("sport")
        await until(printer, mainboard, "speed 130", lambda r: r["PrintInfo"]["PrintSpeedPct"] == 130, 10)
        await printer.set_fan_speed(model=50)
        await until(printer, mainboard, "fan 50", lambda r: r["CurrentFanSpeed"]["ModelFan"] == 50, 10)
        await printer.set_light(False)
        await until(printer, mainboard, "light off", lambda r: r["LightStatus"]["SecondLight"] == 0, 10)
        await printer.pause()
        await until(printer, mainboard, "paused", lambda r: sub(r) == 6, args.deadline)
        await printer.resume()
        await until(printer, mainboard, "resumed", lambda r: sub(r) == 13, args.deadline)
        await printer.stop()
        await until(printer, mainboard, "stopped", lambda r: sub(r) == 8, args.deadline)
        await until(printer, mainboard, "idle again", lambda r: r["CurrentStatus"] == [0], 30)
        history = await printer.print_history()
        check("history has the job", history["history_task_list"][-1]["task_name"].endswith(name))
        await printer._request(386, {"Enable": 1}, mainboard)
        picture = await camera.snapshot(args.host, port=args.camera_port)
        check("snapshot is a JPEG", picture[:2] == b"\xff\xd8" and len(picture) > 1000, len(picture))
        await printer.delete_files([name])
        listing = await printer.list_files()
        check("deleted", name not in [f["filename"] for f in listing["file_list"]])
    print("all steps passed")


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(run(arguments()), 600))
    sys.exit(0)
