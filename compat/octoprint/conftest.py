"""One OctoPrint for all printers of the demo, connected to one pty at a time."""

import os

import pytest

from harness.moonraker import Moonraker, make_idle
from harness.octoprint_server import MAJOR, OctoPrint
from harness.waiting import wait_for


@pytest.fixture(scope="session")
def server(demo):
    """OctoPrint, offered exactly the ptys of the demo."""
    glob = os.path.join(os.path.dirname(demo.printers[0].pty), "*")
    with OctoPrint(f"octoprint{MAJOR}", glob, major=MAJOR) as started:
        yield started


@pytest.fixture
def octoprint(server, idle_printer):
    """OctoPrint connected to an idle printer; afterwards its serial log must be free of trouble."""
    since = server.mark()
    server.connect_and_wait(idle_printer.pty)
    yield server
    if not server.state().startswith(("Closed", "Offline")):
        server.disconnect()
    assert server.trouble(since) == []


@pytest.fixture
def cube(octoprint):
    """The sample's entry in OctoPrint's list of the printer's storage."""
    return wait_for(lambda: octoprint.find("cube.gcode"), "cube.gcode is listed", 20)


@pytest.fixture
def printing(octoprint, cube, moonraker):
    """A print of cube.gcode that OctoPrint started and the printer reports as running."""
    octoprint.select(cube, start=True)
    octoprint.wait_state("Printing")
    wait_for(lambda: moonraker.print_state() == "printing", "the printer prints", 60)
    yield octoprint
    with Moonraker(moonraker.url) as client:
        make_idle(client)
