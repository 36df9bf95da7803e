//! The printer's internal storage: list and delete over MQTT, upload and download over HTTP (elegoo.md 3.13).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::encode::{Call, LIST_PAGE};
use super::wire::error_code;
use super::{Cc2Config, Timing, codes, reduce};
use crate::drivers::elegoo::door::{AskError, Door, Seen};
use crate::drivers::elegoo::field::{int, list, num, text};
use crate::drivers::elegoo::files::{
    CHECK, CHUNK_LIMIT, ChunkError, Chunks, DOWNLOAD_IDLE, Storage, Upload, check_room, listed_name,
    unreadable, unsettled,
};
use crate::drivers::elegoo::http::{self, Reply, authority};
use crate::drivers::elegoo::place::{Medium, Place, Videos, on_stick};
use crate::printer::{FileError, RemoteFile};
use crate::url;

/// A request of the link with its turn behind others.
const ASK: Duration = Duration::from_secs(40);
/// After HTTP 429 or a busy answer.
const TOO_FAST: Duration = Duration::from_secs(2);
/// Attempts at one chunk.
const CHUNK_TRIES: u32 = 3;
/// Files beyond this are not listed: no storage holds so many.
const MAX_FILES: u64 = 10_000;
/// So many questions for the files without an answer, one after the other, are the firmware's silence and not a swallowed
/// request (elegoo.md 3.5, 3.6); then it is not asked for a while: each start of a job would wait for it.
const SILENT: u32 = 2;
const SILENT_FOR: Duration = Duration::from_secs(600);

/// The storage of one printer.
pub struct Cc2Storage {
    config: Cc2Config,
    timing: Timing,
    door: Arc<Door<Call>>,
    client: reqwest::Client,
    videos: Videos,
    /// Questions for the files that had no answer, one after the other, and when the last of them was given up.
    silence: Mutex<Option<(u32, Instant)>>,
}

impl Cc2Storage {
    pub(super) fn new(config: Cc2Config, timing: Timing, door: Arc<Door<Call>>) -> Self {
        let (client, videos, silence) = (http::upload_client(), Videos::default(), Mutex::default());
        Self { config, timing, door, client, videos, silence }
    }

    /// The firmware does not answer the question for its files.
    fn is_silent(&self) -> bool {
        let silence = *self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.is_some_and(|(times, at)| times >= SILENT && at.elapsed() < SILENT_FOR)
    }

    fn note_silence<T>(&self, answer: &Result<T, AskError>) {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(_) | Err(AskError::Refused(_)) => *silence = None,
            Err(AskError::Timeout) => {
                let times = silence.map_or(0, |(times, _)| times);
                *silence = Some((times.saturating_add(1), Instant::now()));
            }
            Err(_) => {}
        }
    }

    async fn send_chunks(&self, job: &Upload<'_>, size: u64) -> Result<(), ChunkError> {
        let mut chunks = Chunks::open(job.local, size).await?;
        while let Some((offset, chunk)) = chunks.next().await? {
            let end = offset + chunk.len() as u64;
            self.send_chunk(job, size, offset, chunk).await?;
            (job.progress)(end);
        }
        Ok(())
    }

    /// A chunk with the wrong place, a busy printer or a broken connection is sent again (elegoo.md 3.13).
    async fn send_chunk(
        &self,
        job: &Upload<'_>,
        size: u64,
        offset: u64,
        chunk: Bytes,
    ) -> Result<(), ChunkError> {
        let last = (offset + chunk.len() as u64).saturating_sub(1);
        let (mut tries, mut lost) = (1, false);
        loop {
            let error = match self.put(job, size, offset, chunk.clone()).await {
                Ok((status, body)) => match judge_chunk(status, &body, last, lost) {
                    Err(ChunkError::Restart(error)) if tries == 1 => error,
                    Err(ChunkError::Again(error)) => error,
                    done => return done,
                },
                Err(error) => {
                    // The printer may have written it all the same.
                    lost = true;
                    FileError::Failed(format!("The printer did not take the file: {}.", error.without_url()))
                }
            };
            if tries >= CHUNK_TRIES {
                return Err(ChunkError::Again(error));
            }
            tries += 1;
            sleep(TOO_FAST.min(self.timing.spacing)).await;
        }
    }

    async fn put(
        &self,
        job: &Upload<'_>,
        size: u64,
        offset: u64,
        chunk: Bytes,
    ) -> reqwest::Result<(u16, Vec<u8>)> {
        let folder = if job.medium == Medium::Usb { "/udisk" } else { "" };
        let url =
            format!("http://{}/upload{folder}", authority(&self.config.host.now(), self.config.ports.http));
        let last = offset + (chunk.len() as u64).saturating_sub(1);
        let request = self
            .client
            .put(url)
            .header("Content-Type", "application/octet-stream")
            .header("Content-Range", format!("bytes {offset}-{last}/{size}"))
            .header("X-File-Name", job.name)
            .header("X-File-MD5", job.md5)
            .header("X-Token", self.config.code().expose())
            .body(chunk)
            .timeout(CHUNK_LIMIT);
        http::short(request.send().await?).await
    }

    /// Page by page: to the number of files where the printer tells it, else to a page that is not full. One that goes
    /// on with what it has shown already is not asked any further.
    async fn listed(&self, medium: Medium) -> Result<Vec<RemoteFile>, FileError> {
        let mut files: Vec<RemoteFile> = Vec::new();
        let mut shown = HashSet::new();
        let mut offset = 0;
        loop {
            let page = self.door.ask(Call::ListFiles(medium, offset), ASK).await;
            if medium == Medium::Internal {
                self.note_silence(&page);
            }
            let page = page.map_err(|error| match error {
                AskError::Timeout => unlisted(),
                other => told(other),
            })?;
            let items = list(&page, "file_list");
            let (known, count) = (shown.len(), items.len() as u64);
            shown.extend(items.iter().filter_map(|item| text(item, "filename")).map(str::to_owned));
            if shown.len() == known {
                return Ok(files);
            }
            files.extend(items.iter().filter_map(remote_file));
            offset += count;
            let total = int(&page, "total").and_then(|total| u64::try_from(total).ok());
            let last = total.filter(|total| *total > 0).map_or(count < LIST_PAGE, |total| offset >= total);
            if last || offset >= MAX_FILES {
                return Ok(files);
            }
        }
    }

    /// Videos of the runs that the printer remembers; none where it does not tell.
    async fn read_videos(&self) -> Vec<RemoteFile> {
        let history = self.door.ask(Call::History, ASK).await;
        self.videos.keep(history.map(|history| reduce::videos(&history)).unwrap_or_default())
    }

    /// The address of a video, which the printer makes now where it has only pictures.
    async fn video(&self, name: &str) -> Result<String, FileError> {
        if self.videos.find(name).is_none() {
            self.read_videos().await;
        }
        let missing = || FileError::NotFound(format!("The printer has no video \"{name}\"."));
        let video = self.videos.find(name).ok_or_else(missing)?;
        if video.made {
            return Ok(video.url);
        }
        let call = Call::ExportVideo(video.url.clone());
        let limit = call.limit();
        let reply = self.door.ask(call, limit).await.map_err(told)?;
        Ok(text(&reply, "url").map_or(video.url, str::to_owned))
    }

    /// The printer must have left "receiving a file" and must know the file by its whole size.
    async fn verify(&self, medium: Medium, name: &str, size: u64) -> Result<(), FileError> {
        sleep(self.timing.after_upload).await;
        let before = self.door.seen().reports;
        // A delta can get lost: ask.
        let now = match self.door.ask(Call::FullStatus, ASK).await {
            Ok(_) => self.door.seen(),
            // So can the question: the link goes on asking.
            Err(AskError::Timeout | AskError::Refused(_)) => {
                Seen { reports: before, transferring: true, ..Seen::default() }
            }
            Err(error) => return Err(told(error)),
        };
        if now.transferring {
            self.door.settled(now.reports, CHECK).await.map_err(unsettled)?;
        }
        match self.door.ask(Call::FileInfo(medium, name.to_owned()), ASK).await {
            Ok(info) => match int(&info, "size").and_then(|size| u64::try_from(size).ok()) {
                Some(held) if held != size => Err(FileError::Failed(format!(
                    "The printer holds {held} of {size} bytes of the file; send it again."
                ))),
                _ => Ok(()),
            },
            Err(AskError::Refused(code @ (1002 | 1021))) => Err(FileError::Failed(format!(
                "The file is not there after the transfer. {}",
                codes::error(code)
            ))),
            // The printer confirmed every chunk and the checksum of the whole: a method that its firmware does not
            // know, or does not answer, undoes neither.
            Err(AskError::Timeout | AskError::Refused(_)) => Ok(()),
            Err(other) => Err(told(other)),
        }
    }
}

impl Storage for Cc2Storage {
    fn check(&self) -> Result<(), AskError> {
        self.door.check()
    }

    fn seen(&self) -> Seen {
        self.door.seen()
    }

    async fn list(&self) -> Result<Vec<RemoteFile>, FileError> {
        if self.is_silent() {
            return Err(unlisted());
        }
        let mut files = self.listed(Medium::Internal).await?;
        if self.door.seen().usb
            && let Ok(stick) = self.listed(Medium::Usb).await
        {
            files.extend(on_stick(stick));
        }
        files.extend(self.read_videos().await);
        Ok(files)
    }

    fn job_medium(&self) -> Medium {
        if self.config.jobs_on_usb { Medium::Usb } else { Medium::Internal }
    }

    async fn send(&self, job: &Upload<'_>) -> Result<(), FileError> {
        let size = tokio::fs::metadata(job.local).await.map_err(unreadable)?.len();
        // The free bytes are those of the internal storage.
        if job.medium == Medium::Internal {
            check_room(&self.door.seen(), size)?;
        }
        let mut restarted = false;
        loop {
            match self.send_chunks(job, size).await {
                Ok(()) => break,
                Err(ChunkError::Restart(_)) if !restarted => restarted = true,
                Err(ChunkError::Restart(e) | ChunkError::Again(e) | ChunkError::Final(e)) => return Err(e),
            }
        }
        self.verify(job.medium, job.name, size).await
    }

    async fn fetch(&self, place: &Place) -> Result<Reply, FileError> {
        let (page, name) = match place {
            Place::Job(Medium::Internal, name) => ("/download", name.clone()),
            Place::Job(Medium::Usb, name) => ("/download/udisk", name.clone()),
            Place::Video(name) => ("/download", self.video(name).await?),
        };
        let target = format!(
            "{page}?X-Token={}&file_name={}",
            utf8_percent_encode(self.config.code().expose(), url::SEGMENT),
            utf8_percent_encode(&name, url::SEGMENT)
        );
        let reply = http::get(&self.config.host.now(), self.config.ports.http, &target, DOWNLOAD_IDLE)
            .await
            .map_err(|error| FileError::Failed(format!("The download failed: {error}.")))?;
        match reply.status {
            200 => Ok(reply),
            401 | 403 => Err(wrong_code()),
            // Early firmware has no download page (elegoo.md 3.13).
            404 => Err(FileError::NotFound(format!("The printer does not hand out \"{name}\"."))),
            status => Err(FileError::Failed(format!("The printer answers with HTTP status {status}."))),
        }
    }

    async fn remove(&self, medium: Medium, name: &str) -> Result<(), FileError> {
        match self.door.ask(Call::Delete(medium, name.to_owned()), ASK).await {
            Ok(_) => Ok(()),
            Err(AskError::Timeout) => Err(FileError::Unsupported(
                "The firmware of the printer does not answer; the file may still be there.".to_owned(),
            )),
            Err(error) => Err(told(error)),
        }
    }
}

/// 01.03.02.51 never answers (elegoo.md 3.6).
fn unlisted() -> FileError {
    FileError::Unsupported(
        "The printer did not answer the question for its files. Try again later; some firmware never answers it and has to be \
         updated to show them."
            .to_owned(),
    )
}

fn wrong_code() -> FileError {
    FileError::NotAllowed("The printer refuses the access code for uploads.".to_owned())
}

/// What the answer to the chunk that ends with byte `last` means. `lost`: an earlier answer to it never came, so that the
/// printer may have it already (elegoo.md 3.13).
fn judge_chunk(status: u16, body: &[u8], last: u64, lost: bool) -> Result<(), ChunkError> {
    use ChunkError::{Again, Final, Restart};
    match status {
        200 => {}
        401 | 403 => return Err(Final(wrong_code())),
        404 => {
            return Err(Final(FileError::Unsupported(
                "The printer has no upload page; is \"LAN Only\" mode on?".to_owned(),
            )));
        }
        429 => {
            return Err(Again(FileError::Busy("The printer does not take a file at the moment.".to_owned())));
        }
        other => {
            let text = format!("The printer answers the upload with HTTP status {other}.");
            return Err(Again(FileError::Failed(text)));
        }
    }
    let Ok(reply) = serde_json::from_slice::<Value>(body) else {
        let text = "The printer's answer to the upload is not JSON.".to_owned();
        return Err(Again(FileError::Failed(text)));
    };
    let code = error_code(&reply);
    let failed = || FileError::Failed(codes::error(code));
    let written = int(&reply, "offset").and_then(|offset| u64::try_from(offset).ok());
    match code {
        0 => Ok(()),
        9000 if lost && written == Some(last) => Ok(()),
        9000 => Err(Restart(failed())),
        1000 => Err(Final(wrong_code())),
        9001 | 9002 | 9004 | 9008 => Err(Final(failed())),
        _ => Err(Again(failed())),
    }
}

fn told(error: AskError) -> FileError {
    match error {
        AskError::Refused(1009) => FileError::Busy(codes::error(1009)),
        AskError::Refused(code @ (1002 | 1021)) => FileError::NotFound(codes::error(code)),
        AskError::Refused(code) => FileError::Failed(codes::error(code)),
        other => other.into(),
    }
}

fn remote_file(item: &Value) -> Option<RemoteFile> {
    Some(RemoteFile {
        path: listed_name(text(item, "filename")?)?,
        size: int(item, "size").and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        directory: text(item, "type") == Some("folder"),
        modified: num(item, "create_time").filter(|time| *time > 0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_the_printer_has_already_is_there() {
        let judged = |body: &str, lost| judge_chunk(200, body.as_bytes(), 99, lost);
        assert!(judged(r#"{"error_code":0,"offset":99}"#, false).is_ok());
        let wrong_place = r#"{"error_code":9000,"offset":99}"#;
        assert!(judged(wrong_place, true).is_ok(), "its answer was lost, not the chunk");
        for (body, lost) in [
            (wrong_place, false),
            (r#"{"error_code":9000,"offset":98}"#, true),
            (r#"{"error_code":9000}"#, true),
        ] {
            assert!(matches!(judged(body, lost), Err(ChunkError::Restart(_))), "{body}");
        }
        assert!(matches!(judged(r#"{"error_code":1009}"#, false), Err(ChunkError::Again(_))));
        assert!(matches!(judged(r#"{"error_code":9004}"#, true), Err(ChunkError::Final(_))));
        assert!(matches!(judge_chunk(401, b"", 99, false), Err(ChunkError::Final(FileError::NotAllowed(_)))));
    }
}
