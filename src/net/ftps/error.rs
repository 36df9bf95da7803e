//! What can go wrong with an FTPS session, by what the caller does about it.
use std::io;
use std::time::Duration;

use suppaftp::FtpError;
use suppaftp::types::Response;

/// How the reason begins where a data socket could not be connected; the library passes on texts only.
pub(super) const NO_SOCKET: &str = "data connection to ";
/// How it begins where the handshake of a data connection was cut off.
pub(super) const CUT: &str = "data connection cut: ";

/// Why an FTPS operation failed. Texts in the variants are the server's own.
#[derive(Debug, thiserror::Error)]
pub enum FtpsError {
    /// 530: ask the user to re-read the access code.
    #[error("the printer refused the access code: {0}")]
    Auth(String),
    /// No connection, or it broke before the login was through: open a new session with backoff.
    #[error("cannot reach the printer's file service: {0}")]
    Unreachable(io::Error),
    /// The connection broke after the login: open a new session.
    #[error("the connection to the printer's file service broke off: {0}")]
    Broken(io::Error),
    /// 421 instead of a greeting, a login or a data connection: no place for one more session. Try again later.
    #[error("the printer's file service takes no more sessions at the moment: {0}")]
    Busy(String),
    /// TLS on the control connection failed: read the printer's `TlsFault`.
    #[error("TLS with the printer's file service failed: {0}")]
    Tls(String),
    /// No answer in time: open a new session with backoff.
    #[error("the printer's file service did not answer within {0:?}")]
    Timeout(Duration),
    /// 550, 450: the path does not exist or is not accessible.
    #[error("no such file or folder on the printer, or access denied: {0}")]
    NotFound(String),
    /// 552, 452: free space on the printer first.
    #[error("the printer's storage is full: {0}")]
    StorageFull(String),
    /// 553, 501, or a name with control characters: choose another name.
    #[error("the printer does not accept this file name: {0}")]
    BadName(String),
    /// The data connection was cut in its handshake. Of a printer that has taken encrypted data it says nothing; of another
    /// one it may be a refusal, as [`Self::DataRefused`].
    #[error("the printer broke off: {0}")]
    DataCut(String),
    /// 522 or a failed handshake: the protection does not suit. Try the other [`super::Protection`] and remember it.
    #[error("the printer refused the data connection: {0}")]
    DataRefused(String),
    /// 425, or the data socket cannot be connected, whatever its protection: the printer is busy (bambu.md 5.2). Try
    /// again later.
    #[error("the printer opens no data connection at the moment: {0}")]
    NoData(String),
    /// 426, 451 or a connection cut: the transfer did not complete; retry it from the start.
    #[error("the printer aborted the transfer: {0}")]
    Aborted(String),
    /// The caller's token was cancelled.
    #[error("transfer cancelled")]
    Cancelled,
    /// The stored file has another length than the original; retry from the start.
    #[error("transfer truncated: {sent} bytes sent, {stored} stored")]
    Truncated {
        /// Length at the sending end in bytes.
        sent: u64,
        /// Length at the receiving end in bytes.
        stored: u64,
    },
    /// The file or listing exceeds the caller's limit.
    #[error("larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// 500, 502, 503, 504: this printer lacks the command; remember that.
    #[error("the printer does not support this: {0}")]
    Unsupported(String),
    /// Reading the source or writing the destination on this side failed.
    #[error("local file: {0}")]
    Local(io::Error),
    /// An earlier failure or a dropped call left the session unusable: open a new one.
    #[error("the file session is no longer usable")]
    Closed,
    /// Anything else the server said.
    #[error("unexpected answer from the printer's file service: {0}")]
    Protocol(String),
}

impl From<FtpError> for FtpsError {
    fn from(error: FtpError) -> Self {
        match error {
            FtpError::ConnectionError(error) => Self::Unreachable(error),
            FtpError::SecureError(reason) if reason.starts_with(NO_SOCKET) => Self::NoData(reason),
            FtpError::SecureError(reason) if reason.contains(CUT) => Self::DataCut(reason),
            FtpError::SecureError(reason) => Self::DataRefused(reason),
            FtpError::UnexpectedResponse(response) => Self::from_reply(&response),
            FtpError::BadResponse => Self::Protocol("not an FTP reply".into()),
            FtpError::InvalidAddress(error) => Self::Protocol(error.to_string()),
            FtpError::DataConnectionAlreadyOpen => Self::Closed,
        }
    }
}

impl FtpsError {
    fn from_reply(response: &Response) -> Self {
        let text = String::from_utf8_lossy(&response.body).trim().to_owned();
        match reply_code(response) {
            430 | 530 | 532 => Self::Auth(text),
            421 => Self::Busy(text),
            450 | 550 => Self::NotFound(text),
            452 | 552 => Self::StorageFull(text),
            501 | 553 => Self::BadName(text),
            425 => Self::NoData(text),
            522 => Self::DataRefused(text),
            426 | 451 => Self::Aborted(text),
            500 | 502 | 503 | 504 => Self::Unsupported(text),
            _ => Self::Protocol(text),
        }
    }

    /// Whether control connection and replies can no longer be trusted to be in step.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Broken(_)
                | Self::Busy(_)
                | Self::Tls(_)
                | Self::Timeout(_)
                | Self::Closed
                | Self::Protocol(_)
        )
    }

    /// The same of a session that was logged in.
    pub(super) fn of_session(self) -> Self {
        match self {
            Self::Unreachable(cause) => Self::Broken(cause),
            other => other,
        }
    }

    /// The same of a command or transfer that was under way: 421 then says that the server ends it.
    pub(super) fn midway(self) -> Self {
        match self {
            Self::Busy(text) => Self::Broken(io::Error::new(io::ErrorKind::ConnectionAborted, text)),
            other => other.of_session(),
        }
    }
}

/// The three digits of a reply; the library knows no 522 and calls it unknown.
pub(crate) fn reply_code(response: &Response) -> u32 {
    let digits = response.body.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(response.status.code())
}
