"""What follows a gateway goes on when that is started again: it says so, and sends nothing by itself."""

import json
import time

import pytest

from harness.command import DONE, FAILED
from harness.demo import binary
from harness.moonraker import Moonraker
from harness.single import farm
from harness.sliced import gcode
from harness.terminal import Terminal

BACK = 120


@pytest.fixture(scope="module")
def gateway():
    with farm("cc1", "away") as started:
        yield started


def command(gateway, *arguments):
    return [binary(), *arguments, "--config", gateway.config]


def say(gateway, text):
    with Moonraker(f"http://127.0.0.1:{gateway.moonraker_port}") as client:
        client.gcode(f"M118 {text}")


def away_and_back(gateway, terminal, meanwhile=lambda: None):
    gateway.kill()
    terminal.expect(r"moongate: the gateway does not answer at http://127\.0\.0\.1:\d+: [^\n]*tried again until Ctrl-C")
    meanwhile()
    gateway.start()
    terminal.expect(r"moongate: the gateway is back\.", BACK)


def test_the_status_goes_on_after_a_restart(gateway):
    with Terminal(command(gateway, "status", "--watch")) as terminal:
        terminal.expect(r"cc1 +idle")
        away_and_back(gateway, terminal)
        terminal.expect(r"cc1 +\w+", BACK)
        assert terminal.seen.count("does not answer") == 1, "it is told once"
        terminal.interrupt()
        assert terminal.wait() == DONE
    with Terminal(command(gateway, "status", "--watch", "--json")) as terminal:
        terminal.expect(r"\{.*\}\r\n")
        away_and_back(gateway, terminal)
        assert json.loads(terminal.expect(r"(\{.*\})\r\n", BACK).group(1))["printers"]
        terminal.interrupt()
        assert terminal.wait() == DONE


def test_the_console_goes_on_after_a_restart_and_shows_each_line_once(gateway):
    say(gateway, "before")
    with Terminal(command(gateway, "console", "cc1")) as terminal:
        terminal.expect(r"before")

        def type_something():
            terminal.enter("G28")
            terminal.expect("nothing is sent: this shows a console")
        away_and_back(gateway, terminal, type_something)
        say(gateway, "after")
        terminal.expect(r"  *after", BACK)
        time.sleep(2)
        terminal.interrupt()
        assert terminal.wait() == DONE
        shown = [line for line in terminal.seen.split("\r\n") if line[:2] == "20"]
        assert len(shown) == len(set(shown)), shown
        assert not any("G28" in line for line in shown), "what was typed went nowhere"
    with Moonraker(f"http://127.0.0.1:{gateway.moonraker_port}") as client:
        said = [line["message"] for line in client.call("server.gcode_store")["gcode_store"]]
    assert any("after" in line for line in said) and not any("G28" in line for line in said), said


def test_a_line_typed_at_the_console_is_refused_and_the_end_of_the_input_ends_it(gateway):
    with Terminal(command(gateway, "console", "cc1")) as terminal:
        terminal.expect(r"\d\d:\d\d:\d\d")
        terminal.enter("M104 S200")
        terminal.expect("nothing is sent: this shows a console")
        terminal.type("\x04")
        assert terminal.wait() == DONE
    with Terminal(["bash", "-c", " ".join(map(str, command(gateway, "console", "cc1", "--once"))) + " < /dev/null"]) as terminal:
        assert terminal.wait() == DONE


def test_a_print_is_followed_over_a_restart(gateway, tmp_path):
    # At the farm's speed about a minute: longer than the gateway is away.
    file = tmp_path / "long.gcode"
    file.write_bytes(gcode(layers=300, seconds=2400))
    with Terminal(command(gateway, "print", file, "--printer", "cc1", "--wait")) as terminal:
        terminal.expect(r"cc1 \[#*\.*\] +\d+ % printing", 90)
        away_and_back(gateway, terminal)
        terminal.expect(r"cc1: complete", 240)
        assert terminal.wait() == DONE


def test_a_printer_that_is_no_longer_configured_ends_what_shows_it(gateway):
    keys, model = gateway.configuration, gateway.printer.model
    with Terminal(command(gateway, "status", model, "--watch")) as terminal:
        terminal.expect(r"cc1 +\w+")
        gateway.kill()
        terminal.expect("tried again until Ctrl-C")
        gateway.configuration = lambda: keys().replace('name = "cc1"', 'name = "other"')
        try:
            gateway.launch()
            terminal.expect(r'there is no printer "cc1"; known are other\.', BACK)
            assert terminal.wait() == FAILED
        finally:
            gateway.configuration = keys
            gateway.stop()
            gateway.start()
