//! Pictures from port 3031 (elegoo.md 2.13): switched on by Cmd 386, one viewer, headers not to be trusted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::sdcp::Sdcp;
use super::{Cc1Config, Timing};
use crate::drivers::elegoo::door::{AskError, Door};
use crate::drivers::elegoo::whereabouts::Whereabouts;
use crate::drivers::elegoo::{http, pictures};
use crate::printer::{CameraError, CameraFeed, CameraSource};

/// Wait for the answer to Cmd 386, other requests before it included.
const SWITCH: Duration = Duration::from_secs(15);

/// The camera of one printer.
pub struct Cc1Camera {
    host: Whereabouts,
    port: u16,
    idle: Duration,
    door: Arc<Door<Sdcp>>,
    /// The printer serves one stream and leaks the places of others.
    only: Arc<Semaphore>,
}

impl Cc1Camera {
    pub(super) fn new(config: &Cc1Config, timing: Timing, door: Arc<Door<Sdcp>>) -> Self {
        Self {
            host: config.host.clone(),
            port: config.ports.camera,
            idle: timing.camera_idle,
            door,
            only: Arc::new(Semaphore::new(1)),
        }
    }

    async fn feed(&self) -> Result<CameraFeed, CameraError> {
        let permit = Arc::clone(&self.only)
            .try_acquire_owned()
            .map_err(|_taken| CameraError::Lost("The camera is already open.".to_owned()))?;
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
        Ok(pictures::feed(reply, self.idle, guard))
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
