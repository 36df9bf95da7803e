"""One simulated printer in a process of its own, and a gateway in front of it that can be killed and started again."""

from contextlib import contextmanager

from harness import gateway
from harness.simulated import SimulatedPrinter
from harness.waiting import wait_for


class Gateway(gateway.Gateway):
    """The gateway of a simulated printer; `printer` is what the machine itself knows."""

    def __init__(self, printer, label="gateway", folder=None, settings="", printer_settings=""):
        super().__init__(f"{label}-{printer.model}", printer.keys(), folder=folder, gateway=settings, level="info")
        self.printer = printer
        self._more = printer_settings
        self.runtime.mkdir(parents=True, exist_ok=True)

    def configuration(self):
        keys = {"moonraker_port": self.moonraker_port, **self.printer.keys()}
        return f"{gateway.table(keys)}{self._more}\n"

    @property
    def library(self):
        return self.state / "library" / self.printer.model / "gcodes"

    def start(self, online=True):
        return super().start(online)

    def status(self):
        """The gateway's own view of the printer."""
        return self.status_of(self.printer.model)

    def phase(self):
        return self.status()["job"]["phase"]

    def until_phase(self, *wanted, seconds=90, every=0.02):
        return wait_for(lambda: (phase := self.phase()) in wanted and phase, f"one of {wanted}", seconds, every)


@contextmanager
def farm(model, label, **options):
    """A printer of this model with a gateway in front of it."""
    printer = SimulatedPrinter(model, speed=40, label=label)
    try:
        with Gateway(printer, label=f"{label}-gateway", **options) as started:
            yield started
    finally:
        printer.stop()
