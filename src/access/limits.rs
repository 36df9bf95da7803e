//! Failed attempts per address: who guesses is made to wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures of one address that are answered as such within [`WINDOW`]; the next ones must wait.
const ALLOWED: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered at once. All others share one count, so that a flood of them is slowed too.
const ADDRESSES: usize = 4096;

#[derive(Clone, Copy)]
struct Count {
    since: Instant,
    failures: u32,
}

/// Counts failures by address; IPv6 by the /64 that one household has.
#[derive(Default)]
pub struct Failures {
    counts: Mutex<HashMap<Option<u128>, Count>>,
}

impl Failures {
    /// The seconds to wait, where there were too many failures.
    pub fn wait(&self, address: Option<IpAddr>) -> Option<u64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = slot(&counts, address);
        let count = *counts.get(&key)?;
        let age = count.since.elapsed();
        if age >= WINDOW {
            counts.remove(&key);
            return None;
        }
        (count.failures >= ALLOWED).then(|| (WINDOW - age).as_secs().max(1))
    }

    pub fn note(&self, address: Option<IpAddr>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= ADDRESSES {
            counts.retain(|_, count| count.since.elapsed() < WINDOW);
        }
        let key = slot(&counts, address);
        let count = counts.entry(key).or_insert(Count { since: Instant::now(), failures: 0 });
        count.failures = count.failures.saturating_add(1);
    }

    /// A success ends the suspicion.
    pub fn forget(&self, address: Option<IpAddr>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = household(address) {
            counts.remove(&Some(key));
        }
    }
}

fn slot(counts: &HashMap<Option<u128>, Count>, address: Option<IpAddr>) -> Option<u128> {
    let key = household(address);
    if counts.contains_key(&key) || counts.len() < ADDRESSES { key } else { None }
}

fn household(address: Option<IpAddr>) -> Option<u128> {
    address.map(|address| match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6) & !u128::from(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_eleventh_guess_waits_and_others_do_not() {
        let failures = Failures::default();
        let one = "192.0.2.1".parse().ok();
        for _ in 0..ALLOWED {
            assert_eq!(failures.wait(one), None);
            failures.note(one);
        }
        assert_eq!(failures.wait(one), Some(60));
        assert_eq!(failures.wait("192.0.2.2".parse().ok()), None);
        tokio::time::advance(WINDOW).await;
        assert_eq!(failures.wait(one), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_takes_no_memory_and_is_slowed() {
        let failures = Failures::default();
        for number in 0..20_000u32 {
            failures.note(Some(IpAddr::from(number.to_be_bytes())));
        }
        assert!(failures.counts.lock().expect("lock").len() <= ADDRESSES + 1);
        assert!(failures.wait("203.0.113.9".parse().ok()).is_some(), "new ones share a full count");
    }

    #[test]
    fn a_household_is_one() {
        assert_eq!(household("2001:db8::1".parse().ok()), household("2001:db8:0:0:ffff::9".parse().ok()));
        assert_ne!(household("2001:db8::1".parse().ok()), household("2001:db8:0:1::1".parse().ok()));
        assert_eq!(household("::ffff:192.0.2.1".parse().ok()), household("192.0.2.1".parse().ok()));
    }
}
