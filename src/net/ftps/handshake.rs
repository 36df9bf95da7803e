//! The TLS handshake of a data connection, which some servers want before they announce the transfer.
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long the announcement (150) may stay out until the handshake begins without it. Printers announce first
/// (bambu.md 5.1 step 4); others, as ftp-srv, announce only what is encrypted already.
const PATIENCE: Duration = Duration::from_secs(1);

/// The handshake of the newest data connection; an older one ends when it is replaced.
#[derive(Default)]
pub(super) struct Prepared(Mutex<Option<Handshake>>);

struct Handshake {
    announced: Arc<Notify>,
    /// Ends with the handshake.
    task: JoinSet<io::Result<TlsStream<TcpStream>>>,
}

impl Prepared {
    fn slot(&self) -> MutexGuard<'_, Option<Handshake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connected socket for its handshake, which may take until `deadline` once it has begun; what comes back is a second handle to it, for the library.
    pub fn prepare(
        &self,
        tls: TlsConnector,
        name: ServerName<'static>,
        socket: TcpStream,
        deadline: Duration,
    ) -> io::Result<TcpStream> {
        let socket = socket.into_std()?;
        let second = TcpStream::from_std(socket.try_clone()?)?;
        let socket = TcpStream::from_std(socket)?;
        let announced = Arc::new(Notify::new());
        let told = announced.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            // The end of the wait is no error: it is what the wait is for.
            let _late = tokio::time::timeout(PATIENCE, told.notified()).await;
            let handshake = tokio::time::timeout(deadline, tls.connect(name, socket)).await;
            handshake.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()))
        });
        *self.slot() = Some(Handshake { announced, task });
        Ok(second)
    }

    /// The encrypted data connection, now that the transfer is announced; `None` without a prepared one.
    pub async fn finish(&self) -> Option<io::Result<TlsStream<TcpStream>>> {
        let mut handshake = self.slot().take()?;
        handshake.announced.notify_one();
        match handshake.task.join_next().await? {
            Ok(result) => Some(result),
            Err(ended) => Some(Err(io::Error::other(ended))),
        }
    }

    /// Closes what was prepared for a transfer that does not take place.
    pub fn forget(&self) {
        *self.slot() = None;
    }
}
