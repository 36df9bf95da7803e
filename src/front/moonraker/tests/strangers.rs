//! No write to a printer from an unauthenticated request, ever: every method and every route is tried.

use reqwest::Method;
use serde_json::{Value, json};

use super::room::Room;
use crate::access::{AccessSettings, Role};
use crate::front::moonraker::methods;

/// What is answered to strangers: who they could be, and how to become somebody.
const OPEN: [&str; 4] = ["access.info", "access.login", "access.refresh_jwt", "server.connection.identify"];

fn nobody() -> AccessSettings {
    AccessSettings { trusted_clients: Vec::new(), ..AccessSettings::default() }
}

/// Arguments that would make any of the methods do something.
fn tempting() -> Value {
    json!({
        "script": "M112", "filename": "cube.gcode", "path": "gcodes/cube.gcode", "namespace": "mainsail",
        "key": "k", "value": 1, "source": "gcodes/cube.gcode", "dest": "gcodes/other.gcode", "name": "cam",
        "username": "eve", "password": "x", "new_password": "y", "objects": {"print_stats": null}, "all": true,
        "filenames": ["cube.gcode"], "root": "gcodes", "force": true, "event": "e", "method_name": "m",
    })
}

async fn nothing_happened(room: &Room) {
    assert!(room.commands.lock().unwrap().is_empty(), "{:?}", room.commands.lock().unwrap());
    assert_eq!(room.station.library.list().await.unwrap().len(), 1, "the file is there, and no other");
    assert!(room.endpoint.access.users().is_empty());
}

#[tokio::test]
async fn every_method_is_closed_to_strangers() {
    let room = Room::guarded(nobody()).await;
    room.put("cube.gcode", b"G28\n").await;
    let key = room.endpoint.access.api_key();
    let mut socket = room.socket().await;
    let client = reqwest::Client::new();
    for method in methods::all() {
        assert_eq!(method.open, OPEN.contains(&method.name), "{} is open or not by intention", method.name);
        if method.open {
            continue;
        }
        let over_socket = socket.ask(method.name, tempting()).await;
        assert_eq!(
            over_socket["error"],
            json!({"code": -32602, "message": "Unauthorized"}),
            "{}",
            method.name
        );
        let frame = json!({"jsonrpc": "2.0", "method": method.name, "params": tempting(), "id": 1});
        let posted = client.post(room.url("/server/jsonrpc")).json(&frame).send().await.unwrap();
        assert_eq!(posted.status(), 200, "{} over HTTP JSON-RPC, as captured", method.name);
        let posted: Value = posted.json().await.unwrap();
        let (code, socket_only) = (posted["error"]["code"].as_i64(), posted["error"]["code"] == -32601);
        let over_http =
            methods::find(method.name).unwrap().socket_only || method.name == "printer.objects.subscribe";
        assert!(code == Some(-32602) || (over_http && socket_only), "{}: {posted}", method.name);
        for verb in
            ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD"].map(|verb| verb.parse::<Method>().unwrap())
        {
            let path = if method.path.is_empty() { "/server/files/gcodes/cube.gcode" } else { method.path };
            let sent = client.request(verb.clone(), room.url(path)).json(&tempting()).send().await.unwrap();
            assert!([401, 405].contains(&sent.status().as_u16()), "{verb} {path}: {}", sent.status());
        }
    }
    nothing_happened(&room).await;
    assert_eq!(room.endpoint.access.api_key(), key);
}

/// The routes that are no methods: uploads, the OctoPrint twin, downloads.
#[tokio::test]
async fn every_other_route_is_closed_to_strangers() {
    let room = Room::guarded(nobody()).await;
    room.put("cube.gcode", b"G28\n").await;
    let client = reqwest::Client::new();
    let bodies = [
        json!({"command": "cancel"}),
        json!({"command": "select", "print": true}),
        json!({"commands": ["M112"]}),
        json!({"command": "target", "targets": {"tool0": 200}}),
    ];
    for path in [
        "/api/version",
        "/api/server",
        "/api/login",
        "/api/logout",
        "/api/plugin/appkeys",
        "/api/system/commands",
        "/api/timelapse",
        "/api/currentuser",
        "/api/settings",
        "/api/job",
        "/api/printer",
        "/api/printer/command",
        "/api/printer/command/custom",
        "/api/printer/tool",
        "/api/printer/bed",
        "/api/printer/chamber",
        "/api/printer/printhead",
        "/api/printer/sd",
        "/api/printerprofiles",
        "/api/connection",
        "/api/files",
        "/api/files/local",
        "/api/files/local/cube.gcode",
        "/api/files/moonraker/gcodes/cube.gcode",
        "/server/files/upload",
        "/server/files/gcodes/cube.gcode",
        "/server/files/config/a.cfg",
        "/server/files/logs/klippy.log",
        "/server/jsonrpc",
        "/machine/anything",
        "/printer/anything",
        "/access/anything",
        "/webcam",
        "/webcam/",
        "/webcam/snapshot",
    ] {
        for verb in
            ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD"].map(|verb| verb.parse::<Method>().unwrap())
        {
            for body in &bodies {
                let sent = client.request(verb.clone(), room.url(path)).json(body).send().await.unwrap();
                // There each call of a frame is judged; these bodies are none.
                let frames = path == "/server/jsonrpc" && verb == Method::POST;
                assert_eq!(sent.status(), if frames { 200 } else { 401 }, "{verb} {path}");
                if frames {
                    let answer: Value = sent.json().await.unwrap();
                    assert_eq!(answer["error"]["code"], -32600, "{answer}");
                }
            }
        }
    }
    for path in ["/server/files/upload", "/api/files/local"] {
        let part = reqwest::multipart::Part::bytes(b"G28\n".as_slice()).file_name("evil.gcode");
        let form = reqwest::multipart::Form::new().text("print", "true").part("file", part);
        let sent = client.post(room.url(path)).multipart(form).send().await.unwrap();
        assert_eq!(sent.status(), 401, "{path}");
    }
    nothing_happened(&room).await;
}

/// The captured `http:jsonrpc_unauthorized`, and what is open to everybody.
#[tokio::test]
async fn a_stranger_is_answered_over_http_json_rpc_as_on_a_socket() {
    let room = Room::guarded(nobody()).await;
    let golden = super::room::fixture("auth_untrusted/unauthenticated_calls.json");
    let golden = &golden["http:jsonrpc_unauthorized"];
    let client = reqwest::Client::new();
    let post = |body: Value| client.post(room.url("/server/jsonrpc")).json(&body).send();
    let refused = post(golden["request"]["body"].clone()).await.unwrap();
    assert_eq!(refused.status().as_u16(), golden["status"].as_u64().unwrap() as u16);
    assert_eq!(refused.json::<Value>().await.unwrap(), golden["body"]);
    let frame =
        |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 1});
    let told: Value = post(frame("access.info", json!({}))).await.unwrap().json().await.unwrap();
    assert_eq!(told["result"]["trusted"], false);
    room.endpoint.access.create_user("adam", "password-of-adam", Role::Admin).await.unwrap();
    let login = json!({"username": "adam", "password": "password-of-adam"});
    let told: Value = post(frame("access.login", login)).await.unwrap().json().await.unwrap();
    assert_eq!(told["result"]["action"], "user_logged_in");
    let large = frame("server.info", json!({"x": "x".repeat(100_000)}));
    assert_eq!(post(large).await.unwrap().status(), 413, "a stranger's memory is small");
    let wrong = client
        .post(room.url("/server/jsonrpc"))
        .header("x-api-key", "wrong")
        .json(&frame("access.info", json!({})));
    assert_eq!(wrong.send().await.unwrap().status(), 401);
}

/// Wrong credentials are no better than none, and take the trust of the address.
#[tokio::test]
async fn wrong_credentials_are_refused_everywhere() {
    let room = Room::open().await;
    let client = reqwest::Client::new();
    let url = room.url("/printer/print/pause");
    for (header, value) in [
        ("authorization", "Bearer a.b.c"),
        ("authorization", "Bearer wrong"),
        ("x-access-token", "wrong"),
        ("x-api-key", "wrong"),
        ("x-api-key", "\u{e9}"),
    ] {
        let sent = client.post(&url).header(header, value).send().await.unwrap();
        assert_eq!(sent.status(), 401, "{header}: {value}");
    }
    let sent = client.post(format!("{url}?access_token=x.y.z")).send().await.unwrap();
    assert_eq!(sent.status(), 401);
    // A one-shot token that is none is overlooked, as by the real server: this address is trusted, and nothing prints.
    for query in ["token=AAAA", "access%5Ftoken=", "token="] {
        let sent = client.post(format!("{url}?{query}")).send().await.unwrap();
        assert_eq!(sent.status(), 400, "{query}");
    }
    assert!(room.commands.lock().unwrap().is_empty());
}

/// A page anywhere in the internet, opened in a browser on this network, must not print.
#[tokio::test]
async fn foreign_pages_do_not_borrow_the_trust_of_a_browser() {
    const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let room = Room::open().await;
    let client = reqwest::Client::new();
    let script = room.url("/printer/gcode/script?script=LIGHT%20ON=0");
    let forms = [
        (Method::POST, vec![("origin", "http://evil.example")]),
        (Method::POST, vec![("origin", "null")]),
        (Method::GET, vec![("user-agent", BROWSER)]),
        (Method::GET, vec![("user-agent", BROWSER), ("referer", "http://evil.example/page")]),
        (Method::GET, vec![("sec-fetch-site", "cross-site")]),
        (Method::POST, vec![("origin", "http://evil.example:7125"), ("host", "evil.example:7125")]),
    ];
    for (verb, headers) in forms {
        let mut asked = client.request(verb, &script);
        for (name, value) in &headers {
            asked = asked.header(*name, *value);
        }
        let status = asked.send().await.unwrap().status().as_u16();
        assert!([401, 403].contains(&status), "{headers:?}: {status}");
    }
    assert!(room.commands.lock().unwrap().is_empty());
    let own = format!("http://{}", room.address);
    for (verb, name, value) in [
        (Method::POST, "origin", own.as_str()),
        (Method::GET, "referer", &format!("{own}/console")),
        (Method::POST, "origin", "http://mainsail.local"),
        (Method::POST, "user-agent", "Mozilla/5.0"),
        (Method::GET, "user-agent", "curl/8"),
    ] {
        let sent = client.request(verb, &script).header(name, value).send().await.unwrap();
        assert_eq!(sent.status(), 200, "{name}: {value}");
    }
}

/// What changes something says so in the table.
#[test]
fn reading_rows_are_those_that_read() {
    let reading = |name: &str| {
        [
            "info",
            "list",
            "query",
            "help",
            "status",
            "roots",
            "metadata",
            "thumbnails",
            "directory",
            "get_item",
        ]
        .iter()
        .any(|word| name.ends_with(word))
            || [
                "config",
                "store",
                "id",
                "job",
                "totals",
                "feeds",
                "proc_stats",
                "get_user",
                "token",
                "subscribe",
                "usb",
                "serial",
                "video",
                "canbus",
                "devices",
                "get_device",
                "measurements",
                "get_settings",
                "lastframeinfo",
            ]
            .iter()
            .any(|word| name.ends_with(word))
            || OPEN.contains(&name)
            || ["access.logout", "access.user.password"].contains(&name)
            // It asks for the role itself where it does not read.
            || name == "server.spoolman.proxy"
    };
    for method in methods::all().iter().filter(|method| method.role == Role::View) {
        assert!(reading(method.name), "{} changes something and needs a role", method.name);
        let changes = ["post_", "delete_", "start", "pause", "jump", "move", "copy"];
        assert!(!changes.iter().any(|word| method.name.contains(word)), "{}", method.name);
    }
}
