"""A printer without power: the state the front ends show, what stays usable, and that it heals by itself."""

import pytest

from harness.moonraker import RpcError
from harness.waiting import wait_for


def test_offline_and_back(printer, idle_printer, moonraker):
    if printer.kind == "moonraker":
        pytest.skip("the reference server has no simulated printer")
    moonraker.subscribe({"print_stats": None})
    with printer.without_power():
        wait_for(lambda: moonraker.call("server.info")["klippy_state"] == "disconnected", "klippy_state disconnected", 20)
        info = moonraker.call("server.info")
        assert info["klippy_connected"] is False and info["warnings"], "the reason stands beside the state"
        for method in ("printer.info", "printer.objects.list", "printer.gcode.help"):
            with pytest.raises(RpcError, match="Klippy Host not connected: .+") as refused:
                moonraker.call(method)
            assert refused.value.code == 503
        assert any(entry["description"] for entry in moonraker.call("server.announcements.list")["entries"])
        assert any(p["path"] == "cube.gcode" for p in moonraker.call("server.files.list", {"root": "gcodes"}))
        assert moonraker.call("server.database.list")["namespaces"] is not None
        with pytest.raises(RpcError) as refused:
            moonraker.call("printer.print.start", {"filename": "cube.gcode"})
        assert refused.value.code == 503
        with pytest.raises(RpcError):
            moonraker.gcode("SET_HEATER_TEMPERATURE HEATER=extruder TARGET=200")
    moonraker.next_notification("notify_klippy_ready", 120)
    info = moonraker.call("server.info")
    assert info["klippy_state"] == "ready" and info["warnings"] == []
    assert moonraker.print_state() in ("standby", "error", "cancelled"), "nothing was started afterwards"
    assert moonraker.query("extruder")["extruder"]["target"] == 0, "nothing was queued"
