"""`moonraker-api`, the library below the Home Assistant integration, unmodified."""

import asyncio
import time

import pytest
from moonraker_api import MoonrakerClient, MoonrakerListener

from harness.moonraker import Moonraker


class Listener(MoonrakerListener):
    """Keeps states and notifications as they come."""

    def __init__(self):
        self.states, self.notifications, self.errors = [], [], []
        self.status = {}

    async def state_changed(self, state):
        self.states.append(state)

    async def on_exception(self, exception):
        self.errors.append(exception)

    async def on_notification(self, method, data):
        self.notifications.append((method, data))
        if method == "notify_status_update":
            for name, fields in data[0].items():
                self.status.setdefault(name, {}).update(fields)


async def until(probe, what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.05)


def with_client(printer, scenario):
    """Runs `scenario(client, listener)` with a connected client."""
    async def run():
        listener = Listener()
        client = MoonrakerClient(listener, "127.0.0.1", printer.port, timeout=30)
        try:
            await client.connect()
            await until(lambda: "ws_connected" in listener.states, f"connected: {listener.states}")
            await scenario(client, listener)
            assert not listener.errors, listener.errors
        finally:
            await client.disconnect()
    asyncio.run(asyncio.wait_for(run(), 240))


def test_connects_and_becomes_ready(printer):
    async def scenario(client, listener):
        assert (await client.get_server_info())["klippy_state"] == "ready"
        assert await client.get_klipper_status() == "ready"
        assert (await client.get_host_info())["state"] == "ready"
        await client.get_websocket_id()
        assert "print_stats" in await client.get_supported_modules()
    with_client(printer, scenario)


def test_subscribes_and_sees_live_values(printer, idle_printer):
    async def scenario(client, listener):
        listener.status = (await client.call_method(
            "printer.objects.subscribe", objects={"extruder": None, "heater_bed": None, "print_stats": None}
        ))["status"]
        # From before the command: at twenty times real speed the nozzle is hot when the target arrives.
        cold = listener.status["extruder"]["temperature"]
        target = round(cold) + 40
        script = f"SET_HEATER_TEMPERATURE HEATER=extruder TARGET={target}"
        assert await client.call_method("printer.gcode.script", script=script) == "ok"
        await until(lambda: listener.status["extruder"]["target"] == target, "target arrives")
        await until(lambda: listener.status["extruder"]["temperature"] > cold + 3, "temperature rises")
    with_client(printer, scenario)


def test_starts_pauses_resumes_and_cancels(printer, idle_printer):
    async def scenario(client, listener):
        listener.status = (await client.call_method(
            "printer.objects.subscribe", objects={"print_stats": None, "pause_resume": None}))["status"]

        def state(wanted):
            return until(lambda: listener.status["print_stats"]["state"] == wanted, f"state {wanted}", 60)

        assert await client.call_method("printer.print.start", filename="cube.gcode") == "ok"
        await state("printing")
        assert await client.call_method("printer.print.pause") == "ok"
        await state("paused")
        assert await client.call_method("printer.print.resume") == "ok"
        await state("printing")
        assert await client.call_method("printer.print.cancel") == "ok"
        await state("cancelled")
    with_client(printer, scenario)


# What the Home Assistant integration indexes without asking, moonraker.md 3, 4.4 and 8.
POLLED_OBJECTS = {
    "print_stats": {"filename", "total_duration", "print_duration", "filament_used", "state", "message"},
    "display_status": {"progress", "message"},
    "virtual_sdcard": {"progress"},
    "toolhead": {"position"},
    "extruder": {"temperature", "target", "power"},
    "heater_bed": {"temperature", "target", "power"},
    "gcode_move": {"speed_factor"},
    "system_stats": {"sysload", "memavail"},
}
TOTALS = {"total_jobs", "total_print_time", "total_filament_used", "longest_print"}


@pytest.fixture
def poll(printer):
    with Moonraker(printer.url) as client:
        yield client


def test_home_assistant_setup_calls(poll):
    info = poll.call("printer.info")
    assert info["hostname"] and {"state", "state_message", "software_version"} <= set(info)
    assert poll.call("printer.objects.list")["objects"]
    assert isinstance(poll.call("printer.gcode.help"), dict)
    total = poll.call("machine.system_info")["system_info"]["cpu_info"]["total_memory"]
    assert total is None or total > 0
    assert isinstance(poll.call("server.webcams.list")["webcams"], list)
    for method in ("machine.device_power.devices", "machine.update.status", "server.job_queue.status",
                   "server.spoolman.status", "server.history.totals"):
        answer = poll.request(method)
        assert "result" in answer or answer["error"]["code"] == -32601, f"{method}: {answer}"


def test_home_assistant_poll(poll):
    names = poll.call("printer.objects.list")["objects"]
    fans = {n: {"speed", "rpm"} for n in names if n.split(" ")[0] in ("fan", "fan_generic", "heater_fan", "controller_fan")}
    sensors = {n: {"temperature"} for n in names if n.startswith("temperature_sensor ")}
    wanted = {**POLLED_OBJECTS, **fans, **sensors}
    # The integration asks for two objects that do not exist; they are empty, not an error.
    status = poll.query(*wanted, "q", "status")
    assert status["q"] == {} and status["status"] == {}
    for name, fields in wanted.items():
        assert fields <= set(status[name]), f"{name} lacks {sorted(fields - set(status[name]))}"
    assert len(status["toolhead"]["position"]) >= 3
    totals = poll.request("server.history.totals")
    if "result" in totals:
        assert TOTALS <= set(totals["result"]["job_totals"])


def test_home_assistant_pins_have_settings(poll, printer):
    settings = poll.query("configfile")["configfile"]["settings"]
    names = poll.call("printer.objects.list")["objects"]
    pins = [name for name in names if name.startswith("output_pin ")]
    # The reference server's printer has no light.
    assert pins or printer.kind == "moonraker"
    assert all("pwm" in settings[name.lower()] for name in pins), settings
    heaters = ["heater_bed", *(name for name in names if name.startswith("heater_generic "))]
    assert all("max_temp" in settings[name.lower()] for name in heaters), settings
