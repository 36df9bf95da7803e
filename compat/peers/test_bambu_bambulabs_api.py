"""The third-party client `bambulabs-api`, unmodified, drives the simulated Bambu printer.

It knows only the printer's own port numbers, so connections to those are sent to the simulator's.
"""

import io
import json

import bambulabs_api
import pytest

from harness.simulated import redirected, simulated
from harness.waiting import wait_for

PORTS = {8883: "mqtt", 990: "ftps", 6000: "camera"}
SAMPLE = "peer.gcode.3mf"


@pytest.fixture(scope="module")
def machine():
    """A P1S: the model this client is written for, with the JPEG camera."""
    with simulated("p1s") as printer, redirected(printer, PORTS):
        yield printer


@pytest.fixture(scope="module")
def client(machine):
    client = bambulabs_api.Printer(machine.host, machine.access_code, machine.serial)
    client.mqtt_start()
    wait_for(client.mqtt_client_ready, "the client is ready", 20)
    wait_for(lambda: state(client) in ("IDLE", "FINISH", "FAILED"), "the printer is idle", 20)
    yield client
    client.mqtt_stop()


def state(client):
    return client.get_state().name


def report(client, key):
    return client.mqtt_dump()["print"][key]


def listing(client):
    return str(client.ftp_client.list_directory())


def test_first_report(client):
    wait_for(lambda: client.mqtt_client.firmware_version().count(".") == 3, "firmware is known")
    wait_for(lambda: 15 < client.get_nozzle_temperature() < 300, "nozzle temperature")
    wait_for(lambda: 15 < client.get_bed_temperature() < 120, "bed temperature")


def test_light(client):
    # The client's own turn_light_on leaves out the command name; this sends what Studio sends.
    mqtt = client.mqtt_client
    for mode in ("on", "off"):
        request = {"sequence_id": "0", "command": "ledctrl", "led_node": "chamber_light", "led_mode": mode,
                   "led_on_time": 500, "led_off_time": 500, "loop_times": 0, "interval_time": 0}
        mqtt._client.publish(mqtt.command_topic, json.dumps({"system": request})).wait_for_publish(10)
        wait_for(lambda: client.get_light_state() == mode, f"light {mode}")


def test_fan_and_bed(client):
    client.set_part_fan_speed(255)
    wait_for(lambda: int(report(client, "cooling_fan_speed")) == 15, "part fan at full speed")
    client.set_part_fan_speed(0)
    wait_for(lambda: int(report(client, "cooling_fan_speed")) == 0, "part fan off")
    client.gcode("M140 S45")
    wait_for(lambda: report(client, "bed_target_temper") == 45, "bed heats")
    client.gcode("M140 S0")
    wait_for(lambda: report(client, "bed_target_temper") == 0, "bed target off")


def test_files_and_a_job(client):
    sample = io.BytesIO()

    def fetch(ftp):
        ftp.ftps.retrbinary("RETR cube.gcode.3mf", sample.write)

    type(client.ftp_client).connect_and_run(fetch)(client.ftp_client)
    assert sample.getbuffer().nbytes > 1000, "the sample was read back"
    sample.seek(0)
    assert "226" in str(client.upload_file(sample, SAMPLE))
    assert SAMPLE in listing(client)

    client.start_print(SAMPLE, 1, use_ams=False)
    wait_for(lambda: state(client) == "RUNNING", "the print runs", 60)
    wait_for(lambda: client.current_layer_num() >= 1, "layers are printed", 60)
    client.pause_print()
    wait_for(lambda: state(client) == "PAUSE", "paused", 30)
    client.resume_print()
    wait_for(lambda: state(client) == "RUNNING", "runs again", 30)
    client.set_print_speed(3)
    wait_for(lambda: client.get_print_speed() == 124, "sport speed")
    client.stop_print()
    wait_for(lambda: state(client) == "FAILED", "stopped", 30)
    wait_for(lambda: int(client.print_error_code()) == 0, "the code of the cancel goes away", 30)

    client.start_print(SAMPLE, 1, use_ams=False)
    wait_for(lambda: state(client) == "RUNNING", "the second print runs", 60)
    wait_for(lambda: state(client) == "FINISH", "it finishes", 120)
    wait_for(lambda: int(client.get_percentage()) == 100, "at 100 %")
    client.delete_file(SAMPLE)
    wait_for(lambda: SAMPLE not in listing(client), "the file is deleted")


def test_camera(client):
    client.camera_start()
    try:
        wait_for(lambda: client.get_camera_image().size == (1280, 720), "a camera picture", 30)
    finally:
        client.camera_stop()
