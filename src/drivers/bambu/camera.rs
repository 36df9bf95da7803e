//! The JPEG camera on port 6000 of A1 and P1 printers (bambu.md 6.1).
//!
//! The printer serves one socket: a second one gets nothing for many minutes. A feed therefore holds the only permit,
//! and gives it back after its socket is closed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::rtsp::RtspsCamera;
use super::{CAMERA, Shared, USER};
use crate::model::CameraKind;
use crate::net::tls::TlsConnectError;
use crate::printer::{CameraError, CameraFeed, CameraSource};

const CONNECT: Duration = Duration::from_secs(10);
/// A sleeping printer needs several seconds for its first picture, a busy one for each.
const FRAME: Duration = Duration::from_secs(30);
/// Sizes of a picture in bytes; anything else is not a picture's header.
const SIZES: std::ops::RangeInclusive<u32> = 1_000..=10_000_000;
const HEADER: usize = 16;

/// The printer notices a closed socket when it sends its next picture (0.5 per second and more); a new viewer that is
/// faster gets nothing for many minutes (bambu.md T31).
const NOTICE: Duration = Duration::from_secs(3);

/// When the last socket was closed.
type ClosedAt = Arc<Mutex<Option<Instant>>>;

pub(super) struct JpegCamera {
    shared: Arc<Shared>,
    only: Arc<Semaphore>,
    closed: ClosedAt,
}

impl JpegCamera {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, only: Arc::new(Semaphore::new(1)), closed: ClosedAt::default() }
    }

    async fn feed(&self) -> Result<CameraFeed, CameraError> {
        let permit = timeout(CONNECT, self.only.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(CameraError::Lost(
                "The camera is in use; the printer serves one viewer at a time.".into(),
            ));
        };
        let closed = *self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(closed) = closed {
            tokio::time::sleep_until(closed + NOTICE).await;
        }
        let mut stream = self.connect().await?;
        let login = login(self.shared.config.access_code.expose())?;
        let sent = timeout(CONNECT, async {
            stream.write_all(&login).await?;
            stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(lost(&error.to_string())),
            Err(_late) => return Err(lost("the login was not taken")),
        }
        let upstream = Upstream { stream, first: true, closed: self.closed.clone(), _permit: permit };
        let pictures = futures_util::stream::unfold(Some(upstream), |upstream| async move {
            let mut upstream = upstream?;
            match upstream.picture().await {
                Ok(picture) => Some((Ok(picture), Some(upstream))),
                // After nonsense or an end only a new connection helps.
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(CameraFeed::Jpeg(pictures.boxed()))
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, CameraError> {
        let host = self.shared.host();
        let port = self.shared.config.ports.camera;
        let tls = self.shared.tls_of(CAMERA).map_err(CameraError::Blocked)?;
        let stream = match timeout(CONNECT, TcpStream::connect((host.as_str(), port))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(lost(&format!("{host}:{port}: {error}"))),
            Err(_late) => return Err(lost(&format!("{host}:{port} does not answer"))),
        };
        match tls.connect(stream, &host, CONNECT).await {
            Ok(stream) => {
                self.shared.keep_keys();
                Ok(stream)
            }
            Err(TlsConnectError::Fault(fault)) => {
                Err(CameraError::Blocked(format!("{host}:{port}: {}.", self.shared.objection(&fault))))
            }
            Err(error) => Err(lost(&error.to_string())),
        }
    }
}

/// The camera that the printer's model has, as far as its identity is known when somebody looks.
pub(super) struct ModelCamera {
    shared: Arc<Shared>,
    jpeg: JpegCamera,
    rtsps: RtspsCamera,
}

impl ModelCamera {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { jpeg: JpegCamera::new(shared.clone()), rtsps: RtspsCamera::new(shared.clone()), shared }
    }
}

impl CameraSource for ModelCamera {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        let kind = self.shared.row.borrow().camera;
        match kind {
            CameraKind::Jpeg => self.jpeg.open(),
            CameraKind::H264 => self.rtsps.open(),
            CameraKind::None => Box::pin(async {
                Err(CameraError::Blocked("the gateway does not know the camera of this model".to_owned()))
            }),
        }
    }
}

impl CameraSource for JpegCamera {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        Box::pin(self.feed())
    }
}

fn lost(why: &str) -> CameraError {
    CameraError::Lost(format!("The camera's connection failed ({why})."))
}

/// The 80-byte login (fixture camera6000-auth).
fn login(code: &str) -> Result<Zeroizing<Vec<u8>>, CameraError> {
    if code.len() > 32 {
        return Err(CameraError::Blocked(
            "The access code is too long; printers show 8 characters.".to_owned(),
        ));
    }
    let mut login = Zeroizing::new(Vec::with_capacity(80));
    for number in [0x40_u32, 0x3000, 0, 0] {
        login.extend(number.to_le_bytes());
    }
    for (text, end) in [(USER, 48), (code, 80)] {
        login.extend(text.bytes());
        login.resize(end, 0);
    }
    Ok(login)
}

/// Length of the picture behind a header (fixture camera6000-frame-header).
pub(super) fn picture_length(header: &[u8; HEADER]) -> Option<usize> {
    let [a, b, c, d, ..] = *header;
    let length = u32::from_le_bytes([a, b, c, d]);
    SIZES.contains(&length).then_some(length as usize)
}

struct Upstream {
    /// Dropped before the permit: the socket is closed when the next viewer connects.
    stream: TlsStream<TcpStream>,
    first: bool,
    closed: ClosedAt,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Upstream {
    async fn picture(&mut self) -> Result<Bytes, CameraError> {
        match timeout(FRAME, self.read()).await {
            Ok(result) => result,
            Err(_late) => Err(CameraError::Lost("The camera sends no picture.".to_owned())),
        }
    }

    async fn read(&mut self) -> Result<Bytes, CameraError> {
        let mut header = [0_u8; HEADER];
        if let Err(error) = self.stream.read_exact(&mut header).await {
            // A wrong code is answered by hanging up before the first picture.
            return Err(if self.first {
                CameraError::Blocked(
                    "The printer closed the camera connection at once: read the access code again on the printer, and \
                     check that its LAN live view is on."
                        .to_owned(),
                )
            } else {
                lost(&error.to_string())
            });
        }
        let Some(length) = picture_length(&header) else {
            return Err(lost("what came is not a picture"));
        };
        let mut picture = BytesMut::zeroed(length);
        self.stream.read_exact(&mut picture).await.map_err(|error| lost(&error.to_string()))?;
        if !picture.starts_with(&[0xFF, 0xD8]) || !picture.ends_with(&[0xFF, 0xD9]) {
            return Err(lost("a picture is damaged"));
        }
        self.first = false;
        Ok(picture.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::bambu::testing;

    #[test]
    fn the_login_is_the_captured_one() {
        let fixture = testing::json("camera6000-auth");
        let expected = fixture["frame_hex"].as_str().expect("hex");
        let ours = login(fixture["access_code"].as_str().expect("code")).expect("login");
        assert_eq!(data_encoding::HEXLOWER.encode(&ours), expected);
        assert_eq!(login(&"x".repeat(32)).map(|login| login.len()), Ok(80));
        assert!(matches!(login(&"x".repeat(33)), Err(CameraError::Blocked(_))));
    }

    #[test]
    fn headers_give_the_length_or_are_refused() {
        let fixture = testing::json("camera6000-frame-header");
        let hex = fixture["frame_header_hex"].as_str().expect("hex");
        let header: [u8; HEADER] =
            data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex").try_into().expect("16 bytes");
        assert_eq!(picture_length(&header).map(|n| n as u64), fixture["jpeg_len"].as_u64());
        assert_eq!(picture_length(&[0; HEADER]), None);
        assert_eq!(picture_length(&[0xFF; HEADER]), None);
    }
}
