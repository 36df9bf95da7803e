//! The front ends: each turns [`crate::station::Station`] into the shape its clients know. None knows another.

pub mod admin;
pub mod marlin;
pub mod moonraker;
pub mod rtsp;
pub mod webcam;
