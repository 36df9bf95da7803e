//! The WebSocket of the simulated CC1: client limit, idle close, pushes, faults on the line (dossier 2.3).

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Cast, Shared, commands};
use crate::sim::physics::Stage;
use crate::sim::traffic::Open;

/// A peer that does not take a frame for this long is given up.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// Largest frame taken from a client, in bytes.
const MAX_FRAME: usize = 1 << 20;

/// `GET /websocket`: HTTP 500 with the body `too many client` beyond the limit.
pub async fn upgrade(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    let refusing = shared.core().faults.refuse;
    if refusing {
        shared.sockets.refuse();
    }
    let open = if refusing { None } else { shared.sockets.enter(shared.options.websocket_limit) };
    match open {
        Some(open) => {
            upgrade.max_message_size(MAX_FRAME).on_upgrade(move |socket| converse(shared, socket, open))
        }
        None => (StatusCode::INTERNAL_SERVER_ERROR, "too many client").into_response(),
    }
}

async fn converse(shared: Arc<Shared>, mut socket: WebSocket, open: Open) {
    let process = shared.process();
    let mut cast = shared.cast.subscribe();
    let client = format!("ws{}", shared.sockets.read().total);
    let mut heard = Instant::now();
    let mut push: Option<(Duration, Instant)> = None;
    if shared.core().pushes_attributes() {
        let frame = commands::attributes_frame(&shared);
        if !send(&shared, &mut socket, frame).await {
            return;
        }
    }
    loop {
        let next_push = push.map(|(_, at)| at);
        let event = tokio::select! {
            () = process.cancelled() => return,
            () = sleep_until(heard + shared.options.idle_close) => return,
            () = until(next_push) => Event::Push,
            cast = cast.recv() => Event::Cast(cast),
            message = socket.recv() => Event::Message(message.and_then(Result::ok)),
        };
        let frames = match event {
            Event::Push => {
                push = push.map(|(period, _)| (period, Instant::now() + period));
                pushed(&shared)
            }
            Event::Cast(Ok(Cast::Frame(frame))) => vec![frame],
            Event::Cast(Err(RecvError::Lagged(_))) => Vec::new(),
            Event::Cast(Ok(Cast::Close) | Err(RecvError::Closed))
            | Event::Message(None | Some(Message::Close(_))) => {
                break;
            }
            Event::Message(Some(Message::Text(text))) => {
                heard = Instant::now();
                if shared.core().faults.silent() {
                    continue;
                }
                let outcome = commands::receive(&shared, &client, text.as_str());
                if outcome.crash {
                    shared.crash(text.as_str());
                    return;
                }
                if let Some(period) = outcome.subscribe {
                    push = Some((period, Instant::now() + period));
                }
                outcome.frames
            }
            // WebSocket pings are answered by the library and do not count as life (dossier 2.3).
            Event::Message(Some(_)) => Vec::new(),
        };
        for frame in frames {
            if !send(&shared, &mut socket, frame).await {
                return;
            }
        }
    }
    drop(open);
}

enum Event {
    Push,
    Cast(Result<Cast, RecvError>),
    Message(Option<Message>),
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn pushed(shared: &Shared) -> Vec<String> {
    let core = shared.core();
    let printing = core.machine.stage.busy() && core.machine.stage != Stage::Paused;
    let silent = core.faults.silent();
    drop(core);
    if shared.options.pushes && printing && !silent {
        vec![commands::status_frame(shared)]
    } else {
        Vec::new()
    }
}

/// Sends one frame through whatever faults are on; false when the peer is gone.
async fn send(shared: &Shared, socket: &mut WebSocket, frame: String) -> bool {
    let (delay, prefix) = {
        let core = shared.core();
        (core.faults.delay, core.faults.length_prefix)
    };
    if !delay.is_zero() {
        sleep(delay).await;
    }
    let frame = if prefix && frame.starts_with('{') { format!("{}{frame}", frame.len()) } else { frame };
    let sent = timeout(SEND_LIMIT, socket.send(Message::Text(Utf8Bytes::from(frame)))).await;
    matches!(sent, Ok(Ok(())))
}
