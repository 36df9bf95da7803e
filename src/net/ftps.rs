//! Implicit FTPS sessions with printers.
//!
//! Facts: bambu.md 5.1 to 5.3; traps: crates.md section 2. One command at a time, one transfer at
//! a time; every step has a deadline. Nothing here retries: the caller knows whether it may.
mod channel;
mod error;
mod handshake;
mod listing;
#[cfg(test)]
mod tests;
mod transfer;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use suppaftp::tokio::ImplAsyncFtpStream;
use suppaftp::types::FileType;
use suppaftp::{FtpError, FtpResult, Mode, Status};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use channel::{Channel, Connector, DataWay, LastReply};
pub use error::FtpsError;
#[cfg(any(test, fuzzing, feature = "doors"))]
pub(crate) use error::reply_code;
use handshake::Prepared;
pub use listing::RemoteEntry;
#[cfg(any(test, fuzzing, feature = "doors"))]
pub(crate) use listing::parse as parse_listing;

use super::tls::server_name;

/// Deadline for a polite goodbye.
const QUIT: Duration = Duration::from_secs(3);

/// Names of a folder that are asked for their length one by one.
const MAX_MEASURED: usize = 1000;

/// How long a server may take to hang up after the goodbye.
const HANG_UP: Duration = Duration::from_secs(1);

/// Protection of data connections.
///
/// Try [`Protection::Private`] first. On [`FtpsError::DataRefused`] try [`Protection::Clear`], and
/// remember it for this printer if it works (A1 and A1 mini, bambu.md 5.1). [`FtpsError::NoData`] says nothing about
/// protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protection {
    /// `PROT P`: data over TLS.
    #[default]
    Private,
    /// `PROT C`: files cross the network in clear text; logged at every session.
    Clear,
}

/// Deadlines of one session.
#[derive(Debug, Clone, Copy)]
pub struct FtpsTimeouts {
    /// TCP, TLS and greeting; also TCP of a data connection.
    pub connect: Duration,
    /// One reply, including the TLS handshake of a data connection.
    pub reply: Duration,
    /// That handshake alone: some servers that want clear data never answer it (bambu.md 5.1). A slow network needs
    /// four ways for it, and `reply` must be longer.
    pub handshake: Duration,
    /// Longest pause of a running transfer.
    pub idle: Duration,
    /// From the last byte to the final reply: up to 30 s on H2D, 300 s for big files at worst.
    pub finish: Duration,
    /// The replies to a transfer that was broken off, and to the deletion of what it left; a new session is made then.
    /// Somebody waits for the end of a cancelled print.
    pub abandon: Duration,
}

impl Default for FtpsTimeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(25),
            reply: seconds(30),
            handshake: seconds(20),
            idle: seconds(30),
            finish: seconds(300),
            abandon: seconds(5),
        }
    }
}

/// Where and how to open a session. `Debug` hides the password.
#[derive(Clone)]
pub struct FtpsOptions {
    /// IP address or host name; data connections go there too, whatever `PASV` answers.
    pub host: String,
    /// TCP port, 990 on printers.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// From [`super::tls::PrinterTls::ftps_config`], made for this session alone.
    pub config: Arc<ClientConfig>,
    /// Protection of data connections.
    pub protection: Protection,
    /// Deadlines.
    pub timeouts: FtpsTimeouts,
    password: Zeroizing<String>,
}

impl FtpsOptions {
    /// Options with private data connections and default deadlines.
    pub fn new(host: &str, port: u16, user: &str, password: &str, config: Arc<ClientConfig>) -> Self {
        Self {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            config,
            protection: Protection::default(),
            timeouts: FtpsTimeouts::default(),
            password: Zeroizing::new(password.to_owned()),
        }
    }
}

impl fmt::Debug for FtpsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FtpsOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("protection", &self.protection)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

type Library = ImplAsyncFtpStream<Channel>;

/// A logged-in session.
///
/// A call that is dropped midway, or fails in a way that may leave replies out of step, makes the
/// session answer [`FtpsError::Closed`] from then on.
pub struct FtpsSession {
    options: FtpsOptions,
    library: Library,
    last_reply: Arc<LastReply>,
    prepared: Arc<Prepared>,
    /// A command is under way, or one ended in an unknown state.
    unsettled: bool,
    /// A transfer came to its end over TLS.
    private_data: bool,
    /// The server knows `EPSV` only.
    extended: bool,
    /// The server lists names only.
    names_only: bool,
}

impl fmt::Debug for FtpsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FtpsSession").field("options", &self.options).finish_non_exhaustive()
    }
}

impl FtpsSession {
    /// Connects, logs in, and selects binary transfers and the protection of data connections.
    ///
    /// # Errors
    /// [`FtpsError::Auth`], [`FtpsError::Tls`], [`FtpsError::Unreachable`] (the service may be
    /// disabled: Developer Mode), [`FtpsError::Timeout`]. A protection that does not work shows
    /// only at the first transfer, as [`FtpsError::DataRefused`].
    pub async fn open(options: FtpsOptions) -> Result<Self, FtpsError> {
        let (last_reply, prepared) = Default::default();
        let library = Box::pin(Self::log_in(&options, &last_reply, &prepared)).await?;
        Ok(Self {
            options,
            library,
            last_reply,
            prepared,
            unsettled: false,
            private_data: false,
            extended: false,
            names_only: false,
        })
    }

    async fn log_in(
        options: &FtpsOptions,
        last_reply: &Arc<LastReply>,
        prepared: &Arc<Prepared>,
    ) -> Result<Library, FtpsError> {
        let FtpsTimeouts { connect, reply, handshake, .. } = options.timeouts;
        let clear = Arc::new(AtomicBool::new(false));
        let way = DataWay {
            tls: TlsConnector::from(options.config.clone()),
            name: server_name(&options.host).map_err(|error| FtpsError::Tls(error.to_string()))?,
            clear: clear.clone(),
            prepared: prepared.clone(),
            deadline: connect,
            handshake,
        };
        let connector = Connector {
            tls: way.tls.clone(),
            clear: clear.clone(),
            last_reply: last_reply.clone(),
            prepared: prepared.clone(),
        };
        let address = (options.host.as_str(), options.port);
        let connecting = Library::connect_secure_implicit(address, connector, &options.host);
        let mut library = match timeout(connect, connecting).await {
            Err(_) => return Err(FtpsError::Timeout(connect)),
            Ok(Err(FtpError::SecureError(reason))) => return Err(FtpsError::Tls(reason)),
            Ok(connected) => connected?
                .passive_stream_builder(move |address| Box::pin(channel::connect_data(address, way.clone()))),
        };
        library.set_mode(Mode::Passive);
        // Printers behind bridges answer PASV with 0.0.0.0 or an internal address.
        library.set_passive_nat_workaround(true);
        bounded(reply, library.login(options.user.as_str(), options.password.as_str())).await?;
        protect(&mut library, options, &clear).await?;
        // Without this the library would rewrite line ends.
        bounded(reply, library.transfer_type(FileType::Binary)).await?;
        Ok(library)
    }

    /// The entries of the folder `dir`, for instance `/cache`.
    ///
    /// `now` (Unix seconds) dates entries that show no year. A server without `LIST` is asked for the names, and for the
    /// length of each; what has none is taken for a folder (bambu.md 5.2).
    ///
    /// # Errors
    /// [`FtpsError::NotFound`] if the server says so; some answer an empty list instead.
    pub async fn list(&mut self, dir: &str, now: i64) -> Result<Vec<RemoteEntry>, FtpsError> {
        if !self.names_only {
            match Box::pin(self.fetch_listing("LIST", dir)).await {
                Err(FtpsError::Unsupported(_)) => self.names_only = true,
                listed => return listed.map(|bytes| listing::parse(&bytes, now)),
            }
        }
        let names = listing::names(&Box::pin(self.fetch_listing("NLST", dir)).await?);
        let mut entries = Vec::with_capacity(names.len().min(MAX_MEASURED));
        for name in names.into_iter().take(MAX_MEASURED) {
            let (size, dir) = match self.size(&format!("{}/{name}", dir.trim_end_matches('/'))).await {
                Ok(size) => (size, false),
                Err(FtpsError::NotFound(_)) => (0, true),
                Err(FtpsError::Unsupported(_) | FtpsError::BadName(_)) => (0, false),
                Err(error) => return Err(error),
            };
            entries.push(RemoteEntry { name, size, dir, modified: None });
        }
        Ok(entries)
    }

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// [`FtpsError::NotFound`] also where the server refuses `SIZE` for folders.
    pub async fn size(&mut self, path: &str) -> Result<u64, FtpsError> {
        self.begin(path)?;
        let reply = bounded(self.options.timeouts.reply, self.library.size(path)).await;
        self.settle(reply).map(|size| size as u64)
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// [`FtpsError::NotFound`] if there is none.
    pub async fn delete(&mut self, path: &str) -> Result<(), FtpsError> {
        self.begin(path)?;
        let reply = bounded(self.options.timeouts.reply, self.library.rm(path)).await;
        self.settle(reply)
    }

    /// Renames or moves a file.
    ///
    /// # Errors
    /// [`FtpsError::NotFound`], [`FtpsError::BadName`], [`FtpsError::Unsupported`].
    pub async fn rename(&mut self, from: &str, to: &str) -> Result<(), FtpsError> {
        check_path(to)?;
        self.begin(from)?;
        let reply = bounded(self.options.timeouts.reply, self.library.rename(from, to)).await;
        self.settle(reply)
    }

    /// Creates a folder.
    ///
    /// # Errors
    /// [`FtpsError::NotFound`] also where it exists already (servers answer 550 to both).
    pub async fn mkdir(&mut self, path: &str) -> Result<(), FtpsError> {
        self.begin(path)?;
        let reply = bounded(self.options.timeouts.reply, self.library.mkdir(path)).await;
        self.settle(reply)
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// [`FtpsError::NotFound`] also where it is not empty.
    pub async fn rmdir(&mut self, path: &str) -> Result<(), FtpsError> {
        self.begin(path)?;
        let reply = bounded(self.options.timeouts.reply, self.library.rmdir(path)).await;
        self.settle(reply)
    }

    /// Free bytes of the storage, by `AVBL`.
    ///
    /// # Errors
    /// [`FtpsError::Unsupported`] on printers without the command (bambu.md 5.2).
    pub async fn free_space(&mut self) -> Result<u64, FtpsError> {
        self.begin("/")?;
        let command = self.library.custom_command("AVBL", &[Status::File]);
        let reply = bounded(self.options.timeouts.reply, command).await;
        let text = self.settle(reply)?;
        let text = String::from_utf8_lossy(&text.body).into_owned();
        let number = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        number.ok_or(FtpsError::Protocol(text))
    }

    /// The printer took or gave data over TLS in this session.
    pub fn has_private_data(&self) -> bool {
        self.private_data
    }

    /// Says goodbye and waits until the server has closed, so that its only session is free for the next one; errors do
    /// not matter any more.
    pub async fn quit(mut self) {
        if !self.unsettled && timeout(QUIT, self.library.quit()).await.is_err() {
            tracing::debug!(host = %self.options.host, "no answer to QUIT");
        }
        self.hang_up().await;
    }

    /// Ends the control connection and waits until the server has ended it too: printers allow one session, and a
    /// new one would meet the old one otherwise (bambu.md 5.2).
    async fn hang_up(&mut self) {
        self.prepared.forget();
        let socket = self.library.get_ref().await;
        if let Err(error) = socket2::SockRef::from(&*socket).shutdown(Shutdown::Write) {
            tracing::debug!(%error, "the control connection was gone already");
            return;
        }
        let ended = async {
            let mut rest = [0; 512];
            while socket.readable().await.is_ok() {
                match socket.try_read(&mut rest) {
                    Ok(0) => break,
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                    _ => {}
                }
            }
        };
        if timeout(HANG_UP, ended).await.is_err() {
            tracing::debug!(host = %self.options.host, "the server keeps the ended session for now");
        }
    }

    /// A server that refused `PASV` is asked for `EPSV`, which Studio uses (bambu.md 5.2): true if it is worth a try.
    fn turns_extended<T>(&mut self, opened: &Result<T, FtpsError>) -> bool {
        let refused = matches!(opened, Err(FtpsError::Unsupported(_))) && !self.extended;
        if refused {
            self.library.set_mode(Mode::ExtendedPassive);
        }
        refused
    }

    /// Keeps to what has worked.
    fn turned_extended<T>(&mut self, opened: &Result<T, FtpsError>) {
        self.extended = !matches!(opened, Err(FtpsError::Unsupported(_)));
        if !self.extended {
            self.library.set_mode(Mode::Passive);
        }
    }

    /// Every command starts here and ends in [`FtpsSession::settle`]; one that is dropped between
    /// leaves its reply unread, so the session must not be used again.
    fn begin(&mut self, path: &str) -> Result<(), FtpsError> {
        check_path(path)?;
        if self.unsettled {
            return Err(FtpsError::Closed);
        }
        self.unsettled = true;
        Ok(())
    }

    fn settle<T>(&mut self, result: Result<T, FtpsError>) -> Result<T, FtpsError> {
        let result = result.map_err(FtpsError::midway);
        self.unsettled = result.as_ref().is_err_and(FtpsError::is_fatal);
        if result.is_err() {
            self.prepared.forget();
        }
        result
    }
}

/// Announces protection; printers that know neither command use TLS on data anyway (bambu.md 5.1).
async fn protect(library: &mut Library, options: &FtpsOptions, clear: &AtomicBool) -> Result<(), FtpsError> {
    let reply = options.timeouts.reply;
    let mut accepted =
        async |command: &str| match bounded(reply, library.custom_command(command, &[Status::CommandOk]))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_fatal() && !matches!(error, FtpsError::Protocol(_)) => Err(error),
            Err(error) => {
                tracing::debug!(host = %options.host, command, %error, "refused");
                Ok(())
            }
        };
    accepted("PBSZ 0").await?;
    match options.protection {
        Protection::Private => accepted("PROT P").await,
        Protection::Clear => {
            tracing::warn!(host = %options.host, "files cross the network unencrypted: this printer refuses TLS on data connections");
            clear.store(true, Ordering::Release);
            accepted("PROT C").await
        }
    }
}

async fn bounded<T>(
    deadline: Duration,
    operation: impl Future<Output = FtpResult<T>>,
) -> Result<T, FtpsError> {
    match timeout(deadline, operation).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(FtpsError::Timeout(deadline)),
    }
}

/// A path that could smuggle a second command or a Telnet code is refused before it is sent.
fn check_path(path: &str) -> Result<(), FtpsError> {
    if path.is_empty() || path.chars().any(char::is_control) {
        return Err(FtpsError::BadName(path.escape_debug().to_string()));
    }
    Ok(())
}
