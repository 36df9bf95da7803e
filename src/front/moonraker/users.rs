//! What happens to users, told to the clients of this endpoint; sockets of ended logins lose their rights at once.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::Endpoint;
use crate::access::AccessEvent;

/// Runs until the endpoint ends.
pub async fn run(endpoint: Arc<Endpoint>) {
    let mut events = endpoint.access.events();
    loop {
        let event = tokio::select! {
            () = endpoint.cancel.cancelled() => return,
            event = events.recv() => event,
        };
        let told = match event {
            Ok(AccessEvent::UserCreated(name)) => Some(("notify_user_created", name)),
            Ok(AccessEvent::UserDeleted(name)) => Some(("notify_user_deleted", name)),
            Ok(AccessEvent::UserLoggedOut(name)) => Some(("notify_user_logged_out", name)),
            Ok(AccessEvent::AppAsked { app, address }) => {
                super::octoprint::tell_question(&endpoint, &app, address);
                None
            }
            Ok(AccessEvent::LoginsRevoked(_) | AccessEvent::AppAdmitted(_) | AccessEvent::AppRevoked(_))
            | Err(RecvError::Lagged(_)) => None,
            Err(RecvError::Closed) => return,
        };
        if let Some((method, name)) = told {
            endpoint.hub.notify(method, Some(json!({"username": name})));
        }
        // After the notice: the page of the user who logged out is to know why.
        endpoint.hub.drop_rights(|user| endpoint.access.role(user).is_some());
    }
}
