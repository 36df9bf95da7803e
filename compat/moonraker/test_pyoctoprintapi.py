"""`pyoctoprintapi`, the library below Home Assistant's own OctoPrint integration, unmodified, at the OctoPrint twin.

What is asked of it is what the integration asks (homeassistant/components/octoprint of 2025.4.4: config_flow.py,
coordinator.py, button.py, camera.py).
"""

import asyncio
import time

import aiohttp
import pytest
from pyoctoprintapi import ApiError, OctoprintClient

from harness.moonraker import http


def with_client(printer, scenario):
    """Runs `scenario(client)` with the key that an application asks for."""
    async def run():
        async with aiohttp.ClientSession() as session:
            client = OctoprintClient("127.0.0.1", session=session, port=printer.port)
            client.set_api_key(await client.request_app_key("Home Assistant", "me", 30))
            return await scenario(client)

    return asyncio.run(run())


async def until(probe, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (seen := await probe()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.2)
    return seen


def test_set_up(idle_printer):
    async def scenario(client):
        known = await client.get_discovery_info()
        assert len(known.upnp_uuid) == 32
        assert (await client.get_server_info()).version
        assert await client.get_tracking_info() is None
        return known.upnp_uuid

    assert with_client(idle_printer, scenario) == with_client(idle_printer, scenario), "the same server each time"


def test_sensors_and_buttons_of_a_print(idle_printer):
    async def scenario(client):
        async def flag(name):
            state = (await client.get_printer_info()).state
            return getattr(state.flags, name) and state.text

        idle = await client.get_printer_info()
        assert idle.state.text == "Operational" and idle.state.flags.ready
        shown = {heater.name: heater for heater in idle.temperatures}
        assert {"tool0", "bed"} <= set(shown)
        assert all(isinstance(heater.actual_temp, (int, float)) and heater.target_temp == 0 for heater in shown.values())
        started = http("POST", idle_printer.url + "/api/files/local/cube.gcode", seconds=60,
                       json={"command": "select", "print": True})
        assert started.status_code == 204, started.text
        assert await until(lambda: flag("printing"), "printing") == "Printing"

        async def going():
            job = await client.get_job_info()
            return job.progress.completion and job

        job = await until(going, "progress")
        assert job.job.file.name == "cube.gcode" and job.progress.print_time >= 0 and job.progress.print_time_left > 0
        await client.pause_job()
        assert await until(lambda: flag("paused"), "paused") == "Paused"
        await client.resume_job()
        await until(lambda: flag("printing"), "printing again")
        await client.cancel_job()
        await until(lambda: flag("ready"), "ready")

    with_client(idle_printer, scenario)


def test_camera(printer):
    async def scenario(client):
        return await client.get_webcam_info()

    camera = with_client(printer, scenario)
    assert camera.enabled and camera.stream_url.startswith(printer.url)
    assert http("GET", camera.external_snapshot_url, seconds=30).content.startswith(b"\xff\xd8")


def test_what_a_gateway_does_not_do_is_an_error(printer):
    async def scenario(client):
        for refused in (client.shutdown, client.reboot_system, client.restart, client.disconnect):
            with pytest.raises(ApiError):
                await refused()

    with_client(printer, scenario)
