//! M105 on a serial port: a line out, the line that begins with `ok` back.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{self, SetArg};
use serde_json::Value;

use crate::{Failure, frames, number, stats};

const ASKED: &[u8] = b"M105\n";
/// The echo's answer, as long as a gateway's.
const ANSWER: &[u8] = b"ok T:24.00 /0.00 B:23.00 /0.00 @:0 B@:0\n";
const PATIENCE: Duration = Duration::from_secs(10);

/// Orders: `port` (a path; without it a bare pty whose other end answers at once), `rounds`.
pub fn measure(order: &Value) -> Result<Value, Failure> {
    let path = match order["port"].as_str() {
        Some(port) => PathBuf::from(port),
        None => echo()?,
    };
    let mut port = open(&path)?;
    let mut seconds = Vec::new();
    // The first ones wake everything up and are not counted.
    for at in 0..number(order, "rounds")? + 20 {
        let began = Instant::now();
        ask(&mut port)?;
        if at >= 20 {
            seconds.push(began.elapsed().as_secs_f64());
        }
    }
    Ok(stats::summary(seconds))
}

fn open(path: &Path) -> Result<File, Failure> {
    let port = OpenOptions::new().read(true).write(true).open(path)?;
    let mut settings = termios::tcgetattr(&port)?;
    termios::cfmakeraw(&mut settings);
    termios::tcsetattr(&port, SetArg::TCSANOW, &settings)?;
    // A serial host greets first; what is said in answer to the opening is not part of a round.
    let mut port = port;
    std::thread::sleep(Duration::from_millis(300));
    drain(&mut port)?;
    Ok(port)
}

fn readable(port: &File, wait: Duration) -> Result<bool, Failure> {
    let mut waiting = [PollFd::new(port.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut waiting, PollTimeout::try_from(wait)?)? > 0)
}

fn drain(port: &mut File) -> Result<(), Failure> {
    let mut bytes = [0; 4096];
    while readable(port, Duration::from_millis(100))? {
        if port.read(&mut bytes)? == 0 {
            break;
        }
    }
    Ok(())
}

fn ask(port: &mut File) -> Result<(), Failure> {
    port.write_all(ASKED)?;
    let (mut line, mut bytes) = (Vec::new(), [0; 1024]);
    let began = Instant::now();
    loop {
        let count = port.read(&mut bytes)?;
        line.extend_from_slice(&bytes[..count]);
        let complete = line.ends_with(b"\n");
        if complete && (line.starts_with(b"ok") || frames::find(&line, b"\nok").is_some()) {
            return Ok(());
        }
        if count == 0 || began.elapsed() > PATIENCE {
            return Err(format!("no answer to M105 but {:?}", String::from_utf8_lossy(&line)).into());
        }
    }
}

/// The other end of a bare pty: reads, and answers each line at once.
fn echo() -> Result<PathBuf, Failure> {
    let pair = openpty(None, None)?;
    let mut settings = termios::tcgetattr(&pair.slave)?;
    termios::cfmakeraw(&mut settings);
    termios::tcsetattr(&pair.slave, SetArg::TCSANOW, &settings)?;
    let path = nix::unistd::ttyname(&pair.slave)?;
    let slave: OwnedFd = pair.slave;
    let mut master = File::from(pair.master);
    std::thread::spawn(move || {
        let _kept_open = slave;
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = master.read(&mut bytes) {
            if bytes[..count].contains(&b'\n') && master.write_all(ANSWER).is_err() {
                return;
            }
        }
    });
    Ok(path)
}
