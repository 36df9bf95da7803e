//! MJPEG of the simulated CC2: any path, boundary `frame`, one viewer (dossier 3.14).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::sim::elegoo_camera::frame;

/// About 10 frames a second.
const PERIOD: Duration = Duration::from_millis(100);
/// A viewer that takes nothing for this long is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
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
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        request.push(timeout(WRITE_LIMIT, stream.read_u8()).await??);
    }
    stream.write_all(HEAD.as_bytes()).await?;
    let mut sink = [0_u8; 64];
    for n in 0.. {
        if !shared.core().faults.camera_stalled() {
            let picture = frame(n);
            let head =
                format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", picture.len());
            let mut part = head.into_bytes();
            part.extend_from_slice(&picture);
            part.extend_from_slice(b"\r\n");
            timeout(WRITE_LIMIT, stream.write_all(&part)).await??;
        }
        tokio::select! {
            () = sleep(PERIOD) => {}
            read = stream.read(&mut sink) => if read? == 0 { return Ok(()) },
        }
    }
    Ok(())
}
