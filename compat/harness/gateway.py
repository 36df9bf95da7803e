"""The gateway itself (`moongate run`) with a configuration of its own, for printers that are not ours."""

import shutil
import tempfile
from pathlib import Path

from harness import process
from harness.demo import binary
from harness.moonraker import Moonraker, http
from harness.waiting import wait_for

LIFETIME_SECONDS = 600


class Gateway:
    """One printer behind a running gateway; `printer` holds the keys of its [[printer]] table."""

    def __init__(self, label, printer):
        self.label = label
        self.folder = Path(tempfile.mkdtemp(prefix="moongate-gate-"))
        self.port, self.moonraker_port = process.free_port(), process.free_port()
        table = {"moonraker_port": self.moonraker_port, "pty": False, **printer}
        lines = ["[gateway]", 'listen = "127.0.0.1"', f"port = {self.port}",
                 f'state_dir = "{self.folder}/state"', f'runtime_dir = "{self.folder}/run"',
                 "[access]", 'trusted_clients = ["127.0.0.0/8"]', "[[printer]]"]
        lines += [f"{key} = {toml(value)}" for key, value in table.items()]
        self.config = self.folder / "moongate.toml"
        self.config.write_text("\n".join(lines) + "\n")
        self.config.chmod(0o600)
        self._process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.moonraker_port}"

    def __enter__(self):
        self._process = process.start(
            ["timeout", LIFETIME_SECONDS, binary(), "run", "--config", self.config, "--log", "debug"],
            f"{self.label}.log",
        )
        wait_for(lambda: http("GET", self.url + "/server/info").ok, "the gateway listens", 30)
        return self

    def __exit__(self, *_):
        process.stop(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def moonraker(self):
        return Moonraker(self.url)

    def info(self):
        return http("GET", self.url + "/printer/info").json()

    def wait_ready(self, seconds=60):
        wait_for(lambda: self.info()["result"]["state"] == "ready", "the printer is ready", seconds)

    def upload(self, name, content, **fields):
        answer = http("POST", self.url + "/server/files/upload", 60,
                      files={"file": (name, content)}, data={"root": "gcodes", **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f'"{value}"'
