"""Fixtures of all suites: a demo per suite and speed, and the printers it offers."""

import os
import re
from functools import lru_cache

import pytest

from harness.demo import Demo, Printer
from harness.moonraker import Moonraker, make_idle

# Fast enough that a job ends within a test, slow enough that a pause lands in the middle of one.
SPEED = float(os.environ.get("MOONGATE_SPEED", "20"))


# Another server instead of the demo (a real Moonraker, say), to test the tests.
REFERENCE = os.environ.get("MOONGATE_COMPAT_URL")


@lru_cache(maxsize=1)
def offered():
    """(name, kind) of each printer of the demo; MOONGATE_PRINTERS=name:kind,... spares the extra start."""
    if REFERENCE:
        return (("reference", "moonraker"),)
    given = os.environ.get("MOONGATE_PRINTERS")
    if given:
        return tuple(tuple(item.split(":", 1)) for item in given.split(","))
    try:
        with Demo(SPEED, "offered") as demo:
            return tuple((p.name, p.kind) for p in demo.printers)
    except (OSError, RuntimeError) as error:
        return (("demo-did-not-start", str(error)),)


def pytest_generate_tests(metafunc):
    if "printer_name" in metafunc.fixturenames:
        metafunc.parametrize("printer_name", [name for name, _ in offered()], scope="module")


@pytest.fixture(scope="session")
def demos():
    """Starts demos on demand, one for each speed, and ends them all."""
    running = {}

    def get(speed=SPEED):
        if speed not in running:
            running[speed] = Demo(speed, f"demo-{speed:g}x").start()
        return running[speed]

    yield get
    for demo in running.values():
        demo.stop()


@pytest.fixture(scope="session")
def demo(demos):
    return demos()


@pytest.fixture(scope="module")
def printer(request, printer_name):
    """One printer after the other, by the name the demo gives it."""
    if REFERENCE:
        return Printer("reference", "moonraker", int(REFERENCE.rsplit(":", 1)[1]), "", "", 0)
    demo = request.getfixturevalue("demo")
    return demo.printer(printer_name)


@pytest.fixture
def moonraker(printer):
    """A fresh connection to the printer's Moonraker port."""
    client = Moonraker(printer.url)
    yield client
    client.close()


@pytest.fixture
def idle_printer(printer, moonraker):
    """A printer at rest with nothing printed yet, left at rest again."""
    make_idle(moonraker)
    yield printer
    with Moonraker(printer.url) as client:
        make_idle(client)


def pytest_runtest_makereport(item, call):
    """Writes which test was running into each log of the demo, so that a failure can be found there."""
    if call.when == "call":
        name = re.sub(r"\s+", " ", item.nodeid)
        from harness.process import LOGS
        for log in LOGS.glob("demo-*.log"):
            with open(log, "a", encoding="utf-8") as out:
                out.write(f"#### {'failed' if call.excinfo else 'ended'}: {name}\n")
