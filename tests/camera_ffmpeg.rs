//! Cameras against independent programs: GStreamer's RTSP server as the camera, ffmpeg and ffprobe as viewers.
//!
//! Needs Debian's ffmpeg, gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-ugly and python3-gi, hence ignored by
//! default: `MOONGATE_PEERS=1 cargo test --test camera_ffmpeg -- --ignored`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]
mod port;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use moongate::camera::CameraHub;
use moongate::camera::timelapse::{Choices, Limits, Timelapses};
use moongate::front::webcam::{WebcamOptions, router};
use moongate::model::CameraKind;
use moongate::net::rtsp::{RtspCamera, RtspError};
use moongate::net::tls::PrinterTls;
use moongate::printer::io::{AccessUnit, CameraError, CameraFeed, CameraSource};
use moongate::secret::Secret;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const DEADLINE: Duration = Duration::from_secs(60);

/// 640x360 at 15 per second, a key picture each second, digest login bblp / 12345678; with a certificate over TLS.
/// Prints its port, counts clients on its output, ends when its input does.
const SERVER: &str = r#"
import sys, threading, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer, GLib, Gio
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1"); server.set_service("0")
auth = GstRtspServer.RTSPAuth()
auth.set_supported_methods(2)
token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "user")
auth.add_digest("bblp", "12345678", token)
if len(sys.argv) > 1:
    auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(sys.argv[1], sys.argv[2]))
server.set_auth(auth)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=15/1 "
  "! x264enc tune=zerolatency key-int-max=15 speed-preset=ultrafast ! rtph264pay name=pay0 pt=96 config-interval=0 )")
permissions = GstRtspServer.RTSPPermissions()
permissions.add_permission_for_role("user", "media.factory.access", True)
permissions.add_permission_for_role("user", "media.factory.construct", True)
factory.set_permissions(permissions)
server.get_mount_points().add_factory("/streaming/live/1", factory)
server.connect("client-connected", lambda s, c: print("client", flush=True))
server.attach(None)
print(server.get_bound_port(), flush=True)
loop = GLib.MainLoop()
threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
GLib.timeout_add_seconds(120, loop.quit)
loop.run()
"#;

/// The camera, ended with the value.
struct Gstreamer {
    process: Child,
    port: u16,
    clients: Arc<AtomicUsize>,
}

impl Drop for Gstreamer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Gstreamer {
    fn start(tls: bool) -> Self {
        assert_eq!(
            std::env::var("MOONGATE_PEERS").as_deref(),
            Ok("1"),
            "this test starts GStreamer and ffmpeg; set MOONGATE_PEERS=1 to allow it"
        );
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        if tls {
            let home = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tls");
            command.args([format!("{home}/v1-leaf.pem"), format!("{home}/v1-leaf-key.pem")]);
        }
        let mut process = command.spawn().expect("Debian's python3");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("python3-gi and gir1.2-gst-rtsp-server-1.0 must be installed");
        let clients = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&clients);
        std::thread::spawn(move || {
            for _line in output.lines() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { process, port, clients }
    }

    fn camera(&self, password: &str) -> RtspCamera {
        RtspCamera::new("127.0.0.1", self.port, "/streaming/live/1").login("bblp", Secret::new(password))
    }
}

/// As a driver wraps it.
struct Source(RtspCamera);

impl CameraSource for Source {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        async {
            let lost = |error: RtspError| CameraError::Lost(error.to_string());
            let pictures = self.0.open().await.map_err(lost)?;
            let units = pictures.map(move |picture| {
                picture.map(|p| AccessUnit { data: p.data, pts: p.pts, key: p.key }).map_err(lost)
            });
            Ok(CameraFeed::H264(units.boxed()))
        }
        .boxed()
    }
}

async fn site(camera: RtspCamera) -> (SocketAddr, CameraHub, CancellationToken) {
    let cancel = CancellationToken::new();
    let hub =
        CameraHub::new(Some(Arc::new(Source(camera))), CameraKind::H264, &TaskTracker::new(), cancel.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (app, stopped) = (router(hub.clone(), WebcamOptions { shutdown: cancel.clone() }), cancel.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = stopped.cancelled() => {}
            _ = axum::serve(listener, app) => {}
        }
    });
    (at, hub, cancel)
}

async fn run(program: &str, arguments: &[&str]) -> String {
    let running = tokio::process::Command::new(program).args(arguments).kill_on_drop(true).output();
    let output = timeout(DEADLINE, running)
        .await
        .expect("the program ends in time")
        .expect("the program is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    assert!(!errors.contains("non monoton") && !errors.contains("Invalid data"), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
#[ignore = "needs GStreamer's RTSP server"]
async fn a_foreign_server_is_read_over_tcp_and_tls() {
    for tls in [false, true] {
        let server = Gstreamer::start(tls);
        let mut camera = server.camera("12345678");
        if tls {
            camera = camera.tls(PrinterTls::new(None, None).unwrap());
        }
        let mut pictures = timeout(DEADLINE, camera.open()).await.unwrap().unwrap();
        let mut seen = Vec::new();
        while seen.len() < 40 {
            seen.push(timeout(DEADLINE, pictures.next()).await.unwrap().unwrap().unwrap());
        }
        assert!(seen[0].key && seen[0].data.starts_with(&[0, 0, 0, 1]), "tls {tls}");
        assert!(seen.windows(2).all(|two| two[0].pts < two[1].pts));
        assert!((2..=4).contains(&seen.iter().filter(|picture| picture.key).count()));
        drop(pictures);
        let mut wrong = server.camera("87654321");
        if tls {
            wrong = wrong.tls(PrinterTls::new(None, None).unwrap());
        }
        assert!(matches!(wrong.open().await.err(), Some(RtspError::Login)), "tls {tls}");
    }
}

#[tokio::test]
#[ignore = "needs GStreamer's RTSP server and ffmpeg"]
async fn ffmpeg_reads_every_form_of_the_video() {
    let server = Gstreamer::start(false);
    let (at, hub, cancel) = site(server.camera("12345678")).await;
    let probe = |path: &str| {
        let url = format!("http://{at}{path}");
        async move {
            let fields = "stream=codec_name,width,height,nb_read_frames";
            let base = ["-v", "error", "-count_frames", "-read_intervals", "%+#20", "-show_entries", fields];
            run("ffprobe", &[&base[..], &["-of", "csv=p=0", &url]].concat()).await
        }
    };
    assert!(probe("/webcam/stream.mp4").await.starts_with("h264,640,360,20"));
    assert!(probe("/webcam/hls/index.m3u8").await.starts_with("h264,640,360,20"));
    let stream = format!("http://{at}/webcam/?action=stream");
    let decoded = ["-v", "error", "-f", "mpjpeg", "-i", &stream, "-frames:v", "12", "-f", "framemd5", "-"];
    let sums = run("ffmpeg", &decoded).await;
    let mut sums: Vec<&str> = sums
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit(", ").next())
        .collect();
    assert_eq!(sums.len(), 12);
    sums.dedup();
    assert!(sums.len() > 6, "the picture moves: {sums:?}");
    let picture =
        reqwest::get(format!("http://{at}/webcam/?action=snapshot")).await.unwrap().bytes().await.unwrap();
    assert!(picture.starts_with(&[0xFF, 0xD8]));
    let health = hub.health();
    assert_eq!((health.opened, server.clients.load(Ordering::SeqCst)), (1, 1), "{health:?}");
    assert!(health.open && health.reason.is_none() && health.fps > 5.0, "{health:?}");
    let home = tempfile::tempdir().unwrap();
    let timelapses = Timelapses::new(home.path(), Limits::default(), Choices::default());
    for layer in 1..=10 {
        let frame = hub.snapshot(Duration::ZERO).await.unwrap();
        timelapses.keep("00000A", layer, &frame.data).await.unwrap();
    }
    let made = timelapses.video("00000A", 5, Path::new("ffmpeg")).await.unwrap();
    let fields = "stream=codec_name,width,height,nb_frames";
    let probed =
        run("ffprobe", &["-v", "error", "-show_entries", fields, "-of", "csv=p=0", made.to_str().unwrap()])
            .await;
    assert_eq!(probed.trim(), "h264,640,360,10");
    cancel.cancel();
}

#[tokio::test]
#[ignore = "needs ffmpeg"]
async fn a_dark_camera_tells_its_own_reason_in_every_form() {
    assert_eq!(std::env::var("MOONGATE_PEERS").as_deref(), Ok("1"));
    let (_held, port) = port::held();
    let (at, _hub, cancel) = site(RtspCamera::new("127.0.0.1", port, "live")).await;
    for path in ["/webcam/?action=snapshot", "/webcam/stream", "/webcam/stream.mp4", "/webcam/hls/index.m3u8"]
    {
        let response = reqwest::get(format!("http://{at}{path}")).await.unwrap();
        assert_eq!(response.status(), 503, "{path}");
        let text = response.text().await.unwrap();
        assert!(text.contains("no connection to the camera's port"), "{path}: {text}");
    }
    cancel.cancel();
}
