"""One demo of all kinds of cameras for the whole suite, with the test page at `/` of each port."""

from pathlib import Path

import pytest

from harness.browser import Browser
from harness.demo import Demo
from harness.moonraker import Moonraker

PAGE = Path(__file__).parent / "page"


@pytest.fixture(scope="session")
def farm():
    with Demo(60, "cameras", printers=["p1s", "h2d", "cc1", "cc2"], options=["--web-root", PAGE]) as demo:
        for name in ("p1s", "h2d"):
            # In the dark nothing orange is to be seen.
            with Moonraker(demo.printer(name).url) as client:
                client.gcode("SET_PIN PIN=chamber_light VALUE=1")
        yield demo


@pytest.fixture(scope="session")
def chromium():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(params=["p1s", "h2d", "cc1", "cc2"])
def camera(request, farm):
    """Every kind: JPEG over TLS, RTSPS, and the two MJPEG servers of Elegoo."""
    return farm.printer(request.param)
