//! Uploads and downloads.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::room::Room;
use crate::front::moonraker::MoonrakerConfig;
use crate::model::DeviceStage;

const GCODE: &[u8] = include_bytes!("../../../../fixtures/gcode/prusaslicer-2.5.0/box.gcode");

fn file(name: &str) -> Part {
    Part::bytes(GCODE).file_name(name.to_owned())
}

async fn post(room: &Room, path: &str, form: Form) -> (u16, Option<String>, Value) {
    let response = reqwest::Client::new().post(room.url(path)).multipart(form).send().await.unwrap();
    let location = response.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), location, response.json().await.unwrap())
}

/// Cases of `server.files.upload.json`, with the parts in either order.
#[tokio::test]
async fn uploads_answer_bare_and_enveloped() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    socket.call("server.info", json!({})).await;
    let before = Form::new()
        .text("root", "gcodes")
        .text("path", "sub/dir")
        .text("print", "false")
        .part("file", file("up load.gcode"));
    let (status, location, answer) = post(&room, "/server/files/upload", before).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(location, Some(room.url("/server/files/gcodes/sub/dir/up%20load.gcode")));
    assert_eq!(answer["item"]["path"], "sub/dir/up load.gcode");
    assert_eq!(answer["item"]["size"], GCODE.len());
    assert_eq!((&answer["print_started"], &answer["action"]), (&json!(false), &json!("create_file")));
    assert_eq!(answer["result"]["item"], answer["item"]);
    let told = socket.notice("notify_filelist_changed").await;
    assert!(["create_dir", "create_file"].iter().any(|action| told[0]["action"] == *action), "{told}");
    let after = Form::new().part("file", file("late.gcode")).text("path", "other");
    assert_eq!(post(&room, "/server/files/upload", after).await.2["item"]["path"], "other/late.gcode");
    let octoprint = Form::new().part("file", file("octo.gcode"));
    let (status, location, _) = post(&room, "/api/files/local", octoprint).await;
    assert_eq!((status, location), (201, Some(room.url("/api/files/moonraker/gcodes/octo.gcode"))));
    let listed = socket.call("server.files.list", json!({})).await;
    let paths: Vec<&str> =
        listed.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["octo.gcode", "other/late.gcode", "sub/dir/up load.gcode"]);
}

#[tokio::test]
async fn bad_uploads_are_refused_and_leave_nothing() {
    let room = Room::with(MoonrakerConfig { max_upload: 1 << 20, ..MoonrakerConfig::default() }).await;
    let huge = Part::bytes(vec![b';'; 2 << 20]).file_name("big.gcode");
    let cases = [
        ("checksum", Form::new().text("checksum", "00").part("file", file("a.gcode")), 422),
        ("bad root", Form::new().text("root", "nope").part("file", file("a.gcode")), 400),
        ("logs", Form::new().text("root", "logs").part("file", file("a.gcode")), 400),
        ("no file", Form::new().text("root", "gcodes"), 400),
        ("escape", Form::new().text("path", "../../etc").part("file", file("a.gcode")), 400),
        ("too large", Form::new().part("file", huge), 413),
        ("no config folder", Form::new().text("root", "config").part("file", file("a.cfg")), 400),
    ];
    for (name, form, expected) in cases {
        let (status, _, answer) = post(&room, "/server/files/upload", form).await;
        assert_eq!((status, &answer["error"]["code"]), (expected, &json!(expected)), "{name}: {answer}");
    }
    assert!(room.station.library.list().await.unwrap().is_empty());
}

/// Cases of `server.files.download.json`.
#[tokio::test]
async fn downloads_have_ranges_dates_and_names() {
    let room = Room::open().await;
    room.put("up load.gcode", GCODE).await;
    let client = reqwest::Client::new();
    let url = room.url("/server/files/gcodes/up%20load.gcode");
    let whole = client.get(&url).send().await.unwrap();
    let header =
        |response: &reqwest::Response, name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header(&whole, "content-type"), "text/plain");
    assert_eq!(header(&whole, "accept-ranges"), "bytes");
    assert_eq!(header(&whole, "content-length"), GCODE.len().to_string());
    assert_eq!(
        header(&whole, "content-disposition"),
        "attachment; filename=\"up load.gcode\"; filename*=UTF-8''up%20load.gcode"
    );
    let modified = header(&whole, "last-modified");
    assert!(modified.ends_with(" GMT"), "{modified}");
    assert_eq!(whole.bytes().await.unwrap(), GCODE);
    let part = client.get(&url).header("Range", "bytes=0-3").send().await.unwrap();
    assert_eq!(
        (part.status().as_u16(), header(&part, "content-range")),
        (206, format!("bytes 0-3/{}", GCODE.len()))
    );
    assert_eq!(part.bytes().await.unwrap(), GCODE[..4]);
    let beyond = client.get(&url).header("Range", "bytes=99999999-").send().await.unwrap();
    assert_eq!(
        (beyond.status().as_u16(), header(&beyond, "content-range")),
        (416, format!("bytes */{}", GCODE.len()))
    );
    let head = client.head(&url).send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, GCODE.len().to_string()));
    let unchanged = client.get(&url).header("If-Modified-Since", modified).send().await.unwrap();
    assert_eq!(unchanged.status(), 304);
    for missing in
        ["gcodes/none.gcode", "config/.theme/custom.css?time=1", "gcodes/%2e%2e/%2e%2e/etc/passwd", "gcodes"]
    {
        let response = client.get(room.url(&format!("/server/files/{missing}"))).send().await.unwrap();
        assert_eq!(response.status(), 404, "{missing}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], 404, "{missing}");
    }
    let deleted = client.delete(&url).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(deleted["result"]["action"], "delete_file");
    assert_eq!(client.delete(&url).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn themes_live_in_the_config_root() {
    let folder = tempfile::tempdir().unwrap();
    let room =
        Room::with(MoonrakerConfig { config_root: Some(folder.path().into()), ..MoonrakerConfig::default() })
            .await;
    let mut socket = room.socket().await;
    socket.call("server.info", json!({})).await;
    let form = Form::new()
        .text("root", "config")
        .text("path", ".theme")
        .part("file", Part::bytes(b"{}".as_slice()).file_name("default.json"));
    let (status, _, answer) = post(&room, "/server/files/upload", form).await;
    assert_eq!((status, &answer["item"]["path"]), (201, &json!(".theme/default.json")), "{answer}");
    assert!(answer.get("print_started").is_none());
    let listed = socket.call("server.files.list", json!({"root": "config"})).await;
    assert_eq!(listed[0]["path"], ".theme/default.json");
    let text = reqwest::get(room.url("/server/files/config/.theme/default.json"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(text, "{}");
    socket.call("server.files.delete_file", json!({"path": "config/.theme/default.json"})).await;
    socket.call("server.files.delete_directory", json!({"path": "config/.theme"})).await;
    assert_eq!(socket.call("server.files.list", json!({"root": "config"})).await, json!([]));
}

/// Mainsail names the root behind the file, and drops a sliced archive into `config`, as it does not know it as G-code.
#[tokio::test]
async fn what_is_sent_to_the_config_root_arrives_in_either_order() {
    let folder = tempfile::tempdir().unwrap();
    let room =
        Room::with(MoonrakerConfig { config_root: Some(folder.path().into()), ..MoonrakerConfig::default() })
            .await;
    let mut socket = room.socket().await;
    socket.call("server.info", json!({})).await;
    let archive = crate::jobs::fake::archive(&[(1, "C11", "PLA")]);
    let parts = |name: &str, first: bool| {
        let content = if name.ends_with("3mf") { archive.clone() } else { GCODE.to_vec() };
        let file = Part::bytes(content).file_name(name.to_owned());
        let form = Form::new();
        let form =
            if first { form.part("file", file) } else { form.text("root", "config").part("file", file) };
        let form = if first { form.text("root", "config") } else { form };
        form.text("path", "below").text("print", "true")
    };
    for first in [true, false] {
        for (name, root, path) in [
            ("macro.gcode", "config", "below/macro.gcode"),
            ("macro.cfg", "config", "below/macro.cfg"),
            ("cube.gcode.3mf", "gcodes", "cube.gcode.3mf"),
        ] {
            let (status, _, answer) = post(&room, "/server/files/upload", parts(name, first)).await;
            let item = &answer["item"];
            assert_eq!((status, &item["root"], &item["path"]), (201, &json!(root), &json!(path)), "{answer}");
            assert_ne!(answer["print_started"], json!(true), "{answer}");
            if root == "gcodes" {
                let told = socket.notice("notify_gcode_response").await[0].to_string();
                assert!(told.contains("it is with the G-code files"), "{told}");
            }
        }
    }
    assert_eq!(std::fs::read(folder.path().join("one/below/macro.gcode")).unwrap(), GCODE);
    let files = room.station.library.list().await.unwrap();
    assert!(files.iter().all(|file| !file.path.contains('/') && !file.path.contains("macro")), "{files:?}");
}

/// Who reads a file of the web UIs has the old one or the new one, never half of one: a full disk or a power cut in the
/// middle of an upload costs nothing.
#[tokio::test]
async fn a_file_of_the_config_root_is_replaced_as_a_whole() {
    use std::io::Read;

    let folder = tempfile::tempdir().unwrap();
    let room =
        Room::with(MoonrakerConfig { config_root: Some(folder.path().into()), ..MoonrakerConfig::default() })
            .await;
    let send = async |content: &'static str| {
        let file = Part::bytes(content.as_bytes()).file_name("backup.json");
        let (status, _, answer) =
            post(&room, "/server/files/upload", Form::new().text("root", "config").part("file", file)).await;
        assert_eq!(status, 201, "{answer}");
        room.endpoint.config_root.as_ref().unwrap().join("backup.json")
    };
    let mut old = std::fs::File::open(send("the old one").await).unwrap();
    let path = send("the new one").await;
    let mut read = String::new();
    old.read_to_string(&mut read).unwrap();
    assert_eq!(
        (read.as_str(), std::fs::read_to_string(path).unwrap().as_str()),
        ("the old one", "the new one")
    );
    let mut socket = room.socket().await;
    let copy = json!({"source": "config/backup.json", "dest": "config/backup.json"});
    socket.call("server.files.copy", copy).await;
    let listed = socket.call("server.files.list", json!({"root": "config"})).await;
    assert_eq!((&listed[0]["path"], &listed[0]["size"]), (&json!("backup.json"), &json!(11)), "{listed}");
    assert!(listed.get(1).is_none(), "{listed}");
}

/// As slicers do: upload with `print=true`, then ask for the start once more (moonraker.md section 6).
#[tokio::test]
async fn an_upload_can_start_its_print() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    socket
        .call("printer.objects.subscribe", json!({"objects": {"print_stats": ["state", "filename"]}}))
        .await;
    let form = Form::new().text("print", "true").part("file", file("cube.gcode"));
    let (status, _, answer) = post(&room, "/server/files/upload", form).await;
    assert_eq!((status, &answer["print_started"]), (201, &json!(true)), "{answer}");
    room.until(|state| state.job.phase == crate::model::JobPhase::Printing).await;
    let query = json!({"objects": {"print_stats": ["state", "filename"]}});
    let seen = socket.call("printer.objects.query", query).await;
    assert_eq!(seen["status"]["print_stats"], json!({"state": "printing", "filename": "cube.gcode"}));
    let added = socket.notice("notify_history_changed").await;
    assert_eq!((&added[0]["action"], &added[0]["job"]["filename"]), (&json!("added"), &json!("cube.gcode")));
    let in_use = socket.ask("server.files.delete_file", json!({"path": "gcodes/cube.gcode"})).await;
    assert_eq!(in_use["error"]["code"], 403, "{in_use}");
    let busy = Form::new().text("print", "true").part("file", file("other.gcode"));
    let (status, _, answer) = post(&room, "/server/files/upload", busy).await;
    assert_eq!((status, &answer["print_started"]), (201, &json!(false)), "{answer}");
    assert_eq!(socket.call("printer.print.cancel", json!({})).await, "ok");
    let finished = socket.notice("notify_history_changed").await;
    assert_eq!(
        (&finished[0]["action"], &finished[0]["job"]["status"]),
        (&json!("finished"), &json!("cancelled"))
    );
    assert_eq!(socket.call("printer.print.cancel", json!({})).await, "ok", "also when nothing prints");
    // What the history tells of the file outlives it.
    let listed = socket.call("server.history.list", json!({})).await;
    let told = listed["jobs"][0]["metadata"].clone();
    assert!(told["size"].as_u64() > Some(0) && told["modified"].as_f64() > Some(0.0), "{told}");
    socket.call("server.files.delete_file", json!({"path": "gcodes/cube.gcode"})).await;
    let listed = socket.call("server.history.list", json!({})).await;
    let job = &listed["jobs"][0];
    assert_eq!(job["exists"], false, "{job}");
    assert_eq!((&job["metadata"]["size"], &job["metadata"]["modified"]), (&told["size"], &told["modified"]));
}

/// Mobileraker refuses the whole list for one job without the size and the time of its file.
#[tokio::test]
async fn a_job_that_was_begun_at_the_printer_spoils_no_list() {
    let room = Room::open().await;
    let mut socket = room.socket().await;
    room.station.printer.writer().report(|device| {
        device.job.stage = DeviceStage::Printing;
        device.job.title = Some("from the screen".into());
    });
    socket.notice("notify_history_changed").await;
    let listed = socket.call("server.history.list", json!({})).await;
    let job = &listed["jobs"][0];
    assert_eq!((&job["filename"], &job["exists"]), (&json!("from the screen"), &json!(false)));
    assert_eq!(job["metadata"], json!({"size": 0, "modified": job["start_time"]}));
}
