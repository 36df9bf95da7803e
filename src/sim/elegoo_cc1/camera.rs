//! MJPEG of the simulated CC1 (dossier 2.13): malformed headers, nothing until Cmd 386, one slot that may leak.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::sim::camera_faults::CameraFault;
use crate::sim::elegoo_camera;

/// About 10 frames a second.
const PERIOD: Duration = Duration::from_millis(100);
/// A viewer that asks for nothing for this long is given up.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The dashes belong to the declared boundary, and the date was never filled in.
const HEAD: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-cache\r\n\
Expires: %a, %d %b %Y %H:%M:%S GMT\r\nContent-Type: multipart/x-mixed-replace; boundary=--foo\r\n\r\n";

pub async fn serve(shared: Arc<Shared>, listener: TcpListener, process: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = process.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((stream, _)) = accepted {
            let (shared, process) = (Arc::clone(&shared), process.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = process.cancelled() => {}
                    _ = stream_to(&shared, stream) => {}
                }
            });
        }
    }
}

/// A viewer beyond the limit gets its headers and then no byte, as the real server does.
async fn stream_to(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    if shared.core().faults.camera == CameraFault::Closed {
        return Ok(());
    }
    read_request(&mut stream).await?;
    if shared.core().faults.camera == CameraFault::Refuse {
        return elegoo_camera::refuse(&mut stream).await;
    }
    let leaked = shared.core().faults.leaked_viewers;
    let slot = shared.viewers.enter(shared.options.camera_limit.saturating_sub(leaked));
    stream.write_all(HEAD.as_bytes()).await?;
    let mut sink = [0_u8; 64];
    if slot.is_none() {
        while stream.read(&mut sink).await? > 0 {}
        return Ok(());
    }
    for n in 0.. {
        let (flowing, fault) = {
            let core = shared.core();
            let faults = &core.faults;
            (core.video && !faults.camera_stalled() && !faults.no_camera, faults.camera)
        };
        if matches!(fault, CameraFault::Closed | CameraFault::Refuse) {
            return Ok(());
        }
        if flowing && fault != CameraFault::Stall {
            elegoo_camera::send(&mut stream, "foo", n, fault).await?;
        }
        tokio::select! {
            () = sleep(PERIOD) => {}
            read = stream.read(&mut sink) => if read? == 0 { return Ok(()) },
        }
    }
    Ok(())
}

/// Reads up to the blank line, at most 8 KiB.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        let byte = timeout(REQUEST_LIMIT, stream.read_u8()).await??;
        request.push(byte);
    }
    Ok(())
}
