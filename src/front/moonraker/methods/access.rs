//! `access.*` (moonraker.md 2.3; `access.users_flow.json`).

use serde_json::{Value, json};

use super::super::error::RpcError;
use super::super::rpc::Call;
use crate::access::{Identity, Login, Role};

/// Where users come from; there is no other source.
const SOURCE: &str = "moonraker";

pub async fn info(call: Call) -> Result<Value, RpcError> {
    let access = &call.endpoint.access;
    Ok(json!({
        "default_source": SOURCE,
        "available_sources": [SOURCE],
        "login_required": access.login_required(),
        "trusted": access.trusts(call.caller.address),
    }))
}

fn caller(call: &Call) -> Result<Identity, RpcError> {
    call.caller.current_user().ok_or_else(RpcError::unauthorized)
}

fn check_source(call: &Call) -> Result<(), RpcError> {
    match call.args.opt_text("source")?.as_deref() {
        None | Some(SOURCE) => Ok(()),
        Some(_) => Err(RpcError::bad_request("Invalid source: only \"moonraker\" is available")),
    }
}

fn logged_in(login: &Login, action: &str) -> Value {
    json!({
        "username": login.identity.name(),
        "token": login.token.expose(),
        "source": SOURCE,
        "refresh_token": login.refresh_token.expose(),
        "action": action,
    })
}

pub async fn login(call: Call) -> Result<Value, RpcError> {
    let (name, password) = (call.args.text("username")?, call.args.text("password")?);
    check_source(&call)?;
    let login = call.endpoint.access.login(&name, &password, call.caller.address).await?;
    if let Some(socket) = &call.caller.socket {
        socket.set_user(Some(login.identity.clone()));
    }
    Ok(logged_in(&login, "user_logged_in"))
}

pub async fn logout(call: Call) -> Result<Value, RpcError> {
    let user = caller(&call)?;
    call.endpoint.access.logout(&user).await?;
    Ok(json!({"username": user.name(), "action": "user_logged_out"}))
}

pub async fn refresh_jwt(call: Call) -> Result<Value, RpcError> {
    let (user, token) = call.endpoint.access.refresh(&call.args.text("refresh_token")?)?;
    Ok(json!({
        "username": user.name, "token": token.expose(), "source": SOURCE, "action": "user_jwt_refresh",
    }))
}

pub async fn get_user(call: Call) -> Result<Value, RpcError> {
    let user = call.endpoint.access.describe(&caller(&call)?);
    Ok(json!({"username": user.name, "source": SOURCE, "created_on": user.created_on}))
}

/// Users may do everything, as Moonraker's own; `role` (`view`, `operate`, `admin`) is an addition of ours.
pub async fn post_user(call: Call) -> Result<Value, RpcError> {
    let (name, password) = (call.args.text("username")?, call.args.text("password")?);
    check_source(&call)?;
    let role = match call.args.opt_text("role")? {
        None => Role::default(),
        Some(text) => Role::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| RpcError::bad_request("role must be view, operate or admin"))?,
    };
    let login = call.endpoint.access.create_user(&name, &password, role).await?;
    Ok(logged_in(&login, "user_created"))
}

pub async fn delete_user(call: Call) -> Result<Value, RpcError> {
    let name = call.args.text("username")?;
    call.endpoint.access.delete_user(&name, &caller(&call)?).await?;
    Ok(json!({"username": name, "action": "user_deleted"}))
}

/// The socket that asks stays logged in; all tokens given out before are worthless from now on.
pub async fn password(call: Call) -> Result<Value, RpcError> {
    let (old, new) = (call.args.text("password")?, call.args.text("new_password")?);
    let user = caller(&call)?;
    let identity = call.endpoint.access.change_password(&user, &old, &new, call.caller.address).await?;
    if let Some(socket) = &call.caller.socket {
        socket.set_user(Some(identity));
    }
    Ok(json!({"username": user.name(), "action": "user_password_reset"}))
}

pub async fn list_users(call: Call) -> Result<Value, RpcError> {
    let users = call.endpoint.access.users();
    let shown = |user: &crate::access::UserInfo| json!({"username": user.name, "source": SOURCE, "created_on": user.created_on});
    Ok(json!({"users": users.iter().map(shown).collect::<Vec<_>>()}))
}

pub async fn get_api_key(call: Call) -> Result<Value, RpcError> {
    Ok(json!(call.endpoint.access.api_key().expose()))
}

pub async fn post_api_key(call: Call) -> Result<Value, RpcError> {
    Ok(json!(call.endpoint.access.renew_api_key().await?.expose()))
}

pub async fn oneshot_token(call: Call) -> Result<Value, RpcError> {
    Ok(json!(call.endpoint.access.oneshot_token(call.caller.address, caller(&call)?)))
}
