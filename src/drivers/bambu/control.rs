//! Whether the printer accepts commands (bambu.md 4.8): learned from reports and answers, never probed.

use serde_json::Value;

use super::faults;
use super::field::{at, bit, hex};
use super::models::ModelRow;
use super::wire::Ack;
use crate::model::{CommandError, Control};

/// What to do about firmware that takes signed commands only.
pub(super) const GATE: &str = "This printer accepts only signed commands. On the printer: Settings > LAN Only Mode: \
    on, then Developer Mode: on (P1: Settings > WLAN), restart the printer, then enter the access code again in the \
    gateway's configuration (it changes). Bambu Cloud, Handy and remote access stop working while it is on. Without \
    it the gateway stays read-only: status, files and camera.";

/// Why an unknown model is only shown.
pub(super) const UNKNOWN_MODEL: &str = "The gateway does not know this model yet, so it only shows it: a wrong \
    command could damage it. If it is a known model, set `model` for this printer in the configuration.";

/// Signature missing, signature malformed.
const REJECTED: [u32; 2] = [0x0502_4007, 0x0502_4009];

/// Bit 29 of `fun`: commands must be signed.
const SIGNATURE_BIT: u32 = 29;

/// What the reports say of the permission; `None` where they say nothing.
pub(super) fn from_reports(tree: &Value, row: &ModelRow) -> Option<Control> {
    if !row.controllable {
        return Some(Control::ReadOnly(UNKNOWN_MODEL.to_owned()));
    }
    let gated = bit(hex(at(tree, "/fun"))?, SIGNATURE_BIT);
    Some(if gated { Control::ReadOnly(GATE.to_owned()) } else { Control::Allowed })
}

/// The health message of a rejected command stands on the printer's screen.
pub(super) fn rejection_shown(tree: &Value) -> bool {
    faults::verify_failed(tree)
}

/// The answer rejects the command for its missing signature.
pub(super) fn rejects(ack: &Ack) -> bool {
    ack.err_code.is_some_and(|code| REJECTED.contains(&code))
        || ack.reason.as_deref().is_some_and(|reason| reason.to_ascii_lowercase().contains("verify failed"))
}

/// The refusal of a gated printer.
pub(super) fn refusal() -> CommandError {
    CommandError::NotAllowed(GATE.to_owned())
}

/// A negative answer in words; `None` for a positive or silent one.
pub(super) fn refused(ack: &Ack) -> Option<CommandError> {
    if rejects(ack) {
        return Some(refusal());
    }
    let by_errno = ack.errno.filter(|errno| *errno < 0);
    if ack.success != Some(false) && ack.err_code.is_none() && by_errno.is_none() {
        return None;
    }
    let text = match (by_errno, ack.err_code.and_then(faults::job_fault)) {
        // Answers to a filament change (bambu.md 4.6).
        (Some(-2), _) => "The chamber is too hot for this; open the door and let it cool.".to_owned(),
        (Some(-4), _) => "The filament unit is too hot for this; let it cool.".to_owned(),
        (_, Some(fault)) => fault.text,
        _ => match ack.reason.as_deref() {
            Some(reason) => format!("The printer refused: {reason}."),
            None => "The printer refused without a reason; its screen may tell more.".to_owned(),
        },
    };
    let code = match (ack.err_code, by_errno) {
        (Some(code), _) => format!("{:04X}_{:04X}", code >> 16, code & 0xFFFF),
        (None, Some(errno)) => format!("errno {errno}"),
        (None, None) => ack.command.clone().unwrap_or_else(|| ack.category.clone()),
    };
    Some(CommandError::Refused { code, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::bambu::models::{GENERIC, by_code_or_name};
    use crate::drivers::bambu::wire::{Incoming, parse};
    use serde_json::json;

    fn ack(name: &str) -> Ack {
        let bytes = std::fs::read(format!("fixtures/bambu/{name}.json")).expect("fixture");
        match parse(&bytes).expect("json").remove(0) {
            Incoming::Ack(ack) => ack,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_become_reasons() {
        for name in ["ack-gcode_line-verify-failed", "ack-extrusion_cali_get-cloud-rejected"] {
            assert_eq!(refused(&ack(name)), Some(CommandError::NotAllowed(GATE.to_owned())), "{name}");
        }
        assert_eq!(refused(&ack("ack-gcode_line-a1mini")), None);
        assert_eq!(refused(&ack("ack-bare-p1s-01.10")), None);
        let Some(CommandError::Refused { text, .. }) = refused(&ack("ack-extrusion_cali_set-fail")) else {
            panic!("refused")
        };
        assert!(text.contains("invalid tray_id"));
    }

    #[test]
    fn the_signature_bit_decides() {
        let h2d = by_code_or_name("H2D").expect("row");
        assert_eq!(
            from_reports(&json!({"fun": "3EC1AFFF9CFF"}), h2d),
            Some(Control::ReadOnly(GATE.to_owned()))
        );
        assert_eq!(from_reports(&json!({"fun": "3EC18FFF9CFF"}), h2d), Some(Control::Allowed));
        assert_eq!(from_reports(&json!({}), h2d), None);
        assert!(matches!(from_reports(&json!({"fun": "0"}), &GENERIC), Some(Control::ReadOnly(_))));
    }
}
