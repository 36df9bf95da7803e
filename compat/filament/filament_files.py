"""Files for the spools that the simulated printers hold at first."""

import projects
from view import matches, truth_gates

CODES = {"p1s": "C12", "h2d": "O1D"}


def colours(bench):
    """Material and colour of the filled slots, in reverse: a match by number would be wrong."""
    held = [(material, f"#{colour}") for present, material, colour in truth_gates(bench) if present]
    return list(reversed(held))


def fill(bench):
    """Puts a spool into the slot that is empty at first."""
    if bench.name == "cc2":
        bench.simulator.fault("spool", tray=3, material="PLA", color="#111111")
    elif bench.name == "p1s":
        bench.simulator.fault("spool", unit=0, slot=3, spool={"material": "PLA", "color": "161616FF"})
    bench.until("four spools", lambda: matches(bench) and all(status == 1 for status in bench.mmu["gate_status"][:4]))


def four_colours(bench):
    """One filament for each of the first four slots."""
    fill(bench)
    held = colours(bench)
    assert len(held) == 4
    filaments = [(material, colour, 10.0 + number) for number, (material, colour) in enumerate(held)]
    return put(bench, "colours", filaments)


def one_colour(bench):
    material, colour = colours(bench)[0]
    return put(bench, "single", [(material, colour, 12.5)])


def put(bench, name, filaments):
    """Uploads it; the name under which it can be printed."""
    if bench.name == "cc2":
        bench.upload(f"{name}.gcode", projects.plain(filaments))
    else:
        bench.upload(f"{name}.gcode.3mf", projects.archive(CODES[bench.name], filaments))
    return f"{name}.gcode"
