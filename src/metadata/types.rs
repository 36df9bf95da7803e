//! The types of a file's metadata and the reasons why there is none.

use serde::{Deserialize, Serialize};

use super::gcode::MAX_LIST;

/// What a sliced file says about itself; whatever it does not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileMetadata {
    /// File size in bytes.
    pub size: u64,
    /// Name of the slicer, as it writes itself (`PrusaSlicer`, `BambuStudio`, `Cura`).
    pub slicer: Option<String>,
    /// Version of the slicer.
    pub slicer_version: Option<String>,
    /// Expected duration in seconds.
    pub estimated_time_s: Option<u64>,
    /// Number of layers.
    pub layer_count: Option<u32>,
    /// Layer height in mm.
    pub layer_height: Option<f64>,
    /// Height of the first layer in mm.
    pub first_layer_height: Option<f64>,
    /// Nozzle temperature of the first layer in degrees Celsius.
    pub first_layer_extr_temp: Option<f64>,
    /// Bed temperature of the first layer in degrees Celsius.
    pub first_layer_bed_temp: Option<f64>,
    /// Chamber temperature in degrees Celsius, when one is asked for.
    pub chamber_temp: Option<f64>,
    /// Height of the printed object in mm.
    pub object_height: Option<f64>,
    /// Nozzle diameters in mm, one per nozzle.
    pub nozzle_diameters: Vec<f64>,
    /// Tool of each nozzle group, by group; empty where the file does not say (bambu.md 5.6).
    pub nozzle_groups: Vec<usize>,
    /// Filament presets, one per filament of the project or plate.
    pub filament_names: Vec<String>,
    /// Materials (`PLA`), one per filament.
    pub filament_types: Vec<String>,
    /// Colours as `#RRGGBB`, one per filament.
    pub filament_colors: Vec<String>,
    /// Nozzle temperatures in degrees Celsius, one per filament.
    pub filament_temps: Vec<f64>,
    /// Length of all filament in mm.
    pub filament_total_mm: Option<f64>,
    /// Weight per filament in g, zero for those that are not used.
    pub filament_weights: Vec<f64>,
    /// Weight of all filament in g.
    pub filament_weight_total: Option<f64>,
    /// Tools in use, numbered from 0.
    pub referenced_tools: Vec<u32>,
    /// Number of filament changes.
    pub filament_change_count: Option<u32>,
    /// Printer the file was sliced for, by name.
    pub printer_model: Option<String>,
    /// Printer the file was sliced for, by the vendor's code (`C12`).
    pub printer_model_id: Option<String>,
    /// Build plate the file was sliced for.
    pub bed_type: Option<String>,
    /// Position of the first command in a plain G-code file.
    pub gcode_start_byte: Option<u64>,
    /// Position behind the last command in a plain G-code file.
    pub gcode_end_byte: Option<u64>,
    /// Whether objects are labelled, so that single ones can be left out.
    pub label_object_enabled: Option<bool>,
    /// The plates, in rising order; a plain G-code file has one. The fields above describe the first.
    pub plates: Vec<PlateInfo>,
    /// Pictures found in the file, of all plates; not stored with the metadata.
    #[serde(skip)]
    pub thumbnails: Vec<Thumbnail>,
}

/// One plate of a sliced file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlateInfo {
    /// Number of the plate, from 1.
    pub index: u32,
    /// Name given by the user.
    pub name: Option<String>,
    /// Path of the G-code inside the archive; absent in plain G-code.
    pub gcode_entry: Option<String>,
    /// Length of the G-code in bytes.
    pub gcode_size: u64,
    /// MD5 of the G-code as stated in the archive, upper case hex.
    pub md5: Option<String>,
    /// Expected duration in seconds.
    pub estimated_time_s: Option<u64>,
    /// Weight of all filament in g.
    pub weight_g: Option<f64>,
    /// Number of layers.
    pub layer_count: Option<u32>,
    /// Height of the printed object in mm.
    pub object_height: Option<f64>,
    /// Nozzle diameters in mm.
    pub nozzle_diameters: Vec<f64>,
    /// Build plate type.
    pub bed_type: Option<String>,
    /// Whether objects are labelled.
    pub label_object_enabled: Option<bool>,
    /// The filaments this plate uses.
    pub filaments: Vec<FilamentUse>,
    /// The objects on this plate.
    pub objects: Vec<ObjectInfo>,
}

/// A filament as one plate uses it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilamentUse {
    /// Number of the filament in the project, from 1.
    pub id: u32,
    /// Material.
    pub kind: Option<String>,
    /// Colour as `#RRGGBB`.
    pub color: Option<String>,
    /// Length in m.
    pub used_m: Option<f64>,
    /// Weight in g.
    pub used_g: Option<f64>,
    /// Code of the filament preset (`GFL99`).
    pub tray_info_idx: Option<String>,
    /// Nozzle group of printers with two nozzles.
    pub nozzle_group: Option<u32>,
}

/// An object that can be left out of the print.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectInfo {
    /// The number by which it is skipped on a Bambu printer.
    pub identify_id: Option<u32>,
    /// Name; several objects may share one.
    pub name: String,
    /// Outline in mm.
    pub polygon: Vec<[f64; 2]>,
    /// Already left out by the slicer.
    pub skipped: bool,
}

/// A picture of one plate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// Plate it shows, from 1.
    pub plate: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The PNG file.
    pub png: Vec<u8>,
}

impl FileMetadata {
    /// Fills in material and colour of the filaments that a plate uses where the project does not tell them, each at its
    /// own place; those that nobody tells are empty.
    pub fn name_filaments(&mut self, used: &[FilamentUse]) {
        for filament in used {
            let Some(at) = filament.id.checked_sub(1).map(|at| at as usize).filter(|at| *at < MAX_LIST)
            else {
                continue;
            };
            let lists =
                [(&mut self.filament_types, &filament.kind), (&mut self.filament_colors, &filament.color)];
            for (list, told) in lists {
                let Some(told) = told else { continue };
                if list.len() <= at {
                    list.resize(at + 1, String::new());
                }
                if let Some(known) = list.get_mut(at).filter(|known| known.is_empty()) {
                    known.clone_from(told);
                }
            }
        }
    }

    /// Gives every filament this material where the file names none.
    pub fn or_material(&mut self, material: &str) {
        if self.filament_types.is_empty() {
            let last = self.referenced_tools.iter().max().map_or(0, |tool| *tool as usize);
            self.filament_types = vec![material.to_owned(); last.saturating_add(1).min(MAX_LIST)];
        }
    }

    /// The plate of this number.
    pub fn plate(&self, index: u32) -> Option<&PlateInfo> {
        self.plates.iter().find(|plate| plate.index == index)
    }

    /// The largest picture of a plate.
    pub fn picture(&self, plate: u32) -> Option<&Thumbnail> {
        let of_plate = self.thumbnails.iter().filter(|thumbnail| thumbnail.plate == plate);
        of_plate.max_by_key(|thumbnail| u64::from(thumbnail.width) * u64::from(thumbnail.height))
    }
}

/// Why a file cannot be used; the texts are meant for the user.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The file could not be read or written.
    #[error("the file could not be read or written")]
    Io(#[from] std::io::Error),
    /// No directory at the end of the archive.
    #[error("the archive is truncated or not a zip file ({reason}): export it again and repeat the upload")]
    Truncated {
        /// What the reader met.
        reason: String,
    },
    /// A damaged entry.
    #[error("the archive is damaged in {entry:?} ({reason}): export it again and repeat the upload")]
    Damaged {
        /// Name of the entry.
        entry: String,
        /// What the reader met.
        reason: String,
    },
    /// Model data without G-code.
    #[error("this .3mf is not sliced: slice it and export 'plate sliced file'")]
    NotSliced,
    /// The archive has no such plate.
    #[error("this file has no sliced plate {plate}, only {available}")]
    NoSuchPlate {
        /// The plate asked for.
        plate: u32,
        /// The plates it has, as text.
        available: String,
    },
    /// An archive made to hurt, or by mistake: too many entries, too big, too strongly compressed.
    #[error("the archive is refused: {reason}")]
    Limit {
        /// Which limit is passed.
        reason: String,
    },
    /// An entry name that points outside the archive or is too long.
    #[error("the archive is refused: the entry name {name:?} is {problem}")]
    UnsafeName {
        /// The name, shortened.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A protected entry.
    #[error("{entry:?} is encrypted: export the file without a password")]
    Encrypted {
        /// Name of the entry.
        entry: String,
    },
    /// The MD5 beside the G-code differs; a P1S refuses such files with 0500_4003 (dossier bambu 4.5).
    #[error("the G-code of plate {plate} was changed after slicing (its MD5 differs): slice it again")]
    ChangedAfterSlicing {
        /// The plate.
        plate: u32,
    },
    /// A picture that cannot be used.
    #[error("the picture cannot be used: {reason}")]
    Picture {
        /// What is wrong.
        reason: String,
    },
}
