"""A printer with many files of its own: its first listing costs no client its connection."""

import hashlib

import pytest

from harness.moonraker import Moonraker, http
from harness.simulated import SimulatedPrinter
from harness.single import Gateway
from harness.waiting import wait_for

# More than any outbox of frames held when each file was told by itself.
FILES = 140
GCODE = b"; a small part\nG28\nG1 X10 Y10\n"


@pytest.fixture(scope="module")
def full():
    printer = SimulatedPrinter("cc1", speed=20, label="full-card")
    try:
        for number in range(FILES):
            put(printer, f"part-{number:03}.gcode")
        with Gateway(printer, label="full-card-gateway") as gateway:
            yield gateway
    finally:
        printer.stop()


def put(printer, name):
    """Uploads a file as the vendor's programs do, past the gateway."""
    host, port = printer.addresses["http"]
    fields = [("Check", "1"), ("S-File-MD5", hashlib.md5(GCODE).hexdigest()), ("Offset", "0"), ("Uuid", "0" * 32),
              ("TotalSize", str(len(GCODE)))]
    form = [(key, (None, value)) for key, value in fields] + [("File", (name, GCODE))]
    answer = http("POST", f"http://{host}:{port}/uploadFile/upload", files=form)
    assert answer.ok and answer.json()["success"], answer.text


def changes(client):
    told = [frame["params"][0] for frame in client.frames if frame.get("method") == "notify_filelist_changed"]
    return [(change["action"], change["item"]["path"]) for change in told]


def test_a_full_card_is_one_change_for_everybody(full):
    with Moonraker(full.url) as watching, Moonraker(full.url) as asking:
        watching.call("server.info")
        listed = asking.call("server.files.get_directory", {"path": "gcodes/printer"}, seconds=60)["files"]
        assert sum(file["filename"].startswith("part-") for file in listed) == FILES
        anew = [("delete_dir", "printer"), ("create_dir", "printer")]
        for client in (watching, asking):
            wait_for(lambda: len(changes(client)) >= 2, "told of it", 15)
            assert client.call("server.info")["klippy_state"] == "ready"
            assert changes(client) == anew and not client.closed


def test_everything_asked_for_at_once_is_answered(full):
    """KlipperScreen asks for what is known of each file as soon as it has the list."""
    with Moonraker(full.url) as client:
        client.subscribe({"heater_bed": None, "extruder": None})
        paths = [file["path"] for file in client.call("server.files.list", {"root": "gcodes"}, seconds=60)]
        assert len(paths) >= FILES
        asked = [client.send_later("server.files.metadata", {"filename": path}) for path in paths]
        for identifier, path in zip(asked, paths):
            assert client.answer(identifier, 60)["result"]["filename"] == path
        assert not client.closed
