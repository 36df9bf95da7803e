//! Who opens and closes the clients' ends of the ptys: one inotify instance for all of them, because a user may have
//! only 128 (`fs.inotify.max_user_instances`) and a fleet has more printers.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::pty::registered;

/// After an error of the watch itself.
const PAUSE: Duration = Duration::from_secs(1);

/// What happened at the client's end of a pty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    Opened,
    Closed,
}

/// Tells each pty of the visits to it. Cheap to clone; ends with the last clone and registration.
#[derive(Debug, Clone)]
pub struct Visits {
    rooms: Arc<Rooms>,
    _reading: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Rooms {
    watch: AsyncFd<Watch>,
    /// Held while events are read and handed out, so that nobody overtakes them.
    by_descriptor: Mutex<HashMap<WatchDescriptor, Arc<Room>>>,
}

#[derive(Debug)]
struct Watch(Inotify);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[derive(Debug, Default)]
struct Room {
    waiting: Mutex<Vec<Visit>>,
    news: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Visits {
    /// Begins to watch nothing. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// The system gives no inotify instance.
    pub fn start() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let watch = registered(Watch(inotify), Interest::READABLE)?;
        let rooms = Arc::new(Rooms { watch, by_descriptor: Mutex::default() });
        #[expect(clippy::disallowed_methods, reason = "aborted when the last that watches is gone")]
        let reading = AbortOnDropHandle::new(tokio::spawn(rooms.clone().keep_reading()));
        Ok(Self { rooms, _reading: Arc::new(reading) })
    }

    /// Watches one device until the registration is dropped.
    ///
    /// # Errors
    /// The device cannot be watched.
    pub fn register(&self, device: &Path) -> io::Result<Registration> {
        let events = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_CLOSE_NOWRITE;
        let room = Arc::new(Room::default());
        let mut rooms = locked(&self.rooms.by_descriptor);
        let descriptor = self.rooms.watch.get_ref().0.add_watch(device, events)?;
        rooms.insert(descriptor, room.clone());
        drop(rooms);
        Ok(Registration { visits: self.clone(), descriptor, room })
    }
}

impl Rooms {
    async fn keep_reading(self: Arc<Self>) {
        loop {
            match self.watch.readable().await {
                Ok(mut ready) => {
                    self.hand_out();
                    ready.clear_ready();
                    // What came between the two would otherwise wait for the next event.
                    self.hand_out();
                }
                Err(error) => {
                    tracing::warn!(%error, "The serial ports cannot be watched.");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Gives each pty what is to be read of it now.
    fn hand_out(&self) {
        let rooms = locked(&self.by_descriptor);
        while let Ok(events) = self.watch.get_ref().0.read_events() {
            for event in &events {
                let (Some(visit), Some(room)) = (visit(event.mask), rooms.get(&event.wd)) else { continue };
                locked(&room.waiting).push(visit);
                room.news.notify_one();
            }
        }
    }
}

fn visit(mask: AddWatchFlags) -> Option<Visit> {
    if mask.contains(AddWatchFlags::IN_OPEN) {
        Some(Visit::Opened)
    } else if mask.intersects(AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_CLOSE_NOWRITE) {
        Some(Visit::Closed)
    } else {
        None
    }
}

/// The watch on one pty.
#[derive(Debug)]
pub struct Registration {
    visits: Visits,
    descriptor: WatchDescriptor,
    room: Arc<Room>,
}

impl Registration {
    /// Waits until clients came or went, in order. Cancel safe.
    pub async fn next(&self) -> Vec<Visit> {
        loop {
            let news = self.room.news.notified();
            let visits = std::mem::take(&mut *locked(&self.room.waiting));
            if !visits.is_empty() {
                return visits;
            }
            news.await;
        }
    }

    /// Those until this moment, without waiting.
    pub fn now(&self) -> Vec<Visit> {
        self.visits.rooms.hand_out();
        std::mem::take(&mut *locked(&self.room.waiting))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut rooms = locked(&self.visits.rooms.by_descriptor);
        rooms.remove(&self.descriptor);
        let _gone_with_its_device = self.visits.rooms.watch.get_ref().0.rm_watch(self.descriptor);
    }
}
