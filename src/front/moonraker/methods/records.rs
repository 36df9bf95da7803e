//! How much the records of a printer's clients may take. The store holds all of them in memory too, so a client that writes
//! for ever would take first that and then the disk.

use super::super::Endpoint;
use super::super::error::RpcError;
use super::{backups, database};

/// Bytes of all namespaces of a printer and their backups. A Mainsail in which everything is set has a few hundred
/// kilobytes.
pub const MOST: usize = 32 << 20;
/// What the tables of the store take beside key and text of a record, so that many small ones have an end too.
const BESIDE: usize = 128;

/// Held while a record is read, changed and written; knows what all of them take.
#[derive(Debug, Default)]
pub struct Records {
    /// Bytes; `None` until they are counted.
    taken: Option<usize>,
}

impl Records {
    /// Takes a record into account whose JSON text had `old` bytes, if it was there, and now has `new`, if it stays.
    ///
    /// # Errors
    /// 507 where it would grow beyond [`MOST`]: nothing is counted then, and the record must not be written.
    pub fn account(
        &mut self,
        endpoint: &Endpoint,
        key: &str,
        old: Option<usize>,
        new: Option<usize>,
    ) -> Result<(), RpcError> {
        let whole = |text: Option<usize>| text.map_or(0, |bytes| bytes + key.len() + BESIDE);
        let before = match self.taken {
            Some(taken) => taken,
            None => count(endpoint)?,
        };
        let after = before.saturating_sub(whole(old)) + whole(new);
        if after > MOST && after > before {
            return Err(RpcError::new(
                507,
                format!(
                    "The records that clients keep for this printer would take more than {} MiB with their backups: delete backups (server.database.delete_backup) or records (server.database.delete_item) and try again.",
                    MOST >> 20
                ),
            ));
        }
        self.taken = Some(after);
        Ok(())
    }

    /// Many records have changed: they are counted anew before the next one is written.
    pub fn forget(&mut self) {
        self.taken = None;
    }
}

fn count(endpoint: &Endpoint) -> Result<usize, RpcError> {
    let (store, prefix, backups) =
        (&endpoint.station.store, database::space_prefix(endpoint), backups::space(endpoint));
    let spaces = store.spaces()?;
    let mut taken = 0;
    for space in spaces.iter().filter(|space| space.starts_with(&prefix) || **space == backups) {
        taken += store.texts(space)?.iter().map(|(key, text)| key.len() + text.len() + BESIDE).sum::<usize>();
    }
    Ok(taken)
}
