//! What can go wrong with an MQTT session, by what the caller does about it.
use std::io;

use rumqttc::mqttbytes::{self, v4::ConnectReturnCode};

/// Why a session could not be opened, ended, or refused a message.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    /// CONNACK 4 or 5: ask the user to re-read the access code; do not retry quickly.
    #[error("the printer refused the user name or access code")]
    BadCredentials,
    /// Another CONNACK code (1 protocol, 2 client id, 3 unavailable): retry with backoff.
    #[error("the printer's broker refused the connection (return code {0})")]
    Refused(u8),
    /// The broker refused this subscription: the topic or serial number is wrong.
    #[error("the printer's broker refused the subscription to {0:?}")]
    SubscriptionRefused(String),
    /// No TCP or TLS connection: off, wrong address, or LAN mode disabled. Retry with backoff.
    #[error("cannot reach the printer: {0}")]
    Unreachable(io::Error),
    /// No answer in time: retry with backoff.
    #[error("the printer's broker did not answer in time")]
    Timeout,
    /// The TLS layer refused the peer: read the printer's `TlsFault`; do not retry blindly.
    #[error("TLS refused: {0}")]
    Tls(String),
    /// A packet above the limit. When sending, it was not sent and the session goes on; when
    /// receiving, the session is over.
    #[error("MQTT message above the size limit")]
    TooLarge,
    /// An empty topic or one with wildcards: a fault of the caller.
    #[error("not a topic to publish on: {0:?}")]
    BadTopic(String),
    /// The session ended: open another with backoff.
    #[error("MQTT session closed: {0}")]
    Closed(String),
    /// There is no session; the message was not sent and will not be.
    #[error("not connected to the printer; nothing was sent")]
    NotConnected,
    /// Earlier messages are still waiting for the socket; this one was not sent.
    #[error("the connection to the printer does not drain; nothing was sent")]
    Busy,
}

impl MqttError {
    pub(super) fn from_code(code: ConnectReturnCode) -> Self {
        match code {
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => Self::BadCredentials,
            other => Self::Refused(other as u8),
        }
    }

    /// Sorts what is wrong with a packet; `established` tells a lost session from a failed attempt.
    pub(super) fn from_codec(error: mqttbytes::Error, established: bool) -> Self {
        match error {
            mqttbytes::Error::Io(error) => Self::from_io(error, established),
            mqttbytes::Error::PayloadSizeLimitExceeded(_)
            | mqttbytes::Error::OutgoingPacketTooLarge { .. } => Self::TooLarge,
            other => Self::Closed(other.to_string()),
        }
    }

    /// Sorts an error of the connection, as [`Self::from_codec`].
    pub(super) fn from_io(error: io::Error, established: bool) -> Self {
        let tls = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match tls {
            Some(tls) => Self::Tls(tls.to_string()),
            // The library's text for a printer that is switched off talks of close_notify.
            None if established && error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Closed("the printer closed it".into())
            }
            None if established => Self::Closed(error.to_string()),
            None => Self::Unreachable(error),
        }
    }
}
