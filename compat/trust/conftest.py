"""One farm for the whole suite: three printers in processes of their own, behind wires that can be made bad."""

import json

import pytest

from harness.farm import Farm
from harness.moonraker import make_idle
from harness.waiting import wait_for

PRINTERS = ("p1s", "cc1", "cc2")


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", PRINTERS)


@pytest.fixture(scope="session")
def farm():
    farm = Farm(PRINTERS, label="trust")
    try:
        yield farm.start()
    finally:
        farm.stop()


@pytest.fixture
def printer(farm, name):
    """A printer at rest with nothing wrong, left so; and what must not be lost is there afterwards."""
    printer = farm[name]
    heal(farm, printer)
    before = belongings(printer)
    yield printer
    heal(farm, printer)
    after = belongings(printer)
    assert before["files"] <= after["files"], "files were lost"
    assert before["notes"] == after["notes"], "an entry of the database was lost"
    assert before["history"] <= after["history"], "history was lost"


def heal(farm, printer):
    if not farm.alive():
        farm.start()
    printer.wires.quality.delay = printer.wires.quality.loss = 0.0
    printer.slow_files(False)
    if not printer.ready():
        printer.power_on()
    wait_for(printer.ready, f"{printer.name} is online", 120)
    with printer.moonraker() as client:
        make_idle(client)
        client.call("server.database.post_item", {"namespace": "trust", "key": "note", "value": {"kept": True}})


def belongings(printer):
    with printer.moonraker() as client:
        notes = client.call("server.database.get_item", {"namespace": "trust"})["value"]
    return {
        "files": {file for file in printer.files() if "gone" not in file},
        "notes": json.dumps(notes, sort_keys=True),
        "history": {job["job_id"] for job in printer.history()},
    }
