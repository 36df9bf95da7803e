"""Printers that tell little, late, or in other words than the captured ones: public emulators and bridges are like that.
Their reports go through Debian's mosquitto."""

import json
import socket
import struct
import threading
from contextlib import contextmanager

import pytest

from harness.gateway import Gateway
from harness.moonraker import RpcError
from harness.replay_printer import ReplayPrinter
from harness.waiting import wait_for

IDLE = {"gcode_state": "IDLE", "print_error": 0, "mc_percent": 0, "subtask_name": "", "gcode_file": ""}


class OddPrinter(ReplayPrinter):
    """Answers requests as `answer(printer, category, body)` says."""

    def __init__(self, serial, answer, **options):
        super().__init__(serial, "p1p-01.08.02.00-finish-noams", overrides=IDLE, **options)
        self.answer = answer

    def _received(self, payload):
        (category, body), = json.loads(payload).items()
        with self._answered:
            self.requests.append((category, body))
        self.answer(self, category, body)

    def report_all(self, **changes):
        """Everything at once, as the smallest emulators do it: no number, no word of what kind it is."""
        self.report.update(changes)
        self.publish("print", self.report)


@contextmanager
def gateway_of(printer, label, **keys):
    with printer, Gateway(label, printer.config(**keys)) as gateway:
        yield gateway


def asks_all(category, body):
    return (category, body.get("command")) == ("pushing", "pushall")


def test_nothing_is_acknowledged_and_everything_told():
    """No get_version, no acknowledgement, no `msg`, no `sequence_id`: what the report shows is what happened."""
    def answer(printer, category, body):
        printer.report.pop("msg", None)
        printer.report.pop("sequence_id", None)
        if asks_all(category, body):
            printer.report_all()
        elif "M140 S50" in body.get("param", ""):
            printer.report_all(bed_target_temper=50)
        elif body.get("command") == "print_speed":
            printer.report_all(spd_lvl=int(body["param"]), spd_mag=124)

    with gateway_of(OddPrinter("01S00A000000090", answer), "odd-mute") as gateway:
        gateway.wait_ready()
        with gateway.moonraker() as client:
            assert client.gcode("M140 S50") == "ok"
            assert client.gcode("SPEED_PROFILE LEVEL=Sport") == "ok"
            assert client.query("heater_bed")["heater_bed"]["target"] == 50


def test_only_parts_of_the_state_are_told():
    """`pushall` brings the same partial report each time; what is told is shown, and nothing is waited for for ever."""
    def answer(printer, category, body):
        if category == "pushing":
            printer.delta(gcode_state="IDLE", bed_temper=31, nozzle_temper="28.5", bed_target_temper="0")

    with gateway_of(OddPrinter("01S00A000000091", answer), "odd-parts") as gateway:
        gateway.wait_ready(60)
        with gateway.moonraker() as client:
            assert client.query("heater_bed")["heater_bed"]["temperature"] == pytest.approx(31)
            assert client.query("extruder")["extruder"]["temperature"] == pytest.approx(28.5)


def test_other_words_and_other_types():
    """Numbers as text, text as numbers, states in the words of other programs: a job is followed all the same."""
    def answer(printer, category, body):
        if asks_all(category, body):
            printer.report_all(bed_temper="25", nozzle_temper=25, wifi_signal=-48, sdcard="true", home_flag="0",
                               cooling_fan_speed=7, layer_num="0", total_layer_num="40", mc_remaining_time="10")

    printer = OddPrinter("01S00A000000092", answer)
    with gateway_of(printer, "odd-words") as gateway:
        gateway.wait_ready()
        with gateway.moonraker() as client:
            for word, state in (("PRINTING", "printing"), ("PAUSED", "paused"), ("RUNNING", "printing"),
                                ("FINISHED", "complete")):
                printer.delta(gcode_state=word, gcode_file="cube.3mf", mc_percent="50")
                wait_for(lambda state=state: client.print_state() == state, f"{word} is {state}", 20)


@contextmanager
def detect_port(serial, code):
    """Answers the identity probe as the captured A1 mini did (bambu.md 1.2), for another printer."""
    server = socket.create_server(("127.0.0.1", 0))
    body = json.dumps({"login": {"command": "detect", "sequence_id": "20004", "id": serial, "model": code, "bind": "free",
                                 "connect": "lan", "dev_cap": 1, "name": "detected", "version": "01.00.00.00"}}).encode()
    frame = b"\xa5\xa5" + struct.pack("<H", len(body) + 6) + body + b"\xa7\xa7"

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(frame)
    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def versions(product):
    """What get_version answers, or nothing."""
    def answer(printer, category, body):
        if asks_all(category, body):
            printer.report_all()
        elif body.get("command") == "get_version" and product:
            module = {"name": "ota", "sw_ver": "01.01.00.00", "product_name": product, "sn": printer.serial}
            printer.publish("info", {"command": "get_version", "sequence_id": body["sequence_id"], "module": [module]})
    return answer


# Answer of get_version, code of the detect port, serial number, and the printer that it is.
IDENTITIES = {
    "the product decides": ("Bambu Lab H2C", "O1S", "09400A000000093", "H2C"),
    "as a bridge writes it": ("P1S", None, "01S00A000000094", "P1S"),
    "the detect port": (None, "O1S", "09400A000000095", "H2S"),
    "the serial number": (None, None, "22E00A000000096", "P2S"),
    "nobody knows it": ("Bambu Lab H9", None, "09400A000000097", "unknown model"),
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_who_it_is(case):
    product, code, serial, model = IDENTITIES[case]
    printer = OddPrinter(serial, versions(product))
    with detect_port(serial, code or "") as port:
        with gateway_of(printer, f"odd-{serial[-3:]}", detect_port=port if code else 1) as gateway:
            gateway.wait_ready()
            wait_for(lambda: gateway.info()["result"]["cpu_info"].startswith(f"Bambu Lab {model},"),
                     f"{case}: {gateway.info()}", 20)
            if model == "unknown model":
                with gateway.moonraker() as client, pytest.raises(RpcError, match="does not know this model"):
                    client.gcode("M140 S50")
