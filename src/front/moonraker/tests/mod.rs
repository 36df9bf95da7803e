//! The endpoint over real sockets on loopback, against the golden answers of the real server.

mod golden;
mod http;
mod protocol;
mod replay;
mod room;
mod subscription;
mod transfer;
