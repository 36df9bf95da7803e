"""What operators watch: metrics, health, logs, activity, and the file for a bug report."""

import json
import re

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as classic_families

from harness.command import DONE, FAILED, REPOSITORY, moongate
from harness.moonraker import Moonraker, http
from harness.process import free_port
from harness.simulator import Simulator
from harness.waiting import wait_for

SECRET_CODE = "55501234"
DOCUMENTED = set(re.findall(
    r"^\| `([a-z_]+)` \|", (REPOSITORY / "docs/ref/metrics.md").read_text(encoding="utf-8"), re.MULTILINE))


def scrape(url):
    """Every sample by (name, labels), as the reference parser of OpenMetrics reads it."""
    answer = http("GET", url + "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"{key} twice"
            samples[key] = sample.value
    return samples


def scrape_classic(url):
    """The same for who does not ask for OpenMetrics, such as curl for `promtool check metrics`."""
    answer = http("GET", url + "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(classic_families(answer.text))
    assert all(family.type in ("counter", "gauge") and family.documentation for family in families), families
    return {(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples}


def value(samples, name, **labels):
    found = [value for (known, pairs), value in samples.items() if known == name and labels.items() <= dict(pairs).items()]
    return sum(found) if found else None


def once(pairs):
    """An object whose keys are all different: collectors drop one of two."""
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def control(printer):
    host, port = printer.told["addresses"]["control"].rsplit(":", 1)
    return Simulator(host, int(port))


def test_metrics_and_health(service, printers):
    running = service([printers[0].table("cc1"), printers[1].table("p1s")]).start().ready().online()
    for path, text in (("/livez", "ok\n"), ("/readyz", "ready\n")):
        answer = http("GET", running.url + path)
        assert (answer.status_code, answer.text) == (200, text)
    samples = scrape(running.url)
    assert {name for name, _ in samples} <= DOCUMENTED, "every metric is documented"
    assert set(samples) <= scrape_classic(running.url)
    assert value(samples, "moongate_link_up", printer="cc1", kind="elegoo_cc1") == 1
    assert value(samples, "moongate_report_age_seconds", printer="p1s") < 60
    assert value(samples, "process_resident_memory_bytes") > 1e6
    assert value(samples, "moongate_reconnects_total", printer="cc1") == 0, "the first connection is none"
    for result in ("complete", "cancelled", "failed"):
        assert value(samples, "moongate_jobs_total", printer="p1s", result=result) == 0, "there before the first job ends"
    client = Moonraker(f"http://127.0.0.1:{running.status()[0]['moonraker_port']}")
    assert value(scrape(running.url), "moongate_clients", printer="cc1") == 1
    client.close()

    for cut in (1, 2):
        control(printers[0]).fault("power_cut")
        wait_for(lambda: value(scrape(running.url), "moongate_link_up", printer="cc1") == 0, "the link is down", 90)
        assert http("GET", running.url + "/readyz").ok, "a printer that is off is not unhealthy"
        control(printers[0]).fault("power_on")
        wait_for(lambda: value(scrape(running.url), "moongate_link_up", printer="cc1") == 1, "the link is up", 90)
        wait_for(lambda: value(scrape(running.url), "moongate_reconnects_total", printer="cc1") == cut, f"{cut} counted")
    assert value(scrape(running.url), "moongate_reconnects_total", printer="p1s") == 0

    base = f"{running.url}/printers/cc1"
    before = value(scrape(running.url), "moongate_commands_total", printer="cc1", result="ok") or 0
    assert http("POST", base + "/printer/gcode/script?script=M140 S45").ok
    wait_for(lambda: value(scrape(running.url), "moongate_commands_total", printer="cc1", result="ok") > before, "counted")
    assert not http("POST", base + "/printer/print/pause").ok
    wait_for(lambda: any(name == "moongate_commands_total" and dict(pairs)["result"] != "ok" for name, pairs in scrape(running.url)), "a refusal is counted")

    entries = http("GET", running.url + "/activity?printer=cc1").json()
    refused = [entry for entry in entries if entry["what"] == "refused"]
    assert refused and len(refused[-1]["text"]) > 15, "with its reason"
    assert any(entry["what"] == "link" for entry in entries) and all(entry["printer"] == "cc1" for entry in entries)
    assert running.stop() == 0


def test_logs_for_people_and_for_collectors(service, printers):
    running = service([printers[0].table("cc1"), printers[1].table("p1s")])
    running.start("--log-format", "json", "--log", "debug").ready().online()
    assert running.stop() == 0
    lines = [json.loads(line, object_pairs_hook=once) for line in running.log.read_text().splitlines()]
    assert len(lines) >= 4
    for line in lines:
        assert {"timestamp", "level", "target", "message"} <= set(line), line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])
        assert line["level"] in ("ERROR", "WARN", "INFO", "DEBUG", "TRACE")
    assert any(line["message"] == "Ready." and line["gateway_port"] == running.port for line in lines)
    assert {line["span"]["id"] for line in lines if line.get("span", {}).get("name") == "printer"} == {"cc1", "p1s"}
    assert SECRET_CODE not in running.log.read_text()

    other = service([printers[0].table("cc1")], name="text").start(env={"MOONGATE_LOG_FORMAT": "text"}).ready()
    assert other.stop() == 0
    assert re.search(r"^\S+Z  INFO .*Ready\.", other.log.read_text(), re.MULTILINE)
    third = service([printers[0].table("cc1")], name="variable").start(env={"MOONGATE_LOG_FORMAT": "json"}).ready()
    assert third.stop() == 0 and all(json.loads(line) for line in third.log.read_text().splitlines())


def test_the_file_for_a_bug_report(service, printers, tmp_path):
    """Nothing that was planted as a secret is in it, wherever it was planted."""
    file = tmp_path / "code.txt"
    file.write_text("filecode77\n")
    tables = [printers[0].table("cc1"), printers[1].table("p1s"),
              f'[[printer]]\nname = "away"\ntitle = "Ana\'s printer"\nkind = "elegoo_cc2"\nhost = "printer.invalid"\naccess_code_file = "{file}"\npty = false\nmoonraker_port = {free_port()}\n']
    running = service(tables).start("--log", "debug").ready()
    wait_for(lambda: [printer["link"] for printer in running.status()][:2] == ["online", "online"], "two are online", 90)
    base = f"http://127.0.0.1:{running.status()[0]['moonraker_port']}"
    key = http("GET", base + "/access/api_key").json()["result"]
    http("POST", base + f"/printer/gcode/script?script=M117 {SECRET_CODE}")
    for options, name in (([], "plain"), (["--redact"], "redacted")):
        out = tmp_path / f"{name}.json"
        answer = moongate("dump", *options, "--output", out, "--config", running.config, env={"MOONGATE_API_KEY": key})
        assert answer.code == DONE and "Read it before" in answer.out, answer
        assert out.stat().st_mode & 0o777 == 0o600
        text = out.read_text()
        told = json.loads(text)
        for secret in (SECRET_CODE, "filecode77", key):
            assert secret not in text, f"{secret} in the {name} bundle"
        assert told["gateway"]["/status"]["printers"][0]["name"] == "cc1"
        assert told["config_check"] and told["state"] and told["system"]["kernel"]
        assert any("link_up" in line for line in told["gateway"]["/metrics"])
        assert isinstance(told["gateway"]["/activity"], list)
        for private in ("printer.invalid", "Ana's", printers[1].told["serial"]):
            assert (private in text) == (name == "plain"), (private, name)
    assert running.stop() == 0
    answer = moongate("dump", "--output", "-", "--config", running.config)
    assert answer.code == DONE and "does not answer" in json.dumps(answer.json()["gateway"]), "also without a gateway"
    answer = moongate("dump", "--output", tmp_path / "none/x.json", "--config", running.config)
    assert answer.code == FAILED and "--output names another place" in answer.err
