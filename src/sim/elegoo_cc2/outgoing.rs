//! What the simulated CC2 has yet to say: late answers, delayed messages, deltas (dossier 3.5, 3.8).

use serde_json::{Value, json};
use tokio::time::Instant;

use super::machine::Core;
use super::report;
use crate::sim::physics::Stage;

/// A message that leaves at its time.
#[derive(Debug, Clone)]
pub struct Message {
    pub topic: String,
    pub payload: String,
    due: Instant,
}

/// What a late answer waits for (dossier 3.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wait {
    /// A moment in simulated time.
    Until(f64),
    /// The end of the running operation.
    Operation,
    Started,
    Paused,
    Running,
    Ended,
}

#[derive(Debug, Clone)]
struct Pending {
    client: String,
    id: Value,
    method: i64,
    wait: Wait,
}

/// Everything that waits for its moment.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Id of the newest delta.
    pub push_id: i64,
    pushed: Option<Value>,
    pushed_at: Option<Instant>,
    pending: Vec<Pending>,
    outbox: Vec<Message>,
}

impl Core {
    /// Queues a message behind the delay that is in force.
    pub fn send(&mut self, topic: String, payload: String) {
        let due = Instant::now() + self.faults.delay;
        self.outgoing.outbox.push(Message { topic, payload, due });
    }

    pub fn respond(&mut self, client: &str, id: &Value, method: i64, result: Value) {
        let topic = format!("elegoo/{}/{client}/api_response", self.options.serial);
        self.send(topic, json!({"id": id, "method": method, "result": result}).to_string());
    }

    pub fn respond_later(&mut self, client: &str, id: &Value, method: i64, wait: Wait) {
        self.outgoing.pending.push(Pending { client: client.to_owned(), id: id.clone(), method, wait });
    }

    /// Messages whose time has come.
    pub fn take_due(&mut self) -> Vec<Message> {
        let now = Instant::now();
        let (due, later) =
            std::mem::take(&mut self.outgoing.outbox).into_iter().partition(|message| message.due <= now);
        self.outgoing.outbox = later;
        due
    }

    /// Sends the late answers whose mechanics are done.
    pub fn answer_pending(&mut self) {
        let stage = self.machine.stage;
        let ripe = |wait: Wait, core: &Self| match wait {
            Wait::Until(at) => core.now >= at,
            Wait::Operation => core.operation.is_none(),
            Wait::Started => stage != Stage::Loading,
            Wait::Paused => !matches!(stage, Stage::Pausing),
            Wait::Running => !matches!(stage, Stage::Resuming | Stage::Loading),
            Wait::Ended => !matches!(stage, Stage::Cancelling),
        };
        let (ready, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.outgoing.pending)
            .into_iter()
            .partition(|pending| ripe(pending.wait, self));
        self.outgoing.pending = waiting;
        for pending in ready {
            self.respond(&pending.client, &pending.id, pending.method, json!({"error_code": 0}));
        }
    }

    /// A delta of everything that changed: at once for a new state, else once per period.
    pub fn push(&mut self) {
        if self.registry.count() == 0 || self.faults.silent() {
            return;
        }
        let state = |status: &Value| {
            let machine = status.get("machine_status");
            ["status", "sub_status", "exception_status"].map(|key| machine.and_then(|m| m.get(key)).cloned())
        };
        let now = Instant::now();
        let due =
            self.outgoing.pushed_at.is_none_or(|at| now.duration_since(at) >= self.options.delta_period);
        let codes_now = report::status(self);
        let changed = self.outgoing.pushed.as_ref().is_none_or(|old| state(old) != state(&codes_now));
        if !due && !changed {
            return;
        }
        self.outgoing.pushed_at = Some(now);
        let old = self.outgoing.pushed.replace(codes_now.clone());
        let Some(old) = old else { return };
        if let Some(mut delta) = report::difference(&old, &codes_now) {
            if !self.options.progress_in_deltas
                && let Some(machine) = delta.get_mut("machine_status").and_then(Value::as_object_mut)
            {
                machine.remove("progress");
            }
            self.outgoing.push_id += 1;
            let payload = report::push(self.outgoing.push_id, delta).to_string();
            let topic = format!("elegoo/{}/api_status", self.options.serial);
            self.send(topic, payload);
        }
    }
}
