//! Stands in until the translator lands.

/// What one client's G-code set for the lines that follow: positioning mode, saved states.
#[derive(Debug, Clone, Default)]
pub struct Session {}
