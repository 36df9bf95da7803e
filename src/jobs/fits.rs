//! Whether a file was sliced for this printer: model, nozzle, bed (pure). What a file does not say is no objection.

use crate::metadata::{FileMetadata, PlateInfo, bed_key};
use crate::model::{Capabilities, Device};

type Objection = Option<(&'static str, String)>;

/// Diameters closer than this are the same, in mm.
const SAME_DIAMETER: f64 = 0.01;

/// Compares the printer that the file was sliced for with this one: by the slicer's code where the file has one, else by
/// name.
pub fn model(metadata: &FileMetadata, caps: &Capabilities, reported: Option<&str>) -> Objection {
    let known = |name: &str| caps.slicer_names.iter().any(|own| own.eq_ignore_ascii_case(name.trim()));
    let code = metadata.printer_model_id.as_deref().filter(|code| !code.trim().is_empty());
    let name = metadata.printer_model.as_deref();
    let fits = match (code, name) {
        (Some(code), _) if !caps.slicer_names.is_empty() => known(code),
        (_, Some(name)) => known(name) || same_name(name, caps, reported),
        _ => return None,
    };
    if fits {
        return None;
    }
    let sliced_for = match (name, code) {
        (Some(name), _) if !same_name(name, caps, reported) => name.to_owned(),
        (_, Some(code)) => format!("model {code}"),
        (Some(name), None) => name.to_owned(),
        (None, None) => return None,
    };
    let text = format!(
        "The file was sliced for \"{sliced_for}\" and this printer is \"{} {}\": slice it for this printer, or override \
         \"model\".",
        caps.vendor, caps.model
    );
    Some(("model", text))
}

/// True too where one of the two has no name.
fn same_name(sliced_for: &str, caps: &Capabilities, reported: Option<&str>) -> bool {
    let names = [caps.model.as_str()].into_iter().chain(reported).filter(|name| !name.is_empty());
    let wanted = forms(sliced_for, &caps.vendor);
    let mut names = names.peekable();
    wanted.is_empty()
        || names.peek().is_none()
        || names.any(|name| forms(name, &caps.vendor).iter().any(|form| wanted.contains(form)))
}

/// Forms of a model's name that mean the same: "Bambu Lab X1 Carbon 0.4 nozzle" is `x1carbon` and `x1c`.
fn forms(name: &str, vendor: &str) -> Vec<String> {
    let name = name.to_lowercase();
    // Profiles append the diameter of the nozzle.
    let name = name.split(" 0.").next().unwrap_or(&name);
    let vendor = vendor.to_lowercase();
    let is_vendor = |word: &&str| !vendor.split_whitespace().any(|part| part == *word) && *word != "bbl";
    let words: Vec<&str> = name
        .split(|c: char| !c.is_alphanumeric() && c != '+')
        .filter(|word| !word.is_empty())
        .filter(is_vendor)
        .collect();
    let Some((first, rest)) = words.split_first() else { return Vec::new() };
    let short: String = rest.iter().filter_map(|word| word.chars().next()).collect();
    let mut forms = vec![words.concat()];
    if !rest.is_empty() {
        forms.push(format!("{first}{short}"));
    }
    forms
}

pub fn nozzle(metadata: &FileMetadata, plate: Option<&PlateInfo>, device: &Device) -> Objection {
    let wanted = plate.map(|plate| &plate.nozzle_diameters).filter(|list| !list.is_empty());
    let wanted = wanted.unwrap_or(&metadata.nozzle_diameters);
    let mounted: Vec<f64> = device.nozzles.iter().filter_map(|nozzle| nozzle.diameter_mm).collect();
    if mounted.is_empty() {
        return None;
    }
    let fits = |wanted: &f64| mounted.iter().any(|mounted| (mounted - wanted).abs() < SAME_DIAMETER);
    let missing = wanted.iter().find(|wanted| !fits(wanted))?;
    let list = mounted.iter().map(f64::to_string).collect::<Vec<_>>().join(" and ");
    let text = format!(
        "The file was sliced for a nozzle of {missing} mm and the printer has {list} mm: slice it again, or override \
         \"nozzle\"."
    );
    Some(("nozzle", text))
}

/// The bed the file was sliced for, as the slicer names it.
fn bed_of(metadata: &FileMetadata, plate: Option<&PlateInfo>) -> Option<String> {
    plate.and_then(|plate| plate.bed_type.clone()).or_else(|| metadata.bed_type.clone())
}

/// The bed that the printer is told of: the one that lies on it, else the one the file was sliced for.
pub fn told_bed(metadata: &FileMetadata, plate: Option<&PlateInfo>, mounted: Option<&str>) -> Option<String> {
    let sliced_for = || bed_key(&bed_of(metadata, plate)?);
    mounted.and_then(bed_key).or_else(sliced_for).map(str::to_owned)
}

/// `mounted` is the bed that the user says is on the printer: none of these printers tells it.
pub fn bed(metadata: &FileMetadata, plate: Option<&PlateInfo>, mounted: Option<&str>) -> Objection {
    let chosen = mounted.filter(|name| !name.eq_ignore_ascii_case("auto"))?;
    if bed_key(chosen).is_none() {
        let text = format!(
            "\"{chosen}\" is no known build plate: name it as the slicer does, e.g. \"Textured PEI Plate\"."
        );
        return Some(("bed", text));
    }
    let sliced_for = bed_of(metadata, plate)?;
    if bed_key(chosen) == bed_key(&sliced_for) {
        return None;
    }
    let text = format!(
        "The file was sliced for the bed \"{sliced_for}\" and \"{chosen}\" is on the printer: change the bed, slice it \
         again, or override \"bed\"."
    );
    Some(("bed", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Nozzle;

    fn objects(sliced_for: &str, vendor: &str, name: &str) -> bool {
        let metadata = FileMetadata { printer_model: Some(sliced_for.into()), ..FileMetadata::default() };
        let caps = Capabilities { vendor: vendor.into(), model: name.into(), ..Capabilities::default() };
        model(&metadata, &caps, None).is_some()
    }

    #[test]
    fn a_model_is_known_by_its_long_and_short_names() {
        for (sliced_for, vendor, name) in [
            ("Bambu Lab X1 Carbon", "Bambu Lab", "X1C"),
            ("Bambu Lab P1S 0.4 nozzle", "Bambu Lab", "P1S"),
            ("Bambu Lab A1 mini", "Bambu Lab", "A1 mini"),
            ("Elegoo Centauri Carbon", "Elegoo", "Centauri Carbon"),
            ("Bambu Lab", "Bambu Lab", "P1S"),
        ] {
            assert!(!objects(sliced_for, vendor, name), "{sliced_for} {name}");
        }
        for (sliced_for, vendor, name) in [
            ("Bambu Lab A1", "Bambu Lab", "A1 mini"),
            ("Bambu Lab A1 mini", "Bambu Lab", "A1"),
            ("Elegoo Centauri Carbon", "Elegoo", "Centauri Carbon 2"),
            ("MK4", "Bambu Lab", "P1S"),
        ] {
            assert!(objects(sliced_for, vendor, name), "{sliced_for} {name}");
        }
    }

    #[test]
    fn the_code_of_a_file_decides_before_its_name() {
        let caps = Capabilities {
            vendor: "Bambu Lab".into(),
            model: "X1C".into(),
            slicer_names: vec!["BL-P001".into(), "3DPrinter-X1-Carbon".into(), "Bambu Lab X1 Carbon".into()],
            ..Capabilities::default()
        };
        let sliced = |code: Option<&str>, name: Option<&str>| {
            let metadata = FileMetadata {
                printer_model_id: code.map(Into::into),
                printer_model: name.map(Into::into),
                ..FileMetadata::default()
            };
            model(&metadata, &caps, None)
        };
        assert_eq!(sliced(Some("BL-P001"), None), None);
        assert_eq!(sliced(Some("bl-p001"), Some("My own X1C profile")), None, "a renamed profile");
        assert_eq!(sliced(Some(""), Some("Bambu Lab X1 Carbon")), None);
        assert!(sliced(Some("C12"), Some("Bambu Lab X1 Carbon")).unwrap().1.contains("model C12"));
        assert!(sliced(Some("C12"), Some("Bambu Lab P1S")).unwrap().1.contains("Bambu Lab P1S"));
        assert!(sliced(None, Some("Bambu Lab P1S")).is_some());
        assert_eq!(sliced(None, None), None);
    }

    #[test]
    fn nozzle_and_bed_object_only_where_both_sides_are_known() {
        let metadata = FileMetadata {
            nozzle_diameters: vec![0.4],
            bed_type: Some("Textured PEI Plate".into()),
            ..FileMetadata::default()
        };
        let device = |mm| Device {
            nozzles: vec![Nozzle { diameter_mm: mm, ..Nozzle::default() }],
            ..Device::default()
        };
        assert!(nozzle(&metadata, None, &device(None)).is_none());
        assert!(nozzle(&metadata, None, &device(Some(0.4))).is_none());
        assert_eq!(nozzle(&metadata, None, &device(Some(0.6))).unwrap().0, "nozzle");
        assert!(bed(&metadata, None, None).is_none());
        assert!(bed(&metadata, None, Some("textured_plate")).is_none(), "the printers' name of the same");
        assert!(bed(&metadata, None, Some("auto")).is_none());
        assert_eq!(bed(&metadata, None, Some("Cool Plate")).unwrap().0, "bed");
        assert!(bed(&metadata, None, Some("Colo Plate")).unwrap().1.contains("no known build plate"));
        assert_eq!(told_bed(&metadata, None, None).as_deref(), Some("textured_plate"));
        assert_eq!(told_bed(&metadata, None, Some("Cool Plate")).as_deref(), Some("cool_plate"));
        assert_eq!(told_bed(&FileMetadata::default(), None, None), None);
    }
}
