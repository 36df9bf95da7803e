//! Identity probe on TCP 3000: one framed question, one framed answer, close (dossier 1.2).

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::core::Core;
use super::listen::PATIENCE;

/// Framing around the JSON: two marks of two bytes, and the length.
const FRAMING: usize = 6;
const FRAME_CAP: usize = 4096;

/// Serves one TCP connection. A wrong length or command is met with silence.
pub(super) async fn handle(core: Arc<Core>, mut stream: TcpStream) -> io::Result<()> {
    timeout(PATIENCE, async {
        let mut head = [0u8; 4];
        stream.read_exact(&mut head).await?;
        let [a, b, low, high] = head;
        let length = usize::from(u16::from_le_bytes([low, high]));
        if (a, b) != (0xA5, 0xA5) || !(FRAMING..=FRAME_CAP).contains(&length) {
            return silence(&core).await;
        }
        let mut rest = vec![0u8; length - 4];
        stream.read_exact(&mut rest).await?;
        let Some(body) = rest.strip_suffix(&[0xA7, 0xA7]) else { return silence(&core).await };
        let question: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(login) = question.get("login").filter(|l| l.get("command") == Some(&json!("detect"))) else {
            return silence(&core).await;
        };
        let sequence = login.get("sequence_id").cloned().unwrap_or_else(|| json!("0"));
        let options = &core.options;
        let answer = json!({"login": {
            "bind": "free", "command": "detect", "connect": "lan", "dev_cap": 1,
            "id": options.serial, "model": options.model.code, "name": options.name(),
            "sequence_id": sequence, "version": options.model.firmware,
        }});
        stream.write_all(&frame(&answer.to_string())).await?;
        stream.shutdown().await
    })
    .await?
}

async fn silence(core: &Core) -> io::Result<()> {
    core.link().cancelled().await;
    Ok(())
}

fn frame(json: &str) -> Vec<u8> {
    let length = (json.len() + FRAMING) as u16;
    let mut out = vec![0xA5, 0xA5];
    out.extend(length.to_le_bytes());
    out.extend(json.as_bytes());
    out.extend([0xA7, 0xA7]);
    out
}
