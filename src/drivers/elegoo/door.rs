//! The door through which file room and camera use the printer's one connection.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::printer::FileError;

/// Requests of files and camera that may wait at the link.
const WAITING: usize = 8;

/// A request on its way to the link.
pub struct Ask<C> {
    pub call: C,
    /// `None` where the result was never wanted.
    reply: Option<oneshot::Sender<Result<Value, AskError>>>,
}

impl<C> Ask<C> {
    /// Whoever asked has given up.
    pub fn forgotten(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    pub fn answer(self, result: Result<Value, AskError>) {
        if let Some(reply) = self.reply {
            let _gone = reply.send(result);
        }
    }
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum AskError {
    #[error("The printer is not connected.")]
    Offline,
    #[error("The printer did not answer.")]
    Timeout,
    /// The printer's own code.
    #[error("The printer refused (code {0}).")]
    Refused(i64),
    /// Not sent, for the reason given.
    #[error("{0}")]
    NotNow(String),
}

impl From<AskError> for FileError {
    fn from(error: AskError) -> Self {
        match &error {
            AskError::Offline => FileError::Offline(error.to_string()),
            AskError::NotNow(_) => FileError::Busy(error.to_string()),
            AskError::Timeout | AskError::Refused(_) => FileError::Failed(error.to_string()),
        }
    }
}

/// Who answers at the printer's address, as far as its link has found out.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Answering {
    #[default]
    Unknown,
    Printer,
    /// Another one; how this is told.
    Another(String),
}

/// What file room and camera must know of the printer and of its newest report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    pub answering: Answering,
    /// Counts the reports; a larger number is a newer report.
    pub reports: u64,
    /// A file is being transferred or checked.
    pub transferring: bool,
    /// Base name of the file being printed.
    pub printing: Option<String>,
    /// A USB stick is plugged in.
    pub usb: bool,
    /// Bytes free for job files.
    pub free: Option<u64>,
    /// Errors about transferred files so far, and the code of the last.
    pub file_errors: (u64, i64),
    /// What identifies the printer on its wires (CC2: the serial number).
    pub serial: Option<String>,
}

/// Opened by the link while it is up.
pub struct Door<C> {
    sender: Mutex<Option<mpsc::Sender<Ask<C>>>>,
    seen: watch::Sender<Seen>,
}

impl<C> Default for Door<C> {
    fn default() -> Self {
        Self { sender: Mutex::new(None), seen: watch::Sender::new(Seen::default()) }
    }
}

impl<C> Door<C> {
    /// Opens the door for one link; it closes when the receiver is dropped.
    pub fn open(&self) -> mpsc::Receiver<Ask<C>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Notes what a report showed.
    pub fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    fn sender(&self) -> Result<mpsc::Sender<Ask<C>>, AskError> {
        let guard = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        guard.clone().filter(|sender| !sender.is_closed()).ok_or(AskError::Offline)
    }

    /// Fails at once where a request could not be sent.
    ///
    /// # Errors
    /// Offline.
    pub fn check(&self) -> Result<(), AskError> {
        self.sender().map(drop)
    }

    /// Sends a request over the link and waits for its result.
    ///
    /// # Errors
    /// See [`AskError`]; a link that ends meanwhile is Offline.
    pub async fn ask(&self, call: C, limit: Duration) -> Result<Value, AskError> {
        let sender = self.sender()?;
        let (reply, answer) = oneshot::channel();
        let talk = async {
            sender.send(Ask { call, reply: Some(reply) }).await.map_err(|_closed| AskError::Offline)?;
            answer.await.map_err(|_dropped| AskError::Offline)?
        };
        tokio::time::timeout(limit, talk).await.unwrap_or(Err(AskError::Timeout))
    }

    /// Hands over a request whose result nobody awaits; lost if the link is down or busy.
    pub fn tell(&self, call: C) {
        if let Ok(sender) = self.sender() {
            let _full = sender.try_send(Ask { call, reply: None });
        }
    }

    /// Waits until a report newer than number `after` shows no transfer.
    ///
    /// # Errors
    /// Timeout after `limit`.
    pub async fn settled(&self, after: u64, limit: Duration) -> Result<(), AskError> {
        let mut seen = self.seen.subscribe();
        let calm = seen.wait_for(|seen| seen.reports > after && !seen.transferring);
        match tokio::time::timeout(limit, calm).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_closed)) => Err(AskError::Offline),
            Err(_late) => Err(AskError::Timeout),
        }
    }
}
