//! What the gateway keeps about filament beyond what the printer reports: spools in slots, the tool map of the next
//! print, and the grams that each job took from each slot.
//!
//! | part | owns |
//! |---|---|
//! | `choices` | what the user chose (pure) |
//! | `ledger` | grams by slot over the progress of a job, and what is still to be reported (pure) |
//! | `account` | follows the printer's jobs into the ledger, on disk |
//! | `spoolman` | the inventory server: requests and connection |
//! | `usage` | reports of what was used, tagged spools put into their slots |

mod account;
mod choices;
mod ledger;
mod spoolman;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::library::Library;
use crate::model::{SlotId, Speaker};
use crate::printer::PrinterHandle;
use crate::store::{Store, StoreError};

pub use choices::{Choices, MAX_TOOLS};
use ledger::Ledger;
pub use ledger::{Planned, Used};
pub use spoolman::{Answer, Spoolman, SpoolmanError};

/// Keys within the printer's space.
const CHOICES: &str = "choices";
const LEDGER: &str = "ledger";

/// One per printer; cheap to clone.
#[derive(Clone)]
pub struct FilamentBook {
    inner: Arc<Inner>,
}

struct Inner {
    printer: PrinterHandle,
    library: Library,
    store: Store,
    space: String,
    choices: watch::Sender<Arc<Choices>>,
    ledger: Mutex<Ledger>,
    spoolman: OnceLock<Spoolman>,
    /// Something can be reported to the inventory.
    reports_due: Notify,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl FilamentBook {
    /// Takes up what the store knows of this printer, and follows its jobs on `tasks` until `cancel`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(
        printer: PrinterHandle,
        library: Library,
        store: Store,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self, StoreError> {
        let space = format!("filament/{}", printer.name());
        let choices: Choices = stored(&store, &space, CHOICES)?;
        let mut ledger: Ledger = stored(&store, &space, LEDGER)?;
        ledger.restored = ledger.run.is_some();
        let (events, state) = (printer.events(), printer.watch());
        let inner = Arc::new(Inner {
            printer,
            library,
            store,
            space,
            choices: watch::Sender::new(Arc::new(choices)),
            ledger: Mutex::new(ledger),
            spoolman: OnceLock::new(),
            reports_due: Notify::new(),
            tasks: tasks.clone(),
            cancel,
        });
        tasks.spawn(inner.clone().follow(events, state));
        Ok(Self { inner })
    }

    /// Reports what is used to this inventory from now on; the first one given stays.
    pub fn use_inventory(&self, spoolman: Spoolman) {
        if self.inner.spoolman.set(spoolman.clone()).is_ok() {
            self.inner.tasks.spawn(self.inner.clone().report_usage(spoolman.clone()));
            self.inner.tasks.spawn(self.inner.clone().match_tags(spoolman));
        }
    }

    /// The inventory server, where one is configured.
    pub fn inventory(&self) -> Option<&Spoolman> {
        self.inner.spoolman.get()
    }

    pub fn choices(&self) -> Arc<Choices> {
        self.inner.choices.borrow().clone()
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Choices>> {
        self.inner.choices.subscribe()
    }

    /// The spool that is used now.
    pub fn active_spool(&self) -> Option<u32> {
        self.choices().active_spool(&self.inner.printer.state().device.filament)
    }

    /// Puts a spool into the slot that feeds now, or beside the printer where none is known to; `None` takes it away.
    pub fn set_active_spool(&self, spool: Option<u32>) {
        match self.inner.printer.state().device.filament.active {
            Some(slot) => self.assign_spool(slot, spool),
            None => self.inner.choose(|choices| choices.loose_spool = spool),
        }
    }

    /// Says which spool of the inventory is in a slot.
    pub fn assign_spool(&self, slot: SlotId, spool: Option<u32>) {
        self.inner.assign(slot, spool);
    }

    /// Sets the slots of some tools for the next print.
    pub fn map_tools(&self, tools: impl IntoIterator<Item = (usize, SlotId)>) {
        let tools: Vec<(usize, SlotId)> = tools.into_iter().filter(|(tool, _)| *tool < MAX_TOOLS).collect();
        self.inner.choose(|choices| choices.tools.extend(tools));
    }

    /// Leaves the slots of the next print to the match again.
    pub fn reset_tools(&self) {
        self.inner.choose(Choices::reset_map);
    }

    /// The whole map of the next print, by tool.
    pub fn map_all(&self, slots: &[SlotId]) {
        let state = self.inner.printer.state();
        self.inner.choose(|choices| choices.choose_map(slots, &state.device.filament));
    }

    /// Whether tools that nobody chose a slot for are matched at the start of the next print.
    pub fn automap(&self, on: bool) {
        self.inner.choose(|choices| choices.automap = Some(on));
    }

    /// The slot that the next load means.
    pub fn select(&self, slot: SlotId) {
        self.inner.choose(|choices| choices.selected = Some(slot));
    }

    /// Opens the account of a job that is about to be started. On disk, if it can be written, when it returns.
    pub async fn begin(&self, token: u32, file: &str, filaments: Vec<Planned>) {
        self.inner.begin(Some(token.to_string()), file, filaments).await;
    }

    /// Grams taken from each slot since the counting began, by the slot's name.
    pub fn totals(&self) -> BTreeMap<String, f64> {
        self.inner.ledger().totals.clone()
    }

    /// What is still to be told to the inventory: (spool, grams).
    pub fn pending_reports(&self) -> Vec<(u32, f64)> {
        self.inner.ledger().pending.iter().map(|report| (report.spool, report.grams)).collect()
    }

    /// Looks for the tags of all slots in the inventory again.
    pub fn refresh_inventory(&self) {
        self.inner.choices.send_modify(|_| {});
        self.inner.reports_due.notify_waiters();
    }

    /// Makes a spool in the inventory for the tagged filament of a slot, in the background; what comes of it is told
    /// on the console.
    ///
    /// # Errors
    /// In words: no inventory, no such slot, nothing known of its filament.
    pub fn create_spool(&self, slot: SlotId) -> Result<(), String> {
        let spoolman = self.inventory().cloned().ok_or("No Spoolman server is configured.")?;
        let state = self.inner.printer.state();
        let known = state.device.filament.slot(slot).and_then(|slot| slot.filament.clone());
        let filament = known.ok_or_else(|| format!("Nothing is known of the filament in slot {slot}."))?;
        let inner = self.inner.clone();
        self.inner.tasks.spawn(async move {
            let made = tokio::select! {
                () = inner.cancel.cancelled() => return,
                made = spoolman.create_spool(&filament) => made,
            };
            match made {
                Ok(spool) => {
                    inner.assign(slot, Some(spool));
                    let text = format!("Spoolman: spool {spool} was created for slot {slot}.");
                    inner.printer.writer().console(Speaker::Answer, text);
                }
                Err(error) => {
                    let text = format!("Spoolman: no spool was created for slot {slot}: {error}");
                    inner.printer.writer().console(Speaker::Error, text);
                }
            }
        });
        Ok(())
    }
}

impl Inner {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the choices; told and kept only when they are others than before.
    fn choose(&self, change: impl FnOnce(&mut Choices)) {
        let mut kept = None;
        self.choices.send_if_modified(|choices| {
            let mut next = Choices::clone(choices);
            change(&mut next);
            if next == **choices {
                return false;
            }
            kept = serde_json::to_value(&next).ok();
            *choices = Arc::new(next);
            true
        });
        if let Some(value) = kept
            && let Err(error) = self.store.put(&self.space, CHOICES, value)
        {
            tracing::error!(%error, "Spools and tool map are kept in memory only.");
        }
    }

    fn assign(&self, slot: SlotId, spool: Option<u32>) {
        let state = self.printer.state();
        let filament = state.device.filament.slot(slot).and_then(|slot| slot.filament.as_ref());
        let tag = filament.and_then(|filament| filament.spool_uid.clone());
        self.choose(|choices| choices.assign(slot, spool, tag));
    }
}

/// A value of the store; what cannot be read counts as absent.
fn stored<T: serde::de::DeserializeOwned + Default>(
    store: &Store,
    space: &str,
    key: &str,
) -> Result<T, StoreError> {
    Ok(store.get(space, key)?.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default())
}
