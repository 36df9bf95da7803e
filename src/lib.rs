//! moongate
pub mod gcode;
pub mod metadata;
pub mod model;
pub mod net;
pub mod printer;
pub mod secret;
pub mod sim;
