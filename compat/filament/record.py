"""Asks a fresh Spoolman what moongate, Mainsail and Fluidd ask, and writes down what it answers.

    python compat/filament/record.py http://127.0.0.1:7912 > fixtures/spoolman/conversation.json

The server must be new and empty: numbers and answers follow from the order of the questions. Its folders are not
written down.
"""

import json
import sys
from urllib import error, request

TAG = "0123456789ABCDEF0123456789ABCDEF"
QUESTIONS = [
    ("GET", "/v1/info", None),
    ("GET", "/v1/health", None),
    ("GET", "/v1/setting/currency", None),
    ("GET", "/v1/vendor", None),
    ("GET", "/v1/spool", None),
    ("GET", "/v1/field/spool", None),
    ("POST", "/v1/vendor", {"name": "Bambu Lab"}),
    ("POST", "/v1/filament", {"name": "PLA Basic", "density": 1.24, "diameter": 1.75, "material": "PLA", "weight": 1000,
                              "color_hex": "F27818", "settings_extruder_temp": 210, "vendor_id": 1}),
    ("POST", "/v1/spool", {"filament_id": 1, "extra": {"tag": json.dumps(TAG)}}),
    ("POST", "/v1/field/spool/tag", {"name": "Tag", "field_type": "text"}),
    ("POST", "/v1/field/spool/tag", {"name": "Tag", "field_type": "text"}),
    ("POST", "/v1/spool", {"filament_id": 1, "extra": {"tag": json.dumps(TAG)}}),
    ("GET", "/v1/spool", None),
    ("GET", "/v1/spool/1", None),
    ("PUT", "/v1/spool/1/use", {"use_weight": 12.5}),
    ("GET", "/v1/spool/1", None),
    ("PUT", "/v1/spool/1/use", {"use_weight": 2000}),
    ("GET", "/v1/spool/99", None),
    ("PUT", "/v1/spool/99/use", {"use_weight": 1}),
    ("PUT", "/v1/spool/1/use", {"use_weight": "much"}),
]


def ask(base, method, path, body):
    data = None if body is None else json.dumps(body).encode()
    question = request.Request(f"{base}/api{path}", data, {"content-type": "application/json"}, method=method)
    try:
        with request.urlopen(question, timeout=20) as answer:
            return answer.status, json.load(answer)
    except error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def main():
    base = sys.argv[1].rstrip("/")
    exchanges = []
    for method, path, body in QUESTIONS:
        status, answer = ask(base, method, path, body)
        if path == "/v1/info":
            answer = {key: "REDACTED" if key.endswith("_dir") else value for key, value in answer.items()}
        exchanges.append({"method": method, "path": path, "body": body, "status": status, "answer": answer})
    version = exchanges[0]["answer"]["version"]
    json.dump({"server": f"Spoolman {version}", "exchanges": exchanges}, sys.stdout, indent=1)
    print()


main()
