//! Data connections: TLS that must resume the control session, one transfer at a time, and the faults of transfers.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::core::lock;
use super::super::listen::PATIENCE;
use super::super::models::{DataChannel, Reporting};
use super::{FAILED, Session};

const CHUNK: usize = 64 << 10;
/// Where the fault `abort426` breaks an upload (dossier 5.1 step 6).
const BREAK_AT: usize = 7 * CHUNK;
/// No answer: both connections end (fault `cut_uploads`).
const CUT: &str = "";
/// Silence after which a data connection is given up.
const STALL: Duration = Duration::from_secs(60);

trait Channel: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Channel for T {}
type Data = Pin<Box<dyn Channel>>;

impl Session {
    /// Runs LIST, NLST, RETR or STOR with all its replies.
    pub(super) async fn transfer(&mut self, verb: &str, argument: &str) -> io::Result<()> {
        let Some(listener) = self.passive.take() else {
            return self.reply("425 Use PASV first.").await;
        };
        let busy = {
            let mut switches = lock(&self.core.switches);
            let left = switches.busy_data;
            switches.busy_data = left.saturating_sub(1);
            left > 0
        };
        if busy {
            return self.reply("425 Failed to establish connection.").await;
        }
        let clear = self.core.data_channel() == DataChannel::Clear;
        if !self.protected && !clear {
            return self.reply("522 Data connections must be encrypted.").await;
        }
        let Ok(_only_one) = self.core.transfers.clone().try_acquire_owned() else {
            return self.reply("425 Failed to establish connection.").await;
        };
        let (present, whole) = {
            let printer = lock(&self.core.printer);
            (printer.storage, printer.model.nlst_paths)
        };
        let path = self.storage.path(argument);
        let content = match verb {
            "LIST" | "NLST" if !present => Some(Vec::new()),
            _ if !present => return self.reply(FAILED).await,
            "LIST" | "NLST" => match self.storage.list(argument, verb == "LIST", whole) {
                Ok(text) => Some(text.into_bytes()),
                Err(_) => return self.reply(FAILED).await,
            },
            "RETR" => match path.as_ref().map(std::fs::read) {
                Ok(Ok(bytes)) => Some(bytes),
                _ => return self.reply(FAILED).await,
            },
            _ => None,
        };
        let Ok(Ok((stream, _))) = timeout(PATIENCE, listener.accept()).await else {
            return self.reply("425 Failed to establish connection.").await;
        };
        // The handshake comes after 150 (dossier 5.1 step 4).
        let encrypt_first = lock(&self.core.switches).encrypt_first;
        if !encrypt_first {
            self.reply("150 Ok to send data.").await?;
        }
        let cut = {
            let mut switches = lock(&self.core.switches);
            let left = switches.cut_handshakes;
            switches.cut_handshakes = left.saturating_sub(1);
            left > 0
        };
        if cut {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let (data, allowed) = match self.secure(stream, clear).await {
            Ok(secured) => secured,
            Err(_) => return self.reply("522 SSL connection failed.").await,
        };
        if encrypt_first {
            self.reply("150 Ok to send data.").await?;
        }
        if !allowed {
            lock(&self.core.printer).counters.unresumed_data += 1;
            return self.reply("522 SSL connection failed: session reuse required").await;
        }
        let upload = content.is_none();
        let answer = match (content, path) {
            (Some(bytes), _) => self.send(data, &bytes, verb).await,
            (None, Ok(path)) => self.store(data, &path).await,
            (None, Err(_)) => "553 Could not create file.",
        };
        if upload && answer == CUT {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.reply(answer).await
    }

    /// The data channel, and whether the printer accepts it.
    async fn secure(&self, stream: TcpStream, clear: bool) -> io::Result<(Data, bool)> {
        if clear {
            return Ok((Box::pin(stream), true));
        }
        let stream = timeout(PATIENCE, self.core.ftps_acceptor().accept(stream)).await??;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let allowed = resumed || self.core.data_channel() != DataChannel::Resumed;
        Ok((Box::pin(stream), allowed))
    }

    async fn send(&self, mut data: Data, bytes: &[u8], verb: &str) -> &'static str {
        for chunk in bytes.chunks(CHUNK) {
            self.throttle(chunk.len()).await;
            if !matches!(timeout(STALL, data.write_all(chunk)).await, Ok(Ok(()))) {
                return "426 Failure writing network stream.";
            }
        }
        if !matches!(timeout(STALL, data.shutdown()).await, Ok(Ok(()))) {
            return "426 Failure writing network stream.";
        }
        if verb == "RETR" {
            lock(&self.core.printer).counters.downloads += 1;
            return "226 Transfer complete.";
        }
        "226 Directory send OK."
    }

    /// Stores an upload. The file appears under its name only with what arrived, as on the printer's card.
    async fn store(&self, mut data: Data, path: &std::path::Path) -> &'static str {
        let Ok(mut file) = tokio::fs::File::create(path).await else { return "553 Could not create file." };
        let mut buffer = vec![0u8; CHUNK];
        let mut stored = 0usize;
        loop {
            let (full, abort) = {
                let switches = lock(&self.core.switches);
                (switches.full_disk, switches.abort_426)
            };
            let read = match timeout(STALL, data.read(&mut buffer)).await {
                Ok(Ok(read)) => read,
                // P1 clients close without close_notify: the end of the data all the same.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                _ => return "426 Failure reading network stream.",
            };
            if read == 0 {
                break;
            }
            if full {
                return "552 Storage full.";
            }
            let cut = {
                let mut switches = lock(&self.core.switches);
                let now = switches.cut_uploads > 0 && stored >= BREAK_AT;
                switches.cut_uploads -= u32::from(now);
                now
            };
            if cut {
                return CUT;
            }
            let room = if abort { BREAK_AT.saturating_sub(stored).min(read) } else { read };
            if file.write_all(buffer.get(..room).unwrap_or_default()).await.is_err() {
                return "552 Storage full.";
            }
            stored += room;
            if abort && stored >= BREAK_AT {
                let _ = file.flush().await;
                return "426 Failure reading network stream.";
            }
            self.throttle(read).await;
        }
        if file.flush().await.is_err() || file.sync_all().await.is_err() {
            return "552 Storage full.";
        }
        self.finish(data).await;
        lock(&self.core.printer).counters.uploads += 1;
        if lock(&self.core.switches).late_426 {
            return "426 Failure reading network stream.";
        }
        "226 Transfer complete."
    }

    /// P1 and A1 never send close_notify after an upload (dossier 5.1 step 5).
    async fn finish(&self, mut data: Data) {
        if self.core.options.model.reporting != Reporting::Delta {
            let _ = timeout(PATIENCE, data.shutdown()).await;
        }
    }

    async fn throttle(&self, bytes: usize) {
        let rate = lock(&self.core.switches).bytes_per_second;
        if rate > 0 {
            tokio::time::sleep(Duration::from_secs_f64((bytes as f64 / rate as f64).min(60.0))).await;
        }
    }
}
