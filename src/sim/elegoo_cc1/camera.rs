//! MJPEG of the simulated CC1 (dossier 2.13): malformed headers, nothing until Cmd 386, one slot that may leak.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::sim::camera_faults::CameraFault;
use crate::sim::elegoo_camera;
use crate::sim::elegoo_life::next_peer;

/// The dashes belong to the declared boundary, and the date was never filled in.
const HEAD: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-cache\r\n\
Expires: %a, %d %b %Y %H:%M:%S GMT\r\nContent-Type: multipart/x-mixed-replace; boundary=--foo\r\n\r\n";

pub async fn serve(shared: Arc<Shared>, listener: TcpListener, process: CancellationToken) {
    while let Some(stream) = next_peer(&listener, &process).await {
        let (shared, process) = (Arc::clone(&shared), process.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = process.cancelled() => {}
                _ = stream_to(&shared, stream) => {}
            }
        });
    }
}

/// A viewer beyond the limit gets its headers and then no byte, as the real server does.
async fn stream_to(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    if shared.core().faults.camera == CameraFault::Closed {
        return Ok(());
    }
    elegoo_camera::read_request(&mut stream).await?;
    if shared.core().faults.camera == CameraFault::Refuse {
        return elegoo_camera::refuse(&mut stream).await;
    }
    let leaked = shared.core().faults.leaked_viewers;
    let slot = shared.viewers.enter(shared.options.camera_limit.saturating_sub(leaked));
    stream.write_all(HEAD.as_bytes()).await?;
    if slot.is_none() {
        let mut sink = [0_u8; 64];
        while stream.read(&mut sink).await? > 0 {}
        return Ok(());
    }
    let now = || {
        let core = shared.core();
        let faults = &core.faults;
        (core.video && !faults.camera_stalled() && !faults.no_camera, faults.camera)
    };
    elegoo_camera::show(&mut stream, "foo", now).await
}
