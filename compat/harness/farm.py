"""One gateway with several simulated printers in processes of their own, each behind wires that can be made bad."""

from harness import process
from harness.front import FrontEnds
from harness.gateway import GatewayProcess, table
from harness.moonraker import http
from harness.samples import sample
from harness.serial import Serial
from harness.simulated import PORTS, SimulatedPrinter
from harness.waiting import wait_for
from harness.wire import Wires

LIFETIME = 3600


class FarmPrinter(FrontEnds, SimulatedPrinter):
    """A simulated printer, the wires to it, and what the gateway shows of it."""

    def __init__(self, name, speed, label, link):
        super().__init__(name, speed, label, LIFETIME)
        self.wires = Wires()
        self.port = process.free_port()
        self.link = link

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ports(self):
        """Its services lie behind wires; those that exist keep their ports."""
        return {PORTS[service]: self.wires.lead(service, place, datagrams=service == "discovery")
                for service, place in self.addresses.items() if service in PORTS}

    def mend(self):
        """Everything that was made wrong is right again, also on the way, and it has power."""
        quality = self.wires.quality
        if quality.held:
            self.wires.cut()
        quality.delay, quality.loss, quality.held = 0.0, 0.0, False
        super().mend()
        if not self.ready():
            self.power_on()

    def start_print(self, file="cube.gcode", seconds=60):
        with self.moonraker() as client:
            client.call("printer.print.start", {"filename": file}, seconds)

    def until_printing(self, seconds=90):
        """Until the machine itself is at the print, whose file has arrived."""
        def printing():
            truth = self.truth()
            return (truth["gcode_state"] if self.bambu else truth["stage"]) in ("RUNNING", "Printing")
        wait_for(lambda: printing() and self.print_state() == "printing", f"{self.name} prints", seconds)

    def stop(self):
        super().stop()
        self.wires.close()


class Farm(GatewayProcess):
    """Simulators, wires and one gateway on free ports; the gateway can be stopped, killed and started anew."""

    def __init__(self, names=("p1s", "cc1", "cc2"), speed=20, label="farm", printer="", **options):
        super().__init__(label, **options)
        self.printer_settings = printer
        self.printers = []
        for name in names:
            self.printers.append(FarmPrinter(name, speed, label, self.runtime / name))
            self.seed(name, *sample(name))

    def __getitem__(self, name):
        return next(p for p in self.printers if p.name == name)

    def configuration(self):
        return "".join(table({**printer.keys(), "moonraker_port": printer.port}) + self.printer_settings + "\n"
                       for printer in self.printers)

    def start(self, online=True):
        self.launch()
        if online:
            self.wait_up()
            wait_for(lambda: all(p.ready() for p in self.printers), "all printers are online", self.ONLINE_SECONDS)
        return self

    def restart(self):
        self.terminate()
        return self.start()

    def shown(self, name, serial=True):
        """What each front end shows of a printer, side by side."""
        printer, status = self[name], self.status_of(name)
        view = {
            "klippy": printer.get("/server/info")["klippy_state"],
            "message": http("GET", f"{printer.url}/printer/info").text,
            "octoprint": printer.octoprint("connection").json()["current"]["state"],
            "octoprint_printer": printer.octoprint("printer").status_code,
            "link": status["link"],
            "fault": (status["link_fault"] or {}).get("code"),
            "remedy": (status["link_fault"] or {}).get("remedy"),
            "phase": status["job"]["phase"],
            "camera": http("GET", f"{printer.url}/webcam/?action=snapshot", 20).status_code,
        }
        if serial:
            with Serial(printer.link) as port:
                view["serial"] = port.ask("M105")
        return view

    def remove(self):
        super().remove()
        for printer in self.printers:
            printer.stop()
