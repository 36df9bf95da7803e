"""One gateway with several simulated printers that outlive it: it offers what `Demo` does, and a print goes on."""

from harness import process
from harness.demo import Printer
from harness.gateway import GatewayProcess, table
from harness.moonraker import http
from harness.samples import sample
from harness.simulated import SimulatedPrinter
from harness.waiting import wait_for


class Household(GatewayProcess):
    """Printers by their names in the demo; the gateway is ended by `kill` or `stop_process` and comes back by `start`."""

    def __init__(self, names, speed=20, label="household", options="", lifetime=900, access=""):
        super().__init__(label, access=access)
        self._machines, self.printers, self._options = [], [], options
        for name in names:
            machine = SimulatedPrinter(name, speed, label, lifetime)
            self._machines.append(machine)
            self.printers.append(Printer(name, machine.kind, process.free_port(), str(self.runtime / name),
                                         *machine.control.address))
            self.seed(name, *sample(name))

    def configuration(self):
        return "".join(table({**machine.keys(), "moonraker_port": printer.port}) + self._options + "\n"
                       for machine, printer in zip(self._machines, self.printers, strict=True))

    def printer(self, name):
        return next(p for p in self.printers if p.name == name)

    def start(self):
        """Starts the gateway and waits until every printer is online."""
        self.launch()
        for printer in self.printers:
            def ready(url=printer.url):
                assert self.running(), f"the gateway ended; see {self.log}"
                return http("GET", f"{url}/server/info").json()["result"]["klippy_state"] == "ready"
            wait_for(ready, f"{printer.name} is online", self.ONLINE_SECONDS)
        return self

    # The words of `Demo`.
    running = GatewayProcess.alive
    stop_process = GatewayProcess.stop

    def remove(self):
        super().remove()
        for machine in self._machines:
            machine.stop()
