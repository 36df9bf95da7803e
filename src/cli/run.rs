//! `moongate run`: the gateway itself, until it is asked to stop.

use std::process::ExitCode;
use std::time::Duration;

use super::client::configured;
use super::{ConfigArgs, EXIT_UNAVAILABLE, asked_to_stop, block_on, config_failed};
use crate::app::footprint::forget_the_start;
use crate::app::{App, AppOptions, Bound};
use crate::config::Environment;

/// Changes of a printer's link that systemd need not hear faster.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// By then the printers that are there are connected.
const SETTLED: Duration = Duration::from_secs(10);

/// Ends with 0 after an orderly stop.
pub fn run(args: &ConfigArgs, environment: &Environment) -> ExitCode {
    let (path, config) = match args.load(environment) {
        Ok(loaded) => loaded,
        Err(error) => return config_failed(&error),
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let page = format!("{}/", configured(Some(&config)));
    block_on(async move {
        let app = match App::start(config, AppOptions::default()).await {
            Ok(app) => app,
            Err(error) => {
                complain!("{error}");
                return ExitCode::from(EXIT_UNAVAILABLE);
            }
        };
        tracing::info!(config = %path.display(), gateway_port = app.gateway_port(), page = %page, printers = app.printers().len(), "Ready.");
        let _no_supervisor = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tokio::select! {
            () = asked_to_stop() => {}
            () = tell_watchdog() => {}
            () = tell_status(app.printers()) => {}
            () = settle() => {}
        }
        tracing::info!("Stopping; prints go on at the printers.");
        let _no_supervisor = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        app.stop().await;
        ExitCode::SUCCESS
    })
}

/// Frees what only the start needed, then waits for ever.
async fn settle() {
    tokio::time::sleep(SETTLED).await;
    forget_the_start();
    std::future::pending().await
}

/// Keeps the line that `systemctl status` shows.
async fn tell_status(printers: &[Bound]) {
    let mut told = None;
    let mut looks = tokio::time::interval(STATUS_EVERY);
    loop {
        looks.tick().await;
        let online = printers.iter().filter(|printer| printer.online()).count();
        if told.replace(online) != Some(online) {
            let status = format!("{online} of {} printers online", printers.len());
            let _no_supervisor = sd_notify::notify(&[sd_notify::NotifyState::Status(&status)]);
        }
    }
}

/// Tells systemd twice per `WatchdogSec` that the runtime still turns; waits for ever where nobody asked for it.
///
/// A worker that blocks starves this task as it starves the printers, so the missing sign restarts the gateway.
async fn tell_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut beat = tokio::time::interval((limit / 2).max(Duration::from_millis(100)));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let _no_supervisor = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}
