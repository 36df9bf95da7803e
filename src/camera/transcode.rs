//! JPEG pictures of an H.264 camera, by a child `ffmpeg` that lives only while somebody watches them.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use super::frame::FRAME_LIMIT;
use super::upstream::Upstream;
use super::video::{Sample, Video, VideoViewer};
use crate::printer::io::{CameraError, CameraFeed, CameraSource};

/// Pictures per second made at most: what UIs show, at a fifth of the encoding.
const RATE: u32 = 10;
/// Bytes of a part's head.
const HEAD_LIMIT: usize = 1024;
const CHUNK: usize = 64 << 10;

/// A camera made of another one.
pub(super) struct Transcoder {
    pub ffmpeg: PathBuf,
    pub upstream: Arc<Upstream>,
    pub video: Arc<Video>,
    pub cancel: CancellationToken,
}

impl CameraSource for Transcoder {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        async {
            let mut viewer = VideoViewer::new(&self.upstream, &self.video, true, self.cancel.clone());
            // A dark camera's own reason is better than what ffmpeg would say.
            let first = viewer.first().await?;
            let mut child = self.spawn()?;
            let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(CameraError::Lost("ffmpeg has no pipes".to_owned()));
            };
            let feeding = feed(viewer, first, input).map(Err);
            let pictures = stream::unfold(Some(Output { output, buffer: BytesMut::new(), child }), picture);
            Ok(CameraFeed::Jpeg(stream::select(pictures, stream::once(feeding)).boxed()))
        }
        .boxed()
    }
}

impl Transcoder {
    fn spawn(&self) -> Result<Child, CameraError> {
        let filter = format!("fps={RATE}");
        Command::new(&self.ffmpeg)
            .args(["-hide_banner", "-nostdin", "-loglevel", "error", "-threads", "1"])
            .args(["-fflags", "nobuffer", "-flags", "low_delay", "-probesize", "32768", "-analyzeduration", "0"])
            .args(["-use_wallclock_as_timestamps", "1", "-f", "h264", "-i", "pipe:0"])
            .args(["-an", "-vf", &filter, "-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj420p", "-threads", "1"])
            .args(["-flush_packets", "1", "-f", "mpjpeg", "pipe:1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => CameraError::Blocked(
                    "this camera sends H.264, and single pictures or motion JPEG of it need ffmpeg: install it on the \
                     gateway's machine (Debian: apt install ffmpeg), or watch the HLS stream"
                        .to_owned(),
                ),
                _ => CameraError::Lost(format!("ffmpeg does not start: {error}")),
            })
    }
}

/// Writes pictures to ffmpeg until one side ends, and says which.
async fn feed(mut viewer: VideoViewer, first: Arc<Sample>, mut input: ChildStdin) -> CameraError {
    let mut sample = Some(first);
    while let Some(current) = sample {
        if let Err(error) = input.write_all(&current.annexb).await {
            return CameraError::Lost(format!("ffmpeg takes no more video: {error}"));
        }
        sample = viewer.next().await;
    }
    CameraError::Lost("the video ended".to_owned())
}

struct Output {
    output: ChildStdout,
    buffer: BytesMut,
    /// Killed when dropped.
    child: Child,
}

async fn picture(output: Option<Output>) -> Option<(Result<Bytes, CameraError>, Option<Output>)> {
    let mut output = output?;
    loop {
        match take(&mut output.buffer) {
            Ok(Some(picture)) => return Some((Ok(picture), Some(output))),
            Err(text) => return Some((Err(CameraError::Lost(text.to_owned())), None)),
            Ok(None) => {}
        }
        output.buffer.reserve(CHUNK);
        match output.output.read_buf(&mut output.buffer).await {
            Ok(0) => {
                let status =
                    output.child.wait().await.map_or_else(|e| e.to_string(), |status| status.to_string());
                return Some((Err(CameraError::Lost(format!("ffmpeg ended: {status}"))), None));
            }
            Ok(_) => {}
            Err(error) => return Some((Err(CameraError::Lost(format!("ffmpeg: {error}"))), None)),
        }
    }
}

/// Takes the next picture off ffmpeg's multipart output.
fn take(buffer: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
    let Some(end) = buffer.windows(4).take(HEAD_LIMIT).position(|end| end == b"\r\n\r\n") else {
        return if buffer.len() > HEAD_LIMIT { Err("ffmpeg's output has no part head") } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let length = length.filter(|length| *length <= FRAME_LIMIT).ok_or("ffmpeg's output has no length")?;
    if buffer.len() < end + 4 + length {
        return Ok(None);
    }
    let _head = buffer.split_to(end + 4);
    Ok(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_cut_out_of_multipart_output() {
        let mut buffer = BytesMut::new();
        let part = b"\r\n--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: 3\r\n\r\nabc";
        let mut found = Vec::new();
        for byte in part.iter().chain(part) {
            buffer.extend_from_slice(&[*byte]);
            found.extend(take(&mut buffer).unwrap());
        }
        assert_eq!(found, ["abc", "abc"]);
        assert!(take(&mut BytesMut::from(&b"Content-length: 99999999999\r\n\r\n"[..])).is_err());
        assert!(take(&mut BytesMut::from(vec![b'x'; 2000].as_slice())).is_err());
    }
}
