"""A demo of each kind of printer, and the commands pointed at it."""

from pathlib import Path

import pytest

from harness.command import moongate
from harness.demo import Demo


@pytest.fixture(scope="module")
def farm():
    # Fast enough for a print within a test, slow enough that a command lands in the middle of it.
    with Demo(20, "cli", printers=["p1s", "cc1", "cc2"]) as demo:
        yield demo


@pytest.fixture(scope="module")
def url(farm):
    return f"http://127.0.0.1:{farm.gateway_port}"


@pytest.fixture
def ask(url, tmp_path):
    """A command for the demo's gateway; no configuration of this machine gets in its way."""

    def run(verb, *arguments, **options):
        return moongate(verb, *arguments, "--gateway", url, "--config", tmp_path / "none.toml", **options)

    return run


@pytest.fixture
def config(tmp_path):
    """Writes a configuration; returns its path."""

    def write(text, name="moongate.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


