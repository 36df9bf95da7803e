"""The serial port and the camera."""

from contextlib import ExitStack

from bench import load as loads
from bench.awake import awake
from bench.ours import Gateway
from bench.peers import virtual_printer
from bench.table import median

# What OctoPrint's virtual printer waits for each line as it is shipped, and without that.
SHIPPED, QUICK = 0.01, 0.0


def serial_port(bench, table):
    """M105 and its answer."""
    found = {f"{name}{what}": [] for name in ("ours", "echo") for what in ("", " p99", " awake")}
    with bench.load() as load, Gateway(1, bench.farm(load)) as gateway:
        gateway.wait_online(load)
        for _ in range(bench.rounds + 2):
            for name, where in (("echo", {}), ("ours", {"port": str(gateway.serial_port())})):
                round_ = load.ask("serial", rounds=bench.trips, **where)
                found[name].append(round_["p50"])
                found[f"{name} p99"].append(round_["p99"])
                with awake():
                    found[f"{name} awake"].append(load.ask("serial", rounds=bench.trips, **where)["p50"])
    virtual = {throttle: virtual_printer(max(bench.trips // 20, 20), throttle) for throttle in (SHIPPED, QUICK)}
    ours = median(found["ours"])
    table.add("serial", "M105 and its answer (p50), of a bare pty's echo", ours / median(found["echo"]), at_most=1.5)
    table.add("serial", "the same, no processor asleep", median(found["ours awake"]) / median(found["echo awake"]),
              at_most=1.5)
    table.add("serial", "M105 and its answer (p99), of a bare pty's echo",
              median(found["ours p99"]) / median(found["echo p99"]))
    table.add("serial", "M105 and its answer, of OctoPrint's virtual printer", ours / median(virtual[SHIPPED]))
    table.add("serial", "the same without the virtual printer's own pause", ours / median(virtual[QUICK]))
    table.keep("serial", {**found, "virtual": {str(key): median(value) for key, value in virtual.items()}})


def camera(bench, table):
    """What each further viewer costs, and what it is sent beside the pictures."""
    found = {"viewer": [], "bare": [], "bytes": []}
    size, pace = loads.PICTURE_BYTES, loads.PICTURES_PER_SECOND
    with ExitStack() as stack:
        load, watchers = stack.enter_context(bench.load()), stack.enter_context(bench.load())
        gateway = stack.enter_context(Gateway(1, bench.farm(load)))
        gateway.wait_online(load)
        for _ in range(bench.rounds):
            used = {}
            for viewers in (1, 11):
                before = gateway.processor()
                seen = watchers.ask("viewers", port=gateway.printer_port(), viewers=viewers, seconds=bench.seconds * 2,
                                    picture_bytes=size)
                used[viewers] = (gateway.processor() - before) / (bench.seconds * 2)
            found["viewer"].append((used[11] - used[1]) / 10)
            found["bytes"].append(seen["bytes_per_picture_byte"])
            bare = watchers.ask("fan_out", viewers=10, picture_bytes=size, pictures_per_second=pace,
                                seconds=bench.seconds * 2)
            found["bare"].append(bare["processor_per_viewer"])
    table.add("camera", "bytes sent to a viewer, of the pictures' own", median(found["bytes"]))
    table.add("camera", "processor time for each of 10 further viewers, of a bare copy",
              median(found["viewer"]) / median(found["bare"]))
    table.add("camera", f"processor share of 10 viewers ({pace} pictures of {size // 1000} kB a second)",
              median(found["viewer"]) * 1000, "%")
    table.keep("camera", found)
