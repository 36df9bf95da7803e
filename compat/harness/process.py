"""Child processes that are logged, bounded, and ended by their own process group only."""

import os
import random
import signal
import socket
import subprocess
from pathlib import Path

TARGET = Path(os.environ.get("MOONGATE_TARGET", Path(__file__).resolve().parents[2] / "target"))
WORK = TARGET / "compat"
LOGS = WORK / "logs"


def binary():
    """The released binary under test; MOONGATE_BIN names another one."""
    return Path(os.environ.get("MOONGATE_BIN", TARGET / "release" / "moongate"))


def free_port():
    """A TCP port on loopback that was free a moment ago.

    It lies below those that the system gives to outgoing connections, which would take it before it is used.
    """
    for _ in range(1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.SystemRandom().randrange(20000, 32000)))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise OSError("no port of 20000 to 32000 is free")


def start(arguments, log_name, env=None, stdout=None):
    """Starts a process in a group of its own, standard error (and output, unless given) into `LOGS/log_name`."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = open(LOGS / log_name, "ab")
    try:
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout if stdout is not None else log,
            stderr=log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    finally:
        log.close()


def stop(process, patience=10.0, first=signal.SIGTERM):
    """Asks the process to end, kills its group when it does not within `patience` seconds; returns the exit code."""
    if process.poll() is None:
        process.send_signal(first)
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return process.wait(patience)
