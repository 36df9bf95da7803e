//! Asking by UDP who is there (elegoo.md 2.2, 3.2).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::net::lan::search_targets;

const MAX_REPLY: usize = 4096;
/// More machines than anybody has on one network are not listed.
const MAX_FOUND: usize = 64;

/// How one kind of printer is asked and how it answers.
pub struct Probe<F> {
    pub datagram: &'static [u8],
    /// The datagram is sent again after this time: some are lost on busy Wi-Fi.
    pub repeat: Duration,
    pub parse: fn(&[u8], IpAddr) -> Option<F>,
    /// Two answers of the same machine.
    pub same: fn(&F, &F) -> bool,
}

impl<F> Probe<F> {
    /// Everybody who answers a broadcast to `port` within `window`.
    ///
    /// # Errors
    /// Only if no socket can be opened.
    pub async fn broadcast(&self, port: u16, window: Duration) -> io::Result<Vec<F>> {
        let targets: Vec<SocketAddr> =
            search_targets().into_iter().map(|to| SocketAddr::new(to.into(), port)).collect();
        self.ask(&targets, window, MAX_FOUND).await
    }

    /// What is at one address; `None` if nothing answers within `window` (VLANs and firewalls often drop UDP).
    pub async fn identify(&self, host: &str, port: u16, window: Duration) -> Option<F> {
        let target = tokio::net::lookup_host((host, port)).await.ok()?.next()?;
        self.ask(&[target], window, 1).await.ok()?.into_iter().next()
    }

    /// Sends the datagram until `window` is over or `enough` machines have answered.
    async fn ask(&self, targets: &[SocketAddr], window: Duration, enough: usize) -> io::Result<Vec<F>> {
        let any: IpAddr = if targets.iter().all(SocketAddr::is_ipv4) {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.set_broadcast(true)?;
        let until = Instant::now() + window;
        let mut repeat = interval(self.repeat);
        repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut found: Vec<F> = Vec::new();
        let mut buffer = vec![0; MAX_REPLY];
        let gather = async {
            loop {
                tokio::select! {
                    _ = repeat.tick() => {
                        for target in targets {
                            // A network that is down refuses the datagram; the next one may get through.
                            let _unsent = socket.send_to(self.datagram, *target).await;
                        }
                    }
                    received = socket.recv_from(&mut buffer) => {
                        let Ok((length, from)) = received else { continue };
                        let reply = buffer.get(..length).and_then(|bytes| (self.parse)(bytes, from.ip()));
                        if let Some(machine) = reply
                            && !found.iter().any(|known| (self.same)(known, &machine))
                        {
                            found.push(machine);
                            if found.len() >= enough {
                                return;
                            }
                        }
                    }
                }
            }
        };
        let _window_over = timeout_at(until, gather).await;
        Ok(found)
    }
}
