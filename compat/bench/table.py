"""What was found: rows of ratios with their aims, as text for people and as JSON."""

import json
import statistics


def median(values):
    return statistics.median(values)


def shown(row):
    """The value with its unit, to three digits."""
    value = f"{row['value']:.3g}" if abs(row["value"]) < 100 else f"{row['value']:.0f}"
    return f"{value} {row['unit']}"


class Table:
    """Rows in the order of measuring; `raw` keeps what they were computed from."""

    def __init__(self):
        self.rows = []
        self.raw = {}

    def add(self, section, what, value, unit="x", at_least=None, at_most=None):
        """`value` in `unit`: a ratio (x), bytes (MB, kB), or a share of one processor (%)."""
        reached = None
        if at_least is not None:
            reached = value >= at_least
        if at_most is not None:
            reached = value <= at_most
        aim = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}" if at_most is not None else ""
        row = {"section": section, "what": what, "value": round(value, 4), "unit": unit, "aim": aim, "reached": reached}
        self.rows.append(row)
        print(self._line(row), flush=True)

    def keep(self, name, value):
        self.raw[name] = value

    def _line(self, row):
        told = {None: "", True: "reached", False: "NOT REACHED"}[row["reached"]]
        return f"{row['section']:<9} {row['what']:<76} {shown(row):>9} {row['aim']:>9} {told}".rstrip()

    def text(self):
        return "\n".join(self._line(row) for row in self.rows)

    def markdown(self, before=None):
        """The rows as a table for docs/performance.md; `before` are the rows of an earlier run."""
        earlier = {(row["section"], row["what"]): row for row in before or []}
        lines = ["| | what | aim | before | now |", "|---|---|---|---|---|"]
        for row in self.rows:
            old = earlier.get((row["section"], row["what"]))
            missed = " (not reached)" if row["reached"] is False else ""
            lines.append(f"| {row['section']} | {row['what']} | {row['aim']} | {shown(old) if old else ''} | "
                         f"{shown(row)}{missed} |")
        return "\n".join(lines) + "\n"

    def json(self):
        return json.dumps({"rows": self.rows, "raw": self.raw}, indent=1)
