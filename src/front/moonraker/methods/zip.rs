//! `server.files.zip`: several files as one archive, which the UIs then download (moonraker.md 2.8).

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::super::Endpoint;
use super::super::error::RpcError;
use super::super::rpc::Call;
use super::super::upload;
use super::super::{logs, timelapse};
use super::roots::{self, Root};
use crate::library::{Entry, EntryKind, LibraryError};
use crate::printer::clock::unix_now;

/// Files in one archive, and their bytes together.
const MOST_FILES: usize = 5000;
const MOST_BYTES: u64 = 8 << 30;

/// What goes into the archive under its path with the root in front, as the real server names it.
enum Content {
    OnDisk(PathBuf),
    Text(String),
}

type Member = (String, Content);

pub async fn zip(call: Call) -> Result<Value, RpcError> {
    let endpoint = &call.endpoint;
    let items = call.args.texts("items")?;
    if items.is_empty() {
        return Err(RpcError::bad_request("No files were named for the archive"));
    }
    let method = match call.args.flag("store_only")? {
        true => CompressionMethod::Stored,
        false => CompressionMethod::Deflated,
    };
    let dest = call.args.opt_text("dest")?.unwrap_or_else(default_name);
    let target = Target::of(&dest)?;
    let mut members = Vec::new();
    for item in &items {
        members.extend(collect_named(endpoint, item).await?);
    }
    check_size(endpoint, &members).await?;
    // Beside the files: the host's folder for temporary files may be memory.
    let folder = endpoint.station.library.root().to_owned();
    let packed = tokio::task::spawn_blocking(move || pack(&folder, members, method)).await;
    let archive = packed
        .map_err(|_| RpcError::new(500, "The archive was interrupted."))?
        .map_err(|error| RpcError::new(500, format!("The archive cannot be written: {error}")))?;
    let item = target.store(endpoint, archive).await?;
    Ok(json!({"destination": item, "action": "zip_files"}))
}

fn default_name() -> String {
    let now = jiff::Timestamp::from_second(unix_now() as i64).unwrap_or_default();
    format!("config/collection-{}.zip", now.strftime("%Y%m%d-%H%M%S"))
}

/// Where the archive goes.
enum Target<'a> {
    Library {
        directory: &'a str,
        name: &'a str,
    },
    Config(&'a str),
    /// Mainsail's way to download several timelapses.
    Timelapse(&'a str),
}

impl<'a> Target<'a> {
    fn of(dest: &'a str) -> Result<Self, RpcError> {
        let refused = || RpcError::bad_request(format!("Cannot write an archive to {dest}"));
        if !dest.to_ascii_lowercase().ends_with(".zip") {
            return Err(refused());
        }
        match Root::of(dest) {
            Some(Root::Library(path)) => {
                let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
                Ok(Self::Library { directory, name })
            }
            Some(Root::Config(path)) if !path.is_empty() => Ok(Self::Config(path)),
            Some(Root::Timelapse(name)) if !name.contains('/') => Ok(Self::Timelapse(name)),
            _ => Err(refused()),
        }
    }

    async fn store(self, endpoint: &Endpoint, archive: File) -> Result<Value, RpcError> {
        let archive = tokio::fs::File::from_std(archive);
        match self {
            Self::Library { directory, name } => {
                let upload = endpoint.station.library.begin_collection(directory, name).await?;
                let stored = upload::pour(archive, upload).await?.finish(None, None).await?;
                Ok(super::files::item(&stored.entry))
            }
            Self::Config(path) => upload::keep_in_config(endpoint, archive, path).await,
            Self::Timelapse(name) => timelapse::keep(endpoint, name, archive).await,
        }
    }
}

/// Mainsail encodes the names of the files it wants as one archive as for an address (`my%20cube.gcode`), also over the
/// socket. A file that is really called so goes first.
async fn collect_named(endpoint: &Endpoint, item: &str) -> Result<Vec<Member>, RpcError> {
    let as_written = collect(endpoint, item).await;
    if as_written.is_ok() || !item.contains('%') {
        return as_written;
    }
    let Ok(decoded) = percent_decode_str(item).decode_utf8() else { return as_written };
    // The refusal names the file as its user knows it.
    collect(endpoint, &decoded).await
}

async fn collect(endpoint: &Endpoint, item: &str) -> Result<Vec<Member>, RpcError> {
    let missing = || RpcError::bad_request(format!("File {item} does not exist"));
    match Root::of(item).ok_or_else(missing)? {
        Root::Library(path) => from_library(endpoint, path, item).await,
        Root::Config(path) => from_config(endpoint, path).await,
        Root::Logs("") => Ok(logs::files(endpoint).into_iter().map(log).collect()),
        Root::Logs(name) => Ok(vec![log(logs::find(endpoint, name).ok_or_else(missing)?)]),
        Root::Timelapse(path) => {
            let members = timelapse::members(endpoint, path).await?;
            Ok(members.into_iter().map(|(name, path)| (name, Content::OnDisk(path))).collect())
        }
        Root::Frames(path) => {
            let frame = timelapse::frame(endpoint, path).await?;
            Ok(vec![(format!("timelapse_frames/{path}"), Content::OnDisk(frame))])
        }
    }
}

fn log(file: logs::LogFile) -> Member {
    (format!("logs/{}", file.name), Content::Text(file.text))
}

/// A folder stands for what lies below it on the gateway; a file on the printer only where it is named itself.
async fn from_library(endpoint: &Endpoint, path: &str, item: &str) -> Result<Vec<Member>, RpcError> {
    let library = &endpoint.station.library;
    let below = |entry: &Entry| {
        path.is_empty()
            || entry.path == path
            || entry.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    };
    let wanted = library.list().await?.into_iter().filter(|entry| {
        entry.kind != EntryKind::Directory && below(entry) && (!entry.on_printer || entry.path == path)
    });
    let mut members = Vec::new();
    for entry in wanted {
        let file = library.open(&entry.path).await.map_err(|error| match error {
            LibraryError::NotFound(_) => RpcError::bad_request(format!("File {item} does not exist")),
            other => other.into(),
        })?;
        members.push((format!("gcodes/{}", entry.path), Content::OnDisk(file)));
    }
    if members.is_empty() {
        return Err(RpcError::bad_request(format!("File {item} does not exist or holds nothing")));
    }
    Ok(members)
}

async fn from_config(endpoint: &Endpoint, path: &str) -> Result<Vec<Member>, RpcError> {
    let member = |path: &str| -> Result<Member, RpcError> {
        Ok((format!("config/{path}"), Content::OnDisk(roots::config_path(endpoint, path)?)))
    };
    if !path.is_empty() && !roots::config_item(endpoint, path).await?.directory {
        return Ok(vec![member(path)?]);
    }
    let items = roots::config_items(endpoint, path, true).await?;
    items.iter().filter(|item| !item.directory).map(|item| member(&item.path)).collect()
}

async fn check_size(endpoint: &Endpoint, members: &[Member]) -> Result<(), RpcError> {
    let mut bytes = 0u64;
    for (_, content) in members {
        bytes += match content {
            Content::OnDisk(file) => tokio::fs::metadata(file).await.map_or(0, |facts| facts.len()),
            Content::Text(text) => text.len() as u64,
        };
    }
    if members.len() > MOST_FILES || bytes > MOST_BYTES {
        return Err(RpcError::new(413, "These are too many or too large files for one archive."));
    }
    roots::check_free(endpoint, bytes).await
}

/// Writes the archive into a file without a name, rewound.
fn pack(folder: &Path, members: Vec<Member>, method: CompressionMethod) -> io::Result<File> {
    let mut writer = ZipWriter::new(tempfile::tempfile_in(folder)?);
    let mut known = std::collections::BTreeSet::new();
    for (name, content) in members {
        if !known.insert(name.clone()) {
            continue;
        }
        let large = SimpleFileOptions::default().compression_method(method).large_file(true);
        writer.start_file(name, large)?;
        match content {
            Content::OnDisk(path) => drop(io::copy(&mut File::open(path)?, &mut writer)?),
            Content::Text(text) => drop(io::copy(&mut text.as_bytes(), &mut writer)?),
        }
    }
    let mut file = writer.finish()?;
    file.rewind()?;
    Ok(file)
}
