//! HTTP: envelopes, paths, origins, credentials, the OctoPrint twin.

use reqwest::Method;
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::room::{Room, fixture};
use crate::access::{AccessSettings, Role};
use crate::front::moonraker::MoonrakerConfig;

async fn get(room: &Room, path: &str) -> (u16, Value) {
    let response = reqwest::get(room.url(path)).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn paths_are_exact_and_errors_are_json() {
    let room = Room::open().await;
    assert_eq!(get(&room, "/server/info").await.1["result"]["klippy_state"], "ready");
    for (path, status) in
        [("/server/info/", 404), ("/server/nothing", 404), ("/nothing", 404), ("/api/nothing", 404)]
    {
        let (found, body) = get(&room, path).await;
        assert_eq!((found, &body["error"]["code"]), (status, &json!(status)), "{path}");
    }
    let response = reqwest::Client::new().post(room.url("/server/info")).send().await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], 405);
    let page = reqwest::get(room.url("/")).await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<html"));
}

#[tokio::test]
async fn object_queries_come_in_three_forms() {
    let room = Room::open().await;
    let (_, plain) =
        get(&room, "/printer/objects/query?extruder=temperature,target&fan_generic%20aux_fan").await;
    assert_eq!(plain["result"]["status"]["extruder"], json!({"temperature": 24.03, "target": 0.0}));
    assert_eq!(plain["result"]["status"]["fan_generic aux_fan"], json!({"speed": 0.0, "rpm": null}));
    assert_eq!(get(&room, "/printer/objects/query").await.1["result"]["status"], json!({}));
    let body = json!({"objects": {"webhooks": ["state"]}});
    let posted =
        reqwest::Client::new().post(room.url("/printer/objects/query")).json(&body).send().await.unwrap();
    assert_eq!(
        posted.json::<Value>().await.unwrap()["result"]["status"],
        json!({"webhooks": {"state": "ready"}})
    );
}

/// The real server reads a form as it reads a query; moonraker-obico posts nothing else.
#[tokio::test]
async fn a_form_holds_arguments_as_a_query_does() {
    let room = Room::open().await;
    let post = async |path: &str, form: &str| {
        let request = reqwest::Client::new().post(room.url(path)).body(form.to_owned());
        let request = request.header("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    assert_eq!(
        post("/printer/gcode/script", "script=M117+hello%20there").await,
        (200, json!({"result": "ok"}))
    );
    let (status, kept) =
        post("/server/database/item?namespace=forms&key=query", "key=form&value:int=7").await;
    assert_eq!((status, &kept["result"]["key"], &kept["result"]["value"]), (200, &json!("form"), &json!(7)));
    let (_, found) = post("/printer/objects/query", "webhooks=state").await;
    assert_eq!(found["result"]["status"], json!({"webhooks": {"state": "ready"}}));
    let (status, refused) = post("/printer/print/start", "").await;
    assert_eq!((status, &refused["error"]["message"]), (400, &json!("No data for argument: filename")));
}

/// `cors_and_origin.json`.
#[tokio::test]
async fn origins_are_judged_as_captured() {
    let room = Room::open().await;
    let client = reqwest::Client::new();
    for (name, case) in fixture("klippy_ready/cors_and_origin.json").as_object().unwrap() {
        if let Some(origin) = case["origin"].as_str() {
            let origin = origin.replace("127.0.0.1:7125", &room.address);
            let opened = room.socket_from(Some(&origin)).await.map(drop);
            let expected = if case["result"] == "101 upgraded" { Ok(()) } else { Err(403) };
            assert_eq!(opened, expected, "{name}");
            continue;
        }
        let request = &case["request"];
        let method = Method::from_bytes(request["method"].as_str().unwrap().as_bytes()).unwrap();
        let mut asked = client.request(method, room.url(request["path"].as_str().unwrap()));
        for (header, value) in request["headers"].as_object().unwrap() {
            asked = asked.header(header, value.as_str().unwrap());
        }
        let response = asked.send().await.unwrap();
        assert_eq!(json!(response.status().as_u16()), case["status"], "{name}");
        for header in [
            "access-control-allow-origin",
            "access-control-allow-methods",
            "access-control-allow-headers",
            "access-control-allow-private-network",
        ] {
            let ours = response.headers().get(header).map(|value| value.to_str().unwrap());
            assert_eq!(ours, case["headers"][header].as_str(), "{name}: {header}");
        }
    }
}

fn closed() -> AccessSettings {
    let key = crate::secret::Secret::new("0123456789abcdef0123456789abcdef");
    AccessSettings { trusted_clients: Vec::new(), api_key: Some(key), ..AccessSettings::default() }
}

#[tokio::test]
async fn strangers_get_nothing_but_pictures() {
    let room = Room::guarded(closed()).await;
    for path in [
        "/server/info",
        "/printer/info",
        "/server/files/gcodes/cube.gcode",
        "/api/version",
        "/server/files/list",
    ] {
        assert_eq!(get(&room, path).await.0, 401, "{path}");
    }
    assert_eq!(
        get(&room, "/access/info").await,
        (
            200,
            json!({"result": {"default_source": "moonraker", "available_sources": ["moonraker"], "login_required": false, "trusted": false}})
        )
    );
    assert_eq!(get(&room, "/server/files/gcodes/.thumbs/none.png").await.0, 404);
    let mut socket = room.socket().await;
    for method in ["server.info", "printer.info", "access.oneshot_token"] {
        assert_eq!(
            socket.ask(method, json!({})).await["error"],
            json!({"code": -32602, "message": "Unauthorized"})
        );
    }
    let mut identity = json!({"client_name": "t", "version": "1", "type": "web", "url": "x"});
    assert_eq!(
        socket.ask("server.connection.identify", identity.clone()).await["error"]["message"],
        "Unauthorized"
    );
    identity["api_key"] = json!("ffffffffffffffffffffffffffffffff");
    assert_eq!(
        socket.ask("server.connection.identify", identity.clone()).await["error"]["message"],
        "Invalid API Key"
    );
    identity["api_key"] = json!("0123456789abcdef0123456789abcdef");
    socket.call("server.connection.identify", identity).await;
    socket.call("server.info", json!({})).await;
}

/// Apps keep keys of earlier days; the real server does not look at the key of a socket that has a user
/// (moonraker `common.py`, `authenticate`).
#[tokio::test]
async fn a_stale_key_does_not_lock_out_a_trusted_client() {
    let key = crate::secret::Secret::new("0123456789abcdef0123456789abcdef");
    let room = Room::guarded(AccessSettings {
        api_key: Some(key),
        trusted_role: Role::View,
        ..AccessSettings::default()
    })
    .await;
    let identity = |field: &str, shown: &str| {
        let mut identity = json!({"client_name": "t", "version": "1", "type": "mobile", "url": "x"});
        identity[field] = json!(shown);
        identity
    };
    let mut stale = room.socket().await;
    stale.call("server.connection.identify", identity("api_key", "ffffffffffffffffffffffffffffffff")).await;
    stale.call("server.info", json!({})).await;
    let refused = stale.ask("server.restart", json!({})).await;
    assert_eq!(refused["error"]["code"], 403, "it may what it might before, and no more: {refused}");
    let mut right = room.socket().await;
    right.call("server.connection.identify", identity("api_key", "0123456789abcdef0123456789abcdef")).await;
    right.call("access.get_api_key", json!({})).await;
    // A token is shown on purpose: a wrong one takes the trust of the address.
    let mut wrong = room.socket().await;
    let refused = wrong.ask("server.connection.identify", identity("access_token", "a.b.c")).await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert_eq!(wrong.ask("server.info", json!({})).await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_subscription_over_http_brings_updates_and_ends_with_its_rights() {
    let room = Room::guarded(closed()).await;
    let key = "0123456789abcdef0123456789abcdef";
    let mut socket = room.socket().await;
    let identity = json!({"client_name": "t", "version": "1", "type": "web", "url": "x", "api_key": key});
    let id = socket.call("server.connection.identify", identity).await["connection_id"].to_string();
    let client = reqwest::Client::new();
    let path = format!("/printer/objects/subscribe?connection_id={id}&heater_bed=temperature");
    let subscribe = || client.post(room.url(&path)).header("X-Api-Key", key).send();
    let heat = |actual: f64| {
        room.station.printer.writer().report(|device| device.bed.actual = Some(actual));
    };
    let answer: Value = subscribe().await.unwrap().json().await.unwrap();
    assert_eq!(answer["result"]["status"], json!({"heater_bed": {"temperature": 24.01}}));
    heat(31.0);
    assert_eq!(socket.notice("notify_status_update").await[0], json!({"heater_bed": {"temperature": 31.0}}));
    room.endpoint.hub.drop_rights(|_user| false);
    assert_eq!(client.post(room.url(&path)).send().await.unwrap().status(), 401, "a stranger");
    heat(32.0);
    // The key's owner speaks for the socket, which has no rights of its own now.
    assert_eq!(subscribe().await.unwrap().status(), 200);
    heat(33.0);
    assert_eq!(socket.notice("notify_status_update").await[0], json!({"heater_bed": {"temperature": 33.0}}));
    room.endpoint.hub.drop_rights(|_user| false);
    heat(34.0);
    heat(35.0);
    assert_eq!(socket.ask("server.info", json!({})).await["error"]["code"], -32602);
    assert!(!socket.notices.iter().any(|notice| notice["method"] == "notify_status_update"));
    let nobody = client.post(room.url("/printer/objects/subscribe?fan")).header("X-Api-Key", key).send();
    let nobody: Value = nobody.await.unwrap().json().await.unwrap();
    assert_eq!(nobody["error"]["message"], "No connection associated with subscription request");
}

#[tokio::test]
async fn keys_and_tokens_open_the_door() {
    let room = Room::guarded(closed()).await;
    let client = reqwest::Client::new();
    let with_key =
        |key: &str, path: &str| client.get(room.url(path)).header("X-Api-Key", key.to_owned()).send();
    assert_eq!(with_key("wrong", "/server/info").await.unwrap().status(), 401);
    let good = "0123456789abcdef0123456789abcdef";
    assert_eq!(with_key(good, "/server/info").await.unwrap().status(), 200);
    let answer: Value = with_key(good, "/access/oneshot_token").await.unwrap().json().await.unwrap();
    let token = answer["result"].as_str().unwrap().to_owned();
    assert_eq!(token.len(), 32);
    assert_eq!(get(&room, &format!("/server/info?token={token}")).await.0, 200);
    assert_eq!(get(&room, &format!("/server/info?token={token}")).await.0, 401, "once only");
}

#[tokio::test]
async fn a_proxy_does_not_lend_its_trust() {
    let room = Room::open().await;
    let client = reqwest::Client::new();
    let from = |address: &str| {
        client.get(room.url("/server/info")).header("X-Forwarded-For", address.to_owned()).send()
    };
    assert_eq!(from("8.8.8.8").await.unwrap().status(), 401);
    assert_eq!(from("192.168.1.4").await.unwrap().status(), 200);
}

/// Keys of the captures of the OctoPrint twin.
#[tokio::test]
async fn octoprint_routes_answer_as_captured() {
    let room = Room::open().await;
    for name in [
        "api_version",
        "api_server",
        "api_currentuser",
        "api_settings",
        "api_job",
        "api_printer",
        "api_printerprofiles",
    ] {
        let golden = fixture(&format!("klippy_ready/octoprint.{name}.json"));
        let path = golden["http"]["request"]["path"].as_str().unwrap();
        let (status, body) = get(&room, path).await;
        assert_eq!(json!(status), golden["http"]["status"], "{name}");
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let (mut ours, mut theirs) = (keys(&body), keys(&golden["http"]["body"]));
        ours.sort();
        theirs.sort();
        // OctoPrint itself has these there.
        ours.retain(|key| !matches!((name, key.as_str()), ("api_printer", "sd") | ("api_server", "version")));
        assert_eq!(ours, theirs, "{name}");
    }
    // The second: a slicer's host that was entered with a slash at its end.
    for path in ["/api/version", "//api/version"] {
        assert!(get(&room, path).await.1["text"].as_str().unwrap().starts_with("OctoPrint"), "{path}");
    }
    let client = reqwest::Client::new();
    let commands = client.post(room.url("/api/printer/command")).json(&json!({"commands": ["NOPE"]}));
    let octopod = commands.try_clone().unwrap().header("user-agent", "OctoPod/1 CFNetwork/1410 Darwin/22");
    let response = commands.send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (200, "{}".to_owned()));
    let response = octopod.send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (204, String::new()));
    let pause = client.post(room.url("/api/job")).json(&json!({"command": "pause", "action": "pause"}));
    assert_eq!(pause.send().await.unwrap().status(), 409, "nothing prints");
}

#[tokio::test]
async fn a_web_root_is_served_and_configured() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<html>ui</html>").unwrap();
    std::fs::write(folder.path().join("app.js"), "1").unwrap();
    let room =
        Room::with(MoonrakerConfig { web_root: Some(folder.path().into()), ..MoonrakerConfig::default() })
            .await;
    let text = async |path: &str| reqwest::get(room.url(path)).await.unwrap().text().await.unwrap();
    assert_eq!(text("/").await, "<html>ui</html>");
    assert_eq!(text("/app.js").await, "1");
    assert_eq!(text("/console").await, "<html>ui</html>", "a route of the application");
    assert_eq!(get(&room, "/missing.js").await.0, 404);
    assert_eq!(get(&room, "/%2e%2e/secret.txt").await.0, 404);
    assert_eq!(get(&room, "/config.json").await.1["instancesDB"], "moonraker");
    let shipped = r#"{"hostname": "elsewhere", "endpoints": [], "themePresets": [{"name": "Fluidd"}]}"#;
    std::fs::write(folder.path().join("config.json"), shipped).unwrap();
    let config = get(&room, "/config.json").await.1;
    assert_eq!(
        config["themePresets"],
        json!([{"name": "Fluidd"}]),
        "Fluidd's settings fail without its themes"
    );
    assert_eq!((&config["instancesDB"], config.get("hostname")), (&json!("moonraker"), None));
    assert_eq!(config["endpoints"].as_array().map(Vec::len), Some(1), "this printer");
    assert_eq!(get(&room, "/server/nothing").await.0, 404, "API paths never fall through to the page");
}

/// The same API below a prefix of the gateway's port (moonraker.md 4.3).
#[tokio::test]
async fn the_api_is_found_below_a_prefix() {
    let room = Room::open().await;
    let mounted = axum::Router::new()
        .nest_service("/printers/one", crate::front::moonraker::router(room.endpoint.clone()))
        .into_make_service_with_connect_info::<std::net::SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("{}/printers/one", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, mounted).await });
    let info: Value = reqwest::get(format!("http://{base}/server/info")).await.unwrap().json().await.unwrap();
    assert_eq!(info["result"]["klippy_state"], "ready");
    let page = reqwest::get(format!("http://{base}/")).await.unwrap();
    assert_eq!(page.status(), 200);
    let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{base}/websocket")).await.unwrap();
    drop(socket);
    let cams: Value =
        reqwest::get(format!("http://{base}/server/webcams/list")).await.unwrap().json().await.unwrap();
    assert_eq!(cams["result"]["webcams"][0]["stream_url"], format!("http://{base}/webcam/?action=stream"));
    let part = reqwest::multipart::Part::bytes(b"G28\n".as_slice()).file_name("a b.gcode");
    let form = reqwest::multipart::Form::new().part("file", part);
    let sent = reqwest::Client::new()
        .post(format!("http://{base}/server/files/upload"))
        .multipart(form)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 201);
    assert_eq!(sent.headers()["location"], format!("http://{base}/server/files/gcodes/a%20b.gcode"));
}

/// Serves the endpoint at `/printers/one`, as the gateway's own port does.
async fn below_a_prefix(room: &Room) -> std::net::SocketAddr {
    let mounted = axum::Router::new()
        .nest_service("/printers/one", crate::front::moonraker::router(room.endpoint.clone()))
        .into_make_service_with_connect_info::<std::net::SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, mounted).await });
    address
}

/// Mainsail is built for the root of a host; Fluidd finds its parts anywhere.
#[tokio::test]
async fn a_web_interface_for_the_root_is_shown_at_the_printers_own_port() {
    for (page, own_port) in [("<script src=\"/assets/a.js\">", true), ("<script src=\"./a.js\">", false)] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("index.html"), page).unwrap();
        let config = MoonrakerConfig { web_root: Some(folder.path().into()), ..MoonrakerConfig::default() };
        let room = Room::with(config).await;
        let address = below_a_prefix(&room).await;
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let answer = client.get(format!("http://{address}/printers/one/")).send().await.unwrap();
        if own_port {
            assert_eq!(
                (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()),
                (307, room.url("/").as_str())
            );
        } else {
            assert_eq!(answer.text().await.unwrap(), page);
        }
        // Behind a proxy nothing is at that port.
        let forwarded = client
            .get(format!("http://{address}/printers/one/"))
            .headers(HeaderMap::from_iter([
                (HOST, HeaderValue::from_static("printers.example.org")),
                (HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static("127.0.0.1")),
                (HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https")),
                (HeaderName::from_static("x-forwarded-prefix"), HeaderValue::from_static("/printing")),
            ]))
            .send()
            .await
            .unwrap();
        assert_eq!(forwarded.status(), 200);
        let told = forwarded.text().await.unwrap();
        if own_port {
            for part in [
                "<code>printers.example.org</code>",
                "<code>443</code>",
                "<code>/printing/printers/one</code>",
            ] {
                assert!(told.contains(part), "{told}");
            }
        } else {
            assert_eq!(told, page);
        }
        assert_eq!(client.get(room.url("/")).send().await.unwrap().text().await.unwrap(), page);
        // Without the slash the page would look for its parts beside the folder.
        let bare = client.get(format!("http://{address}/printers/one")).send().await.unwrap();
        assert_eq!((bare.status().as_u16(), bare.headers()["location"].to_str().unwrap()), (307, "one/"));
    }
}

/// All printers below the gateway's port are one origin to the browser, and Fluidd opens the printer of its last visit.
#[tokio::test]
async fn fluidd_opens_the_printer_of_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let page = "<html><head><title>fluidd</title></head></html>";
    std::fs::write(folder.path().join("index.html"), page).unwrap();
    let config = MoonrakerConfig { web_root: Some(folder.path().into()), ..MoonrakerConfig::default() };
    let room = Room::with(config).await;
    let address = below_a_prefix(&room).await;
    for (base, only_first) in [(format!("http://{address}/printers/one"), false), (room.url(""), true)] {
        for file in ["/", "/index.html"] {
            let text = reqwest::get(format!("{base}{file}")).await.unwrap().text().await.unwrap();
            assert!(text.contains(&format!("\"apiUrl\":\"{base}\"")), "{text}");
            assert!(text.contains(&format!(", {only_first});</script>")), "{text}");
        }
    }
}

/// Without the inventory Fluidd says that Spoolman is not there.
#[tokio::test]
async fn who_may_look_may_read_the_spools() {
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    let room = Room::guarded(AccessSettings { trusted_role: Role::View, ..AccessSettings::default() }).await;
    let nobody =
        crate::filament::Spoolman::start("http://127.0.0.1:9", &TaskTracker::new(), CancellationToken::new());
    room.station.jobs.filament().use_inventory(nobody);
    let mut socket = room.socket().await;
    for (method, code) in
        [("GET", 502), ("POST", 403), ("PATCH", 403), ("PUT", 403), ("DELETE", 403), ("get", 403)]
    {
        let asked = json!({"request_method": method, "path": "/v1/spool"});
        let answer = socket.ask("server.spoolman.proxy", asked).await;
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
    }
}
