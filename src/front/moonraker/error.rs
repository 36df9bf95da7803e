//! Errors as Moonraker tells them over both transports (moonraker.md 2.2).

use serde_json::{Value, json};

use crate::access::AccessError;
use crate::jobs::StartError;
use crate::library::LibraryError;
use crate::model::CommandError;
use crate::store::StoreError;

/// Why a request failed. `status` is the HTTP status; over JSON-RPC 404 and 401 have codes of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcError {
    pub status: u16,
    pub message: String,
    /// Seconds after which it may be tried again.
    pub retry_after: Option<u64>,
}

impl RpcError {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized")
    }

    /// The printer is away, or not there yet, for this reason.
    pub fn not_connected(why: &str) -> Self {
        Self::new(503, format!("Klippy Host not connected: {why}"))
    }

    /// The JSON-RPC code of the status (moonraker.md 2.2: 404 is -32601, 401 is -32602, others stay).
    pub fn code(&self) -> i64 {
        match self.status {
            404 => -32601,
            401 => -32602,
            status => i64::from(status),
        }
    }

    /// The body of a failed HTTP request.
    pub fn http_body(&self) -> Value {
        json!({"error": {"code": self.status, "message": self.message, "traceback": self.message}})
    }
}

impl From<AccessError> for RpcError {
    fn from(error: AccessError) -> Self {
        let retry_after = match error {
            AccessError::TooMany(seconds) => Some(seconds),
            _ => None,
        };
        Self { retry_after, ..Self::new(error.status(), error.to_string()) }
    }
}

impl From<CommandError> for RpcError {
    /// An offline printer is 503 as a lost Klipper is; everything else is Klipper's 400 with the reason.
    fn from(error: CommandError) -> Self {
        let status = match &error {
            CommandError::Offline(_) => 503,
            CommandError::NotAllowed(_) => 403,
            CommandError::Internal(_) => 500,
            _ => 400,
        };
        Self::new(status, error.to_string())
    }
}

impl From<StartError> for RpcError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Command(command) => command.into(),
            StartError::NotFound(_) => Self::bad_request("Unable to open file"),
            other => Self::bad_request(other.to_string()),
        }
    }
}

impl From<LibraryError> for RpcError {
    fn from(error: LibraryError) -> Self {
        let status = match &error {
            LibraryError::InUse(_) => 403,
            LibraryError::Checksum(_) => 422,
            LibraryError::TooLarge(_) => 413,
            LibraryError::Full(_) => 507,
            LibraryError::Offline(_) => 503,
            LibraryError::Failed(_) => 500,
            _ => 400,
        };
        Self::new(status, error.to_string())
    }
}

impl From<StoreError> for RpcError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "The state database failed.");
        Self::new(500, error.to_string())
    }
}
