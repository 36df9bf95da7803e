use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;

use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::archive::Archive;
use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gcode").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn of(bytes: &[u8]) -> FileMetadata {
    read(&mut Cursor::new(bytes)).unwrap_or_else(|error| panic!("{error}"))
}

fn slicer(metadata: &FileMetadata) -> (&str, &str) {
    (metadata.slicer.as_deref().unwrap_or(""), metadata.slicer_version.as_deref().unwrap_or(""))
}

#[test]
fn prusaslicer() {
    let bytes = fixture("prusaslicer-2.5.0/box.gcode");
    let found = of(&bytes);
    assert_eq!(slicer(&found), ("PrusaSlicer", "2.5.0"));
    assert_eq!(found.size, bytes.len() as u64);
    assert_eq!((found.estimated_time_s, found.layer_count), (Some(91), Some(7)));
    assert_eq!((found.layer_height, found.first_layer_height), (Some(0.3), Some(0.2)));
    assert_eq!((found.first_layer_extr_temp, found.first_layer_bed_temp), (Some(235.0), Some(85.0)));
    assert_eq!((found.object_height, found.nozzle_diameters.as_slice()), (Some(2.0), [0.4].as_slice()));
    assert_eq!(
        (found.filament_types.as_slice(), found.filament_temps.as_slice()),
        (["PETG".into()].as_slice(), [230.0].as_slice())
    );
    assert_eq!(found.filament_colors, ["#FF8000"]);
    assert_eq!((found.filament_total_mm, found.filament_weight_total), (Some(74.95), Some(0.23)));
    assert_eq!((found.chamber_temp, found.label_object_enabled), (None, Some(true)));
    assert_eq!(found.plates[0].objects.len(), 1);
    assert_eq!(found.plates[0].objects[0].name, "box.obj id:0 copy 0");
    let (start, end) = (found.gcode_start_byte.unwrap() as usize, found.gcode_end_byte.unwrap() as usize);
    assert!(bytes[start..].starts_with(b"M107"));
    assert!(
        bytes[..end].ends_with(b"\n")
            && bytes[end..].split(|b| *b == b'\n').all(|l| l.is_empty() || l[0] == b';')
    );
}

#[test]
fn cura() {
    let found = of(&fixture("curaengine-4.13.0/box.gcode"));
    assert_eq!(slicer(&found), ("Cura", "4.13.0"));
    assert_eq!(found.layer_count, Some(18));
    assert_ne!(found.estimated_time_s, Some(6666), "a placeholder");
    assert!(found.estimated_time_s.is_some_and(|time| (10..1000).contains(&time)));
    assert_eq!((found.filament_total_mm, found.layer_height, found.object_height), (None, None, None));

    let found = of(&fixture("constructed/cura.gcode"));
    assert_eq!(slicer(&found), ("Cura", "5.8.0"));
    assert_eq!((found.estimated_time_s, found.layer_count), (Some(6666), Some(25)));
    assert_eq!((found.filament_total_mm, found.object_height), (Some(1500.0), Some(5.0)));
    assert_eq!((found.first_layer_extr_temp, found.first_layer_bed_temp), (Some(200.0), Some(60.0)));
    assert_eq!(found.printer_model.as_deref(), Some("Creality Ender-3"));
    assert_eq!((found.filament_types.len(), found.referenced_tools), (0, vec![0, 1]));
}

/// Lines of the start G-code, as Moonraker's users write them.
#[test]
fn cura_names_its_filament_where_the_start_gcode_does() {
    let with = |lines: &str| {
        let header = ";FLAVOR:Marlin\n;TIME:60\n;Filament used: 0.5m\n;MAXX:10\n;Generated with Cura_SteamEngine 5.8.0\n";
        of(format!("{header}{lines}G28\n;LAYER:0\n").as_bytes())
    };
    let named = with(";Filament type = PETG\n;Filament name = Generic PETG\n");
    assert_eq!(named.filament_types, ["PETG"]);
    assert_eq!(named.filament_names, ["Generic PETG"]);
    assert_eq!(named.plates[0].filaments[0].kind.as_deref(), Some("PETG"));
    assert_eq!(named.referenced_tools, [0u32; 0]);
    let unfilled = with(";Filament type = {material_type}\n;Filament name = {material_name}\n");
    assert!(unfilled.filament_types.is_empty() && unfilled.filament_names.is_empty());
}

#[test]
fn bambustudio_orcaslicer_superslicer_elegooslicer() {
    let found = of(&fixture("constructed/bambustudio.gcode"));
    assert_eq!(slicer(&found), ("BambuStudio", "02.00.03.54"));
    assert_eq!((found.estimated_time_s, found.layer_count), (Some(4089), Some(80)));
    assert_eq!((found.object_height, found.first_layer_bed_temp), (Some(16.0), Some(55.0)));
    assert_eq!((found.referenced_tools.as_slice(), found.chamber_temp), ([0, 2].as_slice(), None));
    assert_eq!(found.filament_names[2], "Bambu PLA Matte @BBL X1C");
    assert_eq!(found.filament_total_mm, Some(2255.34));

    let found = of(&fixture("constructed/orcaslicer.gcode"));
    assert_eq!(slicer(&found), ("OrcaSlicer", "2.3.0"));
    assert_eq!((found.estimated_time_s, found.layer_count), (Some(93_784), Some(50)));
    assert_eq!((found.first_layer_height, found.chamber_temp), (Some(0.25), Some(45.0)));
    assert_eq!(found.plates[0].objects[1].polygon[1], [150.0, 120.0]);
    assert_eq!(found.thumbnails.len(), 1, "QOI is skipped");
    assert_eq!((found.thumbnails[0].width, found.thumbnails[0].height), (48, 24));

    let found = of(&fixture("constructed/superslicer.gcode"));
    assert_eq!(slicer(&found), ("SuperSlicer", "2.5.59"));
    assert_eq!((found.first_layer_height, found.filament_change_count), (Some(0.2), Some(3)));
    assert_eq!((found.layer_count, found.object_height), (Some(2), Some(0.35)));
    assert_eq!(
        (found.filament_total_mm, found.filament_weights.as_slice()),
        (Some(4.0), [0.1, 0.2].as_slice())
    );

    let found = of(&fixture("constructed/elegooslicer.gcode"));
    assert_eq!(slicer(&found), ("ElegooSlicer", "1.3.2.9"));
    assert_eq!((found.estimated_time_s, found.layer_count), (Some(750), Some(40)));
    assert_eq!(found.referenced_tools, [1, 3]);
    assert_eq!(found.filament_weight_total, Some(4.5));
}

#[test]
fn plain_text_knows_nothing() {
    let found = of(b"G28\nG1 X1\n");
    assert_eq!((found.slicer, found.layer_count, found.estimated_time_s), (None, None, None));
    assert_eq!((found.gcode_start_byte, found.gcode_end_byte), (Some(0), Some(10)));
    assert_eq!(of(b"").size, 0);
    assert_eq!(of(b"SET_PRINT_STATS_INFO TOTAL_LAYER=12\nG28\n").layer_count, Some(12));
}

#[test]
fn a_long_file_is_read_at_both_ends_only() {
    struct Counting(Cursor<Vec<u8>>, u64);
    impl Read for Counting {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1 += count as u64;
            Ok(count)
        }
    }
    impl Seek for Counting {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    let mut text = b"; generated by PrusaSlicer 2.9.0 on x\n".to_vec();
    for _ in 0..200_000 {
        text.extend_from_slice(b"G1 X1 Y1 E1\n");
    }
    text.extend_from_slice(
        b";Z:10\nG1 X1\n; estimated printing time (normal mode) = 2h\n; layer_height = 0.2\n",
    );
    let mut reader = Counting(Cursor::new(text), 0);
    let found = read(&mut reader).unwrap();
    assert_eq!(
        (found.estimated_time_s, found.layer_count, found.object_height),
        (Some(7200), Some(50), Some(10.0))
    );
    assert!(reader.1 < 700 * 1024, "{} bytes read", reader.1);
}

#[test]
fn a_head_of_comments_only_leaves_the_start_unknown() {
    let mut text = b"; comment\n".repeat(100_000);
    text.extend_from_slice(b"G28\n");
    let found = of(&text);
    assert_eq!((found.gcode_start_byte, found.gcode_end_byte), (None, Some(text.len() as u64)));
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const SLICE_INFO: &str = r##"<?xml version="1.0" encoding="UTF-8"?>
<config><header><header_item key="X-BBL-Client-Version" value="02.00.03.54"/></header>
<plate><metadata key="index" value="1"/><metadata key="printer_model_id" value="C12"/>
<metadata key="nozzle_diameters" value="0.4"/><metadata key="prediction" value="1234"/>
<metadata key="weight" value="4.5"/><metadata key="label_object_enabled" value="true"/>
<object identify_id="77" name="cube" skipped="false"/><object identify_id="78" name="cube" skipped="true"/>
<filament id="3" tray_info_idx="GFA01" type="PLA" color="#FF0000" used_m="1.5" used_g="4.5" group_id="0"/></plate>
<plate><metadata key="index" value="2"/><metadata key="prediction" value="oops"/></plate></config>"##;

fn sliced() -> Vec<u8> {
    let gcode = fixture("constructed/bambustudio.gcode");
    let mut sink = Vec::new();
    let mut hashing = three_mf::Hashing::new(&mut sink);
    hashing.write_all(&gcode).unwrap();
    let digest = hashing.digest();
    let picture = of(&fixture("constructed/elegooslicer.gcode")).thumbnails.remove(0).png;
    let layout = br#"{"bed_type":"textured_plate","bbox_objects":[{"name":"cube","bbox":[1,2,3,4]},{"name":"cube","bbox":[5,6,7,8]},{"name":3}]}"#;
    let names = br#"<config><plate><metadata key="plater_id" value="2"/><metadata key="plater_name" value="second"/></plate></config>"#;
    zipped(&[
        ("Metadata/plate_1.gcode", &gcode),
        ("Metadata/plate_1.gcode.md5", digest.as_bytes()),
        ("Metadata/plate_2.gcode", b"; BambuStudio 02.00.03.54\nG28\n"),
        ("Metadata/plate_2.gcode.md5", b"00000000000000000000000000000000"),
        ("Metadata/slice_info.config", SLICE_INFO.as_bytes()),
        ("Metadata/plate_1.json", layout),
        ("Metadata/model_settings.config", names),
        ("Metadata/project_settings.config", b"{\"layer_height\":\"0.28\",\"printer_model\":\"other\"}"),
        ("Metadata/plate_1.png", &picture),
    ])
}

#[test]
fn sliced_archive() {
    let bytes = sliced();
    let found = of(&bytes);
    assert_eq!(slicer(&found), ("BambuStudio", "02.00.03.54"));
    assert_eq!((found.estimated_time_s, found.printer_model_id.as_deref()), (Some(1234), Some("C12")));
    assert_eq!(
        (found.layer_count, found.layer_height, found.object_height),
        (Some(80), Some(0.2), Some(16.0))
    );
    assert_eq!((found.filament_total_mm, found.filament_weight_total), (Some(1500.0), Some(4.5)));
    assert_eq!((found.referenced_tools.as_slice(), found.label_object_enabled), ([2].as_slice(), Some(true)));
    assert_eq!(found.filament_weights, [0.0, 0.0, 4.5]);
    let first = found.plate(1).unwrap();
    assert_eq!((first.objects[1].identify_id, first.objects[1].skipped), (Some(78), true));
    assert_eq!(first.objects[0].polygon[2], [3.0, 4.0]);
    assert_eq!(first.objects[1].polygon[0], [5.0, 6.0], "joined by name and order");
    assert_eq!(first.filaments[0].tray_info_idx.as_deref(), Some("GFA01"));
    assert!(first.md5.is_some() && first.bed_type.as_deref() == Some("textured_plate"));
    let second = found.plate(2).unwrap();
    assert_eq!((second.name.as_deref(), second.estimated_time_s), (Some("second"), None));
    assert_eq!(found.picture(1).map(|picture| (picture.width, picture.height)), Some((144, 144)));
    assert!(found.picture(2).is_none());

    let mut text = Vec::new();
    let length = extract_plate(&mut Cursor::new(&bytes), 1, &mut text).unwrap();
    assert_eq!((length, text), (text_length(), fixture("constructed/bambustudio.gcode")));
    let changed = extract_plate(&mut Cursor::new(&bytes), 2, &mut Vec::new());
    assert!(matches!(changed, Err(MetadataError::ChangedAfterSlicing { plate: 2 })));
    let missing = extract_plate(&mut Cursor::new(&bytes), 9, &mut Vec::new()).unwrap_err();
    assert_eq!(missing.to_string(), "this file has no sliced plate 9, only 1, 2");
}

/// The G-code of one filament in an archive whose plate uses the third.
#[test]
fn colours_have_the_place_of_their_filament_as_weights_have() {
    for (header, types, colors) in [
        (
            "; filament_colour = #FFFFFF\n; filament_type = PETG\n",
            ["PETG", "", "PLA"],
            ["#FFFFFF", "", "#FF0000"],
        ),
        ("", ["", "", "PLA"], ["", "", "#FF0000"]),
        (
            "; filament_colour = #FFFFFF;#000000;#00FF00\n; filament_type = PLA;PLA;ABS\n",
            ["PLA", "PLA", "ABS"],
            ["#FFFFFF", "#000000", "#00FF00"],
        ),
    ] {
        let gcode =
            format!("; BambuStudio 02.00.03.54\n; CONFIG_BLOCK_START\n{header}; CONFIG_BLOCK_END\nG28\n");
        let found = of(&zipped(&[
            ("Metadata/plate_1.gcode", gcode.as_bytes()),
            ("Metadata/slice_info.config", SLICE_INFO.as_bytes()),
        ]));
        assert_eq!(
            (found.filament_types.as_slice(), found.filament_colors.as_slice()),
            (&types.map(str::to_owned)[..], &colors.map(str::to_owned)[..])
        );
        assert_eq!(found.filament_weights, [0.0, 0.0, 4.5]);
    }
}

fn text_length() -> u64 {
    fixture("constructed/bambustudio.gcode").len() as u64
}

fn refusal(bytes: &[u8]) -> String {
    read(&mut Cursor::new(bytes)).expect_err("refused").to_string()
}

#[test]
fn bad_archives_are_refused_with_the_reason() {
    let unsliced = zipped(&[("3D/3dmodel.model", b"<model/>")]);
    assert_eq!(refusal(&unsliced), "this .3mf is not sliced: slice it and export 'plate sliced file'");
    let whole = sliced();
    assert!(refusal(&whole[..whole.len() / 2]).starts_with("the archive is truncated"));
    let outside = zipped(&[("../evil", b"x"), ("Metadata/plate_1.gcode", b"G28\n")]);
    assert!(refusal(&outside).contains("a path that leads outside"));
    let many: Vec<(String, &[u8])> = (0..5000).map(|at| (format!("e{at}"), b"".as_slice())).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    assert!(refusal(&zipped(&many)).contains("5000 entries"));
    let bomb = vec![b' '; 9 * 1024 * 1024];
    let bomb = zipped(&[("Metadata/plate_1.gcode", b"G28\n"), ("Metadata/slice_info.config", &bomb)]);
    assert!(refusal(&bomb).contains("unpacks to more than"));
    let mut damaged =
        zipped(&[("Metadata/plate_1.gcode", b"G28\n"), ("Metadata/plate_1.png", b"0123456789abcdefghij")]);
    let at = damaged.windows(20).position(|bytes| bytes == b"0123456789abcdefghij");
    // Stored or deflated as a literal block, the text stands in the file either way.
    if let Some(at) = at {
        damaged[at + 3] ^= 1;
    } else {
        let name = damaged.windows(20).position(|bytes| bytes == b"Metadata/plate_1.png").unwrap();
        damaged[name + 24] ^= 1;
    }
    assert!(refusal(&damaged).starts_with("the archive is damaged in \"Metadata/plate_1.png\""));
}

#[test]
fn a_plate_that_inflates_without_end_is_cut() {
    let zeros = vec![b' '; 20 * 1024 * 1024];
    let bytes = zipped(&[("Metadata/plate_1.gcode", &zeros)]);
    let mut sink = Vec::new();
    let result = extract_plate(&mut Cursor::new(&bytes), 1, &mut sink);
    assert!(matches!(result, Err(MetadataError::Limit { .. })));
    assert!(
        Archive::open(Cursor::new(&bytes)).unwrap().head("Metadata/plate_1.gcode", 10).unwrap().len() == 10
    );
}

#[test]
fn doubled_names_are_refused() {
    let mut bytes = zipped(&[("Metadata/plate_1.gcode", b"G28\n"), ("Metadata/plate_2.gcode", b"G29\n")]);
    while let Some(at) = bytes.windows(8).position(|bytes| bytes == b"plate_2.") {
        bytes[at + 6] = b'1';
    }
    assert!(refusal(&bytes).contains("same name"));
}

#[test]
fn deeply_nested_settings_are_survived() {
    let xml = "<a>".repeat(149_000) + &"</a>".repeat(149_000);
    let json = "[".repeat(100_000);
    let found = of(&zipped(&[
        ("Metadata/plate_1.gcode", b"G28\n"),
        ("Metadata/slice_info.config", xml.as_bytes()),
        ("Metadata/project_settings.config", json.as_bytes()),
    ]));
    assert_eq!(found.plates.len(), 1);
}

#[test]
fn doctype_in_xml_is_ignored() {
    let xml = br#"<!DOCTYPE c [<!ENTITY a "aaaa">]><config><plate><metadata key="index" value="1"/></plate></config>"#;
    let found = of(&zipped(&[("Metadata/plate_1.gcode", b"G28\n"), ("Metadata/slice_info.config", xml)]));
    assert_eq!(found.plates.len(), 1);
}

#[test]
fn thumbnail_set() {
    let original = of(&fixture("constructed/orcaslicer.gcode")).thumbnails.remove(0);
    let set = thumbnails::moonraker_set(&original).unwrap();
    let sizes: Vec<_> = set.iter().map(|picture| (picture.width, picture.height)).collect();
    assert_eq!(sizes, [(32, 16), (48, 24)]);
    assert_eq!(thumbnails::png_size(&set[0].png), Some((32, 16)));
    let mut huge = original.clone();
    huge.png[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    assert!(thumbnails::moonraker_set(&huge).unwrap_err().to_string().contains("60000x24"));
    huge.png.truncate(10);
    assert!(thumbnails::moonraker_set(&huge).is_err());
}

#[test]
fn wrapped_gcode_reads_back() {
    let bytes = fixture("prusaslicer-2.5.0/box.gcode");
    let plain = of(&bytes);
    let archive =
        package::wrap(&mut Cursor::new(&bytes), &plain, Some("C12"), Cursor::new(Vec::new())).unwrap();
    let archive = archive.into_inner();
    let found = of(&archive);
    assert_eq!(found.printer_model_id.as_deref(), Some("C12"));
    assert_eq!((found.estimated_time_s, found.layer_count), (plain.estimated_time_s, plain.layer_count));
    assert_eq!(found.filament_types, plain.filament_types);
    let mut text = Vec::new();
    extract_plate(&mut Cursor::new(&archive), 1, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    for guard in
        ["; HEADER_BLOCK_START", "; CONFIG_BLOCK_START", "; EXECUTABLE_BLOCK_START", "; EXECUTABLE_BLOCK_END"]
    {
        assert_eq!(text.matches(guard).count(), 1, "{guard}");
    }
    assert!(text.contains(&String::from_utf8(bytes).unwrap()), "the G-code itself is unchanged");

    let bambu = fixture("constructed/bambustudio.gcode");
    let archive =
        package::wrap(&mut Cursor::new(&bambu), &of(&bambu), None, Cursor::new(Vec::new())).unwrap();
    let mut text = Vec::new();
    extract_plate(&mut Cursor::new(archive.into_inner()), 1, &mut text).unwrap();
    assert_eq!(text, bambu, "nothing to add");
}

#[test]
fn elegoo_header() {
    let bytes = fixture("prusaslicer-2.5.0/box.gcode");
    let mut out = Vec::new();
    let added = inject::copy(&mut Cursor::new(&bytes), &of(&bytes), &mut out).unwrap();
    let line = b"; total layers count = 7\n";
    assert_eq!(added, line.len() as u64, "the time is in the footer already");
    let at = out.windows(line.len()).position(|bytes| bytes == line).unwrap();
    out.drain(at..at + line.len());
    assert_eq!(out, bytes, "nothing else changed");

    for name in ["constructed/elegooslicer.gcode", "constructed/cura.gcode"] {
        let bytes = fixture(name);
        assert_eq!(inject::missing(&mut Cursor::new(&bytes), &of(&bytes)).unwrap(), "", "{name}");
    }
    let metadata =
        FileMetadata { estimated_time_s: Some(93_784), layer_count: Some(3), ..FileMetadata::default() };
    let mut out = Vec::new();
    inject::copy(&mut Cursor::new(b"G28\n"), &metadata, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "; total layers count = 3\n; estimated printing time (normal mode) = 1d 2h 3m 4s\nG28\n"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_archives_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..8), cut in any::<prop::sample::Index>(), is_cut in any::<bool>()) {
        let mut bytes = sliced();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = read(&mut Cursor::new(&bytes));
        let mut text = Vec::new();
        if extract_plate(&mut Cursor::new(&bytes), 1, &mut text).is_ok() {
            prop_assert!(text.len() as u64 <= 1024 * 1024);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), zip in any::<bool>()) {
        let mut bytes = bytes;
        if zip {
            bytes.splice(0..0, *b"PK\x03\x04");
            bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x10\0\0\0\0\0\0\0\0\0");
        }
        let found = read(&mut Cursor::new(&bytes));
        prop_assert!(zip || is_archive(&mut Cursor::new(&bytes)).unwrap() || found.is_ok());
    }

    #[test]
    fn comments_never_panic(text in "(; ?(thumbnail( begin (9{1,5}x9{1,5}|end))?|TIME|filament used \\[mm\\]|layer_height|LAYER|Z|generated by [a-zß]{0,20})( = |:)?[0-9a-zA-Z,;%é.-]{0,12}\n){0,12}") {
        prop_assert!(read(&mut Cursor::new(text.as_bytes())).is_ok());
    }
}
