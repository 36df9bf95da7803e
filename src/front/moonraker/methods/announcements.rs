//! `server.announcements.*` (moonraker.md 2.11): lasting notices of the gateway, such as faults, a lost link, missing
//! permission to control.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::Endpoint;
use super::super::error::RpcError;
use super::super::rpc::Call;
use crate::model::{Control, PrinterState, Severity};
use crate::printer::clock::unix_now;
use crate::station::Station;

const FEED: &str = "moongate";
/// The clock of the host may be set: a time to wake at is looked at again after this long.
const LONGEST_SLEEP: f64 = 600.0;

/// The notices of one printer by id. A notice is gone when its cause is; a dismissal holds while the cause lasts.
#[derive(Default)]
pub struct Notices {
    entries: BTreeMap<String, Notice>,
    /// Dismissals of notices that are not there now, while it is not known whether their causes are: the printer is away,
    /// or did not report since the gateway began.
    kept: BTreeMap<String, Notice>,
    /// Something was dismissed.
    dismissed: Arc<Notify>,
}

#[derive(Debug, Clone, PartialEq)]
struct Notice {
    title: String,
    description: String,
    url: String,
    high: bool,
    date: f64,
    dismissed: Option<f64>,
    wake: Option<f64>,
}

impl Notice {
    /// Tells the same as the other one, whatever their times.
    fn says(&self, other: &Self) -> bool {
        (&self.title, &self.description, &self.url, self.high)
            == (&other.title, &other.description, &other.url, other.high)
    }
}

fn space(station: &Station) -> String {
    format!("moonraker_announcements/{}", station.name())
}

impl Notices {
    /// Starts with the dismissals of earlier runs.
    pub fn load(station: &Station) -> Self {
        let kept = station.store.list(&space(station)).unwrap_or_else(|error| {
            tracing::warn!(%error, "Dismissed announcements cannot be read.");
            Vec::new()
        });
        let entry = |(id, value): (String, Value)| {
            let time = |name: &str| value.get(name).and_then(Value::as_f64);
            let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let notice = Notice {
                title: text("title"),
                description: text("description"),
                url: text("url"),
                high: false,
                date: time("date").unwrap_or(0.0),
                dismissed: time("dismissed"),
                wake: time("wake"),
            };
            (id, notice)
        };
        Self { kept: kept.into_iter().map(entry).collect(), ..Self::default() }
    }

    /// When the next dismissal ends.
    fn next_wake(&self) -> Option<f64> {
        let dismissed = self.entries.values().filter(|notice| notice.dismissed.is_some());
        dismissed.filter_map(|notice| notice.wake).min_by(f64::total_cmp)
    }
}

/// Compares the notices with the state; tells clients of changes.
pub fn refresh(endpoint: &Endpoint) {
    let (current, online) = causes(endpoint);
    let mut notices = endpoint.announcements.lock().unwrap_or_else(PoisonError::into_inner);
    let mut before = std::mem::take(&mut notices.entries);
    let mut changed = false;
    for (id, cause) in current {
        let known = before.remove(&id);
        changed |= known.as_ref().is_none_or(|known| !known.says(&cause));
        let known = known.or_else(|| notices.kept.remove(&id));
        let notice = match known {
            Some(known) => Notice { date: known.date, dismissed: known.dismissed, wake: known.wake, ..cause },
            None => cause,
        };
        notices.entries.insert(id, notice);
    }
    changed |= !before.is_empty();
    notices.kept.extend(before.into_iter().filter(|(_, notice)| notice.dismissed.is_some()));
    if online {
        let space = space(&endpoint.station);
        for id in std::mem::take(&mut notices.kept).into_keys() {
            if let Err(error) = endpoint.station.store.delete(&space, &id) {
                tracing::warn!(%error, "A dismissal cannot be forgotten.");
            }
        }
    }
    if changed {
        let entries = described(&notices, true);
        drop(notices);
        endpoint.hub.notify("notify_announcement_update", Some(json!({"entries": entries})));
    }
}

/// Waits until the time of a dismissal has passed.
pub async fn until_wake(endpoint: &Endpoint) {
    loop {
        let (next, dismissed) = {
            let notices = endpoint.announcements.lock().unwrap_or_else(PoisonError::into_inner);
            (notices.next_wake(), notices.dismissed.clone())
        };
        let Some(next) = next else {
            dismissed.notified().await;
            continue;
        };
        let left = next - unix_now();
        if left <= 0.0 {
            return;
        }
        let sleep = Duration::from_secs_f64(left.min(LONGEST_SLEEP));
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = dismissed.notified() => {}
        }
    }
}

/// Brings back the notices whose time has come, and tells clients.
pub fn wake(endpoint: &Endpoint) {
    let now = unix_now();
    let space = space(&endpoint.station);
    let mut awake = Vec::new();
    let mut notices = endpoint.announcements.lock().unwrap_or_else(PoisonError::into_inner);
    for (id, notice) in &mut notices.entries {
        if notice.dismissed.is_some() && notice.wake.is_some_and(|wake| wake <= now) {
            (notice.dismissed, notice.wake) = (None, None);
            if let Err(error) = endpoint.station.store.delete(&space, id) {
                tracing::warn!(%error, "A dismissal cannot be forgotten.");
            }
            awake.push(id.clone());
        }
    }
    drop(notices);
    for id in awake {
        endpoint.hub.notify("notify_announcement_wake", Some(json!({"entry_id": id})));
    }
}

/// The notices that the state calls for, and whether it is the whole state: that of a printer that is connected.
fn causes(endpoint: &Endpoint) -> (BTreeMap<String, Notice>, bool) {
    let station = &endpoint.station;
    let state: &PrinterState = &station.printer.state();
    let id = |code: &str| format!("{FEED}/{}/{code}", station.name());
    let notice = |title: String, description: String, url: Option<&String>, high: bool| Notice {
        title,
        description,
        url: url.cloned().unwrap_or_default(),
        high,
        date: unix_now(),
        dismissed: None,
        wake: None,
    };
    let mut causes = BTreeMap::new();
    if let Some(fault) = &state.link.fault {
        let title = format!("{}: no connection ({})", station.printer.title(), fault.code);
        causes.insert(id(&fault.code), notice(title, fault.sentence(), None, fault.permanent));
    }
    if let Control::ReadOnly(reason) = &state.control {
        let title = format!("{}: can be watched, not controlled", station.printer.title());
        causes.insert(id("read-only"), notice(title, reason.clone(), None, true));
    }
    for fault in state.faults() {
        let title = format!("{}: {}", station.printer.title(), fault.code);
        let high = fault.severity >= Severity::Serious;
        causes.insert(id(&fault.code), notice(title, fault.line(), fault.link.as_ref(), high));
    }
    (causes, state.online())
}

fn described(notices: &Notices, dismissed_too: bool) -> Vec<Value> {
    let now = unix_now();
    let shown = notices.entries.iter().map(|(id, notice)| {
        let asleep = notice.dismissed.is_some() && notice.wake.is_none_or(|wake| wake > now);
        (id, notice, asleep)
    });
    shown
        .filter(|(_, _, asleep)| dismissed_too || !asleep)
        .map(|(id, notice, asleep)| {
            json!({
                "entry_id": id,
                "url": notice.url,
                "title": notice.title,
                "description": notice.description,
                "priority": if notice.high { "high" } else { "normal" },
                "date": notice.date,
                "dismissed": asleep,
                "date_dismissed": notice.dismissed,
                "dismiss_wake": notice.wake,
                "source": "internal",
                "feed": FEED,
            })
        })
        .collect()
}

pub async fn list(call: Call) -> Result<Value, RpcError> {
    refresh(&call.endpoint);
    let all = call.args.get("include_dismissed").is_none() || call.args.flag("include_dismissed")?;
    let notices = call.endpoint.announcements.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(json!({"entries": described(&notices, all), "feeds": [FEED]}))
}

pub async fn update(call: Call) -> Result<Value, RpcError> {
    refresh(&call.endpoint);
    let notices = call.endpoint.announcements.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(json!({"entries": described(&notices, true), "modified": false}))
}

pub async fn feeds(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"feeds": [FEED]}))
}

/// `wake_time` is in seconds from now.
pub async fn dismiss(call: Call) -> Result<Value, RpcError> {
    let id = call.args.text("entry_id")?;
    let wake = call.args.opt_number("wake_time")?.map(|seconds| unix_now() + seconds);
    let station = &call.endpoint.station;
    let dismissed = {
        let mut notices = call.endpoint.announcements.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || RpcError::bad_request(format!("No key matching entry id: {id}"));
        let notice = notices.entries.get_mut(&id).ok_or_else(unknown)?;
        (notice.dismissed, notice.wake) = (Some(unix_now()), wake);
        let kept = json!({
            "title": notice.title, "description": notice.description, "url": notice.url,
            "date": notice.date, "dismissed": notice.dismissed, "wake": notice.wake,
        });
        station.store.put(&space(station), &id, kept)?;
        notices.dismissed.clone()
    };
    call.endpoint.hub.notify("notify_announcement_dismissed", Some(json!({"entry_id": id})));
    // Not before: the end of the dismissal is told after its beginning.
    dismissed.notify_one();
    Ok(json!({"entry_id": id}))
}
