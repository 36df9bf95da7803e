"""The printer's own storage as the folder `printer/`: listed, fetched, printed, deleted."""

import io
import zipfile
from urllib.parse import quote

import pytest

from harness.demo import Demo
from harness.moonraker import Moonraker, http, make_idle
from harness.waiting import wait_for

PRINTERS = ["p1s", "h2d", "cc1", "cc2"]


@pytest.fixture(scope="module")
def farm():
    with Demo(20, "printer-storage", printers=PRINTERS) as demo:
        yield demo


def listed(client):
    """Names of what is on the printer, as its folder and as the list of all files show it."""
    files = client.call("server.files.get_directory", {"path": "gcodes/printer"}, seconds=60)["files"]
    paths = {file["path"] for file in client.call("server.files.list", {"root": "gcodes"})}
    names = [file["filename"] for file in files]
    assert {f"printer/{name}" for name in names if name.endswith(".gcode")} <= paths
    return names


@pytest.mark.parametrize("name", PRINTERS)
def test_a_file_of_the_printers_own(farm, name):
    printer = farm.printer(name)
    with Moonraker(printer.url) as client:
        make_idle(client)
        before = listed(client)
        shown = next(file for file in before if file.endswith(".gcode"))
        archive = next((file for file in before if file.endswith(".3mf")), None)
        url = f"{printer.url}/server/files/gcodes/printer/"

        content = http("GET", url + quote(archive or shown), seconds=60)
        assert content.ok, content.text
        if archive:
            assert zipfile.ZipFile(io.BytesIO(content.content)).testzip() is None
        else:
            assert b"G28" in content.content

        # It is read for its filaments where slots must feed them.
        client.call("printer.print.start", {"filename": f"printer/{shown}"}, seconds=60)
        wait_for(lambda: client.print_state() == "printing", f"{name} prints it", 60)
        wait_for(lambda: client.query("print_stats")["print_stats"]["print_duration"] >= 0, "print_stats")
        assert client.query("print_stats")["print_stats"]["filename"] == f"printer/{shown}"
        in_use = http("DELETE", url + quote(shown), seconds=60)
        assert in_use.status_code == 403, in_use.text
        client.call("printer.print.cancel", seconds=60)
        wait_for(lambda: client.print_state() == "cancelled", f"{name} cancelled", 60)
        # It was there before the job and stays after it.
        assert listed(client) == before

        # A printer that has just stopped may still hold it.
        wait_for(lambda: http("DELETE", url + quote(shown), seconds=60).ok, "taken off", 30, 1)
        left = wait_for(lambda: shown not in (names := listed(client)) and names is not None and [*names, ""], "deleted", 30)
        assert set(before) - set(left) <= {shown, archive}, (before, left)
        gone = http("DELETE", url + quote(shown), seconds=60)
        assert gone.status_code == 400, gone.text
