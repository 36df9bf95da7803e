//! From the tables of the file to a checked [`Config`].

mod access;
mod gateway;
mod printers;

use toml::de::{DeTable, DeValue};

use super::reader::{Mistakes, Section};
use super::{Config, ConfigError, Environment, PrinterConfig};
use crate::model::text::nearest;
use access::access;
use gateway::{gateway, rtsp};
use printers::printers;

pub fn check(text: &str, environment: &Environment) -> Result<Config, ConfigError> {
    let mut mistakes = Mistakes::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // The parser's own Display echoes the source line, which may hold a secret; its bare message does not.
        mistakes.at(error.span().unwrap_or(0..0), format!("this is not TOML: {}.", error.message()));
    }
    if !errors.is_empty() {
        // What is missing or unknown in a text that was read in part is guesswork.
        return Err(ConfigError(mistakes.into_list()));
    }
    let root = document.get_ref();
    let mut warnings = Vec::new();
    let gateway = gateway(root, environment, &mut mistakes);
    let access = access(root, &mut mistakes);
    let rtsp = rtsp(root, &mut mistakes);
    let printers = printers(root, &gateway, environment, &mut mistakes);
    unknown_tables(root, &mut mistakes);
    if !gateway.listen.is_loopback() && access.trusted_clients.iter().any(|net| net.ends_with("/0")) {
        warnings.push("trusted_clients lets everybody in without credentials.".to_owned());
    }
    warnings.extend(same_printer(&printers));
    let list = mistakes.into_list();
    if list.is_empty() {
        Ok(Config { gateway, access, rtsp, printers, warnings })
    } else {
        Err(ConfigError(list))
    }
}

/// Tables that lead to one and the same printer: it would get a connection from each.
fn same_printer(printers: &[PrinterConfig]) -> Vec<String> {
    let mut told = Vec::new();
    for (index, printer) in printers.iter().enumerate() {
        // One address may lead to several Bambu printers, as some bridges do: they differ in the serial number.
        let same = |other: &&PrinterConfig| {
            (other.kind, &other.host, &other.ports, &other.serial)
                == (printer.kind, &printer.host, &printer.ports, &printer.serial)
        };
        if let Some(earlier) = printers.iter().take(index).find(same) {
            told.push(format!(
                "{} and {} are at the same address {}: one table is enough, and printers take few connections.",
                earlier.name, printer.name, printer.host
            ));
        }
    }
    told
}

/// A `[table]` of the document, absent or of the wrong kind as it may be.
fn section<'s, 't>(
    root: &'s DeTable<'t>,
    name: &'static str,
    mistakes: &mut Mistakes<'_>,
) -> Section<'s, 't> {
    let key = name.trim_matches(['[', ']']);
    let Some((_, value)) = root.iter().find(|(k, _)| k.get_ref().as_ref() == key) else {
        return Section::missing(name);
    };
    match value.get_ref() {
        DeValue::Table(table) => Section::new(name, table, value.span()),
        _ => {
            mistakes.at(value.span(), format!("{key} must be a table: write {name} on a line of its own."));
            Section::missing(name)
        }
    }
}

fn unknown_tables(root: &DeTable<'_>, mistakes: &mut Mistakes<'_>) {
    const KNOWN: [&str; 4] = ["gateway", "access", "rtsp", "printer"];
    for (key, _) in root {
        let name = key.get_ref().as_ref();
        if !KNOWN.contains(&name) {
            let hint = nearest(name, KNOWN).map_or_else(
                || "known are [gateway], [access], [rtsp] and [[printer]].".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            mistakes.at(key.span(), format!("unknown key \"{name}\"; {hint}"));
        }
    }
}
