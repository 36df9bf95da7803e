//! `moongate key`: the gateway's API key.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::client::{Client, ClientError, GatewayArgs};

#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// Make a new one; the old one opens nothing any more.
    #[arg(long)]
    pub renew: bool,
    /// Print it as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// Every printer's endpoint has the one key of the gateway; who asks must be an admin.
pub async fn key(args: &KeyArgs, client: &Client) -> Result<ExitCode, ClientError> {
    let status: Value = client.get("/status").await?;
    let missing = |what: &str| ClientError::Failed(format!("the gateway's answer has no {what}."));
    let printer =
        status.pointer("/printers/0/name").and_then(Value::as_str).ok_or_else(|| missing("printer"))?;
    let path = Client::of(printer, "/access/api_key");
    let answer: Value =
        if args.renew { client.post(&path, &json!({})).await? } else { client.get(&path).await? };
    let key = answer.get("result").and_then(Value::as_str).ok_or_else(|| missing("key"))?;
    if args.json {
        println!("{}", json!({"api_key": key}));
    } else {
        println!("{key}");
    }
    Ok(ExitCode::SUCCESS)
}
