//! The endings no well-behaved server shows, against a scripted one. `tests/ftps_vsftpd.rs` has the
//! rest.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use rustls::version::TLS12;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use std::io;

use super::*;
use crate::net::tls::PrinterTls;
use crate::net::tls::test_server::{Identity, server_config};

/// A server that waits so long before TLS, and with its greeting; then all goes by itself.
async fn slow(before_tls: Duration, before_greeting: Duration) -> Result<FtpsSession, FtpsError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(server_config(&Identity::v1_rsa(), &TLS12));
    // While a blocking task runs, a paused clock moves only where it is told to: it does not look at sockets.
    let (_held, hold) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || hold.recv());
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.ok()?;
        tokio::time::advance(before_tls).await;
        let mut control = BufReader::new(acceptor.accept(socket).await.ok()?);
        tokio::time::advance(before_greeting).await;
        control.write_all(b"220 at last\r\n").await.ok()?;
        let mut line = String::new();
        while {
            line.clear();
            control.read_line(&mut line).await.ok()? > 0
        } {
            let reply = match line.split(' ').next() {
                Some("USER") => "331 code?\r\n",
                Some("PASS") => "230 in\r\n",
                _ => "200 fine\r\n",
            };
            control.write_all(reply.as_bytes()).await.ok()?;
        }
        Some(())
    });
    let tls = PrinterTls::new(None, None).unwrap();
    FtpsSession::open(FtpsOptions::new("127.0.0.1", port, "bblp", "code", tls.ftps_config())).await
}

#[tokio::test(start_paused = true)]
async fn a_greeting_has_twenty_five_seconds_to_cross_a_slow_network() {
    let seconds = Duration::from_secs;
    for (before_tls, before_greeting) in [(0, 24), (24, 0), (12, 12)] {
        let opened = slow(seconds(before_tls), seconds(before_greeting)).await;
        assert!(opened.is_ok(), "{before_tls} s, {before_greeting} s: {opened:?}");
    }
    for (before_tls, before_greeting) in [(0, 26), (26, 0), (13, 13)] {
        let opened = slow(seconds(before_tls), seconds(before_greeting)).await;
        assert!(matches!(opened, Err(FtpsError::Timeout(told)) if told == seconds(25)), "{opened:?}");
    }
}

/// How the server ends a `STOR`.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    /// Keeps everything, says 226.
    Complete,
    /// Keeps everything, says 426.
    AbortedButComplete,
    /// Keeps half, says 426.
    AbortedShort,
    /// Keeps half, says 226.
    ConfirmedShort,
    /// Closes the data socket early, says 552.
    Full,
    /// Keeps everything, never says so.
    Silent,
    /// Never reads the data.
    Stuck,
    /// 553 instead of 150.
    BadName,
    /// Takes data in clear text only, and says so to nobody.
    Clear,
    /// Knows `EPSV` only, and never says that everything is kept.
    Extended,
    /// Lists names only.
    Names,
    /// 421 instead of a greeting.
    Crowded,
    /// Hangs up at the command.
    HangsUp,
    /// Says 421 when everything is kept.
    TooLong,
}

#[derive(Default)]
struct Store {
    files: HashMap<String, Vec<u8>>,
    commands: Vec<String>,
    sessions: usize,
}

struct Server {
    address: SocketAddr,
    store: Arc<Mutex<Store>>,
    ending: Ending,
}

impl Server {
    async fn start(ending: Ending) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::<Mutex<Store>>::default();
        let acceptor = TlsAcceptor::from(server_config(&Identity::v1_rsa(), &TLS12));
        let shared = store.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                shared.lock().unwrap().sessions += 1;
                tokio::spawn(serve(acceptor.clone(), socket, ending, shared.clone()));
            }
        });
        Self { address, store, ending }
    }

    async fn session(&self) -> FtpsSession {
        let tls = PrinterTls::new(None, None).unwrap();
        let port = self.address.port();
        let mut options = FtpsOptions::new("127.0.0.1", port, "bblp", "code", tls.ftps_config());
        match self.ending {
            Ending::Silent | Ending::Extended => options.timeouts.finish = Duration::from_millis(300),
            Ending::Clear => options.timeouts.handshake = Duration::from_millis(300),
            Ending::Stuck => options.timeouts.idle = Duration::from_millis(300),
            _ => {}
        }
        FtpsSession::open(options).await.unwrap()
    }

    fn has(&self, path: &str) -> bool {
        self.store.lock().unwrap().files.contains_key(path)
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    socket: tokio::net::TcpStream,
    ending: Ending,
    store: Arc<Mutex<Store>>,
) -> Option<()> {
    let mut control = BufReader::new(acceptor.accept(socket).await.ok()?);
    let greeting = if ending == Ending::Crowded { "421 too many sessions" } else { "220 scripted" };
    control.write_all(format!("{greeting}\r\n").as_bytes()).await.ok()?;
    let data = TcpListener::bind("127.0.0.1:0").await.ok()?;
    let port = data.local_addr().ok()?.port();
    let mut line = String::new();
    while {
        line.clear();
        control.read_line(&mut line).await.ok()? > 0
    } {
        let (verb, path) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        store.lock().unwrap().commands.push(verb.to_owned());
        let reply = match verb {
            "USER" => "331 code?".to_owned(),
            "PASS" => "230 in".to_owned(),
            "PBSZ" => "502 what?".to_owned(),
            // An address nobody can connect to: only the port may be used.
            "PASV" if ending == Ending::Extended => "502 what?".to_owned(),
            "EPSV" if ending == Ending::Extended => format!("229 Extended Passive Mode (|||{port}|)"),
            "PASV" => format!("227 Entering Passive Mode (0,0,0,0,{},{})", port / 256, port % 256),
            "SIZE" => match store.lock().unwrap().files.get(path) {
                Some(file) => format!("213 {}", file.len()),
                None => "550 none".to_owned(),
            },
            "DELE" => match store.lock().unwrap().files.remove(path) {
                Some(_) => "250 gone".to_owned(),
                None => "550 none".to_owned(),
            },
            "AVBL" => "213 123456789".to_owned(),
            // Confirmed at once or later, while the data connection stays open and empty.
            "LIST" if ending != Ending::Names => {
                let first: &[u8] = if path == "/late" { b"150 go\r\n" } else { b"150 go\r\n226 done\r\n" };
                control.write_all(first).await.ok()?;
                let held = acceptor.accept(data.accept().await.ok()?.0).await.ok()?;
                if path == "/late" {
                    control.write_all(b"226 done\r\n").await.ok()?;
                }
                line.clear();
                control.read_line(&mut line).await.ok()?;
                drop(held);
                "200 fine".to_owned()
            }
            "EPSV" => "502 what?".to_owned(),
            "LIST" if ending == Ending::Names => {
                // Connected already, for nothing.
                drop(data.accept().await.ok()?);
                "502 what?".to_owned()
            }
            "NLST" => {
                control.write_all(b"150 go\r\n").await.ok()?;
                let mut stream = acceptor.accept(data.accept().await.ok()?.0).await.ok()?;
                stream.write_all(b"/a b.3mf\r\nfolder\r\n").await.ok()?;
                stream.shutdown().await.ok()?;
                "226 done".to_owned()
            }
            "STOR" if ending == Ending::HangsUp => return None,
            "STOR" if ending == Ending::BadName => "553 bad name".to_owned(),
            "STOR" if ending == Ending::Clear => {
                control.write_all(b"150 go\r\n").await.ok()?;
                let mut bytes = Vec::new();
                data.accept().await.ok()?.0.read_to_end(&mut bytes).await.ok()?;
                store.lock().unwrap().files.insert(path.to_owned(), bytes);
                "226 done".to_owned()
            }
            "STOR" => {
                control.write_all(b"150 go\r\n").await.ok()?;
                let stream = acceptor.accept(data.accept().await.ok()?.0).await.ok()?;
                let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                if !resumed {
                    drop(stream);
                    control.write_all(b"522 session reuse required\r\n").await.ok()?;
                    continue;
                }
                let (kept, reply) = store_data(stream, ending).await?;
                store.lock().unwrap().files.insert(path.to_owned(), kept);
                match reply {
                    Some(reply) => reply.to_owned(),
                    None => continue,
                }
            }
            _ => "200 fine".to_owned(),
        };
        control.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        control.flush().await.ok()?;
    }
    Some(())
}

async fn store_data(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    ending: Ending,
) -> Option<(Vec<u8>, Option<&'static str>)> {
    let mut bytes = Vec::new();
    match ending {
        Ending::Full => {
            bytes.resize(1000, 0);
            stream.read_exact(&mut bytes).await.ok()?;
        }
        Ending::Stuck => std::future::pending().await,
        _ => {
            stream.read_to_end(&mut bytes).await.ok()?;
        }
    }
    drop(stream);
    let half = bytes.len() / 2;
    if matches!(ending, Ending::AbortedShort | Ending::ConfirmedShort) {
        bytes.truncate(half);
    }
    let reply = match ending {
        Ending::AbortedButComplete | Ending::AbortedShort => Some("426 failure reading network stream"),
        Ending::Complete | Ending::ConfirmedShort | Ending::Names => Some("226 done"),
        Ending::Full => Some("552 storage full"),
        Ending::TooLong => Some("421 session too long"),
        _ => None,
    };
    Some((bytes, reply))
}

const LENGTH: usize = 2 << 20;

async fn upload(server: &Server) -> (Result<u64, FtpsError>, FtpsSession) {
    let bytes = vec![b'\n'; LENGTH];
    let mut session = server.session().await;
    let result = session.upload(&bytes[..], "/job.3mf", |_| {}, &CancellationToken::new()).await;
    (result, session)
}

#[tokio::test]
async fn an_aborted_upload_that_is_complete_counts() {
    let server = Server::start(Ending::AbortedButComplete).await;
    let (result, mut session) = upload(&server).await;
    assert_eq!(result.unwrap(), LENGTH as u64);
    assert!(server.has("/job.3mf"));
    assert_eq!(session.free_space().await.unwrap(), 123_456_789);
    assert_eq!(server.store.lock().unwrap().sessions, 1);
}

#[tokio::test]
async fn every_data_connection_resumes_and_one_that_does_not_is_refused() {
    let server = Server::start(Ending::Complete).await;
    let mut session = server.session().await;
    let go = CancellationToken::new();
    for number in 0..12 {
        let path = format!("/{number}");
        let (running, key) = (go.clone(), path.clone());
        // On a task of its own, as drivers run transfers: the future has to be `Send`.
        session = tokio::spawn(async move {
            session.upload(&b"data\n"[..], &key, |_| {}, &running).await.unwrap();
            session
        })
        .await
        .unwrap();
        assert_eq!(server.store.lock().unwrap().files[&path], b"data\n");
    }
    let mut options = session.options.clone();
    options.config = PrinterTls::new(None, None).unwrap().client_config();
    let mut session = tokio::spawn(FtpsSession::open(options)).await.unwrap().unwrap();
    let result = session.upload(&b"x"[..], "/x", |_| {}, &go).await;
    assert!(matches!(result, Err(FtpsError::DataRefused(_))), "{result:?}");
}

#[tokio::test]
async fn a_short_file_is_truncated_whatever_the_reply_and_is_removed() {
    for ending in [Ending::AbortedShort, Ending::ConfirmedShort] {
        let server = Server::start(ending).await;
        let (result, mut session) = upload(&server).await;
        match result {
            Err(FtpsError::Truncated { sent, stored }) => {
                assert_eq!((sent, stored), (LENGTH as u64, LENGTH as u64 / 2));
            }
            other => panic!("{other:?}"),
        }
        assert!(!server.has("/job.3mf"));
        assert!(matches!(session.size("/job.3mf").await, Err(FtpsError::NotFound(_))));
    }
}

#[tokio::test]
async fn a_full_storage_is_named_although_the_data_socket_broke_first() {
    let server = Server::start(Ending::Full).await;
    let (result, _session) = upload(&server).await;
    assert!(matches!(result, Err(FtpsError::StorageFull(_))), "{result:?}");
    assert!(!server.has("/job.3mf"));
}

#[tokio::test]
async fn a_missing_final_reply_is_settled_by_size_in_a_new_session() {
    let server = Server::start(Ending::Silent).await;
    let (result, mut session) = upload(&server).await;
    assert_eq!(result.unwrap(), LENGTH as u64);
    assert_eq!(server.store.lock().unwrap().sessions, 2);
    assert_eq!(session.size("/job.3mf").await.unwrap(), LENGTH as u64);
}

#[tokio::test]
async fn cancelling_while_the_final_reply_is_awaited_removes_the_file() {
    let server = Server::start(Ending::Silent).await;
    let mut session = server.session().await;
    // Without a deadline of its own the deletion would wait for a reply that never comes.
    session.options.timeouts.finish = Duration::from_secs(3600);
    session.options.timeouts.reply = Duration::from_secs(3600);
    session.options.timeouts.abandon = Duration::from_millis(300);
    let bytes = vec![0; LENGTH];
    let cancel = CancellationToken::new();
    let stored = async {
        while !server.has("/job.3mf") {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let upload = session.upload(&bytes[..], "/job.3mf", |_| {}, &cancel);
    let both = timeout(Duration::from_secs(120), async { tokio::join!(upload, stored) });
    let (result, ()) = both.await.expect("it ends");
    assert!(matches!(result, Err(FtpsError::Cancelled)), "{result:?}");
    assert!(!server.has("/job.3mf"));
    assert!(matches!(session.size("/job.3mf").await, Err(FtpsError::NotFound(_))));
}

#[tokio::test]
async fn a_server_that_knows_only_epsv_takes_files_also_after_the_session_was_made_anew() {
    let server = Server::start(Ending::Extended).await;
    for path in ["/a.3mf", "/b.3mf"] {
        let mut session = server.session().await;
        for again in 0..2 {
            let sent = session.upload(&b"data\n"[..], path, |_| {}, &CancellationToken::new()).await;
            assert_eq!(sent.unwrap(), 5, "{path} {again}");
        }
        assert_eq!(session.list("/at-once", 0).await.unwrap(), []);
    }
    let asked = server.store.lock().unwrap().commands.iter().filter(|verb| *verb == "PASV").count();
    assert_eq!(asked, 2, "once in each session");
}

#[tokio::test]
async fn a_server_that_lists_names_only_is_asked_for_each_length() {
    let server = Server::start(Ending::Names).await;
    let mut session = server.session().await;
    session.upload(&b"data\n"[..], "/a b.3mf", |_| {}, &CancellationToken::new()).await.unwrap();
    for _ in 0..2 {
        let listed = session.list("/", 0).await.unwrap();
        let listed: Vec<_> =
            listed.iter().map(|entry| (entry.name.as_str(), entry.size, entry.dir)).collect();
        assert_eq!(listed, [("a b.3mf", 5, false), ("folder", 0, true)]);
    }
    let asked = server.store.lock().unwrap().commands.iter().filter(|verb| *verb == "LIST").count();
    assert_eq!(asked, 1, "not for the second listing");
}

#[tokio::test]
async fn a_server_without_place_is_busy_and_one_that_hangs_up_later_is_there() {
    let server = Server::start(Ending::Crowded).await;
    let tls = PrinterTls::new(None, None).unwrap();
    let options = FtpsOptions::new("127.0.0.1", server.address.port(), "bblp", "code", tls.ftps_config());
    let opened = FtpsSession::open(options).await;
    assert!(matches!(opened, Err(FtpsError::Busy(_))), "{opened:?}");

    let (result, _session) = upload(&Server::start(Ending::HangsUp).await).await;
    assert!(matches!(result, Err(FtpsError::Broken(_))), "{result:?}");

    let server = Server::start(Ending::TooLong).await;
    let (result, _session) = upload(&server).await;
    assert_eq!(result.unwrap(), LENGTH as u64, "everything is kept, as a new session tells");
    assert_eq!(server.store.lock().unwrap().sessions, 2);
}

/// As bambuddy's virtual printer does it.
#[tokio::test]
async fn a_listing_that_is_confirmed_without_data_is_empty() {
    let server = Server::start(Ending::Complete).await;
    for path in ["/at-once", "/late"] {
        let mut session = server.session().await;
        // Otherwise only the idle time would end it.
        session.options.timeouts.idle = Duration::from_secs(3600);
        assert_eq!(session.list(path, 0).await.unwrap(), [], "{path}");
        session.quit().await;
    }
}

#[tokio::test]
async fn a_stuck_printer_ends_in_a_timeout() {
    let server = Server::start(Ending::Stuck).await;
    let bytes = vec![0; 64 << 20];
    let mut session = server.session().await;
    let result = session.upload(&bytes[..], "/job.3mf", |_| {}, &CancellationToken::new()).await;
    assert!(matches!(result, Err(FtpsError::Timeout(_))), "{result:?}");
}

#[tokio::test]
async fn a_handshake_that_is_never_answered_is_a_refusal_of_encrypted_data() {
    let server = Server::start(Ending::Clear).await;
    let (result, session) = upload(&server).await;
    assert!(matches!(result, Err(FtpsError::DataRefused(_))), "{result:?}");
    let options = FtpsOptions { protection: Protection::Clear, ..session.options.clone() };
    session.quit().await;
    let mut session = FtpsSession::open(options).await.unwrap();
    session.upload(&b"data"[..], "/clear", |_| {}, &CancellationToken::new()).await.unwrap();
    assert_eq!(server.store.lock().unwrap().files["/clear"], b"data");
}

#[tokio::test]
async fn a_refused_name_deletes_nothing() {
    let server = Server::start(Ending::BadName).await;
    let (result, mut session) = upload(&server).await;
    assert!(matches!(result, Err(FtpsError::BadName(_))), "{result:?}");
    assert!(!server.store.lock().unwrap().commands.iter().any(|verb| verb == "DELE"));
    assert_eq!(session.free_space().await.unwrap(), 123_456_789);
}

#[tokio::test]
async fn an_unreadable_source_fails_locally_and_leaves_nothing() {
    struct Broken;
    impl tokio::io::AsyncRead for Broken {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Err(io::Error::other("disk gone")))
        }
    }
    let server = Server::start(Ending::ConfirmedShort).await;
    let mut session = server.session().await;
    let result = session.upload(Broken, "/job.3mf", |_| {}, &CancellationToken::new()).await;
    assert!(matches!(result, Err(FtpsError::Local(_))), "{result:?}");
    assert!(!server.has("/job.3mf"));
}

#[tokio::test]
async fn a_call_dropped_midway_closes_the_session() {
    let server = Server::start(Ending::Stuck).await;
    let mut session = server.session().await;
    let bytes = vec![0; 64 << 20];
    let cancel = CancellationToken::new();
    session.options.timeouts.idle = Duration::from_secs(30);
    let started = tokio::sync::Notify::new();
    tokio::select! {
        ended = session.upload(&bytes[..], "/job.3mf", |_| started.notify_one(), &cancel) => panic!("{ended:?}"),
        () = started.notified() => {}
    }
    assert!(matches!(session.size("/job.3mf").await, Err(FtpsError::Closed)));
}

#[test]
fn the_password_is_not_printed() {
    let tls = PrinterTls::new(None, None).unwrap();
    let options = FtpsOptions::new("192.0.2.1", 990, "bblp", "s3cret99", tls.ftps_config());
    assert!(!format!("{options:?}").contains("s3cret99"));
}
