//! What a printer's own host would have and a gateway has not: devices at its ports, power switches, sensors of its own,
//! programs to update, the right to become root (moonraker.md 2.12, 2.13). Each list is there and empty, so that no dialog waits for it.

use serde_json::{Map, Value, json};

use super::super::error::RpcError;
use super::super::rpc::Call;

pub async fn usb(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"usb_devices": []}))
}

pub async fn serial(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"serial_devices": []}))
}

pub async fn video(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"v4l2_devices": [], "libcamera_devices": []}))
}

pub async fn canbus(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"can_uuids": []}))
}

/// Nothing is updated by way of the gateway, so `update_manager` is no component; KlipperScreen has its page all the same.
pub async fn update_status(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({
        "busy": false,
        "github_rate_limit": null,
        "github_requests_remaining": null,
        "github_limit_reset_time": null,
        "version_info": {},
    }))
}

pub async fn update_refresh(call: Call) -> Result<Value, RpcError> {
    let endpoint = call.endpoint.clone();
    let status = update_status(call).await?;
    endpoint.hub.notify("notify_update_refreshed", Some(status.clone()));
    Ok(status)
}

pub async fn sudo_info(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"sudo_access": false, "linux_user": "", "sudo_requested": false, "request_messages": []}))
}

pub async fn power_devices(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"devices": []}))
}

pub async fn power_device(call: Call) -> Result<Value, RpcError> {
    let device = call.args.text("device")?;
    Err(RpcError::bad_request(format!("No valid device named {device}")))
}

/// The names of the devices are the arguments.
pub async fn power_states(call: Call) -> Result<Value, RpcError> {
    let missing = call.args.0.keys().map(|name| (name.clone(), Value::from("device_not_found")));
    Ok(missing.collect::<Map<_, _>>().into())
}

pub async fn sensors(_call: Call) -> Result<Value, RpcError> {
    Ok(json!({"sensors": {}}))
}

pub async fn sensor(call: Call) -> Result<Value, RpcError> {
    let sensor = call.args.text("sensor")?;
    Err(RpcError::not_found(format!("No valid sensor named {sensor}")))
}

/// Of all sensors, or of one that is named.
pub async fn measurements(call: Call) -> Result<Value, RpcError> {
    match call.args.opt_text("sensor")? {
        Some(_) => sensor(call).await,
        None => Ok(json!({})),
    }
}
