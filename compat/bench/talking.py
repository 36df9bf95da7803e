"""Calls of the API and the way of a report to the clients, beside real Moonraker in the same rounds."""

from contextlib import ExitStack

import requests

from bench.awake import awake
from bench.ours import Gateway, serial
from bench.peers import Moonraker
from bench.table import median

CONNECTIONS = 16
# As a web UI that starts: it asks for everything without waiting in between.
AT_ONCE = 16
FILES = 50
# Bytes of the bare answer: about those of server.info.
ECHO = 700
OBJECTS = ["extruder", "heater_bed", "print_stats", "virtual_sdcard", "display_status", "toolhead"]
# What a web UI keeps there: a few kilobytes of nested settings.
ITEM = {"namespace": "bench", "key": "settings",
        "value": {f"panel{number}": {"open": True, "order": list(range(10))} for number in range(30)}}
CALLS = [
    ("server.info", "/server/info", {}),
    ("printer.objects.query", "/printer/objects/query?" + "&".join(OBJECTS), {"objects": dict.fromkeys(OBJECTS)}),
    ("server.files.list", "/server/files/list?root=gcodes", {"root": "gcodes"}),
    ("server.database.get_item", "/server/database/item?namespace=bench&key=settings",
     {"namespace": "bench", "key": "settings"}),
    ("server.database.post_item", None, ITEM),
]
# The others take Moonraker too long for a round.
ASKED_TOGETHER = ("server.info", "printer.objects.query", "server.database.get_item")
AWAKE = "no processor asleep"
# Aims of the issue.
RATE, LATENCY = 20, 1 / 20
# The gateway tells clients differences at most this often (design D13), in seconds.
CADENCE = 0.25


def calls(bench, table):
    """Requests per second with several connections, and the time of one with a single connection."""
    with bench.load() as load, bench.load() as other, ExitStack() as stack:
        gateway = stack.enter_context(Gateway(1, bench.farm(load)))
        moonraker = stack.enter_context(Moonraker(load))
        gateway.wait_online(load)
        # Or it counts as lost before the last round.
        load.ask("pace", hertz=1.0, quiet=[])
        sides = {"ours": (gateway, gateway.printer_port()), "peer": (moonraker, moonraker.port)}
        seed(gateway, moonraker)
        found, bare = {}, {"rate": [], "p50": [], "awake p50": []}
        echo = other.ask("echo", bytes=ECHO)["port"]
        for _ in range(bench.rounds):
            many = load.ask("calls", port=echo, connections=CONNECTIONS, seconds=bench.seconds, path="/")
            bare["rate"].append(many["rate"])
            bare["p50"].append(alone(bench, load, echo, path="/")["latency"]["p50"])
            with awake():
                bare["awake p50"].append(alone(bench, load, echo, path="/")["latency"]["p50"])
            for method, path, params in CALLS:
                rpc = {"method": method, "params": params}
                ways = {"WebSocket": rpc}
                if method in ASKED_TOGETHER:
                    ways[f"WebSocket, {AT_ONCE} at once"] = {**rpc, "at_once": AT_ONCE}
                if path is not None:
                    ways["HTTP"] = {"path": path}
                for how, order in ways.items():
                    for who, (program, port) in sides.items():
                        empty = {"rate": [], "p50": [], "p99": [], "awake p50": [], "processor": []}
                        kept = found.setdefault((method, how), {}).setdefault(who, empty)
                        before = program.processor()
                        many = load.ask("calls", port=port, connections=CONNECTIONS, seconds=bench.seconds, **order)
                        kept["processor"].append((program.processor() - before) / max(many["answers"], 1))
                        kept["rate"].append(many["rate"])
                        one = alone(bench, load, port, **order)
                        kept["p50"].append(one["latency"]["p50"])
                        kept["p99"].append(one["latency"]["p99"])
                        kept["bytes"] = one["answer_bytes"]
                        with awake():
                            kept["awake p50"].append(alone(bench, load, port, **order)["latency"]["p50"])
    for how in ("WebSocket", "HTTP"):
        peer = found["server.info", how]["peer"]
        # Nothing that answers over TCP on this machine is faster: where this misses an aim, any program does.
        for key, what in (("rate", "rate"), ("p50", "time of one (p50)"), ("awake p50", f"time of one (p50), {AWAKE}")):
            table.add("calls", f"bare bytes of a thread: {what}, of Moonraker's server.info, {how}",
                      median(bare[key]) / median(peer[key]))
    table.keep("calls bare", bare)
    for (method, how), who in found.items():
        keys = ("rate", "p50", "p99", "awake p50", "processor")
        ratio = {key: median(who["ours"][key]) / median(who["peer"][key]) for key in keys}
        which = "all" if "at once" in how else "one"
        table.add("calls", f"{method}, {how}: rate, of Moonraker's", ratio["rate"], at_least=RATE)
        table.add("calls", f"{method}, {how}: time of {which} (p50), of Moonraker's", ratio["p50"], at_most=LATENCY)
        table.add("calls", f"{method}, {how}: time of {which} (p99), of Moonraker's", ratio["p99"], at_most=LATENCY)
        table.add("calls", f"{method}, {how}: time of {which} (p50), {AWAKE}, of Moonraker's", ratio["awake p50"],
                  at_most=LATENCY)
        # Of all rows of a call the one that other programs on the machine change the least.
        table.add("calls", f"{method}, {how}: processor time of one, of Moonraker's", ratio["processor"])
        table.keep(f"calls {method} {how}", who)


def alone(bench, load, port, **order):
    """The time of a call with nothing else under way."""
    return load.ask("calls", port=port, connections=1, seconds=bench.seconds / 2, **order)


def seed(gateway, moonraker):
    """The same files and the same database item on both sides."""
    content = b"; a small file\nG28\nG1 X10 Y10 F3000\n"
    for number in range(FILES):
        for place in (gateway.url(), moonraker.url):
            answer = requests.post(f"{place}/server/files/upload", files={"file": (f"part_{number}.gcode", content)},
                                   data={"root": "gcodes"}, timeout=30)
            assert answer.status_code == 201, answer.text
    for place in (gateway.url(), moonraker.url):
        requests.post(f"{place}/server/database/item", json=ITEM, timeout=30).raise_for_status()


def reports(bench, table):
    """From a report on the wire to `notify_status_update` at each client."""
    found = {}
    with bench.load() as load, ExitStack() as stack:
        gateway = stack.enter_context(Gateway(1, bench.farm(load)))
        moonraker = stack.enter_context(Moonraker(load))
        gateway.wait_online(load)
        for clients in (1, 10, 100):
            places = [{"name": "ours", "port": gateway.printer_port(), "serial": serial(0), "clients": clients},
                      {"name": "peer", "port": moonraker.port, "clients": clients}]
            found[clients] = load.ask("latency", places=places, samples=bench.samples, gap_ms=200)
            for key in ("p50", "p99"):
                table.add("reports", f"1 printer, {clients} clients, at once ({key}), of Moonraker's",
                          found[clients]["ours"][key] / found[clients]["peer"][key], at_most=LATENCY)
        place = [{"name": "ours", "port": gateway.printer_port(), "serial": serial(0), "clients": 10}]
        burst = load.ask("latency", places=place, samples=bench.samples // 2, gap_ms=300, burst=5)["ours"]
        table.add("reports", "1 printer, 10 clients, last of 5 reports at once (p99), of 250 ms", burst["p99"] / CADENCE,
                  at_most=1.1)
    for printers in (100, 1000):
        found[f"{printers} printers"] = many = among_others(bench, printers)
        for key in ("p50", "p99"):
            table.add("reports", f"{printers} printers, 1 client each of 10, at once ({key}), of Moonraker's with 1",
                      many[key] / found[1]["peer"][key], at_most=LATENCY)
    table.keep("reports", {str(key): value for key, value in {**found, "burst": burst}.items()})


def among_others(bench, printers):
    """Ten of many printers are watched; all others report once a second meanwhile."""
    with bench.load() as load, Gateway(printers, bench.farm(load)) as gateway:
        gateway.wait_online(load)
        watched = range(0, printers, printers // 10)
        load.ask("pace", hertz=1.0, quiet=[serial(number) for number in watched])
        places = [{"name": "ours", "port": gateway.printer_port(number), "serial": serial(number), "clients": 1}
                  for number in watched]
        return load.ask("latency", places=places, samples=max(bench.samples // 3, 5), gap_ms=40)["ours"]
