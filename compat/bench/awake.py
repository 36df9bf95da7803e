"""Keeps the processors from falling asleep: waking one may take longer than what is measured, and is no program's own.

Run as a program it spins below everything else (Linux's SCHED_IDLE) until its input ends.
"""

import os
import select
import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def awake():
    """One spinner for each processor that may be used."""
    spinners = []
    try:
        for processor in os.sched_getaffinity(0):
            spinners.append(subprocess.Popen([sys.executable, __file__, str(processor)],
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        for spinner in spinners:
            if not spinner.stdout.readline():
                raise RuntimeError("a processor cannot be kept awake")
        yield
    finally:
        for spinner in spinners:
            spinner.stdin.close()
            spinner.wait(10)
            spinner.stdout.close()


def spin(processor):
    os.sched_setaffinity(0, {processor})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    print("awake", flush=True)
    # Nothing is ever sent: it becomes readable with the end of the program that started this one.
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(10_000):
            pass


if __name__ == "__main__":
    spin(int(sys.argv[1]))
