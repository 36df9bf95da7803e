"""The Debian package on a machine of its own: this one's files below, all changes thrown away afterwards."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.command import DEPLOY, REPOSITORY
from harness.demo import binary

# What lintian says of a package that no Debian archive has: no bug number, a maintainer without an address.
ACCEPTED = {"initial-upload-closes-no-bugs", "bogus-mail-host", "bogus-mail-host-in-debian-changelog",
            "maintainer-address-malformed"}


@pytest.fixture(scope="module")
def stripped(tmp_path_factory):
    """As released builds are; another one would take minutes to compress."""
    program = tmp_path_factory.mktemp("stripped") / "moongate"
    subprocess.run(["strip", "-o", program, binary()], check=True, timeout=120)
    return program


@pytest.fixture(scope="module")
def package(tmp_path_factory, stripped):
    out = tmp_path_factory.mktemp("deb")
    built = subprocess.run([DEPLOY / "deb/build", stripped, out], capture_output=True, text=True, timeout=300, check=False,
                           env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "DPKG_DEB_COMPRESSOR_TYPE": "gzip"})
    assert built.returncode == 0, built.stderr
    return next(out.glob("moongate_*.deb"))


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Runs a script on a copy of this machine; a mount namespace of its own, gone with the script."""
    folder = tmp_path_factory.mktemp("machine")

    def run(script, *given):
        for name in ("disk", "root"):
            (folder / name).mkdir(exist_ok=True)
        inner = folder / "inner.sh"
        inner.write_text("#!/bin/sh\nset -e\n" + script)
        outer = (
            f'set -e; mount -t tmpfs machine "{folder}/disk"; mkdir "{folder}/disk/upper" "{folder}/disk/work"; '
            f'mount -t overlay machine -o lowerdir=/,upperdir="{folder}/disk/upper",workdir="{folder}/disk/work" "{folder}/root"; '
            f'mount -t tmpfs run "{folder}/root/run"; mount -t tmpfs tmp "{folder}/root/tmp"; mount -t proc proc "{folder}/root/proc"; '
            f'mount --rbind /dev "{folder}/root/dev"; mkdir "{folder}/root/given"; '
            f'cp "{inner}" {" ".join(str(path) for path in given)} "{folder}/root/given/"; '
            f'exec chroot "{folder}/root" sh /given/inner.sh')
        return subprocess.run(["unshare", "--mount", "--propagation", "private", "--fork", "--pid", "sh", "-c", outer],
                              capture_output=True, text=True, timeout=300, check=False)

    return run


def test_two_builds_are_equal(package, stripped, tmp_path):
    again = subprocess.run([DEPLOY / "deb/build", stripped, tmp_path], capture_output=True, text=True, timeout=300, check=False,
                           env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "DPKG_DEB_COMPRESSOR_TYPE": "gzip"})
    assert again.returncode == 0, again.stderr
    assert next(tmp_path.glob("*.deb")).read_bytes() == package.read_bytes()


def test_an_unpacked_archive_is_enough(package, stripped, tmp_path):
    """Without git the newest source tells the time of the sources."""
    sources, out = tmp_path / "sources", tmp_path / "out"
    for folder in ("src", "docs", "deploy"):
        shutil.copytree(REPOSITORY / folder, sources / folder)
    for file in ("README.md", "CHANGELOG.md", "Cargo.toml", "Cargo.lock"):
        shutil.copy(REPOSITORY / file, sources)
    for path in sources.rglob("*"):
        os.utime(path, (1600000000, 1600000000))
    os.utime(sources / "src/lib.rs", (1700000000, 1700000000))
    environment = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    built = subprocess.run([sources / "deploy/deb/build", stripped, out], capture_output=True, text=True, timeout=300, check=False,
                           env={**environment, "DPKG_DEB_COMPRESSOR_TYPE": "gzip", "GIT_CEILING_DIRECTORIES": str(tmp_path)})
    assert built.returncode == 0, built.stderr
    assert next(out.glob("*.deb")).read_bytes() == package.read_bytes()


def test_newer_sources_are_an_upgrade(package):
    """apt does nothing with a package of the version that is installed: without the time, newer sources would be no news."""
    told = subprocess.run(["dpkg-deb", "--field", package, "Version"], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    assert told == "0.1.0+20231114.221320", told
    later = told.replace("20231114.221320", "20231114.221321")
    for newer in (later, "0.1.1+20200101.000000"):
        assert subprocess.run(["dpkg", "--compare-versions", told, "lt", newer], check=False, timeout=60).returncode == 0, newer


def test_lintian_finds_no_errors(package):
    told = subprocess.run(["lintian", "--allow-root", "--fail-on", "none", package], capture_output=True, text=True, timeout=300, check=False)
    serious = [line for line in told.stdout.splitlines() if re.match(r"[EW]: ", line) and line.split(": ")[2].split()[0] not in ACCEPTED]
    assert not serious, serious


def test_install_use_remove_purge(package, machine):
    config = '[[printer]]\\nname = "cc1"\\nkind = "elegoo_cc1"\\nhost = "192.0.2.1"\\n'
    done = machine(f"""
        dpkg --install /given/*.deb
        echo "version: $(moongate --version)"
        getent passwd moongate
        id -nG moongate
        stat -c '%a %U %n' /etc/moongate /etc/moongate/credentials
        printf '{config}' > /etc/moongate/moongate.toml
        systemd-tmpfiles --create moongate.conf
        stat -c '%a %U %n' /etc/moongate/moongate.toml
        moongate check
        test -s /usr/share/man/man1/moongate-init.1.gz && test -s /usr/share/bash-completion/completions/moongate
        test -s /lib/systemd/system/moongate.service && test -s /usr/share/doc/moongate/examples/nginx.conf
        test -s /usr/share/doc/moongate/docs/guide/octoprint.md && test -s /usr/share/doc/moongate/docs/ref/config.md
        dpkg --verify moongate
        mkdir -p /var/lib/moongate/library
        ls /etc/systemd/system/multi-user.target.wants/moongate.service
        echo "-- upgrade"
        dpkg --install /given/*.deb
        test -s /etc/moongate/moongate.toml && test -d /var/lib/moongate/library
        echo "-- remove"
        dpkg --remove moongate
        test ! -e /usr/bin/moongate
        test -s /etc/moongate/moongate.toml && test -d /var/lib/moongate/library
        echo "-- purge"
        dpkg --purge moongate
        test ! -e /etc/systemd/system/multi-user.target.wants/moongate.service
        test ! -e /etc/moongate && test ! -e /var/lib/moongate
        ! dpkg -s moongate 2>/dev/null
        echo "-- all went well"
    """, package)
    assert done.returncode == 0 and "-- all went well" in done.stdout, (done.stdout[-3000:], done.stderr[-3000:])
    for told in ("version: moongate 0.1.0", "moongate:x:", "/usr/sbin/nologin", "moongate dialout", "755 root /etc/moongate",
                 "700 root /etc/moongate/credentials", "600 moongate /etc/moongate/moongate.toml", "fine, 1 printer",
                 "moongate init"):
        assert told in done.stdout, (told, done.stdout)
    assert not Path("/usr/bin/moongate").exists() or "moongate" not in done.stderr
