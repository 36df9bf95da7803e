//! Error codes in words: `print_error` (why a job waits or stopped) and `hms` (health of the machine), bambu.md 3.9.
//!
//! The texts are our own and cover the codes that our sources explain; every other code is shown with its module.

mod health_texts;
mod job_texts;

use serde_json::Value;

use super::field::{at, bits32, int, list};
use crate::model::{Fault, FaultAction, FaultSource, Severity, UnixSeconds};

/// A page that lists the codes; single pages of `print_error` codes are not documented in our sources.
const WIKI_OVERVIEW: &str = "https://wiki.bambulab.com/en/hms/home";
const WIKI_HMS: &str = "https://wiki.bambulab.com/en/x1/troubleshooting/hmscode/";

/// HMS code that a rejected unsigned command raises on the screen (fixture delta-hms-verify-failed).
pub(super) const VERIFY_FAILED: &str = "HMS_0500_0500_0001_0007";

/// Reported when a user cancels; not a fault (bambu.md T21).
const CANCEL_ECHOES: [u32; 2] = [0x0300_400C, 0x0500_400E];
/// Reported in passing without meaning anything (bambu.md 3.9).
const BENIGN: [u32; 3] = [0x0500_C011, 0x0500_8030, 0x0300_8012];

/// All active faults, worst first; `before` tells since when they are known.
pub(super) fn reduce(tree: &Value, before: &[Fault], now: UnixSeconds) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let job = bits32(at(tree, "/print_error")).and_then(job_fault);
    for fault in job.into_iter().chain(list(at(tree, "/hms")).iter().filter_map(hms_fault)) {
        if !faults.iter().any(|known| known.code == fault.code) {
            let since = before.iter().find(|old| old.code == fault.code).map_or(now, |old| old.since);
            faults.push(Fault { since, ..fault });
        }
    }
    faults.sort_by_key(|fault| std::cmp::Reverse(fault.severity));
    faults
}

/// The report says that its failed job was cancelled by a user.
pub(super) fn is_cancel_echo(tree: &Value) -> bool {
    job_code(tree).is_some_and(|code| CANCEL_ECHOES.contains(&code))
        || hms_codes(tree).any(is_hms_cancel_echo)
}

/// H2D also raises `0C00_001B` after a cancel (bambu.md 3.5).
fn is_hms_cancel_echo((attr, code): (u32, u32)) -> bool {
    attr >> 16 == 0x0C00 && code & 0xFFFF == 0x001B
}

/// The fault of a job's failure, also when `print_error` is back to 0.
pub(super) fn failure_reason(tree: &Value) -> Option<String> {
    job_fault(job_code(tree)?).map(|fault| fault.line())
}

/// The number that tells how the job ended: the newest that is not 0. H2C keeps it only in `fail_reason` (fixture
/// report-pushall-h2c), which may be that of an earlier job where another number tells something else.
fn job_code(tree: &Value) -> Option<u32> {
    let numbers = ["/print_error", "/mc_print_error_code", "/fail_reason"];
    numbers.iter().filter_map(|key| bits32(at(tree, key))).find(|code| *code != 0)
}

/// True while the printer shows that it rejected an unsigned command.
pub(super) fn verify_failed(tree: &Value) -> bool {
    hms_codes(tree).any(|(attr, code)| hms_id(attr, code) == VERIFY_FAILED)
}

/// `print_error` as a fault; `None` for none, for echoes of a cancel and for meaningless ones.
pub(super) fn job_fault(code: u32) -> Option<Fault> {
    if code == 0 || CANCEL_ECHOES.contains(&code) || BENIGN.contains(&code) {
        return None;
    }
    let id = format!("{:04X}_{:04X}", code >> 16, code & 0xFFFF);
    let known = job_texts::find(code).map(|(severity, text)| (severity, text.to_owned()));
    let (severity, text) = known.unwrap_or_else(|| (by_range(code), unknown_text(code)));
    Some(Fault {
        actions: actions(code, severity),
        module: module((code >> 24) as u8, ((code >> 16) & 0xFF) as u8),
        link: Some(WIKI_OVERVIEW.to_owned()),
        ..Fault::new(FaultSource::Job, severity, id, text)
    })
}

fn is_filament_runout(code: u32) -> bool {
    code == 0x0300_8015 || (code >> 24 == 0x07 && code & 0xFFFF == 0x8011)
}

/// What the number range says about an unknown code.
fn by_range(code: u32) -> Severity {
    match code & 0xFFFF {
        0x4000..=0xBFFF => Severity::Serious,
        _ => Severity::Info,
    }
}

fn unknown_text(code: u32) -> String {
    let what = match code & 0xFFFF {
        0x4000..=0x7FFF => "The printer stopped the job",
        0x8000..=0xBFFF => "The printer waits for the user",
        _ => "The printer notes something",
    };
    format!("{what}; its screen shows the details of this code.")
}

fn actions(code: u32, severity: Severity) -> Vec<FaultAction> {
    let ams = matches!(code >> 24, 0x07 | 0x12 | 0x18);
    match code & 0xFFFF {
        0x8000..=0xBFFF if ams && !is_filament_runout(code) => {
            vec![FaultAction::RetryFilament, FaultAction::Unload, FaultAction::Cancel]
        }
        0x8000..=0xBFFF => vec![FaultAction::Resume, FaultAction::Cancel],
        _ if severity >= Severity::Warning => vec![FaultAction::Clear],
        _ => vec![],
    }
}

fn hms_codes(tree: &Value) -> impl Iterator<Item = (u32, u32)> + '_ {
    list(at(tree, "/hms")).iter().filter_map(|entry| {
        Some((u32::try_from(int(at(entry, "/attr"))?).ok()?, u32::try_from(int(at(entry, "/code"))?).ok()?))
    })
}

fn hms_id(attr: u32, code: u32) -> String {
    format!("HMS_{:04X}_{:04X}_{:04X}_{:04X}", attr >> 16, attr & 0xFFFF, code >> 16, code & 0xFFFF)
}

fn hms_fault(entry: &Value) -> Option<Fault> {
    let attr = u32::try_from(int(at(entry, "/attr"))?).ok()?;
    let code = u32::try_from(int(at(entry, "/code"))?).ok()?;
    let id = hms_id(attr, code);
    // Severity is in the code, not in the attribute as some clients have it (bambu.md 3.9).
    let severity = match code >> 16 {
        _ if is_hms_cancel_echo((attr, code)) => Severity::Info,
        1 => Severity::Fatal,
        2 => Severity::Serious,
        3 => Severity::Warning,
        _ => Severity::Info,
    };
    let unknown =
        || "The printer reports a condition; its screen and the linked page explain this code.".to_owned();
    let text = health_texts::find(attr, code).unwrap_or_else(unknown);
    let page = id.strip_prefix("HMS_").unwrap_or(&id);
    Some(Fault {
        link: Some(format!("{WIKI_HMS}{page}")),
        module: module((attr >> 24) as u8, ((attr >> 16) & 0xFF) as u8),
        ..Fault::new(FaultSource::Device, severity, id, text)
    })
}

/// Part of the machine and, for filament units, which one.
fn module(number: u8, instance: u8) -> Option<String> {
    match number {
        0x03 => Some("Motion controller".to_owned()),
        0x05 => Some("Mainboard".to_owned()),
        0x07 if instance == 0xFF => Some("AMS".to_owned()),
        0x07 => Some(format!("AMS {}", u16::from(instance) + 1)),
        0x08 => Some("Toolhead".to_owned()),
        0x0C => Some("Camera".to_owned()),
        // Which units these numbers mean is inferred (bambu.md 3.9).
        0x12 => Some("AMS Lite".to_owned()),
        0x18 => Some("AMS HT".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn print_errors_have_severity_module_and_text() {
        assert_eq!(job_fault(0x0300_400C), None, "a cancel is not a fault");
        assert_eq!(job_fault(0), None);
        let runout = job_fault(0x0701_8011).expect("fault");
        assert_eq!((runout.code.as_str(), runout.module.as_deref()), ("0701_8011", Some("AMS 2")));
        assert!(runout.text.contains("run out") && runout.actions.contains(&FaultAction::Resume));
        assert_eq!(job_fault(0x0300_8001).map(|f| f.severity), Some(Severity::Info));
        assert_eq!(
            job_fault(0x0C00_4ABC).map(|f| (f.code, f.severity)),
            Some(("0C00_4ABC".into(), Severity::Serious))
        );
        assert_eq!(job_fault(0x0C00_C123).map(|f| f.severity), Some(Severity::Info));
        for (code, severity, text) in job_texts::CODES {
            let fault = job_fault(*code).expect("a fault");
            assert_eq!((fault.severity, fault.text.as_str()), (*severity, *text), "{code:08X}");
            assert!(text.ends_with('.') && fault.link.is_some(), "{code:08X}");
            assert_eq!(
                job_texts::CODES.iter().filter(|row| row.0 == *code).count(),
                1,
                "{code:08X} is there once"
            );
        }
        let of_lite = job_fault(0x1200_8006).expect("fault");
        assert!(of_lite.text.contains("tangled") && of_lite.actions.contains(&FaultAction::RetryFilament));
        assert_eq!(job_fault(0x1803_8011).map(|f| f.text), job_fault(0x0700_8011).map(|f| f.text));
    }

    #[test]
    fn hms_is_read_as_the_fixtures_say() {
        // X2D fixture: attr 83887616, code 131184 (bambu.md 3.9).
        let tree = json!({"hms": [{"attr": 83_887_616, "code": 131_184}, {"attr": "x"}, 7, {"attr": 83_887_616, "code": 131_184}]});
        let faults = reduce(&tree, &[], 5.0);
        assert_eq!(faults.len(), 1, "damaged entries and repetitions are left out");
        let fault = &faults[0];
        assert_eq!(fault.code, "HMS_0500_0600_0002_0070");
        assert_eq!((fault.severity, fault.module.as_deref()), (Severity::Serious, Some("Mainboard")));
        assert_eq!(fault.link.as_deref(), Some(&*format!("{WIKI_HMS}0500_0600_0002_0070")));
        assert_eq!(fault.since, 5.0);
        assert_eq!(reduce(&tree, &faults, 9.0)[0].since, 5.0);
        let text =
            |attr: u32, code: u32| hms_fault(&json!({"attr": attr, "code": code})).expect("fault").text;
        assert!(text(0x0702_2100, 0x0002_0001).starts_with("Slot 2: the filament has run out"));
        assert!(text(0x0300_0300, 0x0002_0002).contains("fan of the hotend"));
        assert!(
            text(0x0300_0D00, 0x0001_000B).contains("Z axis")
                && text(0x0300_0D00, 0x0001_0009).contains("plate")
        );
        assert!(text(0x0500_0500, 0x0001_0007).contains("Developer Mode"));
        assert!(text(0x0900_0000, 0x0002_0001).contains("linked page"), "unknown codes say where to look");
        assert!(verify_failed(&json!({"hms": [{"attr": 83_887_360, "code": 65_543}]})));
        assert!(!verify_failed(&tree));
    }
}
