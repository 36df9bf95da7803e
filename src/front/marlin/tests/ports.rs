//! The pty itself, opened by clients of this process.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::super::{MarlinConfig, Port, PtyError, Visits};

fn config(directory: &TempDir) -> MarlinConfig {
    MarlinConfig { link: directory.path().join("ports/p1s"), ..MarlinConfig::default() }
}

fn open_in(directory: &TempDir) -> Port {
    open(config(directory)).expect("the port opens")
}

fn client(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NOCTTY).open(path).expect("it opens")
}

/// As the gateway opens a port, which shares its watch with others.
fn open(config: MarlinConfig) -> Result<Port, PtyError> {
    super::super::open(config, &Visits::start().expect("inotify"))
}

#[tokio::test]
async fn the_link_leads_to_the_pty_and_goes_with_it() {
    let directory = TempDir::new().unwrap();
    let port = open_in(&directory);
    let link = directory.path().join("ports/p1s");
    assert_eq!(port.device(), link);
    assert!(fs::read_link(&link).unwrap().starts_with("/dev/pts"));
    assert!(matches!(open(config(&directory)), Err(PtyError::InUse { .. })), "a second gateway is refused");
    drop(port);
    assert!(fs::symlink_metadata(&link).is_err());
}

#[tokio::test]
async fn a_stale_link_is_replaced_and_what_is_not_ours_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let link = directory.path().join("ports/p1s");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink("/dev/pts/999999", &link).unwrap();
    drop(open_in(&directory));
    symlink("/etc/hosts", &link).unwrap();
    assert!(matches!(open(config(&directory)), Err(PtyError::Foreign { .. })));
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("/etc/hosts"));
    fs::remove_file(&link).unwrap();
    fs::write(&link, "mine").unwrap();
    let error = open(config(&directory)).unwrap_err().to_string();
    assert!(error.contains("a file that is not a link") && error.contains("Move it away"), "{error}");
    assert_eq!(fs::read_to_string(&link).unwrap(), "mine");
}

#[tokio::test]
async fn mode_and_group_are_set_or_refused_with_a_word() {
    let directory = TempDir::new().unwrap();
    let port = open(MarlinConfig { mode: Some(0o640), ..config(&directory) }).unwrap();
    let mode_of = |port: &Port| fs::metadata(port.device()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode_of(&port), 0o640);
    drop(port);
    assert_eq!(mode_of(&open_in(&directory)), 0o600, "nobody else, where nobody is named");
    let ours = nix::unistd::Group::from_gid(nix::unistd::getgid()).unwrap().map(|group| group.name);
    let port = open(MarlinConfig { group: ours, ..config(&directory) }).unwrap();
    assert_eq!(mode_of(&port), 0o660, "the group that is named");
    drop(port);
    let wrong = open(MarlinConfig { group: Some("no-such-group".into()), ..config(&directory) });
    assert!(matches!(wrong, Err(PtyError::NoGroup { .. })));
    let wrong = open(MarlinConfig { owner: Some("no-such-user".into()), ..config(&directory) });
    assert!(matches!(wrong, Err(PtyError::NoOwner { .. })));
}

#[tokio::test]
async fn the_port_is_raw_and_tells_who_comes_and_goes() {
    use super::super::visits::Visit;
    let directory = TempDir::new().unwrap();
    let port = open_in(&directory);
    let mut first = client(port.device());
    assert_eq!(port.pty.visits().await, [Visit::Opened]);
    first.write_all(b"M105\r\n").unwrap();
    let mut buffer = [0; 64];
    let count = port.pty.read(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..count], b"M105\r\n", "no echo, no translation");
    assert_eq!(port.pty.write(b"ok\n").await.unwrap(), 3);
    let mut answer = [0; 3];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ok\n");
    assert!(port.pty.drain().is_empty());
    drop(first);
    assert_eq!(port.pty.visits().await, [Visit::Closed]);
    port.pty.write(b"stale\n").await.unwrap();
    port.pty.reset();
    let mut second = client(port.device());
    port.pty.write(b"new\n").await.unwrap();
    let mut answer = [0; 4];
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"new\n");
}

#[tokio::test]
async fn what_does_not_fit_is_written_when_the_client_has_read() {
    let directory = TempDir::new().unwrap();
    let port = open_in(&directory);
    let mut client = client(port.device());
    let told: Vec<u8> = (0..200_000_u32).map(|number| b'a' + (number % 26) as u8).collect();
    let length = told.len();
    let reading = std::thread::spawn(move || {
        let mut read = vec![0; length];
        client.read_exact(&mut read).map(|()| read)
    });
    let writing = async {
        let mut rest = &told[..];
        while !rest.is_empty() {
            let count = port.pty.write(rest).await.unwrap();
            rest = &rest[count..];
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), writing).await.expect("the client reads");
    assert!(reading.join().unwrap().unwrap() == told, "other bytes arrived");
}
