//! The printer's own camera, as its driver offers it.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Error)]
pub enum CameraError {
    /// Cannot work until the user acts; the text says how.
    #[error("{0}")]
    Blocked(String),
    #[error("{0}")]
    Lost(String),
}

/// Pictures as they come.
pub enum CameraFeed {
    /// Whole JPEG files.
    Jpeg(BoxStream<'static, Result<Bytes, CameraError>>),
    /// H.264 access units in Annex B form.
    H264(BoxStream<'static, Result<AccessUnit, CameraError>>),
}

/// One coded picture.
#[derive(Debug, Clone)]
pub struct AccessUnit {
    pub data: Bytes,
    /// Units of 1/90000 s.
    pub pts: u64,
    /// Decoding can start here.
    pub key: bool,
}

/// Opens the one upstream connection that the printer's camera allows.
pub trait CameraSource: Send + Sync {
    /// Dropping the feed closes the connection completely before another is opened.
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>>;
}
