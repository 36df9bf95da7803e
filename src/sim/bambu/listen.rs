//! Accepts connections for a service, closes them with the link, and refuses them while the power is off.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::core::Core;

/// Time a client has for its TLS handshake and login.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// Serves `handle` on `listener` until shutdown. While the power is off the port is closed, then bound again.
pub(super) fn serve<H, F>(
    core: Arc<Core>,
    service: &'static str,
    listener: TcpListener,
    handle: H,
) -> io::Result<JoinHandle<()>>
where
    H: Fn(Arc<Core>, TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let address = listener.local_addr()?;
    Ok(tokio::spawn(async move {
        let handle = Arc::new(handle);
        let mut listener = Some(listener);
        let mut power = core.power.subscribe();
        loop {
            let Some(open) = &listener else {
                listener = reopen(&core, address).await;
                if listener.is_none() {
                    return;
                }
                continue;
            };
            tokio::select! {
                () = core.shutdown.cancelled() => return,
                _ = power.changed() => {
                    if !*power.borrow_and_update() {
                        listener = None;
                    }
                }
                accepted = open.accept() => {
                    if let Ok((stream, _)) = accepted {
                        spawn_connection(core.clone(), service, stream, handle.clone());
                    }
                }
            }
        }
    }))
}

fn spawn_connection<H, F>(core: Arc<Core>, service: &'static str, stream: TcpStream, handle: Arc<H>)
where
    H: Fn(Arc<Core>, TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let link = core.link();
    tokio::spawn(async move {
        let _ = stream.set_nodelay(true);
        let Ok((open, stream)) = twice(stream) else { return };
        // Dropped in reverse: a client that sees the end of the connection may open the next without being counted twice.
        let _open = open;
        let _counted = core.count(service);
        tokio::select! {
            () = link.cancelled() => {}
            ended = handle(core.clone(), stream) => {
                if let Err(error) = ended {
                    tracing::debug!(service, %error, "simulated printer: connection ended");
                }
            }
        }
    });
}

/// The same connection as two values; it ends with the later one.
fn twice(stream: TcpStream) -> io::Result<(std::net::TcpStream, TcpStream)> {
    let stream = stream.into_std()?;
    Ok((stream.try_clone()?, TcpStream::from_std(stream)?))
}

/// Waits for the power and binds the old port; `None` at shutdown.
async fn reopen(core: &Arc<Core>, address: SocketAddr) -> Option<TcpListener> {
    let mut power = core.power.subscribe();
    tokio::select! {
        () = core.shutdown.cancelled() => return None,
        on = power.wait_for(|on| *on) => { on.ok()?; }
    }
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Some(listener),
            Err(error) => tracing::warn!(%address, %error, "simulated printer: port still taken"),
        }
        tokio::select! {
            () = core.shutdown.cancelled() => return None,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}
