//! The files as the host sees them: 8.3 names that stay the same for good, long names beside them.
//!
//! Short names are lower case with extension `gco`, and fixed points of OctoPrint's own squeezing (octoprint.md 5.2), so
//! that both of its generations send back what they were given.

use std::collections::{BTreeMap, BTreeSet};

use crate::library::{Entry, EntryKind};

/// What is told for files whose size is not known; 0 would give no progress.
const UNKNOWN_SIZE: u64 = 1_000_000;
/// OctoPrint ignores times before 2008-05-29 (octoprint.md 5.1).
const OLDEST_TIME: f64 = 1_212_019_200.0;
/// Longest short path that fits a line of the host, M23 included.
const MAX_PATH: usize = 80;
const STEM: usize = 8;
/// Names beyond this many are forgotten where their file is gone: a farm prints other files every day, for years.
const NAMES: usize = 10_000;

/// A file that the host can name.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// `dir/cube_2~1.gco`.
    pub short: String,
    /// Path in the library; `None` for a running job whose file is not there.
    pub path: Option<String>,
    pub long: String,
    /// At least 1.
    pub size: u64,
    pub modified: f64,
}

/// Paths with the short name to remember, or to forget what was remembered.
pub type NameChanges = Vec<(String, Option<String>)>;

/// All files, and which of them the host has been told.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Short name of each path, within its folder; folders end in `/`. Those of files that are gone stay, up to [`NAMES`]:
    /// a host with an old listing is not to be given another file for one of them.
    names: BTreeMap<String, String>,
    files: Vec<Listed>,
    /// The running job's file, where the library does not have it: title and entry.
    guest: Option<Listed>,
    told: BTreeSet<String>,
}

impl Catalog {
    /// With the names of earlier runs.
    pub fn with_names(names: BTreeMap<String, String>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Takes the library's listing. Returns the names that must be remembered or, without a name, forgotten, and whether
    /// the listing differs from the one before.
    pub fn update(&mut self, entries: &[Entry]) -> (NameChanges, bool) {
        let mut changes = NameChanges::new();
        let mut files = Vec::new();
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Printable) {
            let short = self.short_path(&entry.path, &mut changes);
            if short.len() > MAX_PATH {
                continue;
            }
            let size = if entry.size == 0 { UNKNOWN_SIZE } else { entry.size };
            let long = crate::model::text::base_name(&entry.path).to_owned();
            files.push(Listed {
                short,
                path: Some(entry.path.clone()),
                long,
                size,
                modified: entry.modified,
            });
        }
        let changed = files != self.files;
        self.files = files;
        if self.names.len() > NAMES {
            self.forget_names(entries, &mut changes);
        }
        (changes, changed)
    }

    /// Keeps the names of these files and of the folders above them.
    fn forget_names(&mut self, entries: &[Entry], changes: &mut NameChanges) {
        let mut kept = BTreeSet::new();
        for path in entries.iter().map(|entry| entry.path.as_str()) {
            kept.insert(path);
            kept.extend(path.match_indices('/').filter_map(|(at, _)| path.get(..=at)));
        }
        self.names.retain(|path, _| {
            let keep = kept.contains(path.as_str());
            if !keep {
                changes.push((path.clone(), None));
            }
            keep
        });
    }

    fn short_path(&mut self, path: &str, changes: &mut NameChanges) -> String {
        let mut short = String::new();
        let mut folder = String::new();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let is_folder = parts.peek().is_some();
            let key = format!("{folder}{part}{}", if is_folder { "/" } else { "" });
            let name = match self.names.get(&key) {
                Some(name) => name.clone(),
                None => {
                    let name = self.invent(&folder, &short, part, is_folder);
                    self.names.insert(key.clone(), name.clone());
                    changes.push((key.clone(), Some(name.clone())));
                    name
                }
            };
            short.push_str(&name);
            if is_folder {
                short.push('/');
                folder = key;
            }
        }
        short
    }

    /// A name that no other file of the folder has, or had as long as a host may think so. `short` names the folder.
    fn invent(&mut self, folder: &str, short: &str, part: &str, is_folder: bool) -> String {
        let siblings: BTreeSet<&String> = self
            .names
            .iter()
            .filter(|(key, _)| {
                key.strip_prefix(folder).is_some_and(|rest| !rest.trim_end_matches('/').contains('/'))
            })
            .map(|(_, name)| name)
            .collect();
        let stem = squeezed(part, is_folder);
        let extension = if is_folder { "" } else { ".gco" };
        let mut name = format!("{}{extension}", numbered(&stem, usize::from(stem.len() > STEM)));
        for number in 1.. {
            if !siblings.contains(&name) && !self.told.contains(&format!("{short}{name}")) {
                break;
            }
            name = format!("{}{extension}", numbered(&stem, number));
        }
        name
    }

    /// The entries in order, the running job's own last.
    pub fn files(&self) -> impl Iterator<Item = &Listed> {
        self.files.iter().chain(&self.guest)
    }

    /// The answer to M20 between its frame lines; from now on these names count as told.
    pub fn listing(&mut self, with_times: bool) -> Vec<String> {
        self.told = self.files().map(|file| file.short.clone()).collect();
        let line = |file: &Listed| {
            let long = file.long.replace('"', "'");
            match fat_time(file.modified).filter(|_| with_times) {
                Some(time) => format!("{} {} 0x{time:08x} \"{long}\"", file.short, file.size),
                None => format!("{} {} \"{long}\"", file.short, file.size),
            }
        };
        self.files().map(line).collect()
    }

    /// True when the host knows this name: others crash OctoPrint 2.0.0rc3 (octoprint.md 9).
    pub fn told(&self, short: &str) -> bool {
        self.told.contains(short)
    }

    /// A new host knows nothing yet.
    pub fn forget_told(&mut self) {
        self.told.clear();
    }

    /// Finds what M23 or M30 names: by short or long name, with or without slash, in any case.
    pub fn find(&self, argument: &str) -> Option<&Listed> {
        let wanted = argument.trim().trim_matches('"').trim_start_matches('/').to_lowercase();
        let long = |file: &Listed| file.path.as_deref().is_some_and(|path| path.to_lowercase() == wanted);
        self.files()
            .find(|file| file.short == wanted)
            .or_else(|| self.files().find(|file| long(file)))
            .or_else(|| self.files().find(|file| file.long.to_lowercase() == wanted))
    }

    /// The entry of a running job; invented where the library does not have its file.
    pub fn entry_of_job(&mut self, path: Option<&str>, title: Option<&str>) -> Listed {
        if let Some(found) = path.and_then(|path| self.files.iter().find(|f| f.path.as_deref() == Some(path)))
        {
            return found.clone();
        }
        let long = crate::model::text::one_line(title.or(path).unwrap_or("print"), 80);
        if let Some(guest) = self.guest.as_ref().filter(|guest| guest.long == long) {
            return guest.clone();
        }
        // Made anew after a restart.
        let short = self.short_path(&format!("job/{}", long.replace('/', "_")), &mut NameChanges::new());
        let guest = Listed { short, path: None, long, size: UNKNOWN_SIZE, modified: 0.0 };
        self.guest.insert(guest).clone()
    }

    /// The job with the unknown file is over. True if there was one.
    pub fn drop_guest(&mut self) -> bool {
        self.guest.take().is_some()
    }

    /// Gone before the library says so. Returns its path.
    pub fn remove(&mut self, short: &str) {
        self.files.retain(|file| file.short != short);
    }
}

/// ASCII letters, digits and underscores of a name, without its extensions.
fn squeezed(part: &str, is_folder: bool) -> String {
    let lower = part.to_lowercase();
    let stem = if is_folder {
        lower.as_str()
    } else {
        let stem = lower.strip_suffix(".3mf").unwrap_or(&lower);
        [".gcode", ".gco", ".g"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem)
    };
    let plain = |c: char| match c {
        'a'..='z' | '0'..='9' => Some(c),
        ' ' | '-' | '_' | '.' | '(' | ')' | '+' => Some('_'),
        'ä' | 'á' | 'à' | 'â' | 'å' => Some('a'),
        'ö' | 'ó' | 'ò' | 'ô' | 'ø' => Some('o'),
        'ü' | 'ú' | 'ù' | 'û' => Some('u'),
        'é' | 'è' | 'ê' | 'ë' => Some('e'),
        _ => None,
    };
    let name: String = stem.chars().filter_map(plain).collect();
    if name.is_empty() { "file".to_owned() } else { name }
}

/// 0: as it is; else cut for `~number` to fit 8 characters.
fn numbered(stem: &str, number: usize) -> String {
    if number == 0 {
        return stem.chars().take(STEM).collect();
    }
    let tail = format!("~{number}");
    let head: String = stem.chars().take(STEM.saturating_sub(tail.len())).collect();
    head + &tail
}

/// Date and time as FAT file systems keep them, in local time (octoprint.md 5.1).
fn fat_time(modified: f64) -> Option<u32> {
    if modified < OLDEST_TIME {
        return None;
    }
    let stamp = jiff::Timestamp::from_second(modified as i64).ok()?;
    let local = stamp.to_zoned(jiff::tz::TimeZone::system());
    let part = |value: i16| u32::try_from(value).ok();
    let year = part(local.year() - 1980).filter(|year| *year < 128)?;
    let (month, day) = (part(local.month().into())?, part(local.day().into())?);
    let (hour, minute) = (part(local.hour().into())?, part(local.minute().into())?);
    let date = (year << 9) | (month << 5) | day;
    let time = (hour << 11) | (minute << 5) | (part(local.second().into())? / 2);
    Some((date << 16) | time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: EntryKind::Printable,
            size: 10,
            modified: 1_700_000_000.0,
            on_printer: false,
        }
    }

    fn shorts(catalog: &Catalog) -> Vec<&str> {
        catalog.files().map(|file| file.short.as_str()).collect()
    }

    #[test]
    fn names_are_short_unique_and_stay() {
        let mut catalog = Catalog::default();
        let (fresh, changed) = catalog.update(&[
            entry("Cube 20mm.gcode.3mf"),
            entry("cube 20mm.gcode"),
            entry("cube.gcode"),
            entry("Überfluß/a b.gcode"),
            entry("😀.gcode"),
        ]);
        assert!(changed);
        assert_eq!(fresh.len(), 6);
        let expected = ["cube_2~1.gco", "cube_2~2.gco", "cube.gco", "uberflu/a_b.gco", "file.gco"];
        assert_eq!(shorts(&catalog), expected);
        let (fresh, changed) = catalog.update(&[entry("cube 20mm.gcode")]);
        assert!(fresh.is_empty() && changed);
        assert_eq!(shorts(&catalog), ["cube_2~2.gco"], "the name stays when its neighbour has gone");
    }

    #[test]
    fn names_of_files_that_are_gone_are_forgotten_when_there_are_too_many() {
        let stays = entry("a/stays.gcode");
        let old = |number: usize| (format!("old {number}.gcode"), format!("old~{number}.gco"));
        let mut told: BTreeMap<String, String> = (10..NAMES).map(old).collect();
        let mut catalog = Catalog::with_names(told.clone());
        for day in 0..20 {
            let today = entry(&format!("a/part {day}.gcode"));
            let (changes, _) = catalog.update(&[stays.clone(), today.clone()]);
            for (path, name) in changes {
                match name {
                    Some(name) => drop(told.insert(path, name)),
                    None => drop(told.remove(&path)),
                }
            }
            assert!(told.len() <= NAMES, "{}", told.len());
            assert_eq!(shorts(&catalog)[0], "a/stays.gco");
            assert!(
                told.contains_key("a/")
                    && told.contains_key("a/stays.gcode")
                    && told.contains_key(&today.path)
            );
        }
        assert_eq!(Catalog::with_names(told.clone()).names, catalog.names, "the same after a restart");
        catalog.listing(false);
        catalog.names.clear();
        catalog.update(&[entry("a/part 19.gcode.3mf")]);
        assert_eq!(shorts(&catalog), ["a/part_1~1.gco"], "a host was told the first of it for another file");
        assert!(told.len() < 100, "forgotten all at once: {}", told.len());
    }

    #[test]
    fn the_same_name_in_another_folder_is_no_collision() {
        let mut catalog = Catalog::default();
        catalog.update(&[entry("a/cube.gcode"), entry("b/cube.gcode"), entry("cube.gcode")]);
        assert_eq!(shorts(&catalog), ["a/cube.gco", "b/cube.gco", "cube.gco"]);
    }

    #[test]
    fn files_are_found_by_every_name_the_host_may_send() {
        let mut catalog = Catalog::default();
        catalog.update(&[entry("Deep/Cube 20mm.gcode")]);
        for name in ["/deep/cube_2~1.gco", "DEEP/CUBE_2~1.GCO", "Deep/Cube 20mm.gcode", "cube 20mm.gcode"] {
            assert!(catalog.find(name).is_some(), "{name}");
        }
        assert!(catalog.find("cube.gco").is_none());
    }

    #[test]
    fn a_job_without_a_file_of_ours_gets_a_name_for_its_time() {
        let mut catalog = Catalog::default();
        let guest = catalog.entry_of_job(None, Some("Cloud print: boat"));
        assert_eq!(guest.short, "job/cloud_~1.gco");
        assert_eq!(catalog.entry_of_job(None, Some("Cloud print: boat")), guest);
        assert!(!catalog.told(&guest.short));
        assert_eq!(catalog.listing(true), [r#"job/cloud_~1.gco 1000000 "Cloud print: boat""#]);
        assert!(catalog.told(&guest.short));
        assert!(catalog.drop_guest());
        assert!(catalog.listing(false).is_empty());
    }
}
