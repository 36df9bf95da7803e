//! The routes over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{WebcamOptions, router};
use crate::camera::CameraHub;
use crate::model::CameraKind;
use crate::printer::io::{CameraError, CameraFeed, CameraSource};

/// Twenty real pictures a second, each of another grey; or a refusal.
struct Ticking {
    opened: AtomicUsize,
    refusal: Option<CameraError>,
}

fn picture(grey: u8) -> Bytes {
    let mut out = Vec::new();
    JpegEncoder::new(&mut out).encode_image(&RgbImage::from_pixel(160, 90, Rgb([grey; 3]))).unwrap();
    Bytes::from(out)
}

impl CameraSource for Ticking {
    fn open(&self) -> BoxFuture<'_, Result<CameraFeed, CameraError>> {
        async {
            self.opened.fetch_add(1, Ordering::SeqCst);
            if let Some(refusal) = &self.refusal {
                return Err(refusal.clone());
            }
            let feed = stream::unfold(0_u8, |n| async move {
                sleep(Duration::from_millis(50)).await;
                Some((Ok(picture(n)), n.wrapping_add(8)))
            });
            Ok(CameraFeed::Jpeg(feed.boxed()))
        }
        .boxed()
    }
}

struct Site {
    at: SocketAddr,
    source: Arc<Ticking>,
    shutdown: CancellationToken,
    stop: CancellationToken,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Site {
    async fn start(refusal: Option<CameraError>) -> Self {
        let source = Arc::new(Ticking { opened: AtomicUsize::new(0), refusal });
        let (stop, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let hub = CameraHub::new(Some(source.clone()), CameraKind::Jpeg, &TaskTracker::new(), stop.clone());
        let app = router(hub, WebcamOptions { shutdown: shutdown.clone() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let ended = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                _ = axum::serve(listener, app) => {}
            }
        });
        Self { at, source, shutdown, stop }
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(format!("http://{}{path}", self.at)).await.unwrap()
    }
}

/// Reads parts as a strict client does: boundary line, headers, exactly Content-Length bytes, empty line.
struct Parts {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl Parts {
    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            let chunk = timeout(Duration::from_secs(10), self.response.chunk()).await.expect("bytes in time");
            self.buffer.extend_from_slice(&chunk.unwrap().expect("more of the stream"));
        }
        self.buffer.drain(..count).collect()
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.take(1).await);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    async fn next(&mut self) -> Vec<u8> {
        assert_eq!(self.line().await, "--boundarydonotcross");
        let (mut length, mut kind) = (None, String::new());
        loop {
            let line = self.line().await;
            match line.split_once(": ") {
                None => break assert_eq!(line, ""),
                Some(("Content-Length", value)) => length = value.parse().ok(),
                Some(("Content-Type", value)) => value.clone_into(&mut kind),
                Some(_) => {}
            }
        }
        assert_eq!(kind, "image/jpeg");
        let data = self.take(length.expect("a length")).await;
        assert_eq!(self.line().await, "");
        data
    }
}

#[tokio::test]
async fn a_stream_is_well_formed_and_moves() {
    let site = Site::start(None).await;
    let response = site.get("/webcam/?action=stream").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.version(), reqwest::Version::HTTP_10);
    assert_eq!(response.headers()["content-type"], "multipart/x-mixed-replace;boundary=boundarydonotcross");
    assert!(response.headers().get("transfer-encoding").is_none());
    let mut parts = Parts { response, buffer: Vec::new() };
    let mut seen = Vec::new();
    for _ in 0..5 {
        let data = parts.next().await;
        image::load_from_memory(&data).expect("a whole picture");
        seen.push(data);
    }
    seen.dedup();
    assert_eq!(seen.len(), 5, "every picture is another");
}

#[tokio::test]
async fn many_viewers_one_camera_and_all_end_at_shutdown() {
    let site = Site::start(None).await;
    let mut streams = Vec::new();
    for n in 0..100 {
        let path = if n % 2 == 0 { "/webcam/stream" } else { "/webcam/?action=stream&fps=50" };
        let mut parts = Parts { response: site.get(path).await, buffer: Vec::new() };
        parts.next().await;
        streams.push(parts);
    }
    assert_eq!(site.source.opened.load(Ordering::SeqCst), 1);
    let health: serde_json::Value = site.get("/webcam/health").await.json().await.unwrap();
    assert_eq!((&health["viewers"], &health["open"]), (&100.into(), &true.into()));
    site.shutdown.cancel();
    for mut parts in streams {
        let rest = async { while let Ok(Some(_)) = parts.response.chunk().await {} };
        timeout(Duration::from_secs(10), rest).await.expect("the stream ends");
    }
}

#[tokio::test]
async fn snapshots_come_whole_and_small_on_request() {
    let site = Site::start(None).await;
    for path in ["/webcam/?action=snapshot", "/webcam/snapshot", "/webcam?action=snapshot&t=1"] {
        let response = site.get(path).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"image/jpeg".parse().unwrap())
        );
        let read = image::load_from_memory(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(read.width(), 160);
    }
    let small = site.get("/webcam/snapshot?max_width=80").await.bytes().await.unwrap();
    let small = image::load_from_memory(&small).unwrap();
    assert_eq!((small.width(), small.height()), (80, 45));
    let mut parts = Parts { response: site.get("/webcam/stream?max_width=40").await, buffer: Vec::new() };
    assert_eq!(image::load_from_memory(&parts.next().await).unwrap().width(), 40);
}

#[tokio::test]
async fn refusals_are_told_in_words_and_placeholders_only_on_request() {
    let site = Site::start(Some(CameraError::Blocked("liveview is off".to_owned()))).await;
    for path in ["/webcam/?action=stream", "/webcam/?action=snapshot"] {
        let response = site.get(path).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.text().await.unwrap(), "No picture: liveview is off.\n");
    }
    assert_eq!(site.get("/webcam/?action=reset").await.status(), 400);
    assert_eq!(site.get("/webcam/stream?fps=fast").await.status(), 400);
    let mut parts = Parts { response: site.get("/webcam/stream?placeholder=1").await, buffer: Vec::new() };
    let dark = timeout(Duration::from_secs(20), parts.next()).await.expect("a dark picture");
    assert_eq!(image::load_from_memory(&dark).unwrap().width(), 640);
}

#[tokio::test]
async fn head_requests_wake_no_camera() {
    let site = Site::start(None).await;
    let client = reqwest::Client::new();
    for (path, kind) in
        [("stream", "multipart/x-mixed-replace;boundary=boundarydonotcross"), ("snapshot", "image/jpeg")]
    {
        let response = client.head(format!("http://{}/webcam/?action={path}", site.at)).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
            (200, kind)
        );
    }
    assert_eq!(site.source.opened.load(Ordering::SeqCst), 0);
}

/// One that takes nothing gets no queue: what it reads when it wakes is recent, and others are not held up.
#[tokio::test]
async fn a_slow_viewer_holds_nobody_up() {
    let site = Site::start(None).await;
    let mut stuck = TcpStream::connect(site.at).await.unwrap();
    stuck.write_all(b"GET /webcam/stream HTTP/1.0\r\n\r\n").await.unwrap();
    let mut head = [0_u8; 15];
    stuck.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.0 200 OK");
    let mut parts = Parts { response: site.get("/webcam/stream").await, buffer: Vec::new() };
    for _ in 0..10 {
        parts.next().await;
    }
}
