//! The drivers: one folder per protocol, each turning it into `model`. None knows another, nor any front end.

pub mod bambu;
#[cfg(any(test, fuzzing, feature = "doors"))]
pub(crate) use elegoo::mjpeg::JpegScanner;

mod elegoo;
pub use elegoo::whereabouts::{Identity, OnIdentity, Whereabouts};
pub mod elegoo_cc1;
pub mod elegoo_cc2;
