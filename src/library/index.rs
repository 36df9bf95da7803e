//! What the library holds, in memory: files on disk, folders, and the plates published of archives (pure).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::names::{self, Content};
use super::{Entry, EntryKind, LibraryAction, LibraryEvent, ThumbnailEntry};
use crate::metadata::FileMetadata;
use crate::model::UnixSeconds;

/// What is remembered of one file on disk; kept in the store, valid while size and time of change are the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRow {
    pub content: Content,
    pub size: u64,
    pub modified: UnixSeconds,
    /// Fresh for each content.
    pub uuid: String,
    /// `None` until it was extracted, and for files that are no use for printing.
    #[serde(default)]
    pub metadata: Option<FileMetadata>,
    /// Why the file cannot be printed.
    #[serde(default)]
    pub problem: Option<String>,
    /// Pictures by plate; 0 for plain G-code.
    #[serde(default)]
    pub thumbnails: BTreeMap<u32, Vec<Picture>>,
    /// Lower-case hex, once known.
    #[serde(default)]
    pub md5: Option<String>,
    /// Path under which each plate is listed.
    #[serde(default)]
    pub published: BTreeMap<u32, String>,
    /// Plates that the user deleted from the list.
    #[serde(default)]
    pub hidden: BTreeSet<u32>,
    /// The plate that was named at the upload.
    #[serde(default)]
    pub chosen_plate: Option<u32>,
    /// Last print of each plate: its start and the id in the history; 0 for plain G-code.
    #[serde(default)]
    pub prints: BTreeMap<u32, (UnixSeconds, String)>,
}

/// One stored picture: its name in the folder of pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    pub size: u64,
    pub name: String,
}

impl FileRow {
    /// Names of all its pictures.
    pub fn pictures(&self) -> Vec<String> {
        self.thumbnails.values().flatten().map(|picture| picture.name.clone()).collect()
    }

    pub fn new(content: Content, size: u64, modified: UnixSeconds) -> Self {
        Self {
            content,
            size,
            modified,
            uuid: uuid::Uuid::new_v4().to_string(),
            metadata: None,
            problem: None,
            thumbnails: BTreeMap::new(),
            md5: None,
            published: BTreeMap::new(),
            hidden: BTreeSet::new(),
            chosen_plate: None,
            prints: BTreeMap::new(),
        }
    }

    /// The file on disk is still the one that the row describes. JSON text may lose the last bit of a time.
    pub fn is_content(&self, size: u64, modified: UnixSeconds) -> bool {
        self.size == size && (self.modified - modified).abs() < 1e-4
    }

    /// Nobody has looked into the file yet.
    pub fn unread(&self) -> bool {
        self.content != Content::Other && self.metadata.is_none() && self.problem.is_none()
    }

    pub fn entry(&self, path: &str) -> Entry {
        let kind = if self.content == Content::Gcode && self.problem.is_none() {
            EntryKind::Printable
        } else {
            EntryKind::Other
        };
        Entry { path: path.to_owned(), kind, size: self.size, modified: self.modified, on_printer: false }
    }

    /// The plate as it is listed; its size is that of its G-code.
    pub fn plate_entry(&self, path: &str, plate: u32) -> Entry {
        let size =
            self.metadata.as_ref().and_then(|m| m.plate(plate)).map_or(self.size, |plate| plate.gcode_size);
        Entry {
            path: path.to_owned(),
            kind: EntryKind::Printable,
            size,
            modified: self.modified,
            on_printer: false,
        }
    }

    pub fn thumbnail_entries(&self, plate: Option<u32>) -> Vec<ThumbnailEntry> {
        let of_plate = |plate: u32| self.thumbnails.get(&plate);
        let first = || self.thumbnails.values().next();
        let set = plate.map_or_else(first, of_plate);
        let entry = |picture: &Picture| ThumbnailEntry {
            width: picture.width,
            height: picture.height,
            size: picture.size,
            relative_path: format!("{}/{}", names::THUMBNAILS, picture.name),
        };
        set.into_iter().flatten().map(entry).collect()
    }
}

/// What a listed path stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A file on disk.
    File(String),
    /// A plate of an archive on disk.
    Plate {
        archive: String,
        plate: u32,
    },
    Directory,
}

#[derive(Debug, Default)]
pub struct Index {
    files: BTreeMap<String, FileRow>,
    /// Folders with their time of change.
    directories: BTreeMap<String, UnixSeconds>,
    published: BTreeMap<String, (String, u32)>,
}

impl Index {
    pub fn find(&self, path: &str) -> Option<Found> {
        if self.files.contains_key(path) {
            return Some(Found::File(path.to_owned()));
        }
        if let Some((archive, plate)) = self.published.get(path) {
            return Some(Found::Plate { archive: archive.clone(), plate: *plate });
        }
        (path.is_empty() || self.directories.contains_key(path)).then_some(Found::Directory)
    }

    pub fn row(&self, path: &str) -> Option<&FileRow> {
        self.files.get(path)
    }

    /// All files on disk.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &FileRow)> {
        self.files.iter().map(|(path, row)| (path.as_str(), row))
    }

    pub fn row_mut(&mut self, path: &str) -> Option<&mut FileRow> {
        self.files.get_mut(path)
    }

    pub fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.directories.contains_key(path)
    }

    /// Paths of files on disk at and below a path.
    pub fn files_below(&self, directory: &str) -> Vec<String> {
        let below = |path: &&String| directory.is_empty() || names::is_below(path, directory);
        self.files.keys().filter(below).cloned().collect()
    }

    pub fn directories_below(&self, directory: &str) -> Vec<String> {
        self.directories.keys().filter(|path| names::is_below(path, directory)).cloned().collect()
    }

    pub fn unread(&self) -> Vec<String> {
        self.files.iter().filter(|(_, row)| row.unread()).map(|(path, _)| path.clone()).collect()
    }

    /// The entry at a path.
    pub fn entry(&self, path: &str) -> Option<Entry> {
        match self.find(path)? {
            Found::File(path) => self.files.get(&path).map(|row| row.entry(&path)),
            Found::Plate { archive, plate } => {
                self.files.get(&archive).map(|row| row.plate_entry(path, plate))
            }
            Found::Directory => {
                Some(directory_entry(path, self.directories.get(path).copied().unwrap_or(0.0)))
            }
        }
    }

    /// Everything, in the order of the paths, folders included.
    pub fn entries(&self) -> Vec<Entry> {
        let paths = self.files.keys().chain(self.published.keys()).chain(self.directories.keys());
        let mut entries: Vec<Entry> = paths.filter_map(|path| self.entry(path)).collect();
        entries.sort_by_cached_key(|entry| (entry.path.to_lowercase(), entry.path.clone()));
        entries
    }

    /// What one folder holds.
    pub fn directory(&self, directory: &str) -> Vec<Entry> {
        let mut entries = self.entries();
        entries.retain(|entry| names::split(&entry.path).0 == directory);
        entries
    }

    pub fn add_directory(&mut self, path: &str, modified: UnixSeconds) {
        self.directories.insert(path.to_owned(), modified);
    }

    /// Folders above a file that are not known yet; they are made known.
    pub fn add_parents(&mut self, path: &str, modified: UnixSeconds) -> Vec<LibraryEvent> {
        let mut events = Vec::new();
        let mut parent = names::split(path).0;
        while !parent.is_empty() && !self.directories.contains_key(parent) {
            self.directories.insert(parent.to_owned(), modified);
            events.push(event(LibraryAction::CreateDirectory, directory_entry(parent, modified)));
            parent = names::split(parent).0;
        }
        events.reverse();
        events
    }

    pub fn remove_directory(&mut self, path: &str) {
        self.directories.remove(path);
    }

    /// Takes or replaces a file, publishes its plates, and makes room where a published name stands in its way.
    /// The events are about the plates only.
    pub fn put(&mut self, path: &str, mut row: FileRow) -> Vec<LibraryEvent> {
        let mut events = self.take_plates(path);
        let displaced = self.published.remove(path);
        let mut wanted = std::mem::take(&mut row.published);
        self.files.insert(path.to_owned(), row);
        if let Some((archive, plate)) = displaced {
            let mut kept = self.files.get(&archive).map(|row| row.published.clone()).unwrap_or_default();
            let mut moved = self.publish(&archive, &mut kept);
            for event in &mut moved {
                if self.published.get(&event.entry.path) == Some(&(archive.clone(), plate)) {
                    event.action = LibraryAction::MoveFile;
                    event.source = Some(path.to_owned());
                }
            }
            events.extend(moved);
        }
        let published = self.publish(path, &mut wanted);
        // A plate that keeps its name was neither deleted nor created.
        events.retain(|gone| !published.iter().any(|new| new.entry.path == gone.entry.path));
        events.extend(published);
        events
    }

    /// Forgets a file and its plates; the events are about the plates only.
    pub fn remove(&mut self, path: &str) -> (Option<FileRow>, Vec<LibraryEvent>) {
        let events = self.take_plates(path);
        (self.files.remove(path), events)
    }

    fn take_plates(&mut self, archive: &str) -> Vec<LibraryEvent> {
        let Some(row) = self.files.get(archive) else { return Vec::new() };
        let listed: Vec<(u32, String)> =
            row.published.iter().map(|(plate, path)| (*plate, path.clone())).collect();
        let mut events = Vec::new();
        for (plate, path) in listed {
            if self.published.get(&path) == Some(&(archive.to_owned(), plate)) {
                self.published.remove(&path);
                let entry = Entry { size: 0, modified: 0.0, ..self.plate_entry(archive, plate, &path) };
                events.push(event(LibraryAction::DeleteFile, entry));
            }
        }
        events
    }

    fn plate_entry(&self, archive: &str, plate: u32, path: &str) -> Entry {
        match self.files.get(archive) {
            Some(row) => row.plate_entry(path, plate),
            None => directory_entry(path, 0.0),
        }
    }

    /// Gives each plate that is to be listed a name: the one it had if that is free, else the best free one.
    fn publish(&mut self, archive: &str, wanted: &mut BTreeMap<u32, String>) -> Vec<LibraryEvent> {
        let Some(row) = self.files.get(archive) else { return Vec::new() };
        if row.content != Content::Archive {
            return Vec::new();
        }
        let plates: Vec<u32> = row.metadata.iter().flat_map(|m| &m.plates).map(|plate| plate.index).collect();
        let hidden = row.hidden.clone();
        let first = plates.first().copied();
        let (directory, name) = names::split(archive);
        let (directory, name) = (directory.to_owned(), name.to_owned());
        let mut named = BTreeMap::new();
        let mut events = Vec::new();
        for plate in plates.into_iter().filter(|plate| !hidden.contains(plate)) {
            let owner = (archive.to_owned(), plate);
            let kept = wanted.remove(&plate);
            let fresh = names::plate_names(&name, plate, first == Some(plate))
                .map(|name| names::join(&directory, &name));
            let Some(path) = kept.into_iter().chain(fresh).find(|path| self.free(path, &owner)) else {
                continue;
            };
            if self.published.insert(path.clone(), owner).is_none() {
                events.push(event(LibraryAction::CreateFile, self.plate_entry(archive, plate, &path)));
            }
            named.insert(plate, path);
        }
        if let Some(row) = self.files.get_mut(archive) {
            row.published = named;
        }
        events
    }

    fn free(&self, path: &str, owner: &(String, u32)) -> bool {
        !self.files.contains_key(path)
            && !self.directories.contains_key(path)
            && self.published.get(path).is_none_or(|other| other == owner)
    }
}

pub fn event(action: LibraryAction, entry: Entry) -> LibraryEvent {
    LibraryEvent { action, entry, source: None }
}

pub fn directory_entry(path: &str, modified: UnixSeconds) -> Entry {
    Entry { path: path.to_owned(), kind: EntryKind::Directory, size: 0, modified, on_printer: false }
}

/// The metadata of an archive with the general fields of another plate than its first.
pub fn of_plate(whole: &FileMetadata, plate: u32) -> FileMetadata {
    let Some(info) = whole.plate(plate).cloned() else { return whole.clone() };
    let mut metadata = FileMetadata { plates: vec![info.clone()], thumbnails: Vec::new(), ..whole.clone() };
    metadata.size = info.gcode_size;
    if whole.plates.first().is_some_and(|first| first.index == plate) {
        return metadata;
    }
    metadata.estimated_time_s = info.estimated_time_s;
    metadata.layer_count = info.layer_count;
    metadata.object_height = info.object_height;
    metadata.filament_change_count = None;
    metadata.bed_type = info.bed_type.or(metadata.bed_type);
    metadata.label_object_enabled = info.label_object_enabled.or(metadata.label_object_enabled);
    if !info.nozzle_diameters.is_empty() {
        metadata.nozzle_diameters = info.nozzle_diameters;
    }
    let lengths: Vec<f64> = info.filaments.iter().filter_map(|used| used.used_m).collect();
    metadata.filament_total_mm = (!lengths.is_empty()).then(|| lengths.iter().sum::<f64>() * 1000.0);
    let grams: Vec<f64> = info.filaments.iter().filter_map(|used| used.used_g).collect();
    metadata.filament_weight_total = if grams.is_empty() { info.weight_g } else { Some(grams.iter().sum()) };
    metadata.referenced_tools = info.filaments.iter().filter_map(|used| used.id.checked_sub(1)).collect();
    let count = info.filaments.iter().map(|used| used.id).max().unwrap_or(0);
    let weight =
        |id: u32| info.filaments.iter().filter(|used| used.id == id).filter_map(|used| used.used_g).sum();
    metadata.filament_weights = (1..=count.min(256)).map(weight).collect();
    metadata.name_filaments(&info.filaments);
    metadata
}
