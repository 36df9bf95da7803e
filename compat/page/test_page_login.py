"""The status page of a gateway that asks who one is: its form, its cookie, and the end of both."""

import pytest

from harness.browser import Browser
from harness.command import moongate
from harness.farm import Farm
from harness.moonraker import http
from harness.process import LOGS
from harness.waiting import holds_for, wait_for

PASSWORD = "correct-horse-77"


@pytest.fixture(scope="module")
def house():
    farm = Farm(("p1s",), label="page-login", access="force_logins = true")
    try:
        farm.start()
        code, key = farm.cli("key")
        assert code == 0, key
        farm.key = {"X-Api-Key": key.strip()}
        made = http("POST", farm["p1s"].url + "/access/user", headers=farm.key, json={"username": "alice", "password": PASSWORD})
        assert made.ok, made.text
        yield farm
    finally:
        farm.remove()


@pytest.fixture
def page(house):
    browser = Browser()
    browser.listen()
    browser.emulate(1400, 1000)
    browser.open(house.own_url + "/")
    wait_for(lambda: seen(browser, "#login form"), "the form", 60)
    yield browser
    browser.close()


def seen(page, selector):
    return page.run(f"(e => Boolean(e && e.getClientRects().length))(document.querySelector('{selector}'))")


def text(page, selector):
    return page.run(f"document.querySelector('{selector}').textContent")


def log_in(page, password=PASSWORD):
    page.run(f"""(() => {{
        const form = document.querySelector('#login form');
        form.username.value = 'alice';
        form.password.value = '{password}';
        form.querySelector('button').click();
    }})()""")


def logged_in(page):
    wait_for(lambda: seen(page, "#printer-p1s"), "the printer's card", 60)
    assert not seen(page, "#login")
    wait_for(lambda: seen(page, "#logout"), "the way out")


def test_a_stranger_sees_the_form_and_nothing_else(page):
    assert not seen(page, "article") and not seen(page, "#activity") and not seen(page, "nav")
    assert "wants a login" in text(page, "#login .why") and not text(page, "#trouble")
    assert page.run("document.activeElement.name") == "username"
    for field, kind in (("username", "username"), ("password", "current-password")):
        assert page.run(f"document.querySelector('#login form').{field}.autocomplete") == kind
    page.run("document.querySelector('#login form').username.value = 'ali'")
    holds_for(lambda: page.run("document.querySelector('#login form').username.value") == "ali", "what is typed stays", 3)


def test_in_and_out(page, house):
    log_in(page, "wrong")
    wait_for(lambda: "Invalid Password" in text(page, "#login .refused"), "the reason")
    log_in(page)
    logged_in(page)
    assert text(page, "#logout") == "log out alice"
    assert page.run("document.querySelector('#login form').password.value") == ""
    assert page.run("document.cookie") == "" and page.run("localStorage.length + sessionStorage.length") == 0
    # What image tags and links fetch.
    bright = "(i => Boolean(i && !i.hidden && i.naturalWidth))(document.querySelector('#printer-p1s .camera'))"
    wait_for(lambda: page.run(bright), "the camera's picture", 60)
    links = page.run("[...document.querySelectorAll('nav a, .links a')].map(a => a.href)")
    own = [address for address in links if f":{house.gateway_port}/" in address]
    assert len(own) >= 6, links
    told = page.run(f"Promise.all({own}.map(address => fetch(address).then(answer => answer.status)))")
    assert [(address, status) for address, status in zip(own, told) if status != 200 and not address.endswith("/p1s/")] == []

    # The cookie steers nothing.
    for way in ("fetch('printers/p1s/printer/info')", "fetch('printers/p1s/printer/emergency_stop')",
                "fetch('printers/p1s/moongate/cancel', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})"):
        assert page.run(way + ".then(answer => answer.status)") == 401, way

    page.run("window.notReloaded = true")
    page.open(house.own_url + "/")
    wait_for(lambda: page.run("window.notReloaded === undefined"), "it is loaded anew")
    logged_in(page)
    page.run("document.getElementById('activity').open = true")
    wait_for(lambda: page.run("document.querySelectorAll('#activity tbody tr').length"), "activity", 30)

    page.run("document.getElementById('logout').click()")
    wait_for(lambda: seen(page, "#login form"), "the form again")
    assert page.run("document.querySelectorAll('article, #activity tbody tr').length") == 0, "nothing stays to be read"
    page.open(house.own_url + "/")
    wait_for(lambda: seen(page, "#login form"), "and after a reload", 30)


def test_a_logout_elsewhere_ends_it(page, house, tmp_path):
    log_in(page)
    logged_in(page)

    def run(*arguments, given=""):
        return moongate(*arguments, "--gateway", house.own_url, "--config", tmp_path / "none.toml", given=given,
                        env={"XDG_STATE_HOME": str(tmp_path)})
    assert run("login", "alice", given=PASSWORD).code == 0
    assert run("logout").code == 0
    wait_for(lambda: seen(page, "#login form"), "the form", 30)
    assert not seen(page, "article")


def test_light_dark_and_phone(page):
    ground = "getComputedStyle(document.querySelector('#login form')).backgroundColor.match(/\\d+/g).map(Number)"
    for width, scheme in ((1400, "light"), (1400, "dark"), (360, "light"), (360, "dark")):
        page.emulate(width, 800, scheme, phone=width < 500)
        wait_for(lambda: page.run("innerWidth") == width, "the window has its width")
        shade = page.run(ground)
        assert max(shade) < 80 if scheme == "dark" else min(shade) > 200
        assert page.run("document.documentElement.scrollWidth") <= width
        for part in ("input[name=username]", "button"):
            assert page.run(f"document.querySelector('#login {part}').getBoundingClientRect().height") >= 36, part
        page.picture(LOGS / f"login-{width}-{scheme}.png")


def test_nothing_from_elsewhere_and_no_script_error(page, house):
    log_in(page)
    logged_in(page)
    own = f"127.0.0.1:{house.gateway_port}"
    asked = [told["request"]["url"] for told in page.told("Network.requestWillBeSent")]
    assert asked and not [address for address in asked if not address.startswith(("data:", f"http://{own}/"))]
    assert not [address for address in asked if PASSWORD in address]
    assert not page.told("Runtime.exceptionThrown")
    errors = [told["entry"] for told in page.told("Log.entryAdded") if told["entry"]["level"] == "error"]
    # A browser notes each answer of 401.
    assert not [entry for entry in errors if "401" not in entry["text"]], errors
