"""`moongate trust` where the configuration itself says which printer it is."""

from harness.simulated import SimulatedPrinter
from harness.single import Gateway
from harness.waiting import wait_for

ELSEWHERE = "ab" * 16


def test_a_configured_serial_decides():
    printer = SimulatedPrinter("cc1", speed=40, label="trust-named")
    gateway = Gateway(printer, "trust-named-gateway", printer_settings=f'serial = "{ELSEWHERE}"')
    try:
        gateway.start(online=False)
        fault = wait_for(lambda: gateway.status()["link_fault"], "it is told who answers", 30)
        assert fault["code"] == "MG-CC1-OTHER" and ELSEWHERE in fault["text"], fault
        assert "in serial, and restart the gateway" in fault["remedy"] and "moongate trust" not in fault["remedy"], fault
        code, told = gateway.cli("trust", "cc1")
        assert code == 1 and "in serial there, and restart the gateway" in told, (code, told)
    finally:
        gateway.remove()
        printer.stop()
