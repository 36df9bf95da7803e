"""The virtual serial port as a terminal program sees it."""

import os
import select
import time


class Serial:
    """The virtual serial port as a terminal program sees it."""

    def __init__(self, path):
        self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def send(self, line):
        os.write(self._file, line.encode() + b"\n")

    def read_until(self, ends, seconds=10.0):
        """Lines up to one for which `ends` holds."""
        deadline, text = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._file], [], [], 0.2)
            if ready:
                try:
                    text += os.read(self._file, 65536).decode(errors="replace")
                except BlockingIOError:
                    continue
            lines = text.splitlines()
            if any(ends(line) for line in lines):
                return lines
        return text.splitlines()

    def ask(self, line, seconds=10.0):
        self.send(line)
        return self.read_until(lambda answer: answer.startswith(("ok", "Error", "!!")), seconds)

    def close(self):
        os.close(self._file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
