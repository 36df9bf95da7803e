//! `printer.*`: state of the machine, scripts, print control (moonraker.md 2.7, 2.16).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::Endpoint;
use super::super::error::RpcError;
use super::super::identity;
use super::super::klippy::Gate;
use super::super::rpc::Call;
use crate::gcode::translate::Session;
use crate::jobs::{Intended, StartError, StartRequest};
use crate::model::{CommandError, JobPhase, Outcome, Speaker};
use crate::station::Station;
use crate::station::script::{self, Reply};

/// How long a start waits for a printer that is connecting.
const START_PATIENCE: Duration = Duration::from_secs(8);

pub async fn info(call: Call) -> Result<Value, RpcError> {
    let klippy = call.endpoint.klippy();
    let station = &call.endpoint.station;
    let state = station.printer.state();
    let caps = station.printer.capabilities();
    let model = format!("{} {}", caps.vendor, caps.model);
    let identity = &state.device.identity;
    let firmware = identity.firmware.as_deref().unwrap_or("unknown");
    Ok(json!({
        "state": klippy.state,
        "state_message": klippy.message,
        "hostname": station.printer.title(),
        // Moonraker-side plug-ins want these non-empty; they name what stands in Klipper's place.
        "klipper_path": "moongate",
        "python_path": "moongate",
        "process_id": std::process::id(),
        "user_id": nix::unistd::getuid().as_raw(),
        "group_id": nix::unistd::getgid().as_raw(),
        "log_file": "klippy.log",
        "config_file": "printer.cfg",
        "software_version": identity::SOFTWARE_VERSION,
        "cpu_info": format!("{}, firmware {firmware}", model.trim()),
    }))
}

/// Klipper refuses work with the first line of its state message.
fn ready(call: &Call) -> Result<(), RpcError> {
    let klippy = call.endpoint.klippy();
    if klippy.ready() {
        return Ok(());
    }
    Err(RpcError::bad_request(klippy.message.lines().next().unwrap_or("Printer is not ready")))
}

/// After an emergency stop nothing is begun until `firmware_restart`, by whatever door.
pub fn not_stopped(endpoint: &Endpoint) -> Result<(), RpcError> {
    if endpoint.feed.gate() != Gate::Stopped {
        return Ok(());
    }
    let text = "The printer was stopped by an emergency stop; FIRMWARE_RESTART takes it into service again.";
    endpoint.station.say(Speaker::Error, text);
    Err(RpcError::new(409, text))
}

/// Slicers ask for the start right after the upload, whatever the printer does then (moonraker.md section 6): a link
/// that is just coming up is waited for.
async fn wait_until_ready(call: &Call) {
    if call.endpoint.klippy().state != "startup" {
        return;
    }
    let mut watch = call.endpoint.station.printer.watch();
    let _late = tokio::time::timeout(START_PATIENCE, watch.wait_for(|state| state.online())).await;
}

/// Answers when the script has finished; a refusal is told on the console too.
pub async fn script(call: Call) -> Result<Value, RpcError> {
    let text =
        call.args.opt_text("script")?.ok_or_else(|| RpcError::bad_request("Missing Argument [script]"))?;
    call.endpoint.station.say(Speaker::Client, text.as_str());
    match text.trim().to_ascii_uppercase().as_str() {
        "FIRMWARE_RESTART" | "RESTART" => return restart(call).await,
        "M112" => return emergency_stop(call).await,
        _ => {}
    }
    ready(&call)?;
    let station = &call.endpoint.station;
    let result = match &call.caller.socket {
        Some(socket) => run(station, &mut *socket.session.lock().await, &text).await,
        None => run(station, &mut *call.endpoint.http_session.lock().await, &text).await,
    };
    result.map(|()| json!("ok")).map_err(|error| {
        // Klipper's refusals of a script are all 400: the UIs show those and hide 403.
        let told = RpcError::from(error);
        if told.status == 503 { told } else { RpcError::bad_request(told.message) }
    })
}

async fn run(station: &Station, session: &mut Session, text: &str) -> Result<(), CommandError> {
    let speaker = station.clone();
    let mut say = move |reply: Reply| match reply {
        Reply::Info(text) => speaker.say(Speaker::Answer, format!("// {text}")),
        Reply::Raw(text) => speaker.say(Speaker::Answer, text),
        Reply::Error(text) => speaker.say(Speaker::Error, text),
    };
    script::run_script(station, session, text, &mut say).await
}

/// Over HTTP each request is a client of its own.
pub async fn run_lines(call: &Call, lines: &str) -> Result<(), CommandError> {
    call.endpoint.station.say(Speaker::Client, lines);
    run(&call.endpoint.station, &mut Session::default(), lines).await
}

pub async fn help(call: Call) -> Result<Value, RpcError> {
    let printer = &call.endpoint.station.printer;
    let help = script::command_help(&printer.capabilities(), &printer.state());
    Ok(help.into_iter().map(|(name, text)| (name, Value::from(text))).collect::<Map<_, _>>().into())
}

/// Starts a file of the library; the path may carry the root or a leading slash, as old clients send it.
pub async fn start(call: Call) -> Result<Value, RpcError> {
    let name = call.args.text("filename")?;
    let intended = call.endpoint.station.jobs.intend();
    wait_until_ready(&call).await;
    ready(&call)?;
    let file = library_path(&name).to_owned();
    let request = StartRequest { file, ..StartRequest::default() };
    start_intended(&call.endpoint.station, request, intended).await?;
    Ok(json!("ok"))
}

/// A path as the library has it.
pub fn library_path(name: &str) -> &str {
    let name = name.trim_start_matches('/');
    name.strip_prefix("gcodes/").unwrap_or(name)
}

/// Starts a job and tells refusals on the console, as Klipper does.
pub async fn start_job(station: &Station, request: StartRequest) -> Result<(), RpcError> {
    start_intended(station, request, station.jobs.intend()).await
}

/// As [`start_job`], of a start that was meant since `intended`.
pub async fn start_intended(
    station: &Station,
    request: StartRequest,
    intended: Intended,
) -> Result<(), RpcError> {
    let file = request.file.clone();
    match station.jobs.start_intended(request, intended).await {
        Ok(()) => {
            station.say(Speaker::Answer, format!("File opened:{file}"));
            Ok(())
        }
        Err(error) => {
            let told = match error {
                StartError::NotFound(reason) => {
                    tracing::info!(file, reason, "A print of an unknown file was asked for.");
                    RpcError::bad_request("Unable to open file")
                }
                StartError::Command(CommandError::NotAllowed(reason)) => RpcError::bad_request(reason),
                refused @ StartError::Objection { .. } => {
                    let filament = &station.printer.state().device.filament;
                    RpcError::bad_request(script::refusal(&file, &refused, filament))
                }
                other => other.into(),
            };
            station.say(Speaker::Error, told.message.clone());
            Err(told)
        }
    }
}

/// `ok`, or the refusal, which is told on the console too.
fn answered(station: &Station, result: Result<Outcome, CommandError>) -> Result<Value, RpcError> {
    match result {
        Ok(outcome) => {
            if let Some(note) = outcome.note {
                station.say(Speaker::Answer, note);
            }
            Ok(json!("ok"))
        }
        Err(error) => {
            station.say(Speaker::Error, error.to_string());
            let told = RpcError::from(error);
            Err(if told.status == 403 { RpcError::bad_request(told.message) } else { told })
        }
    }
}

pub async fn pause(call: Call) -> Result<Value, RpcError> {
    ready(&call)?;
    let paused = call.endpoint.station.jobs.pause().await;
    answered(&call.endpoint.station, paused)
}

pub async fn resume(call: Call) -> Result<Value, RpcError> {
    ready(&call)?;
    let resumed = call.endpoint.station.jobs.resume().await;
    answered(&call.endpoint.station, resumed)
}

/// Also `ok` when nothing prints (moonraker.md 2.7).
pub async fn cancel(call: Call) -> Result<Value, RpcError> {
    ready(&call)?;
    let station = &call.endpoint.station;
    let state = station.printer.state();
    if !state.printing() && !matches!(state.job.phase, JobPhase::Transferring | JobPhase::Starting) {
        // A start may just be asked for.
        station.jobs.withdraw();
        return Ok(json!("ok"));
    }
    answered(station, station.jobs.cancel().await)
}

/// Stops by the fastest way the printer has; the printer counts as shut down until `firmware_restart`.
pub async fn emergency_stop(call: Call) -> Result<Value, RpcError> {
    let station = &call.endpoint.station;
    match station.jobs.emergency_stop().await {
        Ok(outcome) => {
            call.endpoint.feed.set_gate(Gate::Stopped);
            let note = outcome.note.unwrap_or_else(|| {
                "Emergency stop. FIRMWARE_RESTART takes the printer into service again.".to_owned()
            });
            station.say(Speaker::Error, note);
            Ok(json!("ok"))
        }
        Err(error) => {
            station.say(Speaker::Error, format!("The emergency stop did not reach the printer: {error}"));
            Err(error.into())
        }
    }
}

/// Both restarts connect anew; a stop is taken back. Nothing at the printer is restarted.
pub async fn restart(call: Call) -> Result<Value, RpcError> {
    call.endpoint.restart();
    Ok(json!("ok"))
}

/// None of the printers reports its endstops. The UIs' panels stay empty then: the reason is on the console.
pub async fn endstops(call: Call) -> Result<Value, RpcError> {
    call.endpoint.station.say(Speaker::Answer, "// This printer does not tell the state of its end stops.");
    Ok(json!({}))
}
