//! One socket from its opening to its end: requests in, frames out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::super::Endpoint;
use super::super::rpc::{self, Caller};
use super::{Connection, GOING_AWAY, WRITE, Waiting};

/// Answers that wait for a client at once; more of them wait unsent, so that there is always room for notifications.
const ANSWERS: usize = 32;
/// Requests of one client that are under way at once; the next ones wait in its socket.
const CONCURRENT: usize = 128;
/// Frames that wait are handed to the network with one write until they have so many bytes.
const TOGETHER: usize = 32 << 10;
/// As Tornado pings (moonraker.md 2.5).
const PING: Duration = Duration::from_secs(10);

/// Serves one socket until either side ends it.
pub async fn run(
    endpoint: Arc<Endpoint>,
    socket: WebSocket,
    mut caller: Caller,
    _place: OwnedSemaphorePermit,
) {
    let (connection, frames) = Connection::open(&endpoint, &caller);
    (caller.socket, caller.over_http) = (Some(connection.clone()), false);
    endpoint.hub.lock().insert(connection.id, connection.clone());
    endpoint.attend();
    let (sink, stream) = socket.split();
    let reading = async {
        read(&endpoint, stream, &caller, &connection).await;
        connection.close(GOING_AWAY);
        endpoint.hub.lock().remove(&connection.id);
    };
    // In one task: an answer needs no other thread to wake up before it leaves.
    tokio::join!(reading, write(sink, frames, connection.clone()));
    if let Some(client) = connection.client().filter(|client| client.kind == "agent") {
        let params = json!({"agent": client.name, "event": "disconnected"});
        endpoint.hub.notify("notify_agent_event", Some(params));
    }
}

/// Takes requests. Each is begun in the order of its arrival; answers may overtake each other.
async fn read(
    endpoint: &Arc<Endpoint>,
    mut stream: SplitStream<WebSocket>,
    caller: &Caller,
    connection: &Arc<Connection>,
) {
    let mut pending = FuturesUnordered::new();
    let places = Arc::new(Semaphore::new(ANSWERS));
    loop {
        tokio::select! {
            () = connection.closed.cancelled() => return,
            message = stream.next(), if pending.len() < CONCURRENT => match message {
                Some(Ok(Message::Text(text))) => {
                    pending.push(rpc::respond(endpoint.clone(), caller.clone(), text));
                }
                // The real server reads JSON of either kind of frame: moonraker-telegram-bot sends bytes. What is no
                // text is no JSON either, and answered so.
                Some(Ok(Message::Binary(bytes))) => {
                    let text = Utf8Bytes::try_from(bytes).unwrap_or_default();
                    pending.push(rpc::respond(endpoint.clone(), caller.clone(), text));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            Some(answer) = pending.next() => {
                let Some(answer) = answer else { continue };
                if connection.answer(answer.into(), &places).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut frames: mpsc::Receiver<Waiting>,
    connection: Arc<Connection>,
) {
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
    loop {
        let first = tokio::select! {
            () = connection.closed.cancelled() => break,
            frame = frames.recv() => match frame {
                Some(frame) => Some(frame),
                None => break,
            },
            _ = ping.tick() => None,
        };
        let sent = async {
            match first {
                Some(first) => send_together(&mut sink, first, &mut frames).await,
                None => sink.send(Message::Ping(bytes::Bytes::new())).await,
            }
        };
        if !matches!(tokio::time::timeout(WRITE, sent).await, Ok(Ok(()))) {
            connection.closed.cancel();
            return;
        }
    }
    let code = connection.close_code.load(Ordering::Relaxed);
    let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::default() }));
    let _gone = tokio::time::timeout(Duration::from_secs(1), sink.send(close)).await;
}

/// Hands a frame to the network, and those that already wait behind it: a client that asks several things at once is
/// answered at once.
async fn send_together(
    sink: &mut SplitSink<WebSocket, Message>,
    first: Waiting,
    frames: &mut mpsc::Receiver<Waiting>,
) -> Result<(), axum::Error> {
    // They count as waiting until they are sent.
    let mut sent = vec![first];
    let mut bytes = 0;
    while let Some(frame) = sent.last() {
        bytes += frame.text.len();
        sink.feed(Message::Text(frame.text.clone())).await?;
        let next = (bytes < TOGETHER).then(|| frames.try_recv().ok()).flatten();
        match next {
            Some(next) => sent.push(next),
            None => break,
        }
    }
    sink.flush().await
}
