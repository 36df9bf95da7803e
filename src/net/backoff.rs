//! Growing, jittered waits between connection attempts.
use std::time::Duration;

use rand::Rng;

/// Doubles from `min` to `max`; each wait is spread by `jitter` so that printers that vanished
/// together (a power cut) are not called again in the same instant.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    jitter: f64,
    next: Duration,
}

impl Backoff {
    /// A backoff that waits `min` first and never more than `max`.
    ///
    /// `jitter` is the fraction of each wait taken away at random, clamped to 0..=1. A `max` below
    /// `min` counts as `min`.
    pub fn new(min: Duration, max: Duration, jitter: f64) -> Self {
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.0 };
        Self { min, max: max.max(min), jitter, next: min }
    }

    /// The wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.next_delay_with(&mut rand::rng())
    }

    /// As [`Backoff::next_delay`], with the caller's source of randomness.
    fn next_delay_with(&mut self, random: &mut impl Rng) -> Duration {
        let base = self.next;
        self.next = base.saturating_mul(2).min(self.max);
        base.mul_f64(1.0 - self.jitter * random.random::<f64>())
    }

    /// Starts again from `min`; call it once a connection has proved itself.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_up_to_the_maximum_and_starts_over_after_reset() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND, 0.0);
        let waits: Vec<u64> = (0..5).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), SECOND);
    }

    #[test]
    fn jitter_only_shortens_and_is_reproducible_from_a_seed() {
        let draw = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new(8 * SECOND, 8 * SECOND, 0.25);
            (0..50).map(|_| backoff.next_delay_with(&mut random)).collect::<Vec<_>>()
        };
        let waits = draw(7);
        assert!(waits.iter().all(|wait| (6 * SECOND..=8 * SECOND).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "every wait was the same");
        assert_eq!(waits, draw(7));
        assert_ne!(waits, draw(8));
    }

    #[test]
    fn nonsense_arguments_are_made_sane() {
        let mut backoff = Backoff::new(2 * SECOND, SECOND, f64::NAN);
        assert_eq!(backoff.next_delay(), 2 * SECOND);
        assert_eq!(backoff.next_delay(), 2 * SECOND);
    }
}
