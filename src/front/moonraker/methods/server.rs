//! `server.*`: who we are and what is kept (moonraker.md 2.6).

use std::sync::PoisonError;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::error::RpcError;
use super::super::events::console_text;
use super::super::klippy::{Gate, Klippy};
use super::super::logs::Application;
use super::super::rpc::{Call, Reply, add_member};
use super::super::{identity, stores};
use crate::model::Speaker;

/// Lines kept for `server.gcode_store`.
const GCODE_STORE: usize = 1000;

/// Asked more often than anything else, and written as it is.
#[derive(Serialize)]
struct Info<'a> {
    klippy_connected: bool,
    klippy_state: &'a str,
    components: Vec<&'a str>,
    failed_components: [&'a str; 0],
    registered_directories: Vec<&'a str>,
    warnings: Vec<String>,
    websocket_count: usize,
    moonraker_version: &'a str,
    missing_klippy_requirements: [&'a str; 0],
    api_version: [u32; 3],
    api_version_string: &'a str,
}

pub async fn info(call: Call) -> Result<Reply, RpcError> {
    let endpoint = &call.endpoint;
    let klippy = endpoint.klippy();
    let mut components = identity::components(endpoint);
    if endpoint.station.jobs.filament().inventory().is_some() {
        components.push("spoolman");
    }
    Ok(Reply::written(&Info {
        klippy_connected: klippy.connected,
        klippy_state: klippy.state,
        components,
        failed_components: [],
        registered_directories: identity::directories(endpoint),
        warnings: warnings(&call, &klippy),
        websocket_count: endpoint.hub.count(),
        moonraker_version: identity::MOONRAKER_VERSION,
        missing_klippy_requirements: [],
        api_version: identity::API_VERSION,
        api_version_string: identity::API_VERSION_STRING,
    }))
}

/// Why the printer is away: Fluidd shows it beside the state, which has no text of its own. Mainsail has the announcement
/// and would keep a warning until its page is loaded anew.
fn warnings(call: &Call, klippy: &Klippy) -> Vec<String> {
    let client = call.caller.socket.as_ref().and_then(|socket| socket.client());
    let away = !klippy.connected && call.endpoint.feed.gate() == Gate::Open;
    let shown = away && client.is_none_or(|client| client.name != "mainsail");
    shown.then(|| klippy.message.clone()).into_iter().collect()
}

/// What clients read of it: the ports and the sizes of the stores.
pub async fn config(call: Call) -> Result<Value, RpcError> {
    let config = &call.endpoint.config;
    let access = call.endpoint.access.settings();
    let port = call.endpoint.station.moonraker_port;
    let mut sections = json!({
        "server": {
            "port": port,
            "max_upload_size": config.max_upload >> 20,
            "max_websocket_connections": config.max_sockets,
        },
        "authorization": {"force_logins": access.force_logins, "cors_domains": access.cors_domains, "enable_api_key": true},
        "data_store": {"temperature_store_size": stores::TEMPERATURE_SAMPLES, "gcode_store_size": GCODE_STORE},
        "file_manager": {"enable_config_write_access": call.endpoint.config_root.is_some()},
    });
    if identity::has_timelapse(&call.endpoint) {
        // Mainsail looks into this section before it shows its timelapse page.
        add_member(
            &mut sections,
            "timelapse",
            json!({"output_path": "timelapse", "frame_path": "timelapse_frames"}),
        );
    }
    if let Some(spoolman) = call.endpoint.station.jobs.filament().inventory() {
        // Fluidd's page follows the spools there by itself; Mainsail links to it.
        add_member(&mut sections, "spoolman", json!({"server": spoolman.address()}));
    }
    let texts = |options: &Value| -> Value {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let options = options.as_object().into_iter().flatten();
        options
            .map(|(key, value)| (key.clone(), Value::from(text(value))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let members = sections.as_object().into_iter().flatten();
    let orig: serde_json::Map<_, _> = members.map(|(name, options)| (name.clone(), texts(options))).collect();
    let names: Vec<&String> = orig.keys().collect();
    Ok(json!({"config": sections, "orig": orig, "files": [{"filename": "moongate.toml", "sections": names}]}))
}

/// Closes all sockets, as clients expect of a restart; the printer's link is not touched.
pub async fn restart(call: Call) -> Result<Value, RpcError> {
    let endpoint = call.endpoint.clone();
    call.endpoint.spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        endpoint.hub.close_all();
    });
    Ok(json!("ok"))
}

/// Begins new log files; without an application all of them.
pub async fn rollover(call: Call) -> Result<Value, RpcError> {
    let wanted = call.args.opt_text("application")?.filter(|name| !name.is_empty());
    let chosen: Vec<Application> = match &wanted {
        None => Application::ALL.to_vec(),
        Some(name) => Application::ALL.into_iter().filter(|log| log.name() == name).collect(),
    };
    if let (true, Some(name)) = (chosen.is_empty(), &wanted) {
        let names = Application::ALL.map(Application::name).join(" and ");
        return Err(RpcError::bad_request(format!("Unknown application {name}: there are logs of {names}")));
    }
    chosen.iter().for_each(|log| call.endpoint.rolled.roll_over(*log));
    let names: Vec<&str> = chosen.iter().map(|log| log.name()).collect();
    Ok(json!({"rolled_over": names, "failed": {}}))
}

pub async fn gcode_store(call: Call) -> Result<Value, RpcError> {
    let count = call.args.opt_count("count")?.unwrap_or(GCODE_STORE).min(GCODE_STORE);
    let entry = |line: &crate::model::ConsoleLine| {
        let kind = if line.speaker == Speaker::Client { "command" } else { "response" };
        json!({"message": console_text(line), "time": line.time, "type": kind})
    };
    let lines: Vec<Value> = call.endpoint.station.console.last(count).iter().map(entry).collect();
    Ok(json!({"gcode_store": lines}))
}

pub async fn temperature_store(call: Call) -> Result<Value, RpcError> {
    Ok(call.endpoint.stores.lock().unwrap_or_else(PoisonError::into_inner).answer())
}
