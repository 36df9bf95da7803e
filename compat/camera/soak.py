"""Viewers that come and go at every kind of camera of a demo, while its cameras fail at random, for as long as asked.

    ./compat/run camerasoak --minutes 60        (or: python3 compat/camera/soak.py --bin target/debug/moongate)

Snapshot pollers, motion JPEG, HLS, MP4 and RTSP, by Python and by ffmpeg; slow ones, ones that take nothing, ones that
vanish in the middle of a picture. Ends with one line of JSON and "N passed, M failed" (views), and with exit code 1 if
a camera ever had two connections, a viewer got nothing from a camera that was well, a camera stayed open for nobody, or
memory or descriptors grew.
"""

import argparse
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

# Highest memory of the last third by the highest of the second one; the first third warms up.
GROWTH = 1.15
# The longest pause between two attempts, with what a viewer waits for a picture.
RECOVERY = 100
FAULTS = ["stall", "truncated", "wrong_length", "one_byte", "refuse", "closed"]


def get(url, seconds=45):
    with urllib.request.urlopen(url, timeout=seconds) as answer:
        return answer.read()


def connect(port, request):
    link = socket.create_connection(("127.0.0.1", port), 45)
    link.sendall(request)
    return link


class Rtsp:
    """A recorder: describes, sets up, plays."""

    def __init__(self, port, name):
        self.link = socket.create_connection(("127.0.0.1", port), 45)
        self.file, self.url = self.link.makefile("rb"), f"rtsp://127.0.0.1:{port}/{name}"
        for number, (method, extra) in enumerate(
                [("DESCRIBE", ""), ("SETUP", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"), ("PLAY", "")]):
            self.link.sendall(f"{method} {self.url} RTSP/1.0\r\nCSeq: {number}\r\n{extra}\r\n".encode())
            status = self.file.readline().decode()
            head = b"".join(iter(self.file.readline, b"\r\n"))
            length = re.search(rb"Content-Length: (\d+)", head)
            self.file.read(int(length[1]) if length else 0)
            assert " 200 " in status, status.strip()

    def packet(self):
        mark, channel, length = struct.unpack("!BBH", self.file.read(4))
        assert mark == 0x24
        self.file.read(length)
        return channel == 0


class Soak:
    def __init__(self, program, seconds):
        self.runtime = tempfile.mkdtemp(prefix="moongate-soak-")
        self.demo = subprocess.Popen(
            [program, "demo", "--json", "--any-port", "--speed", "5", "--seconds", str(int(seconds) + 300)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={"XDG_RUNTIME_DIR": self.runtime, "PATH": os.environ["PATH"]})
        told = json.loads(self.demo.stdout.readline())
        self.rtsp, self.printers = told["gateway"]["rtsp_port"], told["printers"]
        for printer in self.printers:
            printer["h264"] = json.loads(get(f"http://127.0.0.1:{printer['port']}/webcam/health"))["kind"] == "h264"
            printer["well_since"] = 0.0
        self.end = time.time() + seconds
        self.views, self.excused, self.faults, self.problems = {}, 0, 0, []
        self.memory, self.descriptors, self.peaks = [], [], {}

    def look(self, printer, form):
        """One viewer for some seconds; returns whether it was shown anything."""
        base, until, got = f"http://127.0.0.1:{printer['port']}/webcam/", time.time() + random.uniform(1, 20), 0
        stream = b"GET /webcam/?action=stream HTTP/1.1\r\nHost: x\r\n\r\n"
        if form == "snapshot":
            while time.time() < until:
                assert get(base + "?action=snapshot").startswith(b"\xff\xd8")
                got += 1
                time.sleep(random.uniform(0.1, 1))
        elif form == "hls":
            while time.time() < until:
                segments = re.findall(r"^seg-\d+\.m4s", get(base + "hls/index.m3u8").decode(), re.M)
                got += len(get(base + "hls/" + segments[-1])) > 0
                time.sleep(1)
        elif form in ("stream", "mp4"):
            with urllib.request.urlopen(base + ("?action=stream" if form == "stream" else "stream.mp4"), timeout=45) as answer:
                while time.time() < until or not got:
                    got += len(answer.read(4096)) > 0
        elif form == "rtsp":
            recorder = Rtsp(self.rtsp, printer["name"])
            while time.time() < until or not got:
                got += recorder.packet()
            recorder.link.sendall(f"TEARDOWN {recorder.url} RTSP/1.0\r\nCSeq: 9\r\n\r\n".encode())
            recorder.link.close()
        elif form == "slow":
            with connect(printer["port"], stream) as link:
                while time.time() < until or not got:
                    got += len(link.recv(512)) > 0
                    time.sleep(0.2)
        elif form == "deaf":
            recorder = Rtsp(self.rtsp, printer["name"])
            with connect(printer["port"], stream):
                time.sleep(max(0, until - time.time()))
            recorder.link.close()
            got = 1
        elif form == "abrupt":
            for opened in (connect(printer["port"], stream), Rtsp(self.rtsp, printer["name"]).link):
                got += len(opened.recv(700)) > 0
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                opened.close()
        else:
            rtsp = form == "ffmpeg rtsp"
            source = (["-rtsp_transport", "tcp", "-i", f"rtsp://127.0.0.1:{self.rtsp}/{printer['name']}"] if rtsp
                      else ["-f", "mpjpeg", "-i", base + "?action=stream"])
            subprocess.run(["ffmpeg", "-v", "error", *source, "-frames:v", "4", "-c", "copy", "-f", "null", "-"],
                           timeout=120, check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
            got = 1
        return got > 0

    def visitor(self):
        forms = ["stream", "snapshot", "rtsp", "slow", "deaf", "abrupt", "ffmpeg", "ffmpeg rtsp"]
        while time.time() < self.end:
            printer = random.choice(self.printers)
            form, began = random.choice(forms + (["hls", "hls", "mp4", "mp4"] if printer["h264"] else [])), time.time()
            try:
                assert self.look(printer, form), "nothing was shown"
                self.views[form] = self.views.get(form, 0) + 1
            except Exception as error:  # noqa: BLE001 - everything is a finding
                if began < printer["well_since"] + RECOVERY or time.time() > self.end:
                    self.excused += 1
                else:
                    text = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
                    text += (getattr(error, "stderr", None) or b"").decode(errors="replace")
                    self.problems.append(f"{time.strftime('%X')} {printer['name']} {form}: {error!r} {text.strip()}")
            time.sleep(random.uniform(0, 8))

    def breaker(self):
        """One camera at a time fails for a while. None in the last minutes: all must be well at the end."""
        while time.time() < self.end - 2 * RECOVERY:
            time.sleep(random.uniform(20, 60))
            printer = random.choice(self.printers)
            printer["well_since"] = float("inf")
            self.ask(printer, {"fault": "camera", "how": random.choice(FAULTS)})
            time.sleep(random.uniform(5, 30))
            self.ask(printer, {"fault": "camera", "how": "none"})
            printer["well_since"] = time.time()
            self.faults += 1

    def ask(self, printer, request):
        with socket.create_connection((printer["control"]["host"], printer["control"]["port"]), 60) as link:
            link.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(link.makefile().readline())

    def watch(self):
        proc = Path(f"/proc/{self.demo.pid}")
        resident = re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text(encoding="ascii"))
        self.memory.append(int(resident[1]))
        self.descriptors.append(len(list((proc / "fd").iterdir())))
        for printer in self.printers:
            self.peaks[printer["name"]] = self.ask(printer, {"truth": True})["connections"].get("camera", {})

    def run(self, viewers):
        threads = [threading.Thread(target=self.visitor, daemon=True) for _ in range(viewers)]
        for thread in [*threads, threading.Thread(target=self.breaker, daemon=True)]:
            thread.start()
        while time.time() < self.end:
            time.sleep(min(15, max(0.1, self.end - time.time())))
            self.watch()
        for thread in threads:
            thread.join(150)
        # Nobody watches any more: the cameras close.
        deadline = time.time() + 60
        while time.time() < deadline and any(peak.get("open") for peak in self.peaks.values()):
            time.sleep(2)
            self.watch()
        self.demo.send_signal(2)
        self.demo.wait(30)

    def verdict(self, minutes):
        third = max(1, len(self.memory) // 3)
        grown = max(self.memory[-third:]) / max(self.memory[third:2 * third] or self.memory)
        print(json.dumps({
            "minutes": minutes, "views": self.views, "faults": self.faults, "refused_while_dark": self.excused,
            "problems": self.problems[:20], "growth": round(grown, 3),
            "rss_kb": {"first": self.memory[0], "highest": max(self.memory), "last": self.memory[-1]},
            "descriptors": {"first": self.descriptors[0], "highest": max(self.descriptors), "last": self.descriptors[-1]},
            "connections": self.peaks,
        }), flush=True)
        for what, bad in (
                ("a camera had two connections", any(peak.get("peak", 0) > 1 for peak in self.peaks.values())),
                ("a camera stays open for nobody", any(peak.get("open") for peak in self.peaks.values())),
                ("memory grew", grown > GROWTH),
                ("descriptors leak", self.descriptors[-1] > self.descriptors[0] + 20)):
            if bad:
                self.problems.append(what)
        for problem in self.problems:
            print("FAILED:", problem)
        print(f"{sum(self.views.values())} passed, {len(self.problems)} failed")
        return 1 if self.problems or not self.views else 0


def main():
    arguments = argparse.ArgumentParser()
    target = Path(os.environ.get("MOONGATE_TARGET", "target"))
    arguments.add_argument("--bin", default=os.environ.get("MOONGATE_BIN", target / "release" / "moongate"))
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--viewers", type=int, default=12)
    asked = arguments.parse_args()
    soak = Soak(asked.bin, asked.minutes * 60)
    try:
        soak.run(asked.viewers)
    finally:
        soak.demo.terminate()
    sys.exit(soak.verdict(asked.minutes))


if __name__ == "__main__":
    main()
