"""Real programs look at every kind of camera: curl, ffmpeg, Chromium, aiohttp, requests, OctoPrint."""

import asyncio
import json
import re
import socket
import subprocess
import threading

import aiohttp
import pytest
import requests

from harness.waiting import wait_for

SIZES = {"p1s": (1280, 720), "h2d": (1280, 720), "cc1": (640, 360), "cc2": (640, 360)}


def run(*command, seconds=60, codes=(0,)):
    done = subprocess.run([str(part) for part in command], capture_output=True, timeout=seconds, check=False)
    assert done.returncode in codes, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout


def is_jpeg(data):
    return data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")


def test_curl_takes_a_snapshot_and_a_stream(camera, tmp_path):
    picture = tmp_path / "picture.jpg"
    kind = run("curl", "-sf", "--max-time", 40, "-o", picture, "-w", "%{content_type}",
               f"{camera.url}/webcam/?action=snapshot")
    assert kind == b"image/jpeg" and is_jpeg(picture.read_bytes())
    # 28: the time is over while the stream goes on.
    stream = run("curl", "-s", "-i", "--max-time", 6, f"{camera.url}/webcam/?action=stream", codes=(28,))
    head, _, body = stream.partition(b"\r\n\r\n")
    assert b"multipart/x-mixed-replace;boundary=boundarydonotcross" in head and b"chunked" not in head.lower()
    assert body.startswith(b"--boundarydonotcross\r\n"), body[:80]
    parts = body.split(b"--boundarydonotcross\r\n")[1:-1]
    assert len(parts) >= 2
    for part in parts:
        fields, _, data = part.partition(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", fields)[1])
        assert data[length:] == b"\r\n" and is_jpeg(data[:length]), fields


def test_size_and_rate_can_be_asked_for(camera, tmp_path):
    picture = tmp_path / "small.jpg"
    run("curl", "-sf", "--max-time", 40, "-o", picture, f"{camera.url}/webcam/?action=snapshot&max_width=160")
    shown = run("ffprobe", "-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0", picture)
    assert shown.strip() == b"160,90"
    stream = run("curl", "-s", "--max-time", 7, f"{camera.url}/webcam/?action=stream&fps=0.5", codes=(28,))
    assert 1 <= stream.count(b"Content-Length") <= 4
    wrong = requests.get(f"{camera.url}/webcam/?action=stream&fps=none", timeout=10)
    assert wrong.status_code == 400 and "fps must be" in wrong.text


def frame_sums(url, form, count):
    """Checksums of decoded pictures, as ffmpeg sees them."""
    command = ["ffmpeg", "-v", "error", "-f", form, "-i", url, "-frames:v", count, "-f", "framemd5", "-"]
    lines = run(*command, seconds=90).decode().splitlines()
    return [line.rsplit(", ", 1)[1] for line in lines if not line.startswith("#")]


def test_ffmpeg_sees_moving_pictures(camera):
    sums = frame_sums(f"{camera.url}/webcam/?action=stream", "mpjpeg", 4)
    assert len(sums) == 4 and len(set(sums)) > 1


@pytest.mark.parametrize("path,form", [("stream.mp4", "mp4"), ("hls/index.m3u8", "hls")])
def test_ffmpeg_reads_the_video_as_it_came(farm, path, form):
    sums = frame_sums(f"{farm.printer('h2d').url}/webcam/{path}", form, 25)
    assert len(sums) == 25 and len(set(sums)) > 20


@pytest.mark.parametrize("name,form", [
    ("p1s", "adaptive"), ("p1s", "stream"), ("cc1", "adaptive"), ("cc1", "stream"), ("cc2", "adaptive"),
    ("cc2", "stream"), ("h2d", "hls"), ("h2d", "progressive"),
])
def test_chromium_shows_it_moving(farm, chromium, name, form):
    camera = farm.printer(name)
    chromium.open(f"{camera.url}/")
    wait_for(lambda: chromium.run("typeof look === 'function'"), "the page")
    chromium.run(f"show({json.dumps(form)}).then(() => true)") if form != "hls" else chromium.run("void show('hls')")
    places = set()

    def moved():
        seen = chromium.run("look()")
        if seen and seen["orange"] > 20:
            assert (seen["width"], seen["height"]) == SIZES[name]
            places.add(round(seen["middle"]))
        return len(places) >= 4
    wait_for(moved, f"{form} of {name} moves", 60, every=0.3)


def test_a_hundred_viewers_cost_one_connection(camera):
    seen, failed = [], []

    def watch():
        try:
            with socket.create_connection(("127.0.0.1", camera.port), 60) as link:
                link.sendall(b"GET /webcam/?action=stream HTTP/1.1\r\nHost: x\r\n\r\n")
                data = b""
                while data.count(b"\xff\xd9\r\n--boundarydonotcross") < 3:
                    piece = link.recv(65536)
                    assert piece, "the stream ended"
                    data += piece
                seen.append(len(data))
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)
    viewers = [threading.Thread(target=watch, daemon=True) for _ in range(100)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(120)
    assert not failed and len(seen) == 100, failed[:3]
    assert camera.simulator().truth()["connections"]["camera"]["peak"] == 1


def test_home_assistant_reads_the_parts(camera):
    """Its MJPEG camera takes a still, and passes the stream's parts on."""
    async def look():
        limit = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=limit, trust_env=False) as session:
            async with session.get(f"{camera.url}/webcam/?action=snapshot") as still:
                assert still.status == 200 and is_jpeg(await still.read())
            async with session.get(f"{camera.url}/webcam/?action=stream") as stream:
                reader = aiohttp.MultipartReader.from_response(stream)
                for _ in range(2):
                    part = await reader.next()
                    assert part.headers["Content-Type"] == "image/jpeg"
                    assert is_jpeg(bytes(await part.read()))
    asyncio.run(look())


def test_obico_cuts_pictures_out_of_the_raw_stream(camera):
    """It looks for the marks of JPEG, and takes a snapshot whenever it wants one."""
    with requests.get(f"{camera.url}/webcam/?action=stream", stream=True, timeout=60) as stream:
        data = b""
        for piece in stream.iter_content(2048):
            data += piece
            begin, end = data.find(b"\xff\xd8"), data.find(b"\xff\xd9\r\n")
            if begin >= 0 and end > begin:
                break
        assert is_jpeg(data[begin:end + 2])
    for _ in range(5):
        assert is_jpeg(requests.get(f"{camera.url}/webcam/?action=snapshot", timeout=30).content)
