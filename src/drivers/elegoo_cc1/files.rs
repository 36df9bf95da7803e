//! The printer's internal storage: list and delete over the link, upload and download over HTTP (elegoo.md 2.10, 2.11).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::utf8_percent_encode;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tokio::time::Instant;

use super::codes;
use super::comments::{Prepared, prepare};
use super::reduce;
use super::sdcp::{Disk, Sdcp};
use super::{Cc1Config, Timing};
use crate::drivers::elegoo::door::{AskError, Door, Seen};
use crate::drivers::elegoo::field::{as_int, int, list, num, text};
use crate::drivers::elegoo::files::{
    CHECK, CHUNK_LIMIT, ChunkError, Chunks, DOWNLOAD_IDLE, Storage, Upload, check_room, listed_name,
    unreadable, unsettled,
};
use crate::drivers::elegoo::http::{self, Reply, authority};
use crate::drivers::elegoo::names::same_file;
use crate::drivers::elegoo::place::{Medium, Place, Videos, on_stick};
use crate::printer::{FileError, RemoteFile};
use crate::url;

/// Other requests of the link may come first.
const ASK: Duration = Duration::from_secs(25);

/// Somebody who looks at the files makes the attributes be read no more often than this.
const LOOK: Duration = Duration::from_secs(3);

/// The storage of one printer.
pub struct Cc1Storage {
    config: Cc1Config,
    timing: Timing,
    door: Arc<Door<Sdcp>>,
    client: reqwest::Client,
    videos: Videos,
    /// When the attributes were last asked for because somebody looked.
    looked: Mutex<Option<Instant>>,
}

impl Cc1Storage {
    pub(super) fn new(config: Cc1Config, timing: Timing, door: Arc<Door<Sdcp>>) -> Self {
        Self {
            config,
            timing,
            door,
            client: http::upload_client(),
            videos: Videos::default(),
            looked: Mutex::default(),
        }
    }

    /// The file as it goes to the printer: with the header comments added, where they are wanted and missing.
    async fn prepare(&self, job: &Upload<'_>) -> Result<Prepared, FileError> {
        let local = job.local.to_owned();
        let md5 = job.md5.to_owned();
        let add = self.config.add_header_comments;
        let progress = job.progress.clone();
        let work = move || prepare(local, md5, add, &progress);
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_panic| FileError::Failed("Reading the file failed.".to_owned()))?
            .map_err(unreadable)
    }

    async fn send_chunks(&self, job: &Upload<'_>, prepared: &Prepared) -> Result<(), ChunkError> {
        let mut chunks = Chunks::open(prepared.path(), prepared.size).await?;
        let transfer = uuid::Uuid::new_v4().simple().to_string();
        while let Some((offset, chunk)) = chunks.next().await? {
            let end = offset + chunk.len() as u64;
            let first = self.send_chunk(job, prepared, &transfer, offset, chunk.clone()).await;
            match first {
                Err(ChunkError::Again(_)) => self.send_chunk(job, prepared, &transfer, offset, chunk).await?,
                other => other?,
            }
            (job.progress)(end);
        }
        Ok(())
    }

    async fn send_chunk(
        &self,
        job: &Upload<'_>,
        prepared: &Prepared,
        transfer: &str,
        offset: u64,
        chunk: Bytes,
    ) -> Result<(), ChunkError> {
        let url = format!(
            "http://{}/uploadFile/upload",
            authority(&self.config.host.now(), self.config.ports.http)
        );
        let length = chunk.len() as u64;
        let part = Part::stream_with_length(chunk, length)
            .file_name(job.name.to_owned())
            .mime_str("application/octet-stream")
            .map_err(|error| ChunkError::Final(FileError::Failed(error.to_string())))?;
        // The order is the vendor's (elegoo.md 2.10).
        let form = Form::new()
            .text("Check", "1")
            .text("S-File-MD5", prepared.md5.clone())
            .text("Offset", offset.to_string())
            .text("Uuid", transfer.to_owned())
            .text("TotalSize", prepared.size.to_string())
            .part("File", part);
        let talk = async {
            http::short(self.client.post(url).multipart(form).timeout(CHUNK_LIMIT).send().await?).await
        };
        match talk.await {
            Ok((status, body)) => judge_chunk(status, &body),
            Err(error) => Err(ChunkError::Again(FileError::Failed(format!(
                "The printer did not take the file: {}.",
                error.without_url()
            )))),
        }
    }

    /// The printer checks the file after the last answer (elegoo.md 2.10): wait until it shows neither, then look.
    async fn verify(&self, name: &str, size: u64, errors_before: u64) -> Result<(), FileError> {
        tokio::time::sleep(self.timing.after_upload).await;
        let now = self.door.seen().reports;
        self.door.settled(now, CHECK).await.map_err(unsettled)?;
        tokio::time::sleep(self.timing.after_upload).await;
        let (errors, code) = self.door.seen().file_errors;
        if errors > errors_before {
            let why = if code == 1 { "its checksum differs" } else { "its format is not accepted" };
            return Err(FileError::Failed(format!(
                "The printer rejects the file after the transfer: {why}."
            )));
        }
        let files = match self.listed(Disk::Local).await {
            Ok(files) => files,
            // Every chunk was confirmed and the check is over: firmware that does not list undoes neither.
            Err(AskError::Refused(_) | AskError::Timeout) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match files.iter().find(|file| same_file(&file.path, name)) {
            Some(file) if file.size == size => Ok(()),
            Some(file) => Err(FileError::Failed(format!(
                "The printer holds {} of {size} bytes of the file; send it again.",
                file.size
            ))),
            None => {
                Err(FileError::Failed("The printer does not list the file after the transfer.".to_owned()))
            }
        }
    }

    async fn listed(&self, disk: Disk) -> Result<Vec<RemoteFile>, AskError> {
        let data = self.door.ask(Sdcp::ListFiles(disk), ASK).await?;
        Ok(list(&data, "FileList").iter().filter_map(|item| remote_file(item, disk)).collect())
    }

    /// The files of the stick, whichever of its two names this firmware uses. Read only while nothing prints.
    async fn stick(&self) -> Option<(Disk, Vec<RemoteFile>)> {
        let seen = self.door.seen();
        if !seen.usb || seen.printing.is_some() {
            return None;
        }
        let mut found = None;
        for disk in [Disk::Usb, Disk::Udisk] {
            match self.listed(disk).await {
                Ok(files) if !files.is_empty() => return Some((disk, files)),
                Ok(files) => found = found.or(Some((disk, files))),
                Err(AskError::Refused(_)) => {}
                Err(_) => return found,
            }
        }
        found
    }

    /// Videos of the newest runs; none where the printer keeps no history.
    async fn read_videos(&self) -> Vec<RemoteFile> {
        let read = async {
            let ids = reduce::newest_runs(&self.door.ask(Sdcp::HistoryIds, ASK).await?);
            if ids.is_empty() { Ok(Value::Null) } else { self.door.ask(Sdcp::HistoryDetail(ids), ASK).await }
        };
        self.videos.keep(read.await.map(|detail| reduce::videos(&detail)).unwrap_or_default())
    }
}

impl Storage for Cc1Storage {
    fn check(&self) -> Result<(), AskError> {
        self.door.check()
    }

    fn seen(&self) -> Seen {
        self.door.seen()
    }

    /// Only the attributes tell of a stick; the next ones would come within a minute.
    fn look(&self) {
        let now = Instant::now();
        let due = {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            let due = looked.is_none_or(|last| now.duration_since(last) >= LOOK);
            *looked = if due { Some(now) } else { *looked };
            due
        };
        if due {
            self.door.tell(Sdcp::Attributes);
        }
    }

    async fn list(&self) -> Result<Vec<RemoteFile>, FileError> {
        let mut files = self.listed(Disk::Local).await?;
        files.extend(self.stick().await.into_iter().flat_map(|(_, files)| on_stick(files)));
        files.extend(self.read_videos().await);
        Ok(files)
    }

    async fn send(&self, job: &Upload<'_>) -> Result<(), FileError> {
        if job.medium == Medium::Usb {
            return Err(FileError::Unsupported(
                "This printer takes files into its internal storage only.".to_owned(),
            ));
        }
        let prepared = self.prepare(job).await?;
        check_room(&self.door.seen(), prepared.size)?;
        let errors_before = self.door.seen().file_errors.0;
        let mut tries = 0;
        loop {
            match self.send_chunks(job, &prepared).await {
                Ok(()) => break,
                Err(ChunkError::Restart(_) | ChunkError::Again(_)) if tries == 0 => tries += 1,
                Err(ChunkError::Restart(e) | ChunkError::Again(e) | ChunkError::Final(e)) => return Err(e),
            }
        }
        self.verify(job.name, prepared.size, errors_before).await
    }

    async fn fetch(&self, place: &Place) -> Result<Reply, FileError> {
        let name = place.name();
        let missing = || FileError::NotFound(format!("The printer does not hand out \"{name}\"."));
        let port = self.config.ports.http;
        let (port, target) = match place {
            Place::Job(Medium::Internal, name) => (port, download_page(&format!("local/{name}"))),
            Place::Job(Medium::Usb, name) => (port, download_page(&format!("usb/{name}"))),
            Place::Video(name) => {
                if self.videos.find(name).is_none() {
                    self.read_videos().await;
                }
                video_target(&self.videos.find(name).ok_or_else(missing)?.url, &self.config.host.now(), port)
            }
        };
        let reply = http::get(&self.config.host.now(), port, &target, DOWNLOAD_IDLE)
            .await
            .map_err(|error| FileError::Failed(format!("The download failed: {error}.")))?;
        match reply.status {
            200 => Ok(reply),
            404 => Err(missing()),
            status => Err(FileError::Failed(format!("The printer answers with HTTP status {status}."))),
        }
    }

    async fn remove(&self, medium: Medium, name: &str) -> Result<(), FileError> {
        let disk = match medium {
            Medium::Internal => Disk::Local,
            Medium::Usb => self.stick().await.map_or(Disk::Usb, |(disk, _)| disk),
        };
        match self.door.ask(Sdcp::Delete(disk, name.to_owned()), ASK).await {
            Ok(data) if list(&data, "ErrData").is_empty() => return Ok(()),
            Ok(_) | Err(AskError::Refused(_)) => {}
            Err(other) => return Err(other.into()),
        }
        // It gives no reason: the file is gone, or in use, as for some seconds after its print.
        match self.listed(disk).await {
            Ok(files) if files.iter().any(|file| same_file(&file.path, name)) => {
                Err(FileError::Busy(format!(
                    "The printer did not delete \"{name}\": it may still be busy with a job or a file. Try again in a \
                     moment."
                )))
            }
            Ok(_) => Err(FileError::NotFound(format!("The printer has no file \"{name}\"."))),
            Err(_) => Err(FileError::Failed(format!("The printer did not delete \"{name}\"."))),
        }
    }
}

/// `code` is text; an empty or foreign body is a failure (elegoo.md 2.10).
fn judge_chunk(status: u16, body: &[u8]) -> Result<(), ChunkError> {
    let reply: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status == 200 && text(&reply, "code") == Some("000000") {
        return Ok(());
    }
    let code = list(&reply, "messages").first().and_then(|m| m.get("message")).and_then(as_int);
    let why = code.map_or("it gives no reason", codes::upload_refusal);
    let error =
        FileError::Failed(format!("The printer did not take the file (HTTP status {status}): {why}."));
    Err(match code {
        Some(-1 | -2) => ChunkError::Restart(error),
        Some(-3) => ChunkError::Final(error),
        _ => ChunkError::Again(error),
    })
}

/// Where a video is fetched: below `/downloadFile`, or where the printer itself says, at its own address only.
fn video_target(url: &str, host: &str, port: u16) -> (u16, String) {
    let Some((_, rest)) = url.split_once("://") else { return (port, download_page(url)) };
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (told, told_port) = place.rsplit_once(':').unwrap_or((place, "80"));
    match told_port.parse() {
        Ok(told_port) if told == host && path.bytes().all(|byte| byte.is_ascii_graphic()) => {
            (told_port, path.to_owned())
        }
        _ => (port, download_page(path)),
    }
}

fn download_page(path: &str) -> String {
    let path = path.strip_prefix("/downloadFile").unwrap_or(path).trim_start_matches('/');
    format!("/downloadFile/{}", utf8_percent_encode(path, url::PATH))
}

fn remote_file(item: &Value, disk: Disk) -> Option<RemoteFile> {
    let path = text(item, "name")?;
    let inside = path.strip_prefix(disk.root()).map(|rest| rest.trim_start_matches('/'));
    Some(RemoteFile {
        path: listed_name(inside.unwrap_or(path))?,
        size: int(item, "FileSize").and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        directory: int(item, "type") == Some(0),
        modified: num(item, "CreateTime").filter(|time| *time > 0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_is_fetched_from_the_printer_only() {
        let target = |url| video_target(url, "10.0.0.5", 80);
        assert_eq!(
            target("/local/tlp/a b-1_2~.mp4"),
            (80, "/downloadFile/local/tlp/a%20b-1_2~.mp4".to_owned())
        );
        assert_eq!(target("/downloadFile/local/a"), (80, "/downloadFile/local/a".to_owned()));
        assert_eq!(target("http://10.0.0.5:8000/a.mp4"), (8000, "/a.mp4".to_owned()));
        assert_eq!(target("http://10.0.0.5/a.mp4"), (80, "/a.mp4".to_owned()));
        assert_eq!(target("http://10.9.9.9:8000/a"), (80, "/downloadFile/a".to_owned()), "another machine");
    }
}
