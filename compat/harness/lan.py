"""A network of its own for printers with their vendors' ports: one namespace per machine, joined by a bridge.

Nothing leaves it, broadcasts reach everybody in it, and no port of this machine is in the way.
"""

import subprocess
import time
from contextlib import suppress

from harness import process

LIFETIME_SECONDS = 900
NET = "10.77.0"


class Machine:
    """One machine of the network: `run` and `start` put programs on it."""

    def __init__(self, lan, number):
        self.address = f"{NET}.{number}"
        # A machine nobody switches off ends by itself.
        self._holder = process.start(
            ["unshare", "--net", "sh", "-c", f"ip link set lo up && exec sleep {LIFETIME_SECONDS}"], "lan.log")
        self._wait_for_namespace()
        if lan is not None:
            lan.plug(self, number)

    def _wait_for_namespace(self):
        # The shell becomes the sleep once the loopback is up.
        for _ in range(600):
            with open(f"/proc/{self._holder.pid}/comm", encoding="ascii") as name:
                if name.read().strip() == "sleep":
                    return
            assert self._holder.poll() is None, "network namespaces cannot be made here (root is needed)"
            time.sleep(0.05)
        raise AssertionError("the namespace did not come up")

    @property
    def pid(self):
        return self._holder.pid

    def command(self, *arguments):
        """The command line that runs `arguments` on this machine."""
        return ["nsenter", "--net", "--target", str(self.pid), "--", *map(str, arguments)]

    def run(self, *arguments, timeout=60, **options):
        return subprocess.run(self.command(*arguments), timeout=timeout, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, check=False, **options)

    def start(self, *arguments, log, **options):
        return process.start(self.command(*arguments), log, **options)

    def ip(self, *arguments):
        answer = self.run("ip", *arguments)
        assert answer.returncode == 0, answer.stderr

    def off(self):
        process.stop(self._holder)


class Lan:
    """The switch and its machines."""

    def __init__(self):
        self._switch = Machine(None, 1)
        self._switch.ip("link", "add", "br0", "type", "bridge")
        self._switch.ip("link", "set", "br0", "up")
        self._machines = []

    def machine(self):
        machine = Machine(self, 10 + len(self._machines))
        self._machines.append(machine)
        return machine

    def plug(self, machine, number):
        self._switch.ip("link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid))
        self._switch.ip("link", "set", f"port{number}", "master", "br0", "up")
        machine.ip("address", "add", f"{machine.address}/24", "broadcast", "+", "dev", "eth0")
        machine.ip("link", "set", "eth0", "up")
        machine.ip("route", "add", "default", "dev", "eth0")

    def close(self):
        for machine in [*self._machines, self._switch]:
            with suppress(ProcessLookupError):
                machine.off()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
