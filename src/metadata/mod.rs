//! What a sliced file says about itself: G-code headers and footers, 3MF archives, thumbnails.

/// Stands in until the metadata room lands.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FileMetadata {}
