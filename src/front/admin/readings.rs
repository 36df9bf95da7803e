//! What a printer's own report says, as numbers for Prometheus: heaters, progress, the phase of the job.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::metrics::{Gauges, Number, PrinterLabels};
use crate::model::{Device, Heater, JobPhase, PrinterState};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeaterLabels {
    printer: String,
    kind: &'static str,
    /// `nozzle0` for T0 and so on, `bed`, `chamber`.
    heater: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    printer: String,
    kind: &'static str,
    phase: String,
}

pub struct Readings {
    temperature: Family<HeaterLabels, Number>,
    target: Family<HeaterLabels, Number>,
    progress: Family<PrinterLabels, Number>,
    phase: Family<PhaseLabels, Gauge>,
}

impl Readings {
    pub fn new(gateway: &mut Gauges<'_>) -> Self {
        let temperature =
            gateway.add_with_unit("heater_temperature", "Temperature of the heater", Unit::Celsius);
        let target =
            gateway.add_with_unit("heater_target", "What the heater is set to, 0 for off", Unit::Celsius);
        // Prometheus names a part of a whole in the singular.
        let ratio = Unit::Other("ratio".to_owned());
        let progress = gateway.add_with_unit("print_progress", "Part of the print that is done", ratio);
        let phase = gateway.add("job_phase", "1 for the phase that the job is in, 0 for all others");
        Self { temperature, target, progress, phase }
    }

    /// Before a scrape: what is not reported any more must not stay.
    pub fn forget(&self) {
        self.temperature.clear();
        self.target.clear();
        self.progress.clear();
    }

    /// Values of a printer that is away are old, and absent then; its job is what the gateway knows of it.
    pub fn read(&self, labels: &PrinterLabels, state: &PrinterState) {
        if state.online() {
            for (name, heater) in heaters(&state.device) {
                for (family, value) in [(&self.temperature, heater.actual), (&self.target, heater.target)] {
                    if let Some(value) = value {
                        family.get_or_create(&of_heater(labels, &name)).set(value);
                    }
                }
            }
        }
        if state.job.phase != JobPhase::Idle {
            self.progress.get_or_create(labels).set(state.job.progress);
        }
        for phase in JobPhase::ALL {
            let labels = PhaseLabels {
                printer: labels.printer.clone(),
                kind: labels.kind,
                phase: super::word(&phase),
            };
            self.phase.get_or_create(&labels).set(i64::from(phase == state.job.phase));
        }
    }
}

fn heaters(device: &Device) -> Vec<(String, Heater)> {
    let nozzles = device.nozzles.iter().enumerate();
    let mut heaters: Vec<_> =
        nozzles.map(|(tool, nozzle)| (format!("nozzle{tool}"), nozzle.heater)).collect();
    heaters.extend([("bed".to_owned(), device.bed), ("chamber".to_owned(), device.chamber)]);
    heaters
}

fn of_heater(labels: &PrinterLabels, heater: &str) -> HeaterLabels {
    HeaterLabels { printer: labels.printer.clone(), kind: labels.kind, heater: heater.to_owned() }
}

#[cfg(test)]
pub mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::model::{LinkPhase, Nozzle};

    /// A printer that prints: one nozzle hot, the bed without a target, no chamber.
    pub fn printing() -> PrinterState {
        let mut state = PrinterState::default();
        state.link.phase = LinkPhase::Online;
        let heater = Heater { actual: Some(219.5), target: Some(220.0) };
        state.device.nozzles = vec![Nozzle { heater, ..Nozzle::default() }];
        state.device.bed = Heater { actual: Some(55.0), target: None };
        state.job.phase = JobPhase::Printing;
        state.job.progress = 0.425;
        state
    }

    #[test]
    fn what_is_not_reported_is_absent() {
        let mut registry = Registry::default();
        let readings = Readings::new(&mut Gauges { registry: registry.sub_registry_with_prefix("moongate") });
        let labels = PrinterLabels { printer: "p1s".to_owned(), kind: "bambu" };
        let told = |state: &PrinterState| {
            readings.forget();
            readings.read(&labels, state);
            let mut text = String::new();
            encode(&mut text, &registry).expect("encoded");
            let samples = text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
            let mut lines: Vec<String> = samples.map(ToOwned::to_owned).collect();
            lines.sort();
            lines
        };
        let mut state = printing();
        let of = r#"printer="p1s",kind="bambu""#;
        let phase = |name: &str| format!(r#"moongate_job_phase{{{of},phase="{name}"}} 1"#);
        let progress = format!("moongate_print_progress_ratio{{{of}}} 0.425");
        assert_eq!(
            told(&state),
            [
                format!(r#"moongate_heater_target_celsius{{{of},heater="nozzle0"}} 220.0"#),
                format!(r#"moongate_heater_temperature_celsius{{{of},heater="bed"}} 55.0"#),
                format!(r#"moongate_heater_temperature_celsius{{{of},heater="nozzle0"}} 219.5"#),
                phase("printing"),
                progress.clone(),
            ]
        );
        state.link.phase = LinkPhase::Backoff;
        assert_eq!(told(&state), [phase("printing"), progress], "old temperatures are not told");
        state.job.phase = JobPhase::Idle;
        assert_eq!(told(&state), [phase("idle")]);
    }

    #[test]
    fn every_phase_is_told_once() {
        let words: std::collections::BTreeSet<String> =
            JobPhase::ALL.iter().map(super::super::word).collect();
        assert_eq!(words.len(), JobPhase::ALL.len());
        assert!(words.iter().all(|word| !word.is_empty()));
    }
}
