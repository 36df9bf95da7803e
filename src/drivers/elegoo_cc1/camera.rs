//! Pictures from port 3031 (elegoo.md 2.13): switched on by Cmd 386, one viewer, headers not to be trusted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::sdcp::Sdcp;
use super::{Cc1Config, Timing};
use crate::drivers::elegoo::door::{AskError, Door};
use crate::drivers::elegoo::whereabouts::Whereabouts;
use crate::drivers::elegoo::{http, pictures};
use crate::printer::{CameraError, CameraFeed, CameraSource};

/// Wait for the answer to Cmd 386, other requests before it included.
const SWITCH: Duration = Duration::from_secs(15);

/// Each connection without a picture may have cost the printer a place: they are made ever more rarely
/// (elegoo.md 2.13), up to this many doublings.
const DOUBLINGS: u32 = 4;

/// Connections without a picture, one after the other.
#[derive(Default)]
struct Dark {
    times: u32,
    /// The next connection is not made before this, for the reason of the last one's end.
    rest: Option<(Instant, String)>,
}

impl Dark {
    /// A stream that broke off is opened again at once; the waits begin with the second one in a row that shows nothing.
    fn ended(&mut self, why: &str, first_wait: Duration) {
        if self.times > 0 {
            let wait = first_wait * 2_u32.pow((self.times - 1).min(DOUBLINGS));
            self.rest = Some((Instant::now() + wait, why.to_owned()));
        }
        self.times += 1;
    }
}

/// The camera of one printer.
pub struct Cc1Camera {
    host: Whereabouts,
    port: u16,
    idle: Duration,
    door: Arc<Door<Sdcp>>,
    /// The printer serves one stream and leaks the places of others.
    only: Arc<Semaphore>,
    /// See [`Dark`].
    rest: Duration,
    dark: Arc<Mutex<Dark>>,
}

impl Cc1Camera {
    pub(super) fn new(config: &Cc1Config, timing: Timing, door: Arc<Door<Sdcp>>) -> Self {
        Self {
            host: config.host.clone(),
            port: config.ports.camera,
            idle: timing.camera_idle,
            door,
            only: Arc::new(Semaphore::new(1)),
            rest: timing.camera_rest,
            dark: Arc::default(),
        }
    }

    async fn feed(&self) -> Result<CameraFeed, CameraError> {
        let permit = Arc::clone(&self.only)
            .try_acquire_owned()
            .map_err(|_taken| CameraError::Lost("The camera is already open.".to_owned()))?;
        let rest = self.dark.lock().unwrap_or_else(PoisonError::into_inner).rest.clone();
        if let Some((_, why)) = rest.filter(|(until, _)| Instant::now() < *until) {
            return Err(CameraError::Lost(why));
        }
        self.door.ask(Sdcp::Video(true), SWITCH).await.map_err(|error| match error {
            AskError::Refused(1) => CameraError::Lost(
                "The printer's only camera place is taken. Close other viewers; if there are none, switch the printer off and on."
                    .to_owned(),
            ),
            AskError::Refused(2) => {
                CameraError::Blocked("The printer finds no camera; check its cable.".to_owned())
            }
            other => CameraError::Lost(format!("The camera cannot be switched on: {other}")),
        })?;
        let guard = SwitchOff { door: Arc::clone(&self.door), _permit: permit };
        let reply = http::get(&self.host.now(), self.port, "/video", self.idle)
            .await
            .map_err(|error| CameraError::Lost(format!("The camera does not answer: {error}.")))?;
        if reply.status != 200 {
            return Err(CameraError::Lost(format!("The camera answers with HTTP status {}.", reply.status)));
        }
        Ok(self.watched(pictures::feed(reply, self.idle, guard)))
    }

    /// Notes how the stream goes.
    fn watched(&self, feed: CameraFeed) -> CameraFeed {
        let CameraFeed::Jpeg(pictures) = feed else { return feed };
        let (dark, rest) = (Arc::clone(&self.dark), self.rest);
        let seen = pictures.inspect(move |picture| {
            let mut dark = dark.lock().unwrap_or_else(PoisonError::into_inner);
            match picture {
                Ok(_) => *dark = Dark::default(),
                Err(error) => dark.ended(&error.to_string(), rest),
            }
        });
        CameraFeed::Jpeg(seen.boxed())
    }
}

/// Switches the camera off when the feed is dropped: otherwise places leak until a reboot (elegoo.md 2.13).
struct SwitchOff {
    door: Arc<Door<Sdcp>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for SwitchOff {
    fn drop(&mut self) {
        self.door.tell(Sdcp::Video(false));
    }
}

impl CameraSource for Cc1Camera {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        self.feed().boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_camera_that_stays_dark_is_connected_ever_more_rarely() {
        let mut dark = Dark::default();
        let waits: Vec<Option<u64>> = (0..8)
            .map(|_| {
                dark.ended("No picture came.", Duration::from_secs(30));
                dark.rest.as_ref().map(|(until, _)| until.duration_since(Instant::now()).as_secs())
            })
            .collect();
        let longest = Some(480);
        assert_eq!(waits, [None, Some(30), Some(60), Some(120), Some(240), longest, longest, longest]);
    }
}
