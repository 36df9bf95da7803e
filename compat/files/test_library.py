"""The library over HTTP: names, folders, damaged files, a full disk. Each refusal says why, and loses nothing."""

import io
import os
import struct
import subprocess
import tempfile
import unicodedata
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest

from harness import sliced
from harness.single import Gateway, SimulatedPrinter, farm
from harness.moonraker import http
from harness.waiting import wait_for

BOX = sliced.gcode(layers=5, seconds=600)


@pytest.fixture(scope="module")
def lasting():
    with farm("cc1", "files-library") as gateway:
        yield gateway


def error(answer):
    return answer.json()["error"]["message"]


def listed(gateway):
    """What lies on the gateway's disk."""
    paths = {f["path"] for f in gateway.get("/server/files/list?root=gcodes")}
    return {path for path in paths if not path.startswith("printer/")}


def delete(gateway, path):
    return http("DELETE", f"{gateway.url}/server/files/gcodes/{quote(path)}")


NAMES = [
    "plain.gcode", "with space.gcode", "Würfel größe.gcode", "立方体 テスト.gcode", "куб.gcode", "مكعب.gcode", "🧊 ice.gcode",
    "100% #1 & more?.gcode", "it's \"quoted\".gcode", "semi;colon,comma.gcode", "dots..in.name.gcode", "-dash.gcode", "~tilde.gcode",
    "plus+plus.gcode", "UPPER.GCODE", "x" * 249 + ".gcode", "ü" * 124 + ".gcode",
    unicodedata.normalize("NFD", "Zähler.gcode"),
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_goes_all_the_way_round(lasting, name):
    answer = lasting.upload(name, BOX, path="namen")
    assert answer.status_code == 201, answer.text
    path = answer.json()["item"]["path"]
    assert path == f"namen/{name}" or '"' in name
    assert path in listed(lasting)
    download = http("GET", f"{lasting.url}/server/files/gcodes/{quote(path)}")
    assert download.content == BOX
    metadata = lasting.get(f"/server/files/metadata?filename={quote(path)}")
    assert metadata["size"] == len(BOX) and metadata["layer_count"] == 5
    moved = lasting.post(f"/server/files/move?source={quote('gcodes/' + path)}&dest=gcodes/namen/moved.gcode")
    assert moved.ok, moved.text
    back = lasting.post(f"/server/files/move?source=gcodes/namen/moved.gcode&dest={quote('gcodes/' + path)}")
    assert back.ok, back.text
    assert delete(lasting, path).ok
    assert path not in listed(lasting)


def test_the_two_unicode_forms_of_a_name_are_two_files_as_on_the_disk(lasting):
    composed, decomposed = (unicodedata.normalize(form, "Gerät.gcode") for form in ("NFC", "NFD"))
    other = sliced.gcode(layers=9)
    assert lasting.upload(composed, BOX).json()["item"]["path"] == composed
    assert lasting.upload(decomposed, other).json()["item"]["path"] == decomposed
    for name, content in ((composed, BOX), (decomposed, other)):
        assert http("GET", f"{lasting.url}/server/files/gcodes/{quote(name)}").content == content
        assert delete(lasting, name).ok


@pytest.mark.parametrize("name", ["x" * 250 + ".gcode", ".hidden.gcode", "notes.txt", "model.stl", "nul\0.gcode"])
def test_names_that_cannot_be_taken(lasting, name):
    before = listed(lasting)
    answer = lasting.upload(name, BOX)
    assert answer.status_code == 400 and error(answer), answer.text
    assert listed(lasting) == before


@pytest.mark.parametrize("path", ["..", "../..", "a/../../b", "/etc", "printer", ".thumbs", "a/.cache"])
def test_folders_that_cannot_be_taken(lasting, path):
    answer = lasting.upload("box.gcode", BOX, path=path)
    if path == "/etc":
        # As Moonraker: a leading slash means nothing.
        assert answer.json()["item"]["path"] == "etc/box.gcode"
        assert not Path("/etc/box.gcode").exists()
        return
    assert answer.status_code in (400, 403), answer.text
    outside = lasting.library.parent.parent
    assert not [p for p in outside.rglob("box.gcode") if lasting.library not in p.parents]


def test_a_path_in_the_name_of_the_part_is_cut_off(lasting):
    for name in ("../../../evil.gcode", "/abs/evil.gcode", "..\\evil.gcode"):
        answer = lasting.upload(name, BOX)
        assert answer.status_code == 201 and answer.json()["item"]["path"] == "evil.gcode", answer.text


def test_symbolic_links_lead_nowhere(lasting, tmp_path):
    (tmp_path / "secret.gcode").write_bytes(b"G28 ; secret\n")
    os.symlink(tmp_path / "secret.gcode", lasting.library / "link.gcode")
    os.symlink(tmp_path, lasting.library / "linked")
    try:
        for path in ("link.gcode", "linked/secret.gcode"):
            assert http("GET", f"{lasting.url}/server/files/gcodes/{path}").status_code in (403, 404)
        assert lasting.upload("new.gcode", BOX, path="linked").status_code in (400, 403)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["secret.gcode"]
        assert delete(lasting, "linked/secret.gcode").status_code in (400, 403, 404)
        assert (tmp_path / "secret.gcode").exists()
    finally:
        (lasting.library / "link.gcode").unlink()
        (lasting.library / "linked").unlink()


def test_folders(lasting):
    post = lambda call: lasting.post(f"/server/files/{call}")  # noqa: E731
    assert post("directory?path=gcodes/a/b").ok
    assert lasting.upload("one.gcode", BOX, path="a/b").status_code == 201
    assert post("copy?source=gcodes/a/b/one.gcode&dest=gcodes/a/b/two.gcode").ok
    assert {"a/b/one.gcode", "a/b/two.gcode"} <= listed(lasting)
    assert post("move?source=gcodes/a/b&dest=gcodes/moved").ok
    assert {"moved/one.gcode", "moved/two.gcode"} <= listed(lasting) and "a/b/one.gcode" not in listed(lasting)
    assert post("move?source=gcodes/moved&dest=gcodes/a/b").ok
    full = http("DELETE", f"{lasting.url}/server/files/directory?path=gcodes/a")
    assert full.status_code == 400 and "not empty" in error(full).lower(), full.text
    assert http("DELETE", f"{lasting.url}/server/files/directory?path=gcodes/a&force=true").ok
    assert not [p for p in listed(lasting) if p.startswith(("a/", "moved/", "copied/"))]
    inside = post("move?source=gcodes/namen&dest=gcodes/namen/deeper")
    assert inside.status_code == 400, inside.text


def test_a_folder_is_copied(lasting):
    """With what is in it; the copy is printed and deleted on its own."""
    post = lambda call: lasting.post(f"/server/files/{call}")  # noqa: E731
    for name in ("one.gcode", "zwei größe.gcode"):
        assert lasting.upload(name, BOX, path="origin/deep").status_code == 201
    answer = post("copy?source=gcodes/origin&dest=gcodes/copied").json()["result"]
    assert answer["action"] == "create_dir" and answer["item"]["path"] == "copied", answer
    assert {"copied/deep/one.gcode", "copied/deep/zwei größe.gcode"} <= listed(lasting)
    metadata = lasting.get("/server/files/metadata?filename=copied/deep/one.gcode")
    assert metadata["layer_count"] == 5
    assert metadata["uuid"] != lasting.get("/server/files/metadata?filename=origin/deep/one.gcode")["uuid"]
    assert http("DELETE", f"{lasting.url}/server/files/directory?path=gcodes/origin&force=true").ok
    assert http("GET", f"{lasting.url}/server/files/gcodes/copied/deep/one.gcode").content == BOX
    for refused in ("copy?source=gcodes/copied&dest=gcodes/copied/in", "copy?source=gcodes/copied/deep&dest=gcodes/copied",
                    "copy?source=gcodes/nothing&dest=gcodes/x", "copy?source=gcodes/copied&dest=gcodes/printer/x"):
        answer = post(refused)
        assert answer.status_code == 400 and error(answer), answer.text
    assert http("DELETE", f"{lasting.url}/server/files/directory?path=gcodes/copied&force=true").ok


def test_several_timelapses_are_downloaded_as_one_archive(lasting):
    """As Mainsail does: packed into the root of the timelapses, then downloaded from there."""
    assert lasting.upload("packed.gcode", BOX).status_code == 201
    request = {"items": ["gcodes/packed.gcode"], "dest": "timelapse/timelapse-2026.zip"}
    answer = lasting.post("/server/files/zip", json=request)
    assert answer.ok and answer.json()["result"]["destination"]["root"] == "timelapse", answer.text
    content = http("GET", f"{lasting.url}/server/files/timelapse/timelapse-2026.zip").content
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        assert zipped.read("gcodes/packed.gcode") == BOX
    names = [f["path"] for f in lasting.get("/server/files/list?root=timelapse")]
    assert "timelapse-2026.zip" in names
    assert http("DELETE", f"{lasting.url}/server/files/timelapse/timelapse-2026.zip").ok
    assert "timelapse-2026.zip" not in [f["path"] for f in lasting.get("/server/files/list?root=timelapse")]
    for dest in ("timelapse/../x.zip", "timelapse/.zip", "timelapse/a/b.zip", "timelapse/x.mp4"):
        refused = lasting.post("/server/files/zip", json={**request, "dest": dest})
        assert refused.status_code == 400, (dest, refused.text)


def test_refusals_have_the_codes_of_the_real_server(lasting):
    """403 is for what is in use, 404 for what is asked about and not there, 400 for the rest."""
    assert lasting.upload("there.gcode", BOX, path="codes").status_code == 201
    delete_folder = lambda path: http("DELETE", f"{lasting.url}/server/files/directory?path={path}")  # noqa: E731
    for code, answer in (
        (400, lasting.post("/server/files/directory?path=gcodes/codes")),
        (400, delete_folder("gcodes/codes")),
        (400, delete_folder("gcodes/none")),
        (400, delete_folder("gcodes")),
        (400, delete(lasting, "codes/none.gcode")),
        (400, delete(lasting, "codes")),
        (400, lasting.post("/server/files/move?source=gcodes/none.gcode&dest=gcodes/x.gcode")),
        (400, lasting.post("/server/files/copy?source=gcodes/none.gcode&dest=gcodes/x.gcode")),
        (400, lasting.post("/server/files/move?source=nowhere/a.gcode&dest=gcodes/x.gcode")),
        (400, lasting.post("/server/files/move?source=gcodes/codes/there.gcode&dest=logs/x.gcode")),
        (400, http("GET", f"{lasting.url}/server/files/directory?path=gcodes/none")),
        (400, http("GET", f"{lasting.url}/server/files/list?root=none")),
        (404, http("GET", f"{lasting.url}/server/files/metadata?filename=none.gcode")),
        (404, http("GET", f"{lasting.url}/server/files/gcodes/none.gcode")),
        (400, lasting.post("/server/files/directory?path=gcodes/printer/x")),
    ):
        assert answer.status_code == code and error(answer), (code, answer.url, answer.status_code, answer.text)
    assert http("DELETE", f"{lasting.url}/server/files/directory?path=gcodes/codes&force=true").ok


def test_an_upload_replaces_a_file_of_its_name_at_once(lasting):
    other = sliced.gcode(layers=9)
    first = lasting.upload("again.gcode", BOX)
    uuid = lasting.get("/server/files/metadata?filename=again.gcode")["uuid"]
    assert lasting.upload("again.gcode", other).status_code == 201
    metadata = lasting.get("/server/files/metadata?filename=again.gcode")
    assert first.status_code == 201 and metadata["layer_count"] == 9 and metadata["uuid"] != uuid
    assert http("GET", f"{lasting.url}/server/files/gcodes/again.gcode").content == other


def test_what_is_printed_is_not_touched(lasting):
    assert lasting.upload("printing.gcode", BOX, path="job").status_code == 201
    assert lasting.post("/printer/print/start", json={"filename": "job/printing.gcode"}).ok
    lasting.until_phase("printing")
    for answer in (
        lasting.upload("printing.gcode", BOX, path="job"), delete(lasting, "job/printing.gcode"),
        http("DELETE", f"{lasting.url}/server/files/directory?path=gcodes/job&force=true"),
        lasting.post("/server/files/move?source=gcodes/job&dest=gcodes/elsewhere"),
        lasting.post("/server/files/move?source=gcodes/job/printing.gcode&dest=gcodes/x.gcode"),
    ):
        assert answer.status_code == 403 and "is being printed" in error(answer), answer.text
    assert http("GET", f"{lasting.url}/server/files/gcodes/job/printing.gcode").content == BOX
    assert lasting.upload("meanwhile.gcode", BOX).status_code == 201
    assert lasting.post("/printer/print/cancel").ok
    lasting.until_state("cancelled")
    assert delete(lasting, "job/printing.gcode").ok


def changed(archive, name, change):
    """The archive with the stored bytes of one entry changed, its directory left as it was."""
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
        info = zipped.getinfo(name)
    data = bytearray(archive)
    names, extra = struct.unpack("<HH", archive[info.header_offset + 26:info.header_offset + 30])
    start = info.header_offset + 30 + names + extra
    change(data, start, info.compress_size)
    return bytes(data)


def flip(data, start, size):
    data[start + size // 2] ^= 0x55


def bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("Metadata/slice_info.config", "<config/>")
        with zipped.open("Metadata/plate_1.gcode", "w", force_zip64=True) as entry:
            for _ in range(700):
                entry.write(bytes(1 << 20))
    return out.getvalue()


def flip_end(data, start, size):
    data[start + size - 40] ^= 0x55


GOOD = sliced.archive("p1s", seconds=600)
LONG = sliced.archive("p1s", layers=20_000)
DAMAGED = {
    "unsliced": (sliced.archive("p1s", without=("Metadata/plate_",)), "not sliced"),
    "truncated": (GOOD[: len(GOOD) // 2], "truncated"),
    "no zip": (b"PK\3\4 this is nothing", "truncated"),
    "empty": (b"", "empty"),
    "wrong crc": (changed(GOOD, "Metadata/plate_1.gcode", flip), "damaged"),
    "wrong crc far behind the head": (changed(LONG, "Metadata/plate_1.gcode", flip_end), "damaged"),
    "bomb": (bomb(), "refused"),
}


def climbing():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        zipped.writestr("../../evil.gcode", "G28")
        zipped.writestr("Metadata/plate_1.gcode", BOX)
    return out.getvalue()


DAMAGED["climbs"] = (climbing(), "refused")


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_archive_is_refused_with_the_reason_and_the_old_one_stays(lasting, case):
    content, words = DAMAGED[case]
    name = f"good {case}.gcode.3mf"
    assert lasting.upload(name, GOOD).status_code == 201
    resident, _ = lasting.memory()
    lasting.forget_peak()
    answer = lasting.upload(name, content)
    assert answer.status_code in (400, 422), (answer.status_code, answer.text)
    assert words in error(answer), answer.text
    _, peak = lasting.memory()
    assert peak - resident < 48, f"{resident:.0f} -> {peak:.0f} MiB"
    assert http("GET", f"{lasting.url}/server/files/gcodes/{quote(name)}").content == GOOD
    assert not list((lasting.library).rglob("upload-*")), "nothing of it is left"


def test_bodies_that_break_off_leave_nothing(lasting):
    before = listed(lasting)
    for body in (b"", b"--b\r\n", b'--b\r\nContent-Disposition: form-data; name="file"; filename="cut.gcode"\r\n\r\nG28\n',
                 b'--b\r\nContent-Disposition: form-data; name="root"\r\n\r\ngcodes\r\n--b--\r\n'):
        answer = lasting.post("/server/files/upload", data=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert answer.status_code == 400 and error(answer), answer.text
    assert listed(lasting) == before
    wait_for(lambda: not list(lasting.library.rglob("upload-*")), "nothing of it is left", 10)


@pytest.fixture
def small_disk():
    """A gateway whose files lie on a disk of 64 MiB; only root can make one."""
    folder = tempfile.mkdtemp(prefix="moongate-small-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    printer = SimulatedPrinter("cc1", speed=40, label="files-small")
    gateway = Gateway(printer, label="files-small-gateway", folder=folder, settings="min_free_mb = 8")
    try:
        yield gateway.start()
    finally:
        gateway.stop()
        printer.stop()
        subprocess.run(["umount", "-l", folder], check=True)
        os.rmdir(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_said_and_costs_nothing(small_disk):
    gateway = small_disk
    assert gateway.upload("kept.gcode", BOX).status_code == 201
    answer = gateway.upload("much.gcode", b"; filler\n" * (100 << 20 >> 3))
    assert answer.status_code in (413, 507), answer.text
    assert "full" in error(answer), answer.text
    assert listed(gateway) == {"kept.gcode"}
    assert gateway.get("/server/files/directory?path=gcodes")["disk_usage"]["free"] > 40 << 20, "the part is gone"
    # What is there prints on, and what fits is taken again.
    assert gateway.upload("small.gcode", BOX).status_code == 201
    assert gateway.post("/printer/print/start", json={"filename": "kept.gcode"}).ok
    gateway.until_phase("printing")
    # Filled to the last byte by somebody else: reading, steering and the end of the job go on.
    hog = gateway.folder / "hog"
    with open(hog, "wb") as file:
        try:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError:
            pass
    assert gateway.upload("none.gcode", BOX).status_code in (413, 507)
    assert gateway.post("/printer/print/cancel").ok
    gateway.until_state("cancelled")
    hog.unlink()
    assert gateway.upload("after.gcode", BOX).status_code == 201
    assert listed(gateway) == {"kept.gcode", "small.gcode", "after.gcode"}
