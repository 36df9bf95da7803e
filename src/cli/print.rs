//! `moongate print`, `pause`, `resume`, `cancel`: jobs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, ClientError, GatewayArgs};
use super::files;
use super::patience::Patience;
use super::words::{Progress, duration, harmless, table, text};
use super::{EXIT_FAILED, until_stopped};
use crate::jobs::{OVERRIDABLE, StartPreview, StartRequest, UNMAPPED};
use crate::model::{SlotId, StartOptions};

const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct PrintArgs {
    /// A file on this machine, which is uploaded first, or one of the printer's library (`moongate files`).
    pub file: String,
    /// The printer to print on.
    #[arg(long, short)]
    pub printer: String,
    /// Take FILE as a name in the library even if a file of that name is here.
    #[arg(long)]
    pub library: bool,
    /// Plate of a project with several, from 1.
    #[arg(long)]
    pub plate: Option<u32>,
    /// Slot for each filament of the project in order, e.g. 0.2,external; "-" leaves the choice to the gateway.
    #[arg(long, value_delimiter = ',')]
    pub slots: Vec<String>,
    /// Go on in spite of an objection: model, nozzle, bed or filament. Can be given several times.
    #[arg(long = "override", value_name = "CODE", value_delimiter = ',', value_parser = OVERRIDABLE)]
    pub overrides: Vec<String>,
    /// The build plate on the printer, in the slicer's words, e.g. "Textured PEI Plate"; else that of the configuration.
    #[arg(long)]
    pub bed: Option<String>,
    /// Level the bed first (true or false); the printer's own default where not given.
    #[arg(long, value_name = "BOOL")]
    pub level: Option<bool>,
    /// Record a timelapse (true or false).
    #[arg(long, value_name = "BOOL")]
    pub timelapse: Option<bool>,
    /// Say what would be done, and do nothing. A local file is uploaded all the same: it is what is looked into.
    #[arg(long)]
    pub dry_run: bool,
    /// Follow the print to its end; exit code 1 if it does not end well. Ctrl-C leaves the print alone.
    #[arg(long)]
    pub wait: bool,
    /// Print the outcome as JSON; with --dry-run what would be done.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

pub async fn print(args: &PrintArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let mut request = request(args)?;
    let here = Path::new(&args.file);
    if !args.library && here.is_file() {
        request.file = files::send(client, &args.printer, &PathBuf::from(&args.file), None).await?;
    } else if !args.library && (here.is_absolute() || here.starts_with(".") || here.starts_with("..")) {
        // No name in a library begins like that.
        return Err(ClientError::Failed(format!("there is no file {} here.", args.file)));
    }
    let preview: StartPreview =
        client.post(&Client::of(&args.printer, "/moongate/preview"), &request).await?;
    let open: Vec<_> = preview.objections.iter().filter(|(code, _)| !args.overrides.contains(code)).collect();
    if args.dry_run {
        let told = if args.json {
            serde_json::to_string_pretty(&preview).unwrap_or_default()
        } else {
            describe(&preview)
        };
        println!("{}", told.trim_end());
        return Ok(if open.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) });
    }
    if !args.json {
        print!("{}", describe(&preview));
    }
    let started: Value = client
        .post(&Client::of(&args.printer, "/moongate/start?watch=true"), &request)
        .await
        .map_err(helped)?;
    if args.json {
        println!("{started}");
    } else {
        println!("{}: {} {}.", args.printer, text(&started, "/phase"), request.file);
    }
    if text(&started, "/phase") == "failed" {
        let status = printer_status(client, &args.printer).await?;
        return Err(ClientError::Failed(format!("the print failed: {}", text(&status, "/job/reason"))));
    }
    if args.wait { follow(args, client).await } else { Ok(ExitCode::SUCCESS) }
}

fn request(args: &PrintArgs) -> Result<StartRequest, ClientError> {
    let slot = |text: &String| match text.trim() {
        "-" | "" => Ok(None),
        name => name.parse::<SlotId>().map(Some),
    };
    let mapping: Result<Vec<_>, String> = args.slots.iter().map(slot).collect();
    let mapping = mapping.map_err(|error| ClientError::Failed(format!("--slots: {error}.")))?;
    Ok(StartRequest {
        file: args.file.clone(),
        plate: args.plate,
        mapping: (!mapping.is_empty()).then_some(mapping),
        options: StartOptions {
            bed_levelling: args.level,
            timelapse: args.timelapse,
            bed_type: args.bed.clone(),
            ..StartOptions::default()
        },
        overrides: args.overrides.clone(),
        queued: None,
    })
}

/// An objection says how to go on in spite of it.
fn helped(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused { code, text } if OVERRIDABLE.contains(&code.as_str()) => {
            let text = format!("{text} If that is right as it is: --override {code}");
            ClientError::Refused { code, text }
        }
        ClientError::Refused { code, text } if code == UNMAPPED => {
            let text = format!(
                "{text} For one from the first slot: --slots 0.0; several are named in order, as in 0.0,0.1"
            );
            ClientError::Refused { code, text }
        }
        other => other,
    }
}

fn describe(preview: &StartPreview) -> String {
    let plate = preview.plate.map_or(String::new(), |plate| format!(", plate {plate}"));
    let transfer = if preview.transfer { "; the file goes to the printer first" } else { "" };
    let mut told = format!("{}{plate}{transfer}\n", preview.file);
    let rows: Vec<Vec<String>> = preview
        .filaments
        .iter()
        // A printer without filament units tells nothing of the one spool that it has.
        .filter(|one| {
            one.slot.is_some() || one.material.is_some() || one.color.is_some() || one.warning.is_some()
        })
        .map(|filament| {
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let slot = filament.slot.map_or_else(|| "no slot".to_owned(), |slot| format!("slot {slot}"));
            let weight = filament.weight_g.map_or(String::new(), |grams| format!("{grams:.1} g"));
            vec![
                format!("  filament {}", filament.index),
                or_dash(&filament.material),
                or_dash(&filament.color),
                weight,
                format!("<- {slot}"),
                or_dash(&filament.slot_text),
                filament.warning.clone().unwrap_or_default(),
            ]
        })
        .collect();
    told.push_str(&table(rows));
    for (code, text) in &preview.objections {
        told.push_str(&format!("! {text} [{code}]\n"));
    }
    harmless(&told)
}

async fn printer_status(client: &Client, name: &str) -> Result<Value, ClientError> {
    let status: Value = client.get("/status").await?;
    let printers = status.pointer("/printers").and_then(Value::as_array);
    let found = printers.into_iter().flatten().find(|printer| text(printer, "/name") == name);
    found
        .cloned()
        .ok_or_else(|| ClientError::Failed(format!("the gateway has no printer \"{name}\" any more.")))
}

async fn follow(args: &PrintArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let mut progress = Progress::new(args.printer.clone());
    if let Some(ended) = until_stopped(to_its_end(args, client, &mut progress)).await {
        return ended;
    }
    progress.end();
    super::words::tell(format_args!("The print goes on."));
    Ok(ExitCode::SUCCESS)
}

async fn to_its_end(
    args: &PrintArgs,
    client: &Client,
    progress: &mut Progress,
) -> Result<ExitCode, ClientError> {
    let mut patience = Patience::new(client);
    let mut unsure = false;
    loop {
        let answer = patience.ask(|_away| printer_status(client, &args.printer)).await?;
        let printer = answer.told;
        unsure |= answer.after_absence;
        // A gateway that was started again knows of no job before the printer's first report.
        if unsure && text(&printer, "/link") != "online" {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        unsure = false;
        let phase = text(&printer, "/job/phase");
        let number = |place: &str| printer.pointer(place).and_then(Value::as_f64);
        let left =
            number("/job/remaining_s").map_or(String::new(), |left| format!(", {} left", duration(left)));
        progress.set(number("/job/progress").unwrap_or(0.0), &format!("{phase}{left}"));
        if matches!(phase, "complete" | "cancelled" | "failed" | "idle") {
            progress.end();
            if args.json {
                println!("{}", printer.pointer("/job").unwrap_or(&Value::Null));
            } else {
                println!("{}: {phase} {}", args.printer, text(&printer, "/job/reason"));
            }
            return Ok(if phase == "complete" { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) });
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[derive(Debug, clap::Args)]
pub struct SteerArgs {
    /// The printer's name in the configuration.
    pub printer: String,
    /// Print the gateway's answer as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// `verb` is pause, resume or cancel.
pub async fn steer(verb: &str, args: &SteerArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let outcome: Value =
        client.post(&Client::of(&args.printer, &format!("/moongate/{verb}")), &json!({})).await?;
    if args.json {
        println!("{outcome}");
    } else {
        let seen = match text(&outcome, "/seen") {
            "effect" => "done",
            "acknowledged" => "the printer acknowledged it",
            _ => "sent",
        };
        println!("{}: {verb}: {seen}. {}", args.printer, text(&outcome, "/note"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The person at the keyboard confirms that the printer is another now.
pub async fn trust(args: &SteerArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let outcome: Value = client.post(&Client::of(&args.printer, "/moongate/trust"), &json!({})).await?;
    if args.json {
        println!("{outcome}");
    } else {
        println!("{}: the printer that answers at the next connection is taken for it.", args.printer);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::MappedFilament;

    #[test]
    fn a_spool_of_which_nothing_is_known_is_not_listed() {
        let unknown = MappedFilament { weight_g: Some(12.0), ..MappedFilament::default() };
        let unmapped = MappedFilament { index: 1, material: Some("PETG".to_owned()), ..unknown.clone() };
        let filaments = vec![unknown, unmapped];
        let told =
            describe(&StartPreview { file: "cube.gcode".to_owned(), filaments, ..StartPreview::default() });
        assert!(!told.contains("filament 0"), "{told}");
        assert!(told.contains("filament 1") && told.contains("PETG") && told.contains("no slot"), "{told}");
    }
}
