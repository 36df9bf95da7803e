//! FTPS with suppaftp, the camera with raw TLS, and the control port.

use std::io::Cursor;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use suppaftp::tokio::{AsyncRustlsConnector, AsyncRustlsFtpStream};
use suppaftp::types::FileType;
use suppaftp::{FtpError, Mode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::{DataChannel, Fault, Simulator};
use super::client::{DEADLINE, tls};
use super::{fast, started};

async fn session(sim: &Simulator, resumption: Resumption) -> AsyncRustlsFtpStream {
    let mut config = tls();
    config.resumption = resumption;
    let connector = AsyncRustlsConnector::from(TlsConnector::from(Arc::new(config)));
    #[allow(deprecated)]
    let connecting =
        AsyncRustlsFtpStream::connect_secure_implicit(sim.addresses().ftps, connector, "127.0.0.1");
    let mut ftp = timeout(DEADLINE, connecting).await.unwrap().unwrap();
    ftp.login("bblp", "12345678").await.unwrap();
    ftp.transfer_type(FileType::Binary).await.unwrap();
    ftp.set_passive_nat_workaround(true);
    ftp.set_mode(Mode::Passive);
    ftp.custom_command("PBSZ 0", &[suppaftp::Status::CommandOk]).await.unwrap();
    ftp.custom_command("PROT P", &[suppaftp::Status::CommandOk]).await.unwrap();
    ftp
}

async fn store(ftp: &mut AsyncRustlsFtpStream, name: &str, size: usize) -> Result<(), FtpError> {
    let mut data = timeout(DEADLINE, ftp.put_with_stream(name)).await.unwrap()?;
    let mut from = Cursor::new(vec![7u8; size]);
    // A printer that gives up early closes the data connection under the copy.
    let _ = timeout(DEADLINE, tokio::io::copy(&mut from, &mut data)).await.unwrap();
    timeout(DEADLINE, data.finish()).await.unwrap()
}

fn code(error: FtpError) -> u32 {
    match error {
        FtpError::UnexpectedResponse(response) => response.status.code(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn files_go_up_come_back_and_go() {
    for model in ["p1s", "p2s"] {
        let sim = started(fast(model)).await;
        let mut ftp = session(&sim, Resumption::in_memory_sessions(8)).await;
        store(&mut ftp, "up load.bin", 300_000).await.unwrap();
        assert_eq!(ftp.size("up load.bin").await.unwrap(), 300_000);
        let names = ftp.list(None).await.unwrap();
        assert!(names.iter().any(|line| line.ends_with(" up load.bin")), "{names:?}");
        ftp.rename("up load.bin", "/cache/b.bin").await.unwrap();
        let mut data = ftp.retr_as_stream("/cache/b.bin").await.unwrap();
        let mut back = Vec::new();
        timeout(DEADLINE, data.read_to_end(&mut back)).await.unwrap().unwrap();
        data.finish().await.unwrap();
        assert_eq!(back, vec![7u8; 300_000]);
        ftp.rm("/cache/b.bin").await.unwrap();
        assert!(ftp.size("/cache/b.bin").await.is_err());
        assert_eq!(code(ftp.cwd("../..").await.unwrap_err()), 550);
        assert_eq!(code(ftp.feat().await.unwrap_err()), 502);
    }
}

#[tokio::test]
async fn a_new_tls_session_on_the_data_channel_is_refused_where_reuse_is_wanted() {
    let sim = started(fast("p1s")).await;
    let mut ftp = session(&sim, Resumption::disabled()).await;
    assert!(ftp.list(None).await.is_err());
    assert_eq!(sim.truth().counters.unresumed_data, 1);
    let sim = started(fast("a1mini")).await;
    let mut ftp = session(&sim, Resumption::disabled()).await;
    assert!(!ftp.list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_clear_data_channel_refuses_prot_p() {
    let mut options = fast("a1");
    options.data_channel = Some(DataChannel::Clear);
    let sim = started(options).await;
    let connector = AsyncRustlsConnector::from(TlsConnector::from(Arc::new(tls())));
    #[allow(deprecated)]
    let connecting =
        AsyncRustlsFtpStream::connect_secure_implicit(sim.addresses().ftps, connector, "127.0.0.1");
    let mut ftp = timeout(DEADLINE, connecting).await.unwrap().unwrap();
    ftp.login("bblp", "12345678").await.unwrap();
    let refused = ftp.custom_command("PROT P", &[suppaftp::Status::CommandOk]).await.unwrap_err();
    assert!(refused.to_string().contains("536"), "{refused}");
    ftp.custom_command("PROT C", &[suppaftp::Status::CommandOk]).await.unwrap();
}

#[tokio::test]
async fn uploads_break_as_the_faults_say() {
    let sim = started(fast("p2s")).await;
    let mut ftp = session(&sim, Resumption::in_memory_sessions(8)).await;
    sim.faults().apply(Fault::Abort426 { on: true }).unwrap();
    assert_eq!(code(store(&mut ftp, "a.bin", 600_000).await.unwrap_err()), 426);
    assert_eq!(ftp.size("a.bin").await.unwrap(), 7 * 65536);
    sim.faults().apply(Fault::Abort426 { on: false }).unwrap();
    sim.faults().apply(Fault::Late426 { on: true }).unwrap();
    assert_eq!(code(store(&mut ftp, "b.bin", 600_000).await.unwrap_err()), 426);
    assert_eq!(ftp.size("b.bin").await.unwrap(), 600_000);
    sim.faults().apply(Fault::Late426 { on: false }).unwrap();
    sim.faults().apply(Fault::FullDisk { on: true }).unwrap();
    assert_eq!(code(store(&mut ftp, "c.bin", 600_000).await.unwrap_err()), 552);
}

#[tokio::test]
async fn the_camera_feeds_one_client() {
    let sim = started(fast("p1s")).await;
    let captured: Value =
        serde_json::from_str(include_str!("../../../../fixtures/bambu/camera6000-auth.json")).unwrap();
    let login = data_encoding::HEXLOWER.decode(captured["frame_hex"].as_str().unwrap().as_bytes()).unwrap();
    let open = || async {
        let stream = TcpStream::connect(sim.addresses().camera).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(Arc::new(tls())).connect(name, stream).await.unwrap();
        stream.write_all(&login).await.unwrap();
        stream
    };
    let mut first = open().await;
    let mut pictures = Vec::new();
    for _ in 0..2 {
        let mut head = [0u8; 16];
        timeout(DEADLINE, first.read_exact(&mut head)).await.unwrap().unwrap();
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        assert_eq!(head[4..], [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        let mut jpeg = vec![0u8; length];
        timeout(DEADLINE, first.read_exact(&mut jpeg)).await.unwrap().unwrap();
        assert_eq!(image::load_from_memory(&jpeg).unwrap().width(), 1280);
        pictures.push(jpeg);
    }
    assert_ne!(pictures[0], pictures[1], "the picture moves");
    let mut second = open().await;
    let silent = timeout(std::time::Duration::from_millis(300), second.read_u8()).await;
    assert!(silent.is_err(), "a second client gets nothing");
}

#[tokio::test]
async fn the_control_port_takes_faults_and_tells_the_truth() {
    let mut options = fast("p1s");
    options.control_port = Some(0);
    let sim = started(options).await;
    let stream = TcpStream::connect(sim.addresses().control.unwrap()).await.unwrap();
    let mut lines = BufReader::new(stream);
    let mut answers = Vec::new();
    for line in
        ["{\"fault\":\"door\",\"open\":true}\n", "{\"fault\":\"no such\"}\n", "{\"truth\":true}\n", "]\n"]
    {
        lines.get_mut().write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, lines.read_line(&mut answer)).await.unwrap().unwrap();
        answers.push(serde_json::from_str::<Value>(&answer).unwrap());
    }
    assert_eq!(answers[0], json!({"ok": true}));
    assert_eq!((&answers[1]["ok"], &answers[3]["ok"]), (&json!(false), &json!(false)));
    assert_eq!(answers[2]["serial"], "01P00A000000001");
}
