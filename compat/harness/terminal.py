"""A program on a terminal of its own: what a person at the keyboard sees and types."""

import os
import pty
import re
import select
import signal
import subprocess
import time

from harness.process import LOGS


class Terminal:
    """Runs a command on a pty; `expect` waits for words, `type` answers."""

    def __init__(self, command, env=None, log="terminal.log", size=(50, 160)):
        ours, theirs = pty.openpty()
        self._end = ours
        self.seen = ""
        self._read_to = 0
        LOGS.mkdir(parents=True, exist_ok=True)
        self._log = LOGS / log
        import fcntl
        import struct
        import termios
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

        def own_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own_terminal,
            env={**os.environ, "TERM": "xterm", **(env or {})})
        os.close(theirs)

    def _more(self, seconds):
        ready, _, _ = select.select([self._end], [], [], seconds)
        if not ready:
            return True
        try:
            part = os.read(self._end, 65536)
        except OSError:
            # The other side has been closed by its last program.
            return False
        self.seen += part.decode(errors="replace")
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(part.decode(errors="replace"))
        return bool(part)

    def expect(self, pattern, seconds=60):
        """Waits for a regular expression after what was expected before; returns the match."""
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.seen[self._read_to:])
            if found:
                self._read_to += found.end()
                return found
            left = deadline - time.monotonic()
            if left <= 0 or not self._more(min(left, 0.5)):
                raise AssertionError(f"not seen: {pattern!r}; seen: {self.seen[-3000:]!r}")

    def type(self, text):
        os.write(self._end, text.encode())

    def enter(self, text=""):
        self.type(text + "\n")

    def interrupt(self):
        """Ctrl-C, as the terminal makes it."""
        self.type("\x03")

    def wait(self, seconds=60):
        """Reads on until the program ends; its exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; seen: {self.seen[-3000:]!r}"
            self._more(0.1)
        while self._more(0.05) and select.select([self._end], [], [], 0)[0]:
            pass
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        os.close(self._end)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
