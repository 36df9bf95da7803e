//! Hostile paths, names and sizes over real HTTP, byte for byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::room::{DEADLINE, Room};
use crate::front::moonraker::MoonrakerConfig;

/// Sends bytes as they are (clients clean paths up) and returns the head of the answer and its body.
async fn raw(room: &Room, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(&room.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _reset_after_the_answer =
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, text)
}

async fn request(room: &Room, verb: &str, path: &str) -> (u16, String) {
    raw(room, format!("{verb} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
}

/// A room with a secret next to each of its folders, and a link that leads to it.
async fn with_secrets() -> (Room, tempfile::TempDir) {
    let outside = tempfile::tempdir().unwrap();
    for folder in ["one", "web"] {
        std::fs::create_dir(outside.path().join(folder)).unwrap();
    }
    std::fs::write(outside.path().join("secret.txt"), "TOP-SECRET").unwrap();
    std::fs::write(outside.path().join("web/index.html"), "index").unwrap();
    for folder in ["one", "web"] {
        let folder = outside.path().join(folder);
        std::os::unix::fs::symlink(outside.path().join("secret.txt"), folder.join("link.txt")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.join("linked")).unwrap();
    }
    let room = Room::with(MoonrakerConfig {
        config_root: Some(outside.path().to_owned()),
        web_root: Some(outside.path().join("web")),
        ..MoonrakerConfig::default()
    })
    .await;
    let library = room.station.library.root().to_owned();
    std::fs::write(library.parent().unwrap().join("secret.txt"), "TOP-SECRET").unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.txt"), library.join("link.txt")).unwrap();
    std::os::unix::fs::symlink(outside.path(), library.join("linked")).unwrap();
    (room, outside)
}

#[tokio::test]
async fn no_path_leads_out_of_a_root() {
    let (room, outside) = with_secrets().await;
    let ways = [
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "..%5csecret.txt",
        "..\\secret.txt",
        "sub/../../secret.txt",
        "./../secret.txt",
        ".../...//secret.txt",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "%00../secret.txt",
        "link.txt",
        "linked/secret.txt",
        "..%252fsecret.txt",
        "%c0%ae%c0%ae/secret.txt",
        ".thumbs/../../secret.txt",
        ".thumbs/..%2f..%2fsecret.txt",
        "..%2fsecret.png",
    ];
    let roots = [
        "/server/files/gcodes/",
        "/server/files/config/",
        "/server/files/logs/",
        "/server/files/",
        "/api/files/local/",
        "/api/files/moonraker/gcodes/",
        "/",
        "/server/files/metadata?filename=",
        "/server/files/thumbnails?filename=",
        "/server/files/directory?path=gcodes/",
        "/server/files/directory?path=config/",
        "/server/files/list?root=",
    ];
    for root in roots {
        for way in ways {
            for verb in ["GET", "HEAD", "DELETE", "POST"] {
                let (status, text) = request(&room, verb, &format!("{root}{way}")).await;
                assert!(status >= 200, "{verb} {root}{way} was not answered");
                assert!(!text.contains("TOP-SECRET"), "{verb} {root}{way} told the secret");
                assert!(!text.contains("root:"), "{verb} {root}{way} told /etc/passwd");
            }
        }
    }
    assert_eq!(std::fs::read_to_string(outside.path().join("secret.txt")).unwrap(), "TOP-SECRET");
}

/// Moves, copies, folders and uploads do not write outside either.
#[tokio::test]
async fn nothing_is_written_outside_a_root() {
    let (room, outside) = with_secrets().await;
    room.put("a.gcode", b"G28\n").await;
    let client = reqwest::Client::new();
    for root in ["gcodes", "config"] {
        for way in
            ["../evil.txt", "linked/evil.txt", "/tmp/../evil.txt", "sub/../../evil.txt", "..\\evil.txt"]
        {
            let dest = format!("{root}/{way}");
            for path in ["/server/files/move", "/server/files/copy"] {
                let body = serde_json::json!({"source": "gcodes/a.gcode", "dest": dest});
                let sent = client.post(room.url(path)).json(&body).send().await.unwrap();
                assert!(sent.status().is_client_error(), "{path} to {dest}: {}", sent.status());
            }
            let body = serde_json::json!({"path": dest});
            let sent = client.post(room.url("/server/files/directory")).json(&body).send().await.unwrap();
            assert!(sent.status().is_client_error(), "folder {dest}: {}", sent.status());
            let (folder, name) = way.rsplit_once('/').unwrap_or(("", way));
            for (folder, name) in [(folder, name), ("", way)] {
                let part = reqwest::multipart::Part::bytes(b"evil".as_slice()).file_name(name.to_owned());
                let form = reqwest::multipart::Form::new()
                    .text("root", root)
                    .text("path", folder.to_owned())
                    .part("file", part);
                // A name with folders in it loses them (browsers send whole paths); a path that leaves is refused.
                let _either =
                    client.post(room.url("/server/files/upload")).multipart(form).send().await.unwrap();
            }
        }
    }
    let mut found = Vec::new();
    for place in [outside.path(), room.station.library.root().parent().unwrap()] {
        found.extend(std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name()));
    }
    assert!(!found.iter().any(|name| name.to_string_lossy().contains("evil")), "{found:?}");
}

/// Names with line breaks and quotes stay data: they neither end a header nor begin another.
#[tokio::test]
async fn names_do_not_become_headers() {
    let room = Room::open().await;
    let boundary = "----b";
    for name in [
        "a\r\nX-Evil: 1\r\n.gcode",
        "a%0d%0aX-Evil: 1.gcode",
        "a\"; x=\".gcode",
        "a\u{2028}b.gcode",
        "\u{202e}edocg.gcode",
    ] {
        let body = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\nG28\n\r\n--{boundary}--\r\n"
        );
        let head = format!(
            "POST /server/files/upload HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary={boundary}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let (status, text) = raw(&room, (head + &body).as_bytes()).await;
        assert!(status == 201 || (400..500).contains(&status), "{name:?}: {text}");
        let head = text.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert!(!head.contains("\r\nx-evil"), "{text}");
    }
    for entry in room.station.library.list().await.unwrap() {
        assert!(!entry.path.chars().any(char::is_control), "{:?}", entry.path);
        let path = percent_encoding::utf8_percent_encode(&entry.path, percent_encoding::NON_ALPHANUMERIC);
        let (status, text) = request(&room, "GET", &format!("/server/files/gcodes/{path}")).await;
        let head = text.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert_eq!(status, 200, "{:?}: {text}", entry.path);
        assert!(!head.contains("\r\nx-evil"), "{head}");
        assert_eq!(head.matches("content-disposition").count(), 1, "{head}");
    }
    // A host header comes back in URLs, as text in quotes only.
    let odd = b"GET /server/webcams/list HTTP/1.1\r\nhost: a\"><script>\r\nconnection: close\r\n\r\n";
    assert!(!raw(&room, odd).await.1.contains("<script>"));
    let odd = b"GET /config.json HTTP/1.1\r\nhost: a\"><script>\r\nconnection: close\r\n\r\n";
    assert!(!raw(&room, odd).await.1.contains("<script>"));
}

#[tokio::test]
async fn oversized_requests_end_early() {
    let room = Room::with(MoonrakerConfig { max_upload: 1 << 20, ..MoonrakerConfig::default() }).await;
    let long = "a".repeat(300_000);
    let (status, _) = raw(&room, format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
    assert!([0, 400, 414, 431].contains(&status), "{status}");
    let many: String = (0..2000).map(|number| format!("x-{number}: 1\r\n")).collect();
    let (status, _) = raw(&room, format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes()).await;
    assert!([0, 400, 431].contains(&status), "{status}");
    let body = vec![b' '; 9 << 20];
    let sent = reqwest::Client::new()
        .post(room.url("/printer/objects/query"))
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await;
    assert!(sent.is_err() || sent.is_ok_and(|answer| answer.status() == 413));
    let claimed = b"POST /server/files/upload HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: 99999999999\r\n\r\n";
    assert_eq!(raw(&room, claimed).await.0, 413, "refused by its length alone");
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut socket = room.socket().await;
    for (params, code) in [(format!("{{\"a\":{deep}}}"), -32700), (deep, -32602)] {
        let request = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"server.info\",\"params\":{params}}}");
        socket.send(request).await;
        assert_eq!(socket.answer().await["error"]["code"], code);
    }
    socket.call("server.info", serde_json::json!({})).await;
}

#[tokio::test]
async fn sockets_are_counted_and_strangers_get_half() {
    let room = Room::with(MoonrakerConfig { max_sockets: 4, ..MoonrakerConfig::default() }).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(room.socket().await);
    }
    assert_eq!(room.socket_from(None).await.map(drop), Err(503));
    let guarded = crate::access::AccessSettings { trusted_clients: Vec::new(), ..Default::default() };
    let config = MoonrakerConfig { max_sockets: 4, ..MoonrakerConfig::default() };
    let room = Room::built(config, guarded).await;
    let mut strangers = [room.socket().await, room.socket().await];
    for stranger in &mut strangers {
        stranger.ask("access.info", serde_json::json!({})).await;
    }
    assert_eq!(room.socket_from(None).await.map(drop), Err(503));
}
