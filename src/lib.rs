//! moongate
pub mod config;
pub mod drivers;
pub mod gcode;
pub mod jobs;
pub mod library;
pub mod logging;
pub mod metadata;
pub mod model;
pub mod net;
pub mod printer;
pub mod secret;
pub mod sim;
pub mod station;
pub mod store;
