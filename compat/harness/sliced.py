"""A small sliced archive as a slicer of Bambu printers writes it, made here so that no file of others is needed."""

import hashlib
import io
import zipfile

LAYERS = 5


def gcode():
    layers = "".join(
        f"; CHANGE_LAYER\n; Z_HEIGHT: {n * 0.2:.1f}\nM73 P{n * 20} R{LAYERS - n}\nM73 L{n}\nG1 X{100 + n} Y100 E0.5\n"
        for n in range(1, LAYERS + 1)
    )
    return (
        "; HEADER_BLOCK_START\n; BambuStudio 02.02.00.00\n; model printing time: 3m 0s; total estimated time: 3m 30s\n"
        f"; total layer number: {LAYERS}\n; max_z_height: {LAYERS * 0.2:.2f}\n; HEADER_BLOCK_END\n\n"
        "; CONFIG_BLOCK_START\n; nozzle_diameter = 0.4\n; filament_type = PLA\n; CONFIG_BLOCK_END\n\n"
        "; EXECUTABLE_BLOCK_START\nM1002 gcode_claim_action : 2\nM140 S55\nM104 S220\nG28\n" + layers +
        "; EXECUTABLE_BLOCK_END\n"
    ).encode()


def archive(model_code, material="PLA"):
    """The bytes of a `.gcode.3mf` with one plate of one material for the printer model of this code (C12, N1, ...)."""
    program = gcode()
    slice_info = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<config><plate>'
        '<metadata key="index" value="1"/>'
        f'<metadata key="printer_model_id" value="{model_code}"/>'
        '<metadata key="nozzle_diameters" value="0.4"/><metadata key="prediction" value="210"/>'
        '<metadata key="weight" value="1.20"/>'
        '<object identify_id="101" name="cube" skipped="false"/>'
        f'<filament id="1" tray_info_idx="GFA00" type="{material}" color="#FFFFFF" used_m="0.40" used_g="1.20"/>'
        "</plate></config>"
    )
    entries = {
        "[Content_Types].xml": '<?xml version="1.0" encoding="UTF-8"?>'
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>',
        "3D/3dmodel.model": '<?xml version="1.0" encoding="UTF-8"?>'
        '<model unit="millimeter" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"></model>',
        "Metadata/plate_1.gcode": program,
        "Metadata/plate_1.gcode.md5": hashlib.md5(program).hexdigest().upper(),
        "Metadata/slice_info.config": slice_info,
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return content.getvalue()
