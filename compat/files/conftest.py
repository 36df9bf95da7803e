"""A farm of one for each kind of printer: the printer outlives the gateway."""

import os

import pytest

from harness.single import Gateway, SimulatedPrinter

# One of each kind; MOONGATE_MODELS=x1c,h2d names others.
MODELS = os.environ.get("MOONGATE_MODELS", "p1s,cc1,cc2").split(",")


def pytest_generate_tests(metafunc):
    if "model" in metafunc.fixturenames:
        metafunc.parametrize("model", MODELS, scope="module")


@pytest.fixture
def simulated(model):
    """A fresh simulated printer: what it counts belongs to one test."""
    printer = SimulatedPrinter(model, speed=40, label="files-simulated")
    yield printer
    printer.stop()


@pytest.fixture
def gateway(simulated):
    with Gateway(simulated, label="files-gateway") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def lasting(model):
    """A printer and gateway for all tests of a module that leave them as they found them."""
    printer = SimulatedPrinter(model, speed=40, label="files-lasting")
    gateway = Gateway(printer, label="files-lasting-gateway")
    try:
        yield gateway.start()
    finally:
        gateway.remove()
        printer.stop()
