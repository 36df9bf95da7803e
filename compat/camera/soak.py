"""Viewers that come and go at every camera of a demo, for as long as asked; memory and upstream connections told.

    python3 compat/camera/soak.py --bin target/release/moongate --minutes 60

Ends with one line of JSON and exit code 1 if a camera ever had two connections, a viewer got nothing, or memory grew.
Needs nothing but Python; ffmpeg where the printers of the demo send H.264.
"""

import argparse
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

# From the first third to the last one.
GROWTH = 1.25


def get(url, seconds=30):
    with urllib.request.urlopen(url, timeout=seconds) as answer:
        return answer.read()


def look(printer, form, end, counts):
    """One viewer: watches one form for some seconds."""
    base = f"http://127.0.0.1:{printer['port']}/webcam/"
    until = min(time.time() + random.uniform(1, 20), end)
    got = 0
    if form == "snapshot":
        while time.time() < until:
            assert get(base + "?action=snapshot").startswith(b"\xff\xd8")
            got += 1
            time.sleep(random.uniform(0.1, 1))
    elif form == "hls":
        while time.time() < until:
            playlist = get(base + "hls/index.m3u8").decode()
            segments = re.findall(r"^seg-\d+\.m4s", playlist, re.M)
            got += len(get(base + "hls/" + segments[-1])) > 0
            time.sleep(1)
    else:
        path = "?action=stream" if form == "stream" else "stream.mp4"
        with urllib.request.urlopen(base + path, timeout=40) as answer:
            while time.time() < until or not got:
                got += len(answer.read(4096)) > 0
                if random.random() < 0.02:
                    time.sleep(random.uniform(0, 3))  # a slow one
    counts[form] = counts.get(form, 0) + (got > 0)


def visitor(printers, end, counts, problems):
    while time.time() < end:
        printer = random.choice(printers)
        forms = ["stream", "snapshot"] + (["hls", "mp4"] if printer["h264"] else [])
        form = random.choice(forms)
        try:
            look(printer, form, end, counts)
        except Exception as error:  # noqa: BLE001 - everything is a finding
            if time.time() < end:
                text = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
                problems.append(f"{printer['name']} {form}: {error!r} {text.strip()}")
        time.sleep(random.uniform(0, 15))


def truth(printer):
    with socket.create_connection((printer["control"]["host"], printer["control"]["port"]), 10) as link:
        link.sendall(b'{"truth":true}\n')
        return json.loads(link.makefile().readline())


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--viewers", type=int, default=12)
    asked = arguments.parse_args()
    seconds = asked.minutes * 60
    runtime = tempfile.mkdtemp(prefix="moongate-soak-")
    demo = subprocess.Popen(
        [asked.bin, "demo", "--json", "--any-port", "--seconds", str(int(seconds) + 120)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"XDG_RUNTIME_DIR": runtime, "PATH": "/usr/bin:/bin"},
    )
    printers = json.loads(demo.stdout.readline())["printers"]
    for printer in printers:
        health = json.loads(get(f"http://127.0.0.1:{printer['port']}/webcam/health"))
        printer["h264"] = health["kind"] == "h264"
    end = time.time() + seconds
    counts, problems, memory, peaks = {}, [], [], {}
    threads = [
        threading.Thread(target=visitor, args=(printers, end, counts, problems), daemon=True)
        for _ in range(asked.viewers)
    ]
    for thread in threads:
        thread.start()
    while time.time() < end:
        time.sleep(min(15, max(0.1, end - time.time())))
        memory.append(resident(demo.pid))
        for printer in printers:
            camera = truth(printer)["connections"].get("camera", {"peak": 0, "total": 0})
            peaks[printer["name"]] = camera
    for thread in threads:
        thread.join(60)
    demo.send_signal(2)
    demo.wait(30)
    third = max(1, len(memory) // 3)
    # The first third warms up; after that nothing may grow.
    grown = max(memory[-third:]) / max(memory[third:2 * third] or memory)
    result = {
        "minutes": asked.minutes, "views": counts, "problems": problems[:20], "problem_count": len(problems),
        "rss_kb": {"first": memory[0], "highest": max(memory), "last": memory[-1]}, "growth": round(grown, 3),
        "connections": peaks,
    }
    print(json.dumps(result))
    single = all(camera["peak"] <= 1 for camera in peaks.values())
    sys.exit(0 if single and grown < GROWTH and not problems else 1)


if __name__ == "__main__":
    main()
