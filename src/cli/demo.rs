//! `moongate demo`: a small farm of simulated printers, reached over real sockets, and the gateway in front of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::simulate::{known_model, known_speed};
use super::{EXIT_UNAVAILABLE, asked_to_stop, block_on};
use crate::app::{App, AppOptions, StartupError};
use crate::config::{Config, Environment, GATEWAY_PORT, Kind, MOONRAKER_PORT, RTSP_PORT};
use crate::sim::{bambu, elegoo_cc1, elegoo_cc2, elegoo_sample, sample};

/// How long all printers may take to come online.
const ONLINE: Duration = Duration::from_secs(60);
/// Folders of serial ports that are tried with `--any-port`.
const FOLDERS: u32 = 32;
/// The farm where no printers are named.
const FARM: &str = "p1s,h2d,cc1,cc2";

#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Simulated seconds per real second: 10 prints ten times as fast.
    #[arg(long, default_value_t = 1.0, value_parser = known_speed)]
    pub speed: f64,
    /// Print one line of JSON once all printers are online, instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Take free ports where the usual ones are in use, and another folder for the serial ports.
    #[arg(long)]
    pub any_port: bool,
    /// End by itself after this many seconds.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Which printers, in order: cc1, cc2, or a Bambu model such as p1s, x1c, a1mini, h2d.
    #[arg(long, default_value = FARM, value_delimiter = ',', value_parser = known_model)]
    pub printers: Vec<String>,
    /// Address of a Spoolman server, as `spoolman` in [gateway].
    #[arg(long)]
    pub spoolman: Option<String>,
    /// A built Mainsail or Fluidd to serve at / of each printer's port.
    #[arg(long)]
    pub web_root: Option<PathBuf>,
}

/// A simulated printer, kept alive by its guard, and how the gateway reaches it.
struct Simulated {
    name: String,
    kind: Kind,
    control: SocketAddr,
    config: String,
    /// The file its library begins with.
    sample: (&'static str, Vec<u8>),
    _guard: Box<dyn Send>,
}

/// Runs until Ctrl-C or the end of `--seconds`.
pub fn demo(args: &DemoArgs, environment: &Environment) -> ExitCode {
    let mut seen = BTreeSet::new();
    if let Some(twice) = args.printers.iter().find(|name| !seen.insert(name.as_str())) {
        complain!("--printers names {twice} twice; the demo has one printer of a model.");
        return ExitCode::from(2);
    }
    block_on(async {
        match run(args, environment).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain!("{error:#}");
                ExitCode::from(EXIT_UNAVAILABLE)
            }
        }
    })
}

async fn run(args: &DemoArgs, environment: &Environment) -> anyhow::Result<()> {
    let state = tempfile::Builder::new().prefix("moongate-demo-").tempdir()?;
    let mut farm = Vec::new();
    for name in &args.printers {
        farm.push(simulate(name, args.speed).await?);
    }
    let config = configuration(&farm, state.path(), args, environment)?;
    for printer in &farm {
        seed(state.path(), printer)?;
    }
    let app = start(config, args).await?;
    let all_online = tokio::time::timeout(ONLINE, app.all_online()).await.is_ok();
    if !all_online {
        let missing: Vec<String> =
            app.printers().iter().filter(|p| !p.online()).map(|p| p.name.clone()).collect();
        app.stop().await;
        anyhow::bail!("simulated printers did not come online: {}", missing.join(", "));
    }
    if args.json {
        print_json(&app, &farm)
    } else {
        print_table(&app, args.speed)
    }
    let ends = async {
        match args.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = asked_to_stop() => {}
        () = ends => {}
    }
    app.stop().await;
    Ok(())
}

/// The gateway; with `--any-port` in folders of their own where a demo or gateway of this user has the serial ports.
async fn start(config: Config, args: &DemoArgs) -> anyhow::Result<App> {
    let folder = config.gateway.runtime_dir.clone();
    let others = (2..=FOLDERS).map(|number| {
        let mut other = folder.as_os_str().to_owned();
        other.push(format!("-{number}"));
        PathBuf::from(other)
    });
    let mut last = None;
    for runtime_dir in std::iter::once(folder.clone()).chain(others) {
        let mut config = config.clone();
        config.gateway.runtime_dir = runtime_dir;
        match App::start(config, AppOptions { any_port: args.any_port }).await {
            Err(taken @ StartupError::SerialPortTaken { .. }) if args.any_port => last = Some(taken),
            Err(taken @ (StartupError::PortTaken { .. } | StartupError::SerialPortTaken { .. })) => {
                anyhow::bail!("{taken} Or let the demo take free ports: moongate demo --any-port")
            }
            other => return Ok(other?),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no folder for the serial ports is free"), Into::into))
}

async fn simulate(name: &str, speed: f64) -> anyhow::Result<Simulated> {
    match name {
        "cc1" => {
            let simulator = elegoo_cc1::start(elegoo_cc1::Options { speed, ..Default::default() }).await?;
            let at = simulator.addresses();
            let config = format!(
                "websocket_port = {}\nhttp_port = {}\ncamera_port = {}\ndiscovery_port = {}\n",
                at.websocket.port(),
                at.http.port(),
                at.camera.port(),
                at.discovery.port()
            );
            Ok(simulated(name, Kind::ElegooCc1, at.control, config, simulator))
        }
        "cc2" => {
            let options = elegoo_cc2::Options { speed, canvas: true, ..Default::default() };
            let code = options.access_code.clone();
            let simulator = elegoo_cc2::start(options).await?;
            let at = simulator.addresses();
            let config = format!(
                "access_code = \"{code}\"\nmqtt_port = {}\nhttp_port = {}\ncamera_port = {}\ndiscovery_port = {}\n",
                at.mqtt.port(),
                at.http.port(),
                at.camera.port(),
                at.discovery.port()
            );
            Ok(simulated(name, Kind::ElegooCc2, at.control, config, simulator))
        }
        model => simulate_bambu(model, speed).await,
    }
}

fn simulated(
    name: &str,
    kind: Kind,
    control: SocketAddr,
    config: String,
    guard: impl Send + 'static,
) -> Simulated {
    let sample = ("cube.gcode", elegoo_sample::cube().into_bytes());
    Simulated { name: name.to_owned(), kind, control, config, sample, _guard: Box::new(guard) }
}

async fn simulate_bambu(key: &str, speed: f64) -> anyhow::Result<Simulated> {
    let Some(model) = bambu::models::find(key) else {
        anyhow::bail!(known_model(key).unwrap_or_else(|why| why))
    };
    let options = bambu::Options { speed, control_port: Some(0), ..bambu::Options::new(model) };
    let (serial, code) = (options.serial.clone(), options.access_code.clone());
    let simulator = bambu::start(options).await?;
    let at = simulator.addresses().clone();
    let mut config = format!(
        "serial = \"{serial}\"\naccess_code = \"{code}\"\nmqtt_port = {}\nftps_port = {}\ndetect_port = {}\n",
        at.mqtt.port(),
        at.ftps.port(),
        at.detect.port()
    );
    let camera = match model.camera {
        bambu::models::Camera::Jpeg => "camera_port",
        bambu::models::Camera::Rtsp => "rtsp_port",
    };
    config.push_str(&format!("{camera} = {}\n", at.camera.port()));
    let control = at.control.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let sample = ("cube.gcode.3mf", sample::cube_3mf(model.code)?);
    Ok(Simulated {
        name: key.to_owned(),
        kind: Kind::Bambu,
        control,
        config,
        sample,
        _guard: Box::new(simulator),
    })
}

/// The demo goes through the same checks as any configuration.
fn configuration(
    farm: &[Simulated],
    state: &Path,
    args: &DemoArgs,
    environment: &Environment,
) -> anyhow::Result<Config> {
    let mut text =
        format!("[gateway]\nport = {GATEWAY_PORT}\nstate_dir = {:?}\n", state.display().to_string());
    if let Some(url) = &args.spoolman {
        text.push_str(&format!("spoolman = {url:?}\n"));
    }
    if let Some(folder) = &args.web_root {
        text.push_str(&format!("web_root = {:?}\n", folder.display().to_string()));
    }
    text.push_str(&format!("[rtsp]\nlisten = \"127.0.0.1:{RTSP_PORT}\"\n"));
    for (port, printer) in (MOONRAKER_PORT..).zip(farm) {
        text.push_str(&format!(
            "[[printer]]\nname = \"{}\"\nkind = \"{}\"\nhost = \"127.0.0.1\"\nmoonraker_port = {port}\n\
             timelapse = true\n{}",
            printer.name,
            printer.kind.name(),
            printer.config
        ));
    }
    Ok(Config::parse(&text, environment)?)
}

/// Puts the sample where an upload would have put it.
fn seed(state: &Path, printer: &Simulated) -> anyhow::Result<()> {
    let folder = App::library_dir(state, &printer.name);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(printer.sample.0), &printer.sample.1)?;
    Ok(())
}

fn print_json(app: &App, farm: &[Simulated]) {
    let printers: Vec<_> = app
        .printers()
        .iter()
        .zip(farm)
        .map(|(bound, simulated)| {
            json!({
                "name": bound.name,
                "kind": bound.kind.name(),
                "port": bound.port,
                "pty": bound.pty.as_ref().map(|path| path.display().to_string()),
                "control": {"host": simulated.control.ip().to_string(), "port": simulated.control.port()},
            })
        })
        .collect();
    let gateway = json!({"port": app.gateway_port(), "rtsp_port": app.rtsp_port()});
    println!("{}", json!({"gateway": gateway, "printers": printers}));
}

fn print_table(app: &App, speed: f64) {
    println!("moongate demo: simulated printers at {speed} times real speed. Ctrl-C ends it.\n");
    println!("  {:<8} {:<11} {:<24} OctoPrint serial port", "printer", "kind", "Mainsail, Fluidd, HA");
    for printer in app.printers() {
        let pty = printer.pty.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        println!(
            "  {:<8} {:<11} {:<24} {pty}",
            printer.name,
            printer.kind.name(),
            format!("127.0.0.1:{}", printer.port)
        );
    }
    if let Some(folder) = app.printers().iter().find_map(|printer| printer.pty.as_ref()?.parent()) {
        println!(
            "\nOctoPrint: add to Settings > Serial Connection > Additional serial ports: {}/*",
            folder.display()
        );
    }
    if let Some(first) = app.printers().first() {
        let base = format!("http://127.0.0.1:{}", first.port);
        println!("\nTry:\n  curl {base}/printer/info");
        println!("  curl '{base}/printer/objects/query?print_stats&extruder&heater_bed'");
        println!("  curl -X POST '{base}/printer/print/start?filename=cube.gcode'");
        if let Some(port) = app.rtsp_port() {
            println!("  ffplay -rtsp_transport tcp rtsp://127.0.0.1:{port}/{}", first.name);
        }
        println!("\nAll printers behind one port: http://127.0.0.1:{}/", app.gateway_port());
    }
}
