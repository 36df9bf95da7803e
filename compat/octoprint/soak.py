"""Hours of a real OctoPrint against simulated printers: random pauses, cancels, disconnects, restarts and faults.

    ./compat/run soak --minutes 60 [--seed 7] [--printers p1s,cc1]

After every action OctoPrint and the printer must agree within a bounded time; the serial log must stay free of
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

from harness.demo import Demo  # noqa: E402
from harness.moonraker import Moonraker, make_idle  # noqa: E402
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
        started = self.counts["start"] + self.counts["elsewhere"] + self.counts["reconnect"] + self.counts["restart"]
        done = job["progress"]["completion"] or 0
        key, before = self.last_progress
        assert key != started or done >= before - 0.01, f"progress fell from {before} to {done}"
        self.last_progress = (started, done)

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

    def restart(self):
        """The gateway dies and comes back; the printers of a demo die with it."""
        # OctoPrint rightly calls the end of its port an error; the log before and after must be clean.
        self.clean()
        self.demo.kill()
        self.demo.stop_process()
        self.server.wait_offline()
        self.demo.start()
        self.mark = self.server.mark()
        self.connect()

    def possible(self):
        state = self.print_state()
        always = ["reconnect", "heat"]
        if state == "printing":
            return ["pause"] * 4 + ["cancel"] * 2 + ["cancel_elsewhere", "power_cut", "restart"] + always
        if state == "paused":
            return ["resume"] * 4 + ["cancel", "cancel_elsewhere", "power_cut"] + always
        return ["start"] * 5 + ["elsewhere"] * 2 + ["power_cut", "restart"] + always

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
            # A request that OctoPrint refuses because the print has just ended is its good right.
            if ": 409 " not in str(error):
                raise
        time.sleep(self.choices.uniform(0.2, 4))
        self.agree()
        self.progress()
        self.clean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--printers", default="p1s,h2d,cc1,cc2")
    given = parser.parse_args()
    major = int(os.environ.get("OCTOPRINT_MAJOR", "1"))
    names = given.printers.split(",")
    print(f"seed {given.seed}")
    end = time.monotonic() + given.minutes * 60
    choices, steps, failures = random.Random(given.seed), Counter(), []
    with Demo(20, "demo-soak", printers=names, lifetime=int(given.minutes * 60) + 900) as demo:
        glob = os.path.join(os.path.dirname(demo.printers[0].pty), "*")
        with OctoPrint("soak", glob, major=major) as server:
            while time.monotonic() < end and len(failures) < 20:
                name = choices.choice(names)
                soak = Soak(demo, server, name, choices)
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
                    if not server.state().startswith(("Closed", "Offline")):
                        server.disconnect()
                    if not demo.running():
                        demo.start()
                steps.update(soak.counts)
    print(f"{sum(steps.values())} actions: {dict(steps)}")
    print(f"{sum(steps.values()) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
