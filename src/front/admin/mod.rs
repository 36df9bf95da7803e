//! The gateway's own port: status of the fleet, health, metrics, and every printer's API below `/printers/<name>/`.
//!
//! ```text
//!  /  /status  /activity  /metrics  /livez  /readyz      the gateway
//!  /printers/<name>/...                                  the printer's Moonraker endpoint
//!  /printers/<name>/moongate/...                         what Moonraker has no words for (`job`)
//! ```
//! Health is about this process: a printer that is off is not unhealthy, it has its own place in the status. What shows
//! or changes anything is for callers that the printer's own endpoint would let in too.

mod activity;
mod job;
mod metrics;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::station::{Station, Stations};

/// Judges whether the sender of a request may see and change the printer.
pub type Permit = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// One printer as the gateway's port serves it.
pub struct Served {
    pub station: Station,
    /// The `kind` of the configuration, for the labels of metrics.
    pub kind: &'static str,
    /// The printer's own endpoint.
    pub api: Router,
    pub permit: Permit,
    /// How many clients are connected.
    pub clients: Arc<dyn Fn() -> usize + Send + Sync>,
}

/// What the gateway's own routes share.
#[derive(Clone)]
struct Gateway {
    stations: Stations,
    activity: activity::Activity,
    metrics: metrics::Metrics,
}

/// The routes of the gateway's port, and the tasks that follow the printers until `cancel`.
pub fn router(printers: Vec<Served>, tasks: &TaskTracker, cancel: &CancellationToken) -> Router {
    let gateway = Gateway {
        stations: Stations::new(printers.iter().map(|served| served.station.clone()).collect()),
        activity: activity::Activity::default(),
        metrics: metrics::Metrics::new(&printers),
    };
    for served in &printers {
        let (events, name) = (served.station.printer.events(), served.station.name().to_owned());
        tasks.spawn(activity::follow(events, name.clone(), gateway.activity.clone(), cancel.clone()));
        let events = served.station.printer.events();
        tasks.spawn(metrics::follow(events, name, gateway.metrics.clone(), cancel.clone()));
    }
    let mut guarded = Router::new()
        .route("/status", get(status::status))
        .route("/activity", get(activity::activity))
        .route("/metrics", get(show_metrics))
        .with_state(gateway);
    if let Some(first) = printers.first() {
        guarded = guarded.layer(from_fn_with_state(first.permit.clone(), only_permitted));
    }
    let open = Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready));
    printers.into_iter().fold(open.merge(guarded), |router, served| {
        let base = format!("/printers/{}", served.station.name());
        let own = job::router(served.station).layer(from_fn_with_state(served.permit, only_permitted));
        router.nest(&format!("{base}/moongate"), own).nest_service(&base, served.api)
    })
}

/// Serves until `cancel`; open streams end with it.
pub async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) {
    let stopped = cancel.clone();
    let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    let serving = axum::serve(listener, service);
    tokio::select! {
        () = stopped.cancelled() => {}
        ended = serving => {
            if let Err(error) = ended {
                tracing::error!(%error, "The gateway's port closed.");
            }
        }
    }
}

/// Ready as soon as the listeners are open, which they are when this answers.
async fn ready() -> &'static str {
    "ready\n"
}

async fn only_permitted(State(permit): State<Permit>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if permit(&parts) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let text = "Not permitted from this address: send the API key as X-Api-Key, or add the address to trusted_clients.\n";
    (StatusCode::UNAUTHORIZED, text).into_response()
}

async fn show_metrics(State(gateway): State<Gateway>) -> Response {
    match gateway.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The word that a phase has in JSON, for people and labels: `online`, `complete`.
fn word(phase: &impl serde::Serialize) -> String {
    match serde_json::to_value(phase) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
