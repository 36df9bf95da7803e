//! A printer that does as it is told, its station, its endpoint on a free port, and clients for it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, AccessSettings};
use crate::front::moonraker::{Endpoint, MoonrakerConfig, router};
use crate::jobs::{Jobs, JobsConfig};
use crate::library::{Library, LibraryLimits};
use crate::model::*;
use crate::printer::{self, *};
use crate::station::{Console, Station};
use crate::store::Store;

/// Longer than anything here takes.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Does as it is told and remembers what that was.
struct Obedient(Arc<Mutex<Vec<Command>>>);

impl Driver for Obedient {
    fn run<'a>(&'a mut self, io: &'a mut DriverIo, cancel: CancellationToken) -> BoxFuture<'a, LinkFault> {
        Box::pin(async move {
            io.state.link(LinkPhase::Syncing);
            io.state.report(|device| *device = idle_device());
            io.state.link(LinkPhase::Online);
            loop {
                tokio::select! {
                    () = cancel.cancelled() => break,
                    Some(request) = io.commands.recv() => {
                        self.0.lock().unwrap().push(request.command.clone());
                        obey(&io.state, &request.command);
                        request.answer(Ok(Outcome::new(Seen::Effect)));
                    }
                }
            }
            LinkFault { code: "T".into(), text: "Ended.".into(), remedy: "Wait.".into(), permanent: false }
        })
    }
}

fn obey(state: &StateWriter, command: &Command) {
    state.report(|device| match command {
        Command::StartJob(start) => {
            device.job.stage = DeviceStage::Printing;
            device.job.token = Some(start.token.to_string());
            device.job.title = Some(start.title.clone());
            device.job.file = Some(start.remote_path.clone());
        }
        Command::Pause => device.job.stage = DeviceStage::Paused,
        Command::Resume => device.job.stage = DeviceStage::Printing,
        Command::Cancel | Command::EmergencyStop if device.job.stage.active() => {
            device.job.stage = DeviceStage::Cancelled;
        }
        _ => {}
    });
}

/// What lies on the printer's storage.
struct Stored(Vec<RemoteFile>);

impl PrinterFiles for Stored {
    fn list(&self) -> BoxFuture<'_, Result<Vec<RemoteFile>, FileError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    fn upload(
        &self,
        _local: PathBuf,
        _remote: String,
        _md5: String,
        _progress: ProgressFn,
        _cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>> {
        Box::pin(async { Ok(()) })
    }

    fn download(
        &self,
        _remote: String,
        _local: PathBuf,
        _progress: ProgressFn,
        _cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<(), FileError>> {
        Box::pin(async { Err(FileError::NotFound("none".into())) })
    }

    fn delete(&self, _remote: String) -> BoxFuture<'_, Result<(), FileError>> {
        Box::pin(async { Ok(()) })
    }

    fn job_path(&self, name: &str) -> String {
        name.to_owned()
    }
}

pub fn caps() -> Capabilities {
    Capabilities {
        vendor: "Acme".into(),
        model: "One".into(),
        volume_mm: [256.0, 256.0, 250.0],
        nozzles: vec![HeaterCaps { max: Some(300.0) }],
        bed: HeaterCaps { max: Some(110.0) },
        chamber: Some(HeaterCaps::default()),
        fans: [FanId::Part, FanId::Auxiliary, FanId::Chamber].into(),
        fans_read_only: [FanId::Hotend].into(),
        lights: [LightId::Chamber].into(),
        motion: MotionCaps { home: true, jog: true, extrude: true, ..MotionCaps::default() },
        files: FileCaps { archives: true, gcode: true, ..FileCaps::default() },
        control: ControlCaps { skip_objects: true, emergency_stop: true, ..ControlCaps::default() },
        camera: CameraKind::Jpeg,
        min_extrude: 170.0,
        ..Capabilities::default()
    }
}

pub fn idle_device() -> Device {
    let mut device = Device {
        activity: Activity::Idle,
        nozzles: vec![Nozzle {
            heater: Heater { actual: Some(24.03), target: Some(0.0) },
            diameter_mm: Some(0.4),
            filament_detected: Some(true),
            ..Nozzle::default()
        }],
        bed: Heater { actual: Some(24.01), target: Some(0.0) },
        chamber: Heater { actual: Some(27.0), target: None },
        fans: [(FanId::Part, Fan { speed: Some(0.0), rpm: None })].into(),
        lights: [(LightId::Chamber, Light { on: true, flashing: false })].into(),
        ..Device::default()
    };
    device.motion.homed = Some(Homed::ALL);
    device.job.stage = DeviceStage::Idle;
    device
}

/// One endpoint on a port of its own; everything ends with it.
pub struct Room {
    pub station: Station,
    pub endpoint: Arc<Endpoint>,
    pub address: String,
    /// What has reached the driver.
    pub commands: Arc<Mutex<Vec<Command>>>,
    cancel: CancellationToken,
    _library: tempfile::TempDir,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Room {
    pub async fn open() -> Self {
        Self::with(MoonrakerConfig::default()).await
    }

    pub async fn with(config: MoonrakerConfig) -> Self {
        Self::built(config, AccessSettings::default()).await
    }

    pub async fn guarded(access: AccessSettings) -> Self {
        Self::built(MoonrakerConfig::default(), access).await
    }

    pub async fn built(config: MoonrakerConfig, access: AccessSettings) -> Self {
        Self::assembled(config, access, Vec::new()).await
    }

    /// A room whose printer has these files and shows them.
    pub async fn storing(files: Vec<RemoteFile>) -> Self {
        Self::assembled(MoonrakerConfig::default(), AccessSettings::default(), files).await
    }

    async fn assembled(config: MoonrakerConfig, access: AccessSettings, files: Vec<RemoteFile>) -> Self {
        let commands = Arc::new(Mutex::new(Vec::new()));
        let folder = tempfile::tempdir().unwrap();
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let settings = PrinterSettings {
            name: "one".into(),
            title: "One".into(),
            read_only: false,
            allow_vendor: false,
        };
        let mut capabilities = caps();
        capabilities.files.list = !files.is_empty();
        let parts = DriverParts {
            capabilities,
            driver: Box::new(Obedient(commands.clone())),
            files: Arc::new(Stored(files)),
            camera: None,
        };
        let printer = printer::start(settings, parts, &tasks, cancel.clone());
        let store = Store::in_memory();
        let limits = LibraryLimits { max_upload: config.max_upload, min_free: 0 };
        let root = folder.path().join("gcodes");
        let library =
            Library::start(root, limits, printer.clone(), store.clone(), &tasks, cancel.clone()).unwrap();
        let jobs = Jobs::open(
            printer.clone(),
            library.clone(),
            store.clone(),
            &tasks,
            cancel.clone(),
            JobsConfig::default(),
        )
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let console = Console::default();
        tokio::spawn(console.clone().follow(&printer, cancel.clone()));
        let camera = crate::camera::CameraHub::new(
            None,
            crate::model::CameraKind::None,
            &TaskTracker::new(),
            cancel.clone(),
        );
        let timelapses = crate::camera::timelapse::Timelapses::new(
            folder.path().join("timelapse"),
            crate::camera::timelapse::Limits::default(),
            crate::camera::timelapse::Choices::default(),
        );
        let moonraker_port = local.port();
        let station = Station { printer, library, jobs, store, console, camera, timelapses, moonraker_port };
        let endpoint = Endpoint::start(
            station.clone(),
            Arc::new(config),
            || axum::Router::new().route("/webcam/snapshot", axum::routing::get(|| async { "picture" })),
            Access::open(access, &station.store),
            &tasks,
            cancel.clone(),
        );
        let options = crate::net::server::ServerOptions::default();
        let routes = router(endpoint.clone());
        tokio::spawn(crate::net::server::serve(listener, move || routes.clone(), options, cancel.clone()));
        let room = Self { station, endpoint, address: local.to_string(), commands, cancel, _library: folder };
        room.until(|state| state.online()).await;
        room
    }

    /// Waits for a state of the printer.
    pub async fn until(&self, reached: impl FnMut(&PrinterState) -> bool) {
        let mut reached = reached;
        let mut watch = self.station.printer.watch();
        tokio::time::timeout(DEADLINE, watch.wait_for(|state| reached(state))).await.unwrap().unwrap();
    }

    /// Lays a file into the library as an upload does.
    pub async fn put(&self, name: &str, content: &'static [u8]) {
        let mut upload = self.station.library.begin_upload("", name).await.unwrap();
        upload.write(content.into()).await.unwrap();
        upload.finish(None, None).await.unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn socket(&self) -> Socket {
        self.socket_from(None).await.unwrap()
    }

    /// Opens a socket as a page of this origin does; the status of the refusal otherwise.
    pub async fn socket_from(&self, origin: Option<&str>) -> Result<Socket, u16> {
        self.socket_with(origin.map(|origin| ("origin", origin))).await
    }

    /// Opens a socket with this header; the status of the refusal otherwise.
    pub async fn socket_with(&self, header: Option<(&'static str, &str)>) -> Result<Socket, u16> {
        let mut request = format!("ws://{}/websocket", self.address).into_client_request().unwrap();
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Socket { stream, notices: Vec::new(), next: 1 }),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }
}

/// A client that remembers the notifications it did not wait for.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub notices: Vec<Value>,
    next: i64,
}

impl Socket {
    pub async fn send(&mut self, text: impl Into<String>) {
        self.stream.send(Message::text(text.into())).await.unwrap();
    }

    pub async fn send_bytes(&mut self, bytes: impl Into<bytes::Bytes>) {
        self.stream.send(Message::binary(bytes)).await.unwrap();
    }

    async fn text(&mut self) -> String {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.stream.next()).await.unwrap().unwrap().unwrap();
            if let Message::Text(text) = message {
                return text.to_string();
            }
        }
    }

    /// The next text frame of either kind.
    pub async fn frame(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Says goodbye.
    pub async fn close(&mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::default() };
        self.stream.send(Message::Close(Some(frame))).await.unwrap();
    }

    /// The code with which the server closes.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(DEADLINE, self.stream.next()).await.unwrap() {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    }

    /// The next frame that is no notification.
    pub async fn answer(&mut self) -> Value {
        loop {
            let frame = self.frame().await;
            if frame.get("method").is_none() {
                return frame;
            }
            self.notices.push(frame);
        }
    }

    /// Asks, and takes the whole answer.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).to_string()).await;
        let answer = self.answer().await;
        assert_eq!(answer["id"], id, "{method}");
        answer
    }

    /// Asks with arguments, and takes an answer, that a [`Value`] may not hold.
    pub async fn ask_text(&mut self, method: &str, params: &str) -> String {
        self.next += 1;
        let id = self.next;
        self.send(format!(r#"{{"jsonrpc": "2.0", "method": "{method}", "params": {params}, "id": {id}}}"#))
            .await;
        loop {
            let text = self.text().await;
            if text.contains(&format!(r#""id":{id}"#)) {
                return text;
            }
        }
    }

    /// Asks for something that must work.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The parameters of the next notification of this kind.
    pub async fn notice(&mut self, method: &str) -> Value {
        if let Some(at) = self.notices.iter().position(|notice| notice["method"] == method) {
            return self.notices.remove(at)["params"].take();
        }
        let until = tokio::time::Instant::now() + DEADLINE;
        while tokio::time::Instant::now() < until {
            let mut frame = self.frame().await;
            if frame["method"] == method {
                return frame["params"].take();
            }
            self.notices.push(frame);
        }
        self.notices.retain(|notice| notice["method"] != "notify_proc_stat_update");
        panic!("no {method}, but {:?}", self.notices);
    }
}

/// A golden file of the captures.
pub fn fixture(path: &str) -> Value {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/moonraker").join(path);
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}
