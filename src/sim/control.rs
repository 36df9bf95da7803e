//! Control port of a simulated printer: one JSON object per line in each direction, over plain TCP.
//!
//! `{"fault":"runout"}` is answered `{"ok":true}`, `{"truth":true}` by what the simulator knows, and what is not
//! understood by `{"ok":false,"error":"..."}`. The meaning of a line belongs to the printer that passes the handler.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LinesCodec};
use tokio_util::sync::CancellationToken;

/// Longest accepted line, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// Answers one decoded line.
pub type Handler = Arc<dyn Fn(Value) -> Value + Send + Sync>;

/// Opens the control port on `address` (port 0 = any) and serves it until `stop`; returns the bound address.
pub fn listen(address: SocketAddr, handler: Handler, stop: CancellationToken) -> io::Result<SocketAddr> {
    let listener =
        std::net::TcpListener::bind(address).map_err(super::unheard("control port (TCP)", address))?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            if let Ok((stream, _)) = accepted {
                tokio::spawn(converse(stream, Arc::clone(&handler), stop.clone()));
            }
        }
    });
    Ok(bound)
}

async fn converse(stream: TcpStream, handler: Handler, stop: CancellationToken) {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    loop {
        let line = tokio::select! {
            () = stop.cancelled() => return,
            line = lines.next() => line,
        };
        let Some(Ok(line)) = line else { return };
        let reply = match serde_json::from_str::<Value>(&line) {
            Ok(request) => handler(request),
            Err(error) => json!({"ok": false, "error": format!("not a JSON object: {error}")}),
        };
        if lines.send(reply.to_string()).await.is_err() {
            return;
        }
    }
}
