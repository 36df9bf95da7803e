//! moongate
pub mod gcode;
pub mod metadata;
pub mod net;
pub mod sim;
