"""The status page in a real browser, on a demo of all kinds of printers."""

import json
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from harness.browser import Browser
from harness.demo import Demo
from harness.moonraker import Moonraker, http, make_idle
from harness.process import LOGS
from harness.waiting import holds_for, wait_for

NAMES = ["p1s", "h2d", "cc1", "cc2"]


@pytest.fixture(scope="module")
def farm():
    with Demo(6, "page", printers=NAMES) as demo:
        yield demo


@pytest.fixture(scope="module")
def page(farm):
    """The page, open for all tests: what a browser complains of in any of them fails the last one."""
    browser = Browser()
    browser.listen()
    browser.emulate(1400, 1000)
    browser.open(f"http://127.0.0.1:{farm.gateway_port}/")
    wait_for(lambda: browser.run("document.querySelectorAll('article').length") == len(NAMES), "a card per printer", 60)
    yield browser
    browser.close()


def card(page, name, selector="*"):
    """Texts of all elements that match within a card."""
    return page.run(f"[...document.querySelectorAll('#printer-{name} {selector}')].map(e => e.textContent)")


def shows(page, name, selector, text, seconds=30):
    wait_for(lambda: any(text in shown for shown in card(page, name, selector)), f"{name} shows {text!r}", seconds)


@contextmanager
def window(page, *size, **preferences):
    page.emulate(*size, **preferences)
    yield
    page.emulate(1400, 1000)


def test_a_card_per_printer(page, farm):
    wait_for(lambda: page.run("document.getElementById('summary').textContent").startswith("4 printers · 0 busy"), "summary")
    for name, about in (("p1s", "Bambu Lab P1S"), ("h2d", "Bambu Lab H2D"), ("cc1", "Elegoo Centauri Carbon"), ("cc2", "Elegoo Centauri Carbon 2")):
        assert card(page, name, "h2") == [name]
        assert card(page, name, "header .dim")[0].startswith(about)
        assert card(page, name, ".badge") == ["idle"]
        temperatures = card(page, name, ".temp")
        assert any(text.startswith("Nozzle") and "°C" in text for text in temperatures), temperatures
        assert any(text.startswith("Bed") for text in temperatures), temperatures
    assert len([text for text in card(page, "h2d", ".temp") if text.startswith("Nozzle")]) == 2
    assert any("PLA" in text for text in card(page, "p1s", ".slot"))
    colours = page.run("[...document.querySelectorAll('#printer-p1s .slot i')].map(e => getComputedStyle(e).backgroundColor)")
    assert "rgb(242, 120, 24)" in colours, colours


def test_links_lead_somewhere(page, farm):
    links = page.run("[...document.querySelectorAll('a')].map(a => a.href)")
    assert len(links) >= 4 * 4
    for address in links:
        answer = http("GET", address)
        assert answer.status_code == 200, (address, answer.status_code)
    addresses = card(page, "p1s", "dd")
    printer = farm.printer("p1s")
    assert f"127.0.0.1:{printer.port}" in addresses and printer.pty in addresses, addresses


def test_the_camera_has_a_picture(page, farm):
    for name in NAMES:
        # As in the camera suite: in the dark nothing is to be seen.
        if name in ("p1s", "h2d"):
            with Moonraker(farm.printer(name).url) as client:
                client.gcode("SET_PIN PIN=chamber_light VALUE=1")
        bright = f"""(() => {{
            const image = document.querySelector('#printer-{name} .camera');
            if (!image || !image.naturalWidth || image.hidden) return 0;
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [64, 36];
            const pen = canvas.getContext('2d');
            pen.drawImage(image, 0, 0, 64, 36);
            return Math.max(...pen.getImageData(0, 0, 64, 36).data.filter((_, at) => at % 4 < 3));
        }})()"""
        wait_for(lambda: page.run(bright) > 100, f"{name} shows a bright picture", 60)
        shows(page, name, ".eye", "fps")


def test_a_print_appears_without_a_reload(page, farm):
    page.run("window.notReloaded = true")
    client = Moonraker(farm.printer("p1s").url)
    try:
        make_idle(client)
        assert http("POST", farm.printer("p1s").url + "/printer/print/start?filename=cube.gcode").ok
        shows(page, "p1s", ".badge", "printing", 60)
        shows(page, "p1s", ".job .title", "cube.gcode")
        shows(page, "p1s", ".job .figures", "layer ")
        wait_for(lambda: page.run("document.querySelector('#printer-p1s .thumbnail')?.naturalWidth > 10"), "thumbnail")
        before = page.run("document.querySelector('#printer-p1s progress').value")
        wait_for(lambda: page.run("document.querySelector('#printer-p1s progress')?.value ?? 1") > before, "it moves on")
        client.call("printer.print.pause")
        shows(page, "p1s", ".badge", "paused")
        client.call("printer.print.cancel")
        shows(page, "p1s", ".badge", "cancelled")
        assert page.run("window.notReloaded") is True
    finally:
        make_idle(client)
        client.close()


def test_faults_with_what_to_do(page, farm):
    printer = farm.printer("p1s")
    with Moonraker(printer.url) as client:
        make_idle(client)
        assert http("POST", printer.url + "/printer/print/start?filename=cube.gcode").ok
        shows(page, "p1s", ".badge", "printing", 60)

        def runs_out():
            # Without effect before the filament moves, and once it has run out.
            printer.simulator().fault("runout")
            return any("ilament" in text for text in card(page, "p1s", ".note"))
        wait_for(runs_out, "the page tells that the filament ran out", 60, every=1)
        assert page.run("document.querySelector('#printer-p1s .note code').textContent")
        make_idle(client)
    with farm.printer("cc1").without_power():
        shows(page, "cc1", ".badge.bad", "no connection", 90)
        shows(page, "cc1", ".note.bad code", "MG-")
        assert card(page, "cc1", ".note.bad .remedy")[0].strip()
        wait_for(lambda: "not connected" in page.run("document.getElementById('summary').textContent"), "summary tells it")
    shows(page, "cc1", ".badge", "idle", 90)
    wait_for(lambda: not card(page, "cc1", ".note"), "the fault is gone")


def test_activity_shows_refusals(page, farm):
    with Moonraker(farm.printer("cc2").url) as client:
        make_idle(client)
    assert not http("POST", farm.printer("cc2").url + "/printer/print/pause").ok
    page.run("document.getElementById('activity').open = true")
    rows = "[...document.querySelectorAll('#activity tr')].map(row => [row.className, row.textContent])"
    wait_for(lambda: any(kind == "refused" and "cc2" in text and "pause" in text for kind, text in page.run(rows)), "the refusal and its reason")
    printer = farm.printer("p1s")
    with Moonraker(printer.url) as client:
        make_idle(client)
        assert http("POST", printer.url + "/printer/print/start?filename=cube.gcode").ok
        wait_for(lambda: any(kind == "job" for kind, _ in page.run(rows)), "the start is in the list")
        make_idle(client)
    laid_out = page.run("[...document.querySelectorAll('#activity tr')].map(row => getComputedStyle(row).display)")
    assert set(laid_out) == {"table-row"}, laid_out
    page.run("document.getElementById('activity').open = false")


def test_light_and_dark(page):
    ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    with window(page, 1400, 1000, "light"):
        assert min(page.run(ground)) > 200
        page.picture(LOGS / "page-light.png")
    with window(page, 1400, 1000, "dark"):
        assert max(page.run(ground)) < 60
        page.picture(LOGS / "page-dark.png")


@pytest.mark.parametrize("width", [360, 768, 2560])
def test_no_width_needs_sideways_scrolling(page, width):
    with window(page, width, 800, phone=width < 500):
        wait_for(lambda: page.run("innerWidth") == width, "the window has its width")
        assert page.run("document.documentElement.scrollWidth") <= width
        page.picture(LOGS / f"page-{width}.png")


def test_the_keyboard_keeps_its_place(page, farm):
    """Cards are redrawn while they change; the focus and an open list stay."""
    page.run("document.querySelector('#printer-cc2 details').open = true; document.querySelector('#printer-cc2 summary').focus()")
    marked = page.run("getSelection().selectAllChildren(document.querySelector('#printer-cc2 dd')), getSelection().toString()")
    assert marked
    with Moonraker(farm.printer("cc2").url) as client:
        client.gcode("M140 S50")
        shows(page, "cc2", ".goal", "to 50")
        assert page.run("document.activeElement.closest('article')?.id") == "printer-cc2"
        assert page.run("document.querySelector('#printer-cc2 details').open") is True
        assert page.run("getSelection().toString()") == marked, "an address can be copied while its card changes"
        client.gcode("M140 S0")


def test_screen_readers_hear_only_what_is_new(page):
    """A live region that is written again is read again."""
    page.run("""window.written = 0; window.watcher = new MutationObserver(changes => { window.written += changes.length; });
        for (const region of document.querySelectorAll('[role=status], [role=alert]'))
            window.watcher.observe(region, {childList: true, characterData: true, subtree: true})""")

    def asked():
        return sum(told["request"]["url"].endswith("/status") for told in page.told("Network.requestWillBeSent"))
    before = asked()
    wait_for(lambda: asked() >= before + 4, "four looks at the status", 30)
    assert page.run("window.watcher.disconnect(), window.written") == 0


def test_whose_answer_it_is_is_told(page):
    """A refusal of the gateway is no silence, and the page of a proxy's error is no text for people."""
    shown = "document.getElementById('trouble').textContent"

    def answers(status, body):
        page.run(f"window.real ??= window.fetch, window.fetch = async () => new Response({json.dumps(body)}, {{status: {status}}}), 0")
    answers(502, "<html><title>502 Bad Gateway</title></html>")
    wait_for(lambda: "does not answer" in page.run(shown) and "502" in page.run(shown), "the proxy's answer is told")
    assert "<" not in page.run(shown)
    answers(401, '{"error": {"code": 401, "message": "Unauthorized"}}')
    why = "document.querySelector('#login .why').getClientRects().length ? document.querySelector('#login .why').textContent : ''"
    wait_for(lambda: "wants a login" in page.run(why), "what to do is told")
    assert "trusted_clients" in page.run(why) and not page.run(shown)
    answers(429, '{"error": {"code": 429, "message": "Too many failed attempts"}}')
    wait_for(lambda: "Too many failed attempts" in page.run(shown), "the gateway's reason is told")
    page.run("window.fetch = window.real, 0")
    wait_for(lambda: not page.run(shown) and not page.run(why) and len(card(page, "p1s", "h2")) == 1, "it is back")


def test_a_gateway_that_is_gone_is_told_and_comes_back(page, farm):
    """Last but one: requests that fail are what a browser notes, too."""
    page._call("Network.emulateNetworkConditions", {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
    noted = len(page.told("Log.entryAdded"))
    wait_for(lambda: "does not answer" in page.run("document.getElementById('trouble').textContent"), "it is told", 30)
    assert len(card(page, "p1s", "h2")) == 1, "what was known stays"
    page._call("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
    wait_for(lambda: not page.run("document.getElementById('trouble').textContent"), "it is back", 30)
    page.events[:] = [event for event in page.events if event[0] != "Log.entryAdded" or event in page.events[:noted]]


def test_nothing_from_elsewhere_and_no_complaint(page, farm):
    own = f"127.0.0.1:{farm.gateway_port}"
    asked = [told["request"]["url"] for told in page.told("Network.requestWillBeSent")]
    assert len(asked) > 20
    foreign = {address for address in asked if urlsplit(address).scheme != "data" and urlsplit(address).netloc != own}
    assert not foreign
    errors = [told["entry"] for told in page.told("Log.entryAdded") if told["entry"]["level"] == "error"]
    assert not errors, json.dumps(errors)[:2000]
    assert not page.told("Runtime.exceptionThrown")
    assert not [told for told in page.told("Runtime.consoleAPICalled") if told["type"] in ("error", "warning")]
    headers = http("GET", f"http://{own}/").headers
    assert "default-src 'none'" in headers["content-security-policy"] and "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_a_script_from_a_name_does_not_run(page, farm):
    """What a file is called is only a text here."""
    printer = farm.printer("cc1")
    name = "<img src=x onerror=window.hacked=1>.gcode"
    made = http("POST", printer.url + "/server/files/upload", 60, files={"file": (name, b"; generated by OrcaSlicer 2.3.0\nG28\n")}, data={"root": "gcodes"})
    assert made.status_code == 201, made.text
    stored = made.json()["item"]["path"]
    with Moonraker(printer.url) as client:
        make_idle(client)
        http("POST", printer.url + "/printer/print/start", json={"filename": stored})
        wait_for(lambda: stored in card(page, "cc1", ".job .title") or client.query("print_stats")["print_stats"]["state"] == "error", "it is shown", 60)
        make_idle(client)
    holds_for(lambda: page.run("window.hacked === undefined"), "no script ran", 1)


def test_a_name_is_written_in_its_own_direction(page, farm):
    """Hebrew and Arabic put the sign and the number that follow them to their left."""
    printer = farm.printer("cc1")
    made = http("POST", printer.url + "/server/files/upload", 60, files={"file": ("קובייה (2).gcode", b"; generated by OrcaSlicer 2.3.0\nG28\n")}, data={"root": "gcodes"})
    assert made.status_code == 201, made.text
    stored = made.json()["item"]["path"]
    direction = "getComputedStyle(document.querySelector('#printer-cc1 {}')).direction"
    with Moonraker(printer.url) as client:
        make_idle(client)
        http("POST", printer.url + "/printer/print/start", json={"filename": stored})
        wait_for(lambda: stored in card(page, "cc1", ".job .title"), "it is shown", 60)
        assert page.run(direction.format(".job .title")) == "rtl"
        assert page.run(direction.format("h2")) == "ltr"
        make_idle(client)
