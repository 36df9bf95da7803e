//! `moongate status`: the printers at a glance.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, ClientError, GatewayArgs};
use super::patience::Patience;
use super::while_read;
use super::words::{duration, harmless, table, text};

/// Between two looks with `--watch`.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Only this printer.
    pub printer: Option<String>,
    /// Print the gateway's answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Look again every second until Ctrl-C, also after a restart of the gateway.
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

pub async fn status(args: &StatusArgs, client: &Client) -> Result<ExitCode, ClientError> {
    while_read(Box::pin(look(args, client))).await
}

async fn look(args: &StatusArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let mut patience = Patience::new(client);
    loop {
        let mut answer: Value = patience.ask(|_away| client.get("/status")).await?.told;
        let printers = chosen(&mut answer, args.printer.as_deref())?;
        let shown =
            if args.json { format!("{}\n", pretty(args, &answer)) } else { overview(&answer, &printers) };
        if args.watch && !args.json && std::io::stdout().is_terminal() {
            // Home, and clear what the last look left below.
            print!("\x1b[H\x1b[J{shown}");
        } else {
            print!("{shown}");
        }
        let _closed_pipe = std::io::stdout().flush();
        if !args.watch {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn pretty(args: &StatusArgs, answer: &Value) -> String {
    // With --watch one line each, for programs that read lines.
    if args.watch { answer.to_string() } else { serde_json::to_string_pretty(answer).unwrap_or_default() }
}

/// The printers of an answer, which then holds no others.
fn chosen(answer: &mut Value, name: Option<&str>) -> Result<Vec<Value>, ClientError> {
    let Some(list) = answer.get_mut("printers").and_then(Value::as_array_mut) else {
        return Err(ClientError::Failed("the gateway's status lists no printers.".to_owned()));
    };
    if let Some(name) = name {
        let known = names(list);
        list.retain(|printer| text(printer, "/name") == name);
        if list.is_empty() {
            let hint = meant(name, &known);
            return Err(ClientError::Failed(format!("there is no printer \"{name}\"; {hint}")));
        }
    }
    Ok(list.clone())
}

/// The names of the printers of a status.
pub fn names(list: &[Value]) -> Vec<String> {
    list.iter().map(|printer| text(printer, "/name").to_owned()).collect()
}

/// What to say after that there is no such printer.
pub fn meant(name: &str, known: &[String]) -> String {
    let near = crate::model::text::nearest(&name.to_lowercase(), known.iter().map(String::as_str));
    near.map_or_else(
        || format!("known are {}.", known.join(", ")),
        |near| format!("did you mean \"{near}\"?"),
    )
}

fn overview(answer: &Value, printers: &[Value]) -> String {
    let head = ["printer", "state", "job", "done", "left", "nozzle", "bed"].map(str::to_owned).to_vec();
    let rows = printers.iter().map(row);
    let mut shown = table(std::iter::once(head).chain(rows).collect());
    if answer.get("state_fault").is_some_and(Value::is_object) {
        let told = |place| text(answer, place);
        shown.push_str(&format!(
            "! {} ({})\n  {}\n",
            told("/state_fault/text"),
            told("/state_fault/code"),
            told("/state_fault/remedy")
        ));
    }
    for printer in printers {
        for (place, sign) in [
            ("/link_fault/text", "!"),
            ("/link_fault/remedy", " "),
            ("/read_only", "i"),
            ("/occupation", "i"),
            ("/held", "!"),
            ("/camera_blocked", "i"),
        ] {
            let told = text(printer, place);
            if !told.is_empty() {
                shown.push_str(&format!("{sign} {}: {told}\n", text(printer, "/name")));
            }
        }
        for fault in printer.pointer("/faults").and_then(Value::as_array).into_iter().flatten() {
            let (name, told, code) = (text(printer, "/name"), text(fault, "/text"), text(fault, "/code"));
            shown.push_str(&format!("! {name}: {told} ({code})\n"));
        }
        let reason = text(printer, "/job/reason");
        if text(printer, "/job/phase") == "failed" && !reason.is_empty() {
            shown.push_str(&format!("! {}: the print failed: {reason}\n", text(printer, "/name")));
        }
    }
    harmless(&shown)
}

fn row(printer: &Value) -> Vec<String> {
    let link = text(printer, "/link");
    let phase = text(printer, "/job/phase");
    let active = !matches!(phase, "idle" | "complete" | "cancelled" | "failed");
    let halted = printer.pointer("/halted") == Some(&Value::Bool(true)) && !active;
    let state = match link {
        "online" if halted => "halted",
        "online" => phase,
        link => link,
    };
    let number = |place: &str| printer.pointer(place).and_then(Value::as_f64);
    let done =
        number("/job/progress").filter(|_| phase != "idle").map(|part| format!("{:.0} %", part * 100.0));
    let left = number("/job/remaining_s").filter(|_| active).map(duration);
    // A job that ended while the gateway was off may have no title.
    let title = Some(text(printer, "/job/title")).filter(|title| phase != "idle" && !title.is_empty());
    vec![
        text(printer, "/name").to_owned(),
        state.replace('_', " "),
        title.unwrap_or("-").to_owned(),
        done.unwrap_or_else(|| "-".to_owned()),
        left.unwrap_or_else(|| "-".to_owned()),
        heater(printer.pointer("/nozzles/0")),
        heater(printer.pointer("/bed")),
    ]
}

fn heater(heater: Option<&Value>) -> String {
    let number = |place: &str| heater.and_then(|heater| heater.pointer(place)).and_then(Value::as_f64);
    match (number("/actual"), number("/target").filter(|target| *target > 0.0)) {
        (Some(actual), Some(target)) => format!("{actual:.0}/{target:.0}"),
        (Some(actual), None) => format!("{actual:.0}"),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_overview_has_a_row_per_printer_and_its_faults_below() {
        let mut answer = json!({"printers": [
            {"name": "p1s", "link": "online", "nozzles": [{"actual": 219.6, "target": 220.0}], "bed": {"actual": 55.0, "target": 0.0},
             "job": {"phase": "printing", "title": "cube.gcode", "progress": 0.425, "remaining_s": 3700.0},
             "faults": [{"code": "0300_8004", "text": "Out of filament."}]},
            {"name": "cc1", "link": "backoff", "nozzles": [], "bed": {"actual": null}, "job": {"phase": "idle", "title": null},
             "link_fault": {"text": "No connection.", "remedy": "Switch it on."}, "faults": []},
            {"name": "cc2", "link": "online", "job": {"phase": "failed", "title": "cube.gcode", "reason": "It was away."},
             "faults": []},
            {"name": "cc3", "link": "online", "halted": true, "job": {"phase": "idle"}, "faults": []},
            {"name": "cc4", "link": "online", "job": {"phase": "complete", "title": null, "progress": 1.0}, "faults": []},
        ]});
        let printers = chosen(&mut answer, None).expect("all");
        let state_fault = json!({"code": "MG-STATE-GONE", "text": "It was deleted.", "remedy": "Restart."});
        let shown = overview(&json!({"state_fault": state_fault}), &printers);
        assert!(shown.contains("\n! It was deleted. (MG-STATE-GONE)\n  Restart.\n"), "{shown}");
        assert!(!overview(&json!({"state_fault": null}), &printers).contains("MG-STATE"));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "p1s printing cube.gcode 42 % 1 h 01 min 220/220 55"
        );
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>().join(" "), "cc1 backoff - - - - -");
        assert!(lines[4].starts_with("cc3") && lines[4].contains("halted"), "{shown}");
        assert_eq!(lines[5].split_whitespace().collect::<Vec<_>>().join(" "), "cc4 complete - 100 % - - -");
        assert!(shown.contains("! p1s: Out of filament. (0300_8004)"), "{shown}");
        assert!(shown.contains("! cc1: No connection.\n  cc1: Switch it on.\n"), "{shown}");
        assert!(shown.contains("! cc2: the print failed: It was away.\n"), "{shown}");
        for (typed, near) in [("p1", "p1s"), ("P1S", "p1s"), ("CC2", "cc2")] {
            let told = meant(typed, &["p1s".to_owned(), "cc2".to_owned()]);
            assert_eq!(told, format!("did you mean \"{near}\"?"));
        }
        let error = chosen(&mut answer, Some("p1")).expect_err("no such printer").to_string();
        assert!(error.contains("did you mean \"p1s\""), "{error}");
    }
}
