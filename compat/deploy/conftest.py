"""`moongate run` as a service has it: directories of its own, printers in another process."""

import json
import os
import subprocess

import pytest

from harness import process
from harness.demo import binary
from harness.moonraker import http
from harness.waiting import wait_for

LIFETIME_SECONDS = 900


class Simulated:
    """One simulated printer in a process of its own."""

    def __init__(self, model, code=None, speed=20):
        self._process = process.start(
            [binary(), "simulate", model, "--seconds", LIFETIME_SECONDS, "--speed", speed,
             *(["--code", code] if code else [])], f"simulated-{model}.log", stdout=subprocess.PIPE)
        self.told = json.loads(self._process.stdout.readline())
        self.model = model

    def table(self, name):
        at = {what: address.rsplit(":", 1)[-1] for what, address in self.told["addresses"].items() if isinstance(address, str)}
        lines = ["[[printer]]", f'name = "{name}"', 'host = "127.0.0.1"', f"moonraker_port = {process.free_port()}"]
        if self.model == "cc1":
            lines += ['kind = "elegoo_cc1"', f"websocket_port = {at['websocket']}", f"http_port = {at['http']}",
                      f"camera_port = {at['camera']}", f"discovery_port = {at['discovery']}"]
        else:
            lines += ['kind = "bambu"', f'serial = "{self.told["serial"]}"', f'access_code = "{self.told["access_code"]}"',
                      f"mqtt_port = {at['mqtt']}", f"ftps_port = {at['ftps']}", f"detect_port = {at['detect']}",
                      f"camera_port = {at['camera']}"]
        return "\n".join(lines) + "\n"

    def stop(self):
        process.stop(self._process)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def printers():
    """A Centauri Carbon and a P1S with a code that is easy to find where it must not be."""
    running = [Simulated("cc1"), Simulated("p1s", code="55501234")]
    yield running
    for printer in running:
        printer.stop()


class Service:
    """A gateway with its folders; `log` is what it wrote to standard error."""

    def __init__(self, folder, tables, gateway="", access='trusted_clients = ["127.0.0.0/8"]\n'):
        self.folder, self.port = folder, process.free_port()
        self.config = folder / "moongate.toml"
        self.config.write_text(
            f'[gateway]\nport = {self.port}\nstate_dir = "{folder}/state"\nruntime_dir = "{folder}/run"\n{gateway}'
            f"[access]\n{access}{''.join(tables)}")
        self.config.chmod(0o600)
        self.log = folder / "log.txt"
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, *options, env=None):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["timeout", "--foreground", str(LIFETIME_SECONDS), binary(), "run", "--config", self.config, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})})
        return self

    def ready(self):
        wait_for(lambda: http("GET", self.url + "/readyz").ok, "it is ready", 60)
        return self

    def status(self):
        return http("GET", self.url + "/status").json()["printers"]

    def online(self, seconds=90):
        wait_for(lambda: all(printer["link"] == "online" for printer in self.status()), "all printers are online", seconds)
        return self

    def stop(self):
        return process.stop(self.process, patience=30) if self.process else None


@pytest.fixture
def service(tmp_path):
    """Makes services; what still runs at the end is stopped."""
    made = []

    def make(tables, name="service", **options):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        made.append(Service(folder, tables, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()
