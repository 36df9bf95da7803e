//! Ports of loopback that nobody else takes while they are held.

use tokio::net::TcpSocket;

/// A port that refuses connections while the socket is held, and that a server which sets `SO_REUSEADDR`
/// (mosquitto, vsftpd) may listen on. A listener that is dropped would do neither for sure: a child process that is
/// just being started keeps a copy of it until its `exec`.
pub fn held() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}
