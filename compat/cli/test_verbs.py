"""Every command as people and scripts use it: words, JSON, exit codes, progress."""

import json
import os
import re
import subprocess
import time

import pytest

from harness.command import CONFIG, DONE, FAILED, LATER, REPOSITORY, UNAVAILABLE, USAGE, moongate
from harness.demo import Demo, binary
from harness.moonraker import Moonraker, http, make_idle
from harness.process import free_port
from harness.terminal import Terminal
from harness.waiting import wait_for

DOCUMENTED = re.findall(
    r"^#### (\S+)", (REPOSITORY / "docs/ref/cli.md").read_text(encoding="utf-8"), re.MULTILINE)
ONE = '[[printer]]\nname = "cc1"\nkind = "elegoo_cc1"\nhost = "127.0.0.1"\n'


def state(ask, name):
    return ask("status", name, "--json").json()["printers"][0]


@pytest.fixture
def at_rest(farm):
    for printer in farm.printers:
        with Moonraker(printer.url) as client:
            make_idle(client)
    yield
    for printer in farm.printers:
        with Moonraker(printer.url) as client:
            make_idle(client)


def test_help_names_every_documented_verb():
    answer = moongate("--help")
    assert answer.code == DONE
    listed = re.findall(r"^  ([a-z]+) ", answer.out, re.MULTILINE)
    assert set(listed) - {"help"} == set(DOCUMENTED)
    for verb in DOCUMENTED:
        told = moongate(verb, "--help")
        assert told.code == DONE and "Usage: moongate " + verb in told.out, told


def test_version():
    answer = moongate("--version")
    assert answer.code == DONE and re.fullmatch(r"moongate \d+\.\d+\.\d+\n", answer.out)


@pytest.mark.parametrize("arguments, told", [
    (["--nonsense"], "unexpected argument '--nonsense'"),
    (["stats"], "status"),
    (["status", "--jsn"], "--json"),
    (["print"], "required arguments"),
    (["simulate", "prusa"], "known are cc1, centauri, cc2"),
    (["demo", "--printers", "p1s,prusa"], "known are cc1, centauri, cc2"),
    (["demo", "--speed", "0"], "between 0.1 and 1000"),
    (["simulate", "cc1", "--speed", "inf"], "between 0.1 and 1000"),
    (["demo", "--printers", "cc1,cc1"], "names cc1 twice"),
    (["--log", "moongate=loud", "check"], "a filter is a level"),
    (["completions", "tcsh"], "possible values: bash"),
    (["status", "--gateway", "ftp://x"], "must be an address such as"),
    (["status", "--gateway", "https://127.0.0.1:9"], "--gateway-pin"),
    (["status", "--gateway-pin", "xyz"], "64"),
    (["--log-format", "yaml", "check"], "possible values: text, json"),
    (["print", "cube.gcode", "--printer", "p1s", "--override", "nozle"], "possible values: model, nozzle, bed, filament"),
    (["print", "cube.gcode", "--printer", "p1s", "--override", "bed,all"], "possible values: model, nozzle, bed, filament"),
])
def test_a_wrong_command_line_is_told(arguments, told, tmp_path):
    answer = moongate(*arguments, env={"MOONGATE_CONFIG": str(tmp_path / "none.toml")})
    assert answer.code == USAGE, answer
    assert told in answer.err and not answer.out, answer


# ---- without a gateway ----

def test_check_tells_what_is_configured(config):
    answer = moongate("check", "--config", config(ONE))
    assert answer.code == DONE and not answer.err, answer
    assert re.search(r"fine, 1 printer.*\n +cc1 +elegoo_cc1 +127\.0\.0\.1 -> Moonraker port 7125", answer.out)


def test_check_tells_every_mistake_with_its_line(config):
    text = '[gateway]\nlisten = "here"\nprot = 1\n[[printer]]\nname = "A b"\nkind = "bamboo"\nhost = "h"\n'
    answer = moongate("check", "--config", config(text))
    assert answer.code == CONFIG and not answer.out
    for told in ("line 2: listen", 'line 3: unknown key "prot"', 'did you mean "port"?', 'line 5: name "A b"',
                 'line 6: unknown kind "bamboo"', 'did you mean "bambu"?'):
        assert told in answer.err, (told, answer.err)


def test_check_answers_programs(config):
    good = moongate("check", "--json", "--config", config(ONE))
    told = json.loads(good.out)
    assert good.code == DONE and told["fine"] and not told["mistakes"], good
    assert told["printers"] == [{"name": "cc1", "kind": "elegoo_cc1", "host": "127.0.0.1", "moonraker_port": 7125}]
    bad = moongate("check", "--json", "--config", config("[gateway]\nprot = 1\n" + ONE))
    told = json.loads(bad.out)
    assert bad.code == CONFIG and not bad.err and not told["fine"], bad
    assert [mistake["line"] for mistake in told["mistakes"]] == [2] and "port" in told["mistakes"][0]["text"]


def test_a_missing_configuration_is_told(tmp_path):
    for verb in (["check"], ["run"], ["probe", "p1s"]):
        answer = moongate(*verb, "--config", tmp_path / "none.toml")
        assert answer.code == CONFIG and "none.toml" in answer.err and "moongate init" in answer.err, answer


def test_nobody_answers(tmp_path):
    nowhere = f"http://127.0.0.1:{free_port()}"
    for verb in (["status"], ["pause", "p1s"], ["resume", "p1s"], ["cancel", "p1s"], ["trust", "p1s"], ["files", "p1s"],
                 ["upload", __file__, "--printer", "p1s"], ["console", "p1s"], ["timelapse", "p1s"], ["key"],
                 ["print", "cube.gcode", "--printer", "p1s"]):
        answer = moongate(*verb, "--gateway", nowhere, "--config", tmp_path / "none.toml")
        assert answer.code == UNAVAILABLE and nowhere in answer.err and "Is it running" in answer.err, (verb, answer)


def test_a_named_configuration_that_is_wrong_leads_to_no_other_gateway(tmp_path, config, url):
    for path in (tmp_path / "none.toml", config("[gateway]\nprot = 1\n" + ONE)):
        for answer in (moongate("cancel", "p1s", "--config", path),
                       moongate("status", "--json", env={"MOONGATE_CONFIG": str(path)})):
            assert answer.code == CONFIG and path.name in answer.err and not answer.out, answer
        answer = moongate("dump", "--config", path, "--output", "-", "--gateway", url)
        assert answer.code == DONE and answer.json()["gateway"]["/status"]["printers"], "a report needs no right one"


def test_what_is_no_gateway_is_told(farm, tmp_path):
    """A printer's own port is what people name first."""
    for address in (farm.printer("p1s").url, f"http://127.0.0.1:{farm.gateway_port}/printers/p1s"):
        for verb in (["status", "--json"], ["pause", "p1s"], ["files", "p1s"], ["key"]):
            answer = moongate(*verb, "--gateway", address, "--config", tmp_path / "none.toml")
            assert answer.code == FAILED and "not a gateway's own address" in answer.err and not answer.out, answer


def test_a_taken_port_is_told(config, farm, tmp_path):
    text = f'[gateway]\nport = {farm.gateway_port}\nstate_dir = "{tmp_path}/state"\nruntime_dir = "{tmp_path}/run"\n' + ONE
    answer = moongate("run", "--config", config(text))
    assert answer.code == UNAVAILABLE and f"port {farm.gateway_port}" in answer.err and "in use" in answer.err, answer


def test_discover_ends_in_time_and_speaks_json():
    answer = moongate("discover", "--seconds", "1", "--json")
    assert answer.code == DONE
    assert set(answer.json()) == {"printers", "problems"}
    assert moongate("discover", "--seconds", "1").code == DONE


def test_probe_of_an_unknown_printer_and_of_nobody(config):
    path = config(ONE + f"http_port = {free_port()}\nwebsocket_port = {free_port()}\ndiscovery_port = {free_port()}\n")
    answer = moongate("probe", "cc2", "--config", path)
    assert answer.code == FAILED and "known are cc1" in answer.err, answer
    answer = moongate("probe", "cc1", "--config", path, "--json")
    steps = {step["what"]: step for step in answer.json()}
    assert answer.code == FAILED and steps["name"]["verdict"] == "fine"
    assert any(step["verdict"] == "bad" and "Is the printer on" in step["told"] for step in steps.values()), steps


def test_simulate_says_which_port_it_cannot_have():
    # Port 0 is any port: only an address of its own makes two of them meet.
    address = "127.0.0.79"
    first = subprocess.Popen([binary(), "simulate", "cc2", "--address", address, "--real-ports", "--seconds", "60"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert first.stdout.readline()
        answer = moongate("simulate", "cc2", "--address", address, "--real-ports", "--seconds", "1")
        assert answer.code == UNAVAILABLE and not answer.out, answer
        assert re.search(rf"its \w+ port \((UDP|TCP)\) cannot listen at {re.escape(address)}:\d+: Address already in use",
                         answer.err), answer
        assert "--address" in answer.err and "leave out --real-ports" in answer.err, answer
        answer = moongate("simulate", "p1s", "--address", address, "--seconds", "1")
        assert answer.code == DONE, "free ports beside it"
    finally:
        first.terminate()
        first.wait(20)
    answer = moongate("simulate", "p1s", "--address", "192.0.2.1", "--seconds", "1")
    assert answer.code == UNAVAILABLE and "MQTT port (TCP) cannot listen at 192.0.2.1" in answer.err, answer
    assert "does not have that address" in answer.err, answer


def test_two_demos_run_beside_each_other():
    with Demo(20, "beside", printers=["cc1"]) as first:
        environment = {"XDG_RUNTIME_DIR": first.runtime}
        answer = moongate("demo", "--any-port", "--printers", "cc1", "--json", "--seconds", "3", env=environment)
        assert answer.code == DONE, answer
        (printer,) = answer.json()["printers"]
        assert printer["name"] == "cc1" and printer["port"] != first.printers[0].port
        assert printer["pty"] == f"{first.runtime}/moongate-2/cc1" != first.printers[0].pty
        assert os.path.exists(first.printers[0].pty), "the first keeps its own"
        answer = moongate("demo", "--printers", "cc1", "--json", "--seconds", "1", env=environment)
        assert answer.code == UNAVAILABLE and "moongate demo --any-port" in answer.err, answer


def test_simulate_says_where_it_is():
    answer = moongate("simulate", "p1s", "--seconds", "1", "--code", "11112222")
    assert answer.code == DONE
    told = answer.json()
    assert told["model"] == "p1s" and told["access_code"] == "11112222" and ":" in told["addresses"]["mqtt"]


# ---- with a gateway ----

def test_status(ask, farm):
    answer = ask("status")
    assert answer.code == DONE and not answer.err
    head, *rows = answer.out.splitlines()
    assert head.split() == ["printer", "state", "job", "done", "left", "nozzle", "bed"]
    assert {row.split()[0] for row in rows} >= {printer.name for printer in farm.printers}
    told = ask("status", "--json").json()
    assert [printer["name"] for printer in told["printers"]] == [printer.name for printer in farm.printers]
    assert len(ask("status", "cc1", "--json").json()["printers"]) == 1
    answer = ask("status", "cc3")
    assert answer.code == FAILED and 'no printer "cc3"; did you mean "cc' in answer.err, answer


def test_status_watched_ends_with_ctrl_c(url, tmp_path):
    command = [binary(), "status", "--watch", "--gateway", url, "--config", tmp_path / "none.toml"]
    with Terminal(command) as terminal:
        for _ in range(2):
            terminal.expect(r"\x1b\[H\x1b\[Jprinter +state[^\n]*\n")
            terminal.expect(r"p1s +idle")
        terminal.interrupt()
        assert terminal.wait() == DONE
    with Terminal([*command, "--json"]) as terminal:
        line = terminal.expect(r"(\{.*\})\r\n").group(1)
        assert json.loads(line)["printers"]
        terminal.interrupt()
        assert terminal.wait() == DONE


def test_files_and_upload(ask, tmp_path):
    file = tmp_path / "käse & co.gcode"
    file.write_text("; generated by OrcaSlicer 2.3.0\nG28\nG1 X10 Y10 F3000\n")
    answer = ask("upload", file, "--printer", "cc1", "--json")
    assert answer.code == DONE and answer.json() == {"path": "käse & co.gcode"} and not answer.err, answer
    answer = ask("upload", file, "--printer", "cc1", "--folder", "new/folder")
    assert answer.code == DONE and answer.out == "cc1: new/folder/käse & co.gcode\n" and not answer.err, answer
    listed = ask("files", "cc1", "--json").json()
    assert {"käse & co.gcode", "new/folder/käse & co.gcode"} <= {entry["path"] for entry in listed}
    assert re.search(r"^käse & co\.gcode +\d+ B +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", ask("files", "cc1").out, re.MULTILINE)
    for arguments, told in ((["upload", tmp_path / "none.gcode", "--printer", "cc1"], "none.gcode cannot be read"),
                            (["upload", tmp_path, "--printer", "cc1"], "is a folder"),
                            (["upload", file, "--printer", "cc9"], "no such printer"),
                            (["files", "cc9"], "no such printer")):
        answer = ask(*arguments)
        assert answer.code == FAILED and told in answer.err, answer


def test_an_upload_shows_its_progress_to_people_only(url, tmp_path):
    file = tmp_path / "big.gcode"
    file.write_bytes(b"G1 X1 Y1\n" * (4 << 20))
    command = [binary(), "upload", file, "--printer", "cc1", "--gateway", url, "--config", tmp_path / "none.toml"]
    with Terminal(command) as terminal:
        terminal.expect(r"upload big\.gcode \[#*\.*\] +\d+ % ")
        terminal.expect(r"100 %")
        assert terminal.wait() == DONE
        terminal.expect(r"cc1: big\.gcode")
    answer = moongate(*command[1:])
    assert answer.code == DONE and not answer.err and "#" not in answer.out


def test_progress_stays_on_its_line_of_a_narrow_terminal(url, tmp_path):
    file = tmp_path / ("a-name-that-is-longer-than-the-line-" * 3 + ".gcode")
    file.write_bytes(b"G1 X1 Y1\n" * (1 << 20))
    command = [binary(), "upload", file, "--printer", "cc1", "--gateway", url, "--config", tmp_path / "none.toml"]
    with Terminal(command, size=(20, 40)) as terminal:
        assert terminal.wait() == DONE
        shown = terminal.seen.split("\r\n")[0].replace("\x1b[K", "").split("\r")
        assert any("100 %" in line for line in shown) and max(map(len, shown)) < 40, shown


def test_names_that_cannot_be_are_told(ask, tmp_path):
    file = tmp_path / "\x1b[31mred.gcode"
    file.write_text("G28\n")
    answer = ask("upload", file, "--printer", "cc1")
    assert answer.code == FAILED and "rename the file" in answer.err and "\x1b" not in answer.err, answer
    answer = ask("print", tmp_path / "typo.gcode", "--printer", "cc1")
    assert answer.code == FAILED and "there is no file" in answer.err, answer
    answer = ask("pause", "P1S")
    assert answer.code == FAILED and 'did you mean "p1s"' in answer.err, answer


def test_a_print_from_preview_to_cancel(ask, at_rest, tmp_path):
    answer = ask("print", "cube.gcode", "--printer", "p1s", "--library", "--dry-run", "--json")
    preview = answer.json()
    assert answer.code == DONE and preview["file"] == "cube.gcode" and preview["filaments"], answer
    answer = ask("print", "cube.gcode", "--printer", "p1s", "--library", "--dry-run")
    assert re.search(r"filament 0 .*<- slot ", answer.out) or "filament 1" in answer.out, answer
    assert state(ask, "p1s")["job"]["phase"] == "idle", "a dry run starts nothing"
    answer = ask("print", "cube.gcode", "--printer", "p1s", "--library", "--json")
    assert answer.code == DONE and answer.json()["phase"] in ("preparing", "printing"), answer
    other = tmp_path / "other.gcode"
    other.write_text("; generated by OrcaSlicer 2.3.0\nG28\nG1 X10 Y10 F3000\n")
    answer = ask("print", other, "--printer", "p1s")
    assert answer.code == LATER and "moongate: " in answer.err, "a second start: try again later"
    wait_for(lambda: state(ask, "p1s")["job"]["phase"] == "printing", "it prints", 60)
    answer = ask("pause", "p1s", "--json")
    assert answer.code == DONE and answer.json()["seen"] == "effect", answer
    assert state(ask, "p1s")["job"]["phase"] == "paused"
    answer = ask("resume", "p1s")
    assert answer.code == DONE and answer.out.startswith("p1s: resume: done."), answer
    assert ask("cancel", "p1s").code == DONE
    assert state(ask, "p1s")["job"]["phase"] == "cancelled"
    answer = ask("pause", "p1s")
    assert answer.code in (FAILED, LATER) and answer.err.startswith("moongate: "), answer


def test_a_print_followed_to_its_end(ask, at_rest, url, tmp_path):
    command = [binary(), "print", "cube.gcode", "--printer", "cc1", "--library", "--wait", "--gateway", url,
               "--config", tmp_path / "none.toml"]
    with Terminal(command) as terminal:
        terminal.expect(r"cc1 \[#*\.*\] +\d+ % (preparing|printing|starting|transferring)", 60)
        terminal.expect(r"cc1: complete", 120)
        assert terminal.wait() == DONE
    answer = ask("print", "cube.gcode", "--printer", "cc2", "--library", "--wait", "--json", timeout=180)
    assert answer.code == DONE and answer.lines()[-1]["phase"] == "complete" and not answer.err, answer


def test_ctrl_c_leaves_a_followed_print_alone(ask, at_rest, url, tmp_path):
    command = [binary(), "print", "cube.gcode", "--printer", "cc1", "--library", "--wait", "--gateway", url,
               "--config", tmp_path / "none.toml"]
    with Terminal(command) as terminal:
        terminal.expect(r"cc1 \[#*\.*\]", 60)
        terminal.interrupt()
        terminal.expect("The print goes on")
        assert terminal.wait() == DONE
    assert state(ask, "cc1")["job"]["phase"] in ("starting", "preparing", "printing", "complete")


@pytest.mark.parametrize("arguments, told", [
    (["print", "none.gcode", "--printer", "p1s"], "none.gcode"),
    (["print", "cube.gcode", "--printer", "p1s", "--library", "--slots", "nowhere"], "--slots"),
    (["print", "cube.gcode", "--printer", "p1s", "--library", "--plate", "9", "--dry-run"], "plate"),
    (["print", "cube.gcode", "--printer", "nobody", "--library"], "no such printer"),
    (["pause", "nobody"], "no such printer"),
    (["trust", "nobody"], "no such printer"),
    (["timelapse", "p1s", "none.mp4"], "no timelapse \"none.mp4\""),
])
def test_what_cannot_be_done_is_told(ask, arguments, told):
    answer = ask(*arguments)
    assert answer.code == FAILED and told in answer.out + answer.err, answer


def test_a_printer_that_is_off_means_try_later(ask, farm):
    with farm.printer("cc1").without_power():
        wait_for(lambda: state(ask, "cc1")["link"] not in ("online", "stale"), "the gateway notices", 90)
        answer = ask("print", "cube.gcode", "--printer", "cc1", "--library")
        assert answer.code == LATER, answer
        assert ask("pause", "cc1").code == LATER
        told = wait_for(lambda: re.search(r"^! cc1: .*\n  cc1: .+", ask("status").out, re.MULTILINE), "fault and remedy", 60)
        assert told
    wait_for(lambda: state(ask, "cc1")["link"] == "online", "it is back", 90)


def test_the_key_opens_the_gateway_until_it_is_renewed(ask, url):
    shown = ask("key")
    assert shown.code == DONE and re.fullmatch(r"[0-9a-f]{32}\n", shown.out), shown
    assert json.loads(ask("key", "--json").out) == {"api_key": shown.out.strip()}
    renewed = ask("key", "--renew")
    assert renewed.code == DONE and renewed.out != shown.out and ask("key").out == renewed.out


def test_trust_timelapse_and_console(ask, farm):
    assert ask("trust", "p1s").code == DONE
    assert isinstance(ask("timelapse", "p1s", "--json").json(), list)
    with Moonraker(farm.printer("p1s").url) as client:
        client.gcode("M117 hello from the suite")
    lines = ask("console", "p1s", "--once", "--json").lines()
    assert any("hello from the suite" in line["text"] for line in lines), lines
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d > .*hello from the suite", ask("console", "p1s", "--once").out, re.MULTILINE)


def test_an_empty_list_is_said(ask, farm):
    """Beside the table, which stays empty for programs that read it."""
    for kept in ask("timelapse", "cc1", "--json").json():
        http("DELETE", f"{farm.printer('cc1').url}/server/files/timelapse/{kept['path']}")
    answer = ask("timelapse", "cc1")
    assert answer.code == DONE and answer.out == "" and answer.err.startswith("cc1 has no timelapses"), answer
    assert ask("timelapse", "cc1", "--json").json() == []


def test_what_follows_ends_with_its_reader(ask, farm, url):
    """Also while nothing more is said."""
    with Moonraker(farm.printer("p1s").url) as client:
        client.gcode("M117 a line to be read")
    for follow in ("console p1s", "console p1s --json", "status --watch --json"):
        command = f"'{binary()}' {follow} --gateway {url} | head -1; exit ${{PIPESTATUS[0]}}"
        with Terminal(["bash", "-c", command]) as terminal:
            assert terminal.wait() == 141 and "panick" not in terminal.seen, terminal.seen


def test_a_report_is_for_its_owner_only_and_whole(ask, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("x" * 100)
    path.chmod(0o644)
    old = path.stat().st_ino
    answer = ask("dump", "--output", path)
    assert answer.code == DONE and f"{path} is written" in answer.out, answer
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_ino != old
    assert json.loads(path.read_text())["gateway"]["/status"]["printers"]
    link = tmp_path / "link.json"
    link.symlink_to(path)
    for place, told in ((link, "is a link"), (tmp_path, "is a folder"), (tmp_path / "none" / "report.json", "No such file")):
        answer = ask("dump", "--output", place)
        assert answer.code == FAILED and told in answer.err and "--output" in answer.err, answer
        assert ".moongate-dump-" not in answer.err, "a name that nobody has chosen"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["link.json", "report.json"], "no part stays behind"


# ---- terminals ----

def test_no_color_is_honoured():
    def said(env):
        with Terminal([binary(), "stats"], env=env) as terminal:
            assert terminal.wait() == USAGE
            return terminal.seen
    assert "\x1b[" in said({"NO_COLOR": ""})
    assert "\x1b[" not in said({"NO_COLOR": "1"})


def test_a_closed_pipe_is_no_mistake():
    for verb in ("man", "completions bash", "--help"):
        command = f"set -o pipefail; '{binary()}' {verb} | head -c 10"
        with Terminal(["bash", "-c", command]) as terminal:
            code = terminal.wait()
            assert code in (0, 141) and "panick" not in terminal.seen, terminal.seen


def test_a_reader_that_is_gone_ends_a_command_quietly(config):
    command = f"exec 3> >(exec true); wait $!; '{binary()}' check --config '{config(ONE)}' >&3"
    with Terminal(["bash", "-c", command]) as terminal:
        assert terminal.wait() == 141 and not terminal.seen, terminal.seen


def test_an_output_that_cannot_be_written_is_told(config):
    path = config(ONE)
    for command, code in ((f"check --config '{path}' > /dev/full", FAILED), (f"check --json --config '{path}' > /dev/full", FAILED),
                          ("man > /dev/full", FAILED), (f"check --config '{path}.none' 2> /dev/full", CONFIG)):
        with Terminal(["bash", "-c", f"'{binary()}' {command}"]) as terminal:
            assert terminal.wait() == code and "panick" not in terminal.seen, (command, terminal.seen)
            assert code == CONFIG or "cannot be written: No space left" in terminal.seen, terminal.seen


def test_bytes_in_the_environment_do_not_disturb(config):
    with Terminal(["bash", "-c", f"LS_COLORS=$'\\xff' '{binary()}' check --config '{config(ONE)}'"]) as terminal:
        assert terminal.wait() == DONE, terminal.seen


def test_commands_end_quickly_without_a_home(tmp_path):
    """As a service runs them: no home, nothing of XDG."""
    bare = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG")}
    begun = time.monotonic()
    answer = moongate("check", env={**{key: "" for key in os.environ}, **bare, "HOME": "", "MOONGATE_CONFIG": str(tmp_path / "x")})
    assert answer.code == CONFIG and time.monotonic() - begun < 60
