//! Requests per second and the time of one, for HTTP and for JSON-RPC over a WebSocket: prebuilt bytes, one thread,
//! each connection asks again as soon as it has its answers.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde_json::{Value, json};

use crate::{Failure, frames, number, stats, text};

const SILENCE: Duration = Duration::from_secs(10);

/// One connection with its request.
struct Caller {
    stream: TcpStream,
    request: Vec<u8>,
    /// How many are asked at once; over HTTP one.
    at_once: usize,
    open: usize,
    socket: bool,
    buffer: Vec<u8>,
    asked: Instant,
}

/// Orders: `port`, `connections`, `seconds`, and either `path` (HTTP GET) or `method` with `params` (JSON-RPC), of
/// which each connection asks `at_once` (1 without it): the time told is that until all of them are answered.
pub fn measure(order: &Value) -> Result<Value, Failure> {
    let port = number(order, "port")?;
    let mut callers = Vec::new();
    for _ in 0..number(order, "connections")? {
        callers.push(match order["path"].as_str() {
            Some(path) => over_http(port, path)?,
            None => over_socket(port, order)?,
        });
    }
    let lasting = Duration::from_secs_f64(order["seconds"].as_f64().unwrap_or(1.0));
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    for (at, caller) in callers.iter_mut().enumerate() {
        caller.stream.set_nonblocking(true)?;
        epoll.add(caller.stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
        caller.ask()?;
    }
    let began = Instant::now();
    let (mut seconds, mut bytes, mut answers) = (Vec::new(), 0, 0);
    let mut events = [EpollEvent::empty(); 128];
    // One for all: to clear it for each answer would cost as much as the answer.
    let mut piece = vec![0; 64 << 10];
    while began.elapsed() < lasting {
        let count = epoll.wait(&mut events, EpollTimeout::try_from(SILENCE)?)?;
        if count == 0 {
            return Err("no answer".into());
        }
        for event in &events[..count] {
            let caller = &mut callers[event.data() as usize];
            for length in caller.answered(&mut piece)? {
                bytes += length;
                answers += 1;
                caller.open -= 1;
            }
            if caller.open == 0 {
                seconds.push(caller.asked.elapsed().as_secs_f64());
                caller.ask()?;
            }
        }
    }
    let rate = f64::from(answers) / began.elapsed().as_secs_f64();
    let mean = bytes as f64 / f64::from(answers.max(1));
    Ok(json!({"rate": rate, "answers": answers, "latency": stats::summary(seconds), "answer_bytes": mean}))
}

fn over_http(port: u64, path: &str) -> Result<Caller, Failure> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").into_bytes();
    let stream = frames::connect(port)?;
    let (buffer, asked) = (Vec::new(), Instant::now());
    Ok(Caller { stream, request, at_once: 1, open: 0, socket: false, buffer, asked })
}

fn over_socket(port: u64, order: &Value) -> Result<Caller, Failure> {
    let method = text(order, "method")?;
    let call = json!({"jsonrpc": "2.0", "method": method, "params": order["params"], "id": 4711});
    let at_once = order["at_once"].as_u64().unwrap_or(1) as usize;
    let request = frames::text_frame(&call.to_string()).repeat(at_once);
    let (stream, buffer) = frames::open_socket(port)?;
    Ok(Caller { stream, request, at_once, open: 0, socket: true, buffer, asked: Instant::now() })
}

impl Caller {
    fn ask(&mut self) -> Result<(), Failure> {
        self.asked = Instant::now();
        self.open = self.at_once;
        Ok(self.stream.write_all(&self.request)?)
    }

    /// The lengths of the answers that are whole.
    fn answered(&mut self, piece: &mut [u8]) -> Result<Vec<usize>, Failure> {
        match self.stream.read(piece) {
            Ok(0) => return Err("the server closed the connection".into()),
            Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        if !self.socket {
            let whole = frames::http_answer(&self.buffer)?;
            if whole.is_some() {
                self.buffer.clear();
            }
            return Ok(whole.into_iter().collect());
        }
        let mut answers = Vec::new();
        let mut done = 0;
        while let Some((opcode, payload)) = frames::server_frame(&self.buffer[done..]) {
            let text = &self.buffer[done..][payload.clone()];
            // Notifications come in between.
            if opcode == 1 && is_answer(text)? {
                answers.push(text.len());
            }
            done += payload.end;
        }
        self.buffer.drain(..done);
        Ok(answers)
    }
}

/// The id stands before or behind the result, which may be long.
fn is_answer(text: &[u8]) -> Result<bool, Failure> {
    let edge = text.len().min(200);
    let known = [&text[..edge], &text[text.len() - edge..]];
    if !known.iter().any(|part| frames::find(part, b"4711").is_some()) {
        return Ok(false);
    }
    if frames::find(known[0], b"\"error\"").is_some() {
        return Err(format!("refused: {}", String::from_utf8_lossy(text)).into());
    }
    Ok(true)
}
