"""Hours of a real OctoPrint against simulated printers: random pauses, cancels, disconnects, restarts and faults.

    ./compat/run octosoak --minutes 60 [--seed 7] [--printers p1s,cc1]

The gateway and OctoPrint end in both ways and come back while the printers go on; printers lose power, run out of
filament, fail, and are used at their own screens. After every action OctoPrint and the printer must agree within a bounded time; the serial log must stay free of
communication errors and resends; progress never goes back within a print. The seed is printed: the same seed makes the
same choices, though not the same moments.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.household import Household  # noqa: E402
from harness.moonraker import Moonraker, RpcError, make_idle  # noqa: E402
from harness.octoprint_server import OctoPrint  # noqa: E402
from harness.waiting import wait_for  # noqa: E402

# What each side says of the same thing; a printer that is away is no printer.
BELIEFS = {
    "printing": ("Printing", "Starting", "Resuming"),
    "paused": ("Paused",),
    "standby": ("Operational",), "complete": ("Operational",), "cancelled": ("Operational",), "error": ("Operational",),
}
# How long they may differ: a print's end, or a job that an absent printer lost, is noticed within this time.
AGREE_SECONDS = 90
# Percent that OctoPrint's progress may differ from the printer's: it is by time, theirs by lines (octoprint.md 6).
NEAR = 25
SPEED = 8


class Soak:
    def __init__(self, demo, server, name, choices):
        self.demo, self.server, self.name, self.choices = demo, server, name, choices
        self.counts, self.mark, self.last_progress = Counter(), server.mark(), (None, 0)

    @property
    def printer(self):
        return self.demo.printer(self.name)

    def moonraker(self):
        return Moonraker(self.printer.url)

    def print_state(self):
        with self.moonraker() as client:
            return client.print_state()

    def connect(self):
        if self.server.state().startswith(("Closed", "Offline")):
            wait_for(lambda: self.printer.pty in self.server.ports(), "the pty is offered", 20)
            self.server.connect(self.printer.pty)
            self.server.wait_state("Operational", "Printing", "Paused", seconds=30)

    def agree(self):
        """Both sides tell the same of the print."""
        def same():
            state, belief = self.print_state(), self.server.state()
            assert belief.startswith(BELIEFS[state]), f"printer {state}, OctoPrint {belief}"
            return True
        wait_for(same, "OctoPrint and the printer agree", AGREE_SECONDS, every=0.5)

    def progress(self):
        """Progress of the print OctoPrint shows never falls."""
        if not self.server.state().startswith(("Printing", "Paused")):
            self.last_progress = (None, 0)
            return
        job = self.server.job()
        # Each of these shows OctoPrint a print anew.
        started = sum(self.counts[what] for what in (
            "start", "elsewhere", "reconnect", "gateway_ends", "gateway_killed", "octoprint_ends", "octoprint_killed"))
        done = job["progress"]["completion"] or 0
        key, before = self.last_progress
        assert key != started or done >= before - 0.01, f"progress fell from {before} to {done}"
        self.last_progress = (started, done)
        wait_for(self.near, "OctoPrint shows the printer's progress", AGREE_SECONDS, every=0.5)

    def near(self):
        """A job of seconds moves on while OctoPrint asks once a second: it is near at some look, not at each."""
        with self.moonraker() as client:
            printed = 100 * client.query("virtual_sdcard")["virtual_sdcard"]["progress"]
            running = client.print_state() == "printing"
        done = self.server.job()["progress"]["completion"] or 0
        assert not running or abs(printed - done) < NEAR, f"OctoPrint shows {done:.0f} %, the printer {printed:.0f} %"
        return True

    # Actions; each is named by what a user would call it.

    def start(self):
        entry = wait_for(lambda: self.server.find("cube.gcode"), "cube.gcode is listed", 60)
        self.server.select(entry, start=True)
        self.server.wait_state("Printing", "Operational", seconds=30)

    def elsewhere(self):
        with self.moonraker() as client:
            client.call("printer.print.start", {"filename": "cube.gcode"}, 60)

    def pause(self):
        self.server.pause()

    def resume(self):
        self.server.resume()

    def cancel(self):
        self.server.cancel()

    def cancel_elsewhere(self):
        with self.moonraker() as client:
            client.call("printer.print.cancel", seconds=90)

    def heat(self):
        self.server.tool_target(self.choices.choice([0, 60, 200]))

    def reconnect(self):
        self.server.disconnect()
        self.connect()

    def power_cut(self):
        if self.printer.kind == "bambu":
            self.printer.simulator().fault("power_cut", seconds=self.choices.uniform(1, 8))
        else:
            with self.printer.without_power():
                time.sleep(self.choices.uniform(1, 8))
        def back():
            with self.moonraker() as client:
                return client.call("server.info")["klippy_state"] == "ready"
        wait_for(back, "the printer is back", 120, every=1)

    def pause_at_screen(self):
        self.printer.simulator().fault("pause_at_screen")

    def cancel_at_screen(self):
        self.printer.simulator().fault("cancel_at_screen")

    def runout(self):
        """Filament runs out; somebody fills up, where the printer notices."""
        simulator = self.printer.simulator()
        simulator.fault("runout")
        self.server.wait_state("Paused", "Operational", seconds=60)
        refill = {"bambu": "refill", "elegoo_cc2": "filament_loaded"}.get(self.printer.kind)
        if refill:
            simulator.fault(refill)

    def fail(self):
        if self.printer.kind == "bambu":
            self.printer.simulator().fault("fail_job", code=0x0300_8008)
        else:
            self.printer.simulator().fault("fail")

    def gateway_ends(self):
        self.gateway_away(self.demo.stop_process)

    def gateway_killed(self):
        self.gateway_away(self.demo.kill)

    def gateway_away(self, end):
        # OctoPrint rightly calls the end of its port an error; the log before and after must be clean.
        self.clean()
        end()
        self.demo.stop_process()
        self.server.wait_offline()
        self.demo.start()
        self.mark = self.server.mark()
        self.connect()

    def octoprint_ends(self):
        self.server.restart()
        self.connect()

    def octoprint_killed(self):
        self.server.restart(hard=True)
        self.connect()

    def possible(self):
        state = self.print_state()
        always = ["reconnect"] * 3 + ["heat", "gateway_ends", "gateway_killed", "octoprint_ends", "octoprint_killed"]
        at_screen = self.printer.kind == "bambu"
        if state == "printing":
            screen = ["pause_at_screen"] * 2 + ["cancel_at_screen"] if at_screen else []
            return ["pause"] * 8 + ["cancel"] * 3 + ["cancel_elsewhere", "power_cut", "runout", "fail"] + screen + always
        if state == "paused":
            screen = ["cancel_at_screen"] if at_screen else []
            return ["resume"] * 8 + ["cancel"] * 2 + ["cancel_elsewhere", "power_cut"] + screen + always
        return ["start"] * 12 + ["elsewhere"] * 4 + ["power_cut"] + always

    def clean(self):
        trouble = self.server.trouble(self.mark)
        assert trouble == [], trouble

    def step(self):
        action = self.choices.choice(self.possible())
        self.counts[action] += 1
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {action}", flush=True)
        try:
            getattr(self, action)()
        except AssertionError as error:
            # A request that OctoPrint or the machine refuses because the print has just ended is its good right.
            if ": 409 " not in str(error) and "simulator refused" not in str(error):
                raise
        except RpcError as error:
            if action not in ("elsewhere", "cancel_elsewhere"):
                raise
            print(f"    refused: {error}", flush=True)
        time.sleep(self.choices.uniform(0.2, 4))
        self.agree()
        self.progress()
        self.clean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--printers", default="p1s,h2d,cc1,cc2")
    # Words for the other suites (`-k`) come along when everything is run.
    given, _others = parser.parse_known_args()
    major = int(os.environ.get("OCTOPRINT_MAJOR", "1"))
    names = given.printers.split(",")
    print(f"seed {given.seed}")
    end = time.monotonic() + given.minutes * 60
    choices, steps, failures = random.Random(given.seed), Counter(), []
    with Household(names, SPEED, "soak", lifetime=int(given.minutes * 60) + 900) as gateway:
        with OctoPrint("soak", str(gateway.folder / "run" / "*"), major=major) as server:
            while time.monotonic() < end and len(failures) < 20:
                name = choices.choice(names)
                soak = Soak(gateway, server, name, choices)
                try:
                    with soak.moonraker() as client:
                        make_idle(client)
                    soak.connect()
                    for _ in range(8):
                        soak.step()
                        if time.monotonic() >= end:
                            break
                    server.disconnect()
                except Exception as error:  # noqa: BLE001 - told, counted, and gone on from
                    failures.append(f"{name} after {dict(soak.counts)}: {type(error).__name__}: {error}")
                    print("FAILED", failures[-1], flush=True)
                    if not gateway.running():
                        gateway.start()
                    if not server.state().startswith(("Closed", "Offline")):
                        server.disconnect()
                steps.update(soak.counts)
    print(f"{sum(steps.values())} actions: {dict(steps)}")
    print(f"{sum(steps.values()) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
