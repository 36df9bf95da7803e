//! Cameras: one upstream per printer, any number of viewers (design D19).
//!
//! Printers feed one camera client only, and some go black for many minutes when a second one connects (bambu.md 6.1,
//! elegoo.md 2.13). So the [`CameraHub`] holds the only connection, opens it for the first viewer, closes it some
//! seconds after the last, and hands the same bytes to everybody; whoever is slow skips pictures.
//!
//! | file | owns |
//! |---|---|
//! | `hub` | what viewers see: pictures, snapshots, health |
//! | `channels` | what a kind of camera gives: pictures, video |
//! | `viewer` | one viewer of pictures |
//! | `upstream` | the one connection: open, stall, back off, close |
//! | `demand` | who watches, and until when the connection is wanted |
//! | `video` | H.264 passed on: queue, last group of pictures, formats |
//! | `hls`, `mp4`, `h264`, `timeline` | live playlist, fragments, parameter sets, sane times |
//! | `transcode` | JPEG of H.264 by a child ffmpeg |
//! | [`timelapse`] | a picture at each layer, as zip or MP4 |
//! | `scale` | smaller pictures on request |

mod channels;
mod demand;
mod frame;
mod h264;
mod health;
mod hls;
mod hub;
mod mp4;
mod scale;
mod settings;
pub mod timelapse;
mod timeline;
mod transcode;
mod upstream;
mod video;
mod viewer;

#[cfg(test)]
pub(crate) mod tests;

pub use frame::Frame;
pub use health::{Health, Phase};
pub use hub::CameraHub;
pub use settings::Settings;
pub use video::{Sample, VideoViewer};
pub use viewer::Viewer;
