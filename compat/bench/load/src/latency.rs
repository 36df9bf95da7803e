//! From a report on the wire to `notify_status_update` at each client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde_json::Value;

use crate::farm::Farm;
use crate::klippy::Klippy;
use crate::{Failure, frames, number, stats, text};

/// An update that has not come by then is lost.
const LOST: Duration = Duration::from_secs(5);
const SUBSCRIBE: &str = r#"{"jsonrpc":"2.0","method":"printer.objects.subscribe","params":{"objects":{"extruder":["temperature"]}},"id":1}"#;
const IDENTIFY: &str = r#"{"jsonrpc":"2.0","method":"server.connection.identify","params":{"client_name":"bench","version":"1","type":"web","url":"http://127.0.0.1"},"id":2}"#;

/// One printer under test: a gateway's (`serial`) or real Moonraker's (none).
struct Place<'a> {
    name: &'a str,
    serial: Option<&'a str>,
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What it was told last.
    shown: f64,
}

/// Orders: `places` (list of `name`, `port`, `clients`, `serial`), `samples`, `gap_ms`. With `gap_ms` below the
/// gateway's cadence the figures are of the oldest report that an update brings.
pub fn measure(farm: Option<&Farm>, klippy: Option<&Klippy>, order: &Value) -> Result<Value, Failure> {
    let mut places = Vec::new();
    for place in order["places"].as_array().ok_or("places are missing")? {
        let clients = (0..number(place, "clients")?).map(|_| subscribe(number(place, "port")?));
        places.push(Place {
            name: text(place, "name")?,
            serial: place["serial"].as_str(),
            clients: clients.collect::<Result<_, _>>()?,
        });
    }
    let gap = Duration::from_millis(number(order, "gap_ms")?);
    let mut names: Vec<&str> = places.iter().map(|place| place.name).collect();
    names.sort_unstable();
    names.dedup();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut measured: Vec<(String, Vec<f64>)> = names.into_iter().map(|name| (name, Vec::new())).collect();
    let burst = order["burst"].as_u64().unwrap_or(1);
    let mut round = 0;
    for _ in 0..number(order, "samples")? {
        for place in &mut places {
            let began = Instant::now();
            let seconds = once(place, farm, klippy, &mut round, burst)?;
            if let Some((_, all)) = measured.iter_mut().find(|(name, _)| name == place.name) {
                all.extend(seconds);
            }
            if let Some(rest) = gap.checked_sub(began.elapsed()) {
                std::thread::sleep(rest);
            }
        }
    }
    Ok(measured
        .into_iter()
        .map(|(name, seconds)| (name, stats::summary(seconds)))
        .collect::<serde_json::Map<_, _>>()
        .into())
}

/// One report, or a burst of them of which the last counts, and the seconds until each client showed it.
fn once(
    place: &mut Place<'_>,
    farm: Option<&Farm>,
    klippy: Option<&Klippy>,
    round: &mut u32,
    burst: u64,
) -> Result<Vec<f64>, Failure> {
    let (mut left, mut temperature) = (Instant::now(), 0.0);
    for _ in 0..burst {
        *round += 1;
        temperature = 40.0 + f64::from(*round % 800) * 0.25;
        left = match (place.serial, farm, klippy) {
            (Some(serial), Some(farm), _) => farm.report(serial, temperature)?,
            (None, _, Some(klippy)) => klippy.report(temperature)?,
            _ => return Err("a place without its printer".into()),
        };
    }
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    for (at, client) in place.clients.iter().enumerate() {
        epoll.add(client.stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
    }
    let mut seconds = Vec::with_capacity(place.clients.len());
    let mut events = [EpollEvent::empty(); 128];
    while seconds.len() < place.clients.len() {
        if left.elapsed() > LOST {
            let missing = place.clients.len() - seconds.len();
            return Err(format!("{}: {missing} clients were not shown {temperature}", place.name).into());
        }
        let count = epoll.wait(&mut events, EpollTimeout::from(100u8))?;
        for event in &events[..count] {
            let client = &mut place.clients[event.data() as usize];
            let before = client.shown;
            client.take()?;
            if client.shown == temperature && before != temperature {
                seconds.push(left.elapsed().as_secs_f64());
            }
        }
    }
    Ok(seconds)
}

fn subscribe(port: u64) -> Result<Client, Failure> {
    let (mut stream, buffer) = frames::open_socket(port)?;
    stream.write_all(&frames::text_frame(IDENTIFY))?;
    stream.write_all(&frames::text_frame(SUBSCRIBE))?;
    let mut client = Client { stream, buffer, shown: 0.0 };
    while client.shown == 0.0 {
        client.take()?;
    }
    Ok(client)
}

impl Client {
    /// Reads what is there and remembers the newest temperature in it.
    fn take(&mut self) -> Result<(), Failure> {
        let mut bytes = [0; 16 << 10];
        let count = self.stream.read(&mut bytes)?;
        if count == 0 {
            return Err("the server closed a client".into());
        }
        self.buffer.extend_from_slice(&bytes[..count]);
        while let Some((opcode, payload)) = frames::server_frame(&self.buffer) {
            let end = payload.end;
            let text = &self.buffer[payload];
            match opcode {
                8 => return Err("the server closed a WebSocket".into()),
                // Both servers close what does not answer their pings.
                9 => self.stream.write_all(&frames::pong(text))?,
                _ => {}
            }
            if let Some(shown) = temperature(text) {
                self.shown = shown;
            }
            self.buffer.drain(..end);
        }
        Ok(())
    }
}

/// The extruder's temperature in a message, found without reading the rest of it.
fn temperature(text: &[u8]) -> Option<f64> {
    let at = frames::find(text, b"\"extruder\"")?;
    let rest = &text[at..];
    let rest = &rest[frames::find(rest, b"\"temperature\":")? + 14..];
    let rest = rest.trim_ascii_start();
    let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}
