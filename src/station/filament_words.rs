//! Words about filament that need what the gateway keeps: the selected slot, the tool map, the spools.

use super::Station;
use super::script::{Reply, note, send};
use crate::gcode::translate::FilamentWord;
use crate::model::{Command, CommandError, SlotId};

/// Does them in order.
///
/// # Errors
/// The first refusal; what was done before it stays done.
pub async fn run(
    station: &Station,
    words: Vec<FilamentWord>,
    reply: &mut (dyn FnMut(Reply) + Send),
) -> Result<(), CommandError> {
    for word in words {
        if let Some(command) = apply(station, word, reply)? {
            note(send(station, command).await?, reply);
        }
    }
    Ok(())
}

/// What is left to be sent to the printer.
fn apply(
    station: &Station,
    word: FilamentWord,
    reply: &mut (dyn FnMut(Reply) + Send),
) -> Result<Option<Command>, CommandError> {
    let book = station.jobs.filament();
    let invalid = |text: String| CommandError::Invalid(text);
    let of_tool = |tool: usize| {
        let state = station.printer.state();
        let slot = book.choices().slot_of_tool(tool, &state.device.filament);
        slot.ok_or_else(|| CommandError::Invalid(format!("There is no filament slot for tool T{tool}.")))
    };
    let selected =
        || selected(station).ok_or_else(|| invalid("Select a gate first: MMU_SELECT GATE=.".to_owned()));
    match word {
        FilamentWord::Send(command) => return Ok(Some(command)),
        FilamentWord::LoadSelected => return Ok(Some(Command::LoadFilament(selected()?))),
        FilamentWord::CheckSelected => {
            let slot = selected()?;
            if station.printer.state().device.filament.active != Some(slot) {
                return Ok(Some(Command::ReadTag(slot)));
            }
            reply(Reply::Info(format!("Slot {slot} feeds the tool: its tag is read when it is unloaded.")));
        }
        FilamentWord::ChangeTool(tool) => {
            let slot = of_tool(tool)?;
            let there = station.printer.state().device.filament.active == Some(slot);
            return Ok((!there).then_some(Command::LoadFilament(slot)));
        }
        FilamentWord::SelectTool(tool) => book.select(of_tool(tool)?),
        FilamentWord::Select(slot) => book.select(slot),
        FilamentWord::MapTools(tools) => book.map_tools(tools),
        FilamentWord::Map(slots) => book.map_all(&slots),
        FilamentWord::ResetMap => book.reset_tools(),
        FilamentWord::Automap(on) => book.automap(on),
        FilamentWord::Stats => stats(station, reply),
        FilamentWord::Tell(text) => reply(Reply::Info(text)),
        FilamentWord::Spool { slot, spool } => book.assign_spool(slot, spool),
        FilamentWord::RefreshSpools if book.inventory().is_some() => book.refresh_inventory(),
        FilamentWord::RefreshSpools => reply(Reply::Info("No Spoolman server is configured.".to_owned())),
        FilamentWord::CreateSpool(slot) => book.create_spool(slot).map_err(invalid)?,
    }
    Ok(None)
}

/// What each slot has fed, by the account of finished jobs.
fn stats(station: &Station, reply: &mut (dyn FnMut(Reply) + Send)) {
    let totals = station.jobs.filament().totals();
    if totals.is_empty() {
        reply(Reply::Info("No job has been accounted for yet.".to_owned()));
    }
    for (slot, grams) in totals {
        reply(Reply::Info(format!("Slot {slot}: {grams:.1} g, by the sliced weights.")));
    }
}

/// The gate that was selected, else the one that feeds.
fn selected(station: &Station) -> Option<SlotId> {
    let state = station.printer.state();
    let system = &state.device.filament;
    let chosen = station.jobs.filament().choices().selected.filter(|slot| system.slot(*slot).is_some());
    chosen.or(system.active)
}
