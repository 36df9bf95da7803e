//! Discovery: NOTIFY datagrams to port 2021, answers to M-SEARCH on port 1990 (dossier 1.1). Off unless asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::core::Core;

/// Interval of NOTIFY seen on a P1S.
const INTERVAL: Duration = Duration::from_millis(10_100);

/// Sends NOTIFY to `target` until shutdown.
pub(super) async fn notify(core: Arc<Core>, target: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((core.options.address, 0)).await?;
    socket.set_broadcast(true)?;
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = core.shutdown.cancelled() => return Ok(()),
            _ = tick.tick() => {
                if *core.power.borrow() {
                    let _ = socket.send_to(message(&core, "NOTIFY * HTTP/1.1").as_bytes(), target).await;
                }
            }
        }
    }
}

/// Answers M-SEARCH on `socket` until shutdown.
pub(super) async fn answer(core: Arc<Core>, socket: UdpSocket) -> io::Result<()> {
    let mut buffer = [0u8; 2048];
    loop {
        tokio::select! {
            () = core.shutdown.cancelled() => return Ok(()),
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, from)) = received else { continue };
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                let asked = text.starts_with("M-SEARCH") && text.contains("urn:bambulab-com:device:3dprinter:1");
                if asked && *core.power.borrow() {
                    let _ = socket.send_to(message(&core, "HTTP/1.1 200 OK").as_bytes(), from).await;
                }
            }
        }
    }
}

fn message(core: &Core, first: &str) -> String {
    let options = &core.options;
    let headers = [
        ("HOST", "239.255.255.250:1900".to_owned()),
        ("Server", "UPnP/1.0".to_owned()),
        ("Location", options.address.to_string()),
        ("NT", "urn:bambulab-com:device:3dprinter:1".to_owned()),
        ("USN", options.serial.clone()),
        ("Cache-Control", "max-age=1800".to_owned()),
        ("DevModel.bambu.com", options.model.code.to_owned()),
        ("DevName.bambu.com", options.name()),
        ("DevSignal.bambu.com", "-44".to_owned()),
        ("DevConnect.bambu.com", "lan".to_owned()),
        ("DevBind.bambu.com", "free".to_owned()),
        ("Devseclink.bambu.com", "secure".to_owned()),
        ("DevInf.bambu.com", "wlan0".to_owned()),
        ("DevVersion.bambu.com", options.model.firmware.to_owned()),
        ("DevCap.bambu.com", "1".to_owned()),
    ];
    let mut text = format!("{first}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}
