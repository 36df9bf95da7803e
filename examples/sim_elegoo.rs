//! Runs one simulated Elegoo printer: `sim_elegoo cc1|cc2 [BIND_IP] [--seconds N] [--speed X] [--real-ports]`.
//!
//! Prints its addresses as one JSON line and ends after N seconds (600 unless told).

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use moongate::sim::{elegoo_cc1, elegoo_cc2};

struct Arguments {
    model: String,
    bind: IpAddr,
    seconds: f64,
    speed: f64,
    real_ports: bool,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let model =
        words.next().ok_or("usage: sim_elegoo cc1|cc2 [IP] [--seconds N] [--speed X] [--real-ports]")?;
    let mut found = Arguments {
        model,
        bind: IpAddr::from([127, 0, 0, 1]),
        seconds: 600.0,
        speed: 1.0,
        real_ports: false,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => found.seconds = words.next().ok_or("--seconds needs a number")?.parse()?,
            "--speed" => found.speed = words.next().ok_or("--speed needs a number")?.parse()?,
            "--real-ports" => found.real_ports = true,
            address => found.bind = address.parse()?,
        }
    }
    Ok(found)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let wanted = arguments()?;
    let life = Duration::from_secs_f64(wanted.seconds);
    match wanted.model.as_str() {
        "cc1" => {
            let ports = if wanted.real_ports { elegoo_cc1::Ports::REAL } else { elegoo_cc1::Ports::ANY };
            let options =
                elegoo_cc1::Options { bind: wanted.bind, speed: wanted.speed, ports, ..Default::default() };
            let printer = elegoo_cc1::start(options).await?;
            println!("{}", serde_json::to_string(&printer.addresses())?);
            tokio::time::sleep(life).await;
        }
        "cc2" => {
            let ports = if wanted.real_ports { elegoo_cc2::Ports::REAL } else { elegoo_cc2::Ports::ANY };
            let options =
                elegoo_cc2::Options { bind: wanted.bind, speed: wanted.speed, ports, ..Default::default() };
            let printer = elegoo_cc2::start(options).await?;
            println!("{}", serde_json::to_string(&printer.addresses())?);
            tokio::time::sleep(life).await;
        }
        other => return Err(format!("unknown model {other:?}: cc1 or cc2").into()),
    }
    Ok(())
}
