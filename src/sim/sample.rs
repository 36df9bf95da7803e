//! A printable sample: a 20 mm cube of 60 layers and about three minutes, as G-code and as a sliced 3MF.

use std::io::{self, Cursor, Write};

use image::{ImageFormat, Rgba, RgbaImage};
use md5::{Digest, Md5};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Layers of the cube.
pub const LAYERS: u32 = 60;
/// Seconds the header promises.
pub const SECONDS: u32 = 180;
/// Ids of its two objects, as `identify_id` in the 3MF.
pub const OBJECTS: [u32; 2] = [123, 394];

const HEIGHT: f64 = 0.2;

/// The cube as plain G-code with the header, configuration and guards that slicers for these printers write.
fn cube_gcode() -> String {
    let mut text = format!(
        "; HEADER_BLOCK_START\n; moongate sample 1.0\n; model printing time: 3m 0s; total estimated time: 3m 30s\n\
         ; total layer number: {LAYERS}\n; total filament length [mm] : 512.40\n\
         ; total filament volume [cm^3] : 1.23\n; total filament weight [g] : 1.53\n; filament_density: 1.24\n\
         ; filament_diameter: 1.75\n; max_z_height: {:.2}\n; HEADER_BLOCK_END\n\n\
         ; CONFIG_BLOCK_START\n; filament_type = PLA\n; filament_colour = #F27818\n; layer_height = 0.2\n\
         ; initial_layer_print_height = 0.2\n; nozzle_diameter = 0.4\n; nozzle_temperature = 220\n\
         ; hot_plate_temp = 55\n; CONFIG_BLOCK_END\n\n\
         ; EXECUTABLE_BLOCK_START\nM73 P0 R3\nM1002 gcode_claim_action : 2\nM140 S55\nM104 S220\nG28\nM190 S55\nM109 S220\nG90\nM83\n\
         G1 Z0.2 F1200\nM106 P1 S0\n",
        f64::from(LAYERS) * HEIGHT
    );
    for layer in 1..=LAYERS {
        let percent = (layer - 1) * 100 / LAYERS;
        let minutes = (SECONDS - SECONDS * (layer - 1) / LAYERS).div_ceil(60);
        let z = f64::from(layer) * HEIGHT;
        text.push_str(&format!(
            "; CHANGE_LAYER\n; Z_HEIGHT: {z:.1}\n; LAYER_HEIGHT: {HEIGHT}\nM73 P{percent} R{minutes}\nM73 L{layer}\n\
             G1 Z{z:.1} F1200\n"
        ));
        if layer == 2 {
            text.push_str("M106 P1 S255\n");
        }
        for (object, left) in OBJECTS.into_iter().zip([90.0, 130.0]) {
            text.push_str(&format!("; start printing object, unique label id: {object}\n"));
            square(&mut text, left, 110.0);
            text.push_str(&format!("; stop printing object, unique label id: {object}\n"));
        }
    }
    text.push_str(
        "M106 P1 S0\nM104 S0\nM140 S0\nG91\nG1 Z2 F1200\nG90\nM73 P100 R0\n; EXECUTABLE_BLOCK_END\n",
    );
    text
}

/// Two walls and a zigzag of 20 mm.
fn square(text: &mut String, x: f64, y: f64) {
    for inset in [0.2, 0.6] {
        let (x0, y0, side) = (x + inset, y + inset, 20.0 - 2.0 * inset);
        let e = side * 0.033;
        text.push_str(&format!("G1 X{x0:.2} Y{y0:.2} F18000\n"));
        let corners = [(x0 + side, y0), (x0 + side, y0 + side), (x0, y0 + side), (x0, y0)];
        for (cx, cy) in corners {
            text.push_str(&format!("G1 X{cx:.2} Y{cy:.2} E{e:.4} F6000\n"));
        }
    }
    for row in 0..5 {
        let (line, forth) = (y + 2.0 + f64::from(row) * 4.0, row % 2 == 0);
        let (from, to) = if forth { (x + 1.0, x + 19.0) } else { (x + 19.0, x + 1.0) };
        text.push_str(&format!("G1 X{from:.2} Y{line:.2} F18000\nG1 X{to:.2} Y{line:.2} E0.5940 F12000\n"));
    }
}

/// The cube as `.gcode.3mf` sliced for the printer model `model_id` (such as `C12`).
pub fn cube_3mf(model_id: &str) -> io::Result<Vec<u8>> {
    let gcode = cube_gcode();
    let md5: String = Md5::digest(gcode.as_bytes()).iter().map(|b| format!("{b:02X}")).collect();
    let entries: [(&str, Vec<u8>); 11] = [
        ("[Content_Types].xml", CONTENT_TYPES.into()),
        ("_rels/.rels", RELATIONS.into()),
        ("3D/3dmodel.model", MODEL.into()),
        ("Metadata/plate_1.gcode", gcode.into_bytes()),
        ("Metadata/plate_1.gcode.md5", md5.into_bytes()),
        ("Metadata/plate_1.json", plate_json().into()),
        ("Metadata/plate_1.png", preview(512)?),
        ("Metadata/plate_1_small.png", preview(128)?),
        ("Metadata/slice_info.config", slice_info(model_id).into()),
        ("Metadata/model_settings.config", MODEL_SETTINGS.into()),
        ("Metadata/project_settings.config", PROJECT_SETTINGS.into()),
    ];
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(name, SimpleFileOptions::default()).map_err(io::Error::other)?;
        zip.write_all(&content)?;
    }
    Ok(zip.finish().map_err(io::Error::other)?.into_inner())
}

const CONTENT_TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
 <Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
 <Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>
 <Default Extension="png" ContentType="image/png"/>
 <Default Extension="gcode" ContentType="text/x.gcode"/>
</Types>
"#;
const RELATIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
 <Relationship Target="/3D/3dmodel.model" Id="rel-1" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>
</Relationships>
"#;
const MODEL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<model unit="millimeter" xml:lang="en-US" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02">
 <metadata name="Application">moongate</metadata>
 <metadata name="Title">cube</metadata>
 <resources/>
 <build/>
</model>
"#;
const MODEL_SETTINGS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<config>
  <plate>
    <metadata key="plater_id" value="1"/>
    <metadata key="plater_name" value="cube"/>
    <metadata key="gcode_file" value="Metadata/plate_1.gcode"/>
    <metadata key="thumbnail_file" value="Metadata/plate_1.png"/>
  </plate>
</config>
"#;
const PROJECT_SETTINGS: &str = r##"{"filament_type":["PLA"],"filament_colour":["#F27818"],"filament_density":["1.24"],
"filament_settings_id":["moongate PLA"],"printer_settings_id":"moongate simulated 0.4 nozzle","layer_height":"0.2",
"nozzle_diameter":["0.4"],"curr_bed_type":"Textured PEI Plate","nozzle_temperature_initial_layer":["220"],
"textured_plate_temp_initial_layer":["55"],"physical_extruder_map":["0"]}
"##;

fn plate_json() -> String {
    let bed = |left: f64| [left, 110.0, left + 20.0, 130.0];
    let objects: Vec<_> = OBJECTS
        .into_iter()
        .zip([90.0, 130.0])
        .map(|(id, left)| {
            serde_json::json!({"name": "cube", "bbox": bed(left), "area": 400.0, "layer_height": 0.2, "id": id})
        })
        .collect();
    serde_json::json!({
        "bed_type": "textured_plate", "filament_ids": [0], "filament_colors": ["#F27818"], "first_extruder": 0,
        "nozzle_diameter": 0.4, "is_seq_print": false, "bbox_all": [90.0, 110.0, 150.0, 130.0],
        "bbox_objects": objects, "version": 2,
    })
    .to_string()
}

fn slice_info(model_id: &str) -> String {
    let metadata = [
        ("index", "1"),
        ("printer_model_id", model_id),
        ("nozzle_diameters", "0.4"),
        ("prediction", "180"),
        ("weight", "1.53"),
        ("outside", "false"),
        ("support_used", "false"),
        ("label_object_enabled", "true"),
        ("timelapse_type", "0"),
        ("filament_maps", "1"),
    ];
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<config>\n  <plate>\n");
    for (key, value) in metadata {
        xml.push_str(&format!("    <metadata key=\"{key}\" value=\"{value}\"/>\n"));
    }
    for id in OBJECTS {
        xml.push_str(&format!("    <object identify_id=\"{id}\" name=\"cube\" skipped=\"false\"/>\n"));
    }
    xml.push_str(
        "    <filament id=\"1\" tray_info_idx=\"GFA00\" type=\"PLA\" color=\"#F27818\" used_m=\"0.51\" \
         used_g=\"1.53\"/>\n  </plate>\n</config>\n",
    );
    xml
}

/// Two orange squares on grey.
fn preview(size: u32) -> io::Result<Vec<u8>> {
    let part = size / 8;
    let image = RgbaImage::from_fn(size, size, |x, y| {
        let row = (3 * part..5 * part).contains(&y);
        let square = (part..3 * part).contains(&x) || (5 * part..7 * part).contains(&x);
        if row && square { Rgba([242, 120, 24, 255]) } else { Rgba([60, 60, 66, 255]) }
    });
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, ImageFormat::Png).map_err(io::Error::other)?;
    Ok(out.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::physics::Plan;

    #[test]
    fn the_gcode_says_what_it_is() {
        let plan = Plan::from_gcode(&cube_gcode());
        assert_eq!(plan, Plan { layers: 60, seconds: 180.0, nozzle: 220.0, bed: 55.0 });
        assert_eq!(cube_gcode().matches("; CHANGE_LAYER").count(), 60);
    }

    #[test]
    fn the_archive_opens_and_its_pictures_decode() {
        let bytes = cube_3mf("C12").unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        for (name, size) in [("Metadata/plate_1.png", 512), ("Metadata/plate_1_small.png", 128)] {
            let mut png = Vec::new();
            io::copy(&mut zip.by_name(name).unwrap(), &mut png).unwrap();
            let picture = image::load_from_memory(&png).unwrap();
            assert_eq!((picture.width(), picture.height()), (size, size));
        }
        let mut slice = String::new();
        io::Read::read_to_string(&mut zip.by_name("Metadata/slice_info.config").unwrap(), &mut slice)
            .unwrap();
        assert!(slice.contains("value=\"C12\""));
        roxmltree::Document::parse(&slice).unwrap();
    }
}
