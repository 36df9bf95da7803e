"""The commands of the program, as a script runs them."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.demo import binary

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"

DONE, FAILED, USAGE, CONFIG, UNAVAILABLE, LATER = 0, 1, 2, 64, 69, 75


@dataclass
class Answer:
    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)

    def lines(self):
        return [json.loads(line) for line in self.out.splitlines() if line.strip()]


def moongate(*arguments, env=None, timeout=120, given="", cwd=None):
    """Runs one command to its end, in a pipe: no terminal anywhere."""
    done = subprocess.run(
        [binary(), *map(str, arguments)], input=given, capture_output=True, text=True, timeout=timeout, cwd=cwd,
        env={**os.environ, **(env or {})}, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)
