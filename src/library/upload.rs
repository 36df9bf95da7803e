//! Receives a file: limited while it comes, checked, then moved into place in one step.
//!
//! One buffer is written while the other one fills; pieces are copied into it, because two buffers that stay warm cost
//! less than memory that is taken and given back for each piece. Digests are not made on the way: most uploads need none, those that
//! name one are read back from the page cache, and what a transfer needs is made then ([`Library::md5`]).

use std::fs::File;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::index::{FileRow, event};
use super::names::{self, Content};
use super::{Entry, Library, LibraryAction, LibraryError, LibraryLimits, disk, ufp, unfinished};

/// Bytes gathered before they are written off the runtime's threads.
const GATHER: usize = 1 << 20;
/// The free space is looked at again after this many bytes.
const CHECK_FREE: u64 = 16 << 20;

/// A file that is being received. Dropping it leaves nothing behind.
pub struct Upload {
    library: Library,
    /// Where it goes, relative to the library.
    target: String,
    content: Content,
    /// It comes in a package of Cura's and is kept unpacked.
    package: bool,
    temporary: tempfile::TempPath,
    /// `None` after a failed write.
    sink: Option<Sink>,
    gathered: Vec<u8>,
    received: u64,
    next_check: u64,
}

/// What came of an upload.
#[derive(Debug, Clone, PartialEq)]
pub struct Uploaded {
    /// The file as it was sent.
    pub entry: Entry,
    /// What of it can be printed; the first one is what `print=true` starts (the plate asked for, if one was).
    pub printable: Vec<Entry>,
}

/// The file and an empty buffer, at rest or in the hands of a write under way.
enum Sink {
    Resting(File, Vec<u8>),
    Writing(JoinHandle<std::io::Result<(File, Vec<u8>)>>),
}

impl Sink {
    /// The file once everything before is written, and the buffer that was written.
    async fn rest(self) -> Result<(File, Vec<u8>), LibraryError> {
        match self {
            Self::Resting(file, buffer) => Ok((file, buffer)),
            Self::Writing(writing) => {
                writing.await.map_err(unfinished)?.map_err(|error| disk::failed("write the file", &error))
            }
        }
    }
}

fn write_out(mut file: File, mut full: Vec<u8>) -> std::io::Result<(File, Vec<u8>)> {
    file.write_all(&full)?;
    full.clear();
    Ok((file, full))
}

impl Library {
    /// Begins to receive a file; `directory` is created.
    ///
    /// # Errors
    /// [`LibraryError::BadName`] for names that cannot be taken or printed, [`LibraryError::InUse`] for the file that
    /// is being printed, [`LibraryError::Full`].
    pub async fn begin_upload(&self, directory: &str, name: &str) -> Result<Upload, LibraryError> {
        let mut upload = self.begin_upload_somewhere(name).await?;
        upload.place_in(directory).await?;
        Ok(upload)
    }

    /// As [`Self::begin_upload`], where the folder is named only later, by [`Upload::place_in`].
    ///
    /// # Errors
    /// [`LibraryError::BadName`], [`LibraryError::Full`].
    pub async fn begin_upload_somewhere(&self, name: &str) -> Result<Upload, LibraryError> {
        if name.contains('/') {
            return Err(LibraryError::BadName(format!("\"{name}\" is a path, not the name of a file.")));
        }
        if let Some(gcode) = names::packed_gcode(name) {
            return Ok(Upload { package: true, ..self.begin(&gcode, Content::Gcode).await? });
        }
        let content = names::content(name);
        if content == Content::Other {
            return Err(LibraryError::BadName(format!(
                "\"{name}\" cannot be printed: only G-code (.gcode, .g, .gco, .gc, .nc), sliced archives (.gcode.3mf, \
                 .3mf) and packages of Cura (.ufp) are taken."
            )));
        }
        self.begin(name, content).await
    }

    /// Begins to store a `.zip` of files of the library, for download.
    ///
    /// # Errors
    /// As [`Self::begin_upload`].
    pub async fn begin_collection(&self, directory: &str, name: &str) -> Result<Upload, LibraryError> {
        if name.contains('/') || !name.to_ascii_lowercase().ends_with(".zip") {
            return Err(LibraryError::BadName(format!("\"{name}\" is no name of a .zip file.")));
        }
        let mut upload = self.begin(name, Content::Other).await?;
        upload.place_in(directory).await?;
        Ok(upload)
    }

    async fn begin(&self, name: &str, content: Content) -> Result<Upload, LibraryError> {
        let target = names::clean_local(name)?;
        self.ready().await;
        self.check_free(0).await?;
        let root = self.inner.root.clone();
        let temporary = self
            .run(move || {
                disk::own_directories(&root)?;
                tempfile::Builder::new()
                    .prefix("upload-")
                    .tempfile_in(root.join(names::INCOMING))
                    .map_err(|error| disk::failed("receive the file", &error))
            })
            .await??;
        let (file, temporary) = temporary.into_parts();
        Ok(Upload {
            library: self.clone(),
            target,
            content,
            package: false,
            temporary,
            sink: Some(Sink::Resting(file, Vec::new())),
            gathered: Vec::new(),
            received: 0,
            next_check: CHECK_FREE,
        })
    }

    pub(super) async fn check_free(&self, more: u64) -> Result<(), LibraryError> {
        let usage = self.disk_usage().await;
        if usage.total > 0 && usage.free < self.inner.limits.min_free.saturating_add(more) {
            return Err(LibraryError::Full(format!(
                "The gateway's disk is nearly full: {} MiB are free and {} MiB stay reserved. Delete files and try again.",
                usage.free >> 20,
                self.inner.limits.min_free >> 20
            )));
        }
        Ok(())
    }
}

impl Upload {
    /// Names the folder where the file goes.
    ///
    /// # Errors
    /// [`LibraryError::BadName`], [`LibraryError::InUse`] for the file that is being printed.
    pub async fn place_in(&mut self, directory: &str) -> Result<(), LibraryError> {
        let directory = names::clean_directory(directory)?;
        let name = names::split(&self.target).1.to_owned();
        let target = names::clean_local(&names::join(&directory, &name))?;
        let library = self.library.clone();
        library.refuse_in_use(&target)?;
        if library.index().is_directory(&target) {
            return Err(LibraryError::BadName(format!("\"{target}\" is a folder.")));
        }
        let (root, parents) = (library.inner.root.clone(), target.clone());
        library.run(move || disk::check_parents(&root, &parents)).await??;
        self.target = target;
        Ok(())
    }

    /// Takes the next piece; refuses when the file grows beyond the limit or the disk is full.
    ///
    /// # Errors
    /// [`LibraryError::TooLarge`], [`LibraryError::Full`]; the upload is of no use any more then.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), LibraryError> {
        self.received += piece.len() as u64;
        let limit = self.library.inner.limits.max_upload;
        if self.received > limit {
            self.sink = None;
            return Err(LibraryError::TooLarge(format!(
                "The file is larger than the {} MiB that the gateway takes (max_upload).",
                limit >> 20
            )));
        }
        if self.received >= self.next_check {
            self.next_check = self.received + CHECK_FREE;
            self.library.check_free(0).await?;
        }
        let mut rest = piece.as_ref();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(GATHER - self.gathered.len()));
            self.gathered.extend_from_slice(now);
            rest = later;
            if self.gathered.len() == GATHER {
                self.pour().await?;
            }
        }
        Ok(())
    }

    /// Hands what was gathered to the disk, as soon as it has taken what came before.
    async fn pour(&mut self) -> Result<(), LibraryError> {
        let (file, empty) = self.rest().await?;
        let full = std::mem::replace(&mut self.gathered, empty);
        self.sink = Some(Sink::Writing(self.library.set_going(move || write_out(file, full)).await?));
        Ok(())
    }

    async fn rest(&mut self) -> Result<(File, Vec<u8>), LibraryError> {
        let broken = || LibraryError::Failed("The upload failed before.".to_owned());
        self.sink.take().ok_or_else(broken)?.rest().await
    }

    /// What was received, as a file without a name: it belongs to no library.
    ///
    /// # Errors
    /// [`LibraryError::Failed`] where the disk did not take it all.
    pub async fn into_file(mut self) -> Result<File, LibraryError> {
        self.pour().await?;
        Ok(self.rest().await?.0)
    }

    /// Checks the content and moves it into place at once; on any error nothing is left behind.
    /// `sha256` is hex; `plate` is remembered for the start of the archive.
    ///
    /// # Errors
    /// [`LibraryError::Checksum`], [`LibraryError::BadFile`] with the reason, [`LibraryError::InUse`].
    pub async fn finish(
        mut self,
        sha256: Option<&str>,
        plate: Option<u32>,
    ) -> Result<Uploaded, LibraryError> {
        self.pour().await?;
        let (file, _buffer) = self.rest().await?;
        let (path, content) = (self.temporary.to_path_buf(), self.content);
        let expected = sha256.map(|sum| sum.trim().to_ascii_lowercase());
        let packed = self.package.then_some(self.library.inner.limits);
        let checked = move || check(&file, &path, content, expected.as_deref(), packed);
        let extracted = self.library.run(checked).await??;

        let library = self.library.clone();
        self.library
            .to_its_end(async move {
                library.put_in_place(&self.target, content, self.temporary, extracted, plate).await
            })
            .await
    }
}

impl Library {
    async fn put_in_place(
        &self,
        target: &str,
        content: Content,
        temporary: tempfile::TempPath,
        extracted: disk::Extracted,
        plate: Option<u32>,
    ) -> Result<Uploaded, LibraryError> {
        let _change = self.inner.changing.lock().await;
        self.refuse_in_use(target)?;
        let (root, path) = (self.inner.root.clone(), target.to_owned());
        let placed = self.run(move || place(&root, &path, temporary, extracted.pictures)).await??;
        let mut row = FileRow::new(content, placed.size, placed.modified);
        row.metadata = Some(extracted.metadata);
        row.thumbnails = placed.pictures;
        row.chosen_plate = plate;
        Ok(self.take_in(target, row, plate))
    }

    /// Makes a file in place known to everybody.
    fn take_in(&self, target: &str, mut row: FileRow, plate: Option<u32>) -> Uploaded {
        let entry = row.entry(target);
        let (events, printable) = {
            let mut index = self.index();
            if let Some(old) = index.row(target) {
                row.published = old.published.clone();
                row.prints = old.prints.clone();
            }
            let mut events = index.add_parents(target, entry.modified);
            events.push(event(LibraryAction::CreateFile, entry.clone()));
            events.extend(index.put(target, row));
            (events, index.printable_of(target, plate))
        };
        self.keep(target);
        self.keep_displaced(&events);
        self.tell(events);
        Uploaded { entry, printable }
    }
}

fn check(
    file: &File,
    path: &Path,
    content: Content,
    expected: Option<&str>,
    packed: Option<LibraryLimits>,
) -> Result<disk::Extracted, LibraryError> {
    file.sync_all().map_err(|error| disk::failed("write the file", &error))?;
    if let Some(expected) = expected {
        let sha256 =
            disk::digest_of::<sha2::Sha256>(path).map_err(|error| disk::failed("read the file", &error))?;
        if expected != sha256 {
            return Err(LibraryError::Checksum(format!(
                "The file did not arrive as it was sent: its SHA-256 is {sha256}, not {expected}. Send it again."
            )));
        }
    }
    let beside = packed.map(|limits| ufp::unpack(path, limits)).transpose()?.unwrap_or_default();
    match content {
        Content::Other => Ok(disk::Extracted::default()),
        _ => Ok(disk::extract(path, content)?.or_beside(beside)),
    }
}

struct Placed {
    size: u64,
    modified: f64,
    pictures: std::collections::BTreeMap<u32, Vec<super::index::Picture>>,
}

/// Moves a received file to its place, its pictures first, so that nobody sees a file without them.
fn place(
    root: &Path,
    target: &str,
    temporary: tempfile::TempPath,
    pictures: std::collections::BTreeMap<u32, Vec<crate::metadata::Thumbnail>>,
) -> Result<Placed, LibraryError> {
    disk::check_parents(root, target)?;
    let (directory, name) = names::split(target);
    let directory = root.join(directory);
    let failing = |error: std::io::Error| disk::failed("store the file", &error);
    std::fs::create_dir_all(&directory).map_err(failing)?;
    let pictures = disk::write_pictures(&directory, name, pictures).map_err(failing)?;
    let path = root.join(target);
    temporary.persist(&path).map_err(|error| failing(error.error))?;
    disk::sync_directory(&directory);
    let (size, modified) = disk::stat(&path).map_err(failing)?;
    Ok(Placed { size, modified, pictures })
}
