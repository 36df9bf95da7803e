"""Which captured calls can be asked of any server, and how one is asked and compared."""

import json

import shape
from harness.moonraker import http

# Calls without effect on the printer that mean the same on every server with a cube.gcode.
READS = [
    "access.get_api_key", "access.get_user", "access.info", "access.oneshot_token", "access.users.list",
    "machine.device_power.bad_device", "machine.device_power.devices", "machine.device_power.get_device",
    "machine.device_power.status", "machine.peripherals.serial", "machine.peripherals.usb",
    "machine.peripherals.video", "machine.proc_stats", "machine.sudo.info", "machine.system_info",
    "machine.update.status", "printer.gcode.help", "printer.gcode.script", "printer.gcode.script_noarg",
    "printer.gcode.script_unknown", "printer.info", "printer.objects.list", "printer.objects.query",
    "printer.objects.query_noarg", "printer.query_endstops.status",
    "printer.print.start_missing_file", "server.announcements.feeds", "server.announcements.list", "server.config",
    "server.database.delete_item_missing", "server.database.get_item_missing_key",
    "server.database.get_item_missing_namespace", "server.database.list", "server.extensions.list",
    "server.files.delete_file_missing", "server.files.get_directory", "server.files.get_directory_extended",
    "server.files.get_directory_missing", "server.files.list", "server.files.list_bad_root",
    "server.files.list_config", "server.files.metadata", "server.files.metadata_missing",
    "server.files.metadata_noarg", "server.files.move_missing", "server.files.roots", "server.files.thumbnails",
    "server.gcode_store", "server.history.get_job_missing", "server.history.list", "server.history.totals",
    "server.info", "server.job_queue.post_job_missing", "server.job_queue.status", "server.sensors.info",
    "server.sensors.list", "server.sensors.measurements", "server.spoolman.get_spool_id", "server.spoolman.status",
    "server.temperature_store", "server.webcams.get_item_missing", "server.webcams.list",
    "octoprint.api_currentuser", "octoprint.api_job", "octoprint.api_login", "octoprint.api_printer",
    "octoprint.api_printerprofiles", "octoprint.api_server", "octoprint.api_settings", "octoprint.api_version",
    "error.http_404", "error.http_405",
]

# A method whose component is not advertised must not exist: -32601, HTTP 404.
COMPONENT_OF = {
    "machine.device_power.": "power", "server.sensors.": "sensor",
    "server.spoolman.": "spoolman", "server.job_queue.": "job_queue", "server.history.": "history",
    "server.announcements.": "announcements", "server.webcams.": "webcam", "octoprint.": "octoprint_compat",
}


def is_left_out(name, components):
    """True when the server does not advertise what the call belongs to."""
    return any(name.startswith(prefix) and part not in components for prefix, part in COMPONENT_OF.items())


def check_read(name, golden, client, url, components, rules):
    """Asks one captured call over each transport it was captured on; returns the differences."""
    left_out = is_left_out(name, components)
    found = []
    if "ws" in golden:
        request = golden["ws"]["request"]
        answer = client.request(request["method"], request.get("params"))
        absent = answer.get("error", {}).get("code") == -32601
        if left_out:
            if not absent:
                found.append(shape.Finding(name, "$", "error", f"component not advertised, yet answered: {answer}"[:300]))
        else:
            found += shape.compare_rpc(name, golden["ws"]["response"], answer, rules)
    if "http" in golden:
        found += _check_http(name, golden["http"], url, left_out, rules)
    return found


def _check_http(name, golden, url, left_out, rules):
    request = golden["request"]
    options = {"headers": request.get("headers", {})}
    if "body" in request:
        options["json"] = request["body"]
    response = http(request["method"], url + request["path"], **options)
    try:
        body = response.json() if response.content else {}
    except json.JSONDecodeError:
        body = {"__raw__": response.text[:200]}
    if response.status_code == 404 and left_out:
        if isinstance(body, dict) and "error" in body:
            return []
        return [shape.Finding(name, "$http", "error", "404 without a JSON error")]
    if left_out:
        return [shape.Finding(name, "$http", "error", f"component not advertised, yet status {response.status_code}")]
    return shape.compare_http(name, golden, response.status_code, body, rules)
