//! Simulated printers, true to their protocols and reached only through their sockets (design D17).
//!
//! Nothing outside `cli/demo.rs` and the tests knows this module, and it knows nothing of `model`, `drivers` or
//! `front`: a simulated printer is an independent reading of the protocol dossiers. `physics` is what they share.

pub mod bambu;
pub mod elegoo_cc1;
pub mod elegoo_cc2;
pub mod physics;
pub mod sample;
