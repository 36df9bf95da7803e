//! moongate
pub mod gcode;
pub mod metadata;
pub mod model;
pub mod net;
pub mod sim;
