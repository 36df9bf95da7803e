//! `moongate simulate`: one simulated printer by itself, for trying out other programs and for tests.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::{EXIT_UNAVAILABLE, asked_to_stop, block_on};
use crate::sim::{bambu, elegoo_cc1, elegoo_cc2, elegoo_models};

#[derive(Debug, clap::Args)]
pub struct SimulateArgs {
    /// An Elegoo model (cc1, centauri, cc2), or a Bambu model such as p1s, x1c, a1mini, h2d.
    #[arg(value_parser = known_model)]
    pub model: String,
    /// Where it listens; use another address of 127.0.0.0/8 for each printer with its real ports.
    #[arg(long, default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// The vendor's own port numbers instead of free ones.
    #[arg(long)]
    pub real_ports: bool,
    /// Simulated seconds per real second.
    #[arg(long, default_value_t = 1.0, value_parser = known_speed)]
    pub speed: f64,
    /// Ends by itself after this many seconds.
    #[arg(long, default_value_t = 3600)]
    pub seconds: u64,
    /// The access code, where the printer has one.
    #[arg(long)]
    pub code: Option<String>,
    /// Bambu only: signed commands wanted, that is Developer Mode off.
    #[arg(long)]
    pub gated: bool,
}

/// A printer that can be simulated.
///
/// # Errors
/// There is none of this name; the text lists all.
pub fn known_model(name: &str) -> Result<String, String> {
    let known = || {
        let elegoo = elegoo_models::CC1.iter().chain(elegoo_models::CC2).map(|row| row.key);
        elegoo.chain(bambu::models::TABLE.iter().map(|row| row.key))
    };
    if known().any(|model| model == name) {
        return Ok(name.to_owned());
    }
    let list: Vec<&str> = known().collect();
    Err(format!("there is no simulated printer of that name; known are {}", list.join(", ")))
}

/// How fast simulated time may go.
///
/// # Errors
/// It is no such number.
pub fn known_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse::<f64>().ok().filter(|speed| (0.1..=1000.0).contains(speed));
    speed.ok_or_else(|| "it must be a number between 0.1 and 1000".to_owned())
}

/// Prints one line of JSON with its addresses, then serves.
pub fn simulate(args: &SimulateArgs) -> ExitCode {
    block_on(async {
        match start(args).await {
            Ok((line, _printer)) => {
                println!("{line}");
                tokio::select! {
                    () = asked_to_stop() => {}
                    () = tokio::time::sleep(Duration::from_secs(args.seconds)) => {}
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain!("the {} cannot start: {error:#}. {}", args.model, remedy(args, &error));
                ExitCode::from(EXIT_UNAVAILABLE)
            }
        }
    })
}

/// What to do where the printer cannot have its ports.
fn remedy(args: &SimulateArgs, error: &anyhow::Error) -> String {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let free = if args.real_ports { ", or leave out --real-ports for free ports" } else { "" };
    match kind {
        Some(ErrorKind::AddrInUse) => {
            format!("End the program that has it, name another --address (127.0.0.2 and so on){free}.")
        }
        Some(ErrorKind::AddrNotAvailable) => {
            "This machine does not have that address: --address takes one of its own.".to_owned()
        }
        Some(ErrorKind::PermissionDenied) if args.real_ports => {
            "Ports below 1024 are not for every user: run it as root, or leave out --real-ports.".to_owned()
        }
        _ => format!(
            "Check --address and the folder for temporary files ({}).",
            std::env::temp_dir().display()
        ),
    }
}

async fn start(args: &SimulateArgs) -> anyhow::Result<(Value, Box<dyn Send>)> {
    let key = args.model.as_str();
    if let Some(model) = elegoo_models::CC1.iter().find(|row| row.key == key) {
        return simulate_cc1(model, args).await;
    }
    if let Some(model) = elegoo_models::CC2.iter().find(|row| row.key == key) {
        return simulate_cc2(model, args).await;
    }
    simulate_bambu(key, args).await
}

async fn simulate_cc1(
    model: &'static elegoo_models::Model,
    args: &SimulateArgs,
) -> anyhow::Result<(Value, Box<dyn Send>)> {
    let ports = if args.real_ports { elegoo_cc1::Ports::REAL } else { elegoo_cc1::Ports::ANY };
    let (bind, speed) = (args.address, args.speed);
    let options = elegoo_cc1::Options { bind, speed, ports, ..elegoo_cc1::Options::new(model) };
    let printer = elegoo_cc1::start(options).await?;
    Ok((json!({"model": model.key, "addresses": printer.addresses()}), Box::new(printer)))
}

async fn simulate_cc2(
    model: &'static elegoo_models::Model,
    args: &SimulateArgs,
) -> anyhow::Result<(Value, Box<dyn Send>)> {
    let ports = if args.real_ports { elegoo_cc2::Ports::REAL } else { elegoo_cc2::Ports::ANY };
    let (bind, speed) = (args.address, args.speed);
    let mut options = elegoo_cc2::Options { bind, speed, ports, ..elegoo_cc2::Options::new(model) };
    if let Some(code) = &args.code {
        options.access_code.clone_from(code);
    }
    let told = json!({"model": model.key, "serial": options.serial, "access_code": options.access_code});
    let printer = elegoo_cc2::start(options).await?;
    Ok((with_addresses(told, json!(printer.addresses())), Box::new(printer)))
}

async fn simulate_bambu(key: &str, args: &SimulateArgs) -> anyhow::Result<(Value, Box<dyn Send>)> {
    let Some(model) = bambu::models::find(key) else {
        anyhow::bail!(known_model(key).unwrap_or_else(|why| why))
    };
    let mut options = bambu::Options {
        address: args.address,
        speed: args.speed,
        gated: args.gated,
        control_port: Some(0),
        ..bambu::Options::new(model)
    };
    if args.real_ports {
        let camera = match model.camera {
            bambu::models::Camera::Jpeg => 6000,
            bambu::models::Camera::Rtsp => 322,
        };
        (options.mqtt_port, options.ftps_port, options.detect_port, options.camera_port) =
            (8883, 990, 3000, camera);
        options.ssdp_port = Some(1990);
        // On loopback an announcement stays on this machine.
        let ear = if args.address.is_loopback() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::BROADCAST };
        options.ssdp_target = Some(SocketAddr::from((ear, 2021)));
    }
    if let Some(code) = &args.code {
        options.access_code.clone_from(code);
    }
    let told = json!({"model": key, "serial": options.serial, "access_code": options.access_code});
    let printer = bambu::start(options).await?;
    Ok((with_addresses(told, json!(printer.addresses())), Box::new(printer)))
}

fn with_addresses(mut told: Value, addresses: Value) -> Value {
    if let Some(map) = told.as_object_mut() {
        map.insert("addresses".to_owned(), addresses);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_neither_stands_nor_jumps() {
        assert_eq!(["0.1", "20", "1e3"].map(known_speed), [Ok(0.1), Ok(20.0), Ok(1000.0)]);
        for wrong in ["0", "-1", "inf", "nan", "1e300", "fast", ""] {
            assert!(known_speed(wrong).is_err(), "{wrong}");
        }
    }
}
