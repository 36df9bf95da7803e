"""`moongate init` at a keyboard, against printers of all three kinds on a network of their own."""

import os
import re
import stat
import tomllib

import pytest

from harness.demo import binary
from harness.lan import Lan
from harness.process import stop
from harness.terminal import Terminal
from harness.waiting import wait_for

LOOK = 12
PRINTERS = {"p1s": "12345678", "cc1": None, "cc2": "123456"}


@pytest.fixture(scope="module")
def lan():
    """One machine per printer with the vendor's own ports, and one for the gateway."""
    with Lan() as lan:
        machines, running = {}, []
        for model, code in PRINTERS.items():
            machine = machines[model] = lan.machine()
            options = ["--address", machine.address, "--real-ports", "--seconds", "900"]
            running.append(machine.start(
                binary(), "simulate", model, *options, *(["--code", code] if code else []), log=f"init-{model}.log"))
        machines["gateway"] = lan.machine()
        yield machines
        for process in running:
            stop(process)


@pytest.fixture
def home(tmp_path):
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_STATE_HOME": str(tmp_path / "state"),
            "XDG_RUNTIME_DIR": str(tmp_path / "run"), "MOONGATE_CONFIG": ""}


def init(lan, home, *arguments):
    command = lan["gateway"].command(binary(), "init", *arguments)
    return Terminal(command, env=home, log="init.log")


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def answer_found(terminal, lan, wrong_code=None):
    """Goes through the printers that are offered; the order is that of kinds and addresses."""
    for model in ("p1s", "cc1", "cc2"):
        found = terminal.expect(r"Found ([^\n]*?) at (\d+\.\d+\.\d+\.\d+)\. Use it\? \(y/n\) \[y\]: ", LOOK + 60)
        assert found.group(2) == lan[model].address
        terminal.enter()
        terminal.expect(r"Short name \[[a-z0-9-]+\]: ")
        terminal.enter(model)
        if PRINTERS[model]:
            terminal.expect(r"Access code \([^)]*\): ")
            if model == wrong_code:
                terminal.enter("87654321")
                terminal.expect(r"BAD +login, report: [^\n]*refused", 90)
                terminal.expect(r"refuses this code\. Type it again\? \(y/n\) \[y\]: ")
                terminal.enter()
                terminal.expect(r"Access code \([^)]*\) \[87654321\]: ")
            terminal.enter(PRINTERS[model])
        terminal.expect(r"ok +login, report: online", 90)
        terminal.expect(r"ok +files: |ok +camera: |note ", 90)


def test_from_nothing_to_a_running_gateway(lan, home, tmp_path):
    path = tmp_path / "new/moongate.toml"
    with init(lan, home, "--seconds", LOOK, "--config", path) as terminal:
        terminal.expect("Looking for printers")
        terminal.expect("3 printers were found")
        answer_found(terminal, lan, wrong_code="p1s")
        terminal.expect(r"Add a printer by its address\? \(y/n\) \[n\]: ", 90)
        assert not path.exists(), "nothing is written before the last answer"
        terminal.enter()
        terminal.expect(r"May other machines of this network use the gateway\? \(y/n\) \[n\]: ")
        terminal.enter("y")
        terminal.expect(r"moongate\.toml is written")
        terminal.expect(rf"Next: moongate run --config '{path}'")
        assert terminal.wait() == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    written = tomllib.loads(text)
    assert [(p["name"], p["kind"], p["host"]) for p in written["printer"]] == [
        ("p1s", "bambu", lan["p1s"].address), ("cc1", "elegoo_cc1", lan["cc1"].address), ("cc2", "elegoo_cc2", lan["cc2"].address)]
    assert written["printer"][0]["serial"] and written["printer"][0]["access_code"] == "12345678"
    assert written["gateway"]["listen"] == "0.0.0.0"
    assert len(re.findall(r"^# ", text, re.MULTILINE)) > 10, "it is commented"

    gateway = lan["gateway"]
    environment = {**os.environ, **home}
    checked = gateway.run(binary(), "check", "--config", path, env=environment)
    assert checked.returncode == 0 and not checked.stderr, checked
    running = gateway.start("timeout", "300", binary(), "run", "--config", path, log="init-gateway.log", env=home)
    try:
        def online():
            told = gateway.run(binary(), "status", "--config", path, env=environment)
            return told.stdout if told.stdout.count(" idle ") == 3 else None
        wait_for(online, "all printers are online", 90)
    finally:
        assert stop(running) == 0


def test_what_exists_stays(lan, home, tmp_path):
    path = tmp_path / "moongate.toml"
    path.write_text("# mine\n")
    with init(lan, home, "--config", path) as terminal:
        terminal.expect(r"exists and is left as it is\. Edit it, or name another file")
        assert terminal.wait() == 1
    assert path.read_text() == "# mine\n"


def test_what_cannot_be_written_is_told_before_any_question(lan, home):
    with init(lan, home, "--config", "/dev/null/moongate.toml") as terminal:
        terminal.expect(r"cannot be written")
        assert terminal.wait() == 1
        assert "Looking" not in terminal.seen


QUESTIONS = ((r"Add a printer by its address\? \(y/n\) \[y\]: ", ""), (r"Kind \(.*\) \[bambu\]: ", ""),
             (r"Address: ", "127.0.0.1"), (r"Serial number \(.*\): ", "01P00A000000001"), (r"Short name \[bambu\]: ", ""),
             (r"Access code \(.*\): ", "12345678"), (r"Add a printer by its address\? \(y/n\) \[n\]: ", ""),
             (r"May other machines of this network use the gateway\? \(y/n\) \[n\]: ", None))


@pytest.mark.parametrize("key, code, told", [
    ("\x04", 1, r"the input ended before the last answer; nothing is written\."),
    ("\x03", 130, r"stopped; nothing is written\."),
])
@pytest.mark.parametrize("at", range(len(QUESTIONS)))
def test_each_question_can_be_left(home, tmp_path, at, key, code, told):
    """Ctrl-D and Ctrl-C, on this machine alone: no printer is asked anything."""
    path = tmp_path / "new/moongate.toml"
    with Terminal([binary(), "init", "--seconds", "0", "--no-test", "--config", path], env=home, log="init.log") as terminal:
        for question, answer in QUESTIONS[:at]:
            terminal.expect(question)
            terminal.enter(answer)
        terminal.expect(QUESTIONS[at][0])
        terminal.type(key)
        terminal.expect(r"\r\nmoongate: " + told)
        assert terminal.wait() == code
    assert not files_below(tmp_path), "nothing half is left"


@pytest.mark.parametrize("at", ["looking", "name", "code", "test"])
def test_ctrl_c_leaves_nothing(lan, home, tmp_path, at):
    path = tmp_path / "new/moongate.toml"
    with init(lan, home, "--seconds", 0 if at != "looking" else LOOK, "--config", path) as terminal:
        if at != "looking":
            for question, answer in ((r"Add a printer by its address\? \(y/n\) \[y\]: ", ""), (r"Kind \(.*\) \[bambu\]: ", ""),
                                     (r"Address: ", lan["p1s"].address), (r"Serial number \(.*\): ", "01P00A000000001")):
                terminal.expect(question)
                terminal.enter(answer)
            terminal.expect(r"Short name \[bambu\]: ")
            if at in ("code", "test"):
                terminal.enter()
                terminal.expect(r"Access code \(.*\): ")
            if at == "test":
                terminal.enter("12345678")
                terminal.expect(r"ok +name")
        else:
            terminal.expect("Looking for printers")
        terminal.interrupt()
        terminal.expect("stopped; nothing is written")
        assert terminal.wait() == 130
    assert not files_below(tmp_path), "nothing half is left"


def test_an_address_where_nothing_is_can_be_corrected(lan, home, tmp_path):
    path = tmp_path / "moongate.toml"
    with init(lan, home, "--seconds", 0, "--config", path) as terminal:
        for question, answer in ((r"Add a printer by its address\? \(y/n\) \[y\]: ", "perhaps"), (r"Please answer y or n\.", None),
                                 (r"Add a printer by its address\? \(y/n\) \[y\]: ", "y"), (r"Kind \(.*\) \[bambu\]: ", "prusa"),
                                 (r"no kind \"prusa\"", None), (r"Kind \(.*\) \[bambu\]: ", "elegoo_cc1"),
                                 # The gateway's own machine: nothing listens there.
                                 (r"Address: ", lan["gateway"].address), (r"Short name \[elegoo-cc1\]: ", "My CC"),
                                 (r"must be 1 to 32 lower-case", None), (r"Answer again\? \(y/n\) \[y\]: ", ""),
                                 (r"Short name \[My CC\]: ", "mine"), (r"BAD +port 3030", None), (r"Put it right and test again\? \(y/n\) \[y\]: ", ""),
                                 (r"Address \[.*\]: ", lan["cc1"].address), (r"ok +login, report", None),
                                 (r"Add a printer by its address\? \(y/n\) \[n\]: ", ""), (r"use the gateway\? \(y/n\) \[n\]: ", ""),
                                 (r"is written", None)):
            terminal.expect(question, 120)
            if answer is not None:
                terminal.enter(answer)
        assert terminal.wait() == 0
    written = tomllib.loads(path.read_text())
    assert [(p["name"], p["host"]) for p in written["printer"]] == [("mine", lan["cc1"].address)]
    assert written["gateway"]["listen"] == "127.0.0.1"


@pytest.mark.parametrize("kind, model", [("bambu", "cc1"), ("elegoo_cc1", "p1s"), ("elegoo_cc2", "cc1")])
def test_a_printer_of_another_kind_is_told(lan, tmp_path, kind, model):
    config = tmp_path / "moongate.toml"
    more = 'serial = "01P00A000000001"\naccess_code = "12345678"\n' if kind == "bambu" else ""
    config.write_text(f'[[printer]]\nname = "x"\nkind = "{kind}"\nhost = "{lan[model].address}"\n{more}')
    config.chmod(0o600)
    told = lan["gateway"].run(binary(), "probe", "x", "--config", config, timeout=120)
    is_kind = {"cc1": "elegoo_cc1", "p1s": "bambu"}[model]
    assert told.returncode == 1 and f'BAD  kind' in told.stdout, told
    assert f'a printer of kind = "{is_kind}" is open there: correct kind or host.' in told.stdout, told


def test_discover_and_probe_on_the_network(lan, tmp_path):
    gateway = lan["gateway"]
    found = gateway.run(binary(), "discover", "--seconds", LOOK)
    assert found.returncode == 0 and found.stderr == "", found
    for model, kind in (("p1s", "bambu"), ("cc1", "elegoo_cc1"), ("cc2", "elegoo_cc2")):
        assert re.search(rf"^{kind} +{re.escape(lan[model].address)} ", found.stdout, re.MULTILINE), found.stdout
    config = tmp_path / "moongate.toml"
    config.write_text(f'[[printer]]\nname = "cc2"\nkind = "elegoo_cc2"\nhost = "{lan["cc2"].address}"\naccess_code = "wrong1"\n')
    config.chmod(0o600)
    told = gateway.run(binary(), "probe", "cc2", "--config", config, timeout=120)
    assert told.returncode == 1 and "BAD  login, report" in told.stdout and "[MG-CC2-AUTH]" in told.stdout, told
    assert "wrong1" not in told.stdout + told.stderr
