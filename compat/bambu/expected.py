"""What each model must be sent, from bambu.md and not from the gateway's own tables."""

# Models whose chamber heater, air duct, lights and nozzles are those of the H2 family (bambu.md 3.7, 3.8, 4.4).
H2 = ("h2s", "h2d", "h2dpro", "h2c")
DUAL = ("h2d", "h2dpro", "h2c", "x2d")
X1 = ("x1", "x1c", "x1e")
MODELS = ("p1p", "p1s", *X1, "a1", "a1mini", "p2s", *H2, "x2d", "a2l")

# °C, the nozzle (bambu.md 3.7).
HOTTEST = {**{model: 300 for model in MODELS}, **{model: 350 for model in H2}, "x1e": 320}

# Node names of the light that is called chamber_light (bambu.md 4.4).
CHAMBER_NODES = {model: ["chamber_light", "chamber_light2"] if model in H2 else ["chamber_light"] for model in MODELS}
# The second light, where there is one: reported by these (bambu.md 3.8).
WORK_LIGHT = (*X1, "p2s", *H2, "x2d")

# Number behind M106 P of each fan that can be set (bambu.md 4.3): those whose part the printer lists, else the model's.
# The captured P1P has the upgrade kit (`home_flag` bit 26), and with it the fans of a P1S.
FANS = {
    **{model: {"aux_fan": 2, "chamber_fan": 3} for model in ("p1p", "p1s", *X1, *H2)},
    "x2d": {"aux_fan": 2, "chamber_fan": 3, "aux_fan_left": 10}, "p2s": {"aux_fan": 2},
    "a1": {}, "a1mini": {}, "a2l": {},
}

AIR_MODES = {
    "p2s": {"COOLING": 0, "HEATING": 1}, "x2d": {"COOLING": 0, "HEATING": 1},
    **{model: {"COOLING": 0, "HEATING": 1, "EXHAUST": 2} for model in H2},
}

# Bits of `calibration.option` (bambu.md 4.2).
CALIBRATIONS = {"LIDAR": 0, "BED_LEVELLING": 1, "VIBRATION": 2, "MOTOR_NOISE": 3, "NOZZLE_OFFSET": 4,
                "HIGH_TEMPERATURE_BED": 5, "NOZZLE_CLUMPING": 6}
BASIC = ("BED_LEVELLING", "VIBRATION", "MOTOR_NOISE")
OFFERED_CALIBRATIONS = {
    **{model: ("LIDAR", *BASIC) for model in X1},
    **{model: BASIC for model in ("p1p", "p1s", "a1", "a1mini", "a2l", "p2s")},
    "h2s": (*BASIC, "HIGH_TEMPERATURE_BED", "NOZZLE_CLUMPING"),
    **{model: (*BASIC, "NOZZLE_OFFSET", "HIGH_TEMPERATURE_BED", "NOZZLE_CLUMPING") for model in DUAL},
}

# Units that dry from the network, and the hottest they take (bambu.md 4.6). A P1 has its AMS 2 Pro dry at its screen only.
DRYERS = {**{model: {2: 65, 128: 85} for model in X1}, "p2s": {0: 65}, "h2s": {0: 65}, "h2d": {1: 65, 128: 85},
          "h2dpro": {0: 65}, "h2c": {0: 65}, "x2d": {0: 65}}


def led(node, on):
    return ("system", {"command": "ledctrl", "led_node": node, "led_mode": "on" if on else "off", "led_on_time": 500,
                       "led_off_time": 500, "loop_times": 0, "interval_time": 0})


def gcode(lines):
    return ("print", {"command": "gcode_line", "param": f"{lines}\n"})


def command(name, **fields):
    return ("print", {"command": name, **fields})


def detector(module, on, sensitivity):
    return ("xcam", {"command": "xcam_control_set", "module_name": module, "control": on, "enable": on,
                     "print_halt": on, "halt_print_sensitivity": sensitivity})


# Message of each option by its name in PRINT_OPTION (bambu.md 4.4): `on` and the sensitivity the printer reports.
OPTIONS = {
    **{name: (lambda on, _s, key=key: command("print_option", **{key: on})) for name, key in {
        "AUTO_RECOVERY": "auto_recovery", "AUTO_SWITCH_FILAMENT": "auto_switch_filament", "PROMPT_SOUND": "sound_enable",
        "FILAMENT_TANGLE_DETECTION": "filament_tangle_detect", "NOZZLE_BLOB_DETECTION": "nozzle_blob_detect",
        "AIR_PRINT_DETECTION": "air_print_detect"}.items()},
    **{name: (lambda on, s, module=module: detector(module, on, s)) for name, module in {
        "BUILD_PLATE_MARKER": "buildplate_marker_detector", "FIRST_LAYER_INSPECTION": "first_layer_inspector",
        "SPAGHETTI_DETECTION": "spaghetti_detector", "PILE_UP_DETECTION": "pileup_detector",
        "NOZZLE_CLUMP_DETECTION": "clump_detector", "AI_AIR_PRINT_DETECTION": "airprint_detector",
        "PLATE_ALIGNMENT": "plate_offset_switch", "ALLOW_SKIPPING_PARTS": "allow_skip_parts"}.items()},
    **{name: (lambda on, _s, key=key: ("camera", {"command": key, "control": "enable" if on else "disable"}))
       for name, key in {"TIMELAPSE": "ipcam_timelapse", "CAMERA_RECORDING": "ipcam_record_set"}.items()},
}
# These three travel together in one message (bambu.md 4.6).
AMS_OPTIONS = {"AMS_READ_ON_INSERT": "tray_read_option", "AMS_READ_AT_START": "startup_read_option",
               "AMS_ESTIMATE_REMAINING": "calibrate_remain_flag"}
