//! A camera feed out of an MJPEG reply (elegoo.md 2.13, 3.14).

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::http::Reply;
use super::mjpeg::JpegScanner;
use crate::printer::{CameraError, CameraFeed};

struct Open<G> {
    reply: Reply,
    scanner: JpegScanner,
    idle: Duration,
    _guard: G,
}

/// The pictures of `reply`; a feed without a picture for `idle` ends with an error. `guard` is dropped with the feed.
pub fn feed<G: Send + 'static>(reply: Reply, idle: Duration, guard: G) -> CameraFeed {
    let open = Open { reply, scanner: JpegScanner::default(), idle, _guard: guard };
    let pictures = stream::unfold(Some(open), |open| async {
        let mut open = open?;
        match open.next().await {
            Ok(picture) => Some((Ok(picture), Some(open))),
            Err(error) => Some((Err(error), None)),
        }
    });
    CameraFeed::Jpeg(pictures.boxed())
}

impl<G> Open<G> {
    async fn next(&mut self) -> Result<bytes::Bytes, CameraError> {
        let picture = async {
            loop {
                if let Some(picture) = self.scanner.frame() {
                    return Ok(picture);
                }
                match self.reply.piece(self.idle).await {
                    Ok(Some(piece)) => self.scanner.push(&piece),
                    Ok(None) => return Err(CameraError::Lost("The camera ended its stream.".to_owned())),
                    Err(error) if error.kind() == ErrorKind::TimedOut => return Err(nothing_came(self.idle)),
                    Err(error) => return Err(CameraError::Lost(format!("The camera stopped: {error}."))),
                }
            }
        };
        let late = tokio::time::timeout(self.idle, picture).await;
        late.unwrap_or_else(|_late| Err(nothing_came(self.idle)))
    }
}

fn nothing_came(idle: Duration) -> CameraError {
    CameraError::Lost(format!("No picture came for {} s.", idle.as_secs()))
}
