"""OctoPrint's virtual printer by itself: run with OctoPrint's own Python; prints the seconds of M105 rounds as JSON.

    virtual_printer.py ROUNDS THROTTLE

It is an object in OctoPrint's process, so no pty and no second process stand between the two sides here.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import octoprint.plugin
from octoprint.plugins.virtual_printer import VirtualPrinterPlugin
from octoprint.plugins.virtual_printer.virtual import VirtualPrinter

WARM_UP = 10


class Settings:
    """The plugin's defaults, read as OctoPrint's settings are."""

    def __init__(self, folder, throttle):
        self.values = {**VirtualPrinterPlugin().get_settings_defaults(), "throttle": throttle, "simulateReset": False}
        self.folder = folder

    def get(self, path, **_):
        value = self.values
        for name in path:
            value = value[name]
        return value

    def get_int(self, path, **_):
        return int(self.get(path))

    def get_float(self, path, **_):
        return float(self.get(path))

    def get_boolean(self, path, **_):
        return bool(self.get(path))

    def global_get_basefolder(self, _name):
        return str(self.folder)

    def global_get(self, _path, **_):
        return None


def round_trip(printer):
    began = time.perf_counter()
    printer.write(b"M105\n")
    while not printer.readline().startswith(b"ok"):
        assert time.perf_counter() - began < 10, "the virtual printer does not answer"
    return time.perf_counter() - began


def main():
    rounds, throttle = int(sys.argv[1]), float(sys.argv[2])
    folder = Path(tempfile.mkdtemp(prefix="virtual-printer-"))
    octoprint.plugin.plugin_manager(init=True, plugin_folders=[], plugin_bases=[], plugin_entry_points=[])
    printer = VirtualPrinter(Settings(folder, throttle), None, str(folder))
    seconds = [round_trip(printer) for _ in range(rounds + WARM_UP)][WARM_UP:]
    print(json.dumps(seconds), flush=True)
    # Its threads end with nothing but the process.
    os._exit(0)


if __name__ == "__main__":
    main()
