//! Finding printers: the SSDP variant (bambu.md 1.1) and the identity probe (bambu.md 1.2).
//!
//! Everything heard here is unauthenticated: it proposes printers and new addresses, and the TLS key decides.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::field::{at, text};
use super::models;
use crate::net::lan::search_targets;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const NOTIFY_PORT: u16 = 2021;
const SEARCH_PORT: u16 = 1990;
const SEARCH_TARGET: &str = "urn:bambulab-com:device:3dprinter:1";
/// Datagrams and answers above this are not ours.
const MAX_MESSAGE: usize = 4096;

/// A printer that made itself known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Upper case.
    pub serial: String,
    pub address: Option<IpAddr>,
    /// Model code, e.g. `C12`.
    pub model: Option<String>,
    /// What the code means, e.g. `P1S`, where it is known.
    pub product: Option<&'static str>,
    pub name: Option<String>,
    pub firmware: Option<String>,
    /// True in LAN-only mode.
    pub lan_only: Option<bool>,
}

impl Found {
    fn new(serial: &str, model: Option<String>) -> Option<Self> {
        let serial = serial.trim().trim_start_matches("uuid:").trim().to_ascii_uppercase();
        let plausible = (8..=32).contains(&serial.len()) && serial.bytes().all(|b| b.is_ascii_alphanumeric());
        let clues = models::Clues { code: model.as_deref(), serial: &serial, ..models::Clues::default() };
        let row = models::identify(&clues);
        plausible.then(|| Self {
            product: row.controllable.then_some(row.name),
            serial,
            address: None,
            model,
            name: None,
            firmware: None,
            lan_only: None,
        })
    }
}

/// Reads one NOTIFY or search answer; `from` is its sender, taken where it names no address.
pub fn parse_notify(datagram: &[u8], from: IpAddr) -> Option<Found> {
    let message = String::from_utf8_lossy(datagram.get(..datagram.len().min(MAX_MESSAGE))?).into_owned();
    let mut lines = message.lines();
    let first = lines.next()?.to_ascii_uppercase();
    if !first.starts_with("NOTIFY") && !first.starts_with("HTTP/1.") {
        return None;
    }
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), crate::model::text::one_line(value, 128)))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let header = |name: &str| headers.get(name).cloned();
    match header("nt").or_else(|| header("st")) {
        Some(target) if target.eq_ignore_ascii_case(SEARCH_TARGET) => {}
        // Only USN and Location are dependable (bambu.md 1.1): the maker's own headers tell too.
        None if headers.keys().any(|name| name.ends_with(".bambu.com")) => {}
        _ => return None,
    }
    let place = header("location").unwrap_or_default();
    let place = place.trim_start_matches("http://").split(['/', ':']).next().unwrap_or_default().to_owned();
    let found = Found::new(&header("usn")?, header("devmodel.bambu.com"))?;
    Some(Found {
        address: Some(place.parse().unwrap_or(from)),
        name: header("devname.bambu.com"),
        firmware: header("devversion.bambu.com"),
        lan_only: header("devconnect.bambu.com").map(|mode| mode.eq_ignore_ascii_case("lan")),
        ..found
    })
}

/// Where to listen and search; others than the default only against simulators.
#[derive(Debug, Clone)]
pub struct Ground {
    pub listen: SocketAddr,
    pub search: Vec<SocketAddr>,
}

impl Default for Ground {
    fn default() -> Self {
        let search = std::iter::once(GROUP).chain(search_targets());
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, NOTIFY_PORT)),
            search: search.map(|to| SocketAddr::from((to, SEARCH_PORT))).collect(),
        }
    }
}

/// Listens until `cancel` and calls `heard` for every announcement; sends one search at the start.
///
/// # Errors
/// The port cannot be bound, or the socket fails.
pub async fn watch(
    ground: &Ground,
    mut heard: impl FnMut(Found) + Send,
    cancel: &CancellationToken,
) -> io::Result<()> {
    let socket = bind(ground.listen)?;
    for target in &ground.search {
        // Best effort: waiting for an announcement (every 10 s) is enough.
        if let Err(error) = socket.send_to(search().as_bytes(), target).await {
            tracing::debug!(%target, %error, "No printer search can be sent there.");
        }
    }
    let mut buffer = [0_u8; MAX_MESSAGE];
    loop {
        let (length, from) = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            datagram = socket.recv_from(&mut buffer) => datagram?,
        };
        if let Some(found) = buffer.get(..length).and_then(|datagram| parse_notify(datagram, from.ip())) {
            heard(found);
        }
    }
}

/// Everything that is heard within `time`, by serial number.
///
/// # Errors
/// As [`watch`].
pub async fn discover(ground: &Ground, time: Duration) -> io::Result<Vec<Found>> {
    let mut all = BTreeMap::new();
    let cancel = CancellationToken::new();
    let listening = watch(ground, |found| drop(all.insert(found.serial.clone(), found)), &cancel);
    // The time running out is the ordinary end.
    if let Ok(Err(error)) = timeout(time, listening).await {
        return Err(error);
    }
    Ok(all.into_values().collect())
}

/// The search of fixture ssdp-msearch.
fn search() -> String {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:{SEARCH_PORT}\r\nMAN: \"ssdp:discover\"\r\nMX: 3\r\nST: {SEARCH_TARGET}\r\n\r\n"
    )
}

/// Slicers on the same host listen on the same port.
fn bind(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    if let Err(error) = socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED) {
        tracing::debug!(%error, "The printers' multicast group cannot be joined; broadcasts are heard.");
    }
    UdpSocket::from_std(socket.into())
}

/// Why the identity probe got no answer.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error("{0} does not answer")]
    NoAnswer(String),
    #[error("{0} is no printer of this kind")]
    NotAPrinter(String),
}

/// Asks an address who it is; no login is needed. One exchange within `time`.
///
/// # Errors
/// Nobody answers there, or something else does.
pub async fn detect(host: &str, port: u16, time: Duration) -> Result<Found, DetectError> {
    let place = format!("{host}:{port}");
    let until = Instant::now() + time;
    let answer = timeout_at(until, exchange(host, port)).await;
    let body = match answer {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => return Err(DetectError::NotAPrinter(place)),
        Ok(Err(_)) | Err(_) => return Err(DetectError::NoAnswer(place)),
    };
    let value: Value = serde_json::from_slice(&body).map_err(|_| DetectError::NotAPrinter(place.clone()))?;
    let login = at(&value, "/login");
    let serial = text(at(login, "/id")).ok_or_else(|| DetectError::NotAPrinter(place.clone()))?;
    let found = Found::new(&serial, text(at(login, "/model"))).ok_or(DetectError::NotAPrinter(place))?;
    Ok(Found {
        address: host.parse().ok(),
        name: text(at(login, "/name")),
        firmware: text(at(login, "/version")),
        lan_only: text(at(login, "/connect")).map(|mode| mode == "lan"),
        ..found
    })
}

async fn exchange(host: &str, port: u16) -> io::Result<Option<Vec<u8>>> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(&frame(&json!({ "login": { "command": "detect", "sequence_id": "20004" } }))).await?;
    let mut head = [0_u8; 4];
    stream.read_exact(&mut head).await?;
    let [0xA5, 0xA5, low, high] = head else { return Ok(None) };
    let length = usize::from(u16::from_le_bytes([low, high]));
    let Some(rest) = length.checked_sub(4).filter(|rest| (2..=MAX_MESSAGE).contains(rest)) else {
        return Ok(None);
    };
    let mut body = vec![0_u8; rest];
    stream.read_exact(&mut body).await?;
    if !body.ends_with(&[0xA7, 0xA7]) {
        return Ok(None);
    }
    body.truncate(rest - 2);
    Ok(Some(body))
}

/// `A5 A5`, length of the whole frame, JSON, `A7 A7`.
fn frame(message: &Value) -> Vec<u8> {
    let body = message.to_string();
    let length = u16::try_from(body.len() + 6).unwrap_or(u16::MAX);
    let mut frame = vec![0xA5, 0xA5];
    frame.extend(length.to_le_bytes());
    frame.extend(body.bytes());
    frame.extend([0xA7, 0xA7]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::bambu::testing;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

    #[test]
    fn the_captured_announcement_is_read() {
        let fixture = testing::json("ssdp-notify-p1s-01.10");
        let found =
            parse_notify(fixture["datagram"].as_str().expect("text").as_bytes(), FROM).expect("found");
        assert_eq!(found.serial, "01P00A000000001");
        assert_eq!(found.address, "192.168.1.50".parse().ok());
        assert_eq!((found.model.as_deref(), found.product), (Some("C12"), Some("P1S")));
        assert_eq!((found.firmware.as_deref(), found.lan_only), (Some("01.10.00.00"), Some(true)));
    }

    #[test]
    fn odd_and_foreign_datagrams() {
        let odd = "notify * HTTP/1.1\r\nlocation: http://192.168.1.7:80/\r\nnt: urn:bambulab-com:device:3dprinter:1\r\nusn: uuid:01p00a000000002\r\n";
        let found = parse_notify(odd.as_bytes(), FROM).expect("found");
        assert_eq!((found.serial.as_str(), found.address), ("01P00A000000002", "192.168.1.7".parse().ok()));
        for told in ["NT: URN:BambuLab-com:Device:3DPrinter:1", "DevModel.bambu.com: C12"] {
            let found =
                format!("NOTIFY * HTTP/1.1\r\nUSN: 01P00A000000003\r\nLocation: 192.168.1.8\r\n{told}\r\n");
            assert!(parse_notify(found.as_bytes(), FROM).is_some(), "{told}");
        }
        for foreign in [
            "",
            "NOTIFY * HTTP/1.1\r\nUSN: 01P00A000000003\r\nLocation: 192.168.1.8\r\n",
            "NOTIFY * HTTP/1.1\r\nNT: upnp:rootdevice\r\nUSN: uuid:x\r\n",
            "M-SEARCH * HTTP/1.1\r\nST: urn:bambulab-com:device:3dprinter:1\r\n",
            "NOTIFY * HTTP/1.1\r\nNT: urn:bambulab-com:device:3dprinter:1\r\nUSN: ../../x\r\n",
        ] {
            assert_eq!(parse_notify(foreign.as_bytes(), FROM), None, "{foreign}");
        }
        assert_eq!(search(), testing::json("ssdp-msearch")["datagram"].as_str().expect("text"));
    }

    #[test]
    fn the_probe_is_framed_as_captured() {
        let request = testing::json("detect-request");
        let json: Value = serde_json::from_str(request["json"].as_str().expect("json")).expect("json");
        assert_eq!(
            data_encoding::HEXLOWER.encode(&frame(&json)),
            request["frame_hex"].as_str().expect("hex")
        );
    }

    #[tokio::test]
    async fn the_captured_reply_is_read() {
        let reply = testing::json("detect-reply-a1mini");
        let bytes = data_encoding::HEXLOWER.decode(reply["frame_hex"].as_str().expect("hex").as_bytes());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let printer = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.write_all(&bytes.expect("bytes")).await.expect("sent");
            stream
        };
        let (found, _open) = tokio::join!(detect("127.0.0.1", port, Duration::from_secs(10)), printer);
        let found = found.expect("found");
        assert_eq!((found.serial.as_str(), found.model.as_deref()), ("03000A000000001", Some("N1")));
        assert_eq!((found.product, found.name.as_deref()), (Some("A1 mini"), Some("3DP-030-001")));
        assert_eq!((found.firmware.as_deref(), found.lan_only), (Some("01.07.02.00"), Some(true)));
    }
}
