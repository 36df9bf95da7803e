"""What slicers send (fixtures/slicers), byte for byte over a raw socket, as far as the print."""

import json
import socket
from pathlib import Path

import pytest

from harness import sliced
from harness.waiting import wait_for

REQUESTS = Path(__file__).resolve().parents[2] / "fixtures" / "slicers"


def replay(gateway, name, pieces=1, pause_for_continue=True, key=None, more=b""):
    """Sends a recorded request as it is, except for its key and `more` headers; returns (status, headers, body) of the
    answer."""
    data = (REQUESTS / f"{name}.http").read_bytes()
    if key:
        data = data.replace(b"0123456789abcdef" * 2, key.encode())
    head, separator, body = data.partition(b"\r\n\r\n")
    head += more
    with socket.create_connection(("127.0.0.1", gateway.moonraker_port), timeout=60) as connection:
        connection.sendall(head + separator)
        received = b""
        if b"expect: 100-continue" in head.lower() and pause_for_continue:
            received = connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 100"), received
            received = received.partition(b"\r\n\r\n")[2]
        size = max(1, -(-len(body) // pieces))
        for at in range(0, len(body), size):
            connection.sendall(body[at:at + size])
        while b"\r\n\r\n" not in received or received.startswith(b"HTTP/1.1 100"):
            if received.startswith(b"HTTP/1.1 100") and b"\r\n\r\n" in received:
                received = received.partition(b"\r\n\r\n")[2]
                continue
            more = connection.recv(65536)
            assert more, "closed without an answer"
            received += more
        answer, _, rest = received.partition(b"\r\n\r\n")
        lines = answer.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        while len(rest) < int(headers.get("content-length", 0)):
            rest += connection.recv(65536)
    return int(lines[0].split()[1]), headers, rest


def uploaded(gateway, name, **options):
    """A replayed upload that was taken: its answer in both shapes."""
    status, headers, body = replay(gateway, name, **options)
    assert status == 201, (name, status, body)
    answer = json.loads(body)
    assert answer["action"] == "create_file" and answer["item"] == answer["result"]["item"], answer
    assert headers["location"]
    return answer


def printed(gateway, starts_before):
    """The one print that an upload began is seen at the printer, and is ended."""
    wait_for(lambda: gateway.printer.starts() == starts_before + 1, "one start", 60)
    gateway.until_state("printing")
    at_rest(gateway)
    assert gateway.printer.starts() == starts_before + 1


def at_rest(gateway):
    if gateway.print_state() in ("printing", "paused"):
        assert gateway.post("/printer/print/cancel").ok
    gateway.until_state("standby", "cancelled", "complete", "error")


TESTS = [path.stem for path in sorted(REQUESTS.glob("*-test.http"))]
UPLOADS = [path.stem for path in sorted(REQUESTS.glob("*-upload*.http"))
           if "-print" not in path.stem and "-key" not in path.stem]
PRINTS = [path.stem for path in sorted(REQUESTS.glob("*-upload-print*.http"))]


def test_the_fixtures_are_there():
    assert len(TESTS) == 8 and len(UPLOADS) >= 8 and len(PRINTS) >= 10


@pytest.mark.parametrize("name", TESTS)
def test_the_test_button(lasting, name):
    status, _, body = replay(lasting, name)
    assert status == 200
    answer = json.loads(body)
    if "octoprint" in name and "cura" not in name:
        assert answer["api"] and answer["text"].startswith("OctoPrint")
    elif name == "cura-octoprint-test":
        assert answer["feature"]["sdSupport"] is not None and "webcam" in answer
    elif name == "cura-moonraker-test":
        assert answer["result"]["state"] == "ready"
    else:
        # PrusaSlicer's parser wants the result to be the first key.
        assert body.startswith(b'{"result"')
        assert answer["result"]["klippy_state"] == "ready" and answer["result"]["moonraker_version"]


def test_orcaslicer_finds_where_it_may_write(lasting):
    roots = json.loads(replay(lasting, "orcaslicer-moonraker-roots")[2])["result"]
    assert "gcodes" in [root["name"] for root in roots if "w" in root["permissions"]]


@pytest.mark.parametrize("name", UPLOADS)
@pytest.mark.parametrize("pieces", [1, 97])
def test_an_upload_arrives_whole(lasting, name, pieces):
    item = uploaded(lasting, name, pieces=pieces)["item"]
    sent = (REQUESTS / f"{name}.http").read_bytes()
    expected = {"big.gcode": None, "box.gcode": sliced.gcode(layers=12, seconds=60, note="a box"), "cube.gcode.3mf": None}
    stored = (lasting.library / item["path"]).read_bytes()
    assert item["path"] in expected and len(stored) == item["size"]
    assert stored in sent, "the bytes of the file are the bytes of the part"
    if expected[item["path"]]:
        assert stored == expected[item["path"]]
    assert lasting.print_state() != "printing"


def test_the_api_key_header(lasting):
    """As with Moonraker a wrong key is refused even where none is needed."""
    name = "prusaslicer-octoprint-upload-with-key"
    status, _, body = replay(lasting, name)
    assert status == 401 and b"API Key" in body
    uploaded(lasting, name, key=lasting.get("/access/api_key"))


def test_orcaslicers_headers_about_itself(lasting):
    """With Bambu's network plug-in it adds them to every request."""
    names = ["Client-Name", "Client-Type", "Client-Version", "Device-ID", "Language", "OS-Type", "OS-Version"]
    more = "".join(f"\r\nX-BBL-{name}: x" for name in names).encode()
    assert replay(lasting, "orcaslicer-moonraker-test", more=more)[0] == 200
    uploaded(lasting, "orcaslicer-octoprint-upload", more=more)


def test_a_client_that_does_not_wait_for_100_continue(lasting):
    uploaded(lasting, "prusaslicer-octoprint-upload-big", pause_for_continue=False)


@pytest.mark.parametrize("name", PRINTS)
def test_upload_and_print(lasting, name):
    at_rest(lasting)
    before = lasting.printer.starts()
    answer = uploaded(lasting, name)
    assert answer["print_started"] is True and answer["print_queued"] is False, answer
    assert answer["result"]["print_started"] is True
    folder = "teile/größe 2/" if name.endswith("octoprint-upload-print-folder") else "teile/" if (
        "folder" in name or name.startswith("cura") and "octoprint" in name) else ""
    file = "Würfel 20%.gcode" if "octoprint-upload-print-folder" in name else "cube.gcode.3mf" if "plate" in name else "box.gcode"
    assert answer["item"]["path"] == folder + file
    stats = wait_for(lambda: lasting.query("print_stats")["print_stats"], "print_stats")
    assert stats["filename"].startswith((folder + file).removesuffix(".3mf").removesuffix(".gcode")), stats
    if "plate" in name:
        assert lasting.history()[0]["filename"] == "cube_plate_2.gcode"
    printed(lasting, before)


def test_orcaslicer_starts_the_plate_it_named_at_the_upload(lasting):
    """The start names the archive only (OrcaSlicer #15348)."""
    at_rest(lasting)
    before = lasting.printer.starts()
    uploaded(lasting, "orcaslicer-moonraker-upload-plate-2")
    status, _, body = replay(lasting, "orcaslicer-moonraker-start")
    assert status == 200, body
    wait_for(lambda: lasting.query("print_stats")["print_stats"]["filename"] == "cube_plate_2.gcode", "plate 2", 20)
    printed(lasting, before)


def test_a_slicer_that_starts_what_its_upload_has_started_gets_one_print(lasting):
    """OrcaSlicer #15032."""
    at_rest(lasting)
    before = lasting.printer.starts()
    uploaded(lasting, "orcaslicer-moonraker-upload-print-plate-2")
    for _ in range(2):
        status, _, body = replay(lasting, "orcaslicer-moonraker-start")
        assert status == 200, body
    printed(lasting, before)


def test_a_package_of_cura_tells_its_material(lasting):
    """As Cura 4.13 packs a print with one material; its G-code does not say which."""
    import io
    import zipfile

    header = ";FLAVOR:Marlin\n;TIME:60\n;Filament used: 0.5m\n;MAXX:20\n;Generated with Cura_SteamEngine 4.13.0\n"
    profile = ('<?xml version="1.0" encoding="utf-8"?><fdmmaterial xmlns="http://www.ultimaker.com/material" version="1.3">'
               "<metadata><name><brand>Generic</brand><material>PLA</material><color>Generic</color></name></metadata>"
               "</fdmmaterial>")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("/3D/model.gcode", header + "G28\n;LAYER_COUNT:1\n;LAYER:0\nG1 X10 Y10 Z0.2 F600\n")
        archive.writestr("/Materials/generic_pla.xml.fdm_material", profile)
    assert lasting.upload("packed.ufp", packed.getvalue()).status_code == 201
    assert lasting.get("/server/files/metadata?filename=packed.gcode")["filament_type"] == "PLA"


def test_a_wrong_checksum_is_refused_and_a_right_one_taken(lasting):
    import hashlib

    content = sliced.gcode(note="checked")
    wrong = lasting.upload("checked.gcode", content, checksum="0" * 64)
    assert wrong.status_code == 422 and "SHA-256" in wrong.text
    assert not (lasting.library / "checked.gcode").exists()
    assert lasting.upload("checked.gcode", content, checksum=hashlib.sha256(content).hexdigest()).status_code == 201


def test_a_print_that_is_refused_keeps_the_file_and_says_why(lasting):
    """Never 403 for an upload that arrived (OrcaSlicer #13056); the reason is what the slicer's own start then shows."""
    at_rest(lasting)
    archive = sliced.archive("p1s", code="NO-SUCH-PRINTER")
    answer = lasting.upload("alien.gcode.3mf", archive, print="true")
    assert answer.status_code == 201
    if lasting.printer.kind != "bambu":
        at_rest(lasting)
        return
    assert answer.json()["print_started"] is False
    refused = lasting.post("/printer/print/start", json={"filename": "alien.gcode.3mf"})
    assert refused.status_code == 400 and "NO-SUCH-PRINTER" in refused.json()["error"]["message"], refused.text


def test_what_prusaslicer_itself_sent(lasting):
    """Captured from its window: the test button without and with a key, an upload, and one into a folder to be printed."""
    at_rest(lasting)
    status, _, body = replay(lasting, "captured/prusaslicer-octoprint-test")
    assert status == 200 and json.loads(body)["text"].startswith("OctoPrint")
    name = "captured/prusaslicer-octoprint-test-with-key"
    assert replay(lasting, name)[0] == 401
    assert replay(lasting, name, key=lasting.get("/access/api_key"))[0] == 200
    name = "captured/prusaslicer-octoprint-upload"
    item = uploaded(lasting, name)["item"]
    stored = (lasting.library / item["path"]).read_bytes()
    assert item["path"] == "box.gcode" and stored in (REQUESTS / f"{name}.http").read_bytes()
    metadata = lasting.get("/server/files/metadata?filename=box.gcode")
    assert (metadata["slicer"], metadata["slicer_version"]) == ("PrusaSlicer", "2.5.0")
    assert lasting.print_state() != "printing"
    before = lasting.printer.starts()
    answer = uploaded(lasting, "captured/prusaslicer-octoprint-upload-print-folder")
    assert answer["item"]["path"] == "teile/box 20%.gcode" and answer["print_started"] is True, answer
    printed(lasting, before)
