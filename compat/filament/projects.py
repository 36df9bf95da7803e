"""Sliced files of several filaments, as small as the printers take them."""

import hashlib
import io
import zipfile

# Minutes of printing that a file promises.
MINUTES = 4
LAYERS = 24


def _gcode(header, minutes):
    lines = [
        "; HEADER_BLOCK_START", f"; model printing time: {minutes}m 0s; total estimated time: {minutes}m 0s",
        f"; total layer number: {LAYERS}", f"; total layers count = {LAYERS}", "; max_z_height: 4.80",
        "; HEADER_BLOCK_END", "; CONFIG_BLOCK_START", *header, "; nozzle_diameter = 0.4", "; CONFIG_BLOCK_END",
        "; EXECUTABLE_BLOCK_START", "M140 S55", "M104 S220", "G28", "M190 S55", "M109 S220",
    ]
    for layer in range(LAYERS):
        lines += ["; CHANGE_LAYER", f";LAYER:{layer}", f"M73 P{layer * 100 // LAYERS} R2", f"M73 L{layer + 1}",
                  f"G1 Z{0.2 * (layer + 1):.1f}", "G1 X100 Y100", "G1 X120 Y100 E0.6"]
    lines += ["M104 S0", "M140 S0", "; EXECUTABLE_BLOCK_END"]
    return "\n".join(lines) + "\n"


def archive(model_id, filaments, minutes=MINUTES):
    """A `.gcode.3mf` of one plate; `filaments` are (material, "#RRGGBB", grams), None for one the plate leaves out."""
    given = [filament or ("PLA", "#808080", None) for filament in filaments]
    kinds, colours = [f[0] for f in given], [f[1] for f in given]
    gcode = _gcode([f"; filament_type = {';'.join(kinds)}", f"; filament_colour = {';'.join(colours)}"],
                   minutes)
    digest = hashlib.md5(gcode.encode()).hexdigest().upper()
    used = "".join(
        f'<filament id="{number}" tray_info_idx="GFL99" type="{kind}" color="{colour}" used_m="1.0" used_g="{grams}"/>'
        for number, (kind, colour, grams) in enumerate(given, 1) if grams is not None
    )
    info = {"index": "1", "printer_model_id": model_id, "nozzle_diameters": "0.4", "prediction": str(60 * minutes),
            "weight": f"{sum(f[2] or 0 for f in given):.2f}"}
    metadata = "".join(f'<metadata key="{key}" value="{value}"/>' for key, value in info.items())
    quoted = lambda values: ",".join(f'"{value}"' for value in values)  # noqa: E731
    settings = (f'{{"filament_type":[{quoted(kinds)}],"filament_colour":[{quoted(colours)}],'
                f'"nozzle_diameter":["0.4"],"curr_bed_type":"Textured PEI Plate"}}')
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zip_file:
        zip_file.writestr("Metadata/plate_1.gcode", gcode)
        zip_file.writestr("Metadata/plate_1.gcode.md5", digest)
        zip_file.writestr("Metadata/slice_info.config", f"<config><plate>{metadata}{used}</plate></config>")
        zip_file.writestr("Metadata/project_settings.config", settings)
        zip_file.writestr("3D/3dmodel.model", "<model/>")
    return out.getvalue()


def plain(filaments):
    """A G-code file with the header of ElegooSlicer; the filaments as for `archive`, all of them used."""
    joined = lambda column, mark: mark.join(str(filament[column]) for filament in filaments)  # noqa: E731
    return _gcode([
        f"; filament_type = {joined(0, ';')}", f"; filament_colour = {joined(1, ';')}",
        f"; filament used [g] = {joined(2, ', ')}", f"; estimated printing time (normal mode) = {MINUTES}m 0s",
    ], MINUTES).encode()
