//! One socket from its opening to its end: requests in, frames out.
//!
//! All of it is one task, and what it does it does not wake itself for: an answer from memory leaves in the poll that read
//! its request. A task that is woken while it runs goes to the back of the queue, and another thread is woken to look
//! there.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use super::super::Endpoint;
use super::super::rpc::{self, Caller};
use super::{Connection, Waiting};

#[cfg(test)]
mod tests;

/// Requests and frames that are taken before what there is is handed to the network.
const BATCH: usize = 64;
/// Bytes that are handed to the network together; more waits in the outbox and in the client's socket.
const TOGETHER: usize = 32 << 10;
/// Requests of one client that are under way at once; the next ones wait in its socket.
const CONCURRENT: usize = 128;
/// Frames that cannot be handed to the network for so long end the connection.
const WRITE: Duration = Duration::from_secs(10);
/// Bytes a second that a client takes at least: a long answer has more time by this.
const SLOWEST: u64 = 16 << 10;
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
    let mut outgoing = Outgoing::new(sink);
    let ended = converse(&endpoint, stream, frames, &caller, &connection, &mut outgoing).await;
    connection.closed.cancel();
    endpoint.hub.lock().remove(&connection.id);
    if ended.is_ok() {
        outgoing.close(connection.close_code.load(Ordering::Relaxed)).await;
    }
    if let Some(client) = connection.client().filter(|client| client.kind == "agent") {
        let params = json!({"agent": client.name, "event": "disconnected"});
        endpoint.hub.notify("notify_agent_event", Some(params));
    }
}

/// Takes requests and sends what there is. Requests are begun in the order of their arrival; answers may overtake each
/// other, but not what the client was told before.
///
/// # Errors
/// The client takes nothing any more: there is nobody to say goodbye to.
async fn converse(
    endpoint: &Arc<Endpoint>,
    mut stream: SplitStream<WebSocket>,
    mut frames: mpsc::Receiver<Waiting>,
    caller: &Caller,
    connection: &Arc<Connection>,
    outgoing: &mut Outgoing<SplitSink<WebSocket, Message>>,
) -> Result<(), Gone> {
    let mut pending = FuturesUnordered::new();
    let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
    let closed = connection.closed.cancelled();
    tokio::pin!(closed);
    loop {
        let answer = tokio::select! {
            // What is ready is gathered first, then sent together.
            biased;
            () = &mut closed => return Ok(()),
            Some(answer) = pending.next(), if !outgoing.full() => answer,
            message = stream.next(), if !outgoing.full() && pending.len() < CONCURRENT => {
                let text = match message {
                    Some(Ok(Message::Text(text))) => text,
                    // The real server reads JSON of either kind of frame: moonraker-telegram-bot sends bytes. What is
                    // no text is no JSON either, and answered so.
                    Some(Ok(Message::Binary(bytes))) => Utf8Bytes::try_from(bytes).unwrap_or_default(),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                    Some(Ok(_)) => continue,
                };
                outgoing.begin();
                let mut call = Box::pin(rpc::respond(endpoint.clone(), caller.clone(), text));
                match futures_util::poll!(call.as_mut()) {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => {
                        pending.push(call);
                        continue;
                    }
                }
            }
            Some(frame) = frames.recv(), if !outgoing.full() => {
                outgoing.push(frame);
                continue;
            }
            _ = ping.tick() => {
                outgoing.begin();
                outgoing.frames.push_back(Message::Ping(bytes::Bytes::new()));
                continue;
            }
            sent = outgoing.send(), if outgoing.due() => {
                sent?;
                continue;
            }
        };
        if let Some(answer) = answer {
            while let Ok(told_before) = frames.try_recv() {
                outgoing.push(told_before);
            }
            outgoing.push(Waiting::new(answer.into(), &connection.waiting));
            connection.answered();
        }
    }
}

/// The client does not take what it is sent.
struct Gone;

/// Frames on their way to the network.
struct Outgoing<S> {
    sink: S,
    /// Not yet handed over.
    frames: VecDeque<Message>,
    /// What they are made of counts as waiting until all of them have left.
    held: Vec<Waiting>,
    /// Bytes of these.
    bytes: usize,
    /// Requests and frames since all had left.
    taken: usize,
    /// When the first of them came.
    since: Instant,
}

impl<S: Sink<Message> + Unpin> Outgoing<S> {
    fn new(sink: S) -> Self {
        let (frames, held) = (VecDeque::new(), Vec::new());
        Self { sink, frames, held, bytes: 0, taken: 0, since: Instant::now() }
    }

    /// One more is taken.
    fn begin(&mut self) {
        if !self.due() {
            self.since = Instant::now();
        }
        self.taken += 1;
    }

    fn push(&mut self, frame: Waiting) {
        self.begin();
        self.bytes += frame.text.len();
        self.frames.push_back(Message::Text(frame.text.clone()));
        self.held.push(frame);
    }

    /// Nothing more is taken before this has been sent.
    fn full(&self) -> bool {
        self.taken >= BATCH || self.bytes >= TOGETHER
    }

    fn due(&self) -> bool {
        self.taken > 0
    }

    /// Hands everything to the network. Loses nothing where it is dropped before its end and called again.
    ///
    /// # Errors
    /// The connection is broken, or takes less than [`SLOWEST`] for longer than [`WRITE`].
    async fn send(&mut self) -> Result<(), Gone> {
        let until = self.since + WRITE + Duration::from_secs(self.bytes as u64 / SLOWEST);
        let sent = tokio::time::timeout_at(
            until,
            poll_fn(|task| {
                while !self.frames.is_empty() {
                    ready!(self.sink.poll_ready_unpin(task))?;
                    if let Some(frame) = self.frames.pop_front() {
                        self.sink.start_send_unpin(frame)?;
                    }
                }
                self.sink.poll_flush_unpin(task)
            }),
        );
        if !matches!(sent.await, Ok(Ok(()))) {
            return Err(Gone);
        }
        self.held.clear();
        (self.bytes, self.taken) = (0, 0);
        Ok(())
    }

    /// Says goodbye, or lets the library's answer to the client's goodbye leave: Mainsail opens a socket anew whose
    /// goodbye is not answered, and closes the one before, for ever.
    async fn close(mut self, code: u16) {
        let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::default() }));
        let goodbye = async {
            // Refused where the client was first.
            let _first = self.sink.send(close).await;
            self.sink.close().await
        };
        let _gone = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}
