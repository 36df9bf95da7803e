//! `moongate discover` and `moongate probe`: which printers there are, and what is wrong with one.
//!
//! A probe opens a connection of its own, sends nothing but what every connection needs, and closes it.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::words::{harmless, table};
use super::{ConfigArgs, EXIT_FAILED, config_failed};
use crate::app;
use crate::config::{Environment, Kind, PrinterConfig};
use crate::discovery::{self, Trail};
use crate::model::{Control, LinkPhase};
use crate::printer::{self, PrinterHandle, PrinterSettings};
use crate::store::Store;

const TCP: Duration = Duration::from_secs(5);
const IDENTITY: Duration = Duration::from_secs(6);
/// Connecting, login and the first whole report.
const ONLINE: Duration = Duration::from_secs(45);
/// Time for the printer to show whether it takes commands.
const PERMISSION: Duration = Duration::from_secs(3);
const FILES: Duration = Duration::from_secs(60);
const PICTURE: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub struct DiscoverArgs {
    /// How long to listen. Some printers speak only every ten seconds.
    #[arg(long, default_value_t = 12)]
    pub seconds: u64,
    /// Print the list as JSON.
    #[arg(long)]
    pub json: bool,
}

pub async fn discover(args: &DiscoverArgs) -> ExitCode {
    let findings = discovery::discover(Duration::from_secs(args.seconds.clamp(1, 120))).await;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    for problem in &findings.problems {
        complain!("{problem}");
    }
    if findings.printers.is_empty() {
        println!(
            "No printer made itself known. They are heard on the same network segment only, in LAN mode; a printer"
        );
        println!("that is not listed can still be configured by its address.");
        return ExitCode::SUCCESS;
    }
    let mut rows =
        vec![["kind", "address", "model", "serial", "name", "access code"].map(str::to_owned).to_vec()];
    for found in &findings.printers {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            found.kind.to_owned(),
            found.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            or_dash(&found.model),
            or_dash(&found.serial),
            or_dash(&found.name),
            if found.needs_code { "needed" } else { "-" }.to_owned(),
        ]);
    }
    print!("{}", table(rows));
    ExitCode::SUCCESS
}

#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// A printer of the configuration.
    pub printer: String,
    /// Print the steps as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Fine,
    /// It works, but the user should know something.
    Note,
    Bad,
}

/// One step of a probe.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub what: String,
    pub verdict: Verdict,
    pub milliseconds: u128,
    pub told: String,
    /// The code of the fault that ended it (docs/ref/faults.md).
    pub fault: Option<String>,
}

impl Step {
    /// The printer let us connect but did not take the access code.
    pub fn refuses_code(&self) -> bool {
        self.fault.as_deref().is_some_and(|code| code.ends_with("-AUTH"))
    }
}

pub async fn probe(args: &ProbeArgs, environment: &Environment) -> ExitCode {
    let config = match args.config.load(environment) {
        Ok((_, config)) => config,
        Err(error) => return config_failed(&error),
    };
    let Some(printer) = config.printers.iter().find(|printer| printer.name == args.printer) else {
        let known: Vec<&str> = config.printers.iter().map(|printer| printer.name.as_str()).collect();
        complain!("the configuration has no printer \"{}\"; known are {}.", args.printer, known.join(", "));
        return ExitCode::from(EXIT_FAILED);
    };
    let json = args.json;
    let steps = run(printer, |step| {
        if !json {
            show(step)
        }
    })
    .await;
    if json {
        println!("{}", serde_json::to_string_pretty(&steps).unwrap_or_default());
    }
    if steps.iter().any(|step| step.verdict == Verdict::Bad) {
        ExitCode::from(EXIT_FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

fn show(step: &Step) {
    let sign = match step.verdict {
        Verdict::Fine => "ok  ",
        Verdict::Note => "note",
        Verdict::Bad => "BAD ",
    };
    println!("{sign} {:<16} {:>6} ms  {}", step.what, step.milliseconds, step.told);
}

/// Collects steps and tells each as soon as it is over.
struct Steps<F> {
    list: Vec<Step>,
    tell: F,
    begun: Instant,
}

impl<F: FnMut(&Step)> Steps<F> {
    fn begin(&mut self) {
        self.begun = Instant::now();
    }

    fn end(&mut self, what: &str, verdict: Verdict, told: impl Into<String>) {
        self.end_with(what, verdict, told.into(), None);
    }

    fn end_with(&mut self, what: &str, verdict: Verdict, told: String, fault: Option<String>) {
        let step = Step {
            what: what.to_owned(),
            verdict,
            milliseconds: self.begun.elapsed().as_millis(),
            // Printers have a say in it, and anything on the network may pass for one.
            told: harmless(&told),
            fault,
        };
        (self.tell)(&step);
        self.list.push(step);
    }
}

/// Goes through all steps; what cannot be done without an earlier one is left out.
pub async fn run(config: &PrinterConfig, tell: impl FnMut(&Step)) -> Vec<Step> {
    let mut steps = Steps { list: Vec::new(), tell, begun: Instant::now() };
    let address = match timeout(TCP, tokio::net::lookup_host((config.host.as_str(), 0))).await {
        Ok(Ok(mut found)) => found.next().map(|address| address.ip()),
        Ok(Err(_)) | Err(_) => None,
    };
    let Some(address) = address else {
        let told = format!(
            "{} has no address: is the name right, and does this network know it? A fixed IP address always works.",
            config.host
        );
        steps.end("name", Verdict::Bad, told);
        return steps.list;
    };
    steps.end("name", Verdict::Fine, format!("{} is {address}.", config.host));
    let mut refused = false;
    for (at, (what, port)) in discovery::services(config).into_iter().enumerate() {
        steps.begin();
        match timeout(TCP, TcpStream::connect((address, port))).await {
            Ok(Ok(_open)) => steps.end(&format!("port {port}"), Verdict::Fine, format!("open ({what}).")),
            Ok(Err(error)) => {
                // Something is there; what does not answer at all is asked nothing more.
                refused |= at == 0 && error.kind() == ErrorKind::ConnectionRefused;
                let told = format!("{error} ({what}). Is the printer on, in LAN mode, and this its address?");
                steps.end(&format!("port {port}"), Verdict::Bad, told);
            }
            Err(_late) => steps.end(
                &format!("port {port}"),
                Verdict::Bad,
                format!("no answer ({what}). Is the printer on, on this network, and not behind a firewall?"),
            ),
        }
    }
    steps.begin();
    let other = if refused { another_kind(config.kind, address).await } else { None };
    if let Some(other) = other.map(Kind::name) {
        let told =
            format!("the port of a printer of kind = \"{other}\" is open there: correct kind or host.");
        steps.end("kind", Verdict::Bad, told);
    }
    steps.begin();
    match discovery::identify(config, IDENTITY).await {
        Some(found) => identity(&mut steps, config, &found),
        None => steps.end(
            "identity",
            Verdict::Note,
            "it does not say who it is; networks and older firmware often drop that question.",
        ),
    }
    link(&mut steps, config).await;
    steps.list
}

/// The kind of printer whose vendor's control port is open there, where it is not the configured one.
async fn another_kind(configured: Kind, address: IpAddr) -> Option<Kind> {
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != configured) {
        let port = discovery::usual_control_port(kind);
        if let Ok(Ok(_open)) = timeout(TCP, TcpStream::connect((address, port))).await {
            return Some(kind);
        }
    }
    None
}

fn identity<F: FnMut(&Step)>(steps: &mut Steps<F>, config: &PrinterConfig, found: &discovery::FoundPrinter) {
    let model = found.model.as_deref().unwrap_or("an unknown model");
    match (&config.serial, &found.serial) {
        (Some(wanted), Some(serial)) if !serial.eq_ignore_ascii_case(wanted) => {
            let told =
                format!("this is {model} with serial number {serial}, not {wanted}: correct host or serial.");
            steps.end("identity", Verdict::Bad, told);
        }
        _ => steps.end(
            "identity",
            Verdict::Fine,
            format!("{model}, firmware {}.", found.firmware.as_deref().unwrap_or("unknown")),
        ),
    }
}

/// Login, first report, permission, files, camera: by the driver itself.
async fn link<F: FnMut(&Step)>(steps: &mut Steps<F>, config: &PrinterConfig) {
    steps.begin();
    let store = Store::in_memory();
    let parts = app::driver(config, &store, &Trail::of(config, &store));
    let settings = PrinterSettings {
        name: config.name.clone(),
        title: config.title.clone(),
        read_only: config.read_only,
        allow_vendor: false,
    };
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let handle = printer::start(settings, parts, &tasks, cancel.clone());
    if login(steps, &handle).await {
        permission(steps, &handle).await;
        files(steps, &handle).await;
        picture(steps, &handle).await;
    }
    cancel.cancel();
    tasks.close();
    let _dropped_otherwise = timeout(END, tasks.wait()).await;
}

/// True when the printer is online.
async fn login<F: FnMut(&Step)>(steps: &mut Steps<F>, handle: &PrinterHandle) -> bool {
    let mut watch = handle.watch();
    let settled = watch.wait_for(|state| state.online() || state.link.fault.is_some());
    let settled = timeout(ONLINE, settled).await.is_ok();
    let state = handle.state();
    if state.online() {
        let firmware = state.device.identity.firmware.as_deref().unwrap_or("unknown");
        steps.end("login, report", Verdict::Fine, format!("online, firmware {firmware}."));
        return true;
    }
    let told = match &state.link.fault {
        Some(fault) => format!("{} [{}]", fault.sentence(), fault.code),
        None if settled => "the link ended without a reason.".to_owned(),
        None => {
            format!("not online after {} s; it stopped at \"{}\".", ONLINE.as_secs(), stage(state.link.phase))
        }
    };
    let fault = state.link.fault.as_ref().map(|fault| fault.code.clone());
    steps.end_with("login, report", Verdict::Bad, told, fault);
    false
}

fn stage(phase: LinkPhase) -> &'static str {
    match phase {
        LinkPhase::Off => "not begun",
        LinkPhase::Resolving => "looking up the name",
        LinkPhase::Connecting => "connecting",
        LinkPhase::Authenticating => "login",
        LinkPhase::Syncing => "first report",
        LinkPhase::Online => "online",
        LinkPhase::Stale => "silence",
        LinkPhase::Backoff => "waiting for the next try",
    }
}

async fn permission<F: FnMut(&Step)>(steps: &mut Steps<F>, handle: &PrinterHandle) {
    steps.begin();
    let mut watch = handle.watch();
    let _stays_unknown = timeout(PERMISSION, watch.wait_for(|state| state.control != Control::Unknown)).await;
    match &handle.state().control {
        Control::Allowed => steps.end("permission", Verdict::Fine, "the printer takes commands."),
        Control::ReadOnly(reason) => steps.end("permission", Verdict::Bad, reason.clone()),
        Control::Unknown => {
            steps.end("permission", Verdict::Note, "unknown until the first command; a probe sends none.")
        }
    }
}

async fn files<F: FnMut(&Step)>(steps: &mut Steps<F>, handle: &PrinterHandle) {
    if !handle.capabilities().files.list {
        return;
    }
    steps.begin();
    match timeout(FILES, handle.files().list()).await {
        Ok(Ok(list)) => steps.end("files", Verdict::Fine, format!("{} entries on the printer.", list.len())),
        Ok(Err(error)) => steps.end("files", Verdict::Bad, error.to_string()),
        Err(_late) => steps.end("files", Verdict::Bad, format!("no list after {} s.", FILES.as_secs())),
    }
}

async fn picture<F: FnMut(&Step)>(steps: &mut Steps<F>, handle: &PrinterHandle) {
    use futures_util::StreamExt;
    let Some(camera) = handle.camera() else { return };
    steps.begin();
    let first = async {
        Ok::<_, printer::CameraError>(match camera.open().await? {
            printer::CameraFeed::Jpeg(mut feed) => {
                let picture = feed.next().await.transpose()?;
                picture.map(|picture| format!("a picture of {} bytes.", picture.len()))
            }
            printer::CameraFeed::H264(mut feed) => {
                let unit = feed.next().await.transpose()?;
                unit.map(|unit| format!("H.264 video; the first picture has {} bytes.", unit.data.len()))
            }
        })
    };
    match timeout(PICTURE, first).await {
        Ok(Ok(Some(text))) => steps.end("camera", Verdict::Fine, text),
        Ok(Ok(None)) => steps.end("camera", Verdict::Note, "the stream ended without a picture."),
        Ok(Err(error)) => steps.end("camera", Verdict::Note, error.to_string()),
        Err(_late) => {
            steps.end("camera", Verdict::Note, format!("no picture after {} s.", PICTURE.as_secs()))
        }
    }
}
