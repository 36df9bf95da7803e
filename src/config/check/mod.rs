//! From the tables of the file to a checked [`Config`].

mod access;
mod gateway;
mod printers;

use std::net::SocketAddr;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::reader::{Mistakes, Section};
use super::{Config, ConfigError, Environment, GatewayConfig, PrinterConfig};
use crate::model::text::nearest;
use access::access;
use gateway::{gateway, rtsp};
use printers::printers;

pub fn check(text: &str, environment: &Environment) -> Result<Config, ConfigError> {
    let mut mistakes = Mistakes::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // The parser's own Display echoes the source line, which may hold a secret; its bare message does not.
        // So an address or a name without quotes is reported.
        let bare = ["float", "must be quoted"].iter().any(|word| error.message().contains(word));
        let hint = if bare { " Texts stand in quotes: host = \"192.168.1.50\"." } else { "" };
        let place = error.span().unwrap_or(0..0);
        mistakes.at(place, format!("this is not TOML: {}.{hint}", error.message()));
    }
    if !errors.is_empty() {
        // What is missing or unknown in a text that was read in part is guesswork.
        return Err(ConfigError(mistakes.into_list()));
    }
    let root = document.get_ref();
    let mut warnings = Vec::new();
    let gateway = gateway(root, environment, &mut mistakes);
    let access = access(root, environment, &mut mistakes);
    let rtsp = rtsp(root, &mut mistakes);
    let printers = printers(root, &gateway, environment, &mut warnings, &mut mistakes);
    unknown_tables(root, &mut mistakes);
    match (rtsp, table_span(root, "rtsp")) {
        (Some(address), Some(span)) => rtsp_port(address, &gateway, &printers, span, &mut mistakes),
        (None, Some(_)) => warnings.push("[rtsp] without listen: the cameras are not served.".to_owned()),
        (_, None) => {}
    }
    if !gateway.listen.is_loopback() && access.trusted_clients.iter().any(|net| net.ends_with("/0")) {
        warnings.push("trusted_clients lets everybody in without credentials.".to_owned());
    }
    if access.api_key.is_none() && !access.trusts_this_machine() {
        warnings.push(
            "trusted_clients leaves out this machine: no command here can show the API key. Set api_key_file, or add \"127.0.0.0/8\"."
                .to_owned(),
        );
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
        let earlier = |same: &dyn Fn(&&PrinterConfig) -> bool| printers.iter().take(index).find(same);
        // One address may lead to several Bambu printers, as some bridges do: they differ in the serial number.
        let same = |other: &&PrinterConfig| {
            (other.kind, &other.host, &other.ports, &other.serial)
                == (printer.kind, &printer.host, &printer.ports, &printer.serial)
        };
        let same_serial = |other: &&PrinterConfig| {
            let both = other.serial.as_ref().zip(printer.serial.as_ref());
            other.kind == printer.kind && both.is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
        };
        if let Some(earlier) = earlier(&same) {
            told.push(format!(
                "{} and {} are at the same address {}: one table is enough, and printers take few connections.",
                earlier.name, printer.name, printer.host
            ));
        } else if let Some(earlier) = earlier(&same_serial) {
            told.push(format!(
                "{} and {} have the same serial number: correct one of them, or both lead to one printer.",
                earlier.name, printer.name
            ));
        }
    }
    told
}

/// Cameras cannot be served at a port that the gateway needs itself.
fn rtsp_port(
    address: SocketAddr,
    gateway: &GatewayConfig,
    printers: &[PrinterConfig],
    span: Range<usize>,
    mistakes: &mut Mistakes<'_>,
) {
    let meets = address.ip() == gateway.listen
        || (address.is_ipv4() == gateway.listen.is_ipv4()
            && (address.ip().is_unspecified() || gateway.listen.is_unspecified()));
    let port = address.port();
    let owner = if port == gateway.port {
        Some("the gateway itself".to_owned())
    } else {
        let owner = printers.iter().find(|printer| printer.moonraker_port == port);
        owner.map(|printer| format!("printer \"{}\"", printer.name))
    };
    if let Some(owner) = owner.filter(|_| meets) {
        mistakes.at(span, format!("listen in [rtsp]: port {port} belongs to {owner} already."));
    }
}

fn table_span(root: &DeTable<'_>, name: &str) -> Option<Range<usize>> {
    root.iter().find(|(key, _)| key.get_ref().as_ref() == name).map(|(_, value)| value.span())
}

/// A secret that lies in a file or in an environment variable; the keys that name them, in this order.
fn secret(
    table: &mut Section<'_, '_>,
    [file, variable]: [&'static str; 2],
    environment: &Environment,
    mistakes: &mut Mistakes<'_>,
) -> Option<String> {
    let (named_file, named_variable) =
        (table.text(mistakes, file, false), table.text(mistakes, variable, false));
    let (key, found) = match (named_file, named_variable) {
        (Some(named), _) => (
            file,
            match environment.secret_file(&named) {
                Ok(text) if text.is_empty() => Err(format!("{named} is empty")),
                found => found,
            },
        ),
        (None, Some(named)) => {
            let value = environment.get(&named).map(ToOwned::to_owned);
            (variable, value.ok_or_else(|| format!("the environment has no {named}")))
        }
        (None, None) => return None,
    };
    found.map_err(|reason| mistakes.at(table.place(key), format!("{key}: {reason}."))).ok()
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
