//! Finds what a job at the printer was made from, by what the printer says of it: jobs started at its own screen, or by
//! another program, say no more than names.

use super::Library;
use super::index::{FileRow, Index};
use super::names::{self, Content};
use crate::model::text::base_name;

/// What a printer tells of the job it prints.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobTraces {
    /// Title first, then the name of the file.
    pub names: Vec<String>,
    /// From 1.
    pub plate: Option<u32>,
    pub layers: Option<u32>,
}

impl Library {
    /// The path of the entry, as it is listed; of several the newest. A file whose layers are not those that the printer
    /// counts is another one of the same name.
    pub async fn entry_of_job(&self, traces: &JobTraces) -> Option<String> {
        self.ready().await;
        let names = traces.names.iter().map(|name| base_name(name)).filter(|name| !name.is_empty());
        names.clone().find_map(|name| newest(&self.index(), name, traces)).or_else(|| {
            let entries = self.remote_entries();
            let same = |name: &str| entries.iter().find(|entry| names::split(&entry.path).1 == name);
            names.clone().find_map(same).map(|entry| entry.path.clone())
        })
    }
}

fn newest(index: &Index, name: &str, traces: &JobTraces) -> Option<String> {
    let named = |path: &str| {
        let own = names::split(path).1;
        own == name || names::stem(own) == names::stem(name)
    };
    let found = index.rows().filter(|(path, _)| named(path));
    let found = found.filter_map(|(path, row)| Some((row.modified, listed(path, row, traces)?)));
    found.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, path)| path)
}

/// The path under which the plate that is printed is listed.
fn listed(path: &str, row: &FileRow, traces: &JobTraces) -> Option<String> {
    let metadata = row.metadata.as_ref()?;
    let plate = match (row.content, traces.plate, metadata.plates.as_slice()) {
        (Content::Gcode, _, plates) => plates.first(),
        (Content::Archive, Some(plate), _) => Some(metadata.plate(plate)?),
        (Content::Archive, None, [only]) => Some(only),
        _ => return None,
    };
    let counted = plate.and_then(|plate| plate.layer_count).or(metadata.layer_count);
    if let (Some(counted), Some(layers)) = (counted, traces.layers)
        && layers > 0
        && counted != layers
    {
        return None;
    }
    match (row.content, plate) {
        (Content::Archive, Some(plate)) => row.published.get(&plate.index).cloned(),
        _ => Some(path.to_owned()),
    }
}
