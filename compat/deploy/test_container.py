"""What can be judged of the container without Docker: its health check, its compiler, the files that it is built from."""

import os
import re
import signal
import subprocess

from harness.command import REPOSITORY
from harness.demo import binary
from harness.moonraker import http
from harness.waiting import wait_for

DOCKERFILE = (REPOSITORY / "deploy/docker/Dockerfile").read_text(encoding="utf-8")


def health(config):
    command = re.search(r"^HEALTHCHECK.*\\\n +CMD (.+)$", DOCKERFILE, re.MULTILINE).group(1)
    done = subprocess.run(["sh", "-c", command.replace("/usr/bin/moongate", str(binary()))], capture_output=True, timeout=60,
                          check=False, env={**os.environ, "MOONGATE_CONFIG": str(config)})
    return done.returncode


def test_health_is_whether_the_gateway_answers(service, printers):
    running = service([printers[0].table("cc1")], access="force_logins = true\n").start().ready()
    wait_for(lambda: health(running.config) == 0, "healthy")
    answer = http("POST", f"{running.url}/printers/cc1/access/user", json={"username": "anna", "password": "secret-word"})
    assert answer.ok, answer.text
    assert http("GET", running.url + "/status").status_code == 401
    wait_for(lambda: health(running.config) == 0, "healthy, though it lets nobody in without a login")
    # Its parent is `timeout`.
    gateway = int(subprocess.run(["pgrep", "--parent", str(running.process.pid)], capture_output=True, check=True).stdout)
    os.kill(gateway, signal.SIGSTOP)
    try:
        assert health(running.config) == 1, "one that hangs is not"
    finally:
        os.kill(gateway, signal.SIGCONT)
    running.stop()
    assert health(running.config) == 1, "nor one that has ended"


def test_it_is_built_by_the_compiler_that_is_asked_for():
    package = (REPOSITORY / "Cargo.toml").read_text(encoding="utf-8")
    oldest = re.search(r'^rust-version = "(.+)"$', package, re.MULTILINE).group(1)
    assert f"\nFROM docker.io/library/rust:{oldest}-bookworm AS build\n" in DOCKERFILE


def test_what_the_program_includes_is_sent_to_the_builder():
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    folders = [REPOSITORY / name for name in ignored if (REPOSITORY / name).is_dir()]
    assert REPOSITORY / "compat" in folders
    included = [
        (source.parent / name).resolve()
        for source in (REPOSITORY / "src").rglob("*.rs")
        for name in re.findall(r'include_(?:str|bytes)!\((?:concat!\()?"([^"]+)"', source.read_text(encoding="utf-8"))
    ]
    assert len(included) > 10
    assert [path for path in included if any(path.is_relative_to(folder) for folder in folders)] == []
