//! What follows a gateway goes on when the gateway comes back: a restart, an upgrade, a cable. Only questions are asked
//! again, never a command.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::client::{Client, ClientError};

/// The first pause between two tries, and the longest; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// A machine that was switched off answers nothing at all.
const SILENCE: Duration = Duration::from_secs(20);

/// Asks one gateway over and over.
pub struct Patience<'c> {
    client: &'c Client,
    /// It has answered before: the address is right.
    known: bool,
}

/// An answer, and whether the gateway was away before it.
pub struct Answer<T> {
    pub told: T,
    pub after_absence: bool,
}

impl<'c> Patience<'c> {
    pub fn new(client: &'c Client) -> Self {
        Self { client, known: false }
    }

    /// The answer to `ask`, which is told whether the gateway was away meanwhile. A gateway that has answered before is
    /// waited for; standard error says so once, and once that it is back.
    ///
    /// # Errors
    /// It refuses, or has never answered.
    pub async fn ask<T, F>(&mut self, ask: impl Fn(bool) -> F) -> Result<Answer<T>, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let (mut away, mut pause) = (false, PAUSES.0);
        loop {
            let late = |_| Err(self.client.silent(format!("no answer in {} s", SILENCE.as_secs())));
            match timeout(SILENCE, ask(away)).await.unwrap_or_else(late) {
                Err(lost @ ClientError::NoGateway { .. }) if self.known => {
                    if !away {
                        complain!("{lost} It is tried again until Ctrl-C.");
                    }
                    away = true;
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                answer => {
                    let told = answer?;
                    self.known = true;
                    if away {
                        complain!("the gateway is back.");
                    }
                    return Ok(Answer { told, after_absence: away });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::config::Environment;

    async fn client() -> Client {
        let args = super::super::client::GatewayArgs {
            gateway: Some("http://127.0.0.1:9".to_owned()),
            gateway_cert: None,
            gateway_pin: None,
            config: super::super::ConfigArgs { config: None },
        };
        Client::new(&args, &Environment::of(&[])).await.expect("an address")
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_has_answered_is_waited_for_and_no_other() {
        let client = client().await;
        let mut patience = Patience::new(&client);
        let lost = || client.silent("connection refused".to_owned());
        let never = patience.ask(|_| async { Err::<(), _>(lost()) }).await;
        assert!(matches!(never, Err(ClientError::NoGateway { .. })), "a wrong address is told at once");
        let first = patience.ask(|away| async move { Ok(away) }).await.expect("answered");
        assert_eq!((first.told, first.after_absence), (false, false));

        let tries = AtomicU32::new(0);
        let third = patience
            .ask(|away| {
                let count = tries.fetch_add(1, Ordering::Relaxed);
                let client = &client;
                async move {
                    match count {
                        0 => Err(client.silent("connection refused".to_owned())),
                        // A machine that is off: nothing comes, not even a refusal.
                        1 => std::future::pending().await,
                        _ => Ok(away),
                    }
                }
            })
            .await
            .expect("it came back");
        assert_eq!((third.told, third.after_absence), (true, true));
        let refused =
            patience.ask(|_| async { Err::<(), _>(ClientError::NotPermitted("401".to_owned())) }).await;
        assert!(matches!(refused, Err(ClientError::NotPermitted(_))), "a refusal is an answer");
    }
}
