"""Recorders read every kind of camera over RTSP: ffmpeg, ffprobe, GStreamer."""

import json
import subprocess
import threading

import pytest

from harness import process
from harness.household import Household
from harness.moonraker import http
from harness.waiting import wait_for
from test_viewers import SIZES, run

CODECS = {"p1s": "mjpeg", "h2d": "h264", "cc1": "mjpeg", "cc2": "mjpeg"}

# Counts pictures until there are enough, and tells codec, size and the longest step between two of them.
GSTREAMER = """
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst, GLib
Gst.init(None)
depay = {"h264": "rtph264depay", "mjpeg": "rtpjpegdepay ! jpegdec"}[sys.argv[2]]
pipe = Gst.parse_launch(f"rtspsrc location={sys.argv[1]} latency=200 ! {depay} ! fakesink name=end signal-handoffs=true")
loop, seen = GLib.MainLoop(), []
def shown(_sink, buffer, pad):
    seen.append((buffer.pts, pad.get_current_caps().to_string()))
    if len(seen) == 6: loop.quit()
pipe.get_by_name("end").connect("handoff", shown)
def told(_bus, message):
    if message.type == Gst.MessageType.ERROR: print(message.parse_error(), file=sys.stderr); loop.quit()
bus = pipe.get_bus(); bus.add_signal_watch(); bus.connect("message", told)
GLib.timeout_add_seconds(60, loop.quit)
pipe.set_state(Gst.State.PLAYING); loop.run(); pipe.set_state(Gst.State.NULL)
times = [at for at, _ in seen]
print(len(seen), times == sorted(set(times)), seen[-1][1] if seen else "nothing")
"""


@pytest.fixture
def url(farm, camera):
    return f"rtsp://127.0.0.1:{farm.rtsp_port}/{camera.name}"


def frame_sums(url, count, *options):
    command = ["ffmpeg", "-v", "error", *options, "-i", url, "-frames:v", count, "-f", "framemd5", "-"]
    lines = run(*command, seconds=90).decode().splitlines()
    return [line.rsplit(", ", 1)[1] for line in lines if not line.startswith("#")]


def test_ffprobe_tells_what_it_is(camera, url):
    shown = json.loads(run("ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_streams", "-of", "json", url))
    assert [stream["codec_name"] for stream in shown["streams"]] == [CODECS[camera.name]]
    size = (shown["streams"][0]["width"], shown["streams"][0]["height"])
    assert size == SIZES[camera.name]


def test_ffmpeg_sees_moving_pictures_over_tcp_and_by_its_own_choice(url):
    # By itself it asks for UDP first, is told 461 and takes TCP.
    for options in (["-rtsp_transport", "tcp"], []):
        sums = frame_sums(url, 4, *options)
        assert len(sums) == 4 and len(set(sums)) > 1, options


def test_a_recorder_keeps_the_video_as_it_comes(farm, tmp_path):
    """What Frigate does: copied into segments, without decoding."""
    run("ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-use_wallclock_as_timestamps", 1, "-i",
        f"rtsp://127.0.0.1:{farm.rtsp_port}/h2d", "-c", "copy", "-t", 9, "-f", "segment", "-segment_time", 3,
        "-reset_timestamps", 1, tmp_path / "%d.mp4", seconds=60)
    counts = []
    for part in sorted(tmp_path.glob("*.mp4")):
        lines = run("ffmpeg", "-v", "error", "-i", part, "-f", "framemd5", "-").decode().splitlines()
        counts.append(len({line.rsplit(", ", 1)[1] for line in lines if not line.startswith("#")}))
    assert len(counts) >= 2 and all(count > 3 for count in counts), counts


def test_gstreamer_puts_the_pictures_together(camera, url):
    # Debian's Python has GStreamer; the suite's own has not.
    done = run("/usr/bin/python3", "-c", GSTREAMER, url, CODECS[camera.name], seconds=90).decode().split(" ", 2)
    assert done[:2] == ["6", "True"], done
    assert ("video/x-h264" if camera.name == "h2d" else "video/x-raw") in done[2], done


def test_recorders_and_browsers_share_one_connection(farm, camera, url):
    failed = []

    def look(command):
        try:
            run(*command, seconds=120)
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)
    record = ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-frames:v", 3, "-f", "null", "-"]
    snapshot = ["curl", "-sf", "--max-time", 60, "-o", "/dev/null", f"{camera.url}/webcam/?action=snapshot"]
    viewers = [threading.Thread(target=look, args=(command,), daemon=True) for command in [record] * 6 + [snapshot] * 4]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(120)
    assert not failed, failed[0]
    assert camera.simulator().truth()["connections"]["camera"]["peak"] == 1


def test_a_login_is_asked_for_where_all_must_log_in():
    port = process.free_port()
    access = f'force_logins = true\n[rtsp]\nlisten = "127.0.0.1:{port}"\n'
    with Household(["cc1"], label="rtsp-login", access=access) as house:
        made = http("POST", f"{house.printer('cc1').url}/access/user", json={"username": "rec", "password": "p@ss:1"})
        assert made.ok, made.text
        for login, passes in (("", False), ("rec:wrong@", False), ("rec:p%40ss:1@", True)):
            command = ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", f"rtsp://{login}127.0.0.1:{port}/cc1",
                       "-frames:v", "1", "-f", "null", "-"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode == 0) == passes, (login, done.stderr)
            assert passes or "401 Unauthorized" in done.stderr, done.stderr


def test_a_dark_camera_is_told_and_comes_back(farm):
    camera = farm.printer("cc1")
    url = f"rtsp://127.0.0.1:{farm.rtsp_port}/cc1"
    camera.simulator().fault("camera", how="refuse")
    told = []

    def dark():
        done = subprocess.run(["ffprobe", "-v", "error", "-rtsp_transport", "tcp", url], capture_output=True,
                              text=True, timeout=60, check=False)
        told.append(done.stderr)
        return done.returncode != 0
    try:
        # What was shown a moment ago is replayed at first.
        wait_for(dark, "the camera is dark", 90, every=1)
        assert "503 No picture: " in told[-1], told[-1]
    finally:
        camera.simulator().fault("camera", how="none")
    # The gateway knocks again after half a minute.
    wait_for(lambda: not dark(), "the camera is back", 120, every=1)
