//! MJPEG of the simulated CC2: any path, boundary `frame`, one viewer (dossier 3.14).

use std::io;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::sim::camera_faults::CameraFault;
use crate::sim::elegoo_camera;
use crate::sim::elegoo_life::next_peer;

const HEAD: &str = "HTTP/1.0 200 OK\r\nConnection: close\r\nCache-Control: no-store\r\n\
Content-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n";

/// Serves the port until the power goes.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener, power: CancellationToken) {
    while let Some(stream) = next_peer(&listener, &power).await {
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
    elegoo_camera::read_request(&mut stream).await?;
    if shared.core().faults.camera == CameraFault::Refuse {
        return elegoo_camera::refuse(&mut stream).await;
    }
    stream.write_all(HEAD.as_bytes()).await?;
    let now = || {
        let core = shared.core();
        (!core.faults.camera_stalled(), core.faults.camera)
    };
    elegoo_camera::show(&mut stream, "frame", now).await
}
