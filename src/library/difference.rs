//! What is told when the printer's storage is listed anew (pure).
//!
//! Files that come and go are told one by one. Many of them are not: the folder `printer` is told to be gone and to be
//! new, and whoever shows it reads it again. So is the first listing, which may come while a client reads the folder
//! itself, and one with other folders: Mainsail shows a folder twice that it has read before it is told of it, and puts
//! what is in a folder that it does not know yet into the one above (mainsail `store/files`, 2.18.2).

use std::collections::BTreeMap;

use super::index::event;
use super::listing::Listed;
use super::names;
use super::{Entry, EntryKind, LibraryAction, LibraryEvent};

/// Changes that are told one by one.
const MOST: usize = 32;

/// How the new listing came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The printer told its files for the first time.
    First,
    /// The printer was asked again.
    Listed,
    /// The gateway changed the storage itself and knows what it did.
    Ours,
}

/// The events for the step from one listing to the next; `folder` is `printer` itself.
pub fn told(
    old: &BTreeMap<String, Listed>,
    new: &BTreeMap<String, Listed>,
    news: News,
    folder: Option<Entry>,
) -> Vec<LibraryEvent> {
    let with = |listed: &Listed| is_directory(&listed.entry);
    // What was in a folder goes with it.
    let left = |path: &str| {
        old.get(names::split(path).0).is_some_and(with) && !new.contains_key(names::split(path).0)
    };
    let gone = old.iter().filter(|(path, _)| !new.contains_key(*path) && !left(path)).map(|(_, listed)| {
        let action = if with(listed) { LibraryAction::DeleteDirectory } else { LibraryAction::DeleteFile };
        event(action, without_facts(&listed.entry))
    });
    let come = new.iter().filter(|(path, listed)| match old.get(*path) {
        Some(known) => known != *listed && !(with(known) && with(listed)),
        None => true,
    });
    let come = come.map(|(_, listed)| {
        let action = if with(listed) { LibraryAction::CreateDirectory } else { LibraryAction::CreateFile };
        event(action, listed.entry.clone())
    });
    let one_by_one: Vec<LibraryEvent> = gone.chain(come).collect();
    let folders = || one_by_one.iter().any(|event| is_directory(&event.entry));
    let anew = match news {
        News::First => !one_by_one.is_empty(),
        News::Listed => one_by_one.len() > MOST || folders(),
        News::Ours => one_by_one.len() > MOST,
    };
    match folder.filter(|_| anew) {
        Some(folder) => vec![
            event(LibraryAction::DeleteDirectory, without_facts(&folder)),
            event(LibraryAction::CreateDirectory, folder),
        ],
        None => one_by_one,
    }
}

fn is_directory(entry: &Entry) -> bool {
    entry.kind == EntryKind::Directory
}

fn without_facts(entry: &Entry) -> Entry {
    Entry { size: 0, modified: 0.0, ..entry.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::listing::view;
    use super::*;
    use crate::model::FileCaps;
    use crate::printer::RemoteFile;

    type Listing = BTreeMap<String, Listed>;

    /// A listing of these paths; those that end in a slash are folders.
    fn listing(paths: &[&str], modified: f64) -> Listing {
        let file = |path: &&str| RemoteFile {
            path: path.trim_end_matches('/').to_owned(),
            size: 5,
            directory: path.ends_with('/'),
            modified: Some(modified),
        };
        let files: Vec<RemoteFile> = paths.iter().map(file).collect();
        view(&files, &FileCaps { gcode: true, ..FileCaps::default() }, 0.0)
    }

    fn folder() -> Option<Entry> {
        let path = names::PRINTER.to_owned();
        Some(Entry { path, kind: EntryKind::Directory, size: 0, modified: 7.0, on_printer: true })
    }

    fn steps(old: &Listing, new: &Listing, news: News) -> Vec<String> {
        let told = told(old, new, news, folder());
        told.iter().map(|event| format!("{:?} {}", event.action, event.entry.path)).collect()
    }

    const ANEW: [&str; 2] = ["DeleteDirectory printer", "CreateDirectory printer"];

    #[test]
    fn files_are_told_one_by_one_and_much_as_a_whole() {
        let (none, some) = (listing(&[], 1.0), listing(&["a.gcode", "b.gcode"], 1.0));
        assert_eq!(steps(&none, &some, News::First), ANEW);
        assert_eq!(steps(&none, &none, News::First), [""; 0], "an empty storage is no news");
        assert_eq!(steps(&some, &some, News::Listed), [""; 0]);
        let other = listing(&["b.gcode", "c.gcode"], 1.0);
        assert_eq!(
            steps(&some, &other, News::Listed),
            ["DeleteFile printer/a.gcode", "CreateFile printer/c.gcode"]
        );
        let newer = listing(&["a.gcode", "b.gcode"], 2.0);
        assert_eq!(steps(&some, &newer, News::Listed).len(), 2, "other content");
        let names: Vec<String> = (0..40).map(|n| format!("{n}.gcode")).collect();
        let many = listing(&names.iter().map(String::as_str).collect::<Vec<_>>(), 1.0);
        for news in [News::Listed, News::Ours] {
            assert_eq!(steps(&none, &many, news), ANEW);
            assert_eq!(steps(&many, &none, news), ANEW);
        }
    }

    #[test]
    fn other_folders_of_the_printer_are_told_as_a_whole_ours_by_themselves() {
        let plain = listing(&["a.gcode"], 1.0);
        let deep = listing(&["a.gcode", "f/", "f/b.gcode"], 1.0);
        assert_eq!(steps(&plain, &deep, News::Listed), ANEW);
        assert_eq!(
            steps(&plain, &deep, News::Ours),
            ["CreateDirectory printer/f", "CreateFile printer/f/b.gcode"]
        );
        assert_eq!(
            steps(&deep, &plain, News::Ours),
            ["DeleteDirectory printer/f"],
            "what was in it goes with it"
        );
        let later = listing(&["f/"], 2.0);
        assert_eq!(steps(&listing(&["f/"], 1.0), &later, News::Listed), [""; 0], "a folder's age is no news");
    }
}
