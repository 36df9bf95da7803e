"""A state directory that takes no more: full, or read-only. Every write is told, nothing is lost, all goes on when it
takes again.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness.farm import Farm
from harness.moonraker import RpcError, http
from harness.waiting import wait_for

MIB = 1 << 20


def run(*command):
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    return subprocess.run([*root, *command], capture_output=True, text=True, check=True)


class Disk:
    """A small file system of its own."""

    def __init__(self, mebibytes=48):
        self.path = Path(tempfile.mkdtemp(prefix="moongate-disk-"))
        run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=1777", "moongate", str(self.path))

    def fill(self):
        """Takes all that is free, to the last page."""
        with open(self.path / "ballast", "ab", buffering=0) as ballast:
            for size in (MIB, 4096):
                try:
                    while True:
                        ballast.write(b"\0" * size)
                except OSError:
                    pass

    def empty(self):
        (self.path / "ballast").unlink(missing_ok=True)

    def read_only(self, on):
        run("mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.path))

    def close(self):
        run("umount", "-l", str(self.path))
        shutil.rmtree(self.path, ignore_errors=True)


@pytest.fixture(scope="module")
def place():
    """A farm on a disk of its own."""
    disk = Disk()
    farm = None
    try:
        farm = Farm(("cc1", "p1s"), label="disk", state=disk.path / "state", gateway="min_free_mb = 0")
        yield disk, farm.start()
    finally:
        if farm:
            farm.remove()
        disk.close()


class Troubled:
    """Makes the disk refuse, in either way, and good again."""

    def __init__(self, disk, way):
        self.disk, self.way = disk, way

    def __enter__(self):
        # A file system with files open for writing cannot be made read-only by force: the database is one.
        self.disk.fill() if self.way == "full" else self.freeze(True)

    def __exit__(self, *_):
        self.disk.empty() if self.way == "full" else self.freeze(False)

    def freeze(self, on):
        """No file can be made, and none that exists can be changed, by anybody."""
        flag = "+i" if on else "-i"
        for folder in [self.disk.path / "state", *(self.disk.path / "state").rglob("*")]:
            subprocess.run(["chattr", flag, str(folder)], capture_output=True, check=False)


def upload(printer, name, content, **form):
    return http("POST", f"{printer.url}/server/files/upload", 60, data={"root": "gcodes", **form},
                files={"file": (name, content)})


def write_everything(printer):
    """Every request that writes; the answers by name."""
    def call(method, params=None):
        with printer.moonraker() as client:
            try:
                return client.call(method, params, 60)
            except RpcError as error:
                return error
    return {
        "upload": upload(printer, "big.gcode", b"G1 X1\n" * 400_000),
        "overwrite": upload(printer, "kept.gcode", b"G1 X2\n" * 400_000),
        "folder": call("server.files.post_directory", {"path": "gcodes/gone-folder"}),
        "database": call("server.database.post_item", {"namespace": "trust", "key": "during", "value": "x" * 50_000}),
        "user": call("access.post_user", {"username": "gone", "password": "secret"}),
        "key": call("access.get_api_key"),
        "queue": call("server.job_queue.post_job", {"filenames": ["kept.gcode"]}),
        "webcam": call("server.webcams.post_item", {
            "name": "gone", "service": "mjpegstreamer", "stream_url": "/x", "snapshot_url": "/y"}),
    }


def test_full_disk(place):
    disk, farm = place
    printer = farm["cc1"]
    assert upload(printer, "kept.gcode", b"G28\n").status_code == 201
    with printer.moonraker() as client:
        client.call("server.database.post_item", {"namespace": "trust", "key": "before", "value": 1})
    files = printer.files()
    with Troubled(disk, "full"):
        answers = write_everything(printer)
        for name in ("upload", "overwrite"):
            answer = answers[name]
            assert answer.status_code in (413, 500, 507), answer.text
            assert "space" in answer.text.lower() or "full" in answer.text.lower(), answer.text
        assert isinstance(answers["database"], RpcError) and "space" in str(answers["database"]).lower(), answers
        assert printer.files() == files, "no half file"
        old = http("GET", f"{printer.url}/server/files/gcodes/kept.gcode")
        assert old.content == b"G28\n", "the old file stays whole"
        assert printer.ready() and farm.alive()
        # Steering needs no disk.
        with printer.moonraker() as client:
            client.gcode("SET_HEATER_TEMPERATURE HEATER=extruder TARGET=0")
    assert printer.ready()
    assert upload(printer, "after.gcode", b"G28\n").status_code == 201
    with printer.moonraker() as client:
        client.call("server.database.post_item", {"namespace": "trust", "key": "after", "value": 2})
        client.call("server.job_queue.delete_job", {"all": True})
    farm.kill()
    farm.start()
    with printer.moonraker() as client:
        kept = client.call("server.database.get_item", {"namespace": "trust"})["value"]
    assert (kept["before"], kept["after"]) == (1, 2), kept
    assert printer.files() >= files | {"after.gcode"}


def test_print_while_full(place):
    """A print that ends while nothing can be written is in the history all the same."""
    disk, farm = place
    printer = farm["p1s"]
    before = {job["job_id"] for job in printer.history()}
    printer.start_print()
    printer.until_printing()
    with Troubled(disk, "full"):
        wait_for(lambda: printer.print_state() == "complete", "it ends", 180)
        assert farm.alive() and printer.ready()
    with printer.moonraker() as client:
        # The first write that works brings what waited.
        client.call("server.database.post_item", {"namespace": "trust", "key": "poke", "value": 1}, 30)
    farm.kill()
    farm.start()
    fresh = [job for job in printer.history() if job["job_id"] not in before]
    assert [job["status"] for job in fresh] == ["completed"], fresh


def test_start_refused_while_full(place):
    """A print that could not be remembered is not started, or started once and remembered."""
    disk, farm = place
    printer = farm["cc1"]
    wait_for(lambda: printer.print_state() != "printing", "idle", 60)
    starts, before = printer.begun(), len(printer.history())
    with Troubled(disk, "full"):
        with printer.moonraker() as client:
            try:
                client.call("printer.print.start", {"filename": "cube.gcode"}, 60)
                started = True
            except RpcError as error:
                started = False
                assert "space" in str(error).lower() or "disk" in str(error).lower(), error
    if started:
        wait_for(lambda: printer.print_state() == "complete", "it ends", 180)
        assert (printer.begun(), len(printer.history())) == (starts + 1, before + 1)
    else:
        assert printer.begun() == starts


def test_read_only_state(place):
    """Nothing below the state directory can be changed: told at every write, and nothing is damaged."""
    disk, farm = place
    printer = farm["cc1"]
    files = printer.files()
    with Troubled(disk, "read-only"):
        answers = write_everything(printer)
        for name in ("upload", "overwrite"):
            assert answers[name].status_code >= 400, answers[name].text
            assert "traceback" not in answers[name].text or len(answers[name].text) < 4000
        assert isinstance(answers["folder"], RpcError), answers["folder"]
        assert printer.files() == files
        assert printer.ready() and farm.alive()
    assert upload(printer, "writable.gcode", b"G28\n").status_code == 201


def test_start_on_a_disk_that_takes_nothing(place):
    """The gateway starts or says why not; what is stored stays."""
    disk, farm = place
    printer = farm["cc1"]
    history = {job["job_id"] for job in printer.history()}
    for way in ("full", "read-only"):
        farm.terminate()
        with Troubled(disk, way):
            farm.start(online=False)
            def verdict():
                if not farm.alive():
                    return "ended"
                return "up" if http("GET", f"{farm.own_url}/readyz").ok else None
            if wait_for(verdict, "it starts or ends", 30) == "ended":
                assert farm.exit_code == 69
                said = farm.log.read_text(errors="replace").strip().splitlines()[-1]
                assert "state" in said, said
            else:
                wait_for(printer.ready, "online", 60)
                assert {job["job_id"] for job in printer.history()} == history
                farm.terminate()
        farm.start()
        assert {job["job_id"] for job in printer.history()} == history


def test_a_reserve_is_kept(place):
    """Uploads end before the disk is full."""
    disk, farm = place
    farm.gateway = "min_free_mb = 200"
    farm.restart()
    answer = upload(farm["cc1"], "refused.gcode", b"G28\n")
    assert answer.status_code in (413, 500, 507) and "200" in answer.text, answer.text
    farm.gateway = "min_free_mb = 0"
    farm.restart()
    assert json.loads(upload(farm["cc1"], "taken.gcode", b"G28\n").text)["item"]["path"] == "taken.gcode"
