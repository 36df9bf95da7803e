//! The whole gateway logs in to every kind of printer at the most talkative log level, and no secret shows anywhere:
//! not in the log, not in answers, not in `Debug`, not in panics (style.md 3.12).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use moongate::app::{App, AppOptions};
use moongate::config::{Config, Environment};
use moongate::sim::{bambu, elegoo_cc1, elegoo_cc2, elegoo_sample, sample};
use serde_json::{Value, json};

const BAMBU_CODE: &str = "q7Zk2Xv9";
const CC2_CODE: &str = "w8&R4 tP";
const PASSWORD: &str = "correct-horse-77";
const DEADLINE: Duration = Duration::from_secs(120);

struct Farm {
    app: App,
    _state: tempfile::TempDir,
    _simulators: Vec<Box<dyn Send>>,
}

async fn farm() -> (Farm, String) {
    let state = tempfile::tempdir().unwrap();
    let model = bambu::models::find("p1s").unwrap();
    let bambu = bambu::start(bambu::Options {
        speed: 50.0,
        access_code: BAMBU_CODE.to_owned(),
        ..bambu::Options::new(model)
    })
    .await
    .unwrap();
    let cc1 = elegoo_cc1::start(elegoo_cc1::Options { speed: 50.0, ..Default::default() }).await.unwrap();
    let cc2 = elegoo_cc2::start(elegoo_cc2::Options {
        speed: 50.0,
        access_code: CC2_CODE.to_owned(),
        ..Default::default()
    })
    .await
    .unwrap();
    let (a, b, c) = (bambu.addresses().clone(), cc1.addresses(), cc2.addresses());
    let serial = bambu.options().serial.clone();
    let text = format!(
        r#"
[gateway]
state_dir = {state:?}
runtime_dir = {runtime:?}
[[printer]]
name = "p1s"
kind = "bambu"
host = "127.0.0.1"
serial = "{serial}"
access_code = "{BAMBU_CODE}"
pty = false
mqtt_port = {}
ftps_port = {}
detect_port = {}
camera_port = {}
[[printer]]
name = "cc1"
kind = "elegoo_cc1"
host = "127.0.0.1"
pty = false
websocket_port = {}
http_port = {}
camera_port = {}
discovery_port = {}
[[printer]]
name = "cc2"
kind = "elegoo_cc2"
host = "127.0.0.1"
access_code = "{CC2_CODE}"
pty = false
mqtt_port = {}
http_port = {}
camera_port = {}
discovery_port = {}
"#,
        a.mqtt.port(),
        a.ftps.port(),
        a.detect.port(),
        a.camera.port(),
        b.websocket.port(),
        b.http.port(),
        b.camera.port(),
        b.discovery.port(),
        c.mqtt.port(),
        c.http.port(),
        c.camera.port(),
        c.discovery.port(),
        state = state.path().join("state").display().to_string(),
        runtime = state.path().join("run").display().to_string(),
    );
    let config = Config::parse(&text, &Environment::of(&[])).unwrap();
    let debug = format!("{config:?}");
    let app = App::start(config, AppOptions { any_port: true }).await.unwrap();
    tokio::time::timeout(DEADLINE, app.all_online()).await.expect("all printers online");
    (Farm { app, _state: state, _simulators: vec![Box::new(bambu), Box::new(cc1), Box::new(cc2)] }, debug)
}

/// Uploads and starts a file, which takes the transfer to the printer with its own login.
async fn print(client: &reqwest::Client, base: &str, name: &str, content: Vec<u8>) {
    let part = reqwest::multipart::Part::bytes(content).file_name(name.to_owned());
    let form = reqwest::multipart::Form::new().text("print", "true").part("file", part);
    let sent = client.post(format!("{base}/server/files/upload")).multipart(form).send().await.unwrap();
    assert_eq!(sent.status(), 201);
    let printing = async {
        loop {
            let query = format!("{base}/printer/objects/query?print_stats=state,filename");
            let shown: Value = client.get(query).send().await.unwrap().json().await.unwrap();
            let stats = &shown["result"]["status"]["print_stats"];
            if ["printing", "complete"].iter().any(|state| stats["state"] == *state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, printing).await.expect("the print starts");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_anywhere() {
    let lines = Arc::new(Mutex::new(Vec::<u8>::new()));
    let kept = lines.clone();
    moongate::logging::init_to(
        Some("trace"),
        moongate::logging::Format::Text,
        Arc::new(move |line| kept.lock().unwrap().extend_from_slice(line)),
    );
    let (farm, debug) = farm().await;
    let client = reqwest::Client::new();
    let mut answers = debug;
    let mut secrets = vec![BAMBU_CODE.to_owned(), CC2_CODE.to_owned(), PASSWORD.to_owned()];
    let gateway = format!("http://127.0.0.1:{}", farm.app.gateway_port());
    for bound in farm.app.printers() {
        let base = format!("http://127.0.0.1:{}", bound.port);
        let user = json!({"username": bound.name, "password": PASSWORD});
        let made: Value = client
            .post(format!("{base}/access/user"))
            .json(&user)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let login: Value = client
            .post(format!("{base}/access/login"))
            .json(&user)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        for answer in [made, login] {
            for token in ["token", "refresh_token"] {
                secrets.push(answer["result"][token].as_str().expect("a token").to_owned());
            }
        }
        for path in ["api_key", "oneshot_token"] {
            let answer: Value =
                client.get(format!("{base}/access/{path}")).send().await.unwrap().json().await.unwrap();
            secrets.push(answer["result"].as_str().expect("a key").to_owned());
        }
        let one_shot = secrets.last().unwrap().clone();
        assert_eq!(
            client.get(format!("{base}/server/info?token={one_shot}")).send().await.unwrap().status(),
            200
        );
        let (name, content) = match bound.name.as_str() {
            "p1s" => ("cube.gcode.3mf", sample::cube_3mf("C12").unwrap()),
            _ => ("cube.gcode", elegoo_sample::cube().into_bytes()),
        };
        print(&client, &base, name, content).await;
        let picture = client.get(format!("{base}/webcam/?action=stream")).send().await.unwrap();
        let _first = tokio::time::timeout(Duration::from_secs(10), picture.bytes_stream().next()).await;
        for path in [
            "/server/info",
            "/server/config",
            "/printer/info",
            "/machine/system_info",
            "/server/gcode_store",
            "/server/files/list",
            "/server/files/directory?path=gcodes/printer",
            "/server/webcams/list",
            "/server/database/list",
            "/access/users/list",
            "/access/info",
            "/api/settings",
            "/api/printer",
            "/",
            "/printer/objects/query?webhooks&configfile&print_stats",
            "/server/history/list",
            "/webcam/health",
            "/server/announcements/list",
        ] {
            answers += &client.get(format!("{base}{path}")).send().await.unwrap().text().await.unwrap();
        }
    }
    for path in ["/status", "/", "/readyz"] {
        answers += &client.get(format!("{gateway}{path}")).send().await.unwrap().text().await.unwrap();
    }
    let panicked = tokio::spawn(async { panic!("the code is {BAMBU_CODE}") }).await;
    assert!(panicked.is_err());
    farm.app.stop().await;
    let log = String::from_utf8_lossy(&lines.lock().unwrap()).into_owned();
    assert!(log.lines().count() > 200 && log.contains(" TRACE "), "the log is really at its most talkative");
    assert!(log.contains("the code is ***"), "the panic is logged, redacted");
    for secret in &secrets {
        let encoded =
            percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string();
        for form in [secret, &encoded, &secret.replace(' ', "%20"), &secret.replace(' ', "+")] {
            let leak = log.lines().find(|line| line.contains(form.as_str()));
            assert!(leak.is_none(), "{secret} in the log: {leak:?}");
            assert!(!answers.contains(form.as_str()), "{secret} in an answer");
        }
    }
}
