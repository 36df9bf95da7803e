"""All simulated printers, all front ends, random use and random faults, for as long as wanted.

    ./compat/run soak --minutes 60 [--seed 7] [--printers p1s,h2d,cc1,cc2]

One thread for each printer uses it through Moonraker (WebSocket, HTTP), the OctoPrint API, the serial port, the
gateway's own port and the commands, while its network and the printer itself fail in random ways; another one misuses
all ports; now and then the gateway is killed or ended. After each action every front end and the machine itself must
agree within a bounded time. At the end: no file, note or history entry lost, no print begun that nobody asked for, no
crash in the log, memory and descriptors bounded. The same seed makes the same choices, though not the same moments.
"""

import argparse
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.demo import binary  # noqa: E402
from harness.farm import Farm
from harness.serial import Serial  # noqa: E402
from harness.moonraker import Moonraker, RpcError, http  # noqa: E402
from harness.waiting import wait_for  # noqa: E402

# A print's end, a dead link, a job that an absent printer lost: all are noticed within this time.
AGREE_SECONDS = 150
# What a request may be answered: done, or refused with a reason.
ANSWERS = {200, 201, 202, 204, 400, 403, 404, 409, 413, 429, 501, 502, 503, 504, 507}
MEMORY = 400 << 20
DESCRIPTORS = 600
JUNK = ["", "null", "[[[[", '{"print":{"gcode_state":7}}', '{"Status":[]}', '{"id":77,"method":6000,"result":3}', "\0\1",
        '{"print":{"command":"push_status","mc_percent":1e300}}', "{" * 3000]


class Refused(Exception):
    """A request that was refused with a reason: its good right."""


def checked(answer):
    if answer.status_code not in ANSWERS:
        raise AssertionError(f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text[:300]}")
    if answer.status_code >= 400:
        raise Refused(f"{answer.status_code}")
    return answer


class User:
    """Uses one printer in every way there is."""

    def __init__(self, farm, printer, seed, report):
        self.farm, self.printer, self.report = farm, printer, report
        self.choices = random.Random(f"{seed}-{printer.name}")
        # A gateway is ended only between two actions.
        self.turn = threading.Lock()
        self.asked_starts = 0
        self.uploaded = set()

    # Ways to the printer.

    def rpc(self, method, params=None, seconds=120):
        try:
            with Moonraker(self.printer.url, seconds=30) as client:
                return client.call(method, params, seconds)
        except RpcError as error:
            if error.code in (-32603, 500):
                raise AssertionError(f"{method}: {error}") from error
            raise Refused(str(error.code)) from error

    def post(self, path, **options):
        return checked(http("POST", self.printer.url + path, 120, **options))

    def own(self, verb, **body):
        return checked(http("POST", f"{self.farm.own_url}/printers/{self.printer.name}/moongate/{verb}", 120, json=body))

    def command(self, *arguments):
        done = subprocess.run([str(binary()), *arguments, "--config", str(self.farm.config)], capture_output=True,
                              text=True, timeout=330, check=False)
        if done.returncode not in (0, 1, 75):
            raise AssertionError(f"moongate {arguments}: {done.returncode} {done.stderr}")
        if done.returncode:
            raise Refused(done.stderr.strip()[:80])

    def serial(self, *lines):
        with Serial(self.printer.link) as port:
            for line in lines:
                told = port.ask(line, 30)
                assert told, f"the serial port says nothing to {line}"
                if any(answer.startswith(("Error", "!!")) for answer in told):
                    raise Refused("serial")

    # What users do.

    def start(self):
        file = "cube.gcode"
        self.asked_starts += 1
        self.choices.choice([
            lambda: self.rpc("printer.print.start", {"filename": file}, 300),
            lambda: self.post(f"/printer/print/start?filename={file}"),
            lambda: self.post(f"/api/files/local/{file}", json={"command": "select", "print": True}),
            lambda: self.own("start", file=file),
            lambda: self.command("print", file, "--printer", self.printer.name),
        ])()

    def steer(self, verb):
        self.choices.choice([
            lambda: self.rpc(f"printer.print.{verb}"),
            lambda: self.post(f"/printer/print/{verb}"),
            lambda: self.own(verb),
            lambda: self.command(verb, self.printer.name),
            lambda: self.rpc("printer.gcode.script", {"script": {"cancel": "CANCEL_PRINT"}.get(verb, verb.upper())}),
            lambda: self.post("/api/job", json={"command": "cancel"} if verb == "cancel"
                              else {"command": "pause", "action": verb}),
        ])()

    def pause(self):
        self.steer("pause")

    def resume(self):
        self.steer("resume")

    def cancel(self):
        self.steer("cancel")

    def heat(self):
        target = self.choices.choice([0, 60, 200])
        self.choices.choice([
            lambda: self.rpc("printer.gcode.script", {"script": f"SET_HEATER_TEMPERATURE HEATER=extruder TARGET={target}"}),
            lambda: self.post("/api/printer/tool", json={"command": "target", "targets": {"tool0": target}}),
            lambda: self.serial(f"M104 S{target}"),
        ])()

    def look(self):
        self.serial("M115", "M105", "M20", "M27")
        for path in ("/server/info", "/server/files/list", "/api/files/local", "/api/job", "/server/history/list",
                     "/server/temperature_store", "/machine/system_info", "/printer/objects/list", "/webcam/?action=snapshot"):
            answer = http("GET", self.printer.url + path, 60)
            assert answer.status_code in ANSWERS, f"{path}: {answer.status_code} {answer.text[:200]}"
        for path in ("/status", "/metrics", "/activity", "/"):
            assert http("GET", self.farm.own_url + path, 30).ok, path

    def watch(self):
        """A web page that follows for a while."""
        with Moonraker(self.printer.url, seconds=30) as client:
            client.identify()
            try:
                client.subscribe({"print_stats": None, "extruder": None, "toolhead": None})
            except RpcError:
                return
            time.sleep(self.choices.uniform(0.5, 3))

    def upload(self):
        name = f"soak{self.choices.randrange(6)}.gcode"
        content = b"; layer_height = 0.2\nG28\nG1 X1 Y1 E1 F1000\n" * self.choices.randrange(1, 20_000)
        path = self.choices.choice(["/server/files/upload", "/api/files/local"])
        self.post(path, files={"file": (name, content)})
        self.uploaded.add(name)
        read = http("GET", f"{self.printer.url}/server/files/gcodes/{name}", 60)
        assert read.content == content, f"{name} is not what was uploaded"

    def remove(self):
        if self.uploaded:
            name = self.choices.choice(sorted(self.uploaded))
            self.rpc("server.files.delete_file", {"path": f"gcodes/{name}"})
            self.uploaded.discard(name)

    def note(self):
        value = self.choices.random()
        self.rpc("server.database.post_item", {"namespace": "soak", "key": self.printer.name, "value": value})
        found = self.rpc("server.database.get_item", {"namespace": "soak", "key": self.printer.name})
        assert found["value"] == value, "a note is not what was written"

    # What goes wrong.

    def power_cut(self):
        self.printer.power_off()
        time.sleep(self.choices.uniform(1, 6))
        self.printer.power_on()

    def drop(self):
        self.printer.drop()

    def garbage(self):
        self.printer.control.fault("garbage")
        self.printer.publish(self.choices.choice(JUNK))

    def half_open(self):
        with self.printer.wires.half_open():
            time.sleep(self.choices.uniform(2, 15))

    def bad_network(self):
        with self.printer.wires.bad(delay=self.choices.uniform(0, 2), loss=0.1):
            time.sleep(self.choices.uniform(3, 12))

    def unreachable(self):
        with self.printer.wires.down():
            time.sleep(self.choices.uniform(1, 6))

    def truncated(self):
        for way in self.printer.wires.ways.values():
            if hasattr(way, "truncate"):
                way.truncate = 1

    def full_printer(self):
        self.printer.disk_full(True)
        time.sleep(self.choices.uniform(0, 3))
        self.printer.disk_full(False)

    FAULTS = ["power_cut", "drop", "drop", "garbage", "garbage", "half_open", "bad_network", "unreachable", "truncated",
              "full_printer"]

    # The loop.

    def state(self):
        try:
            return self.printer.print_state()
        except (AssertionError, KeyError, ValueError):
            return "away"

    def step(self):
        state = self.state()
        possible = ["look", "watch", "upload", "remove", "note", "heat"]
        possible += {"printing": ["pause"] * 4 + ["cancel"] * 2, "paused": ["resume"] * 4 + ["cancel"],
                     "away": []}.get(state, ["start"] * 6)
        action = self.choices.choice(self.FAULTS if self.choices.random() < 0.3 else possible)
        try:
            getattr(self, action)()
            self.report.done(self.printer.name, action)
        except Refused:
            self.report.done(self.printer.name, f"{action} (refused)")
        wait_for(self.agreed, f"agreement at {self.printer.name} after {action}", AGREE_SECONDS, every=0.5)

    def agreed(self):
        """The machine and every front end tell the same; a printer that is away is away for all."""
        truth = self.printer.truth()
        if self.printer.kind == "bambu":
            busy = truth["gcode_state"] in ("RUNNING", "PREPARE", "SLICING", "PAUSE")
            paused = truth["gcode_state"] == "PAUSE"
        else:
            busy = truth["stage"] not in ("Idle", "Finished", "Cancelled", "Failed")
            paused = truth["stage"] == "Paused"
        status = self.farm.status_of(self.printer.name)
        if status["link"] != "online":
            raise AssertionError(f"link {status['link']}: {status['link_fault']}")
        moonraker = self.printer.print_state()
        octoprint = self.printer.octoprint("connection").json()["current"]["state"]
        if not self.printer.bambu and truth["stage"] == "Idle" and moonraker == "paused":
            # A Centauri Carbon 2 that lost its power while it printed waits for a decision.
            busy = paused = True
        seen = f"{truth.get('gcode_state', truth.get('stage'))} / {status['job']['phase']} / {moonraker} / {octoprint}"
        assert busy == (moonraker in ("printing", "paused")), seen
        assert paused == (moonraker == "paused"), seen
        assert paused == (status["job"]["phase"] == "paused"), seen
        assert (octoprint in ("Printing", "Paused", "Pausing", "Resuming", "Starting", "Cancelling")) == busy, seen
        return True

    def run(self, end):
        while time.monotonic() < end and not self.report.stop.is_set():
            with self.turn:
                try:
                    self.step()
                except Exception as error:  # noqa: BLE001 - told, counted, and gone on from
                    self.report.failed(self.printer.name, error)
            time.sleep(self.choices.uniform(0, 0.5))


class Report:
    def __init__(self):
        self.counts, self.failures, self.lock, self.stop = Counter(), [], threading.Lock(), threading.Event()

    def done(self, who, what):
        with self.lock:
            self.counts[what] += 1
            print(f"{time.strftime('%H:%M:%S')} {who}: {what}", flush=True)

    def failed(self, who, error):
        with self.lock:
            self.failures.append(f"{who}: {type(error).__name__}: {error}")
            print("FAILED", self.failures[-1], flush=True)
            if len(self.failures) > 20:
                self.stop.set()


class Vandal:
    """Misuses every port, and ends the gateway now and then."""

    def __init__(self, farm, users, seed, report):
        self.farm, self.users, self.report = farm, users, report
        self.choices = random.Random(f"{seed}-vandal")

    def ports(self):
        return [printer.port for printer in self.farm.printers] + [self.farm.gateway_port]

    def storm(self):
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", self.choices.choice(self.ports())), 10) as one:
                one.sendall(self.choices.choice([b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", os.urandom(200)]))

    def loiter(self):
        slow = [socket.create_connection(("127.0.0.1", self.choices.choice(self.ports())), 10) for _ in range(50)]
        for one in slow:
            one.sendall(b"GET /server/files/gcodes/cube.gcode HTTP/1.1\r\nHost: x\r\n")
        time.sleep(2)
        for one in slow:
            one.close()

    def forge(self):
        for _ in range(20):
            printer = self.choices.choice(self.farm.printers)
            answer = http("POST", f"{printer.url}/printer/print/cancel", 30, headers={"X-Forwarded-For": "203.0.113.9"})
            assert answer.status_code == 401, answer.text

    def malformed(self):
        printer = self.choices.choice(self.farm.printers)
        with Moonraker(printer.url, seconds=30) as client:
            for text in JUNK:
                client.send_text(text or " ")
            assert client.call("server.info")

    def end_gateway(self):
        """All users are between two actions; afterwards it is as if nothing had been."""
        for user in self.users:
            user.turn.acquire()
        try:
            if self.choices.random() < 0.5:
                self.farm.kill()
            else:
                code, took = self.farm.terminate()
                assert code == 0 and took < 12, (code, took)
            self.farm.start()
        finally:
            for user in self.users:
                user.turn.release()

    def run(self, end):
        last = time.monotonic()
        while time.monotonic() < end and not self.report.stop.is_set():
            action = self.choices.choice(["storm", "loiter", "forge", "malformed"])
            if time.monotonic() - last > 25:
                action, last = "end_gateway", time.monotonic()
            try:
                getattr(self, action)()
                self.report.done("everywhere", action)
                assert self.farm.alive(), "the gateway is gone"
                memory, descriptors = self.farm.resident(), self.farm.descriptors()
                assert memory < MEMORY, f"{memory >> 20} MiB"
                assert descriptors < DESCRIPTORS, f"{descriptors} descriptors"
            except Exception as error:  # noqa: BLE001
                self.report.failed("everywhere", error)
                if not self.farm.alive():
                    self.report.stop.set()
            time.sleep(self.choices.uniform(0.5, 2))


def inventory(farm, users, report):
    """What is left after all that."""
    for user in users:
        printer = user.printer
        try:
            wait_for(user.agreed, f"{printer.name} at the end", AGREE_SECONDS)
            starts, entries = printer.begun(), len(printer.history())
            assert starts <= user.asked_starts, f"{starts} prints, {user.asked_starts} asked for"
            assert entries >= starts, f"{starts} prints, {entries} in the history"
            files = printer.files()
            assert {"cube.gcode"} | user.uploaded <= files, f"files are gone: {user.uploaded - files}"
            crashed = printer.truth().get("crashed")
            assert not crashed, f"the gateway sent a frame that kills the printer: {crashed}"
            print(f"{printer.name}: {user.asked_starts} starts asked for, {starts} prints, {entries} in the history, "
                  f"{len(files)} files")
        except Exception as error:  # noqa: BLE001
            report.failed(printer.name, error)
    log = farm.log.read_text(errors="replace")
    for wrong in re.findall(r".*(?:panicked at|MG-BUG|stack overflow).*", log):
        report.failed("the log", AssertionError(wrong[:300]))
    codes = {printer.access_code for printer in farm.printers} - {""}
    for code in codes:
        if code in log:
            report.failed("the log", AssertionError("holds an access code"))
    print(f"memory {farm.resident() >> 20} MiB, {farm.descriptors()} descriptors, log {len(log) >> 10} KiB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--printers", default="p1s,h2d,cc1,cc2")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    report, names = Report(), given.printers.split(",")
    with Farm(names, speed=20, label="soak") as farm:
        users = [User(farm, printer, given.seed, report) for printer in farm.printers]
        end = time.monotonic() + given.minutes * 60
        runners = [*users, Vandal(farm, users, given.seed, report)]
        threads = [threading.Thread(target=runner.run, args=(end,)) for runner in runners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        inventory(farm, users, report)
    total = sum(report.counts.values())
    print(f"{total} actions: {json.dumps(dict(sorted(report.counts.items())))}")
    for failure in report.failures:
        print("found:", failure)
    print(f"{total} passed, {len(report.failures)} failed")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
