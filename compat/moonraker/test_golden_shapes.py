"""Each captured call of the real server, asked of each printer's port and compared by shape."""

import pytest

import shape
from golden_calls import READS, check_read

RULES = shape.Rules()

# Objects every printer has, moonraker.md 3.1 to 3.4 and 5.1; what depends on the model is not here.
REQUIRED_OBJECTS = {
    "webhooks", "configfile", "gcode", "print_stats", "virtual_sdcard", "display_status", "idle_timeout",
    "pause_resume", "toolhead", "gcode_move", "motion_report", "heaters", "extruder", "heater_bed", "fan",
    "system_stats", "gcode_macro PAUSE", "gcode_macro RESUME", "gcode_macro CANCEL_PRINT",
}
REQUIRED_SECTIONS = {
    "virtual_sdcard", "pause_resume", "display_status", "printer", "extruder", "heater_bed",
    "gcode_macro pause", "gcode_macro resume", "gcode_macro cancel_print",
}


@pytest.mark.parametrize("name", READS)
def test_answer_has_the_real_shape(name, printer, moonraker):
    components = moonraker.call("server.info")["components"]
    found = check_read(name, shape.golden(name), moonraker, printer.url, components, RULES)
    assert not found, "\n" + "\n".join(map(str, found))


def golden_object(objects, name):
    """The captured object of this name, or one of the same type."""
    if name in objects:
        return objects[name]
    kind = name.split(" ")[0]
    return next((value for key, value in objects.items() if key.split(" ")[0] == kind), None)


def test_objects_have_klippers_fields(moonraker):
    captured = shape.golden("printer.objects.query_all")["ws"]["response"]["result"]["status"]
    names = moonraker.call("printer.objects.list")["objects"]
    status = moonraker.query(*names)
    found, empty = [], []
    for name, fields in status.items():
        sample = golden_object(captured, name)
        if fields is None:
            empty.append(name)
        elif sample is not None and name not in ("configfile", "gcode"):
            found += shape.compare(f"object {name}", sample, fields, RULES)
    assert not empty, f"objects that are null: {empty}"
    assert not found, "\n" + "\n".join(map(str, found))


def test_required_objects_and_sections(moonraker):
    names = set(moonraker.call("printer.objects.list")["objects"])
    assert REQUIRED_OBJECTS <= names, f"missing objects: {sorted(REQUIRED_OBJECTS - names)}"
    config = moonraker.query("configfile")["configfile"]
    assert {"config", "settings", "warnings", "save_config_pending", "save_config_pending_items"} <= set(config)
    missing = REQUIRED_SECTIONS - set(config["settings"])
    assert not missing, f"missing sections in settings: {sorted(missing)}"
    assert "gcode_macro CANCEL_PRINT" in config["config"], "Fluidd wants exactly this section name in config"
    for section, options in config["config"].items():
        wrong = {key: value for key, value in options.items() if not isinstance(value, str)}
        assert not wrong, f"configfile.config holds texts only: [{section}] {wrong}"


def test_every_controllable_object_has_its_section(moonraker):
    names = moonraker.call("printer.objects.list")["objects"]
    settings = moonraker.query("configfile")["configfile"]["settings"]
    kinds = ("output_pin", "led", "fan_generic", "heater_generic", "temperature_sensor", "filament_switch_sensor")
    missing = [name for name in names if name.split(" ")[0] in kinds and name.lower() not in settings]
    assert not missing, f"Home Assistant loses a platform for each of {missing} without a section"


def test_heaters_name_existing_objects(moonraker):
    names = set(moonraker.call("printer.objects.list")["objects"])
    heaters = moonraker.query("heaters")["heaters"]
    for field in ("available_heaters", "available_sensors"):
        assert heaters[field] and set(heaters[field]) <= names, f"{field}: {heaters[field]}"


def test_empty_namespace_is_listed_after_the_first_write(moonraker):
    moonraker.call("server.database.post_item", {"namespace": "compat_probe", "key": "a.b", "value": {"c": [1, None]}})
    assert "compat_probe" in moonraker.call("server.database.list")["namespaces"]
    assert moonraker.call("server.database.get_item", {"namespace": "compat_probe", "key": "a.b.c"})["value"] == [1, None]
    moonraker.call("server.database.delete_item", {"namespace": "compat_probe", "key": "a"})
    assert "compat_probe" not in moonraker.call("server.database.list")["namespaces"]
