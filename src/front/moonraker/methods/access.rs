//! `access.*` (moonraker.md 2.3), as far as it goes without users.

use serde_json::{Value, json};

use super::super::error::RpcError;
use super::super::rpc::Call;

pub async fn info(call: Call) -> Result<Value, RpcError> {
    Ok(json!({
        "default_source": "moonraker",
        "available_sources": ["moonraker"],
        // Without a user the setting has no effect (moonraker.md 2.3).
        "login_required": false,
        "trusted": call.endpoint.access.trusts(call.caller.address),
    }))
}

pub async fn login(call: Call) -> Result<Value, RpcError> {
    let name = call.args.text("username")?;
    call.args.text("password")?;
    Err(RpcError::bad_request(format!("Unregistered User: {name}")))
}

pub async fn refresh_jwt(call: Call) -> Result<Value, RpcError> {
    call.args.text("refresh_token")?;
    Err(RpcError::new(401, "Invalid Refresh Token"))
}

pub async fn get_user(call: Call) -> Result<Value, RpcError> {
    let user = call.caller.current_user().ok_or_else(RpcError::unauthorized)?;
    Ok(json!({"username": user.name(), "source": "moonraker", "created_on": 0.0}))
}

pub async fn list_users(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"users": []}))
}

pub async fn get_api_key(call: Call) -> Result<Value, RpcError> {
    Ok(json!(call.endpoint.access.api_key().expose()))
}

pub async fn post_api_key(call: Call) -> Result<Value, RpcError> {
    if call.endpoint.config.api_key.is_some() {
        return Err(RpcError::forbidden(
            "The API key is set in the configuration of the gateway; change it there.",
        ));
    }
    Ok(json!(call.endpoint.access.renew_api_key().expose()))
}

pub async fn oneshot_token(call: Call) -> Result<Value, RpcError> {
    Ok(json!(call.endpoint.access.oneshot_token(call.caller.address)))
}
