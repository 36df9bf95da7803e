"""Webcam entries, timelapses and health, as front ends, scripts and the command line see them."""

import io
import os
import subprocess
import zipfile

import pytest
import requests

from harness.demo import binary
from harness.moonraker import Moonraker, RpcError, make_idle
from harness.waiting import wait_for


@pytest.fixture
def client(farm):
    with Moonraker(farm.printer("h2d").url) as opened:
        opened.identify()
        yield opened


def entries(client):
    return {entry["name"]: entry for entry in client.call("server.webcams.list")["webcams"]}


def test_entries_appear_with_type_and_addresses(camera):
    with Moonraker(camera.url) as client:
        known = entries(client)
    own = known["camera"]
    service = "hlsstream" if camera.name == "h2d" else "mjpegstreamer-adaptive"
    assert (own["service"], own["enabled"], own["rotation"], own["aspect_ratio"]) == (service, True, 0, "16:9")
    for field in ("stream_url", "snapshot_url"):
        assert own[field].startswith(camera.url + "/webcam/")
    assert requests.get(own["snapshot_url"], timeout=40).headers["content-type"] == "image/jpeg"
    assert ("camera-mjpeg" in known) == (camera.name == "h2d")


def test_users_change_remove_and_add_entries(client, farm):
    own = entries(client)["camera"]
    changed = client.call("server.webcams.post_item", {**own, "rotation": 180, "name": "bed"})["webcam"]
    assert (changed["rotation"], changed["uid"]) == (180, own["uid"])
    told = client.next_notification("notify_webcams_changed")["params"][0]["webcams"]
    assert "bed" in {entry["name"] for entry in told}
    # Its addresses still follow the caller, below the gateway's own port too.
    there = f"http://localhost:{farm.gateway_port}/printers/h2d"
    listed = requests.get(f"{there}/server/webcams/list", timeout=10).json()["result"]["webcams"]
    bed = next(entry for entry in listed if entry["name"] == "bed")
    assert bed["stream_url"] == f"{there}/webcam/hls/index.m3u8" and bed["rotation"] == 180
    outside = {"name": "outside", "stream_url": "http://192.0.2.1/s", "snapshot_url": "", "service": "ipstream"}
    added = client.call("server.webcams.post_item", outside)["webcam"]
    assert entries(client)["outside"]["stream_url"] == "http://192.0.2.1/s"
    with pytest.raises(RpcError):
        client.call("server.webcams.post_item", {"uid": added["uid"], "name": "bed"})
    with pytest.raises(RpcError):
        client.call("server.webcams.post_item", {"uid": added["uid"], "rotation": 45})
    client.call("server.webcams.delete_item", {"uid": added["uid"]})
    client.call("server.webcams.delete_item", {"uid": own["uid"]})
    assert set(entries(client)) == {"camera-mjpeg"}
    client.call("server.webcams.post_item", {"name": "camera"})
    assert entries(client)["camera"] == own


def test_a_job_is_recorded_layer_by_layer(farm, tmp_path):
    printer = farm.printer("cc1")
    with Moonraker(printer.url, seconds=60) as client:
        make_idle(client)
        client.identify()
        info = client.call("server.info")
        # Mainsail's page lists what is registered.
        assert "timelapse" in info["components"] and "timelapse" in info["registered_directories"]
        settings = client.call("machine.timelapse.get_settings")
        assert settings["enabled"] is True and settings["autorender"] is True
        client.call("printer.print.start", {"filename": "cube.gcode"})
        client.next_notification("notify_timelapse_event", 120, lambda p: p[0]["action"] == "newframe")
        done = client.next_notification(
            "notify_timelapse_event", 240, lambda p: p[0].get("status") in ("success", "error")
            and p[0]["action"] == "render")["params"][0]
        assert done["status"] == "success", done
        listed = client.call("server.files.get_directory", {"path": "timelapse", "extended": True})["files"]
        names = {file["filename"] for file in listed}
        title = done["filename"].removesuffix(".mp4")
        assert {f"{title}.zip", f"{title}.mp4", f"{title}.jpg"} <= names and title.startswith("cube_")
        job = client.call("server.history.list")["jobs"][0]["job_id"]
        assert title.endswith(job)
        last = client.call("machine.timelapse.lastframeinfo")
    base = f"{printer.url}/server/files"
    assert requests.get(f"{base}/timelapse_frames/{last['lastframefile']}", timeout=20).content[:2] == b"\xff\xd8"
    # Fluidd counts the pictures by itself.
    for number, status in ((1, 200), (last["framecount"], 200), (last["framecount"] + 1, 404), (0, 404)):
        assert requests.get(f"{base}/timelapse_frames/frame{number:06}.jpg", timeout=20).status_code == status
    with zipfile.ZipFile(io.BytesIO(requests.get(f"{base}/timelapse/{title}.zip", timeout=30).content)) as archive:
        assert archive.testzip() is None and len(archive.namelist()) == last["framecount"] > 1
    # The same by the command line.
    env = {**os.environ, "XDG_RUNTIME_DIR": farm.runtime}
    command = [binary(), "timelapse", "cc1", "--gateway", f"http://127.0.0.1:{farm.gateway_port}"]
    assert f"{title}.zip" in subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    video = tmp_path / "video.mp4"
    subprocess.run([*command, f"{title}.mp4", "--output", video], env=env, check=True, capture_output=True)
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,nb_frames", "-of", "csv=p=0", video]
    shown = subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip()
    assert shown == f"h264,640,{last['framecount']}"
    with Moonraker(printer.url) as client:
        client.call("server.files.delete_file", {"path": f"timelapse/{title}.zip"})
        assert not client.call("server.files.list", {"root": "timelapse"})


def test_the_printers_own_videos_are_listed_and_fetched(farm):
    printer = farm.printer("p1s")
    with Moonraker(printer.url, seconds=90) as client:
        listed = client.call("server.files.get_directory", {"path": "timelapse/printer"})["files"]
    names = [file["filename"] for file in listed]
    assert names, "the simulated card holds a video"
    url = f"{printer.url}/server/files/timelapse/printer/{names[0]}"
    assert requests.get(url, timeout=60).content == b"not really a video\n" * 100


def test_health_is_told_everywhere(farm):
    gateway, printer = f"http://127.0.0.1:{farm.gateway_port}", farm.printer("cc2")

    def health():
        listed = requests.get(f"{gateway}/status", timeout=20).json()["printers"]
        return next(entry for entry in listed if entry["name"] == "cc2")["camera_health"]
    with requests.get(f"{printer.url}/webcam/?action=stream", stream=True, timeout=40) as stream:
        next(stream.iter_content(1024))
        seen = wait_for(lambda: (seen := health())["fps"] > 3 and seen, "a rate", 40)
        assert seen["open"] and seen["viewers"] == 1 and seen["last_frame_age"] < 5 and seen["reason"] is None
        metrics = requests.get(f"{gateway}/metrics", timeout=20).text
        assert 'moongate_camera_viewers{printer="cc2",kind="elegoo_cc2"} 1' in metrics
        printer.simulator().fault("camera", how="closed")
        try:
            dark = wait_for(lambda: (seen := health())["reason"] and seen, "dark", 40)
            assert dark["phase"] in ("opening", "waiting", "closed")
        finally:
            printer.simulator().fault("camera", how="none")
        wait_for(lambda: health()["reason"] is None and health()["open"], "bright again", 120)
