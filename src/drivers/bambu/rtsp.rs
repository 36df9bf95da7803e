//! The RTSPS camera of X1, P2 and H2 printers (bambu.md 6.2). Unverified on hardware: only its parts met foreign peers.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};

use super::{CAMERA, Shared, USER};
use crate::net::rtsp::{RtspCamera, RtspError};
use crate::net::tls::TlsConnectError;
use crate::printer::io::AccessUnit;
use crate::printer::{CameraError, CameraFeed, CameraSource};

const PATH: &str = "streaming/live/1";
/// Off by default on H2, P2S and X2D.
const SWITCHED_OFF: &str = "The printer's camera port is closed. On its screen, switch on LAN Only Liveview \
     (Settings > General or Network).";

const CLOSED_AT_ONCE: &str = "The printer closed the camera's connection at once. If it stays so, switch on LAN Only \
     Liveview on its screen (Settings > General or Network).";

pub(super) struct RtspsCamera {
    shared: Arc<Shared>,
}

impl RtspsCamera {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn feed(&self) -> Result<CameraFeed, CameraError> {
        let config = &self.shared.config;
        let tls = self.shared.tls_of(CAMERA).map_err(CameraError::Blocked)?;
        let camera = RtspCamera::new(self.shared.host(), config.ports.rtsp, PATH)
            .login(USER, config.access_code.clone())
            .tls(tls);
        let pictures = camera.open().await.map_err(|error| match error {
            RtspError::Tls(TlsConnectError::Fault(fault)) => {
                CameraError::Blocked(format!("{}.", self.shared.objection(&fault)))
            }
            error => not_opened(error),
        })?;
        self.shared.keep_keys();
        let units = pictures.map(|picture| {
            picture.map(|unit| AccessUnit { data: unit.data, pts: unit.pts, key: unit.key }).map_err(told)
        });
        Ok(CameraFeed::H264(units.boxed()))
    }
}

impl CameraSource for RtspsCamera {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        self.feed().boxed()
    }
}

/// Why the stream did not begin: a port that refuses or closes at once is what a switched-off live view looks like.
fn not_opened(error: RtspError) -> CameraError {
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    match error {
        RtspError::Connect(error) if refused(&error) => CameraError::Blocked(SWITCHED_OFF.to_owned()),
        RtspError::Closed | RtspError::Io(_) | RtspError::Tls(TlsConnectError::Io(_)) => {
            CameraError::Lost(CLOSED_AT_ONCE.to_owned())
        }
        other => told(other),
    }
}

/// What only the user can mend blocks; everything else is tried again.
fn told(error: RtspError) -> CameraError {
    match error {
        RtspError::Login => CameraError::Blocked(
            "The camera refused the access code: read it again on the printer's screen and put it into the configuration."
                .to_owned(),
        ),
        other => CameraError::Lost(other.to_string()),
    }
}
