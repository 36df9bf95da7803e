//! One pass over G-code text: settings in comments, layer markers, thumbnail blocks, byte positions.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::types::{ObjectInfo, Thumbnail};

/// More settings than any slicer writes (OrcaSlicer: about 600).
const MAX_SETTINGS: usize = 4096;
/// Longer values are start and end scripts, which nobody asks for here.
const MAX_VALUE_BYTES: usize = 2048;
const MAX_OBJECTS: usize = 1024;
const MAX_THUMBNAILS: usize = 8;
/// Base64 characters of one picture.
const MAX_PICTURE_TEXT: usize = 512 * 1024;
/// Pixels of one side; stated sizes beyond are nonsense.
const MAX_SIDE: u32 = 4096;

/// What a pass over some text has found.
#[derive(Debug, Default)]
pub(super) struct Comments {
    settings: BTreeMap<String, String>,
    pub(super) slicer: Option<(String, Option<String>)>,
    pub(super) thumbnails: Vec<Thumbnail>,
    pub(super) objects: Vec<ObjectInfo>,
    pub(super) labels: bool,
    /// Layer changes seen.
    pub(super) layers: u32,
    /// Highest `;LAYER:n`, counted from 0.
    pub(super) last_layer: Option<u32>,
    /// Height of the last layer change, in mm.
    pub(super) last_z: Option<f64>,
    pub(super) first_command: Option<u64>,
    pub(super) behind_last_command: Option<u64>,
    /// Seconds at Cura's last `;TIME_ELAPSED`.
    pub(super) time_elapsed: Option<f64>,
    /// Targets of the first heating commands, by code (104 nozzle, 140 bed).
    pub(super) first_targets: BTreeMap<u32, f64>,
    block: Option<Block>,
}

#[derive(Debug)]
struct Block {
    width: u32,
    height: u32,
    png: bool,
    text: String,
}

impl Comments {
    /// A setting by its name in lower case.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The first of several names that is present.
    pub(super) fn first(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// Goes over text that begins at this position of the file.
    pub(super) fn scan(&mut self, text: &[u8], start: u64) {
        let mut position = start;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let end = position.saturating_add(line.len() as u64);
            let trimmed = line.trim_ascii();
            if let Some(comment) = trimmed.strip_prefix(b";") {
                self.comment(&String::from_utf8_lossy(comment));
            } else if !trimmed.is_empty() {
                self.first_command.get_or_insert(position);
                self.behind_last_command = Some(end);
                self.command(trimmed);
            }
            position = end;
        }
        // A picture that is cut off by the end of the text is none.
        self.block = None;
    }

    fn comment(&mut self, comment: &str) {
        let comment = comment.trim();
        if self.picture_line(comment) {
            return;
        }
        self.marker(comment);
        if self.slicer.is_none() {
            self.slicer = slicer(comment);
        }
        // Bambu puts two on a line: `model printing time: 1h; total estimated time: 2h`.
        if comment.starts_with("model printing time") {
            comment.split(';').for_each(|part| self.setting(part));
        } else {
            self.setting(comment);
        }
    }

    fn setting(&mut self, comment: &str) {
        let pair = comment.split_once(" = ").or_else(|| comment.split_once(':'));
        let Some((key, value)) = pair else { return };
        let key = key.trim().to_ascii_lowercase();
        if key.len() > 64 || value.len() > MAX_VALUE_BYTES || self.settings.len() >= MAX_SETTINGS {
            return;
        }
        self.settings.entry(key).or_insert_with(|| value.trim().to_owned());
    }

    fn marker(&mut self, comment: &str) {
        if comment == "LAYER_CHANGE" || comment == "CHANGE_LAYER" {
            self.layers = self.layers.saturating_add(1);
        } else if let Some(layer) = comment.strip_prefix("LAYER:") {
            let layer = layer.trim().parse().ok();
            self.last_layer = self.last_layer.max(layer);
        } else if let Some(z) = comment.strip_prefix("Z:").or(comment.strip_prefix("Z_HEIGHT:")) {
            self.last_z = z.trim().parse().ok().filter(|z: &f64| z.is_finite()).or(self.last_z);
        } else if let Some(time) = comment.strip_prefix("TIME_ELAPSED:") {
            self.time_elapsed = time.trim().parse().ok().filter(|time: &f64| time.is_finite());
        } else if let Some(object) = comment.strip_prefix("printing object ") {
            self.object(object.trim(), Vec::new());
        }
    }

    fn object(&mut self, name: &str, polygon: Vec<[f64; 2]>) {
        self.labels = true;
        if name.len() <= 256
            && self.objects.len() < MAX_OBJECTS
            && !self.objects.iter().any(|object| object.name == name)
        {
            self.objects.push(ObjectInfo { name: name.to_owned(), polygon, ..ObjectInfo::default() });
        }
    }

    fn command(&mut self, line: &[u8]) {
        if line.starts_with(b"EXCLUDE_OBJECT_DEFINE") {
            let Ok(line) = crate::gcode::parse(line) else { return };
            let polygon = line.param("POLYGON").and_then(|text| serde_json::from_str(text).ok());
            if let Some(name) = line.param("NAME") {
                self.object(name, polygon.unwrap_or_default());
            }
        } else if line.starts_with(b"SET_PRINT_STATS_INFO") {
            let Ok(line) = crate::gcode::parse(line) else { return };
            if let Some(total) = line.param("TOTAL_LAYERS").or(line.param("TOTAL_LAYER")) {
                self.setting(&format!("total_layers = {total}"));
            }
        } else if line.starts_with(b"M486") {
            self.labels = true;
        } else if line.starts_with(b"M1") && self.first_targets.len() < 2 {
            let Ok(line) = crate::gcode::parse(line) else { return };
            let heater = match line.code() {
                Some(('M', 104 | 109)) => 104,
                Some(('M', 140 | 190)) => 140,
                _ => return,
            };
            if let Some(target) = line.value('S').filter(|target| *target > 0.0) {
                self.first_targets.entry(heater).or_insert(target);
            }
        }
    }

    /// Handles the lines of `thumbnail begin 32x32 1234` .. `thumbnail end`; true if this was one.
    fn picture_line(&mut self, comment: &str) -> bool {
        if let Some((kind, rest)) =
            comment.split_once(" begin ").filter(|(kind, _)| kind.starts_with("thumbnail"))
        {
            self.block = size(rest).map(|(width, height)| Block {
                width,
                height,
                png: matches!(kind, "thumbnail" | "thumbnail_PNG"),
                text: String::new(),
            });
            return true;
        }
        let Some(block) = self.block.as_mut() else { return false };
        if comment.starts_with("thumbnail") && comment.ends_with("end") {
            let block = self.block.take();
            self.thumbnails.extend(block.and_then(picture));
            self.thumbnails.truncate(MAX_THUMBNAILS);
        } else if block.text.len() + comment.len() <= MAX_PICTURE_TEXT {
            block.text.push_str(comment);
        } else {
            self.block = None;
        }
        true
    }
}

fn size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_whitespace().next()?.split_once(['x', 'X'])?;
    let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
    Some((side(width)?, side(height)?))
}

fn picture(block: Block) -> Option<Thumbnail> {
    let png = STANDARD.decode(block.text).ok().filter(|png| block.png && png.starts_with(b"\x89PNG"))?;
    Some(Thumbnail { plate: 1, width: block.width, height: block.height, png })
}

/// `generated by PrusaSlicer 2.5.0 on ...`, `Generated with Cura_SteamEngine 5.2.1`, `BambuStudio 02.00`.
fn slicer(comment: &str) -> Option<(String, Option<String>)> {
    let mut words = match comment.get(..15)?.to_ascii_lowercase().as_str() {
        head if head.starts_with("generated by ") => comment.get(13..)?.split_whitespace(),
        head if head.starts_with("generated with ") => comment.get(15..)?.split_whitespace(),
        head if head.starts_with("bambustudio ") => comment.split_whitespace(),
        _ => return None,
    };
    let name = match words.next()? {
        "Cura_SteamEngine" => "Cura",
        name => name,
    };
    let version = words.next().filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    Some((name.chars().take(64).collect(), version.map(|version| version.chars().take(64).collect())))
}
