//! The configuration: one TOML file, read once, checked as a whole, then passed down as a value.
//!
//! Every mistake is reported at once, each with its line, key, the nearest valid name and what to do. Nothing reads
//! the environment later; what comes from it (directories of systemd and XDG, secrets by name) is read in `source`.

mod check;
mod reader;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use source::Environment;

use crate::access::{Cidr, Role};
use crate::secret::Secret;

/// Exit code of every command whose configuration is wrong (`EX_USAGE` of sysexits).
pub const EXIT_CONFIG: u8 = 64;
/// The gateway's own port: status page, and every printer below `/printers/<name>/`.
pub const GATEWAY_PORT: u16 = 7100;
/// The first printer's Moonraker port; the others count up.
pub const MOONRAKER_PORT: u16 = 7125;

/// The port of RTSP where only an address is given.
pub const RTSP_PORT: u16 = 8554;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub gateway: GatewayConfig,
    pub access: AccessConfig,
    /// Where the cameras are served as RTSP, if they are.
    pub rtsp: Option<SocketAddr>,
    pub printers: Vec<PrinterConfig>,
    /// What works but should be looked at, e.g. a secret written into a file that others can read.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Address to listen on; loopback unless set.
    pub listen: IpAddr,
    pub port: u16,
    /// Database, libraries, keys.
    pub state_dir: PathBuf,
    /// HTTPS on all ports.
    pub tls: Tls,
    /// Links to the ptys.
    pub runtime_dir: PathBuf,
    /// A built Mainsail or Fluidd to serve at `/` of each printer's port.
    pub web_root: Option<PathBuf>,
    /// Announce the printers by mDNS.
    pub announce: bool,
    /// Largest upload in bytes.
    pub max_upload: u64,
    /// Address of a Spoolman server (`http://host:7912`).
    pub spoolman: Option<String>,
    /// Bytes that must stay free on the disk of the library.
    pub min_free: u64,
}

/// Whether the ports speak HTTPS, and with which certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tls {
    #[default]
    Off,
    /// One that the gateway makes and keeps in its state directory.
    SelfSigned,
    /// PEM files of the user.
    Files { certificate: PathBuf, key: PathBuf },
}

/// Who may use the endpoints, in Moonraker's own terms.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// The key of the user's own choice; the gateway makes one where there is none.
    pub api_key: Option<Secret>,
    /// Addresses and networks (CIDR) that need no credentials.
    pub trusted_clients: Vec<String>,
    /// Origins (with `*`) whose pages may use the API.
    pub cors_domains: Vec<String>,
    /// Trusted addresses must log in too, once a user exists.
    pub force_logins: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// What callers from trusted addresses may do.
    pub trusted_role: Role,
    /// Users who may only look, and users who may print and steer but not change users and keys.
    pub viewers: Vec<String>,
    pub operators: Vec<String>,
}

impl AccessConfig {
    /// A program of this machine needs no credentials.
    pub fn trusts_this_machine(&self) -> bool {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let networks = self.trusted_clients.iter().filter_map(|text| text.parse::<Cidr>().ok());
        networks.into_iter().any(|network| loopback.into_iter().any(|address| network.contains(address)))
    }
}

/// The printer's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bambu,
    ElegooCc1,
    ElegooCc2,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Bambu, Kind::ElegooCc1, Kind::ElegooCc2];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bambu => "bambu",
            Kind::ElegooCc1 => "elegoo_cc1",
            Kind::ElegooCc2 => "elegoo_cc2",
        }
    }
}

/// What to do with a print that a host streams line by line (design D11).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StreamedPrints {
    /// Collect the lines, then print them as a file; refused where the file was not sliced for this printer.
    #[default]
    Assemble,
    Refuse,
}

/// What an emergency stop (M112) over the serial port does. OctoPrint also sends one when it gives a connection up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SerialStop {
    /// The printer's own emergency stop.
    #[default]
    Stop,
    /// The print is cancelled in the ordinary way.
    Cancel,
    /// Nothing at the printer: the host disconnects, and the print goes on.
    Disconnect,
}

#[derive(Debug, Clone)]
pub struct PrinterConfig {
    pub name: String,
    pub title: String,
    pub kind: Kind,
    pub host: String,
    /// Serial number (Bambu, Centauri Carbon 2) or mainboard id (Centauri Carbon); found by itself for Elegoo.
    pub serial: Option<String>,
    pub access_code: Option<Secret>,
    /// Only where the printer does not say it itself.
    pub model: Option<String>,
    /// 0 = any free port.
    pub moonraker_port: u16,
    pub read_only: bool,
    pub allow_vendor_json: bool,
    /// Plain G-code is packed for printers that take only sliced archives (design D12).
    pub wrap_gcode: bool,
    /// The build plate that lies on the printer, in a slicer's words.
    pub bed: Option<String>,
    pub streamed_prints: StreamedPrints,
    /// Missing layer and time comments are added to G-code for printers that read them.
    pub add_header_comments: bool,
    /// Job files go to the USB stick in the printer.
    pub jobs_on_usb: bool,
    /// Pictures of each job, layer by layer, until a user chooses otherwise in a front end.
    pub timelapse: bool,
    pub pty: PtyConfig,
    pub ports: PortConfig,
}

#[derive(Debug, Clone, Default)]
pub struct PtyConfig {
    pub enabled: bool,
    /// Permission bits of the device, e.g. 0o660.
    pub mode: Option<u32>,
    /// User that owns it; the gateway's own where it is not set.
    pub owner: Option<String>,
    /// Group that may open it.
    pub group: Option<String>,
    pub emergency_stop: SerialStop,
}

/// Ports of the printer where they differ from the vendor's, e.g. behind a port forward.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortConfig {
    pub mqtt: Option<u16>,
    pub ftps: Option<u16>,
    pub detect: Option<u16>,
    pub camera: Option<u16>,
    pub rtsp: Option<u16>,
    pub websocket: Option<u16>,
    pub http: Option<u16>,
    pub discovery: Option<u16>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, or just "config" where the text came from elsewhere.
    pub file: String,
    /// From 1; 0 where no line can be named.
    pub line: usize,
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{} line {line}: {}", self.file, self.text),
        }
    }
}

impl Mistake {
    pub(crate) fn new(line: usize, text: String) -> Self {
        Self { file: "config".to_owned(), line, text }
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<Mistake>);

impl ConfigError {
    /// The same, said of a file.
    fn of(mut self, path: &Path) -> Self {
        for mistake in &mut self.0 {
            mistake.file = path.display().to_string();
        }
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every mistake of the file at once.
    pub fn load(path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let text = source::text_of(path).map_err(|error| {
            let text = format!("cannot be read: {error}. {}", source::remedy(error.kind()));
            ConfigError(vec![Mistake::new(0, text)]).of(path)
        })?;
        let mut config = Self::parse(&text, environment).map_err(|error| error.of(path))?;
        config.warnings.extend(source::readable_secrets(path, &text));
        config.warnings.extend(source::unknown_accounts(&config.printers));
        config.warnings.extend(source::hidden_from_service(path, &config.gateway));
        Ok(config)
    }

    /// Checks the text of a configuration.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn parse(text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        check::check(text, environment)
    }
}
