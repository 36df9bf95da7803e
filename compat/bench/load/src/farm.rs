//! Printers that replay captured answers: one listener for all of them, a thread for each connection.
//!
//! It is no simulator: it says what `fixtures/bambu` says, and reports a new nozzle temperature when told to. Which
//! printer a connection is for shows in the topic that is subscribed to.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use serde_json::{Value, json};

use crate::{Failure, mqtt, number, text};

/// The running printers.
pub struct Farm {
    inner: Arc<Inner>,
    mqtt_port: u16,
    camera_port: u16,
}

struct Inner {
    /// By serial number, once the gateway has everything.
    online: Mutex<HashMap<String, Link>>,
    report: Value,
    versions: Value,
    hertz: Mutex<f64>,
    /// Printers that report only when told to.
    quiet: Mutex<HashSet<String>>,
    picture: Vec<u8>,
    pictures_per_second: f64,
}

#[derive(Clone)]
struct Link(Arc<Mutex<Wire>>);

struct Wire {
    tls: ServerConnection,
    socket: TcpStream,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// The moment just before the bytes were handed to the kernel.
    fn send(&mut self, bytes: &[u8]) -> std::io::Result<Instant> {
        let mut sealed = Vec::with_capacity(bytes.len() + 256);
        // More than the library's own buffer holds goes in pieces.
        for piece in bytes.chunks(16 << 10) {
            self.tls.writer().write_all(piece)?;
            while self.tls.wants_write() {
                self.tls.write_tls(&mut sealed)?;
            }
        }
        let at = Instant::now();
        self.socket.write_all(&sealed)?;
        Ok(at)
    }
}

impl Farm {
    /// Orders: `certificate`, `key`, `report`, `versions` (files), `picture_bytes`, `pictures_per_second`.
    pub fn start(order: &Value) -> Result<Self, Failure> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(text(order, "certificate")?)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(text(order, "key")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let config = Arc::new(config);
        let file = |key: &str| -> Result<Value, Failure> {
            Ok(serde_json::from_str(&std::fs::read_to_string(text(order, key)?)?)?)
        };
        let mut picture = vec![0x5A; number(order, "picture_bytes")? as usize];
        picture[..4].copy_from_slice(&[0xFF, 0xD8, 0xFF, 0xE0]);
        let end = picture.len() - 2;
        picture[end..].copy_from_slice(&[0xFF, 0xD9]);
        let inner = Arc::new(Inner {
            online: Mutex::default(),
            report: file("report")?["print"].take(),
            versions: file("versions")?["info"].take(),
            hertz: Mutex::new(0.0),
            quiet: Mutex::default(),
            picture,
            pictures_per_second: order["pictures_per_second"].as_f64().unwrap_or(10.0),
        });
        let (brokers, cameras) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let farm = Self {
            inner: inner.clone(),
            mqtt_port: brokers.local_addr()?.port(),
            camera_port: cameras.local_addr()?.port(),
        };
        accept(brokers, config.clone(), inner.clone(), serve);
        accept(cameras, config, inner.clone(), film);
        small_thread(move || inner.keep_reporting());
        Ok(farm)
    }

    pub fn places(&self) -> Value {
        json!({"mqtt_port": self.mqtt_port, "camera_port": self.camera_port})
    }

    pub fn online(&self) -> usize {
        locked(&self.inner.online).len()
    }

    /// All printers report so many times a second (`hertz`), spread evenly, apart from those in `quiet`; 0 is silence.
    pub fn pace(&self, order: &Value) {
        let serials = order["quiet"].as_array().into_iter().flatten();
        *locked(&self.inner.quiet) = serials.filter_map(|serial| Some(serial.as_str()?.to_owned())).collect();
        *locked(&self.inner.hertz) = order["hertz"].as_f64().unwrap_or(0.0);
    }

    /// One printer reports this temperature; the moment at which the report left.
    pub fn report(&self, serial: &str, temperature: f64) -> Result<Instant, Failure> {
        let link = locked(&self.inner.online).get(serial).cloned();
        let link = link.ok_or_else(|| format!("{serial} is not online"))?;
        let packet = delta(serial, temperature);
        Ok(locked(&link.0).send(&packet)?)
    }
}

/// As a P1S reports what changed.
fn delta(serial: &str, temperature: f64) -> Vec<u8> {
    let body = format!(
        r#"{{"print":{{"nozzle_temper":{temperature},"command":"push_status","msg":1,"sequence_id":"2021"}}}}"#
    );
    mqtt::publish(&format!("device/{serial}/report"), body.as_bytes())
}

fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    inner: Arc<Inner>,
    serve: fn(&Inner, ServerConnection, TcpStream) -> Result<(), Failure>,
) {
    small_thread(move || {
        for socket in listener.incoming().flatten() {
            let (config, inner) = (config.clone(), inner.clone());
            small_thread(move || {
                let Ok(tls) = ServerConnection::new(config) else { return };
                let _delayed = socket.set_nodelay(true);
                let _ended = serve(&inner, tls, socket);
            });
        }
    });
}

/// There are a thousand of them.
fn small_thread(work: impl FnOnce() + Send + 'static) {
    let started = std::thread::Builder::new().stack_size(128 << 10).spawn(work);
    assert!(started.is_ok(), "the system gives no more threads");
}

/// The broker's side of one connection.
fn serve(inner: &Inner, tls: ServerConnection, socket: TcpStream) -> Result<(), Failure> {
    let mut reader = socket.try_clone()?;
    let link = Link(Arc::new(Mutex::new(Wire { tls, socket })));
    let (mut serial, mut plain) = (String::new(), Vec::new());
    let mut sealed = [0; 4096];
    loop {
        let count = reader.read(&mut sealed)?;
        if count == 0 {
            locked(&inner.online).remove(&serial);
            return Ok(());
        }
        let mut wire = locked(&link.0);
        let mut rest = &sealed[..count];
        while !rest.is_empty() {
            wire.tls.read_tls(&mut rest)?;
            let state = wire.tls.process_new_packets()?;
            let at = plain.len();
            plain.resize(at + state.plaintext_bytes_to_read(), 0);
            wire.tls.reader().read_exact(&mut plain[at..])?;
        }
        let mut handshake = Vec::new();
        while wire.tls.wants_write() {
            wire.tls.write_tls(&mut handshake)?;
        }
        wire.socket.write_all(&handshake)?;
        while let Some((kind, body)) = mqtt::packet(&plain) {
            let end = body.end;
            let complete = inner.answer(kind, &plain[body], &mut serial, &mut wire)?;
            plain.drain(..end);
            if complete {
                locked(&inner.online).insert(serial.clone(), link.clone());
            }
        }
    }
}

impl Inner {
    /// True when the printer has told everything.
    fn answer(&self, kind: u8, body: &[u8], serial: &mut String, wire: &mut Wire) -> Result<bool, Failure> {
        match kind >> 4 {
            1 => wire.send(&[0x20, 2, 0, 0])?,
            8 => {
                let topic = mqtt::topic(body, 2).ok_or("a subscription without a topic")?.0;
                *serial = topic.split('/').nth(1).unwrap_or_default().to_owned();
                wire.send(&[0x90, 3, body[0], body[1], 0])?
            }
            12 => wire.send(&[0xD0, 0])?,
            3 => return self.requested(kind, body, serial, wire),
            _ => Instant::now(),
        };
        Ok(false)
    }

    fn requested(&self, kind: u8, body: &[u8], serial: &str, wire: &mut Wire) -> Result<bool, Failure> {
        let (_topic, mut payload) = mqtt::topic(body, 0).ok_or("a publication without a topic")?;
        if kind & 0x06 != 0 {
            wire.send(&[0x40, 2, payload[0], payload[1]])?;
            payload = &payload[2..];
        }
        let request: Value = serde_json::from_slice(payload)?;
        let Some((category, request)) = request.as_object().and_then(|members| members.iter().next()) else {
            return Ok(false);
        };
        let command = request["command"].as_str().unwrap_or_default();
        let mut answer = match command {
            "pushall" => self.report.clone(),
            "get_version" => self.versions.clone(),
            _ => request.clone(),
        };
        answer["sequence_id"] = request["sequence_id"].clone();
        let answered_as = match command {
            "pushall" => {
                answer["command"] = "push_status".into();
                "print"
            }
            // A start is refused once its file has come: the transfer is what is measured.
            "project_file" => {
                answer["result"] = "fail".into();
                answer["reason"] = "this printer only takes files".into();
                category
            }
            "get_version" => "info",
            _ => {
                answer["result"] = "success".into();
                category
            }
        };
        let told = json!({answered_as: answer}).to_string();
        wire.send(&mqtt::publish(&format!("device/{serial}/report"), told.as_bytes()))?;
        Ok(command == "pushall")
    }

    /// Reports of all printers at the wished pace, one after the other.
    fn keep_reporting(&self) {
        let mut round = 0u32;
        loop {
            let hertz = *locked(&self.hertz);
            let mut links: Vec<(String, Link)> = Vec::new();
            if hertz > 0.0 {
                let (online, quiet) = (locked(&self.online), locked(&self.quiet));
                let loud = online.iter().filter(|(serial, _)| !quiet.contains(*serial));
                links.extend(loud.map(|(serial, link)| (serial.clone(), link.clone())));
            }
            if links.is_empty() {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            round += 1;
            let began = Instant::now();
            let step = Duration::from_secs_f64(1.0 / hertz / links.len() as f64);
            for (at, (serial, link)) in links.iter().enumerate() {
                if let Some(wait) = (step * at as u32).checked_sub(began.elapsed()) {
                    std::thread::sleep(wait);
                }
                let temperature = 24.0 + f64::from(round % 8) * 0.25;
                let _gone = locked(&link.0).send(&delta(serial, temperature));
            }
            if let Some(wait) = Duration::from_secs_f64(1.0 / hertz).checked_sub(began.elapsed()) {
                std::thread::sleep(wait);
            }
        }
    }
}

/// The JPEG camera of a P1: 80 bytes of login, then pictures behind heads of 16 bytes (bambu.md 6.1).
fn film(inner: &Inner, mut tls: ServerConnection, mut socket: TcpStream) -> Result<(), Failure> {
    let mut login = [0; 80];
    rustls::Stream::new(&mut tls, &mut socket).read_exact(&mut login)?;
    let mut head = [0; 16];
    head[..4].copy_from_slice(&(inner.picture.len() as u32).to_le_bytes());
    head[8] = 1;
    let pause = Duration::from_secs_f64(1.0 / inner.pictures_per_second);
    let (began, mut count) = (Instant::now(), 0u32);
    loop {
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.write_all(&head)?;
        stream.write_all(&inner.picture)?;
        stream.flush()?;
        count += 1;
        if let Some(wait) = (pause * count).checked_sub(began.elapsed()) {
            std::thread::sleep(wait);
        }
    }
}
