//! WebSocket clients: a bounded outbox each, subscriptions, notifications (moonraker.md 2.5, 2.15).

mod serve;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::serve::run;
use super::Endpoint;
use super::rpc::Caller;
use super::subscribe::{View, Wanted};
use crate::access::Identity;
use crate::gcode::translate::Session;

/// Frames that wait for a client; one that lets more pile up is disconnected.
const OUTBOX: usize = 512;
/// Beyond so many frames a client that lets more than [`LATE`] pile up is disconnected as well: bursts are of small ones.
const BURST: usize = 64;
/// Bytes.
const LATE: usize = 256 << 10;
/// No updates while more frames wait; what is skipped is in the next difference.
const UPDATES: usize = 32;
/// Largest frame taken: clients send less than 200 kB.
pub const LARGEST_FRAME: usize = 4 << 20;
/// What is read of a client at once, and held for each; the library's own 128 KiB are for bulk.
pub const READ_BUFFER: usize = 8 << 10;
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;

/// What a client told about itself.
#[derive(Debug, Clone, Default)]
pub struct Client {
    pub name: String,
    pub version: String,
    pub kind: String,
    pub url: String,
}

/// One open socket, as the rest of the endpoint sees it.
pub struct Connection {
    pub id: u64,
    /// Where the client reaches us.
    base_url: String,
    takes_errors_for_results: bool,
    outbox: mpsc::Sender<Waiting>,
    /// Bytes of the frames that wait.
    waiting: Arc<AtomicUsize>,
    closed: CancellationToken,
    close_code: AtomicU16,
    inner: Mutex<Inner>,
    /// Modal state of the client's G-code; its scripts run one after the other.
    pub session: Arc<tokio::sync::Mutex<Session>>,
}

/// A frame in the outbox; it counts until it is handed to the network.
struct Waiting {
    text: Utf8Bytes,
    bytes: Arc<AtomicUsize>,
}

impl Waiting {
    fn new(text: Utf8Bytes, bytes: &Arc<AtomicUsize>) -> Self {
        bytes.fetch_add(text.len(), Ordering::Relaxed);
        Self { text, bytes: bytes.clone() }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Inner {
    client: Option<Client>,
    user: Option<Identity>,
    subscription: Option<Subscription>,
}

struct Subscription {
    wanted: Wanted,
    /// What the client knows.
    seen: Arc<View>,
    /// With whose rights it was made: over HTTP a socket without any is subscribed by somebody else.
    by: Identity,
    /// Set when the answer to the subscription is on its way: updates come after it.
    answered: bool,
}

impl Connection {
    /// A new one, known to nobody yet, and the frames that it is to be sent.
    fn open(endpoint: &Endpoint, caller: &Caller) -> (Arc<Self>, mpsc::Receiver<Waiting>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (outbox, frames) = mpsc::channel(OUTBOX);
        let connection = Self {
            id: (u64::from(std::process::id()) << 24) + NEXT.fetch_add(1, Ordering::Relaxed),
            base_url: caller.base_url.clone(),
            takes_errors_for_results: caller.takes_errors_for_results,
            outbox,
            waiting: Arc::default(),
            closed: endpoint.cancel.child_token(),
            close_code: AtomicU16::new(GOING_AWAY),
            inner: Mutex::new(Inner { user: caller.user.clone(), ..Inner::default() }),
            session: Arc::default(),
        };
        (Arc::new(connection), frames)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn user(&self) -> Option<Identity> {
        self.lock().user.clone()
    }

    /// Without a user a socket is sent nothing more of its own accord.
    pub fn set_user(&self, user: Option<Identity>) {
        let mut inner = self.lock();
        if user.is_none() {
            inner.subscription = None;
        }
        inner.user = user;
    }

    pub fn client(&self) -> Option<Client> {
        self.lock().client.clone()
    }

    pub fn set_client(&self, client: Client) {
        self.lock().client = Some(client);
    }

    /// Replaces what the client is sent; an empty wish ends it. `answered` where the answer takes another way.
    pub fn subscribe(&self, wanted: Wanted, seen: Arc<View>, by: Identity, answered: bool) {
        let subscription = Subscription { wanted, seen, by, answered };
        self.lock().subscription = (!subscription.wanted.is_empty()).then_some(subscription);
    }

    /// Ends what somebody made who has no rights any more.
    fn drop_rights(&self, good: &impl Fn(&Identity) -> bool) {
        if self.user().is_some_and(|user| !good(&user)) {
            self.set_user(None);
        }
        let mut inner = self.lock();
        if inner.subscription.as_ref().is_some_and(|subscription| !good(&subscription.by)) {
            inner.subscription = None;
        }
    }

    fn answered(&self) {
        if let Some(subscription) = &mut self.lock().subscription {
            subscription.answered = true;
        }
    }

    /// Frames that wait.
    fn backlog(&self) -> usize {
        OUTBOX - self.outbox.capacity()
    }

    /// Queues a frame; a client that does not read is let go.
    fn push(&self, frame: Utf8Bytes) {
        let late = self.backlog() >= BURST && self.waiting.load(Ordering::Relaxed) > LATE;
        if late || self.outbox.try_send(Waiting::new(frame, &self.waiting)).is_err() {
            self.close(POLICY);
        }
    }

    /// A console line for this client alone.
    pub fn tell(&self, line: &str) {
        self.push(notification("notify_gcode_response", Some(json!([line]))));
    }

    fn update(&self, view: &Arc<View>) {
        let mut inner = self.lock();
        let Some(subscription) = inner.subscription.as_mut().filter(|s| s.answered) else { return };
        if self.backlog() > UPDATES {
            return;
        }
        let changes = subscription.wanted.diff(&subscription.seen, view);
        subscription.seen = view.clone();
        if !changes.is_empty() {
            let params = Value::Array(vec![Value::Object(changes), view.eventtime.into()]);
            let frame = notification("notify_status_update", Some(params));
            drop(inner);
            self.push(frame);
        }
    }

    fn close(&self, code: u16) {
        self.close_code.store(code, Ordering::Relaxed);
        self.closed.cancel();
    }
}

fn notification(method: &str, params: Option<Value>) -> Utf8Bytes {
    let mut frame = Map::new();
    frame.insert("jsonrpc".to_owned(), "2.0".into());
    frame.insert("method".to_owned(), method.into());
    if let Some(params) = params {
        frame.insert("params".to_owned(), params);
    }
    crate::model::text::json(&Value::Object(frame)).into()
}

/// The open sockets of one endpoint.
pub struct Hub {
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
    places: Arc<Semaphore>,
    most: usize,
}

impl Hub {
    /// For so many sockets at once.
    pub fn new(most: usize) -> Self {
        Self { connections: Mutex::default(), places: Arc::new(Semaphore::new(most)), most }
    }

    /// A place for one more socket; strangers get no more than half of them, so that they cannot keep out those who
    /// have a right to be here. It is free again when the returned permit is dropped.
    pub fn place(&self, stranger: bool) -> Option<OwnedSemaphorePermit> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let strangers = || self.all().iter().filter(|connection| connection.user().is_none()).count();
        (!stranger || strangers() < self.most.div_ceil(2)).then_some(place)
    }

    /// Takes the rights of those sockets whose user is no longer good.
    pub fn drop_rights(&self, good: impl Fn(&Identity) -> bool) {
        for connection in self.all() {
            connection.drop_rights(&good);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Connection>> {
        self.lock().values().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Frames that wait for the client that reads the least.
    #[cfg(test)]
    pub fn most_waiting(&self) -> usize {
        self.all().iter().map(|connection| connection.backlog()).max().unwrap_or(0)
    }

    pub fn find(&self, id: u64) -> Option<Arc<Connection>> {
        self.lock().get(&id).cloned()
    }

    /// What agents told about themselves.
    pub fn agents(&self) -> Vec<Client> {
        self.all().iter().filter_map(|c| c.client()).filter(|client| client.kind == "agent").collect()
    }

    /// Sends every client the difference that it wants.
    pub fn publish(&self, view: &Arc<View>) {
        for connection in self.all() {
            connection.update(view);
        }
    }

    /// Tells all clients, identified or not; `params` is the only element of the list.
    pub fn notify(&self, method: &str, params: Option<Value>) {
        self.notify_others(method, params, None);
    }

    /// Tells each client what is made for its address and user.
    pub fn notify_each(&self, method: &str, params: impl Fn(&str, Identity) -> Option<Value>) {
        for connection in self.all() {
            if let Some(params) = connection.user().and_then(|user| params(&connection.base_url, user)) {
                connection.push(notification(method, Some(json!([params]))));
            }
        }
    }

    pub fn notify_others(&self, method: &str, params: Option<Value>, except: Option<u64>) {
        let frame = notification(method, params.map(|params| json!([params])));
        for connection in self.all().iter().filter(|connection| Some(connection.id) != except) {
            if connection.user().is_some() {
                connection.push(frame.clone());
            }
        }
    }

    /// Closes the sockets of those who would not notice that the printer is away; they come back with it.
    pub fn close_unaware(&self) {
        for connection in self.all().iter().filter(|connection| connection.takes_errors_for_results) {
            connection.close(GOING_AWAY);
        }
    }

    /// Closes all sockets as a restarting server does.
    pub fn close_all(&self) {
        for connection in self.all() {
            connection.close(GOING_AWAY);
        }
    }
}
