//! `[access]`, with the defaults of a LAN.

use std::net::IpAddr;

use toml::de::DeTable;

use super::{secret, section};
use crate::access::{DEFAULT_DOMAINS, Role};
use crate::config::reader::{Mistakes, Section};
use crate::config::{AccessConfig, Environment};
use crate::secret::Secret;

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
/// Shortest API key, in characters: shorter ones can be guessed.
const SHORTEST_KEY: usize = 16;
const LONGEST_KEY: usize = 128;

pub fn access(root: &DeTable<'_>, environment: &Environment, mistakes: &mut Mistakes<'_>) -> AccessConfig {
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
        api_key: api_key(&mut table, environment, mistakes),
        trusted_clients: networks(&mut table, mistakes, "trusted_clients")
            .unwrap_or_else(|| defaults(&TRUSTED)),
        trusted_proxies: networks(&mut table, mistakes, "trusted_proxies")
            .unwrap_or_else(|| defaults(&PROXIES)),
        trusted_role: role(&mut table, mistakes),
        viewers: table.texts(mistakes, "viewers").unwrap_or_default(),
        operators: table.texts(mistakes, "operators").unwrap_or_default(),
        cors_domains: table.texts(mistakes, "cors_domains").unwrap_or_else(|| defaults(DEFAULT_DOMAINS)),
        force_logins: table.flag(mistakes, "force_logins", false),
    };
    table.finish(mistakes);
    config
}

/// One that the user chose, so that programs can be given it before the gateway runs.
fn api_key(
    table: &mut Section<'_, '_>,
    environment: &Environment,
    mistakes: &mut Mistakes<'_>,
) -> Option<Secret> {
    let keys = ["api_key_file", "api_key_env"];
    if keys.into_iter().all(|key| table.has(key)) {
        let span = table.span();
        mistakes.at(span, "give only one of api_key_file and api_key_env.");
    }
    let key = secret(table, keys, environment, mistakes)?;
    let fits = (SHORTEST_KEY..=LONGEST_KEY).contains(&key.len());
    if !fits || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        let named = keys.into_iter().find(|key| table.has(key)).unwrap_or_default();
        mistakes.at(
            table.place(named),
            format!(
                "{named}: a key is {SHORTEST_KEY} to {LONGEST_KEY} letters, digits, \"-\" and \"_\": `openssl rand -hex 16` makes one."
            ),
        );
    }
    Some(Secret::new(key))
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
