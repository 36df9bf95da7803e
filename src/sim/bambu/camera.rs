//! The JPEG camera on TLS port 6000 of P1 and A1 printers (dossier 6.1): 80-byte login, then frames.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::core::{Core, lock};
use super::listen::PATIENCE;
use crate::sim::camera_faults::CameraFault;

/// Pictures of the moving test image.
const FRAMES: u32 = 8;
const SIZE: (u32, u32) = (1280, 720);
/// TLS record size of the real camera.
const PIECE: usize = 4096;

type Reel = [OnceLock<Bytes>; FRAMES as usize];
static LIT: Reel = [const { OnceLock::new() }; FRAMES as usize];
static DARK: Reel = [const { OnceLock::new() }; FRAMES as usize];

/// Serves one TCP connection. Only the first client is fed; a second one gets nothing.
pub(super) async fn handle(core: Arc<Core>, stream: TcpStream) -> io::Result<()> {
    if lock(&core.switches).camera == CameraFault::Closed {
        return Ok(());
    }
    let mut stream = timeout(PATIENCE, core.acceptor().accept(stream)).await??;
    let mut login = [0u8; 80];
    timeout(PATIENCE, stream.read_exact(&mut login)).await??;
    let field = |range: std::ops::Range<usize>| {
        let bytes = login.get(range).unwrap_or_default();
        String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
    };
    let head_fits = login.starts_with(&[0x40, 0, 0, 0, 0, 0x30, 0, 0]);
    let refused = lock(&core.switches).camera == CameraFault::Refuse;
    if !head_fits || !core.login_accepted(&field(16..48), &field(48..80)) || refused {
        return stream.shutdown().await;
    }
    if lock(&core.connections).get("camera").is_some_and(|c| c.open > 1) {
        let mut sink = [0u8; 16];
        while stream.read(&mut sink).await? > 0 {}
        return Ok(());
    }
    feed(&core, &mut stream).await
}

/// Sends pictures until the client is gone.
async fn feed(core: &Core, stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let mut frame = 0;
    loop {
        let changed = core.camera_changed.notified();
        let fault = lock(&core.switches).camera;
        match fault {
            CameraFault::Closed | CameraFault::Refuse => return stream.shutdown().await,
            CameraFault::Stall => {
                let mut sink = [0u8; 16];
                tokio::select! {
                    () = changed => continue,
                    read = stream.read(&mut sink) => if read? == 0 { return Ok(()) } else { continue },
                }
            }
            _ => {}
        }
        let lit =
            lock(&core.printer).lights.iter().any(|(node, mode)| node == "chamber_light" && mode == "on");
        let picture =
            tokio::task::spawn_blocking(move || shown(lit, frame)).await.map_err(io::Error::other)?;
        let Some(picture) = picture else { return Ok(()) };
        let mut head = Vec::with_capacity(16);
        for word in [fault.length(&picture) as u32, 0, 1, 0] {
            head.extend(word.to_le_bytes());
        }
        fault.write(stream, &head).await?;
        for piece in fault.cut(&picture).chunks(PIECE) {
            fault.write(stream, piece).await?;
        }
        stream.flush().await?;
        frame = (frame + 1) % FRAMES;
        tokio::time::sleep(core.options.camera_interval.max(Duration::from_millis(20))).await;
    }
}

/// Each picture is drawn when it is first shown: all of them at once would keep a first viewer waiting.
fn shown(lit: bool, frame: u32) -> Option<Bytes> {
    let cell = if lit { &LIT } else { &DARK }.get(frame as usize)?;
    if let Some(drawn) = cell.get() {
        return Some(drawn.clone());
    }
    let drawn = picture(frame, lit)?;
    Some(cell.get_or_init(|| drawn).clone())
}

/// A grey bed with a square that wanders from left to right; nearly black without light.
fn picture(frame: u32, lit: bool) -> Option<Bytes> {
    let left = SIZE.0 / FRAMES * frame;
    let image = RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let square = (left..left + 160).contains(&x) && (280..440).contains(&y);
        let colour: [u8; 3] = if square { [240, 120, 20] } else { [90, 90, (y / 8) as u8 + 80] };
        Rgb(if lit { colour } else { colour.map(|c| c / 10) })
    });
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, 70).encode_image(&image).ok()?;
    Some(out.into())
}
