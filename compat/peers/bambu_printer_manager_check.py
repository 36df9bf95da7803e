#!/usr/bin/env python3
"""Drives a (simulated) Bambu printer with the third-party client `bambu-printer-manager` and checks what it sees.

Usage: bambu_printer_manager_check.py HOST ACCESS_CODE SERIAL

Needs the printer's own ports (8883, 990) on HOST and an idle printer that holds `cube.gcode.3mf`, run fast
(`--speed 30`). The exit code is the number of failed expectations.
"""
import json
import sys
import time

from bpm.bambuconfig import BambuConfig
from bpm.bambuprinter import BambuPrinter
from bpm.bambutools import PlateType

failures = []


def until(what, condition, deadline=60.0):
    """Waits for a condition; notes a failure when it does not come."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            if condition():
                print(f"ok   {what}")
                return
        except Exception:  # the client raises while it has no data yet
            pass
        time.sleep(0.2)
    print(f"FAIL {what}")
    failures.append(what)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    printer = BambuPrinter(BambuConfig(*sys.argv[1:4]))

    def state():
        return printer.printer_state.gcode_state

    printer.start_session()
    try:
        until("state IDLE", lambda: state() in ("IDLE", "FINISH", "FAILED"), 20)
        until("firmware is known", lambda: printer.config.firmware_version.count(".") == 3)
        until("the sample is on the card", lambda: "cube.gcode.3mf" in json.dumps(printer.get_sdcard_contents()), 20)
        printer.set_bed_temp_target(50)
        until("bed target", lambda: printer.printer_state.climate.bed_temp_target == 50)
        units = bool(printer.printer_state.ams_units)
        if units:
            printer.load_filament(1, 0)
            until("slot 1 is loaded", lambda: printer.printer_state.active_tray_id == 1)
            printer.unload_filament(0)
            until("unloaded", lambda: printer.printer_state.active_tray_id in (255, -1))
        printer.print_3mf_file("/cube.gcode.3mf", 1, PlateType.AUTO, units, "[0]" if units else "")
        until("the print runs", lambda: state() == "RUNNING")
        printer.pause_printing()
        until("paused", lambda: state() == "PAUSE")
        printer.resume_printing()
        until("runs again", lambda: state() == "RUNNING")
        printer.stop_printing()
        until("stopped: FAILED", lambda: state() == "FAILED")
    finally:
        printer.quit()
    print(f"{len(failures)} failed")
    sys.exit(len(failures))


if __name__ == "__main__":
    main()
