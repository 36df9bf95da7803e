"""Which printer a web interface of `web_root` opens, in a real browser: all printers below the gateway's port share what it
keeps there."""

import pytest

from harness.browser import Browser
from harness.demo import Demo
from harness.waiting import wait_for

NAMES = ["p1s", "cc1"]
# Fluidd's start page in the two things that the gateway knows it by; the rest is not needed to see what it would read.
PAGE = "<!DOCTYPE html><html><head><title>fluidd</title></head><body>ready</body></html>"
# What Fluidd does with its list (src/init.ts): the one whose address has the MD5 of ?printer=, else the active one. The
# browser has no MD5, so the test looks at the list and at the parameter.
KEPT = "JSON.parse(localStorage.getItem('appInstances'))"


@pytest.fixture
def farm(tmp_path):
    (tmp_path / "index.html").write_text(PAGE)
    with Demo(6, "web-root", printers=NAMES, options=["--web-root", str(tmp_path)]) as demo:
        yield demo


@pytest.fixture
def browser():
    browser = Browser()
    yield browser
    browser.close()


def opened(browser, address):
    """The parameter after a visit."""
    browser.open("about:blank")
    browser.open(address)
    wait_for(lambda: browser.run("location.href.startsWith('http') && document.body?.textContent === 'ready'"), address)
    return browser.run("new URL(location.href).searchParams.get('printer')")


def test_fluidd_below_the_gateways_port_opens_the_printer_of_its_address(farm, browser):
    base = f"http://127.0.0.1:{farm.gateway_port}/printers"
    first, second = (opened(browser, f"{base}/{name}/") for name in NAMES)
    assert first and second and first != second
    assert browser.run(f"{KEPT}.map(known => known.apiUrl)") == [f"{base}/{name}" for name in NAMES]
    assert browser.run(f"{KEPT}.map(known => known.name)") == NAMES
    assert browser.run(f"{KEPT}[1].socketUrl") == f"ws://127.0.0.1:{farm.gateway_port}/printers/cc1/websocket"
    # An address with the parameter of another printer, as it stands after a change in Fluidd's own menu.
    assert opened(browser, f"{base}/p1s/?printer={second}") == first
    # Typed without the slash.
    assert opened(browser, f"{base}/cc1") == second
    assert browser.run("location.pathname") == "/printers/cc1/"


def test_at_a_printers_own_port_fluidd_keeps_the_users_choice(farm, browser):
    own = farm.printer("cc1").url
    assert opened(browser, f"{own}/")
    assert browser.run(f"{KEPT}.map(known => [known.apiUrl, known.name])") == [[own, "cc1"]]
    browser.run("localStorage.setItem('appInstances', JSON.stringify([{apiUrl: 'http://other', active: true}]))")
    assert opened(browser, f"{own}/") is None
    assert browser.run(f"{KEPT}.map(known => known.apiUrl)") == ["http://other"]
