//! MJPEG of the simulated CC2: any path, boundary `frame`, one viewer (dossier 3.14).

use std::io;
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
const HEAD: &str = "HTTP/1.0 200 OK\r\nConnection: close\r\nCache-Control: no-store\r\n\
Content-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n";

/// Serves the port until the power goes.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener, power: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = power.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let Some(open) = shared.viewers.enter(shared.options.camera_limit) else { continue };
        let (shared, power) = (Arc::clone(&shared), power.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = power.cancelled() => {}
                _ = stream_to(&shared, stream) => {}
            }
            drop(open);
        });
    }
}

async fn stream_to(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    if shared.core().faults.camera == CameraFault::Closed {
        return Ok(());
    }
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        request.push(timeout(REQUEST_LIMIT, stream.read_u8()).await??);
    }
    if shared.core().faults.camera == CameraFault::Refuse {
        return elegoo_camera::refuse(&mut stream).await;
    }
    stream.write_all(HEAD.as_bytes()).await?;
    let mut sink = [0_u8; 64];
    for n in 0.. {
        let (stalled, fault) = {
            let core = shared.core();
            (core.faults.camera_stalled(), core.faults.camera)
        };
        if matches!(fault, CameraFault::Closed | CameraFault::Refuse) {
            return Ok(());
        }
        if !stalled && fault != CameraFault::Stall {
            elegoo_camera::send(&mut stream, "frame", n, fault).await?;
        }
        tokio::select! {
            () = sleep(PERIOD) => {}
            read = stream.read(&mut sink) => if read? == 0 { return Ok(()) },
        }
    }
    Ok(())
}
