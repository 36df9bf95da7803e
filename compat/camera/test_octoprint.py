"""OctoPrint with our addresses in Settings > Classic Webcam: the test button, the picture in its page, its timelapse."""

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from harness.browser import Browser
from harness import process
from harness.moonraker import Moonraker, make_idle
from harness.octoprint_server import OctoPrint
from harness.waiting import wait_for
from test_viewers import SIZES, is_jpeg

PIXELS = (Path(__file__).parent / "page" / "pixels.js").read_text(encoding="utf-8")
LOOK = f"(() => {{ {PIXELS} return pixels(document.getElementById('webcam_image')); }})()"


@pytest.fixture(scope="module")
def octoprint(farm):
    server = OctoPrint("webcam", os.path.join(os.path.dirname(farm.printers[0].pty), "*"))
    # Somebody must be logged in to see the page.
    program = process.WORK / "venv" / "bin" / "octoprint"
    subprocess.run([program, "--basedir", server.base, "user", "add", "me", "--password", "secret", "--admin"],
                   check=True, capture_output=True, timeout=120)
    config = server.base / "config.yaml"
    config.write_text(config.read_text() + "accessControl: {autologinLocal: true, autologinAs: me}\n")
    with server as started:
        yield started


def use(octoprint, camera):
    base = f"{camera.url}/webcam/?action="
    octoprint.post("/api/settings", {
        "plugins": {"classicwebcam": {"stream": f"{base}stream", "snapshot": f"{base}snapshot", "snapshotTimeout": 30}},
        "webcam": {"ffmpegPath": "/usr/bin/ffmpeg"},
    })


def test_the_test_button(octoprint, camera):
    tested = octoprint.post("/api/util/test", {
        "command": "url", "url": f"{camera.url}/webcam/?action=snapshot", "method": "GET", "response": "bytes",
        "timeout": 40, "content_type_whitelist": ["image/*"], "content_type_guess": True,
    })
    assert tested["result"] is True and tested["status"] == 200, tested
    assert is_jpeg(base64.b64decode(tested["response"]["content"]))


def test_the_page_shows_it_moving(octoprint, camera):
    use(octoprint, camera)
    # Without the check a script may look at the pixels of a picture from another port.
    browser = Browser("--disable-web-security")
    try:
        browser.open(f"http://127.0.0.1:{octoprint.port}/#control")
        wait_for(lambda: browser.run("!!document.querySelector('#control_link a')"), "the page", 120)
        places = set()

        def moved():
            browser.run("document.querySelector('#control_link a').click()")
            seen = browser.run(LOOK)
            if seen and seen["orange"] > 20:
                assert seen["width"] == SIZES[camera.name][0]
                places.add(round(seen["middle"]))
            return len(places) >= 3
        wait_for(moved, f"{camera.name} moves in OctoPrint", 120, every=0.5)
    finally:
        browser.close()


def test_its_timelapse_takes_our_snapshots(octoprint, farm, tmp_path):
    printer = farm.printer("cc1")
    use(octoprint, printer)
    octoprint.post("/api/timelapse", {"type": "timed", "interval": 1, "fps": 5, "postRoll": 0, "save": False})
    with Moonraker(printer.url) as client:
        make_idle(client)
    octoprint.connect_and_wait(printer.pty)
    cube = wait_for(lambda: octoprint.find("cube.gcode"), "the sample is listed", 30)
    octoprint.select(cube, start=True)
    octoprint.wait_state("Printing", seconds=60)
    octoprint.wait_state("Operational", seconds=180)
    made = wait_for(lambda: octoprint.get("/api/timelapse")["files"], "the video is made", 120, every=1)
    video = tmp_path / "video.mp4"
    video.write_bytes(octoprint.request("GET", made[0]["url"]).content)
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=width,nb_frames", "-of", "json", str(video)]
    shown = json.loads(subprocess.run(probe, check=True, capture_output=True, timeout=60).stdout)["streams"][0]
    assert shown["width"] == SIZES["cc1"][0] and int(shown["nb_frames"]) > 1, shown
    octoprint.disconnect()
