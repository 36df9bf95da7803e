//! The gateway's own port: status of the fleet, health, metrics, and every printer's API below `/printers/<name>/`.
//!
//! ```text
//!  /  /status  /activity  /metrics  /livez  /readyz      the gateway
//!  /login  /refresh  /logout  /session                   who one is (`session`)
//!  /printers/<name>/...                                  the printer's Moonraker endpoint
//!  /printers/<name>/moongate/...                         what Moonraker has no words for (`job`)
//! ```
//! Health is about this process: a printer that is off is not unhealthy, it has its own place in the status. What shows
//! or changes anything is for callers with the role for it (`crate::access`).

mod activity;
mod exposition;
mod job;
mod metrics;
mod page;
mod readings;
mod session;
mod status;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::access::{Access, Gate, Role, gate};
use crate::station::{Station, Stations};

/// Lets a printer be another once: one with a new key, or with another serial number. A person has asked for it.
pub type AcceptAnother = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// One printer as the gateway's port serves it.
pub struct Served {
    pub station: Station,
    /// The `kind` of the configuration, for the labels of metrics.
    pub kind: &'static str,
    /// The printer's own endpoint.
    pub api: Box<dyn FnOnce() -> Router + Send>,
    /// How many clients are connected.
    pub clients: Arc<dyn Fn() -> usize + Send + Sync>,
    pub accept_another: AcceptAnother,
    /// The virtual serial port, as other programs open it.
    pub serial_port: Option<PathBuf>,
}

/// What is wrong with the place where the gateway keeps what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateFault {
    pub code: &'static str,
    pub text: String,
    pub remedy: &'static str,
}

/// What the gateway's own routes share.
#[derive(Clone)]
struct Gateway {
    stations: Stations,
    activity: activity::Activity,
    metrics: metrics::Metrics,
    state: watch::Receiver<Option<StateFault>>,
    /// By printer name.
    serial_ports: Arc<HashMap<String, String>>,
}

/// The routes of the gateway's port, and the tasks that follow the printers until `cancel`.
pub fn router(
    printers: Vec<Served>,
    state: watch::Receiver<Option<StateFault>>,
    access: &Arc<Access>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Router {
    let guard = |write| from_fn_with_state(Gate { access: access.clone(), write }, gate);
    let gateway = Gateway {
        stations: Stations::new(printers.iter().map(|served| served.station.clone()).collect()),
        activity: activity::Activity::default(),
        metrics: metrics::Metrics::new(&printers),
        state,
        serial_ports: Arc::new(printers.iter().filter_map(serial_port).collect()),
    };
    for served in &printers {
        let (events, name) = (served.station.printer.events(), served.station.name().to_owned());
        // Read after the events began: a change in between is told by them again.
        let link = served.station.printer.state().link.phase;
        tasks.spawn(activity::follow(events, name.clone(), link, gateway.activity.clone(), cancel.clone()));
        let events = served.station.printer.events();
        tasks.spawn(metrics::follow(events, name, gateway.metrics.clone(), cancel.clone()));
    }
    let guarded = Router::new()
        .route("/status", get(status::status))
        .route("/activity", get(activity::activity))
        .route("/metrics", get(show_metrics))
        .with_state(gateway)
        .layer(guard(Role::Admin));
    let open = Router::new()
        .merge(page::router())
        .merge(session::router(access))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready));
    let printers = printers.into_iter().map(|served| {
        let name = served.station.name().to_owned();
        let gate = |role| from_fn_with_state(Gate { access: access.clone(), write: role }, gate);
        let (operators, admins) = (gate(Role::Operate), gate(Role::Admin));
        let router = move || {
            let own = job::router(served.station).layer(operators);
            let trust = Router::new().route("/trust", post(trust)).with_state(served.accept_another);
            let own = own.merge(trust.layer(admins)).fallback(|| async { StatusCode::NOT_FOUND });
            Router::new().nest("/moongate", own).fallback_service((served.api)())
        };
        (name, Printer::new(Box::new(router)))
    });
    let printers = Printers(Arc::new(printers.collect()));
    open.merge(guarded)
        .nest("/printers", Router::new().fallback(of_printer).with_state(printers))
        .layer(from_fn_with_state(access.clone(), session::visit))
}

/// A printer's routes below its name, made when somebody first asks for one of them: a fleet is a thousand printers,
/// and most clients use the printer's own port.
type Printer = LazyLock<Router, Box<dyn FnOnce() -> Router + Send>>;

#[derive(Clone)]
struct Printers(Arc<HashMap<String, Printer>>);

/// Passes a request on to the printer that its path names, as if it were mounted there.
async fn of_printer(State(printers): State<Printers>, mut request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let name = path.split('/').next().unwrap_or_default().to_owned();
    let Some(printer) = printers.0.get(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let text = request.uri().path_and_query().map_or("", |text| text.as_str());
    let rest = text.trim_start_matches('/').get(name.len()..).unwrap_or_default();
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let Ok(uri) = rest.parse() else { return StatusCode::BAD_REQUEST.into_response() };
    *request.uri_mut() = uri;
    let Ok(response) = Router::clone(printer).oneshot(request).await;
    response
}

fn serial_port(served: &Served) -> Option<(String, String)> {
    let path = served.serial_port.as_ref()?;
    Some((served.station.name().to_owned(), path.display().to_string()))
}

/// Ready as soon as the listeners are open, which they are when this answers.
async fn ready() -> &'static str {
    "ready\n"
}

/// Takes the key, or the serial number, that the printer shows at its next connection as the right one.
async fn trust(
    State(accept): State<AcceptAnother>,
    axum::Json(job::Nothing {}): axum::Json<job::Nothing>,
) -> Result<axum::Json<serde_json::Value>, job::Refusal> {
    accept().map_err(job::Refusal::configured)?;
    Ok(axum::Json(serde_json::json!({"trust": "next_key"})))
}

async fn show_metrics(State(gateway): State<Gateway>, headers: HeaderMap) -> Response {
    match gateway.metrics.text(gateway.state.borrow().is_none()) {
        Ok(text) if exposition::wants_openmetrics(&headers) => {
            ([(CONTENT_TYPE, metrics::CONTENT)], text).into_response()
        }
        Ok(text) => ([(CONTENT_TYPE, exposition::CLASSIC)], exposition::classic(&text)).into_response(),
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
