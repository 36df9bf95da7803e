//! Transfers: listing, upload and download.
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use suppaftp::tokio::TransferStream;
use suppaftp::{Mode, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::channel::{Channel, LastReply};
use super::{FtpsError, FtpsSession, Library, Protection, bounded};

const BUFFER: usize = 256 << 10;
/// After this long without data it is asked whether the server has said already that there is no more.
const QUIET: Duration = Duration::from_secs(1);
/// Largest listing read, in bytes: some 50 000 entries.
const MAX_LISTING: u64 = 4 << 20;

/// Why bytes stopped flowing before the end.
enum Interruption {
    /// The other end or the network; the server's reply says more.
    Remote(io::Error),
    /// Nothing moved for the idle time.
    Idle,
    /// A reason on this side.
    Own(FtpsError),
}

impl FtpsSession {
    /// `verb` is `LIST` or `NLST`.
    pub(super) async fn fetch_listing(&mut self, verb: &str, dir: &str) -> Result<Vec<u8>, FtpsError> {
        let mut bytes = Vec::new();
        let command = format!("{verb} {dir}");
        self.receive(dir, &command, &mut bytes, MAX_LISTING, |_| {}, &CancellationToken::new()).await?;
        Ok(bytes)
    }

    /// Stores everything `source` yields as `remote`, replacing a file of that name.
    ///
    /// `progress` gets the total number of bytes handed to the socket, which runs somewhat ahead
    /// of the printer (450 kB measured on loopback against a peer that reads nothing). Returns the number of bytes stored, checked with `SIZE` where
    /// the printer has it. After a failure the partial file is deleted if the printer can still be
    /// reached, because some printers start leftovers by themselves (bambu.md 5.4); a refusal
    /// before any data flowed deletes nothing.
    ///
    /// # Errors
    /// [`FtpsError::Cancelled`], [`FtpsError::Truncated`], [`FtpsError::StorageFull`],
    /// [`FtpsError::BadName`], [`FtpsError::DataRefused`], [`FtpsError::NoData`], [`FtpsError::Aborted`],
    /// [`FtpsError::Timeout`], [`FtpsError::Local`] and the errors of a lost session.
    pub async fn upload(
        &mut self,
        source: impl AsyncRead + Unpin,
        remote: &str,
        progress: impl FnMut(u64),
        cancel: &CancellationToken,
    ) -> Result<u64, FtpsError> {
        self.begin(remote)?;
        let reply = self.options.timeouts.reply;
        let mut opened = bounded(reply, self.library.put_with_stream(remote)).await;
        if self.turns_extended(&opened) {
            opened = bounded(reply, self.library.put_with_stream(remote)).await;
            self.turned_extended(&opened);
        }
        let data = self.opened(opened)?;
        let result = Box::pin(self.send(data, source, remote, progress, cancel)).await;
        if result.is_err() {
            Box::pin(self.discard(remote)).await;
        }
        result
    }

    async fn send(
        &mut self,
        mut data: TransferStream<Channel>,
        source: impl AsyncRead + Unpin,
        remote: &str,
        progress: impl FnMut(u64),
        cancel: &CancellationToken,
    ) -> Result<u64, FtpsError> {
        let idle = self.options.timeouts.idle;
        let pumped = pump_out(source, &mut data, idle, progress, cancel).await;
        match pumped {
            Ok(sent) => {
                let finished = self.conclude(data, cancel).await;
                self.confirm(sent, finished, remote).await
            }
            Err(Interruption::Remote(error)) => {
                let finished = bounded(self.options.timeouts.reply, data.finish()).await;
                Err(self.settle(finished).err().unwrap_or(FtpsError::Aborted(error.to_string())))
            }
            Err(Interruption::Idle) => Err(FtpsError::Timeout(idle)),
            Err(Interruption::Own(error)) => Err(self.abandon(data, error)),
        }
    }

    /// Closes the data connection and waits for the final reply.
    async fn conclude(
        &mut self,
        data: TransferStream<Channel>,
        cancel: &CancellationToken,
    ) -> Result<(), FtpsError> {
        let finish = bounded(self.options.timeouts.finish, data.finish());
        tokio::select! {
            biased;
            () = cancel.cancelled() => {
                self.unsettled = false;
                Err(FtpsError::Cancelled)
            }
            finished = finish => {
                self.private_data |= finished.is_ok() && self.options.protection == Protection::Private;
                self.settle(finished)
            }
        }
    }

    /// Ends a transfer for a reason on this side; the session stays usable because the library
    /// reads the reply of the abandoned transfer before the next command.
    fn abandon(&mut self, data: TransferStream<Channel>, error: FtpsError) -> FtpsError {
        drop(data);
        self.unsettled = false;
        error
    }

    /// Judges an upload by the length stored: the final reply alone is wrong in both directions
    /// (bambu.md T27).
    async fn confirm(
        &mut self,
        sent: u64,
        finished: Result<(), FtpsError>,
        remote: &str,
    ) -> Result<u64, FtpsError> {
        let doubt = match finished {
            Ok(()) => None,
            Err(error @ (FtpsError::Aborted(_) | FtpsError::Timeout(_) | FtpsError::Broken(_))) => {
                Some(error)
            }
            Err(error) => return Err(error),
        };
        if self.unsettled
            && let Err(error) = self.reopen().await
        {
            return Err(doubt.unwrap_or(error));
        }
        match (self.size(remote).await, doubt) {
            (Ok(stored), None) if stored == sent => Ok(sent),
            (Ok(stored), Some(error)) if stored == sent => {
                tracing::warn!(remote, %error, "upload complete by size although not confirmed");
                Ok(sent)
            }
            (Ok(stored), _) => Err(FtpsError::Truncated { sent, stored }),
            // The server confirmed the upload, and cannot tell lengths: some answer 550 to that (bambu.md 5.2).
            (Err(FtpsError::Unsupported(_) | FtpsError::NotFound(_)), None) => Ok(sent),
            (Err(error), None) => Err(error),
            (Err(_), Some(error)) => Err(error),
        }
    }

    /// Copies the file `remote` into `sink`; returns its length in bytes.
    ///
    /// `progress` gets the total number of bytes received. What `sink` holds after an error is
    /// incomplete.
    ///
    /// # Errors
    /// [`FtpsError::NotFound`], [`FtpsError::TooLarge`] beyond `limit` bytes,
    /// [`FtpsError::Truncated`] if the file is longer or shorter than `SIZE` said,
    /// [`FtpsError::Cancelled`], [`FtpsError::DataRefused`], [`FtpsError::NoData`], [`FtpsError::Aborted`],
    /// [`FtpsError::Timeout`], [`FtpsError::Local`] and the errors of a lost session.
    pub async fn download(
        &mut self,
        remote: &str,
        sink: impl AsyncWrite + Unpin,
        limit: u64,
        progress: impl FnMut(u64),
        cancel: &CancellationToken,
    ) -> Result<u64, FtpsError> {
        let announced = match self.size(remote).await {
            Ok(size) if size > limit => return Err(FtpsError::TooLarge(limit)),
            Ok(size) => Some(size),
            Err(FtpsError::Unsupported(_)) => None,
            Err(error) => return Err(error),
        };
        let command = format!("RETR {remote}");
        let stored = Box::pin(self.receive(remote, &command, sink, limit, progress, cancel)).await?;
        match announced {
            Some(sent) if sent != stored => Err(FtpsError::Truncated { sent, stored }),
            _ => Ok(stored),
        }
    }

    async fn receive(
        &mut self,
        path: &str,
        command: &str,
        sink: impl AsyncWrite + Unpin,
        limit: u64,
        progress: impl FnMut(u64),
        cancel: &CancellationToken,
    ) -> Result<u64, FtpsError> {
        self.begin(path)?;
        let expected = [Status::AboutToSend, Status::AlreadyOpen];
        let reply = self.options.timeouts.reply;
        let mut opened = bounded(reply, self.library.custom_data_command(command, &expected)).await;
        if self.turns_extended(&opened) {
            opened = bounded(reply, self.library.custom_data_command(command, &expected)).await;
            self.turned_extended(&opened);
        }
        let (_, mut data) = self.opened(opened)?;
        let idle = self.options.timeouts.idle;
        let ended = Ended { library: &self.library, last_reply: &self.last_reply };
        match pump_in(&mut data, ended, sink, limit, idle, progress, cancel).await {
            Ok(received) => self.conclude(data, cancel).await.map(|()| received),
            Err(Interruption::Remote(error)) => {
                let finished = bounded(self.options.timeouts.reply, data.finish()).await;
                Err(self.settle(finished).err().unwrap_or(FtpsError::Aborted(error.to_string())))
            }
            Err(Interruption::Idle) => Err(FtpsError::Timeout(idle)),
            Err(Interruption::Own(error)) => Err(self.abandon(data, error)),
        }
    }

    /// Ends the opening of a transfer: on success it is under way, and a data connection that
    /// failed after the server accepted the command leaves a reply nobody will read.
    fn opened<T>(&mut self, result: Result<T, FtpsError>) -> Result<T, FtpsError> {
        let result = result.map_err(FtpsError::of_session);
        self.unsettled = match &result {
            Ok(_) | Err(FtpsError::DataRefused(_) | FtpsError::DataCut(_) | FtpsError::NoData(_)) => true,
            Err(error) => error.is_fatal(),
        };
        if result.is_err() {
            self.prepared.forget();
        }
        result
    }

    /// Deletes what a failed upload left behind, in a new session if this one is unusable.
    async fn discard(&mut self, remote: &str) {
        let deadline = self.options.timeouts.abandon;
        let mut result =
            timeout(deadline, self.delete(remote)).await.unwrap_or(Err(FtpsError::Timeout(deadline)));
        if self.unsettled {
            result = match self.reopen().await {
                Ok(()) => self.delete(remote).await,
                Err(error) => Err(error),
            };
        }
        match result {
            Ok(()) | Err(FtpsError::NotFound(_)) => {}
            Err(error) => {
                tracing::warn!(remote, %error, "an incomplete file may be left on the printer");
            }
        }
    }

    /// Replaces a session that is out of step. The old connection is closed first: printers allow
    /// few at a time.
    async fn reopen(&mut self) -> Result<(), FtpsError> {
        self.unsettled = true;
        self.hang_up().await;
        let last_reply = Arc::default();
        self.library = Box::pin(Self::log_in(&self.options, &last_reply, &self.prepared)).await?;
        self.last_reply = last_reply;
        if self.extended {
            self.library.set_mode(Mode::ExtendedPassive);
        }
        self.unsettled = false;
        Ok(())
    }
}

/// Sends one piece while the next one is read.
async fn pump_out(
    mut source: impl AsyncRead + Unpin,
    data: &mut TransferStream<Channel>,
    idle: Duration,
    mut progress: impl FnMut(u64),
    cancel: &CancellationToken,
) -> Result<u64, Interruption> {
    let (mut piece, mut ahead) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut sent = 0_u64;
    let mut filled = source.read(&mut piece).await.map_err(local)?;
    while filled > 0 {
        let sending = async {
            let mut rest = piece.get(..filled).unwrap_or_default();
            while !rest.is_empty() {
                let written = moved(data.write(rest), idle, cancel).await?;
                if written == 0 {
                    return Err(Interruption::Remote(io::ErrorKind::WriteZero.into()));
                }
                rest = rest.get(written..).unwrap_or_default();
                sent += written as u64;
                progress(sent);
            }
            Ok(())
        };
        let both = async { tokio::join!(sending, source.read(&mut ahead)) };
        let (done, next) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Interruption::Own(FtpsError::Cancelled)),
            both = both => both,
        };
        done?;
        filled = next.map_err(local)?;
        std::mem::swap(&mut piece, &mut ahead);
    }
    moved(data.flush(), idle, cancel).await?;
    Ok(sent)
}

/// Tells whether the server has ended a transfer whose data connection it leaves open: bambuddy's virtual printer
/// answers a listing with 150 and 226 and never touches the data connection.
struct Ended<'a> {
    library: &'a Library,
    last_reply: &'a LastReply,
}

impl Ended<'_> {
    async fn told(&self) -> bool {
        if self.last_reply.is_final() {
            return true;
        }
        let control = self.library.get_ref().await;
        matches!(control.peek(&mut [0]).now_or_never(), Some(Ok(1)))
    }
}

async fn pump_in(
    data: &mut TransferStream<Channel>,
    ended: Ended<'_>,
    mut sink: impl AsyncWrite + Unpin,
    limit: u64,
    idle: Duration,
    mut progress: impl FnMut(u64),
    cancel: &CancellationToken,
) -> Result<u64, Interruption> {
    let mut buffer = vec![0; BUFFER];
    let mut received = 0_u64;
    loop {
        let reading = async {
            loop {
                match timeout(QUIET, data.read(&mut buffer)).await {
                    Ok(filled) => return filled,
                    Err(_) if ended.told().await => return Ok(0),
                    Err(_) => {}
                }
            }
        };
        let filled = moved(reading, idle, cancel).await?;
        let bytes = buffer.get(..filled).unwrap_or_default();
        if bytes.is_empty() {
            sink.flush().await.map_err(local)?;
            return Ok(received);
        }
        received += filled as u64;
        if received > limit {
            return Err(Interruption::Own(FtpsError::TooLarge(limit)));
        }
        sink.write_all(bytes).await.map_err(local)?;
        progress(received);
    }
}

fn local(error: io::Error) -> Interruption {
    Interruption::Own(FtpsError::Local(error))
}

/// One step of a transfer, unless cancelled or idle for too long.
async fn moved<T>(
    step: impl Future<Output = io::Result<T>>,
    idle: Duration,
    cancel: &CancellationToken,
) -> Result<T, Interruption> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Interruption::Own(FtpsError::Cancelled)),
        stepped = timeout(idle, step) => match stepped {
            Ok(result) => result.map_err(Interruption::Remote),
            Err(_) => Err(Interruption::Idle),
        },
    }
}
