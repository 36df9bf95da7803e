//! Cameras: one upstream per printer, any number of viewers (design D19).
//!
//! Printers feed one camera client only, and some go black for many minutes when a second one connects (bambu.md 6.1,
//! elegoo.md 2.13). So the [`CameraHub`] holds the only connection, opens it for the first viewer, closes it some
//! seconds after the last, and hands the same bytes to everybody; whoever is slow skips pictures.
//!
//! | file | owns |
//! |---|---|
//! | [`hub`] | what viewers see: pictures, snapshots, health |
//! | `upstream` | the one connection: open, stall, back off, close |
//! | `demand` | who watches, and until when the connection is wanted |
//! | `scale` | smaller pictures on request |

mod demand;
mod frame;
mod health;
pub mod hub;
mod scale;
mod upstream;

#[cfg(test)]
mod tests;

pub use frame::Frame;
pub use health::{Health, Phase};
pub use hub::{CameraHub, Settings, Viewer};
