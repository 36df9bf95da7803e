//! The objects of a plate under the names by which clients skip them.

use super::types::FileMetadata;

/// An object that can be skipped while printing.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedObject {
    /// The number by which the printer skips it.
    pub id: u32,
    /// Upper case, without blanks and unique on its plate, as Klipper keeps object names.
    pub name: String,
    /// Outline in mm, empty where unknown.
    pub polygon: Vec<[f64; 2]>,
}

/// The objects of one plate (the first where none is named) in the file's order; those without a number are left out.
pub fn named_objects(metadata: &FileMetadata, plate: Option<u32>) -> Vec<NamedObject> {
    let plate = match plate {
        Some(wanted) => metadata.plates.iter().find(|plate| plate.index == wanted),
        None => metadata.plates.first(),
    };
    let mut named: Vec<NamedObject> = Vec::new();
    for object in plate.iter().flat_map(|plate| &plate.objects) {
        let Some(id) = object.identify_id else { continue };
        let name = object.name.to_uppercase().replace(' ', "_");
        let taken = named.iter().any(|other| other.name == name);
        let name = if taken || name.is_empty() { format!("{name}_ID_{id}") } else { name };
        named.push(NamedObject { id, name, polygon: object.polygon.clone() });
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{ObjectInfo, PlateInfo};

    #[test]
    fn names_are_unique_and_only_numbered_objects_count() {
        let object =
            |id, name: &str| ObjectInfo { identify_id: id, name: name.into(), ..ObjectInfo::default() };
        let plate = PlateInfo {
            index: 2,
            objects: vec![object(Some(7), "cube a"), object(Some(8), "cube a"), object(None, "ghost")],
            ..PlateInfo::default()
        };
        let metadata = FileMetadata { plates: vec![plate], ..FileMetadata::default() };
        let names: Vec<_> = named_objects(&metadata, Some(2)).into_iter().map(|o| (o.id, o.name)).collect();
        assert_eq!(names, [(7, "CUBE_A".to_owned()), (8, "CUBE_A_ID_8".to_owned())]);
        assert!(named_objects(&metadata, Some(1)).is_empty());
    }
}
