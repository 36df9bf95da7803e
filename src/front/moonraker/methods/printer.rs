//! `printer.*`: state of the machine, scripts, print control (moonraker.md 2.7, 2.16).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::Endpoint;
use super::super::error::RpcError;
use super::super::identity;
use super::super::klippy::Gate;
use super::super::rpc::{Call, connected};
use crate::gcode::translate::Session;
use crate::jobs::{Intended, StartError, StartRequest};
use crate::model::{CommandError, Outcome, Speaker};
use crate::station::Station;
use crate::station::script::{self, Fitted, Reply};

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

/// What the doors say that know nothing of Klipper's states.
const HELD: &str = "An emergency stop is in force: no print starts until the printer is taken into service again, by \
                    \"Firmware Restart\" in Mainsail or Fluidd, or FIRMWARE_RESTART in their console or over the serial port.";

/// After an emergency stop nothing is begun until `firmware_restart`, by whatever door.
pub fn not_stopped(endpoint: &Endpoint) -> Result<(), RpcError> {
    if !matches!(endpoint.feed.gate(), Gate::Stopped(_)) {
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
    let text = call.args.opt_text("script")?;
    let word = text.as_deref().unwrap_or_default().trim().to_ascii_uppercase();
    let printing = call.endpoint.station.printer.state().printing();
    let emergency = has_emergency_stop(&word);
    let stops = emergency || (word == "CANCEL_PRINT" && printing);
    if !stops {
        connected(&call)?;
    }
    let text = text.ok_or_else(|| RpcError::bad_request("Missing Argument [script]"))?;
    call.endpoint.station.say(Speaker::Client, text.as_str());
    match word.as_str() {
        "FIRMWARE_RESTART" | "RESTART" => return restart(call).await,
        _ if emergency => return emergency_stop(call).await,
        "CANCEL_PRINT" if stops => return cancel(call).await,
        _ => ready(&call)?,
    }
    run_to_its_end(&call, &word, text).await.map(|()| json!("ok")).map_err(|error| {
        // Klipper's refusals of a script are all 400: the UIs show those and hide 403.
        let told = RpcError::from(error);
        if told.status == 503 { told } else { RpcError::bad_request(told.message) }
    })
}

/// Anywhere in a script it is meant at once, and nothing else of the script any more.
pub fn has_emergency_stop(script: &str) -> bool {
    let code = |line: &str| line.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("M112");
    script.lines().any(code)
}

/// The scripts of one client run one after the other; who leaves while they wait has them withdrawn.
async fn run_to_its_end(call: &Call, word: &str, text: String) -> Result<(), CommandError> {
    let station = call.endpoint.station.clone();
    if matches!(word, "PAUSE" | "RESUME") {
        // Without modes, and not to wait behind a script that heats.
        let work = async move { run(&station, &mut Session::default(), &text).await };
        return to_its_end(&call.endpoint, work).await;
    }
    let session = match &call.caller.socket {
        Some(socket) => socket.session.clone(),
        None => call.endpoint.http_session.clone(),
    };
    let mut session = session.lock_owned().await;
    to_its_end(&call.endpoint, async move { run(&station, &mut session, &text).await }).await
}

/// Goes on with a script that has begun also where its client leaves, as Klipper does: its last line may be the one that
/// switches off the heat.
pub async fn to_its_end(
    endpoint: &Endpoint,
    work: impl Future<Output = Result<(), CommandError>> + Send + 'static,
) -> Result<(), CommandError> {
    let full = |_full| CommandError::Busy("Too many scripts run at once; wait for the others.".to_owned());
    let place = endpoint.scripts.clone().try_acquire_owned().map_err(full)?;
    let running = endpoint.spawn(async move {
        let _place = place;
        work.await
    });
    match running.await {
        Ok(Some(done)) => done,
        Ok(None) => Err(CommandError::Offline("The gateway is shutting down.".to_owned())),
        Err(_panic) => Err(CommandError::Internal("The script met a bug of the gateway.".to_owned())),
    }
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

/// One line of several that are sent together, in the modes that the others have left.
pub async fn run_line(endpoint: &Endpoint, session: &mut Session, line: &str) -> Result<(), CommandError> {
    endpoint.station.say(Speaker::Client, line);
    run(&endpoint.station, session, line).await
}

pub async fn help(call: Call) -> Result<Value, RpcError> {
    let printer = &call.endpoint.station.printer;
    let words = script::words(&printer.capabilities(), Fitted::of(&printer.state()));
    Ok(words
        .into_iter()
        .map(|word| (word.name.to_owned(), Value::from(word.help)))
        .collect::<Map<_, _>>()
        .into())
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
            // Read from memory: of a file on the printer nothing is fetched for this.
            let size = station.library.size(&file).map(|size| format!(" Size:{size}")).unwrap_or_default();
            station.say(Speaker::Answer, format!("File opened:{file}{size}"));
            station.say(Speaker::Answer, "File selected".to_owned());
            Ok(())
        }
        Err(error) => Err(not_started(station, &file, error)),
    }
}

/// Why a start was refused, told on the console too.
pub fn not_started(station: &Station, file: &str, error: StartError) -> RpcError {
    let told = match error {
        StartError::NotFound(reason) => {
            tracing::info!(file, reason, "A print of an unknown file was asked for.");
            RpcError::bad_request("Unable to open file")
        }
        StartError::Command(CommandError::NotAllowed(reason)) => RpcError::bad_request(reason),
        refused @ StartError::Objection { .. } => {
            let filament = &station.printer.state().device.filament;
            RpcError::bad_request(script::refusal(file, &refused, filament))
        }
        other => other.into(),
    };
    station.say(Speaker::Error, told.message.clone());
    told
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

/// Also `ok` when nothing prints (moonraker.md 2.7). What is still inside the gateway is cancelled whatever the printer
/// does: a transfer may outlive the connection (docs/decisions/008), and its print would begin.
pub async fn cancel(call: Call) -> Result<Value, RpcError> {
    let station = &call.endpoint.station;
    // First of all: a start may just be asked for.
    let withdrawn = station.jobs.withdraw();
    if station.printer.state().printing() {
        return answered(station, station.jobs.cancel().await);
    }
    if !withdrawn {
        connected(&call)?;
        ready(&call)?;
    }
    Ok(json!("ok"))
}

pub async fn emergency_stop(call: Call) -> Result<Value, RpcError> {
    stop(&call.endpoint).await
}

/// Stops by the fastest way the printer has, also one that is silent; of one that is away what is inside the gateway. The
/// printer counts as shut down until `firmware_restart`.
pub async fn stop(endpoint: &Endpoint) -> Result<Value, RpcError> {
    let station = &endpoint.station;
    let held = station.jobs.held().is_some();
    station.jobs.hold(HELD);
    match station.jobs.emergency_stop().await {
        Ok(outcome) => {
            let note =
                outcome.note.unwrap_or_else(|| "The printer was stopped by the emergency stop.".to_owned());
            endpoint.feed.set_gate(Gate::Stopped(note.as_str().into()));
            station.say(Speaker::Error, note);
            Ok(json!("ok"))
        }
        Err(error) => {
            if !held {
                station.jobs.release();
            }
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
