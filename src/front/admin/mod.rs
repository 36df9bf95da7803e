//! The gateway's own port: status of the fleet, health, and every printer's API below `/printers/<name>/`.
//!
//! Health is about this process: a printer that is off is not unhealthy, it has its own place in the status.

mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Html;
use axum::routing::get;

use crate::access::{Access, Gate, Role, gate};
use crate::station::Stations;

/// The routes of the gateway's port; `apis` are the printers' own, by name, and judge their callers themselves.
pub fn router(stations: Stations, apis: Vec<(String, Router)>, access: &Arc<Access>) -> Router {
    let guard = Gate { access: access.clone(), write: Role::Admin };
    let guarded = Router::new().route("/status", get(status::status)).layer(from_fn_with_state(guard, gate));
    let own = Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .merge(guarded)
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(stations);
    apis.into_iter().fold(own, |router, (name, api)| router.nest_service(&format!("/printers/{name}"), api))
}

/// Ready as soon as the listeners are open, which they are when this answers.
async fn ready(State(_stations): State<Stations>) -> (StatusCode, &'static str) {
    (StatusCode::OK, "ready\n")
}
