//! Who may talk to the simulated CC2: registrations with a limit, an expiry without PING, and deaf spells after
//! bursts (dossier 3.4, 3.5). Pure: the caller brings the time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Clone)]
struct Client {
    session: u64,
    pinged: Instant,
    gone: Option<Instant>,
}

/// The registered clients, by client id.
#[derive(Debug, Default)]
pub struct Registry {
    clients: HashMap<String, Client>,
    recent: VecDeque<Instant>,
    deaf_until: Option<Instant>,
}

/// The durations that matter here.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub clients: usize,
    pub ttl: Duration,
    pub dead_slot: Duration,
    pub burst_window: Duration,
    pub burst_deaf: Duration,
}

impl Registry {
    /// False when the slots are taken by others.
    pub fn register(&mut self, client: &str, session: u64, limits: &Limits, now: Instant) -> bool {
        self.expire(limits, now);
        if !self.clients.contains_key(client) && self.clients.len() >= limits.clients {
            return false;
        }
        self.clients.insert(client.to_owned(), Client { session, pinged: now, gone: None });
        true
    }

    /// A registration belongs to one MQTT session: after a reconnect it has to be made again.
    pub fn knows(&mut self, client: &str, session: u64, limits: &Limits, now: Instant) -> bool {
        self.expire(limits, now);
        self.clients.get(client).is_some_and(|known| known.session == session)
    }

    /// Prolongs a registration.
    pub fn ping(&mut self, client: &str, now: Instant) {
        if let Some(known) = self.clients.get_mut(client) {
            known.pinged = now;
        }
    }

    /// A session ended: cleanly, and its slot is free, or not, and the slot stays taken for a while.
    pub fn leave(&mut self, session: u64, clean: bool, now: Instant) {
        if clean {
            self.clients.retain(|_, client| client.session != session);
        }
        for client in self.clients.values_mut().filter(|client| client.session == session) {
            client.gone = Some(now);
        }
    }

    /// Registered clients now.
    pub fn count(&self) -> usize {
        self.clients.len()
    }

    /// Everything forgotten, as by a reboot.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// True when this request falls into a deaf spell, which the third request in quick succession starts.
    pub fn swallows(&mut self, limits: &Limits, now: Instant) -> bool {
        if limits.burst_window.is_zero() {
            return false;
        }
        if self.deaf_until.is_some_and(|until| now < until) {
            return true;
        }
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|first| now.duration_since(*first) > limits.burst_window) {
            self.recent.pop_front();
        }
        let burst = self.recent.len() >= 3;
        if burst {
            self.recent.clear();
            self.deaf_until = Some(now + limits.burst_deaf);
        }
        burst
    }

    fn expire(&mut self, limits: &Limits, now: Instant) {
        self.clients.retain(|_, client| {
            let alive = now.duration_since(client.pinged) < limits.ttl;
            alive && client.gone.is_none_or(|gone| now.duration_since(gone) < limits.dead_slot)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        clients: 2,
        ttl: Duration::from_secs(360),
        dead_slot: Duration::from_secs(65),
        burst_window: Duration::from_secs(1),
        burst_deaf: Duration::from_secs(5),
    };

    #[test]
    fn two_clients_fit_and_slots_come_back() {
        let (mut registry, start) = (Registry::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(registry.register("a", 1, &LIMITS, start) && registry.register("b", 2, &LIMITS, start));
        assert!(!registry.register("c", 3, &LIMITS, start), "the third is refused");
        registry.leave(1, true, start);
        assert!(registry.register("c", 3, &LIMITS, start), "a clean farewell frees the slot at once");
        registry.leave(2, false, start);
        assert!(!registry.register("d", 4, &LIMITS, after(60)), "a vanished client holds its slot");
        assert!(registry.register("d", 4, &LIMITS, after(66)));
    }

    #[test]
    fn a_registration_needs_its_session_and_its_pings() {
        let (mut registry, start) = (Registry::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        registry.register("a", 1, &LIMITS, start);
        assert!(!registry.knows("a", 9, &LIMITS, start), "a reconnect must register again");
        registry.ping("a", after(300));
        assert!(registry.knows("a", 1, &LIMITS, after(600)));
        assert!(!registry.knows("a", 1, &LIMITS, after(661)), "mute without PING");
    }

    #[test]
    fn the_third_quick_request_starts_a_deaf_spell() {
        let (mut registry, start) = (Registry::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert!(!registry.swallows(&LIMITS, start) && !registry.swallows(&LIMITS, after(100)));
        assert!(registry.swallows(&LIMITS, after(200)) && registry.swallows(&LIMITS, after(5100)));
        assert!(!registry.swallows(&LIMITS, after(5300)));
    }
}
