"""Files on the printer's own storage through Moonraker: listed, renamed, moved, put into folders, deleted."""

import pytest

from harness.demo import Demo
from harness.moonraker import Moonraker, RpcError


@pytest.fixture(scope="module")
def farm():
    with Demo(20, "printer-files", printers=["p1s", "cc1"], lifetime=300) as demo:
        yield demo


def names(client, folder):
    listing = client.call("server.files.get_directory", {"path": folder}, seconds=60)
    return {entry["dirname"] for entry in listing["dirs"]} | {entry["filename"] for entry in listing["files"]}


def test_files_of_a_bambu_printer_are_arranged(farm):
    with Moonraker(farm.printer("p1s").url) as client:
        assert "cube.gcode.3mf" in names(client, "gcodes/printer")
        client.call("server.files.post_directory", {"path": "gcodes/printer/parts"}, seconds=60)
        client.call("server.files.move", {"source": "gcodes/printer/cube.gcode.3mf",
                                          "dest": "gcodes/printer/parts/box.gcode.3mf"}, seconds=60)
        assert {"box.gcode.3mf", "box.gcode"} <= names(client, "gcodes/printer/parts")
        assert "cube.gcode.3mf" not in names(client, "gcodes/printer")
        with pytest.raises(RpcError, match="not empty"):
            client.call("server.files.delete_directory", {"path": "gcodes/printer/parts", "force": True}, seconds=60)
        # By the name under which its plate can be printed, and back into the root.
        client.call("server.files.move", {"source": "gcodes/printer/parts/box.gcode", "dest": "gcodes/printer/cube.gcode"},
                    seconds=60)
        assert "cube.gcode.3mf" in names(client, "gcodes/printer")
        client.call("server.files.delete_directory", {"path": "gcodes/printer/parts"}, seconds=60)
        assert "parts" not in names(client, "gcodes/printer")
        with pytest.raises(RpcError, match="do not move between"):
            client.call("server.files.move", {"source": "gcodes/cube.gcode.3mf", "dest": "gcodes/printer/x.gcode.3mf"})
    truth = farm.printer("p1s").simulator().truth()
    truth = truth.get("truth", truth)
    assert truth["connections"]["ftps"]["peak"] == 1, "one session at a time"


def test_a_printer_that_cannot_says_so(farm):
    with Moonraker(farm.printer("cc1").url) as client:
        names(client, "gcodes/printer")
        with pytest.raises(RpcError, match="does not arrange"):
            client.call("server.files.post_directory", {"path": "gcodes/printer/parts"}, seconds=60)
