"""What the page and the metrics say of a print, next to what is true of it."""

import base64
import re
import struct
import zlib

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.browser import Browser
from harness.farm import Farm
from harness.moonraker import http
from harness.samples import sample
from harness.waiting import wait_for


@pytest.fixture(scope="module")
def house():
    farm = Farm(("cc1",), speed=10, label="facts")
    try:
        yield farm.start()
    finally:
        farm.remove()


def red(side):
    """A picture of one colour."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + b"\xff\0\0" * side) * side
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) \
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_picture(gcode, picture):
    text = base64.b64encode(picture).decode()
    lines = "\n".join("; " + text[at:at + 78] for at in range(0, len(text), 78))
    block = f"; thumbnail begin 144x144 {len(text)}\n{lines}\n; thumbnail end"
    changed, count = re.subn(r"; thumbnail begin .*?; thumbnail end", block, gcode.decode(), count=1, flags=re.DOTALL)
    assert count == 1
    return changed.encode()


def metrics(house):
    """Value by name and labels, without the printer's."""
    told = {}
    for family in text_string_to_metric_families(http("GET", house.own_url + "/metrics").text):
        for found in family.samples:
            rest = {key: value for key, value in found.labels.items() if key not in ("printer", "kind")}
            told[found.name, *rest.values()] = found.value
    return told


def phases(told):
    return [key[1] for key, value in told.items() if key[0] == "moongate_job_phase" and value == 1]


def activity(house):
    return [entry["text"] for entry in http("GET", house.own_url + "/activity").json() if entry["what"] == "job"]


def test_metrics_of_a_print(house):
    told = metrics(house)
    assert phases(told) == ["idle"] and ("moongate_print_progress_ratio",) not in told
    assert told["moongate_heater_temperature_celsius", "nozzle0"] > 10
    house["cc1"].start_print()
    house["cc1"].until_printing()
    wait_for(lambda: (metrics(house).get(("moongate_print_progress_ratio",)) or 0) > 0, "it moves on", 60)
    told, status = metrics(house), house.status_of("cc1")
    assert phases(told) == ["printing"] and 0 < told["moongate_print_progress_ratio",] < 1
    assert told["moongate_heater_target_celsius", "nozzle0"] == status["nozzles"][0]["target"] > 100
    assert abs(told["moongate_heater_temperature_celsius", "bed"] - status["bed"]["actual"]) < 10
    assert activity(house)[-1].startswith("started "), activity(house)


def test_a_print_that_was_there_before_is_found(house):
    """After the one before, whose print goes on."""
    house.restart()
    wait_for(lambda: activity(house), "it is told", 60)
    assert activity(house) == ["found running: cube.gcode"]


def test_a_new_file_of_the_same_name_shows_its_own_picture(house):
    printer = house["cc1"]
    with printer.moonraker() as client:
        client.call("printer.print.cancel", seconds=60)
    wait_for(lambda: house.status_of("cc1")["job"]["phase"] == "cancelled", "it is cancelled", 60)
    browser = Browser()
    try:
        browser.open(house.own_url + "/")
        colour = """(() => {
            const image = document.querySelector('#printer-cc1 .thumbnail');
            if (!image || !image.complete || !image.naturalWidth) return null;
            const pen = document.createElement('canvas').getContext('2d');
            pen.drawImage(image, 0, 0, 10, 10);
            return [...pen.getImageData(5, 5, 1, 1).data.slice(0, 3)];
        })()"""
        wait_for(lambda: browser.run(colour), "the picture", 60)
        assert browser.run(colour) != [255, 0, 0]
        assert printer.upload("cube.gcode", with_picture(sample("cc1")[1], red(144))).ok
        wait_for(lambda: browser.run(colour) == [255, 0, 0], "the new picture", 30)
    finally:
        browser.close()
