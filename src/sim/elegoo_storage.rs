//! Internal storage of a simulated Elegoo printer: one flat directory, and what the firmware reads out of its files.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use md5::{Digest, Md5};
use tempfile::TempDir;

use super::elegoo_sample;
use super::physics::{Plan, spoken_duration};

/// Suffix of a file that is not yet complete (dossier 2.10).
pub const PARTIAL: &str = ".cbdtmp";
/// The file on the USB stick.
pub const ON_STICK: &str = "stick.gcode";
/// What a simulated timelapse video holds.
pub const VIDEO: &[u8] = b"simulated timelapse";
/// Bytes read at the head and at the tail of a file for its facts.
const HEAD: u64 = 256 * 1024;
const TAIL: u64 = 64 * 1024;

/// What the firmware knows of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Layers, when a comment gives them.
    pub layers: Option<u32>,
    /// Estimated seconds, when a comment gives them.
    pub seconds: Option<f64>,
    /// Grams of filament.
    pub grams: Option<f64>,
    /// The file names its layers in a way the CC1 understands.
    pub layer_comments: bool,
    /// The file names its layers in a way the CC2 understands (`M73 L`).
    pub layer_commands: bool,
    /// At least one line begins with G or M.
    pub commands: bool,
    /// Last thumbnail, base64 PNG.
    pub thumbnail: Option<String>,
    /// `filament_colour` and `filament_type` lists.
    pub colours: Vec<String>,
    pub types: Vec<String>,
    /// What the simulated machine is to do.
    pub plan: Plan,
}

/// A stored file.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Unix seconds.
    pub created: u64,
    pub facts: Facts,
}

/// The directory; a temporary one is removed on drop.
#[derive(Debug)]
pub struct Storage {
    dir: PathBuf,
    _temporary: Option<TempDir>,
}

impl Storage {
    /// Opens (and creates) `dir`, or a temporary directory, and puts the sample file into it.
    pub fn open(dir: Option<PathBuf>) -> io::Result<Self> {
        let (dir, temporary) = match dir {
            Some(dir) => (dir, None),
            None => {
                let temporary = tempfile::tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(elegoo_sample::NAME), elegoo_sample::cube())?;
        Ok(Self { dir, _temporary: temporary })
    }

    /// A USB stick: a temporary directory with one file, which the internal storage does not have.
    pub fn stick() -> io::Result<Self> {
        let stick = Self::open(None)?;
        fs::rename(stick.dir.join(elegoo_sample::NAME), stick.dir.join(ON_STICK))?;
        Ok(stick)
    }

    /// Path of a stored file; `name` is reduced to its last component, `None` when nothing is left of it.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        base_name(name).map(|base| self.dir.join(base))
    }

    /// All complete files, by name.
    pub fn list(&self) -> Vec<Entry> {
        let Ok(found) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut names: Vec<String> =
            found.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names.iter().filter_map(|name| self.find(name)).collect()
    }

    /// One complete file.
    pub fn find(&self, name: &str) -> Option<Entry> {
        let path = self.path(name)?;
        let name = base_name(name)?;
        let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        if name.ends_with(PARTIAL) {
            return None;
        }
        let created = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(Entry { name, size: meta.len(), created, facts: read_facts(&path).unwrap_or_default() })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        let Ok(found) = fs::read_dir(&self.dir) else { return 0 };
        found.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
    }
}

/// The last path component of a name from the wire, `None` when it is empty or dots.
pub fn base_name(name: &str) -> Option<String> {
    let base = name.rsplit(['/', '\\']).next().unwrap_or(name).trim();
    (!base.is_empty() && base != "." && base != "..").then(|| base.to_owned())
}

/// Digest of a file that comes in pieces: a gigabyte that is read again at its end would stop everything else.
#[derive(Debug, Clone, Default)]
pub struct Sum(Md5);

impl Sum {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Lower-case hex.
    pub fn text(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0.finalize())
    }
}

/// Lower-case hex MD5 of a file.
pub fn file_md5(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Md5::new();
    io::copy(&mut file, &mut hash)?;
    Ok(data_encoding::HEXLOWER.encode(&hash.finalize()))
}

fn read_facts(path: &Path) -> io::Result<Facts> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head)?;
    let mut tail = Vec::new();
    if size > HEAD {
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL).max(HEAD)))?;
        file.take(TAIL).read_to_end(&mut tail)?;
    }
    let text = format!("{}\n{}", String::from_utf8_lossy(&head), String::from_utf8_lossy(&tail));
    Ok(facts(&text))
}

/// Reads comments before the first and after the last command, as the firmware does (dossier 2.12).
pub fn facts(text: &str) -> Facts {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let command = |line: &&str| line.starts_with(['G', 'M']);
    let first = lines.iter().position(command).unwrap_or(lines.len());
    let last = lines.iter().rposition(command).map_or(0, |at| at + 1).max(first);
    let mut facts = Facts { plan: Plan::from_gcode(text), ..Facts::default() };
    facts.commands = first < lines.len();
    facts.layer_commands = lines.iter().any(|line| line.starts_with("M73 L"));
    facts.layer_comments = lines.iter().any(|line| line.starts_with(";LAYER:"))
        || lines.windows(2).any(|pair| {
            matches!(pair, [mark, number] if *mark == ";AFTER_LAYER_CHANGE"
                && number.trim_start_matches(';').trim().parse::<u32>().is_ok())
        });
    for line in lines.iter().take(first).chain(lines.iter().skip(last)) {
        if let Some(comment) = line.strip_prefix(';') {
            facts.read_comment(comment.trim());
        }
    }
    facts.thumbnail = thumbnail(&lines);
    facts.plan.layers = facts.layers.unwrap_or(facts.plan.layers).max(1);
    facts.plan.seconds = facts.seconds.unwrap_or(facts.plan.seconds).max(1.0);
    facts
}

impl Facts {
    fn read_comment(&mut self, comment: &str) {
        let Some((key, value)) = comment.split_once('=') else { return };
        let value = value.trim();
        match key.trim() {
            "estimated printing time (normal mode)" => self.seconds = spoken_duration(value),
            "total layers count" | "total_layers" => self.layers = value.parse().ok(),
            "filament used [g]" | "total filament used [g]" => {
                self.grams = Some(value.split(',').filter_map(|g| g.trim().parse::<f64>().ok()).sum());
            }
            "filament_colour" => self.colours = list(value),
            "filament_type" => self.types = list(value),
            _ => {}
        }
    }
}

fn list(value: &str) -> Vec<String> {
    value.split([';', ',']).map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn thumbnail(lines: &[&str]) -> Option<String> {
    let begin = lines.iter().rposition(|line| line.starts_with("; thumbnail begin"))?;
    let picture: String = lines
        .iter()
        .skip(begin + 1)
        .take_while(|line| !line.starts_with("; thumbnail end"))
        .map(|line| line.trim_start_matches(';').trim())
        .collect();
    (!picture.is_empty()).then_some(picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    #[test]
    fn the_sample_tells_the_firmware_everything() {
        let facts = facts(&elegoo_sample::cube());
        assert_eq!((facts.layers, facts.seconds), (Some(elegoo_sample::LAYERS), Some(180.0)));
        assert!(facts.layer_comments && facts.layer_commands && facts.commands);
        assert_eq!((facts.grams, facts.plan.nozzle, facts.plan.bed), (Some(3.61), 220.0, 60.0));
        let png = base64::engine::general_purpose::STANDARD.decode(facts.thumbnail.unwrap()).unwrap();
        let picture = image::load_from_memory(&png).unwrap();
        assert_eq!((picture.width(), picture.height()), (144, 144));
    }

    #[test]
    fn a_bare_file_tells_nothing_and_names_are_reduced() {
        let bare = facts("G28\nG1 X1\n; total layers count = 9\nG1 X2\n");
        assert_eq!((bare.layers, bare.seconds, bare.layer_comments), (None, None, false));
        assert_eq!(base_name("../../etc/passwd").as_deref(), Some("passwd"));
        assert_eq!((base_name("/local/"), base_name("..")), (None, None));
    }

    #[test]
    fn storage_lists_complete_files_only() {
        let storage = Storage::open(None).unwrap();
        fs::write(storage.path("half.gcode.cbdtmp").unwrap(), "G28").unwrap();
        let names: Vec<String> = storage.list().into_iter().map(|e| e.name).collect();
        assert_eq!(names, [elegoo_sample::NAME]);
    }
}
