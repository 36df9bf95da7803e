//! The link and the permission told as Klipper's state (moonraker.md 2.7, section 5).

use std::sync::Arc;

use crate::model::{Control, DeviceStage, LinkPhase, PrinterState};

/// What the user asked of the connection itself; stays until it is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Gate {
    #[default]
    Open,
    /// After an emergency stop, until `firmware_restart`; with what this printer does then and what helps.
    Stopped(Arc<str>),
    /// Between the two notifications of a restart.
    Restarting,
}

/// Klipper's state as `server.info`, `printer.info` and `webhooks` tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Klippy {
    /// False while the printer is away or a restart goes on: `printer.*` then answers 503 with the reason (moonraker.md
    /// 2.2 and section 5, docs/decisions/006).
    pub connected: bool,
    /// `ready`, `startup`, `shutdown`, `error` or `disconnected`.
    pub state: &'static str,
    pub message: String,
}

impl Klippy {
    pub fn ready(&self) -> bool {
        self.state == "ready"
    }

    /// What a state looks like from a client.
    pub fn of(state: &PrinterState, gate: &Gate) -> Self {
        match gate {
            Gate::Restarting => return Self::disconnected("The connection to the printer is made anew."),
            Gate::Stopped(told) => return Self::stopped(state.device.halted.as_deref().unwrap_or(told)),
            Gate::Open => {}
        }
        let link = &state.link;
        match (link.phase, &link.fault) {
            (LinkPhase::Online, _) if state.device.halted.is_some() => {
                let why = state.device.halted.as_deref().unwrap_or_default();
                Self::shutdown(why)
            }
            (LinkPhase::Online, _) => {
                let message = match &state.control {
                    Control::ReadOnly(reason) => format!("Printer is ready, read only: {reason}"),
                    _ => "Printer is ready".to_owned(),
                };
                Self { connected: true, state: "ready", message }
            }
            (LinkPhase::Off, None) => Self::disconnected("The gateway does not run this printer's connection."),
            // What mends itself is a printer that is away; what the user has to mend is Klipper's error with its remedy,
            // and so is a printer that was never reached: its address may be wrong.
            (_, Some(fault)) if fault.permanent || never_seen(state) => {
                Self { connected: true, state: "error", message: fault.sentence() }
            }
            (_, Some(fault)) => Self::disconnected(&fault.sentence()),
            (LinkPhase::Stale, None) => Self::disconnected(
                "The printer is connected but has fallen silent; the gateway waits for it. If it stays so, look whether the \
                 printer is on and in the network.",
            ),
            (_, None) => Self {
                connected: true,
                state: "startup",
                message: "Printer is not ready\nThe gateway is connecting to the printer; please retry in a few moments.\n"
                    .to_owned(),
            },
        }
    }

    fn disconnected(message: &str) -> Self {
        Self { connected: false, state: "disconnected", message: message.to_owned() }
    }

    /// Taken into service again by the user only: what the printer itself needs comes first.
    fn stopped(told: &str) -> Self {
        Self::shutdown(&format!(
            "Shutdown due to webhooks request\n{told}\nThen use the \"FIRMWARE_RESTART\" command to take the printer into \
             service again."
        ))
    }

    fn shutdown(why: &str) -> Self {
        Self { connected: true, state: "shutdown", message: format!("{why}\nPrinter is shutdown\n") }
    }
}

/// No report has come since the gateway began.
fn never_seen(state: &PrinterState) -> bool {
    state.device.job.stage == DeviceStage::Unknown
}

/// The notifications that a change asks for, in order; none when clients see the same.
pub fn notifications(before: &Klippy, after: &Klippy) -> Vec<&'static str> {
    if before.state == after.state {
        return Vec::new();
    }
    match after.state {
        "ready" if before.state == "shutdown" => vec!["notify_klippy_disconnected", "notify_klippy_ready"],
        "ready" => vec!["notify_klippy_ready"],
        "shutdown" => vec!["notify_klippy_shutdown"],
        _ if before.state == "ready" || before.connected && !after.connected => {
            vec!["notify_klippy_disconnected"]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LinkFault;

    fn state(phase: LinkPhase, permanent: Option<bool>) -> PrinterState {
        let mut state = PrinterState::default();
        state.device.job.stage = DeviceStage::Idle;
        state.link.phase = phase;
        state.link.fault = permanent.map(|permanent| LinkFault {
            code: "MG-X".to_owned(),
            text: "No route.".to_owned(),
            remedy: "Check the address.".to_owned(),
            permanent,
        });
        state
    }

    fn word(phase: LinkPhase, permanent: Option<bool>) -> (&'static str, bool) {
        let klippy = Klippy::of(&state(phase, permanent), &Gate::Open);
        (klippy.state, klippy.connected)
    }

    #[test]
    fn each_link_phase_has_its_word() {
        assert_eq!(word(LinkPhase::Online, None), ("ready", true));
        assert_eq!(word(LinkPhase::Connecting, None), ("startup", true));
        assert_eq!(word(LinkPhase::Syncing, None), ("startup", true));
        assert_eq!(word(LinkPhase::Backoff, Some(false)), ("disconnected", false));
        assert_eq!(word(LinkPhase::Stale, None), ("disconnected", false));
        assert_eq!(word(LinkPhase::Backoff, Some(true)), ("error", true));
        assert_eq!(
            word(LinkPhase::Connecting, Some(true)),
            ("error", true),
            "no flapping while it is tried again"
        );
        let fault = Klippy::of(&state(LinkPhase::Backoff, Some(true)), &Gate::Open);
        assert_eq!(fault.message, "No route. Check the address.");
    }

    #[test]
    fn a_printer_that_never_answered_is_told_with_its_remedy() {
        let mut never = state(LinkPhase::Backoff, Some(false));
        never.device.job.stage = DeviceStage::Unknown;
        let klippy = Klippy::of(&never, &Gate::Open);
        assert_eq!((klippy.state, klippy.connected), ("error", true));
        assert_eq!(klippy.message, "No route. Check the address.");
    }

    #[test]
    fn a_halted_machine_is_shut_down_whoever_stopped_it() {
        let mut halted = state(LinkPhase::Online, None);
        halted.device.halted = Some("Halted; switch it off and on.".to_owned());
        let klippy = Klippy::of(&halted, &Gate::Open);
        assert_eq!((klippy.state, klippy.connected), ("shutdown", true));
        assert!(klippy.message.starts_with("Halted; switch it off and on.\n"), "{}", klippy.message);
        // Home Assistant shows no state of more than 255 characters; a driver takes 120 of them.
        let longest = Gate::Stopped("x".repeat(120).into());
        let online = Klippy::of(&state(LinkPhase::Online, None), &longest);
        assert!(online.message.len() <= 255, "{}", online.message.len());
        let stopped = Gate::Stopped("The printer halts.".into());
        let klippy = Klippy::of(&halted, &stopped);
        assert!(klippy.message.contains("\nHalted; switch it off and on.\n"), "{}", klippy.message);
        assert!(
            klippy.message.contains("\"FIRMWARE_RESTART\""),
            "the gate is closed too: {}",
            klippy.message
        );
        halted.device.halted = None;
        let klippy = Klippy::of(&halted, &stopped);
        assert!(klippy.message.contains("\nThe printer halts.\n"), "{}", klippy.message);
        assert_eq!(Klippy::of(&halted, &Gate::Open).state, "ready");
    }

    #[test]
    fn only_real_changes_are_told() {
        let ready = Klippy::of(&state(LinkPhase::Online, None), &Gate::Open);
        let lost = Klippy::of(&state(LinkPhase::Backoff, Some(false)), &Gate::Open);
        let stopped =
            Klippy::of(&state(LinkPhase::Online, None), &Gate::Stopped("The heaters are off.".into()));
        assert!(notifications(&ready, &ready).is_empty());
        assert_eq!(notifications(&ready, &lost), ["notify_klippy_disconnected"]);
        assert_eq!(notifications(&lost, &ready), ["notify_klippy_ready"]);
        let refused = Klippy::of(&state(LinkPhase::Backoff, Some(true)), &Gate::Open);
        assert_eq!(
            notifications(&ready, &refused),
            ["notify_klippy_disconnected"],
            "the UIs then ask for the reason"
        );
        assert!(
            notifications(&lost, &refused).is_empty(),
            "clients ask for the state while there is no Klipper"
        );
        assert_eq!(notifications(&ready, &stopped), ["notify_klippy_shutdown"]);
    }
}
