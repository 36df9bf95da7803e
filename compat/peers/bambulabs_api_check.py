#!/usr/bin/env python3
"""Drives a (simulated) Bambu printer with the third-party client `bambulabs-api` and checks what it sees.

Usage: bambulabs_api_check.py HOST ACCESS_CODE SERIAL [--camera]

The client knows only the printer's own port numbers: MQTT on 8883 and FTPS on 990 of HOST.
The printer must be idle and should run fast (`--speed 30`). Every failed expectation is printed; the exit code is
the number of them. Starts one print, pauses, resumes and stops it, then prints a file to the end.
"""
import io
import json
import sys
import time

import bambulabs_api as bl

DEADLINE = 90.0
failures = []


def until(what, condition, deadline=DEADLINE):
    """Waits for a condition; notes a failure when it does not come."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            if condition():
                print(f"ok   {what}")
                return True
        except Exception as error:  # the client raises while it has no data yet
            last = error
        time.sleep(0.2)
    print(f"FAIL {what}")
    failures.append(what)
    return False


def state_is(printer, *names):
    return lambda: printer.get_state().name in names


def main():
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    if len(arguments) != 3:
        sys.exit(__doc__)
    host, code, serial = arguments
    printer = bl.Printer(host, code, serial)
    printer.mqtt_start()
    try:
        until("the client is ready", printer.mqtt_client_ready, 20)
        until("state IDLE", state_is(printer, "IDLE", "FINISH", "FAILED"), 20)
        until("firmware is known", lambda: printer.mqtt_client.firmware_version().count(".") == 3)
        until("nozzle temperature", lambda: 15 < printer.get_nozzle_temperature() < 300)
        until("bed temperature", lambda: 15 < printer.get_bed_temperature() < 120)

        print("stored files:", printer.ftp_client.list_directory())
        with open_sample(printer) as sample:
            answer = printer.upload_file(sample, "peer.gcode.3mf")
        until(f"upload answered 226 ({answer!r})", lambda: "226" in str(answer), 1)

        light(printer, "on")
        until("light on", lambda: printer.get_light_state() == "on")
        light(printer, "off")
        until("light off", lambda: printer.get_light_state() == "off")
        printer.set_part_fan_speed(255)
        until("part fan at full speed", lambda: int(printer.mqtt_dump()["print"]["cooling_fan_speed"]) == 15)
        printer.set_part_fan_speed(0)
        printer.gcode("M140 S45")
        until("bed heats", lambda: printer.mqtt_dump()["print"]["bed_target_temper"] == 45)
        printer.gcode("M140 S0")

        printer.start_print("peer.gcode.3mf", 1, use_ams=False)
        until("the print runs", state_is(printer, "RUNNING"))
        until("layers are printed", lambda: printer.current_layer_num() >= 1)
        printer.pause_print()
        until("paused", state_is(printer, "PAUSE"))
        printer.resume_print()
        until("runs again", state_is(printer, "RUNNING"))
        printer.set_print_speed(3)
        until("sport speed", lambda: printer.get_print_speed() == 124)
        printer.stop_print()
        until("stopped: FAILED", state_is(printer, "FAILED"))
        until("the cancel code goes away", lambda: int(printer.print_error_code()) == 0)

        printer.start_print("peer.gcode.3mf", 1, use_ams=False)
        until("the second print runs", state_is(printer, "RUNNING"))
        until("and finishes", state_is(printer, "FINISH"))
        until("at 100 %", lambda: int(printer.get_percentage()) == 100)
        printer.delete_file("peer.gcode.3mf")
        until("the file is deleted", lambda: "peer" not in str(printer.ftp_client.list_directory()), 10)
        if "--camera" in sys.argv:
            printer.camera_start()
            until("a camera picture", lambda: printer.get_camera_image().size == (1280, 720), 30)
            printer.camera_stop()
    finally:
        printer.mqtt_stop()
    print(f"{len(failures)} failed")
    sys.exit(len(failures))


def light(printer, mode):
    """The client's own turn_light_on leaves out the command name; this sends what Studio sends."""
    request = {"sequence_id": "0", "command": "ledctrl", "led_node": "chamber_light", "led_mode": mode,
               "led_on_time": 500, "led_off_time": 500, "loop_times": 0, "interval_time": 0}
    mqtt = printer.mqtt_client
    mqtt._client.publish(mqtt.command_topic, json.dumps({"system": request})).wait_for_publish(10)


def open_sample(printer):
    """The sample the printer holds, read back over FTPS."""
    content = io.BytesIO()

    def fetch(client):
        client.ftps.retrbinary("RETR cube.gcode.3mf", content.write)

    type(printer.ftp_client).connect_and_run(fetch)(printer.ftp_client)
    content.seek(0)
    return content


if __name__ == "__main__":
    main()
