"""One farm for the whole suite: three printers in processes of their own, behind wires that can be made bad."""

import pytest

from each import PRINTERS
from harness.farm import Farm


@pytest.fixture(scope="session")
def farm():
    farm = Farm(PRINTERS, label="trust")
    try:
        yield farm.start()
    finally:
        farm.remove()
