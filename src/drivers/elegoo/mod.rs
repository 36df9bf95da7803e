//! What both Elegoo protocols share: the Canvas filament unit, file names, MJPEG without trustworthy headers, HTTP
//! replies that strict readers refuse, and the door through which file room and camera use the one connection.

pub mod canvas;
pub mod door;
pub mod field;
pub mod http;
pub mod mjpeg;
pub mod names;
pub mod runs;
