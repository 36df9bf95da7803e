//! From the tables of the file to a checked [`Config`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{Mistakes, Section};
use super::{
    AccessConfig, Config, ConfigError, Environment, GATEWAY_PORT, GatewayConfig, Kind, MOONRAKER_PORT,
    PortConfig, PrinterConfig, PtyConfig, RTSP_PORT, SerialStop, StreamedPrints, Tls,
};
use crate::access::Role;
use crate::model::text::nearest;
use crate::secret::Secret;

/// Longest printer name: it becomes a file name and a path segment.
const NAME_MAX: usize = 32;
/// Words that are paths of the gateway itself.
const NAMES_TAKEN: [&str; 2] = ["printers", "static"];

pub fn check(text: &str, environment: &Environment) -> Result<Config, ConfigError> {
    let mut mistakes = Mistakes::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        // The parser's own Display echoes the source line, which may hold a secret; its bare message does not.
        mistakes.at(error.span().unwrap_or(0..0), format!("this is not TOML: {}.", error.message()));
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
    let list = mistakes.into_list();
    if list.is_empty() {
        Ok(Config { gateway, access, rtsp, printers, warnings })
    } else {
        Err(ConfigError(list))
    }
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

fn gateway(root: &DeTable<'_>, environment: &Environment, mistakes: &mut Mistakes<'_>) -> GatewayConfig {
    let mut table = section(root, "[gateway]", mistakes);
    let listen = match table.text(mistakes, "listen", false) {
        None => IpAddr::from([127, 0, 0, 1]),
        Some(text) => text.parse().unwrap_or_else(|_| {
            let place = table.place("listen");
            mistakes.at(place, "listen in [gateway] must be an address: 127.0.0.1 (only this machine), 0.0.0.0 (the network) or ::.");
            IpAddr::from([127, 0, 0, 1])
        }),
    };
    let web_root = table.text(mistakes, "web_root", false).map(PathBuf::from);
    if let Some(folder) = web_root.as_ref().filter(|folder| !folder.join("index.html").is_file()) {
        let place = table.place("web_root");
        mistakes.at(
            place,
            format!(
                "web_root {} has no index.html: name the folder of a built Mainsail or Fluidd.",
                folder.display()
            ),
        );
    }
    let spoolman = table.text(mistakes, "spoolman", false);
    if let Some(url) = spoolman.as_deref().filter(|url| !is_server(url)) {
        let place = table.place("spoolman");
        mistakes.at(
            place,
            format!("spoolman \"{url}\" must be the server's address, such as http://192.168.1.5:7912."),
        );
    }
    let path = |table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>, key| {
        table.text(mistakes, key, false).map(PathBuf::from)
    };
    let config = GatewayConfig {
        listen,
        port: table.port(mistakes, "port").unwrap_or(GATEWAY_PORT),
        state_dir: path(&mut table, mistakes, "state_dir").unwrap_or_else(|| environment.state_dir()),
        runtime_dir: path(&mut table, mistakes, "runtime_dir").unwrap_or_else(|| environment.runtime_dir()),
        tls: tls(&mut table, mistakes),
        web_root,
        spoolman,
        announce: table.flag(mistakes, "announce", false),
        max_upload: table.number(mistakes, "max_upload_mb", 1..=1 << 20).unwrap_or(2048) << 20,
        min_free: table.number(mistakes, "min_free_mb", 0..=1 << 30).unwrap_or(200) << 20,
    };
    table.finish(mistakes);
    config
}

fn tls(table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Tls {
    let mode = table.text(mistakes, "tls", false);
    let certificate = table.text(mistakes, "tls_cert", false).map(PathBuf::from);
    let key = table.text(mistakes, "tls_key", false).map(PathBuf::from);
    match (mode.as_deref(), certificate, key) {
        (None | Some("off"), None, None) => Tls::Off,
        (Some("self-signed"), None, None) => Tls::SelfSigned,
        (None, Some(certificate), Some(key)) => Tls::Files { certificate, key },
        (None, _, _) => {
            let span = table.span();
            mistakes.at(span, "tls_cert and tls_key in [gateway] go together: name both files.");
            Tls::Off
        }
        (Some(_), _, _) => {
            let place = table.place("tls");
            mistakes.at(place, "tls in [gateway] must be \"self-signed\" or \"off\"; a certificate of your own is named by tls_cert and tls_key instead.");
            Tls::Off
        }
    }
}

/// Where recorders find the cameras.
fn rtsp(root: &DeTable<'_>, mistakes: &mut Mistakes<'_>) -> Option<SocketAddr> {
    let mut table = section(root, "[rtsp]", mistakes);
    let text = table.text(mistakes, "listen", false);
    let listen = text.as_deref().and_then(|text| {
        let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, RTSP_PORT));
        address.ok().or_else(|| text.parse().ok())
    });
    if text.is_some() && listen.is_none() {
        let place = table.place("listen");
        mistakes.at(place, "listen in [rtsp] must be an address and a port, such as \"127.0.0.1:8554\" (only this machine) or \"0.0.0.0:8554\" (the network).");
    }
    table.finish(mistakes);
    listen
}

/// `http://host[:port]`, with a path below which the server is mounted or without.
fn is_server(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    !authority.is_empty() && !url.contains(['?', '#', '@']) && !url.chars().any(char::is_whitespace)
}

/// Networks that real installations trust (moonraker.md 2.3).
const TRUSTED: [&str; 8] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fe80::/10",
    "fc00::/7",
];
/// Where reverse proxies usually run: on this machine.
const PROXIES: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// Origins that may use the API: names of the LAN, and the hosted front ends (moonraker.md 2.4).
const ORIGINS: [&str; 8] = [
    "http://localhost",
    "http://localhost:*",
    "http://*.local",
    "http://*.local:*",
    "http://*.lan",
    "http://*.lan:*",
    "*://my.mainsail.xyz",
    "*://app.fluidd.xyz",
];

fn access(root: &DeTable<'_>, mistakes: &mut Mistakes<'_>) -> AccessConfig {
    let mut table = section(root, "[access]", mistakes);
    let defaults = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let networks = |table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>, key| {
        let list = table.texts(mistakes, key)?;
        let place = table.place(key);
        for wrong in list.iter().filter(|text| !is_network(text)) {
            mistakes.at(
                place.clone(),
                format!("\"{wrong}\" in {key} is no address or network such as 192.168.1.0/24."),
            );
        }
        Some(list)
    };
    let config = AccessConfig {
        trusted_clients: networks(&mut table, mistakes, "trusted_clients")
            .unwrap_or_else(|| defaults(&TRUSTED)),
        trusted_proxies: networks(&mut table, mistakes, "trusted_proxies")
            .unwrap_or_else(|| defaults(&PROXIES)),
        trusted_role: role(&mut table, mistakes),
        viewers: table.texts(mistakes, "viewers").unwrap_or_default(),
        operators: table.texts(mistakes, "operators").unwrap_or_default(),
        cors_domains: table.texts(mistakes, "cors_domains").unwrap_or_else(|| defaults(&ORIGINS)),
        force_logins: table.flag(mistakes, "force_logins", false),
    };
    table.finish(mistakes);
    config
}

fn role(table: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Role {
    let Some(text) = table.text(mistakes, "trusted_role", false) else { return Role::Admin };
    Role::ALL.into_iter().find(|role| role.name() == text).unwrap_or_else(|| {
        let place = table.place("trusted_role");
        mistakes
            .at(place, format!("trusted_role must be \"view\", \"operate\" or \"admin\", not \"{text}\"."));
        Role::View
    })
}

/// An address, or an address and a prefix length that fits it.
fn is_network(text: &str) -> bool {
    let (address, bits) = text.split_once('/').unwrap_or((text, "0"));
    let limit = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= limit)
}

fn printers(
    root: &DeTable<'_>,
    gateway: &GatewayConfig,
    environment: &Environment,
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
    list.iter().filter_map(|item| printer(item, &mut taken, environment, mistakes)).collect()
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
    let host = table.required(mistakes, "host", "the printer's address or host name.");
    if let Some(host) = host.as_deref().filter(|host| host.contains(['/', ' ', '@']) || host.contains("://"))
    {
        let place = table.place("host");
        mistakes
            .at(place, format!("host \"{host}\" must be a bare address or name, without http:// and path."));
    }
    let serial = table.text(mistakes, "serial", true).map(|serial| serial.trim().to_uppercase());
    let access_code = access_code(&mut table, environment, mistakes);
    if kind == Some(Kind::Bambu) {
        let span = table.span();
        if serial.as_deref().unwrap_or("").is_empty() {
            mistakes.at(span.clone(), "[[printer]] lacks serial: a Bambu printer shows it under Settings > Device; `moongate discover` lists it.");
        }
        if access_code.is_none() {
            mistakes.at(span, "[[printer]] lacks access_code: the printer shows it under Settings > Network (LAN). access_code_file or access_code_env keep it out of this file.");
        }
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
    table.finish(mistakes);
    Some(config)
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
    let file = table.text(mistakes, "access_code_file", false);
    let variable = table.text(mistakes, "access_code_env", false);
    if [inline.is_some(), file.is_some(), variable.is_some()].iter().filter(|given| **given).count() > 1 {
        let span = table.span();
        mistakes.at(span, "give only one of access_code, access_code_file and access_code_env.");
    }
    let text = if let Some(named) = file {
        match environment.secret_file(&named) {
            Ok(text) => Some(text),
            Err(reason) => {
                let place = table.place("access_code_file");
                mistakes.at(place, format!("access_code_file: {reason}."));
                None
            }
        }
    } else if let Some(named) = variable {
        let value = environment.get(&named).map(ToOwned::to_owned);
        if value.is_none() {
            let place = table.place("access_code_env");
            mistakes.at(place, format!("access_code_env: the environment has no {named}."));
        }
        value
    } else {
        inline
    };
    text.filter(|text| !text.is_empty()).map(Secret::new)
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
