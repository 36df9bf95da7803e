//! `net::ftps` against Debian's vsftpd: implicit TLS, required session reuse, forced data encryption.
//!
//! Needs vsftpd and root, hence ignored by default:
//! `MOONGATE_PEERS=1 cargo test --test ftps_vsftpd -- --ignored`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod port;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use moongate::net::ftps::{FtpsError, FtpsOptions, FtpsSession, Protection};
use moongate::net::tls::{PrinterTls, TlsVersions};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

const SERIAL: &str = "01S00A000000001";
const NOW: i64 = 1_800_000_000;

/// A running vsftpd, ended with the value.
struct Vsftpd {
    process: Child,
    port: u16,
    _held: TcpSocket,
    home: TempDir,
}

impl Drop for Vsftpd {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Vsftpd {
    async fn start(extra: &str) -> Self {
        assert_eq!(
            std::env::var("MOONGATE_PEERS").as_deref(),
            Ok("1"),
            "this test starts vsftpd as root; set MOONGATE_PEERS=1 to allow it"
        );
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, mode) in [("root", 0o755), ("root/cache", 0o777), ("empty", 0o555)] {
            fs::create_dir(home.path().join(name)).unwrap();
            fs::set_permissions(home.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let (held, port) = port::held();
        let tls = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls");
        let (dir, tls) = (home.path().display(), tls.display());
        let config = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\n\
             anonymous_enable=YES\nlocal_enable=NO\nwrite_enable=YES\nanon_upload_enable=YES\n\
             anon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_umask=022\n\
             anon_root={dir}/root\nsecure_chroot_dir={dir}/empty\nxferlog_enable=YES\n\
             vsftpd_log_file={dir}/log\ndebug_ssl=YES\nseccomp_sandbox=NO\n\
             ssl_enable=YES\nimplicit_ssl=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\n\
             rsa_cert_file={tls}/v1-leaf.pem\nrsa_private_key_file={tls}/v1-leaf-key.pem\n{extra}\n"
        );
        let path = home.path().join("vsftpd.conf");
        fs::write(&path, config).unwrap();
        let process = Command::new("vsftpd")
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .expect("vsftpd must be installed (Debian package vsftpd)");
        let server = Self { process, port, _held: held, home };
        tokio::time::timeout(Duration::from_secs(10), async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("vsftpd does not listen");
        server
    }

    fn options(&self, versions: TlsVersions) -> FtpsOptions {
        let tls = PrinterTls::with_versions(Some(SERIAL.into()), None, versions).unwrap();
        FtpsOptions::new("127.0.0.1", self.port, "anonymous", "moongate", tls.ftps_config())
    }

    fn stored(&self, path: &str) -> Vec<u8> {
        fs::read(self.home.path().join("root").join(path)).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

/// Reproducible bytes with every value, so that any line end rewriting shows.
fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}

const STRICT: &str = "require_ssl_reuse=YES\nforce_anon_data_ssl=YES";

async fn whole_life(versions: TlsVersions, protocol: &str) {
    let server = Vsftpd::start(STRICT).await;
    let mut session = FtpsSession::open(server.options(versions)).await.unwrap();
    let go = CancellationToken::new();

    for number in 0..8 {
        let bytes = content(100_000, number);
        let path = format!("cache/small {number}.gcode.3mf");
        let sent = session.upload(&bytes[..], &format!("/{path}"), |_| {}, &go).await.unwrap();
        assert_eq!(sent, 100_000);
        assert!(server.stored(&path) == bytes, "{path} differs");
    }

    let big = content(30 << 20, 99);
    let mut steps = Vec::new();
    session.upload(&big[..], "/cache/big.3mf", |total| steps.push(total), &go).await.unwrap();
    assert!(server.stored("cache/big.3mf") == big, "30 MiB upload differs");
    assert!(steps.is_sorted());
    assert_eq!(steps.last(), Some(&(big.len() as u64)));

    let mut back = Vec::new();
    let received = session.download("/cache/big.3mf", &mut back, 1 << 30, |_| {}, &go).await.unwrap();
    assert_eq!(received, big.len() as u64);
    assert!(back == big, "30 MiB download differs");

    let entries = session.list("/cache", NOW).await.unwrap();
    assert_eq!(entries.len(), 9);
    let big_entry = entries.iter().find(|entry| entry.name == "big.3mf").unwrap();
    assert_eq!((big_entry.size, big_entry.dir), (30 << 20, false));
    assert!(entries.iter().any(|entry| entry.name == "small 7.gcode.3mf" && entry.size == 100_000));
    assert!(session.list("/", NOW).await.unwrap().iter().any(|entry| entry.dir && entry.name == "cache"));

    session.mkdir("/cache/sub").await.unwrap();
    session.rename("/cache/big.3mf", "/cache/sub/moved.3mf").await.unwrap();
    assert_eq!(session.size("/cache/sub/moved.3mf").await.unwrap(), 30 << 20);
    session.delete("/cache/sub/moved.3mf").await.unwrap();
    session.rmdir("/cache/sub").await.unwrap();
    assert!(matches!(session.size("/cache/sub/moved.3mf").await, Err(FtpsError::NotFound(_))));
    let too_large = session.download("/cache/small 0.gcode.3mf", Vec::new(), 99_999, |_| {}, &go).await;
    assert!(matches!(too_large, Err(FtpsError::TooLarge(99_999))));
    let absent = session.download("/cache/none", Vec::new(), 1, |_| {}, &go).await;
    assert!(matches!(absent, Err(FtpsError::NotFound(_))), "{absent:?}");
    assert!(matches!(session.free_space().await, Err(FtpsError::Unsupported(_))));
    assert!(matches!(session.delete("/a\r\nDELE /b").await, Err(FtpsError::BadName(_))));
    session.quit().await;

    let log = server.log();
    assert!(log.contains(protocol), "no {protocol} in the server's log:\n{log}");
    assert!(!log.contains("No SSL session reuse"), "{log}");
}

#[tokio::test]
#[ignore = "needs vsftpd and root: MOONGATE_PEERS=1 ... -- --ignored"]
async fn tls_1_2_with_required_session_reuse() {
    whole_life(TlsVersions::Only12, "TLSv1.2").await;
}

#[tokio::test]
#[ignore = "needs vsftpd and root: MOONGATE_PEERS=1 ... -- --ignored"]
async fn tls_1_3_with_required_session_reuse() {
    whole_life(TlsVersions::Upto13, "TLSv1.3").await;
}

#[tokio::test]
#[ignore = "needs vsftpd and root: MOONGATE_PEERS=1 ... -- --ignored"]
async fn without_resumption_the_data_connection_is_refused() {
    // The control experiment: it proves that the server really demands reuse.
    let server = Vsftpd::start(STRICT).await;
    let mut options = server.options(TlsVersions::Only12);
    options.config = PrinterTls::new(None, None).unwrap().client_config();
    let mut session = FtpsSession::open(options).await.unwrap();
    let result = session.upload(&b"x"[..], "/cache/x", |_| {}, &CancellationToken::new()).await;
    assert!(matches!(result, Err(FtpsError::DataRefused(_))), "{result:?}");
    assert!(!server.home.path().join("root/cache/x").exists(), "the empty leftover was not removed");
}

#[tokio::test]
#[ignore = "needs vsftpd and root: MOONGATE_PEERS=1 ... -- --ignored"]
async fn clear_data_works_where_the_server_allows_it_and_is_refused_elsewhere() {
    let go = CancellationToken::new();
    let bytes = content(3 << 20, 5);
    for (extra, allowed) in [("force_anon_data_ssl=NO", true), (STRICT, false)] {
        let server = Vsftpd::start(extra).await;
        let mut options = server.options(TlsVersions::Only12);
        options.protection = Protection::Clear;
        let mut session = FtpsSession::open(options).await.unwrap();
        let result = session.upload(&bytes[..], "/cache/clear", |_| {}, &go).await;
        if allowed {
            result.unwrap();
            assert!(server.stored("cache/clear") == bytes);
            assert_eq!(session.list("/cache", NOW).await.unwrap().len(), 1);
        } else {
            assert!(matches!(result, Err(FtpsError::DataRefused(_))), "{result:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs vsftpd and root: MOONGATE_PEERS=1 ... -- --ignored"]
async fn a_cancelled_upload_leaves_nothing_and_the_session_goes_on() {
    let server = Vsftpd::start(STRICT).await;
    let mut session = FtpsSession::open(server.options(TlsVersions::Only12)).await.unwrap();
    let cancel = CancellationToken::new();
    let trigger = cancel.clone();
    let stop_at_1_mib = move |total| {
        if total > 1 << 20 {
            trigger.cancel();
        }
    };
    let bytes = content(30 << 20, 3);
    let result = session.upload(&bytes[..], "/cache/cut", stop_at_1_mib, &cancel).await;
    assert!(matches!(result, Err(FtpsError::Cancelled)), "{result:?}");
    assert!(!server.home.path().join("root/cache/cut").exists());
    assert_eq!(session.list("/cache", NOW).await.unwrap(), []);
    session.upload(&bytes[..1000], "/cache/next", |_| {}, &CancellationToken::new()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs vsftpd and root: MOONGATE_PEERS=1 ... -- --ignored"]
async fn a_wrong_login_and_a_wrong_printer_are_told_apart() {
    let server = Vsftpd::start(STRICT).await;
    let mut options = server.options(TlsVersions::Only12);
    options.user = "bblp".into();
    assert!(matches!(FtpsSession::open(options).await, Err(FtpsError::Auth(_))));

    let tls = PrinterTls::new(Some("01P00B999999999".into()), None).unwrap();
    let mut options = server.options(TlsVersions::Only12);
    options.config = tls.ftps_config();
    assert!(matches!(FtpsSession::open(options).await, Err(FtpsError::Tls(_))));
    assert!(tls.fault().is_some());
}
