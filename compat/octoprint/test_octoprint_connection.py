"""Connecting, temperatures, and everything that can be cut off."""

import os

import pytest

from harness.demo import Demo
from harness.household import Household
from harness.moonraker import Moonraker
from harness.octoprint_server import MAJOR, OctoPrint
from harness.waiting import holds_for, wait_for


def test_fixed_port_handshake(octoprint, printer):
    """octoprint.md 2: firmware, capabilities, storage and list arrive in one go."""
    wait_for(lambda: any("M115" in line for line in octoprint.sent()), "M115 is sent")
    wait_for(lambda: any("FIRMWARE_NAME:" in line for line in octoprint.received()), "the firmware")
    wait_for(lambda: any(line.startswith("Cap:") for line in octoprint.received()), "its capabilities")
    wait_for(lambda: any(line.split("*")[0].endswith(("M20", "M20 L T")) for line in octoprint.sent()), "M20 is sent")
    wait_for(lambda: octoprint.printer_files(), "files are listed")
    assert octoprint.flags()["operational"]


def test_temperatures_appear(octoprint):
    temperatures = wait_for(octoprint.temperatures, "temperatures")
    assert temperatures["tool0"]["actual"] > 5 and temperatures["bed"]["actual"] > 5
    assert temperatures["tool0"]["target"] == 0


def test_targets_reach_the_printer(octoprint, moonraker):
    octoprint.tool_target(65)
    octoprint.bed_target(45)
    wait_for(lambda: moonraker.query("extruder")["extruder"]["target"] == 65, "nozzle target at the printer", 20)
    wait_for(lambda: moonraker.query("heater_bed")["heater_bed"]["target"] == 45, "bed target at the printer", 20)
    wait_for(lambda: octoprint.temperatures()["tool0"]["target"] == 65, "nozzle target in OctoPrint", 20)
    wait_for(lambda: octoprint.temperatures()["bed"]["target"] == 45, "bed target in OctoPrint", 20)
    wait_for(lambda: octoprint.temperatures()["tool0"]["actual"] > 40, "the nozzle warms up", 60)
    octoprint.tool_target(0)
    octoprint.bed_target(0)
    wait_for(lambda: moonraker.query("extruder")["extruder"]["target"] == 0, "nozzle off", 20)


def test_targets_set_elsewhere_are_seen(octoprint, moonraker):
    moonraker.gcode("SET_HEATER_TEMPERATURE HEATER=heater_bed TARGET=40")
    wait_for(lambda: octoprint.temperatures()["bed"]["target"] == 40, "bed target in OctoPrint", 20)


def test_every_line_is_acknowledged(octoprint):
    """One ok for each line, whatever it says (rule 1, section 6.5)."""
    since = octoprint.mark()
    lines = [
        "M105", "m105", "M114", "M119", "M400", "M503", "M220 S100", "M106 S128", "M107", "M117 hello", "M73 P1",
        "M118 x", "M300 S1 P1", "G4 P1", "G90", "M82", "M31", "M851", "M999999", "FOO_BAR A=1", "M104S0", "M115",
        "M27", "M500", "M501", "M155 S2", "G92 E0",
    ]
    octoprint.command(*lines)
    octoprint.command("M117 last one")
    wait_for(lambda: any("last one" in line for line in octoprint.sent(since)), "all lines were sent", 30)
    wait_for(
        lambda: sum(line.startswith("ok") for line in octoprint.received(since)) >= len(octoprint.sent(since)),
        "an ok for every line sent", 20,
    )
    assert any("Unknown command" in line for line in octoprint.received(since))
    assert not any(line.startswith("echo:busy") for line in octoprint.received(since)), "rule 16"


def test_no_report_is_pushed_unasked(octoprint):
    """Rule 2: a T: line without ok only after M155 has asked for it."""
    octoprint.command("M155 S0")
    wait_for(lambda: any("M155 S0" in line for line in octoprint.sent()), "M155 S0 is sent")
    since = octoprint.mark()
    holds_for(lambda: not any(l.startswith("T:") for l in octoprint.received(since)), "no unasked temperatures", 3)


def test_disconnect_and_reconnect(octoprint, printer):
    for _ in range(3):
        octoprint.disconnect()
        octoprint.connect_and_wait(printer.pty)
    wait_for(lambda: octoprint.temperatures()["tool0"]["actual"] > 5, "temperatures after reconnecting")


def test_auto_detection(idle_printer, demo):
    """Port AUTO and baud rate 0, with only this printer's pty on offer."""
    with OctoPrint(f"auto{MAJOR}-{idle_printer.name}", idle_printer.pty, major=MAJOR) as server:
        wait_for(lambda: idle_printer.pty in server.ports(), "the pty is offered")
        server.connect("AUTO", 0)
        server.wait_state("Operational", seconds=60)
        wait_for(lambda: server.temperatures()["tool0"]["actual"] > 5, "temperatures")
        assert server.trouble() == []


def test_auto_detection_among_several_ports(idle_printer, demo):
    """All ptys of the demo on offer: OctoPrint says hello to one after the other and takes the first that answers."""
    glob = os.path.join(os.path.dirname(idle_printer.pty), "*")
    with OctoPrint(f"autos{MAJOR}-{idle_printer.name}", glob, major=MAJOR) as server:
        wait_for(lambda: len(server.ports()) >= len(demo.printers), "the ptys are offered")
        server.connect("AUTO", 0)
        server.wait_state("Operational", seconds=60)
        assert server.get("/api/connection")["current"]["port"] in [p.pty for p in demo.printers]
        assert server.trouble() == []


def test_emergency_stop(server, idle_printer, moonraker, printer):
    """M112 arrives twice and closes the port; the print ends, and OctoPrint can come back."""
    since = server.mark()
    server.connect_and_wait(printer.pty)
    server.select(wait_for(lambda: server.find("cube.gcode"), "cube.gcode is listed"), start=True)
    server.wait_state("Printing")
    wait_for(lambda: moonraker.print_state() == "printing", "the printer prints", 60)
    server.command("M112")
    server.wait_offline()
    if printer.kind == "elegoo_cc2":
        # It halts until it is switched off and on, and says so (elegoo.md 3.6).
        wait_for(lambda: moonraker.call("server.info")["klippy_state"] == "shutdown", "the halt is told", 30)
        assert "switch it off and on" in moonraker.call("printer.info")["state_message"]
        with printer.without_power():
            pass
    with Moonraker(printer.url) as client:
        wait_for(lambda: client.query("print_stats")["print_stats"]["state"] not in ("printing", "paused"), "the print ends", 60)
        if client.call("server.info")["klippy_state"] != "ready":
            client.call("printer.firmware_restart", seconds=60)
            wait_for(lambda: client.call("server.info")["klippy_state"] == "ready", "ready again", 60)
    server.connect_and_wait(printer.pty)
    server.disconnect()
    # OctoPrint closes the port after its own M112, and calls that an error.
    others = [line for line in server.trouble(since) if not line.endswith('to "Offline after error"')]
    assert others == []


def test_printer_goes_away_and_comes_back(octoprint, printer, moonraker):
    """The pty stays; OctoPrint is told why by a notification and is not disconnected."""
    since = octoprint.mark()
    with printer.without_power():
        wait_for(lambda: any("action:notification" in line for line in octoprint.received(since)), "a notification", 40)
        away = octoprint.mark()
        octoprint.command("M105")
        wait_for(lambda: any(line.startswith("ok") for line in octoprint.received(away)), "an answer without delay", 10)
        holds_for(lambda: octoprint.state() == "Operational", "Operational while the printer is away", 3)
        assert octoprint.temperatures()["tool0"]["target"] == 0, "nothing seems to be heated"
    wait_for(lambda: moonraker.call("server.info")["klippy_state"] == "ready", "the printer is back", 120)
    wait_for(lambda: octoprint.temperatures()["tool0"]["actual"] > 5, "temperatures")


def test_connect_while_the_printer_is_away(idle_printer, server):
    since = server.mark()
    with idle_printer.without_power():
        with Moonraker(idle_printer.url) as client:
            wait_for(lambda: client.call("server.info")["klippy_state"] != "ready", "the gateway has noticed", 30)
        server.connect_and_wait(idle_printer.pty)
        wait_for(lambda: any("No media" in line for line in server.received(since)), "M21 says No media")
    wait_for(lambda: any("action:sd_inserted" in line for line in server.received(since)), "the card is announced", 120)
    wait_for(lambda: server.find("cube.gcode"), "files are listed", 30)
    server.disconnect()
    assert server.trouble(since) == []


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_gateway_restart(how):
    """The same pty name works again for an OctoPrint that stayed open (its own demo: others keep theirs)."""
    with Demo(20, f"demo-{how}{MAJOR}") as own:
        name, pty = own.printers[0].name, own.printers[0].pty
        with OctoPrint(f"{how}{MAJOR}", pty, major=MAJOR) as server:
            server.connect_and_wait(pty)
            if how == "kill":
                own.kill()
            else:
                own.stop_process()
            server.wait_offline()
            own.start()
            assert own.printer(name).pty == pty
            since = server.mark()
            server.connect_and_wait(pty)
            wait_for(lambda: server.find("cube.gcode"), "files are listed", 20)
            assert server.trouble(since) == []


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_gateway_restart_during_a_print(printer_name, how):
    """The print goes on without the gateway; an OctoPrint that stayed open finds it again, and can pause it."""
    with Household([printer_name], 3, f"printing-{how}{MAJOR}") as own:
        printer = own.printers[0]
        with OctoPrint(f"printing-{how}{MAJOR}", printer.pty, major=MAJOR) as server:
            server.connect_and_wait(printer.pty)
            server.select(wait_for(lambda: server.find("cube.gcode"), "cube.gcode is listed", 20), start=True)
            server.wait_state("Printing")
            wait_for(lambda: (server.job()["progress"]["completion"] or 0) > 0, "progress", 180)
            own.kill() if how == "kill" else own.stop_process()
            server.wait_offline()
            own.start()
            since = server.mark()
            wait_for(lambda: printer.pty in server.ports(), "the pty is offered")
            server.connect(printer.pty)
            server.wait_state("Printing", seconds=60)
            assert server.job()["job"]["file"]["display"].rsplit("/", 1)[-1] == "cube.gcode", "the right file"
            with Moonraker(printer.url) as client:
                server.pause()
                server.wait_state("Paused", seconds=8)
                wait_for(lambda: client.print_state() == "paused", "the printer pauses", 60)
                server.cancel()
                server.wait_state("Operational")
                wait_for(lambda: client.print_state() == "cancelled", "the printer stops", 60)
            assert server.trouble(since) == []


def test_octoprint_dies_during_a_print(idle_printer, moonraker, demo):
    """Killed without a word: the print goes on, and the next OctoPrint shows it."""
    glob = idle_printer.pty
    first = OctoPrint(f"dies{MAJOR}-{idle_printer.name}", glob, major=MAJOR).start()
    try:
        first.connect_and_wait(glob)
        first.select(wait_for(lambda: first.find("cube.gcode"), "cube.gcode is listed", 20), start=True)
        first.wait_state("Printing")
        wait_for(lambda: moonraker.print_state() == "printing", "the printer prints", 60)
        first.kill()
    finally:
        first.stop()
    assert moonraker.print_state() == "printing", "the print goes on"
    # Paused elsewhere meanwhile: an OctoPrint may take longer to start than the sample to print.
    moonraker.call("printer.print.pause", seconds=60)
    with OctoPrint(f"next{MAJOR}-{idle_printer.name}", glob, major=MAJOR) as second:
        wait_for(lambda: glob in second.ports(), "the pty is offered")
        second.connect(glob)
        second.wait_state("Paused", seconds=30)
        second.resume()
        second.wait_state("Printing", seconds=30)
        second.cancel()
        second.wait_state("Operational")
        wait_for(lambda: moonraker.print_state() == "cancelled", "the printer stops", 60)
        assert second.trouble() == []
