//! When clients have to read the list of objects anew. Both UIs read it at `klippy_ready` only (moonraker.md 3.5).

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::subscribe::View;

/// Another list has to hold for so long: a printer tells of what is attached to it in several reports.
const SETTLED: Duration = Duration::from_secs(1);
/// Least time between two announcements: each makes the UIs load everything.
const QUIET: Duration = Duration::from_secs(15);

/// The list that clients know, and the one that may take its place.
#[derive(Debug, Default)]
pub struct ObjectList {
    told: Option<Vec<String>>,
    told_at: Option<Instant>,
    other: Option<(Vec<String>, Instant)>,
}

impl ObjectList {
    /// Takes the newest view; what came and went, if clients are to be told of it now.
    pub fn follow(&mut self, view: &View, now: Instant) -> Option<String> {
        if !view.klippy.ready() {
            // They read it when the printer is ready again.
            (self.told, self.other) = (None, None);
            return None;
        }
        let names = names(view);
        let Some(told) = &self.told else {
            self.told = Some(names);
            return None;
        };
        if *told == names {
            self.other = None;
            return None;
        }
        let since = match &self.other {
            Some((other, since)) if *other == names => *since,
            _ => now,
        };
        let quiet = self.told_at.is_none_or(|at| now.duration_since(at) >= QUIET);
        if now.duration_since(since) < SETTLED || !quiet {
            self.other = Some((names, since));
            return None;
        }
        let changes = changes(told, &names);
        *self = Self { told: Some(names), told_at: Some(now), other: None };
        Some(changes)
    }
}

/// The objects, and the lengths of lists that must not change between two readings (moonraker.md 3.5).
fn names(view: &View) -> Vec<String> {
    let mut names: Vec<String> = view.objects.keys().cloned().collect();
    for (object, count) in [("mmu", "num_gates"), ("mmu_machine", "num_units")] {
        let count: Option<&Value> = view.objects.get(object).and_then(|fields| fields.get(count));
        names.extend(count.map(|count| format!("{object} {count}")));
    }
    names
}

fn changes(before: &[String], after: &[String]) -> String {
    let gone = before.iter().filter(|name| !after.contains(name)).map(|name| format!("-{name}"));
    let come = after.iter().filter(|name| !before.contains(name)).map(|name| format!("+{name}"));
    gone.chain(come).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::front::moonraker::klippy::{Gate, Klippy};
    use crate::model::{LinkPhase, PrinterState};

    fn view(phase: LinkPhase, names: &[&str]) -> View {
        let mut state = PrinterState::default();
        state.link.phase = phase;
        let objects = names.iter().map(|name| ((*name).to_owned(), Default::default())).collect();
        let empty =
            View { eventtime: 0.0, klippy: Klippy::of(&state, &Gate::Open), objects: BTreeMap::new() };
        empty.follow(1.0, empty.klippy.clone(), objects)
    }

    fn ready(names: &[&str]) -> View {
        view(LinkPhase::Online, names)
    }

    #[test]
    fn another_list_is_told_once_when_it_holds() {
        let (start, mut list) = (Instant::now(), ObjectList::default());
        assert_eq!(list.follow(&ready(&["fan"]), start), None, "clients read the first one by themselves");
        assert_eq!(list.follow(&ready(&["fan", "mmu"]), start), None);
        assert_eq!(list.follow(&ready(&["fan", "mmu"]), start + SETTLED).as_deref(), Some("+mmu"));
        assert_eq!(list.follow(&ready(&["fan", "mmu"]), start + SETTLED * 2), None);
        let away = start + SETTLED * 3;
        assert_eq!(list.follow(&view(LinkPhase::Backoff, &["fan"]), away), None);
        assert_eq!(list.follow(&ready(&["fan"]), away + QUIET), None, "read by themselves at ready");
        assert_eq!(list.follow(&ready(&["fan"]), away + QUIET + SETTLED), None);
    }

    #[test]
    fn a_list_that_comes_and_goes_does_not_keep_clients_busy() {
        let (start, mut list) = (Instant::now(), ObjectList::default());
        let step = Duration::from_millis(250);
        let told: Vec<u32> = (0..240)
            .filter(|tick| {
                let names: &[&str] = if tick % 2 == 0 { &["fan"] } else { &["fan", "mmu"] };
                list.follow(&ready(names), start + step * *tick).is_some()
            })
            .collect();
        assert_eq!(told, Vec::<u32>::new(), "nothing held for a second");
        let slowly = (0..240).filter(|tick| {
            let names: &[&str] = if (tick / 8) % 2 == 0 { &["fan"] } else { &["fan", "mmu"] };
            list.follow(&ready(names), start + step * (240 + *tick)).is_some()
        });
        assert!(slowly.count() <= 5, "a minute has room for four announcements and the first");
    }
}
