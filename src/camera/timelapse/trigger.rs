//! When to take a picture: pure, from one state to the next.

use crate::model::{JobPhase, PrinterState};

/// What a state asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Take a picture for the job with this serial, at this layer.
    Shot {
        serial: u64,
        layer: u32,
    },
    /// The job is over; a last picture if it is complete.
    End {
        serial: u64,
        last: Option<u32>,
    },
}

/// Follows one printer.
#[derive(Debug, Default)]
pub struct Trigger {
    /// The job being followed and the layer of its last picture.
    job: Option<(u64, Option<u32>)>,
}

impl Trigger {
    /// `most` is how many pictures a job may have: of longer jobs every n-th layer is taken.
    ///
    /// The layer that counts is the one that begins (bambu.md 6.3), and only while the printer prints: a pause, a
    /// lost link or a repeated report takes no picture.
    pub fn next(&mut self, state: &PrinterState, most: u32) -> Step {
        let job = &state.job;
        if job.phase.ended() {
            return match self.job.take() {
                Some((serial, last)) if serial == job.serial => {
                    let complete = job.phase == JobPhase::Complete;
                    Step::End { serial, last: last.filter(|_| complete).map(|layer| layer + 1) }
                }
                _ => Step::Nothing,
            };
        }
        if job.phase != JobPhase::Printing || !state.online() {
            return Step::Nothing;
        }
        let shown = match self.job {
            Some((serial, shown)) if serial == job.serial => shown,
            _ => None,
        };
        self.job = Some((job.serial, shown));
        let Some(layer) = job.layer.filter(|layer| *layer > 0) else { return Step::Nothing };
        let stride = job.total_layers.unwrap_or(0).div_ceil(most.max(1)).max(1);
        if shown.is_some_and(|shown| layer < shown.saturating_add(stride)) {
            return Step::Nothing;
        }
        self.job = Some((job.serial, Some(layer)));
        Step::Shot { serial: job.serial, layer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LinkPhase;

    fn state(serial: u64, phase: JobPhase, layer: Option<u32>) -> PrinterState {
        let mut state = PrinterState::default();
        state.link.phase = LinkPhase::Online;
        (state.job.serial, state.job.phase, state.job.layer) = (serial, phase, layer);
        state.job.total_layers = Some(10);
        state
    }

    #[test]
    fn one_picture_for_each_layer_and_one_of_the_finished_print() {
        let mut trigger = Trigger::default();
        use JobPhase::*;
        let shot = |layer| Step::Shot { serial: 1, layer };
        for (phase, layer, expected) in [
            (Preparing, Some(0), Step::Nothing),
            (Printing, None, Step::Nothing),
            (Printing, Some(0), Step::Nothing),
            (Printing, Some(1), shot(1)),
            (Printing, Some(1), Step::Nothing),
            (Paused, Some(2), Step::Nothing),
            (Printing, Some(2), shot(2)),
            (Printing, Some(1), Step::Nothing),
            (Printing, Some(5), shot(5)),
            (Complete, Some(5), Step::End { serial: 1, last: Some(6) }),
            (Complete, Some(5), Step::Nothing),
        ] {
            assert_eq!(trigger.next(&state(1, phase, layer), 100), expected, "{phase:?} {layer:?}");
        }
        assert_eq!(trigger.next(&state(2, Printing, Some(1)), 100), Step::Shot { serial: 2, layer: 1 });
        assert_eq!(trigger.next(&state(2, Cancelled, Some(3)), 100), Step::End { serial: 2, last: None });
    }

    #[test]
    fn long_jobs_are_thinned_and_lost_links_take_none() {
        let mut trigger = Trigger::default();
        let shots: Vec<u32> = (1..=10)
            .filter(|layer| trigger.next(&state(1, JobPhase::Printing, Some(*layer)), 4) != Step::Nothing)
            .collect();
        assert_eq!(shots, [1, 4, 7, 10]);
        let mut offline = state(2, JobPhase::Printing, Some(1));
        offline.link.phase = LinkPhase::Stale;
        assert_eq!(trigger.next(&offline, 4), Step::Nothing);
    }
}
