//! Waiting times between tries: growing, bounded, spread by chance so that many printers do not knock together.

use std::time::Duration;

use rand::Rng;

/// Waiting times that double from `min` to `max`.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// The next waiting time: the step, plus up to a quarter of it.
    pub fn step(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.max);
        base + base.mul_f64(rand::rng().random_range(0.0..0.25))
    }

    /// After a success: begin from the shortest time again.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for expected in [1, 2, 4, 5, 5] {
            let expected = Duration::from_secs(expected);
            let step = backoff.step();
            assert!(step >= expected && step <= expected.mul_f64(1.25), "{step:?} for {expected:?}");
        }
        backoff.reset();
        assert!(backoff.step() < Duration::from_secs(2));
    }
}
