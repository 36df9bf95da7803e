"""The same test at each printer, at all of them at once: their waits are the longest part of it."""

import functools
import inspect
import json
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from harness.moonraker import http, make_idle
from harness.waiting import wait_for

PRINTERS = ("p1s", "cc1", "cc2")


def on_each(test):
    """Runs `test(farm, printer, name, ...)` at every printer; fails with what each of them failed of."""
    takes = [name for name in inspect.signature(test).parameters if name not in ("printer", "name")]

    @functools.wraps(test)
    def everywhere(**given):
        farm = given["farm"]
        if not farm.alive():
            farm.start()

        def at(name):
            try:
                with at_rest(farm[name]):
                    test(printer=farm[name], name=name, **given)
            except Exception:  # noqa: BLE001 - told below, with the printer it belongs to
                return f"{name}: {traceback.format_exc(limit=-6)}\n{_seen(farm, name)}"
            return None
        with ThreadPoolExecutor(len(PRINTERS)) as pool:
            failures = [failure for failure in pool.map(at, PRINTERS) if failure]
        assert not failures, "\n".join(failures)

    everywhere.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in takes])
    return everywhere


def _seen(farm, name):
    """What the gateway shows of a printer and what the printer knows of itself, at the moment of a failure."""
    def tell(ask):
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - the failure itself is told by the caller
            return repr(error)
    return f"shown: {tell(lambda: farm.status_of(name))}\nthe printer: {tell(farm[name].truth)}"


@contextmanager
def at_rest(printer):
    """A printer at rest with nothing wrong, left so; and what must not be lost is there afterwards."""
    heal(printer)
    before = belongings(printer)
    yield printer
    heal(printer)
    after = belongings(printer)
    assert before["files"] <= after["files"], "files were lost"
    assert before["notes"] == after["notes"], "an entry of the database was lost"
    assert before["history"] <= after["history"], "history was lost"


def heal(printer):
    printer.mend()
    if not printer.ready():
        # What only a person mends is tried rarely; a person asks.
        http("POST", f"{printer.url}/printer/restart")
    wait_for(printer.ready, f"{printer.name} is online", 150)
    wait_for(lambda: _idle(printer), f"{printer.name} is at rest", 180, every=1)
    with printer.moonraker() as client:
        client.call("server.database.post_item", {"namespace": "trust", "key": "note", "value": {"kept": True}})


def _idle(printer):
    """A print whose end is just being found refuses to be cancelled: asked again."""
    with printer.moonraker(seconds=100) as client:
        make_idle(client)
    return True


def belongings(printer):
    with printer.moonraker() as client:
        notes = client.call("server.database.get_item", {"namespace": "trust"})["value"]
    return {
        "files": {file for file in printer.files() if "gone" not in file},
        "notes": json.dumps(notes, sort_keys=True),
        "history": {job["job_id"] for job in printer.history()},
    }


def unsent(printer):
    """The name of a file that is sent when it is printed: what lies at an Elegoo printer already is not sent again."""
    if printer.bambu:
        return "cube.gcode"
    name = f"gone-{time.time_ns()}.gcode"
    content = http("GET", f"{printer.url}/server/files/gcodes/cube.gcode").content + b"; %d\n" % time.time_ns()
    assert printer.upload(name, content).status_code == 201
    return name
