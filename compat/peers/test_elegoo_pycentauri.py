"""The third-party client `pycentauri`, unmodified, drives both simulated Elegoo printers: by its library and its CLI.

It knows only the printers' own port numbers, so each simulator listens on them at a loopback address of its own
(port 80 needs root). Its discovery is a broadcast; here it asks that one address, so that nothing leaves the machine.
"""

import asyncio
import json
import os
import random
import re
import subprocess
import sys

import pytest
from pycentauri import camera, cc2, client, discovery, sdcp

from harness import process
from harness.simulated import simulated
from harness.waiting import wait_for

SPEED = 20
# A request every so often: the second printer goes deaf after three in quick succession.
SPACING = 1.2
SLICE = (
    "; HEADER_BLOCK_START\n; total layers count = 20\n; HEADER_BLOCK_END\n"
    "M140 S45\nM190 S45\nM109 S180\nG28\n"
    + "".join(f";LAYER:{n}\nM73 L{n + 1}\nG1 X{n} Y10 E0.1\n" for n in range(20))
    + "; estimated printing time (normal mode) = 10m 0s\n"
)
CLI = """
import functools, sys
from pycentauri import cli, discovery
cli.discover_printers = functools.partial(discovery.discover, broadcast_address=sys.argv.pop(1))
cli.app()
"""


def own_address():
    return f"127.{random.randint(64, 200)}.{random.randint(1, 254)}.{random.randint(2, 254)}"


@pytest.fixture(scope="module", params=["cc1", "cc2"])
def machine(request):
    host = own_address()
    with simulated(request.param, "--address", host, "--real-ports", speed=SPEED) as printer:
        printer.address = host
        yield printer


@pytest.fixture
def slice_file(tmp_path):
    path = tmp_path / "peer_check.gcode"
    path.write_text(SLICE + "; padding\n" * 150_000)  # two chunks
    return path


def stage(machine):
    return machine.control.truth()["stage"]


def rest(machine):
    """Ends whatever runs, by the printer's own doing."""
    if stage(machine) not in ("Idle", "Finished", "Cancelled", "Failed"):
        machine.control.fault("power_cut")
        machine.control.fault("power_on")


def unharmed(machine):
    truth = machine.control.truth()
    if machine.model == "cc1":
        assert truth["crashed"] is None and truth["offences"] == []
    else:
        assert truth["forbidden"] == []


def run_cli(machine, *arguments, seconds=90):
    """Exit code 0 and what was printed."""
    environment = {**os.environ, "PYCENTAURI_ACCESS_CODE": "123456", "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CLI, machine.address, *map(str, arguments), "--host", machine.address],
        capture_output=True, text=True, timeout=seconds, env=environment,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
    return done.stdout


def control(machine, *arguments):
    return run_cli(machine, *arguments, "--enable-control")


def test_cli_from_upload_to_stop(machine, slice_file):
    idle = {"cc1": 0, "cc2": 1}[machine.model]
    assert re.search(rf"state +: {idle} \(print_status=0\)", run_cli(machine, "status"))
    assert "Centauri Carbon" in run_cli(machine, "attributes")
    assert "cube.gcode" in run_cli(machine, "files")
    assert "uploaded as 'peer_check.gcode'" in control(machine, "upload", slice_file)
    assert "peer_check.gcode" in run_cli(machine, "files")
    wait_for(lambda: control(machine, "print", "start", "peer_check.gcode"), "the start is taken", 60, every=2)
    wait_for(lambda: stage(machine) == "Printing", "the machine prints", 120)
    control(machine, "print", "pause")
    wait_for(lambda: stage(machine) == "Paused", "the machine pauses", 60)
    control(machine, "print", "resume")
    wait_for(lambda: stage(machine) == "Printing", "the machine goes on", 60)
    control(machine, "print", "stop")
    wait_for(lambda: stage(machine) in ("Cancelled", "Idle"), "the machine stops", 60)
    assert "peer_check" in run_cli(machine, "history")
    unharmed(machine)


def test_cli_watch(machine):
    watching = subprocess.Popen(
        [sys.executable, "-c", CLI, machine.address, "watch", "--json", "--host", machine.address],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        env={**os.environ, "PYCENTAURI_ACCESS_CODE": "123456", "PYTHONUNBUFFERED": "1"},
    )
    try:
        report = json.loads(watching.stdout.readline())
        assert report, "a report at once"
    finally:
        process.stop(watching)
        watching.stdout.close()


async def until(what, look, accept, seconds=120.0):
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not accept(seen := await look()):
        assert loop.time() < end, f"never {what}: {seen}"
        await asyncio.sleep(0.2)


async def spaced(call):
    await asyncio.sleep(SPACING)
    return await call


async def library_on_cc1(machine, slice_file):
    found = await discovery.discover(timeout=2.0, broadcast_address=machine.address)
    assert [item.machine_name for item in found] == ["Centauri Carbon"]
    board = found[0].mainboard_id
    assert len(board) == 32
    # After a stop the printer pushes no Attributes, from which the library would learn the board's id (elegoo.md 2.3).
    printer = await client.Printer.connect(
        machine.address, enable_control=True, push_period_ms=1000, mainboard_id=board
    )

    async def fresh():
        """Asked for now: `Printer.status` may answer from its cache."""
        printer._latest_status_event.clear()
        await printer._request(sdcp.Cmd.GET_PRINTER_STATUS, None, board)
        await asyncio.wait_for(printer._latest_status_event.wait(), 10)
        return printer._latest_status.raw

    def sub(wanted):
        return lambda report: report["PrintInfo"]["Status"] == wanted

    async with printer:
        assert (await printer.attributes()).firmware_version == found[0].firmware_version
        name = await printer.upload_file(slice_file)
        await until("checked", fresh, lambda report: not {2, 8} & set(report["CurrentStatus"]), 60)
        listed = [item for item in (await printer.list_files())["file_list"] if item["filename"] == name]
        assert listed and listed[0]["layer"] == 20
        await printer.start_print(name)
        await until("printing", fresh, sub(13))
        seen = 0
        async for _ in printer.watch():
            seen += 1
            if seen == 3:
                break
        await printer.set_print_speed("sport")
        await until("speed 130", fresh, lambda report: report["PrintInfo"]["PrintSpeedPct"] == 130, 10)
        await printer.set_fan_speed(model=50)
        await until("fan 50", fresh, lambda report: report["CurrentFanSpeed"]["ModelFan"] == 50, 10)
        await printer.set_light(False)
        await until("light off", fresh, lambda report: report["LightStatus"]["SecondLight"] == 0, 10)
        await printer.pause()
        await until("paused", fresh, sub(6))
        await printer.resume()
        await until("resumed", fresh, sub(13))
        await printer.stop()
        await until("stopped", fresh, sub(8))
        await printer._request(386, {"Enable": 1}, board)
        assert (await camera.snapshot(machine.address))[:2] == b"\xff\xd8"
        await printer.delete_files([name])
        assert name not in [item["filename"] for item in (await printer.list_files())["file_list"]]


async def library_on_cc2(machine, slice_file):
    with pytest.raises(client.PrinterError):
        await cc2.CC2Printer.connect(machine.address, access_code="wrong!", serial_number=machine.serial)
    printer = await cc2.CC2Printer.connect(
        machine.address, enable_control=True, access_code=machine.access_code, push_period_ms=3000
    )

    async def fresh():
        await spaced(printer.status())
        return printer._last_full_result

    def status(wanted):
        return lambda report: report["machine_status"]["status"] == wanted

    def sub(wanted):
        return lambda report: report["machine_status"]["sub_status"] == wanted

    async with printer:
        assert printer._serial_number == machine.serial, "by HTTP"
        name = await printer.upload_file(slice_file)
        await until("received", fresh, lambda report: report["machine_status"]["status"] != 11, 60)
        listed = [item for item in (await spaced(printer.list_files()))["file_list"] if item["filename"] == name]
        assert listed and listed[0]["layer"] == 20
        assert await spaced(printer.canvas_status()) is not None
        await spaced(printer.start_print(name))
        await until("printing", fresh, sub(2075))
        seen = 0
        async for _ in printer.watch():
            seen += 1
            if seen == 3:
                break
        await spaced(printer.set_fan_speed(model=80))
        await until("fan 80", fresh, lambda report: report["fans"]["fan"]["speed"] == 80, 15)
        await spaced(printer.set_light(False))
        await until("light off", fresh, lambda report: report["led"]["status"] == 0, 15)
        await spaced(printer.pause())
        await until("paused", fresh, sub(2502))
        await spaced(printer.resume())
        await until("resumed", fresh, sub(2075))
        await spaced(printer.stop())
        await until("idle again", fresh, status(1))
        assert (await camera.snapshot(machine.address, port=camera.CAMERA_PORT_CC2))[:2] == b"\xff\xd8"
        await spaced(printer.delete_files([name]))
        left = [item["filename"] for item in (await spaced(printer.list_files()))["file_list"]]
        assert name not in left


def test_library_from_discovery_to_delete(machine, slice_file):
    rest(machine)
    drive = library_on_cc1 if machine.model == "cc1" else library_on_cc2
    asyncio.run(asyncio.wait_for(drive(machine, slice_file), 400))
    unharmed(machine)
