//! Thin network wrappers that own the traps of our protocol libraries.
//!
//! Nothing here knows a printer model or a front end: a driver passes addresses, credentials and a
//! [`tls::PrinterTls`], and gets typed errors that say what to do next.
//!
//! | module | owns |
//! |---|---|
//! | [`tls`] | certificates without a public authority: name check, pinned key, real signature check |
//! | [`mqtt`] | one MQTT 3.1.1 session that never queues a command for later |
//! | [`ftps`] | implicit FTPS with session reuse, timeouts, cancellation and size check |
//! | [`rtsp`] | H.264 cameras: login, interleaved media, pictures out of packets |
//! | [`server`] | our own HTTP(S) ports: limits on connections, headers, silence; certificates |
//! | [`lan`] | where a search for machines nearby must be sent |
//! | [`backoff`] | growing, jittered waits between attempts |
pub mod announce;
pub mod backoff;
pub mod descriptors;
pub mod ftps;
pub mod lan;
pub mod mqtt;
pub mod rtsp;
pub mod server;
pub mod tls;
