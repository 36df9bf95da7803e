//! The pseudo terminal: raw, drained, and told when a client opens and closes it.
//!
//! The gateway keeps the slave side open itself, so that the master never hangs up (crates.md 4); who else has it open
//! is told by `visits`. Nothing is written while nobody does: it would be stale text for the next client.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{self, ControlFlags, FlushArg, SetArg};
use nix::unistd::{Group, User, ttyname};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::visits::{Registration, Visit, Visits};
use super::{MarlinConfig, PtyError};

/// Both ends, and the watch on who opens the client's end.
#[derive(Debug)]
pub struct Pty {
    /// Told when bytes come, and not when the client has taken some: that would wake the gateway once more for each
    /// line of a dialogue.
    master: AsyncFd<OwnedFd>,
    slave: OwnedFd,
    visits: Registration,
    device: PathBuf,
}

impl Pty {
    /// Creates the pair in raw mode, with the wished permissions. Must be called inside a Tokio runtime.
    pub fn create(config: &MarlinConfig, visits: &Visits) -> Result<Self, PtyError> {
        let failed = |what: &str, error: io::Error| PtyError::Create(format!("{what}: {error}"));
        let OpenptyResult { master, slave } =
            openpty(None, None).map_err(|error| failed("no pseudo terminal can be opened", error.into()))?;
        make_raw(&slave).map_err(|error| failed("it cannot be set to raw mode", error))?;
        for end in [&master, &slave] {
            set_flags(end).map_err(|error| failed("it cannot be made non-blocking", error))?;
        }
        let device = ttyname(&slave).map_err(|error| failed("its name is unknown", error.into()))?;
        permit(&device, config)?;
        Ok(Self {
            master: registered(master, Interest::READABLE)
                .map_err(|error| failed("it cannot be polled", error))?,
            visits: visits.register(&device).map_err(|error| failed("it cannot be watched", error))?,
            slave,
            device,
        })
    }

    /// `/dev/pts/N`.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Bytes from the client. Cancel safe.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.readable().await?;
            let read = ready.try_io(|master| nix::unistd::read(master.get_ref(), buffer).map_err(Into::into));
            if let Ok(result) = read {
                return result;
            }
        }
    }

    /// Writes what fits. Cancel safe.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.write_now(bytes) {
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let full = registered(self.master.get_ref().try_clone()?, Interest::WRITABLE)?;
            drop(full.writable().await?);
        }
    }

    /// As [`Self::write`], but never waits: an error where nothing fits.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(self.master.get_ref(), bytes)?)
    }

    /// Waits until clients came or went, in order. Cancel safe.
    pub async fn visits(&self) -> Vec<Visit> {
        self.visits.next().await
    }

    /// The same at once, without waiting.
    pub fn visits_now(&self) -> Vec<Visit> {
        self.visits.now()
    }

    /// What the clients sent and nobody has read.
    pub fn drain(&self) -> Vec<u8> {
        const MOST: usize = 64 * 1024;
        let mut drained = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = nix::unistd::read(self.master.get_ref(), &mut buffer) {
            drained.extend_from_slice(buffer.get(..count).unwrap_or_default());
            if drained.len() >= MOST {
                break;
            }
        }
        drained
    }

    /// Forgets what was written and not read: stale for a new client.
    pub fn flush(&self) {
        let _best_effort = termios::tcflush(&self.slave, FlushArg::TCIFLUSH);
    }

    /// After the last client has gone: what it did not read and its settings are forgotten; what it sent is kept.
    pub fn reset(&self) {
        let flushed = termios::tcflush(&self.slave, FlushArg::TCIFLUSH).map_err(io::Error::from);
        if let Err(error) = flushed.and_then(|()| make_raw(&self.slave)) {
            tracing::debug!(%error, "The pty could not be reset.");
        }
    }
}

/// Raw, and without PARODD: a pty cannot do parity, and a client that asks for what is already set, PARODD included,
/// gets EINVAL (octoprint.md 1.2).
fn make_raw(slave: &OwnedFd) -> io::Result<()> {
    let mut settings = termios::tcgetattr(slave)?;
    termios::cfmakeraw(&mut settings);
    settings.control_flags.remove(ControlFlags::PARENB | ControlFlags::PARODD);
    settings.control_flags.insert(ControlFlags::CLOCAL | ControlFlags::CREAD);
    termios::tcsetattr(slave, SetArg::TCSANOW, &settings)?;
    Ok(())
}

fn set_flags(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    fcntl(fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// `mode` decides; without it, the owner may use the port, and the group's members where a group is named. The system's
/// default would let the group `tty` write.
fn permit(device: &Path, config: &MarlinConfig) -> Result<(), PtyError> {
    let (mode, group) = (config.mode, config.group.as_deref());
    if let Some(name) = &config.owner {
        let found = User::from_name(name).ok().flatten();
        let uid = found.ok_or_else(|| PtyError::NoOwner { owner: name.clone() })?.uid;
        nix::unistd::chown(device, Some(uid), None)
            .map_err(|error| PtyError::Owner { owner: name.clone(), reason: error.to_string() })?;
    }
    if let Some(name) = group {
        let found = Group::from_name(name).ok().flatten();
        let gid = found.ok_or_else(|| PtyError::NoGroup { group: name.to_owned() })?.gid;
        nix::unistd::chown(device, None, Some(gid))
            .map_err(|error| PtyError::Group { group: name.to_owned(), reason: error.to_string() })?;
    }
    let mode = mode.unwrap_or(if group.is_some() { 0o660 } else { 0o600 });
    std::fs::set_permissions(device, std::fs::Permissions::from_mode(mode & 0o777)).map_err(|error| {
        PtyError::Create(format!("mode {mode:o} cannot be set on {}: {error}", device.display()))
    })
}

/// Has the runtime tell when a descriptor is ready for what is of `interest`.
pub(super) fn registered<T: AsRawFd>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: `fd` is an owned descriptor of this folder that gives out the same open number until it is dropped, and
    // it is dropped only together with the registration that now owns it.
    #[allow(unsafe_code)]
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}
