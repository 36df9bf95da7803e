//! Pictures from port 8080 (elegoo.md 3.14): any path, no login, one viewer. Nothing of them tells whose they are, so none
//! are fetched before the link has found its printer at the address.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::encode::Call;
use super::{Cc2Config, Timing};
use crate::drivers::elegoo::door::{Answering, Door};
use crate::drivers::elegoo::whereabouts::Whereabouts;
use crate::drivers::elegoo::{http, pictures};
use crate::printer::{CameraError, CameraFeed, CameraSource};

/// The server can start late: it is tried for this long (elegoo.md 3.14).
const START: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);

/// The camera of one printer.
pub struct Cc2Camera {
    host: Whereabouts,
    port: u16,
    idle: Duration,
    door: Arc<Door<Call>>,
    only: Arc<Semaphore>,
}

impl Cc2Camera {
    pub(super) fn new(config: &Cc2Config, timing: Timing, door: Arc<Door<Call>>) -> Self {
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
        match self.door.seen().answering {
            Answering::Printer => {}
            Answering::Unknown => {
                return Err(CameraError::Lost("The printer has not answered yet.".to_owned()));
            }
            Answering::Another(who) => return Err(CameraError::Blocked(who)),
        }
        let until = Instant::now() + START;
        let reply = loop {
            match http::get(&self.host.now(), self.port, "/?action=stream", self.idle).await {
                Ok(reply) if reply.status == 200 => break reply,
                Ok(reply) => {
                    let text = format!("The camera answers with HTTP status {}.", reply.status);
                    return Err(CameraError::Lost(text));
                }
                Err(error) if Instant::now() + RETRY >= until => {
                    return Err(CameraError::Lost(format!("The camera does not answer: {error}.")));
                }
                Err(_not_yet) => sleep(RETRY).await,
            }
        };
        Ok(pictures::feed(reply, self.idle, permit))
    }
}

impl CameraSource for Cc2Camera {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        self.feed().boxed()
    }
}
