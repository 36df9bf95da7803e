//! What goes wrong with a simulated camera, the same for all kinds.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Lasts until another one is set. In JSON: `{"fault":"camera","how":"truncated"}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraFault {
    /// All is well again.
    #[default]
    None,
    /// The connection stands and brings nothing.
    Stall,
    /// Pictures end in the middle.
    Truncated,
    /// The announced length is not the length.
    WrongLength,
    /// Every byte is written by itself.
    OneByte,
    /// The camera talks, and refuses.
    Refuse,
    /// Connections are closed at once: LAN live view is off.
    Closed,
}

impl CameraFault {
    /// Writes `data` in one go, or byte by byte.
    pub async fn write(self, stream: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> io::Result<()> {
        if self == CameraFault::OneByte {
            for byte in data {
                stream.write_all(std::slice::from_ref(byte)).await?;
                stream.flush().await?;
            }
            return Ok(());
        }
        stream.write_all(data).await?;
        stream.flush().await
    }

    /// What is left of a picture.
    pub fn cut(self, picture: &[u8]) -> &[u8] {
        let kept = if self == CameraFault::Truncated { picture.len() / 2 } else { picture.len() };
        picture.get(..kept).unwrap_or_default()
    }

    /// What is said of its length.
    pub fn length(self, picture: &[u8]) -> usize {
        if self == CameraFault::WrongLength { picture.len() / 3 } else { picture.len() }
    }
}
