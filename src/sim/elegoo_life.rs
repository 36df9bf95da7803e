//! What both simulated Elegoo printers live on: sockets that can be bound again, power, the clock, the control port.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::control;

/// Listens without waiting; an error names the service.
pub fn tcp(service: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address).map_err(super::unheard(service, address))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// As [`tcp`].
pub fn udp(service: &str, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address).map_err(super::unheard(service, address))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Binds again; the old listeners close a moment after their token, hence the retries. `None` if they never do.
pub async fn rebind<T>(bind: impl Fn() -> io::Result<T>) -> Option<T> {
    for _ in 0..200 {
        if let Ok(bound) = bind() {
            return Some(bound);
        }
        sleep(Duration::from_millis(25)).await;
    }
    None
}

/// The next peer; `None` once the services end.
pub async fn next_peer(listener: &TcpListener, end: &CancellationToken) -> Option<TcpStream> {
    loop {
        tokio::select! {
            () = end.cancelled() => return None,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    return Some(stream);
                }
            }
        }
    }
}

/// Answers searches until the power goes; `reply` gives the answer to what it takes for one.
pub async fn answer_searches(
    socket: UdpSocket,
    power: CancellationToken,
    reply: impl Fn(&[u8]) -> Option<Value>,
) {
    let mut buffer = [0_u8; 2048];
    loop {
        let received = tokio::select! {
            () = power.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let Ok((length, from)) = received else { continue };
        if let Some(reply) = buffer.get(..length).and_then(&reply) {
            let _ = socket.send_to(reply.to_string().as_bytes(), from).await;
        }
    }
}

/// A token that ends with the power, and another one when it returns.
#[derive(Debug)]
pub struct Power {
    stop: CancellationToken,
    now: Mutex<CancellationToken>,
}

impl Power {
    /// Switched on, until `stop`.
    pub fn new(stop: &CancellationToken) -> Self {
        Self { stop: stop.clone(), now: Mutex::new(stop.child_token()) }
    }

    /// Cancelled when the power goes.
    pub fn token(&self) -> CancellationToken {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn off(&self) {
        self.token().cancel();
    }

    /// Switches on again; gives the new token.
    pub fn on(&self) -> CancellationToken {
        let fresh = self.stop.child_token();
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        fresh
    }
}

/// Lets simulated time go by in steps of at most a quarter of a simulated second; `after` sends what fell due.
pub async fn clock(stop: CancellationToken, speed: f64, mut tick: impl FnMut(f64), mut after: impl FnMut()) {
    let mut ticks = interval(Duration::from_millis(25));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = Instant::now();
        let mut left = (now - before).as_secs_f64() * speed;
        before = now;
        while left > 0.0 {
            tick(left.min(0.25));
            left -= 0.25;
        }
        after();
    }
}

/// The control port's answers: the truth, or what became of a fault.
pub fn handler<F: DeserializeOwned>(
    apply: impl Fn(F) -> Result<(), String> + Send + Sync + 'static,
    truth: impl Fn() -> Value + Send + Sync + 'static,
) -> control::Handler {
    Arc::new(move |request: Value| {
        if request.get("truth").is_some() {
            return truth();
        }
        match serde_json::from_value::<F>(request).map_err(|error| error.to_string()).and_then(&apply) {
            Ok(()) => json!({"ok": true}),
            Err(error) => json!({"ok": false, "error": error}),
        }
    })
}

/// Unix seconds.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Real seconds from now, at most a day.
pub fn from_now(seconds: f64) -> Instant {
    Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}

/// A fault that lasts until then is on.
pub fn lasts(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}
