//! `[gateway]` and `[rtsp]`.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::section;
use crate::config::reader::{Mistakes, Section};
use crate::config::source::SERVICE_SEES_NO_HOME;
use crate::config::{Environment, GATEWAY_PORT, GatewayConfig, RTSP_PORT, Tls};

pub fn gateway(root: &DeTable<'_>, environment: &Environment, mistakes: &mut Mistakes<'_>) -> GatewayConfig {
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
    if let Some(why) = web_root.as_deref().and_then(no_page) {
        let place = table.place("web_root");
        mistakes.at(place, why);
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
        let text = table.text(mistakes, key, false)?;
        if text.is_empty() || text.starts_with('~') {
            let place = table.place(key);
            mistakes.at(place, format!("{key} in [gateway] must be a whole path such as \"/srv/moongate\"; \"~\" means nothing here."));
        }
        Some(PathBuf::from(text))
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
        (None, Some(certificate), Some(key)) => {
            for (name, file) in [("tls_cert", &certificate), ("tls_key", &key)] {
                // One that this user may not even look for can be there for the gateway's own.
                if matches!(file.try_exists(), Ok(false)) {
                    let place = table.place(name);
                    mistakes.at(place, format!("{name} in [gateway]: there is no file {}.", file.display()));
                }
            }
            Tls::Files { certificate, key }
        }
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

/// Why a folder cannot be `web_root`; none where it can.
fn no_page(folder: &Path) -> Option<String> {
    let told = match std::fs::metadata(folder.join("index.html")) {
        Ok(file) if file.is_file() => return None,
        // What a service meets below /home, whoever may read the folder itself.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            format!("cannot be read: {error}. {SERVICE_SEES_NO_HOME}")
        }
        _ => "has no index.html: name the folder of a built Mainsail or Fluidd.".to_owned(),
    };
    Some(format!("web_root {} {told}", folder.display()))
}

/// Where recorders find the cameras.
pub fn rtsp(root: &DeTable<'_>, mistakes: &mut Mistakes<'_>) -> Option<SocketAddr> {
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
