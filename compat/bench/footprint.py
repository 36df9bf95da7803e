"""What the gateway costs while nothing happens: memory, processor, start, and the size of the program."""

import time

from bench.ours import Gateway
from bench.peers import Moonraker
from bench.table import median
from harness.process import binary

# Aims of the issue, in bytes.
TEN, EACH, PROGRAM = 15e6, 100e3, 20e6
# By then the gateway has given back what only its start needed (10 s after it is ready), in seconds.
SETTLED = 13


def resting(bench, table):
    """Each printer reports once a second; nobody is connected."""
    found = {}
    for count in (0, 1, 10, 100, 1000):
        with bench.load() as load, Gateway(count, bench.farm(load)) as gateway:
            if count:
                gateway.wait_online(load)
                load.ask("pace", hertz=1.0, quiet=[])
            time.sleep(max(bench.rest, SETTLED))
            before, began = gateway.processor(), time.perf_counter()
            time.sleep(bench.rest)
            used = (gateway.processor() - before) / (time.perf_counter() - began)
            found[count] = {**gateway.memory(), "processor": used}
    with bench.load() as load, Moonraker(load) as moonraker:
        time.sleep(2)
        peer = moonraker.memory()["resident"]
    for count, size in found.items():
        table.add("memory", f"{count} printers, resident", size["resident"] / 1e6, "MB",
                  at_most=TEN / 1e6 if count == 10 else None)
    for few, many in ((10, 100), (100, 1000)):
        each = (found[many]["resident"] - found[few]["resident"]) / (many - few)
        table.add("memory", f"each further printer from {few} to {many}", each / 1e3, "kB", at_most=EACH / 1e3)
    table.add("memory", "1 printer, of Moonraker's", found[1]["resident"] / peer)
    for count, size in found.items():
        table.add("idle", f"{count} printers, 1 report a second each: share of one processor", size["processor"] * 100, "%")
    table.keep("resting", {**{str(count): size for count, size in found.items()}, "Moonraker": peer})


def starting(bench, table):
    """From the start of the process to the first answer over HTTP."""
    found = {"ours 1": [], "ours 1000": [], "peer": []}
    for _ in range(bench.rounds):
        for count in (1, 1000):
            with bench.load() as load:
                gateway = Gateway(count, bench.farm(load))
                try:
                    found[f"ours {count}"].append(gateway.launch())
                finally:
                    gateway.__exit__()
        with bench.load() as load, Moonraker(load) as moonraker:
            found["peer"].append(moonraker.first_answer)
    for count in (1, 1000):
        table.add("start", f"first answer with {count} printers, of Moonraker's with 1",
                  median(found[f"ours {count}"]) / median(found["peer"]))
    table.keep("starting", found)


def program(_bench, table):
    table.add("size", "the program", binary().stat().st_size / 1e6, "MB", at_most=PROGRAM / 1e6)
