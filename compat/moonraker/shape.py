"""Compares the structure of answers: key sets, JSON types, nullability, error family; never values.

Used by the tests, and by hand against any server:

    python compat/moonraker/shape.py http://127.0.0.1:7125
"""

import fnmatch
import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parents[1] / "fixtures" / "moonraker"
# The capture shortens long arrays and marks the place by a text in their midst.
CUT_MARKS = ("...", "…", "<")


@dataclass(frozen=True)
class Finding:
    """One structural difference: `kind` is missing, extra, type, null or error."""

    call: str
    path: str
    kind: str
    detail: str

    def __str__(self):
        return f"{self.call}: {self.kind} {self.path}: {self.detail}"


def json_type(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return {str: "string", list: "array", dict: "object"}[type(value)]


def without_cut_marks(values):
    """The elements of a captured array, less the text that stands for those left out."""
    if any(not isinstance(value, str) for value in values):
        return [v for v in values if not (isinstance(v, str) and any(mark in v for mark in CUT_MARKS))]
    return values


class Rules:
    """The reviewed list of intended differences, and the places whose keys are data rather than structure."""

    def __init__(self, path=HERE / "intended.toml"):
        table = tomllib.loads(Path(path).read_text())
        self.intended = table.get("intended", [])
        self.maps = table.get("map", [])
        for entry in self.intended + self.maps:
            assert entry.get("reason", "").strip(), f"{path}: an entry without a reason: {entry}"
        self.used = set()

    @staticmethod
    def _matches(entry, call, path):
        # Brackets are part of our paths, not character classes.
        pattern = entry["path"].replace("[", "[[]")
        return fnmatch.fnmatchcase(call, entry["call"]) and fnmatch.fnmatchcase(path, pattern)

    def is_map(self, call, path):
        return any(self._matches(entry, call, path) for entry in self.maps)

    def allows(self, finding):
        for number, entry in enumerate(self.intended):
            if finding.kind in entry["kinds"] and self._matches(entry, finding.call, finding.path):
                self.used.add(number)
                return True
        return False


def compare(call, expected, actual, rules, path="$"):
    """All differences of `actual` from the shape of `expected` that are not intended."""
    return [f for f in _differences(call, [expected], actual, rules, path) if not rules.allows(f)]


def _differences(call, samples, actual, rules, path):
    """`samples` are captured values of the same place; any of their types is right, a key in all is required."""
    types = {json_type(sample) for sample in samples}
    kind = json_type(actual)
    if types == {"null"}:
        return []
    if kind not in types:
        if kind == "null":
            return [Finding(call, path, "null", f"real server: {'/'.join(sorted(types))}")]
        return [Finding(call, path, "type", f"{kind} instead of {'/'.join(sorted(types))}")]
    samples = [sample for sample in samples if json_type(sample) == kind]
    if kind == "object":
        return _object(call, samples, actual, rules, path)
    if kind == "array":
        elements = [element for sample in samples for element in without_cut_marks(sample)]
        if not elements:
            return []
        return [d for value in actual for d in _differences(call, elements, value, rules, path + "[]")]
    return []


def _object(call, samples, actual, rules, path):
    found = []
    if rules.is_map(call, path):
        values = [value for sample in samples for value in sample.values()]
        for key, value in actual.items() if values else ():
            same = [sample[key] for sample in samples if key in sample]
            found += _differences(call, same or values, value, rules, f"{path}.*")
        return found
    known = {key for sample in samples for key in sample}
    required = set.intersection(*(set(sample) for sample in samples))
    found += [Finding(call, f"{path}.{key}", "missing", "the real server has it") for key in sorted(required - set(actual))]
    for key, value in actual.items():
        if key in known:
            under = [sample[key] for sample in samples if key in sample]
            found += _differences(call, under, value, rules, f"{path}.{key}")
        else:
            found.append(Finding(call, f"{path}.{key}", "extra", f"{json_type(value)}, unknown to the real server"))
    return found


def family(code):
    """Clients tell apart: -326xx (not supported), 4xx (shown to the user), 5xx (not ready)."""
    if code is None:
        return None
    return str(code) if code < 0 else f"{code // 100}xx"


def compare_rpc(call, golden, answer, rules):
    """Compares two JSON-RPC answers: both results or both errors of one family."""
    if "error" in golden:
        if "error" not in answer:
            finding = Finding(call, "$", "error", f"answered although the real server says {golden['error']}")
        elif family(golden["error"]["code"]) != family(answer["error"].get("code")):
            finding = Finding(call, "$", "error", f"{answer['error']} instead of {golden['error']}")
        else:
            return compare(call, golden["error"], answer["error"], rules, "$error")
        return [] if rules.allows(finding) else [finding]
    if "error" in answer:
        finding = Finding(call, "$", "error", f"{answer['error']} where the real server answers")
        return [] if rules.allows(finding) else [finding]
    return compare(call, golden["result"], answer["result"], rules)


def compare_http(call, golden, status, body, rules):
    """Compares an HTTP answer with a captured one: status, envelope, body."""
    if status != golden["status"]:
        finding = Finding(call, "$http", "error", f"status {status} instead of {golden['status']}: {str(body)[:160]}")
        return [] if rules.allows(finding) else [finding]
    expected = golden["body"]
    if isinstance(expected, dict) and "__raw__" in expected:
        return []
    if isinstance(expected, dict) and set(expected) == {"result"} and isinstance(body, dict) and "result" in body:
        return compare(call, expected["result"], body["result"], rules)
    return compare(call, expected, body, rules, "$body")


def golden(name, state="klippy_ready"):
    return json.loads((GOLDEN / state / f"{name}.json").read_text())


def goldens(state="klippy_ready"):
    """(name, content) of each fixture of a state that is a single call."""
    for path in sorted((GOLDEN / state).glob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and "call" in content:
            yield path.stem, content


def main(url):
    sys.path.insert(0, str(HERE.parent))
    from harness.moonraker import Moonraker
    from golden_calls import READS, check_read
    rules = Rules()
    findings = []
    with Moonraker(url) as client:
        components = client.call("server.info")["components"]
        for name in READS:
            findings += check_read(name, golden(name), client, url, components, rules)
    for finding in findings:
        print(finding)
    print(f"{len(READS)} calls compared, {len(findings)} differences")
    return 1 if findings else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1].rstrip("/")))
