//! Runs one simulated Bambu printer by hand: `cargo run --example sim_bambu -- --model p1s --seconds 600`.
//!
//! Prints one JSON line with its addresses, then serves until the time is up.

use std::net::IpAddr;
use std::time::Duration;

use clap::Parser;
use moongate::sim::bambu::{Certificate, Options, models, start};

/// A simulated Bambu Lab printer.
#[derive(Parser)]
struct Arguments {
    /// One of the keys of `sim/bambu/models.rs`, such as p1s, x1c, a1mini, h2d.
    #[arg(long, default_value = "p1s")]
    model: String,
    #[arg(long, default_value = "12345678")]
    code: String,
    #[arg(long)]
    serial: Option<String>,
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// The printer's own port numbers (8883, 990, 3000, 6000), and not free ones.
    #[arg(long)]
    real_ports: bool,
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// Simulated seconds per second.
    #[arg(long, default_value_t = 10.0)]
    speed: f64,
    /// Developer Mode off.
    #[arg(long)]
    gated: bool,
    /// Show a v3 certificate, and not the model's own kind.
    #[arg(long)]
    v3: bool,
    /// Ends after this many seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let Some(model) = models::find(&arguments.model) else {
        let known: Vec<_> = models::TABLE.iter().map(|row| row.key).collect();
        anyhow::bail!("no model {:?}; known: {}", arguments.model, known.join(", "));
    };
    let mut options = Options::new(model);
    options.access_code = arguments.code;
    options.serial = arguments.serial.unwrap_or(options.serial);
    options.address = arguments.address;
    options.speed = arguments.speed;
    options.gated = arguments.gated;
    options.control_port = Some(arguments.control_port);
    if arguments.v3 {
        options.certificate = Certificate::V3;
    }
    if arguments.real_ports {
        (options.mqtt_port, options.ftps_port, options.detect_port, options.camera_port) =
            (8883, 990, 3000, 6000);
    }
    let simulator = start(options).await?;
    let line = serde_json::json!({
        "model": model.key, "serial": simulator.options().serial, "addresses": simulator.addresses(),
    });
    println!("{line}");
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    Ok(())
}
