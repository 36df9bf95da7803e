//! The least that real Moonraker takes for Klipper: its API socket, answered from captured objects
//! (`fixtures/moonraker/klippy_ready`), quicker than Klipper itself.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::{Failure, text};

/// Ends each message.
const END: u8 = 3;
/// What Moonraker asks for by itself.
const ENDPOINTS: &[&str] = &[
    "info",
    "objects/list",
    "objects/query",
    "objects/subscribe",
    "gcode/help",
    "gcode/script",
    "gcode/subscribe_output",
    "emergency_stop",
    "register_remote_method",
    "pause_resume/pause",
    "pause_resume/resume",
    "pause_resume/cancel",
    "query_endstops/status",
    "gcode/restart",
    "gcode/firmware_restart",
    "list_endpoints",
];

/// The running stand-in.
pub struct Klippy {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Map<String, Value>,
    info: Value,
    help: Value,
    subscriber: Mutex<Option<(UnixStream, Value)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Klippy {
    /// Orders: `socket` (its path), `golden` (the folder of captured answers).
    pub fn start(order: &Value) -> Result<Self, Failure> {
        let golden = Path::new(text(order, "golden")?);
        let read = |name: &str| -> Result<Value, Failure> {
            let text = std::fs::read_to_string(golden.join(format!("{name}.json")))?;
            Ok(serde_json::from_str::<Value>(&text)?["ws"]["response"]["result"].take())
        };
        let mut objects = match read("printer.objects.query_all")?["status"].take() {
            Value::Object(objects) => objects,
            _ => return Err("the golden answer holds no objects".into()),
        };
        objects.retain(|name, _| !name.starts_with("AFC"));
        let inner = Arc::new(Inner {
            objects,
            info: read("printer.info")?,
            help: read("printer.gcode.help")?,
            subscriber: Mutex::new(None),
        });
        let listener = UnixListener::bind(text(order, "socket")?)?;
        let shared = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inner = shared.clone();
                std::thread::spawn(move || drop(inner.serve(stream)));
            }
        });
        Ok(Self { inner })
    }

    /// The extruder's temperature has changed; the moment at which Moonraker was told.
    pub fn report(&self, temperature: f64) -> Result<Instant, Failure> {
        let mut subscriber = locked(&self.inner.subscriber);
        let (stream, template) = subscriber.as_mut().ok_or("Moonraker has not subscribed")?;
        let mut message = template.clone();
        message["params"] = json!({"eventtime": 1.0, "status": {"extruder": {"temperature": temperature}}});
        let mut bytes = message.to_string().into_bytes();
        bytes.push(END);
        let at = Instant::now();
        stream.write_all(&bytes)?;
        Ok(at)
    }
}

impl Inner {
    fn serve(&self, mut stream: UnixStream) -> Result<(), Failure> {
        let (mut waiting, mut buffer) = (Vec::new(), [0; 64 << 10]);
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            waiting.extend_from_slice(&buffer[..count]);
            while let Some(end) = waiting.iter().position(|byte| *byte == END) {
                let request: Value = serde_json::from_slice(&waiting[..end])?;
                waiting.drain(..=end);
                let result = self.answer(&request, &stream)?;
                if let Some(id) = request.get("id") {
                    let mut bytes = json!({"id": id, "result": result}).to_string().into_bytes();
                    bytes.push(END);
                    let _order_with_reports = locked(&self.subscriber);
                    stream.write_all(&bytes)?;
                }
            }
        }
    }

    fn answer(&self, request: &Value, stream: &UnixStream) -> Result<Value, Failure> {
        let params = &request["params"];
        Ok(match request["method"].as_str().unwrap_or_default() {
            "info" => self.info.clone(),
            "list_endpoints" => json!({"endpoints": ENDPOINTS}),
            "objects/list" => json!({"objects": self.objects.keys().collect::<Vec<_>>()}),
            "objects/query" => json!({"eventtime": 1.0, "status": self.picked(&params["objects"])}),
            "objects/subscribe" => {
                let template = params["response_template"].clone();
                *locked(&self.subscriber) = Some((stream.try_clone()?, template));
                json!({"eventtime": 1.0, "status": self.picked(&params["objects"])})
            }
            "gcode/help" => self.help.clone(),
            "query_endstops/status" => json!({"x": "open", "y": "open", "z": "open"}),
            _ => json!({}),
        })
    }

    fn picked(&self, wanted: &Value) -> Value {
        let Some(wanted) = wanted.as_object() else { return json!({}) };
        let object = |name: &String, fields: &Value| {
            let object = self.objects.get(name);
            let Some(fields) = fields.as_array() else { return object.cloned().unwrap_or(json!({})) };
            let field = |field: &Value| {
                let name = field.as_str().unwrap_or_default();
                (name.to_owned(), object.and_then(|o| o.get(name)).cloned().unwrap_or_default())
            };
            Value::Object(fields.iter().map(field).collect())
        };
        Value::Object(wanted.iter().map(|(name, fields)| (name.clone(), object(name, fields))).collect())
    }
}
