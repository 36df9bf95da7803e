"""The file that the demo lays into the library of each printer, for gateways that begin with the same."""

from functools import lru_cache

from harness.demo import Demo
from harness.moonraker import http
from harness.waiting import wait_for


@lru_cache(maxsize=None)
def sample(name):
    """Its name and content."""
    with Demo(100, f"sample-{name}", printers=[name], lifetime=60) as demo:
        printer = demo.printers[0]
        # The archive itself where there is one: the list of files shows its plate.
        file = "cube.gcode.3mf" if printer.kind == "bambu" else "cube.gcode"

        def content():
            answer = http("GET", f"{printer.url}/server/files/gcodes/{file}")
            return answer.content if answer.ok else None
        return file, wait_for(content, "the sample is in the library", 30)
