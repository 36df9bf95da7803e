"""A real OctoPrint, headless, with a base folder of its own, driven by its REST API."""

import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import requests
import yaml

from harness import process
from harness.waiting import wait_for

# Which OctoPrint the scenarios run with: 1 is the released one, 2 the pre-release.
MAJOR = int(os.environ.get("OCTOPRINT_MAJOR", "1"))

# Bundled plugins that talk to the internet or put themselves in front of the user.
QUIET = [
    "achievements", "announcements", "backup", "corewizard", "discovery", "errortracking", "firmware_check",
    "health_check", "pi_support", "pluginmanager", "softwareupdate", "tracking",
]

# Lines of the serial log that mean that OctoPrint and the printer misunderstood each other.
TROUBLE = re.compile(
    r"Recv: Error|<<< Error|Recv: !!|<<< !!|Resend|No response from printer|Timeout while|"
    r"Offline \(Error|Offline after error|Unexpected error|[Cc]ommunication error|could not parse",
)


class OctoPrint:
    """One OctoPrint process; `major` is 1 or 2, the REST surface differs a little."""

    def __init__(self, label, ports_glob="", virtual=False, major=1, serial=None):
        self.label = label
        self.major = major
        venv = process.WORK / ("venv" if major == 1 else "venv2")
        self._program = venv / "bin" / "octoprint"
        self.base = Path(tempfile.mkdtemp(prefix="octoprint-compat-"))
        self.port = process.free_port()
        self.key = secrets.token_hex(16)
        self._process = None
        self._lines, self._read = [], {}
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers["X-Api-Key"] = self.key
        self._write_config(ports_glob, virtual, serial or {})

    def _write_config(self, ports_glob, virtual, overrides):
        serial = {
            "autoconnect": False, "log": True, "additionalPorts": [ports_glob] if ports_glob else [],
            # Auto-detection must not say hello to serial ports of the machine that are not ours.
            "blacklistedPorts": ["/dev/ttyS*", "/dev/ttyUSB*", "/dev/ttyACM*"], **overrides,
        }
        plugins = {"_disabled": QUIET, "virtual_printer": {"enabled": virtual, "sendBusy": False}}
        config = {
            "api": {"key": self.key},
            "server": {
                "firstRun": False, "onlineCheck": {"enabled": False}, "pluginBlacklist": {"enabled": False},
                "startOnceInSafeMode": False, "ignoreIncompleteStartup": True,
            },
            "feature": {"sdSupport": True},
            "events": {"enabled": True},
            "webcam": {"timelapse": {"type": "off"}},
            "plugins": plugins,
        }
        if self.major == 1:
            config["serial"] = serial
        else:
            serial["blocklistedPorts"] = serial.pop("blacklistedPorts")
            plugins["serial_connector"] = serial
        (self.base / "config.yaml").write_text(yaml.safe_dump(config))

    def start(self, attempts=3):
        """Starts OctoPrint and waits until its API answers as this instance."""
        while True:
            try:
                return self._start()
            except RuntimeError:
                attempts -= 1
                if attempts == 0:
                    raise
                # Somebody took the port that was free a moment ago.
                self.port = process.free_port()

    def _start(self):
        self._process = process.start(
            [self._program, "--basedir", self.base, "serve", "--host", "127.0.0.1", "--port", self.port,
             "--iknowwhatimdoing"],
            f"octoprint-{self.label}.log",
        )
        def ready():
            return self._process.poll() is not None or self.request("GET", "/api/version").status_code == 200
        try:
            wait_for(ready, "OctoPrint answers", 90, every=0.5)
        except AssertionError:
            self.stop()
            raise
        if self._process.poll() is not None:
            raise RuntimeError(f"OctoPrint ended with {self._process.returncode}")
        return self

    def kill(self):
        """Ends it as the loss of power would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def restart(self, hard=False):
        """Ends it and starts it again with the same folder, on the same port."""
        if hard:
            self.kill()
        else:
            process.stop(self._process, patience=15)
        return self._start()

    def stop(self):
        if self._process is not None:
            process.stop(self._process, patience=15)
            self._process = None
        kept = process.LOGS / f"octoprint-{self.label}"
        shutil.rmtree(kept, ignore_errors=True)
        if (self.base / "logs").exists():
            shutil.copytree(self.base / "logs", kept)
        shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # REST

    def request(self, method, path, **options):
        return self._http.request(method, f"http://127.0.0.1:{self.port}{path}", timeout=20, **options)

    def get(self, path):
        answer = self.request("GET", path)
        answer.raise_for_status()
        return answer.json()

    def post(self, path, body):
        answer = self.request("POST", path, json=body)
        assert answer.status_code < 300, f"POST {path} {body}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    # Connection

    def state(self):
        return self.get("/api/connection")["current"]["state"]

    def ports(self):
        return self.get("/api/connection")["options"]["ports"]

    def connect(self, port, baudrate=115200):
        """Asks for a connection; AUTO and 0 leave the choice to OctoPrint."""
        self.post("/api/connection", {"command": "connect", "port": port, "baudrate": baudrate, "save": False})

    def connect_and_wait(self, port, baudrate=115200, seconds=30):
        wait_for(lambda: port in self.ports() or port == "AUTO", f"{port} is offered", 15)
        self.connect(port, baudrate)
        self.wait_state("Operational", seconds=seconds)

    def disconnect(self):
        self.post("/api/connection", {"command": "disconnect"})
        self.wait_offline()

    def wait_offline(self, seconds=20):
        wait_for(lambda: self.state().startswith(("Closed", "Offline")), "OctoPrint is offline", seconds)

    def wait_state(self, *prefixes, seconds=30):
        def probe():
            state = self.state()
            assert state.startswith(prefixes), state
            return state
        return wait_for(probe, f"OctoPrint state {' or '.join(prefixes)}", seconds)

    # Printer

    def temperatures(self):
        return self.get("/api/printer?exclude=sd,state")["temperature"]

    def flags(self):
        return self.get("/api/printer?exclude=temperature")["state"]["flags"]

    def command(self, *lines):
        self.post("/api/printer/command", {"commands": list(lines)})

    def tool_target(self, celsius, tool="tool0"):
        self.post("/api/printer/tool", {"command": "target", "targets": {tool: celsius}})

    def bed_target(self, celsius):
        self.post("/api/printer/bed", {"command": "target", "target": celsius})

    @property
    def storage(self):
        """What the printer's own storage is called in paths."""
        return "sdcard" if self.major == 1 else "printer"

    def printer_files(self, force=False):
        """Entries of the printer's storage, folders flattened."""
        query = "?recursive=true" + ("&force=true" if force else "")
        flat, rest = [], self.get(f"/api/files/{self.storage}{query}")["files"]
        while rest:
            entry = rest.pop(0)
            if entry.get("type") == "folder":
                rest += entry.get("children", [])
            else:
                flat.append(entry)
        return flat

    def find(self, display):
        """The entry whose shown name is `display`, with or without a folder in front."""
        return next(
            (f for f in self.printer_files() if f.get("display", f["name"]).rsplit("/", 1)[-1] == display), None
        )

    def select(self, entry, start=False):
        path = entry["path"].lstrip("/")
        self.post(f"/api/files/{self.storage}/{path}", {"command": "select", "print": start})

    def upload(self, name, content, location="local", **fields):
        answer = self.request(
            "POST", f"/api/files/{location}", files={"file": (name, content, "application/octet-stream")}, data=fields
        )
        assert answer.status_code == 201, f"upload of {name}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def prompt(self):
        """The dialog on the screen: its text and its buttons; empty when there is none."""
        return self.get("/api/plugin/action_command_prompt") or {}

    def press(self, button):
        """Presses a button of the dialog by its label."""
        self.post("/api/plugin/action_command_prompt", {"command": "select", "choice": self.prompt()["choices"].index(button)})

    def job(self):
        return self.get("/api/job")

    def start_job(self):
        self.post("/api/job", {"command": "start"})

    def pause(self):
        self.post("/api/job", {"command": "pause", "action": "pause"})

    def resume(self):
        self.post("/api/job", {"command": "pause", "action": "resume"})

    def cancel(self):
        self.post("/api/job", {"command": "cancel"})

    # Log

    def serial_log(self):
        """All lines of the serial dialogue so far, oldest first, over every connection of this instance.

        OctoPrint begins a new log now and then and deletes old ones; what was read once is kept here.
        """
        logs = sorted((self.base / "logs").glob("serial*.log*"), key=lambda path: path.stat().st_mtime)
        for log in logs:
            whole = [line for line in log.read_text("utf-8", "replace").splitlines(keepends=True) if line.endswith("\n")]
            if not whole:
                continue
            which = (log.stat().st_ino, whole[0])
            self._lines += [line.rstrip("\n") for line in whole[self._read.get(which, 0):]]
            self._read[which] = len(whole)
        return self._lines

    def mark(self):
        """A position in the serial log to look from later."""
        return len(self.serial_log())

    def transitions(self, since=0):
        """The states entered since a mark, in order."""
        pattern = re.compile(r'Changing monitoring state from ["\'](.+?)["\'] to ["\'](.+?)["\']')
        found = (pattern.search(line) for line in self.serial_log()[since:])
        return [match.group(2) for match in found if match]

    def received(self, since=0):
        """What the printer said since a mark."""
        pattern = re.compile(r"(?:Recv: |<<< )(.*)$")
        found = (pattern.search(line) for line in self.serial_log()[since:])
        return [match.group(1) for match in found if match]

    def sent(self, since=0):
        """What OctoPrint said since a mark."""
        pattern = re.compile(r"(?:Send: |>>> )(.*)$")
        found = (pattern.search(line) for line in self.serial_log()[since:])
        return [match.group(1) for match in found if match]

    def trouble(self, since=0):
        """Lines that speak of errors, resends or silence; must be empty for a printer that behaves."""
        return [line for line in self.serial_log()[since:] if TROUBLE.search(line)]


if __name__ == "__main__":
    # For a look by hand: python -m harness.octoprint_server '<port glob>'
    with OctoPrint("manual", sys.argv[1] if len(sys.argv) > 1 else "", virtual=len(sys.argv) < 2) as server:
        print(f"http://127.0.0.1:{server.port}/  API key {server.key}; Enter ends it")
        input()
