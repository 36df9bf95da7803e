//! Bambu Lab printers over the LAN: MQTT for state and commands, FTPS for files, a JPEG socket for the camera.
mod control;
mod encode;
mod faults;
mod field;
mod merge;
mod models;
mod reduce;
mod repair;
mod stages;
mod start;
#[cfg(test)]
mod testing;
mod wire;
