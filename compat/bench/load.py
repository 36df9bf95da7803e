"""The program `load` (Rust, beside this file): printers, clients and bare copies that are not the bottleneck."""

import json
import os
import subprocess
import threading
from pathlib import Path

from harness import process

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parents[1] / "fixtures"
PICTURE_BYTES = 100_000
PICTURES_PER_SECOND = 30


def build():
    """The program's path, built when it is not up to date."""
    folder = process.WORK / "load"
    subprocess.run(["cargo", "build", "--release", "--locked", "--manifest-path", HERE / "load" / "Cargo.toml"],
                   check=True, env={**os.environ, "CARGO_TARGET_DIR": str(folder)})
    return folder / "release" / "moongate-load"


class Load:
    """One running load program; each order is answered before the next one is given."""

    def __init__(self, program):
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, order, patience=300, **details):
        guard = threading.Timer(patience, self._process.kill)
        guard.start()
        try:
            self._process.stdin.write(json.dumps({"do": order, **details}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            guard.cancel()
        if not line:
            raise RuntimeError(f"the load program ended at {order!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{order}: {answer['error']}")
        return answer

    def farm(self, certificate, key, report="p1s-finish-ams2pro"):
        """Starts the printers, which tell this captured report; answers with their ports."""
        return self.ask(
            "farm", certificate=str(certificate), key=str(key),
            report=str(FIXTURES / "bambu" / f"report-pushall-{report}.json"),
            versions=str(FIXTURES / "bambu" / "info-get_version-p1p-01.08.02.00-finish-noams.json"),
            picture_bytes=PICTURE_BYTES, pictures_per_second=PICTURES_PER_SECOND,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
