//! From a request to everything a start needs, with every objection against it. Nothing is sent from here.

use super::mapping::{self, Mapping};
use super::{Inner, StartError, StartRequest, fits};
use crate::library::names::{self, Content};
use crate::library::{JobFile, LibraryError};
use crate::model::{Capabilities, Command, CommandError, PrinterState, StartJob, StartOptions};
use crate::printer::guard;

/// Guards that a user may override; the others describe what cannot work.
pub const OVERRIDABLE: [&str; 4] = ["model", "nozzle", "bed", "filament"];

/// Nobody said which slots feed a file whose filaments nobody knows.
pub const UNMAPPED: &str = "unmapped";

/// How the printer gets the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is on the printer's own storage.
    OnPrinter,
    AsItIs,
    /// Plain G-code in an archive (design D12).
    Packaged,
    /// The G-code out of an archive.
    Unpacked,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub file: JobFile,
    pub plate: u32,
    /// The plate to tell, where the file has plates.
    pub told_plate: Option<u32>,
    pub way: Way,
    pub title: String,
    /// Where the file belongs, or is, on the printer's storage.
    pub remote_path: String,
    pub mapping: Mapping,
    pub options: StartOptions,
    /// (code, text), the first is told first.
    pub objections: Vec<(String, String)>,
    /// Why no command would be taken now.
    pub refusal: Option<CommandError>,
    pub transfer: bool,
    /// The connection on which the start was asked for: it is sent on no other (design D7).
    pub link: u64,
}

impl Plan {
    /// The first objection that holds in spite of the overrides.
    pub fn check(&self, overrides: &[String]) -> Result<(), StartError> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone().into());
        }
        let holds =
            |code: &str| !(OVERRIDABLE.contains(&code) && overrides.iter().any(|given| given == code));
        match self.objections.iter().find(|(code, _)| holds(code)) {
            Some((code, text)) => Err(StartError::Objection { code: code.clone(), text: text.clone() }),
            None => Ok(()),
        }
    }
}

pub fn file_error(error: LibraryError) -> StartError {
    match error {
        LibraryError::NotFound(text) => StartError::NotFound(text),
        LibraryError::BadFile(text) => StartError::Objection { code: "file".to_owned(), text },
        LibraryError::Offline(text) => StartError::Command(CommandError::Offline(text)),
        other => StartError::Failed(other.to_string()),
    }
}

/// The code of a refusal in a preview.
pub fn refusal_code(error: &CommandError) -> &'static str {
    match error {
        CommandError::Offline(_) => "offline",
        CommandError::NotAllowed(_) => "read_only",
        CommandError::Busy(_) => "busy",
        CommandError::Unsupported(_) => "unsupported",
        _ => "refused",
    }
}

impl Inner {
    pub async fn plan(&self, request: &StartRequest) -> Result<Plan, StartError> {
        let mut file = self.library.job_file(&request.file).await.map_err(file_error)?;
        let (state, caps) = (self.printer.state(), self.printer.capabilities());
        let refusal = self.refusal(&state, &caps);
        if refusal.is_none() && file.local.is_none() && caps.filament.map {
            self.read_filaments(request, &mut file, &state).await;
        }
        let mut objections = Vec::new();
        let mut object = |found: Option<(&str, String)>| {
            objections.extend(found.map(|(code, text)| (code.to_owned(), text)));
        };
        let way = match self.way(&file) {
            Ok(way) => way,
            Err(text) => {
                object(Some(("format", text)));
                Way::AsItIs
            }
        };
        let plate = match plate(request, &file) {
            Ok(plate) => plate,
            Err(text) => {
                object(Some(("plate", text)));
                1
            }
        };
        object(storage(&state, file.size, way));
        let info = file.metadata.plate(plate);
        object(fits::model(&file.metadata, &caps, state.device.identity.model.as_deref()));
        object(fits::nozzle(&file.metadata, info, &state.device));
        let bed = request.options.bed_type.as_deref().or(self.config.bed.as_deref());
        object(fits::bed(&file.metadata, info, bed));
        let mapping = self.map(request, &file, plate, &state);
        objections.extend(mapping.objections.iter().cloned());
        let mut options = request.options.clone();
        options.bed_type = fits::told_bed(&file.metadata, info, bed);
        let title = names::stem(names::split(&file.path).1).to_owned();
        let remote_path = match way {
            Way::OnPrinter => file.stored.clone(),
            _ => self.printer.files().job_path(&remote_name(&file, way, plate)),
        };
        let transfer = match way {
            Way::OnPrinter => false,
            Way::AsItIs if refusal.is_none() => !self.holds_file(&file, &remote_path).await,
            _ => true,
        };
        let told_plate = file.archive.then_some(plate);
        Ok(Plan {
            file,
            plate,
            told_plate,
            way,
            title,
            remote_path,
            mapping,
            options,
            objections,
            refusal,
            transfer,
            link: state.link.made,
        })
    }

    /// Why no command would be taken now.
    fn refusal(&self, state: &PrinterState, caps: &Capabilities) -> Option<CommandError> {
        let probe =
            Command::StartJob(Box::new(StartJob { remote_path: "probe".into(), ..StartJob::default() }));
        guard::check(&probe, state, caps, self.printer.settings()).err().or_else(|| self.starting())
    }

    /// Looks into a file on the printer for its filaments, where slots must be assigned to them and nobody has.
    async fn read_filaments(&self, request: &StartRequest, file: &mut JobFile, state: &PrinterState) {
        let system = &state.device.filament;
        let chosen = request.mapping.is_some() || self.filament.choices().mapping(system).is_some();
        if chosen || system.units.is_empty() || !file.metadata.plates.is_empty() {
            return;
        }
        match self.library.read_remote(&file.path).await {
            Ok(metadata) => file.metadata = metadata,
            Err(error) => tracing::debug!(%error, file = file.path, "The filaments of a file are not known."),
        }
    }

    fn way(&self, file: &JobFile) -> Result<Way, String> {
        let caps = self.printer.capabilities();
        let files = &caps.files;
        match (&file.local, file.archive) {
            (None, _) => Ok(Way::OnPrinter),
            (_, true) if files.archives => Ok(Way::AsItIs),
            (_, true) if files.gcode => Ok(Way::Unpacked),
            (_, false) if files.gcode => Ok(Way::AsItIs),
            (_, false) if files.archives && self.config.wrap_gcode => Ok(Way::Packaged),
            (_, false) if files.archives => Err("This printer takes sliced archives only, and wrapping plain G-code is \
                                                 switched off (wrap_gcode). Export a .gcode.3mf from the slicer."
                .to_owned()),
            _ => Err("This printer takes no files.".to_owned()),
        }
    }

    fn map(&self, request: &StartRequest, file: &JobFile, plate: u32, state: &PrinterState) -> Mapping {
        let system = &state.device.filament;
        let can_map = self.printer.capabilities().filament.map;
        // Without a mapping of its own a start takes the one that was chosen for the next print.
        let next = self.filament.choices().mapping(system).filter(|_| can_map);
        let chosen = request.mapping.as_deref().or(next.as_deref());
        let unknown = file.local.is_none() && file.metadata.plates.is_empty();
        if !unknown || !can_map {
            let (used, count) =
                if unknown { (Vec::new(), 0) } else { mapping::used(&file.metadata, Some(plate)) };
            return mapping::assign(&used, count, chosen, system, can_map);
        }
        // The file lies on the printer and could not be read: only the user knows its filaments.
        if let Some(chosen) = chosen {
            return Mapping { slots: chosen.to_vec(), ..Mapping::default() };
        }
        let mut mapping = Mapping::default();
        if system.units.is_empty() {
            return mapping;
        }
        let unknown =
            "The gateway does not know which filaments this file on the printer uses: name the slots";
        let (code, text) = match system.active {
            Some(active) => (
                "filament",
                format!("{unknown}, or override \"filament\": the loaded slot {active} then feeds it."),
            ),
            None => (UNMAPPED, format!("{unknown}. None is loaded that could feed it unasked.")),
        };
        mapping.objections.push((code.to_owned(), text));
        mapping
    }

    /// The printer holds the file as it is on disk: sent before, same digest, and listed with its size.
    async fn holds_file(&self, file: &JobFile, remote_path: &str) -> bool {
        let Some(local) = &file.local else { return true };
        match self.library.md5(local.clone()).await {
            Ok(md5) => self.holds(remote_path, file.size, &md5).await,
            Err(_unreadable) => false,
        }
    }

    pub async fn holds(&self, remote_path: &str, size: u64, md5: &str) -> bool {
        let sent = self.store.get(&self.spaces.sent, remote_path).ok().flatten();
        let number = |key| sent.as_ref().and_then(|sent| sent.get(key)).and_then(serde_json::Value::as_u64);
        let known = sent.as_ref().and_then(|sent| sent.get("md5")).and_then(serde_json::Value::as_str);
        let same = known == Some(md5) && number("size") == Some(size);
        same && self.library.printer_holds(remote_path, number("held").unwrap_or(size)).await
    }
}

fn remote_name(file: &JobFile, way: Way, plate: u32) -> String {
    let name = names::split(&file.stored).1;
    let stem = names::stem(name);
    match way {
        Way::Packaged => names::with_suffix(stem, ".gcode.3mf"),
        Way::Unpacked if file.metadata.plates.len() > 1 => {
            names::with_suffix(stem, &format!("_plate_{plate}.gcode"))
        }
        Way::Unpacked => names::with_suffix(stem, ".gcode"),
        _ if file.archive => names::with_suffix(stem, ".gcode.3mf"),
        _ if names::content(name) == Content::Gcode && name.to_lowercase().ends_with(".gcode") => {
            name.to_owned()
        }
        _ => names::with_suffix(stem, ".gcode"),
    }
}

/// Asked for, else the entry's own, else the one named at the upload, else the only one.
pub fn plate(request: &StartRequest, file: &JobFile) -> Result<u32, String> {
    let plates: Vec<u32> = file.metadata.plates.iter().map(|plate| plate.index).collect();
    let list = || plates.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    if !file.archive || file.local.is_none() {
        return match request.plate {
            None | Some(1) => Ok(1),
            Some(plate) if file.archive => Ok(plate),
            Some(plate) => Err(format!("\"{}\" is plain G-code: it has no plate {plate}.", file.path)),
        };
    }
    match (request.plate.or(file.plate).or(file.chosen_plate), plates.as_slice()) {
        (Some(plate), _) if plates.contains(&plate) => Ok(plate),
        (Some(plate), _) => Err(format!("\"{}\" has no sliced plate {plate}, only {}.", file.path, list())),
        (None, [only]) => Ok(*only),
        (None, _) => Err(format!("\"{}\" holds the plates {}: say which one to print.", file.path, list())),
    }
}

fn storage(state: &PrinterState, size: u64, way: Way) -> Option<(&'static str, String)> {
    let storage = &state.device.storage;
    if way == Way::OnPrinter {
        return None;
    }
    if storage.present == Some(false) {
        return Some((
            "storage",
            "The printer has no storage for the file: insert its card or stick.".to_owned(),
        ));
    }
    if let Some(trouble) = &storage.trouble {
        return Some(("storage", format!("The printer's storage cannot be used. {trouble}")));
    }
    let free = storage.free_bytes?;
    (free < size).then(|| {
        let text = format!(
            "The printer's storage has {} MiB left and the file needs {} MiB: delete files there.",
            free >> 20,
            (size >> 20) + 1
        );
        ("full", text)
    })
}
