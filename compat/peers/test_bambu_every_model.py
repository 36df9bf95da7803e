"""Every simulated Bambu model behind the gateway: it comes online as itself and prints a sliced file to its end."""

import pytest

from harness.demo import Demo
from harness.moonraker import Moonraker
from harness.waiting import wait_for

# Name of the simulated model, and the product that it is.
MODELS = {
    "x1": "Bambu Lab X1", "x1c": "Bambu Lab X1C", "x1e": "Bambu Lab X1E", "p1p": "Bambu Lab P1P",
    "p1s": "Bambu Lab P1S", "a1": "Bambu Lab A1", "a1mini": "Bambu Lab A1 mini", "a2l": "Bambu Lab A2L",
    "p2s": "Bambu Lab P2S", "x2d": "Bambu Lab X2D", "h2s": "Bambu Lab H2S", "h2d": "Bambu Lab H2D",
    "h2dpro": "Bambu Lab H2D Pro", "h2c": "Bambu Lab H2C",
    # The first firmware of the X1C, which tells everything each time.
    "x1c-early": "Bambu Lab X1C",
}
# Where the captured report has another filament than the sample's PLA, somebody tells the printer of a change of spools.
SPOOLS = {"p1p": "external", "a2l": "16.1", "h2s": "0.0"}
FAST = 150


@pytest.fixture(scope="module")
def farm():
    with Demo(FAST, "every-bambu", printers=list(MODELS), lifetime=900) as demo:
        yield demo


def test_all_are_there(farm):
    assert len(farm.printers) == len(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_it_prints_to_the_end(farm, model):
    printer = farm.printer(model)
    with Moonraker(printer.url) as client:
        assert client.call("printer.info")["cpu_info"].startswith(MODELS[model] + ",")
        if model in SPOOLS:
            client.gcode(f"EDIT_SLOT SLOT={SPOOLS[model]} MATERIAL=PLA COLOR=F27818")
        files = [entry["path"] for entry in client.call("server.files.list", {"root": "gcodes"})]
        assert "cube.gcode" in files, files
        # Refused until the report shows the change of spools; a refused start sends nothing.
        wait_for(lambda: client.call("printer.print.start", {"filename": "cube.gcode"}, seconds=60) == "ok",
                 "the start is taken", 30)
        wait_for(lambda: client.print_state() == "complete", f"{model} has printed", 120)
        stats = client.query("print_stats")["print_stats"]
        assert stats["info"]["current_layer"] == stats["info"]["total_layer"] > 0
    truth = printer.simulator().truth()
    truth = truth.get("truth", truth)
    assert truth["counters"]["project_files"] == 1
    assert truth["counters"]["motion_while_printing"] == 0
    assert truth["connections"]["mqtt"]["peak"] == 1
