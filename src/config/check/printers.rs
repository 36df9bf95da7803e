//! `[[printer]]`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::secret;
use crate::config::reader::{Mistakes, Section};
use crate::config::{
    Environment, GatewayConfig, Kind, MOONRAKER_PORT, PortConfig, PrinterConfig, PtyConfig, SerialStop,
    StreamedPrints,
};
use crate::model::text::nearest;
use crate::secret::Secret;

/// Longest printer name: it becomes a file name and a path segment.
const NAME_MAX: usize = 32;
/// Words that are paths of the gateway itself.
const NAMES_TAKEN: [&str; 2] = ["printers", "static"];

/// Keys that the drivers of other kinds never see.
const OF_SOME_KINDS: [(&str, &[Kind]); 13] = [
    ("access_code", &[Kind::Bambu, Kind::ElegooCc2]),
    ("access_code_file", &[Kind::Bambu, Kind::ElegooCc2]),
    ("access_code_env", &[Kind::Bambu, Kind::ElegooCc2]),
    ("model", &[Kind::Bambu]),
    ("add_header_comments", &[Kind::ElegooCc1]),
    ("jobs_on_usb", &[Kind::ElegooCc2]),
    ("mqtt_port", &[Kind::Bambu, Kind::ElegooCc2]),
    ("ftps_port", &[Kind::Bambu]),
    ("detect_port", &[Kind::Bambu]),
    ("rtsp_port", &[Kind::Bambu]),
    ("websocket_port", &[Kind::ElegooCc1]),
    ("http_port", &[Kind::ElegooCc1, Kind::ElegooCc2]),
    ("discovery_port", &[Kind::ElegooCc1, Kind::ElegooCc2]),
];

pub fn printers(
    root: &DeTable<'_>,
    gateway: &GatewayConfig,
    environment: &Environment,
    warnings: &mut Vec<String>,
    mistakes: &mut Mistakes<'_>,
) -> Vec<PrinterConfig> {
    let Some((_, value)) = root.iter().find(|(key, _)| key.get_ref().as_ref() == "printer") else {
        mistakes.at(0..0, "no printer is configured: add a [[printer]] table with name, kind and host.");
        return Vec::new();
    };
    let Some(list) = value.get_ref().as_array() else {
        mistakes.at(
            value.span(),
            "printer must be written [[printer]], with two brackets: there can be several.",
        );
        return Vec::new();
    };
    let mut taken = Taken::new(gateway.port);
    list.iter().filter_map(|item| printer(item, &mut taken, environment, warnings, mistakes)).collect()
}

/// Names and ports that are given away already.
struct Taken {
    names: Vec<String>,
    ports: BTreeMap<u16, String>,
    next_port: u16,
}

impl Taken {
    fn new(gateway_port: u16) -> Self {
        Self {
            names: Vec::new(),
            ports: BTreeMap::from([(gateway_port, "the gateway itself".to_owned())]),
            next_port: MOONRAKER_PORT,
        }
    }

    fn port(
        &mut self,
        wanted: Option<u16>,
        name: &str,
        place: Range<usize>,
        mistakes: &mut Mistakes<'_>,
    ) -> u16 {
        let port = wanted.unwrap_or_else(|| {
            while self.ports.contains_key(&self.next_port) {
                self.next_port = self.next_port.saturating_add(1);
            }
            self.next_port
        });
        if let Some(owner) = self.ports.insert(port, format!("printer \"{name}\"")) {
            mistakes.at(place, format!("moonraker_port {port} belongs to {owner} already."));
        }
        port
    }
}

fn printer(
    item: &Spanned<DeValue<'_>>,
    taken: &mut Taken,
    environment: &Environment,
    warnings: &mut Vec<String>,
    mistakes: &mut Mistakes<'_>,
) -> Option<PrinterConfig> {
    let Some(table) = item.get_ref().as_table() else {
        mistakes.at(item.span(), "each printer must be a [[printer]] table.");
        return None;
    };
    let mut table = Section::new("[[printer]]", table, item.span());
    let name = table.required(mistakes, "name", "give it a short name such as \"x1c\".");
    if let Some(name) = &name {
        check_name(name, &mut table, taken, mistakes);
    }
    let kind = kind(&mut table, mistakes);
    let host = host(&mut table, mistakes);
    // Bambu's serial numbers have capitals only; those of the others stand in topics as they are.
    let capitals =
        |serial: &str| if kind == Some(Kind::Bambu) { serial.to_uppercase() } else { serial.into() };
    let serial = table.text(mistakes, "serial", true).map(|serial| capitals(serial.trim()));
    let access_code = access_code(&mut table, environment, mistakes);
    if kind == Some(Kind::Bambu) {
        what_bambu_needs(serial.as_deref(), access_code.as_ref(), &mut table, mistakes);
    }
    let port_place = table.place("moonraker_port");
    let wanted_port = table.port(mistakes, "moonraker_port");
    let label = name.clone().unwrap_or_default();
    let config = PrinterConfig {
        title: table.text(mistakes, "title", false).unwrap_or_else(|| label.clone()),
        moonraker_port: taken.port(wanted_port, &label, port_place, mistakes),
        model: table.text(mistakes, "model", false),
        read_only: table.flag(mistakes, "read_only", false),
        allow_vendor_json: table.flag(mistakes, "allow_vendor_json", false),
        wrap_gcode: table.flag(mistakes, "wrap_gcode", true),
        bed: bed(&mut table, mistakes),
        add_header_comments: table.flag(mistakes, "add_header_comments", true),
        jobs_on_usb: table.flag(mistakes, "jobs_on_usb", false),
        streamed_prints: streamed_prints(&mut table, mistakes),
        timelapse: table.flag(mistakes, "timelapse", false),
        pty: pty(&mut table, mistakes),
        ports: ports(&mut table, mistakes),
        name: label,
        kind: kind.unwrap_or(Kind::Bambu),
        host: host.unwrap_or_default(),
        serial: serial.filter(|serial| !serial.is_empty()),
        access_code,
    };
    for (key, kinds) in OF_SOME_KINDS {
        if kind.is_some_and(|kind| !kinds.contains(&kind)) && table.has(key) {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            warnings.push(format!(
                "{key} of {} does nothing: it is for {} only. Take it out, or correct kind.",
                config.name,
                kinds.join(" and ")
            ));
        }
    }
    table.finish(mistakes);
    Some(config)
}

fn host(table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let host = table.required(mistakes, "host", "the printer's address or host name.")?;
    let wrong = if is_mistyped_address(&host) {
        Some("is no address: four numbers from 0 to 255, such as 192.168.1.50.")
    } else if is_host(&host) {
        None
    } else {
        Some("must be a bare address or name, without http://, port and path.")
    };
    if let Some(wrong) = wrong {
        mistakes.at(table.place("host"), format!("host \"{host}\" {wrong}"));
    }
    Some(host)
}

/// A Bambu printer is asked by its serial number and lets nobody in without the code.
fn what_bambu_needs(
    serial: Option<&str>,
    access_code: Option<&Secret>,
    table: &mut Section<'_, '_>,
    mistakes: &mut Mistakes<'_>,
) {
    let span = table.span();
    if serial.unwrap_or("").is_empty() {
        mistakes.at(span.clone(), "[[printer]] lacks serial: a Bambu printer shows it under Settings > Device; `moongate discover` lists it.");
    }
    if access_code.is_none() && !table.has("access_code_file") && !table.has("access_code_env") {
        mistakes.at(span, "[[printer]] lacks access_code: the printer shows it under Settings > Network (LAN). access_code_file or access_code_env keep it out of this file.");
    }
}

/// A name, or an address without brackets; colons are those of IPv6, with or without `%interface`.
fn is_host(host: &str) -> bool {
    let address = host.split('%').next().unwrap_or(host);
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | '@' | '[' | ']');
    host.chars().all(plain) && (!host.contains(':') || address.parse::<Ipv6Addr>().is_ok())
}

/// No name is of digits and dots only (RFC 1123, 2.1: the last label begins with a letter).
fn is_mistyped_address(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    !host.is_empty() && host.chars().all(plain) && host.parse::<Ipv4Addr>().is_err()
}

fn bed(table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let place = table.place("bed");
    let bed = table.text(mistakes, "bed", false)?;
    if crate::metadata::bed_key(&bed).is_none() {
        mistakes.at(
            place,
            format!("bed \"{bed}\" is no known build plate: write it as the slicer does, e.g. \"Textured PEI Plate\"."),
        );
    }
    Some(bed)
}

fn check_name(name: &str, table: &mut Section<'_, '_>, taken: &mut Taken, mistakes: &mut Mistakes<'_>) {
    let place = table.place("name");
    let clean = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !clean || name.len() > NAME_MAX || name.starts_with('-') || NAMES_TAKEN.contains(&name) {
        mistakes.at(
            place,
            format!("name \"{name}\" must be 1 to {NAME_MAX} lower-case letters, digits and dashes (use title for the name people read)."),
        );
    } else if taken.names.iter().any(|other| other == name) {
        mistakes.at(place, format!("two printers are called \"{name}\"; give each a name of its own."));
    }
    taken.names.push(name.to_owned());
}

fn kind(table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<Kind> {
    let names = Kind::ALL.map(Kind::name);
    let why = format!("one of {}.", names.join(", "));
    let text = table.required(mistakes, "kind", &why)?;
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    if found.is_none() {
        let place = table.place("kind");
        let hint = nearest(&text, names).map_or(why, |near| format!("did you mean \"{near}\"?"));
        mistakes.at(place, format!("unknown kind \"{text}\"; {hint}"));
    }
    found
}

/// By file (preferred), by environment variable, or inline.
fn access_code(
    table: &mut Section<'_, '_>,
    environment: &Environment,
    mistakes: &mut Mistakes<'_>,
) -> Option<Secret> {
    let inline = table.text(mistakes, "access_code", true);
    let given = [inline.is_some(), table.has("access_code_file"), table.has("access_code_env")];
    if given.into_iter().filter(|given| *given).count() > 1 {
        let span = table.span();
        mistakes.at(span, "give only one of access_code, access_code_file and access_code_env.");
    }
    let kept_apart = secret(table, ["access_code_file", "access_code_env"], environment, mistakes);
    kept_apart.or(inline).filter(|text| !text.is_empty()).map(Secret::new)
}

fn streamed_prints(table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> StreamedPrints {
    match table.text(mistakes, "streamed_prints", false).as_deref() {
        None | Some("assemble") => StreamedPrints::Assemble,
        Some("refuse") => StreamedPrints::Refuse,
        Some(other) => {
            let place = table.place("streamed_prints");
            mistakes
                .at(place, format!("streamed_prints must be \"assemble\" or \"refuse\", not \"{other}\"."));
            StreamedPrints::Refuse
        }
    }
}

fn pty(table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> PtyConfig {
    let mode = table.text(mistakes, "pty_mode", true);
    let parsed = mode.as_deref().map(|text| u32::from_str_radix(text.trim_start_matches("0o"), 8));
    if matches!(parsed, Some(Err(_)) | Some(Ok(0o1000..))) {
        let place = table.place("pty_mode");
        mistakes.at(place, "pty_mode must be permission bits in octal, e.g. \"660\".");
    }
    PtyConfig {
        enabled: table.flag(mistakes, "pty", true),
        mode: parsed.and_then(Result::ok),
        owner: table.text(mistakes, "pty_owner", false),
        group: table.text(mistakes, "pty_group", false),
        emergency_stop: serial_stop(table, mistakes),
    }
}

fn serial_stop(table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> SerialStop {
    match table.text(mistakes, "pty_m112", false).as_deref() {
        None | Some("stop") => SerialStop::Stop,
        Some("cancel") => SerialStop::Cancel,
        Some("disconnect") => SerialStop::Disconnect,
        Some(other) => {
            let place = table.place("pty_m112");
            mistakes.at(
                place,
                format!("pty_m112 must be \"stop\", \"cancel\" or \"disconnect\", not \"{other}\"."),
            );
            SerialStop::Stop
        }
    }
}

fn ports(table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> PortConfig {
    PortConfig {
        mqtt: table.port(mistakes, "mqtt_port"),
        ftps: table.port(mistakes, "ftps_port"),
        detect: table.port(mistakes, "detect_port"),
        camera: table.port(mistakes, "camera_port"),
        rtsp: table.port(mistakes, "rtsp_port"),
        websocket: table.port(mistakes, "websocket_port"),
        http: table.port(mistakes, "http_port"),
        discovery: table.port(mistakes, "discovery_port"),
    }
}
