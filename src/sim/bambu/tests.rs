//! Drives the simulated printer through its sockets with independent peers: rumqttc, suppaftp, raw TLS.

mod client;
mod files;
mod session;
mod states;

use std::time::Duration;

use super::{Options, Simulator, models, start};

/// A fast printer of a model with default login.
pub(super) fn fast(model: &str) -> Options {
    let mut options = Options::new(models::find(model).unwrap());
    options.speed = 200.0;
    options.report_interval = Duration::from_millis(100);
    options.camera_interval = Duration::from_millis(20);
    options
}

pub(super) async fn started(options: Options) -> Simulator {
    start(options).await.unwrap()
}
