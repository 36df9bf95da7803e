//! What the user chose about the filament: which spool is in which slot, and which slot feeds which tool of the next
//! print.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{FilamentSystem, SlotId};

/// Tools of a project; slicers offer far fewer.
pub const MAX_TOOLS: usize = 256;

/// A spool of the inventory in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// Number of the spool in the inventory.
    pub spool: u32,
    /// The tag that was in the slot at that time: another tag is another spool.
    pub tag: Option<String>,
}

/// Kept on disk as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choices {
    spools: BTreeMap<SlotId, Assigned>,
    /// The spool that is used while no slot is known to feed.
    pub loose_spool: Option<u32>,
    /// Slot for each tool of the next print, where the user chose one.
    pub tools: BTreeMap<usize, SlotId>,
    /// Whether the tools that nobody chose a slot for are matched at the start (`true`, also where nobody said), or
    /// print from the slots that the map shows for them. For one print, as the map.
    pub automap: Option<bool>,
    /// The slot that the next load means; forgotten at a restart.
    #[serde(skip)]
    pub selected: Option<SlotId>,
    /// What the running job feeds its filaments from, by tool.
    #[serde(skip)]
    pub running: BTreeMap<usize, SlotId>,
}

impl Choices {
    pub fn spool(&self, slot: SlotId) -> Option<u32> {
        self.spools.get(&slot).map(|assigned| assigned.spool)
    }

    /// A spool is in one place only.
    pub fn assign(&mut self, slot: SlotId, spool: Option<u32>, tag: Option<String>) {
        match spool {
            Some(spool) => {
                self.spools.retain(|_, assigned| assigned.spool != spool);
                if self.loose_spool == Some(spool) {
                    self.loose_spool = None;
                }
                self.spools.insert(slot, Assigned { spool, tag });
            }
            None => {
                self.spools.remove(&slot);
            }
        }
    }

    /// The spool that is used now.
    pub fn active_spool(&self, system: &FilamentSystem) -> Option<u32> {
        system.active.map_or(self.loose_spool, |slot| self.spool(slot))
    }

    /// Slots whose spool is gone or was exchanged: empty, or with another tag. They are forgotten.
    pub fn forget_removed(&mut self, system: &FilamentSystem) -> Vec<SlotId> {
        let mut gone = Vec::new();
        for slot in system.slots() {
            let Some(assigned) = self.spools.get(&slot.id) else { continue };
            let tag = slot.filament.as_ref().and_then(|filament| filament.spool_uid.as_ref());
            let other = matches!((&assigned.tag, tag), (Some(before), Some(now)) if before != now);
            if other || slot.present == Some(false) {
                gone.push(slot.id);
            }
        }
        for slot in &gone {
            self.spools.remove(slot);
        }
        gone
    }

    /// Takes a whole map, as dialogs send it that show every tool. Where the rest is left to the match, only what
    /// differs from the shown map was chosen.
    pub fn choose_map(&mut self, slots: &[SlotId], system: &FilamentSystem) {
        let matched = self.automap.take_if(|automap| *automap).is_some();
        for (tool, slot) in slots.iter().copied().enumerate().take(MAX_TOOLS) {
            if !matched || self.slot_of_tool(tool, system) != Some(slot) {
                self.tools.insert(tool, slot);
            }
        }
    }

    /// Leaves everything to the match again.
    pub fn reset_map(&mut self) {
        self.tools.clear();
        self.automap = None;
    }

    /// For the start of a job: a slot for each tool up to the highest that the user chose, for all that the map shows
    /// where nothing is to be matched; `None` where nothing was chosen at all.
    pub fn mapping(&self, system: &FilamentSystem) -> Option<Vec<Option<SlotId>>> {
        if self.automap == Some(false) {
            let tools = system.slots().count().max(self.tools.keys().next_back().map_or(0, |last| last + 1));
            return Some((0..tools.min(MAX_TOOLS)).map(|tool| self.slot_of_tool(tool, system)).collect());
        }
        let last = *self.tools.keys().next_back()?;
        Some((0..=last.min(MAX_TOOLS)).map(|tool| self.tools.get(&tool).copied()).collect())
    }

    /// The slot that a tool means: of the running job, else chosen for the next, else the slot of that number.
    pub fn slot_of_tool(&self, tool: usize, system: &FilamentSystem) -> Option<SlotId> {
        let chosen = if self.running.is_empty() { &self.tools } else { &self.running };
        let known = chosen.get(&tool).copied().filter(|slot| system.slot(*slot).is_some());
        known.or_else(|| system.slots().nth(tool).map(|slot| slot.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Filament, Slot};

    fn external(number: u8, tag: Option<&str>) -> Slot {
        let filament = Filament { spool_uid: tag.map(str::to_owned), ..Filament::default() };
        Slot { present: Some(true), filament: Some(filament), ..Slot::empty(SlotId::External(number)) }
    }

    #[test]
    fn a_spool_is_in_one_slot_and_goes_with_its_tag() {
        let mut choices = Choices::default();
        choices.assign(SlotId::External(0), Some(3), Some("A".into()));
        choices.assign(SlotId::External(1), Some(3), None);
        assert_eq!((choices.spool(SlotId::External(0)), choices.spool(SlotId::External(1))), (None, Some(3)));
        choices.assign(SlotId::External(0), Some(4), Some("A".into()));
        let mut system = FilamentSystem {
            external: vec![external(0, Some("A")), external(1, None)],
            ..Default::default()
        };
        assert!(choices.forget_removed(&system).is_empty());
        system.external[0] = external(0, Some("B"));
        system.external[1].present = Some(false);
        assert_eq!(choices.forget_removed(&system), [SlotId::External(0), SlotId::External(1)]);
        assert_eq!(choices.spool(SlotId::External(0)), None);
    }

    #[test]
    fn tools_mean_slots() {
        let mut choices = Choices::default();
        let system =
            FilamentSystem { external: vec![external(0, None), external(1, None)], ..Default::default() };
        assert_eq!(choices.mapping(&system), None);
        assert_eq!(choices.slot_of_tool(1, &system), Some(SlotId::External(1)));
        choices.tools.insert(1, SlotId::External(0));
        assert_eq!(choices.mapping(&system), Some(vec![None, Some(SlotId::External(0))]));
        assert_eq!(choices.slot_of_tool(1, &system), Some(SlotId::External(0)));
        assert_eq!(choices.slot_of_tool(2, &system), None);
    }

    #[test]
    fn a_dialogs_map_is_what_it_shows_or_what_was_changed_in_it() {
        let three = (0..3).map(|number| external(number, None)).collect();
        let system = FilamentSystem { external: three, ..Default::default() };
        let slots = |numbers: [u8; 3]| numbers.map(SlotId::External);
        let some = |number: u8| Some(SlotId::External(number));
        // From a macro: all of it.
        let mut choices = Choices::default();
        choices.choose_map(&slots([0, 2, 1]), &system);
        assert_eq!(choices.mapping(&system), Some(vec![some(0), some(2), some(1)]));
        // From a dialog that leaves the rest to the match: the difference.
        let mut choices = Choices { automap: Some(true), ..Choices::default() };
        choices.choose_map(&slots([0, 1, 2]), &system);
        assert_eq!(choices.mapping(&system), None);
        choices.automap = Some(true);
        choices.choose_map(&slots([0, 2, 2]), &system);
        assert_eq!(choices.mapping(&system), Some(vec![None, some(2)]));
        // Without a match the map is printed as it is shown, for every tool.
        choices.automap = Some(false);
        assert_eq!(choices.mapping(&system), Some(vec![some(0), some(2), some(2)]));
        choices.reset_map();
        assert_eq!(choices.mapping(&system), None);
    }
}
