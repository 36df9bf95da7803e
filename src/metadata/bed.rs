//! Build plates by the names that slicers give them (pure).

/// One key for the names of the same plate: "Textured PEI Plate" and "textured_plate" are `textured_plate` (bambu.md
/// 4.5). `None` for "auto" and for what is no plate.
pub fn bed_key(name: &str) -> Option<&'static str> {
    let name: String = name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    let has = |part: &str| name.contains(part);
    Some(match () {
        () if has("supertack") => "supertack_plate",
        () if has("textured") && has("cool") => "textured_cool_plate",
        () if has("textured") => "textured_plate",
        () if has("engineering") || name == "engplate" => "eng_plate",
        () if has("hightemp") || has("smooth") || name == "hotplate" => "hot_plate",
        () if has("cool") => "cool_plate",
        () => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_slicers_and_printers_mean_the_same() {
        for (name, key) in [
            ("Textured PEI Plate", "textured_plate"),
            ("textured_plate", "textured_plate"),
            ("Smooth PEI Plate / High Temp Plate", "hot_plate"),
            ("High Temp Plate", "hot_plate"),
            ("hot_plate", "hot_plate"),
            ("Engineering Plate", "eng_plate"),
            ("eng_plate", "eng_plate"),
            ("Cool Plate", "cool_plate"),
            ("Cool Plate (SuperTack)", "supertack_plate"),
            ("Textured Cool Plate", "textured_cool_plate"),
        ] {
            assert_eq!(bed_key(name), Some(key), "{name}");
        }
        assert_eq!((bed_key("auto"), bed_key(""), bed_key("my plate")), (None, None, None));
    }
}
