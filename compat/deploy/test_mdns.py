"""mDNS as apps on another machine of the network hear it: python-zeroconf, the library that OctoPrint uses."""

import json
import sys

import pytest

from harness.demo import binary
from harness.lan import Lan
from harness.process import stop
from harness.waiting import wait_for

# Runs on the other machine: prints every change as a line of JSON.
BROWSER = """
import json, sys, time
from zeroconf import ServiceBrowser, Zeroconf

class Told:
    def add_service(self, zc, kind, name):
        info = zc.get_service_info(kind, name, timeout=5000)
        facts = {key.decode(): (value or b"").decode() for key, value in info.properties.items()} if info else {}
        print(json.dumps({"added": name, "kind": kind, "port": info and info.port, "server": info and info.server,
                          "addresses": info and info.parsed_addresses(), "facts": facts}), flush=True)
    update_service = add_service
    def remove_service(self, zc, kind, name):
        print(json.dumps({"removed": name, "kind": kind}), flush=True)

zc = Zeroconf()
ServiceBrowser(zc, ["_moonraker._tcp.local.", "_octoprint._tcp.local."], Told())
time.sleep(240)
"""
SERVICES = ("_moonraker._tcp.local.", "_octoprint._tcp.local.")


@pytest.fixture
def lan():
    with Lan() as lan:
        yield lan


def test_printers_are_announced_and_withdrawn(lan, tmp_path):
    gateway, phone = lan.machine(), lan.machine()
    config = tmp_path / "moongate.toml"
    config.write_text(
        f'[gateway]\nlisten = "0.0.0.0"\nannounce = true\nstate_dir = "{tmp_path}/state"\nruntime_dir = "{tmp_path}/run"\n'
        '[[printer]]\nname = "p1s"\ntitle = "P1S im Keller"\nkind = "bambu"\nhost = "10.77.0.99"\nserial = "01P00A000000001"\naccess_code = "12345678"\n'
        '[[printer]]\nname = "cc1"\nkind = "elegoo_cc1"\nhost = "10.77.0.98"\n'
        '[[printer]]\nname = "second"\ntitle = "CC1"\nkind = "elegoo_cc1"\nhost = "10.77.0.97"\n')
    config.chmod(0o600)
    heard = tmp_path / "heard.jsonl"
    with open(heard, "wb") as out:
        browser = phone.start(sys.executable, "-c", BROWSER, log="mdns-browser.log", stdout=out)
    running = gateway.start("timeout", "240", binary(), "run", "--config", config, log="mdns-gateway.log")

    def lines():
        return [json.loads(line) for line in heard.read_text().splitlines()]

    def known():
        return {(line["added"], line["kind"]): line for line in lines() if "added" in line and line["port"]}

    try:
        wait_for(lambda: len(known()) == 6, "three printers, two services each", 90)
        # DNS compares names without case: the third would replace the second.
        for title, name, port in (("P1S im Keller", "p1s", 7125), ("cc1", "cc1", 7126), ("CC1 (2)", "second", 7127)):
            moonraker, octoprint = (known()[(f"{title}.{kind}", kind)] for kind in SERVICES)
            for told in (moonraker, octoprint):
                assert told["port"] == port and gateway.address in told["addresses"] and told["server"].endswith(".local."), told
                assert told["facts"]["printer"] == name
            assert set(moonraker["facts"]) >= {"uuid", "https_port", "version", "route_prefix"} and len(moonraker["facts"]["uuid"]) == 32
            assert octoprint["facts"]["path"] == "/" and octoprint["facts"]["api"] == "0.1" and octoprint["facts"]["version"]
        first = known()[(f"cc1.{SERVICES[0]}", SERVICES[0])]
        answer = phone.run("curl", "-sf", f"http://{first['addresses'][0]}:{first['port']}/server/info")
        assert answer.returncode == 0 and json.loads(answer.stdout)["result"], "what is announced answers"
        assert stop(running) == 0
        wait_for(lambda: len({line["removed"] + line["kind"] for line in lines() if "removed" in line}) == 6, "all are withdrawn", 30)
    finally:
        stop(running)
        stop(browser)


def test_a_gateway_for_this_machine_only_is_silent(lan, tmp_path):
    """On loopback nobody else could connect to what is announced."""
    gateway = lan.machine()
    config = tmp_path / "moongate.toml"
    config.write_text(
        f'[gateway]\nannounce = true\nstate_dir = "{tmp_path}/state"\nruntime_dir = "{tmp_path}/run"\n'
        '[[printer]]\nname = "cc1"\nkind = "elegoo_cc1"\nhost = "10.77.0.98"\n')
    running = gateway.start("timeout", "120", binary(), "run", "--config", config, log="mdns-silent.log")
    try:
        wait_for(lambda: gateway.run("curl", "-sf", "http://127.0.0.1:7100/readyz").returncode == 0, "it runs", 60)
        assert "5353" not in gateway.run("ss", "-Hlun").stdout
    finally:
        assert stop(running) == 0
