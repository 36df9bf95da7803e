//! What happens at the printer, in the library and with the jobs, told to all clients (moonraker.md 2.15).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::Endpoint;
use super::methods::{announcements, files, history, job_queue};
use super::rpc::add_member;
use crate::jobs::JobsEvent;
use crate::library::{Entry, EntryKind, LibraryAction, LibraryEvent};
use crate::model::{ConsoleLine, Speaker};

/// Notifications between which the clients' tasks get their turn.
const AT_ONCE: usize = 16;
/// What is said comes before the answer that it belongs to, unless this machine is slower than that.
const TOLD_SOON: Duration = Duration::from_millis(500);
/// Files and folders that are told when changes were missed: no more than a client may let wait.
const TOLD_ANEW: usize = 400;

/// Runs until the endpoint ends.
pub async fn run(endpoint: Arc<Endpoint>) {
    let mut library = endpoint.station.library.events();
    let mut jobs = endpoint.station.jobs.events();
    let mut state = endpoint.station.printer.watch();
    announcements::refresh(&endpoint);
    let mut told = 0_usize;
    loop {
        tokio::select! {
            () = endpoint.cancel.cancelled() => return,
            event = library.recv() => match event {
                Ok(event) => on_library(&endpoint, &event),
                Err(RecvError::Lagged(_)) => tell_anew(&endpoint).await,
                Err(RecvError::Closed) => return,
            },
            event = jobs.recv() => match event {
                Ok(event) => on_jobs(&endpoint, &event).await,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            changed = state.changed() => {
                if changed.is_err() { return }
                state.mark_unchanged();
                announcements::refresh(&endpoint);
            }
            () = announcements::until_wake(&endpoint) => announcements::wake(&endpoint),
        }
        // What is told in one go has a bound: the clients' own tasks come to hand it to the network.
        told += 1;
        if told.is_multiple_of(AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
}

/// Tells what is said on the console, until the endpoint ends. Nothing else makes it wait, for answers wait for it
/// ([`Endpoint::console_told`]).
pub async fn follow_console(endpoint: Arc<Endpoint>) {
    let mut console = endpoint.station.console.listen();
    endpoint.told.send_replace(console.read());
    let mut told = 0_usize;
    loop {
        let line = tokio::select! {
            () = endpoint.cancel.cancelled() => return,
            line = console.next() => line,
        };
        on_console(&endpoint, &line).await;
        endpoint.told.send_replace(console.read());
        told += 1;
        if told.is_multiple_of(AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
}

impl Endpoint {
    /// Waits until all clients were told what is on the console by now: with Klipper what a script says comes before its
    /// answer.
    pub async fn console_told(&self) {
        let said = self.station.console.said();
        if *self.told.borrow() >= said {
            return;
        }
        let mut told = self.told.subscribe();
        let _late = tokio::time::timeout(TOLD_SOON, told.wait_for(|told| *told >= said)).await;
    }
}

/// The spool that is used, and whether the inventory is there.
pub async fn follow_spools(endpoint: Arc<Endpoint>) {
    let book = endpoint.station.jobs.filament();
    let (mut state, mut choices) = (endpoint.station.printer.watch(), book.watch());
    let mut spool = book.active_spool();
    // An inventory is given right after the start, or never.
    let mut inventory = book.inventory().map(|spoolman| (spoolman.watch(), spoolman.connected()));
    loop {
        let server = async {
            match &mut inventory {
                Some((connected, _)) => connected.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = endpoint.cancel.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
            changed = choices.changed() => if changed.is_err() { return },
            alive = server => if !alive { return },
        }
        state.mark_unchanged();
        choices.mark_unchanged();
        if inventory.is_none() {
            inventory = book.inventory().map(|spoolman| (spoolman.watch(), spoolman.connected()));
        }
        let Some((connected, before)) = &mut inventory else { continue };
        let now = *connected.borrow_and_update();
        if std::mem::replace(before, now) != now {
            endpoint.hub.notify("notify_spoolman_status_changed", Some(json!({"spoolman_connected": now})));
        }
        let used = book.active_spool();
        if std::mem::replace(&mut spool, used) != used {
            endpoint.hub.notify("notify_active_spool_set", Some(json!({"spool_id": used})));
        }
    }
}

/// What a client itself sent is in the store only, as with Klipper.
async fn on_console(endpoint: &Endpoint, line: &ConsoleLine) {
    if line.speaker == Speaker::Client {
        return;
    }
    for (at, text) in console_text(line).lines().enumerate() {
        endpoint.hub.notify("notify_gcode_response", Some(Value::from(text)));
        if (at + 1).is_multiple_of(AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
}

/// Changes were missed, and nobody knows which: the whole top of the library is told. Mainsail drops its list at a
/// `root_update` and asks for nothing, but reads each folder that it is told of; Fluidd reads the list itself.
pub async fn tell_anew(endpoint: &Endpoint) {
    let Ok(mut entries) = endpoint.station.library.directory("").await else { return };
    let folder = |entry: &Entry| entry.kind == EntryKind::Directory;
    entries.sort_by(|a, b| folder(b).cmp(&folder(a)).then_with(|| b.modified.total_cmp(&a.modified)));
    if entries.len() > TOLD_ANEW {
        tracing::info!(
            files = entries.len(),
            told = TOLD_ANEW,
            "Changes of files were missed; the newest are told."
        );
    }
    let root = json!({"path": "", "root": "gcodes", "modified": 0, "size": 0, "permissions": "rw"});
    endpoint.hub.notify("notify_filelist_changed", Some(json!({"action": "root_update", "item": root})));
    for (at, entry) in entries.iter().take(TOLD_ANEW).enumerate() {
        let action = if folder(entry) { "create_dir" } else { "create_file" };
        let change = json!({"action": action, "item": files::item(entry)});
        endpoint.hub.notify("notify_filelist_changed", Some(change));
        if (at + 1).is_multiple_of(AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
}

/// A console line in Klipper's manner: `// ` before information, `!! ` before errors, answers of M105 and the like
/// as they are (moonraker.md 2.7).
pub fn console_text(line: &ConsoleLine) -> String {
    let prefixed = |prefix: &str| {
        line.text
            .lines()
            .map(|text| if is_raw(text) { text.to_owned() } else { format!("{prefix}{text}") })
            .collect::<Vec<_>>()
            .join("\n")
    };
    match line.speaker {
        Speaker::Client => line.text.clone(),
        Speaker::Answer => prefixed("// "),
        Speaker::Error => prefixed("!! "),
    }
}

/// True for what hosts parse (`ok`, `T:20.1 /0.0`, `X:1.0 Y:2.0`, `echo:..`) and for lines that have their prefix.
fn is_raw(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    let (name, value) = first.split_once(':').unwrap_or((first, ""));
    let reading = !name.is_empty()
        && name.len() <= 2
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && value.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    reading
        || first == "ok"
        || text.starts_with("File opened:")
        || text == "File selected"
        || text.starts_with("echo:")
        || text.starts_with("// ")
        || text.starts_with("!! ")
}

fn on_library(endpoint: &Endpoint, event: &LibraryEvent) {
    let action = match event.action {
        LibraryAction::CreateFile => "create_file",
        LibraryAction::ModifyFile => "modify_file",
        LibraryAction::MoveFile => "move_file",
        LibraryAction::DeleteFile => "delete_file",
        LibraryAction::CreateDirectory => "create_dir",
        LibraryAction::MoveDirectory => "move_dir",
        LibraryAction::DeleteDirectory => "delete_dir",
    };
    let gone = matches!(event.action, LibraryAction::DeleteFile | LibraryAction::DeleteDirectory);
    let item = if gone { files::gone_item(&event.entry.path) } else { files::item(&event.entry) };
    let mut change = json!({"action": action, "item": item});
    if let Some(source) = &event.source {
        add_member(&mut change, "source_item", json!({"path": source, "root": "gcodes"}));
    }
    endpoint.hub.notify("notify_filelist_changed", Some(change));
}

async fn on_jobs(endpoint: &Endpoint, event: &JobsEvent) {
    match event {
        JobsEvent::HistoryAdded(entry) => {
            let change = json!({"action": "added", "job": history::described_job(endpoint, entry).await});
            endpoint.hub.notify("notify_history_changed", Some(change));
        }
        JobsEvent::HistoryFinished(entry) => {
            let change = json!({"action": "finished", "job": history::described_job(endpoint, entry).await});
            endpoint.hub.notify("notify_history_changed", Some(change));
        }
        JobsEvent::QueueChanged { action, queue } => {
            let change = json!({
                "action": action,
                "updated_queue": job_queue::queued(queue),
                "queue_state": job_queue::state_word(queue.state),
            });
            endpoint.hub.notify("notify_job_queue_changed", Some(change));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_lines_look_like_klippers() {
        let text =
            |speaker, text: &str| console_text(&ConsoleLine { time: 0.0, speaker, text: text.to_owned() });
        assert_eq!(text(Speaker::Answer, "Speed set."), "// Speed set.");
        assert_eq!(text(Speaker::Answer, "T0:24.0 /0.0 B:23.0 /0.0"), "T0:24.0 /0.0 B:23.0 /0.0");
        assert_eq!(text(Speaker::Answer, "// Done"), "// Done");
        for line in ["File opened:cube.gcode Size:8480", "File selected"] {
            assert_eq!(text(Speaker::Answer, line), line);
        }
        assert_eq!(text(Speaker::Error, "Too hot\nReally"), "!! Too hot\n!! Really");
        assert_eq!(text(Speaker::Client, "G28"), "G28");
    }
}
