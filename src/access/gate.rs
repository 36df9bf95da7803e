//! The same judgement in front of routes that have no table of their own (status, camera).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Access, AccessError, Role};

/// What [`gate`] asks for: reading needs [`Role::View`], everything else `write`.
#[derive(Clone)]
pub struct Gate {
    pub access: Arc<Access>,
    pub write: Role,
}

/// Lets a request pass or answers 401, 403 or 429; to be put around a router with `from_fn_with_state`.
///
/// The server must give `ConnectInfo<SocketAddr>`; without it a client counts as a stranger.
pub async fn gate(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match gate.access.permit(&parts, gate.write) {
        Ok(_identity) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

impl IntoResponse for AccessError {
    fn into_response(self) -> Response {
        let status = axum::http::StatusCode::from_u16(self.status())
            .unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({"error": {"code": self.status(), "message": self.to_string()}});
        let mut response = (status, axum::Json(body)).into_response();
        if let AccessError::TooMany(seconds) = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
