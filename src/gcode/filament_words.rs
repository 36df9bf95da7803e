//! Words about filament that need what the gateway keeps: the selected slot, the tool map, the spools.

use super::script::{Reply, note, send};
use super::translate::FilamentWord;
use crate::model::{Command, CommandError, SlotId};
use crate::station::Station;

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
        FilamentWord::CheckSelected => return Ok(Some(Command::ReadTag(selected()?))),
        FilamentWord::ChangeTool(tool) => return Ok(Some(Command::LoadFilament(of_tool(tool)?))),
        FilamentWord::SelectTool(tool) => book.select(of_tool(tool)?),
        FilamentWord::Select(slot) => book.select(slot),
        FilamentWord::MapTools(tools) => book.map_tools(tools),
        FilamentWord::ResetMap => book.reset_tools(),
        FilamentWord::Spool { slot, spool } => book.assign_spool(slot, spool),
        FilamentWord::RefreshSpools if book.inventory().is_some() => book.refresh_inventory(),
        FilamentWord::RefreshSpools => reply(Reply::Info("No Spoolman server is configured.".to_owned())),
        FilamentWord::CreateSpool(slot) => book.create_spool(slot).map_err(invalid)?,
    }
    Ok(None)
}

/// The gate that was selected, else the one that feeds.
fn selected(station: &Station) -> Option<SlotId> {
    let state = station.printer.state();
    let system = &state.device.filament;
    let chosen = station.jobs.filament().choices().selected.filter(|slot| system.slot(*slot).is_some());
    chosen.or(system.active)
}
