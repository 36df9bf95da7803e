//! The state of the connection and of the host (moonraker.md 3.1).

use serde_json::json;

use super::{Builder, Input};

pub fn add(builder: &mut Builder, input: &Input<'_>) {
    builder.object("webhooks", json!({"state": input.klippy.state, "state_message": input.klippy.message}));
    builder.object(
        "system_stats",
        json!({
            "sysload": input.host.load,
            "cputime": input.host.cpu_seconds,
            "memavail": input.host.available_kb,
        }),
    );
}
