"""Completions that complete, and a manual that formats."""

import os
import re
import subprocess

import pytest

from harness.command import DONE, FAILED, moongate
from harness.demo import binary
from harness.terminal import Terminal


@pytest.fixture
def scripts(tmp_path):
    def write(shell, name):
        answer = moongate("completions", shell)
        assert answer.code == DONE and not answer.err
        path = tmp_path / name
        path.write_text(answer.out)
        return path

    return write


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False, **options)


def test_bash(scripts):
    script = scripts("bash", "moongate.bash")
    assert run("bash", "-n", script).stderr == ""

    def complete(*words):
        line = " ".join(f"'{word}'" for word in words)
        ask = (f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
               "_moongate moongate \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[@]}\"")
        return run("bash", "-c", ask).stdout.split()

    assert complete("moongate", "stat") == ["status"]
    assert {"pause", "print", "probe"} == set(complete("moongate", "p"))
    assert "--dry-run" in complete("moongate", "print", "--dr")


def test_zsh(scripts, tmp_path):
    script, folder = scripts("zsh", "_moongate"), os.path.dirname(binary())
    assert run("zsh", "-n", script).stderr == ""
    setup = f"fpath=({tmp_path} $fpath); autoload -Uz compinit && compinit -u -D && PS1='ready'$'> '"
    with Terminal(["zsh", "-f", "-i"], env={"ZDOTDIR": str(tmp_path), "PATH": f"{folder}:{os.environ['PATH']}"}) as shell:
        shell.enter(setup)
        shell.expect(r"ready> ")
        shell.type("moongate stat\t")
        shell.expect(r"moongate.*status")
        shell.type(" --jso\t")
        shell.expect(r"--json")


def test_fish(scripts):
    script = scripts("fish", "moongate.fish")
    assert run("fish", "--no-execute", script).stderr == ""
    listed = run("fish", "--no-config", "-c", f"source {script}; complete -C 'moongate stat'").stdout
    assert listed.startswith("status\t")
    listed = run("fish", "--no-config", "-c", f"source {script}; complete -C 'moongate print --dry'").stdout
    assert listed.startswith("--dry-run\t")


@pytest.mark.parametrize("shell", ["elvish", "powershell"])
def test_other_shells_get_a_script(shell):
    answer = moongate("completions", shell)
    assert answer.code == DONE and "status" in answer.out


def test_the_manual(tmp_path):
    page = moongate("man")
    assert page.code == DONE and page.out.lstrip().startswith(('.ie', '.TH', "'\\\"")), page.out[:80]
    assert moongate("man", "--folder", tmp_path / "man1").code == DONE
    pages = sorted((tmp_path / "man1").iterdir())
    names = {page.name for page in pages}
    assert {"moongate.1", "moongate-print.1", "moongate-init.1"} <= names
    for page in pages:
        told = run("mandoc", "-Tlint", "-Wwarning", page)
        # Pages made at a build carry no date: two builds of one commit are equal.
        assert not [line for line in told.stdout.splitlines() if "missing date" not in line], told.stdout
    # Other programs find exit codes and files where manuals have them.
    main = run("mandoc", "-Tutf8", "-Owidth=200", tmp_path / "man1/moongate.1").stdout
    # Bold letters are struck twice.
    main = re.sub(r".\x08", "", main)
    for heading in ("SYNOPSIS", "EXIT STATUS", "FILES", "ENVIRONMENT"):
        assert f"\n{heading}\n" in main, heading
    assert "75" in main and "moongate.toml" in main and "MOONGATE_API_KEY" in main


def test_a_manual_that_cannot_be_written_names_its_folder(tmp_path):
    (tmp_path / "file").touch()
    answer = moongate("man", "--folder", tmp_path / "file" / "man1")
    assert answer.code == FAILED and f"{tmp_path}/file/man1 cannot be written" in answer.err, answer
