//! Percentiles of what was measured.

use serde_json::{Value, json};

/// Seconds at the middle, at 99 of 100, and how many there were.
pub fn summary(mut seconds: Vec<f64>) -> Value {
    seconds.sort_by(f64::total_cmp);
    json!({"p50": at(&seconds, 0.50), "p99": at(&seconds, 0.99), "count": seconds.len()})
}

fn at(sorted: &[f64], share: f64) -> Option<f64> {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied()
}
