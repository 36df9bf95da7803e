//! The endpoint over real sockets on loopback, against the golden answers of the real server.

mod beside;
mod bursts;
mod cameras;
mod golden;
mod hostile;
mod http;
mod keeping;
mod logins;
mod matrix;
mod octoprint;
mod protocol;
mod replay;
mod room;
mod scripts;
mod strangers;
mod subscription;
mod transfer;
