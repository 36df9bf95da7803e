//! Faults and truth for other processes: one JSON object per line over a loopback TCP port.
//!
//! `{"fault":"runout"}` and every other fault of [`super::faults::Fault`] answer `{"ok":true}`;
//! `{"truth":true}` answers the snapshot of [`super::truth::Truth`]; what is not understood answers
//! `{"ok":false,"error":"..."}`.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::faults::{Fault, Faults};

const LINE_CAP: u64 = 64 << 10;

/// Serves the control port until shutdown. It outlives power cuts and dropped links.
pub(super) async fn serve(listener: TcpListener, faults: Faults) {
    let stop = faults.core.shutdown.clone();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (faults, stop) = (faults.clone(), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = converse(stream, faults) => {}
                    }
                });
            }
        }
    }
}

async fn converse(stream: TcpStream, faults: Faults) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if (&mut stream).take(LINE_CAP).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut answer = answer(&faults, &line).to_string();
        answer.push('\n');
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn answer(faults: &Faults, line: &str) -> Value {
    let refuse = |error: String| json!({ "ok": false, "error": error });
    let parsed: Value = match serde_json::from_str(line) {
        Ok(value) => value,
        Err(error) => return refuse(error.to_string()),
    };
    if parsed.get("truth").is_some() {
        return serde_json::to_value(faults.core.truth()).unwrap_or_default();
    }
    match serde_json::from_value::<Fault>(parsed) {
        Ok(fault) => match faults.apply(fault) {
            Ok(()) => json!({ "ok": true }),
            Err(error) => refuse(error.to_string()),
        },
        Err(error) => refuse(error.to_string()),
    }
}
