"""Measures the release binary beside its peers, in the same run on the same machine; prints ratios.

    ./compat/run bench [--quick] [--only SECTION ...] [--before BENCH.json]

Sections: calls, reports, serial, camera, upload, ftps, resting, starting, program. What the ratios were computed from
is written to target/compat/bench.json, the table for docs/performance.md to target/compat/bench.md, with a column of
an earlier run where `--before` names its bench.json (MOONGATE_BIN=program ./compat/run bench measures another build). The exit code says whether everything could be measured, not whether every aim
was reached: that stands in the table.
"""

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import devices, files, footprint, load, ours, talking  # noqa: E402
from bench.table import Table  # noqa: E402
from harness import process  # noqa: E402

SECTIONS = {
    "program": footprint.program, "resting": footprint.resting, "starting": footprint.starting,
    "calls": talking.calls, "reports": talking.reports, "serial": devices.serial_port, "camera": devices.camera,
    "upload": files.upload, "ftps": files.ftps,
}


class Bench:
    """How thoroughly to measure, and what all sections share."""

    def __init__(self, quick, folder):
        self.quick = quick
        # Ours and the peer take turns so many times; medians count.
        self.rounds = 2 if quick else 3
        self.seconds = 0.4 if quick else 1.0
        self.samples = 15 if quick else 60
        self.trips = 500 if quick else 3000
        self.rest = 4.0 if quick else 8.0
        self.upload_bytes = (256 << 20) if quick else (1 << 30)
        self.ftps_bytes = (64 << 20) if quick else (256 << 20)
        self._program = load.build()
        self._pair = ours.certificate(folder)

    def load(self):
        return load.Load(self._program)

    def farm(self, running):
        return running.farm(*self._pair)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--before", type=Path, help="bench.json of an earlier run, for the table of the documentation")
    arguments = parser.parse_args()
    before = json.loads(arguments.before.read_text())["rows"] if arguments.before else None
    # A thousand printers and their clients are several thousand sockets, in the children too.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = Path(tempfile.mkdtemp(prefix="moongate-bench-"))
    table, failed, began = Table(), 0, time.monotonic()
    try:
        bench = Bench(arguments.quick, folder)
        for name, measure in SECTIONS.items():
            if name not in arguments.only:
                continue
            try:
                measure(bench, table)
            except Exception:  # noqa: BLE001 - the other sections are measured all the same
                failed += 1
                print(f"{name} could not be measured:", flush=True)
                traceback.print_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    process.WORK.mkdir(parents=True, exist_ok=True)
    (process.WORK / "bench.json").write_text(table.json())
    (process.WORK / "bench.md").write_text(table.markdown(before))
    missed = sum(row["reached"] is False for row in table.rows)
    print(f"\n{len(table.rows)} rows in {(time.monotonic() - began) / 60:.1f} minutes; {missed} aims not reached; "
          f"raw figures: {process.WORK / 'bench.json'}")
    print(f"{len(arguments.only) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
