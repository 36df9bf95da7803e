//! What the surroundings contribute: directories of systemd and XDG, secrets kept in files or the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};

use super::{GatewayConfig, PrinterConfig, Tls};

/// Where the service's access codes lie (deploy/systemd); the unit hands them over as `credentials_NAME`.
const CREDENTIALS: &str = "/etc/moongate/credentials";

/// Where the service has its configuration and state, and what its unit hides from it (`ProtectHome=yes`).
const SERVICE_CONFIG: &str = "/etc/moongate";
const SERVICE_STATE: &str = "/var/lib/moongate";
const HIDDEN_FROM_SERVICE: [&str; 3] = ["/home", "/root", "/run/user"];
/// What is told of a path that is, or may be, hidden so.
pub const SERVICE_SEES_NO_HOME: &str =
    "The service sees nothing below /home, /root and /run/user: put it below /usr/share or /srv.";

/// The environment variables, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// That of this process. Bytes that are no UTF-8, in whose variable ever, do not end the program.
    pub fn of_process() -> Self {
        Self::of_raw(std::env::vars_os())
    }

    fn of_raw(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let text = |raw: OsString| raw.to_string_lossy().into_owned();
        Self { variables: variables.map(|(name, value)| (text(name), text(value))).collect() }
    }

    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self { variables: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        // systemd may name several directories, separated by colons; the first is ours.
        self.get(name).map(|value| PathBuf::from(value.split(':').next().unwrap_or(value)))
    }

    /// The same as the gateway has it that reads this configuration, for commands that talk to that one: systemd names
    /// the state directory to the service only.
    pub fn of_gateway(&self, config: &Path) -> Self {
        self.with_state_of_service(config, Path::new(SERVICE_STATE))
    }

    fn with_state_of_service(&self, config: &Path, state: &Path) -> Self {
        let mut same = self.clone();
        if config.starts_with(SERVICE_CONFIG) && self.get("STATE_DIRECTORY").is_none() && state.is_dir() {
            same.variables.insert("STATE_DIRECTORY".to_owned(), state.display().to_string());
        }
        same
    }

    /// `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/moongate`, else `~/.local/state/moongate`.
    pub fn state_dir(&self) -> PathBuf {
        self.path("STATE_DIRECTORY")
            .or_else(|| self.path("XDG_STATE_HOME").map(|dir| dir.join("moongate")))
            .or_else(|| self.path("HOME").map(|home| home.join(".local/state/moongate")))
            .unwrap_or_else(|| PathBuf::from("/var/lib/moongate"))
    }

    /// What commands keep for the person who runs them: `$XDG_STATE_HOME/moongate`, else `~/.local/state/moongate`. A
    /// service's own folder is nobody's.
    pub fn own_state_dir(&self) -> Option<PathBuf> {
        let home = || self.path("HOME").map(|home| home.join(".local/state"));
        self.path("XDG_STATE_HOME").or_else(home).map(|folder| folder.join("moongate"))
    }

    /// `$RUNTIME_DIRECTORY`, else `$XDG_RUNTIME_DIR/moongate`, else `moongate-<user>` below the temporary directory.
    pub fn runtime_dir(&self) -> PathBuf {
        self.path("RUNTIME_DIRECTORY")
            .or_else(|| self.path("XDG_RUNTIME_DIR").map(|dir| dir.join("moongate")))
            .unwrap_or_else(|| std::env::temp_dir().join(format!("moongate-{}", nix::unistd::geteuid())))
    }

    /// `--config`, else `$MOONGATE_CONFIG`, `$CONFIGURATION_DIRECTORY/moongate.toml`,
    /// `$XDG_CONFIG_HOME/moongate/moongate.toml`, `~/.config/moongate/moongate.toml`, `/etc/moongate/moongate.toml`:
    /// the first that exists, or the last.
    pub fn config_file(&self) -> PathBuf {
        if let Some(path) = self.path("MOONGATE_CONFIG") {
            return path;
        }
        let candidates = [
            self.path("CONFIGURATION_DIRECTORY").map(|dir| dir.join("moongate.toml")),
            self.path("XDG_CONFIG_HOME").map(|dir| dir.join("moongate/moongate.toml")),
            self.path("HOME").map(|home| home.join(".config/moongate/moongate.toml")),
        ];
        candidates
            .into_iter()
            .flatten()
            .find(|path| path.exists())
            .unwrap_or_else(|| PathBuf::from("/etc/moongate/moongate.toml"))
    }

    /// Where a new configuration belongs: that of [`Self::config_file`] where it is named, else the user's own folder,
    /// else (for root, and users without a home) `/etc/moongate/moongate.toml`.
    pub fn new_config_file(&self) -> PathBuf {
        let known = self.config_file();
        if known.exists() || self.get("MOONGATE_CONFIG").is_some() || nix::unistd::geteuid().is_root() {
            return known;
        }
        let own = self.path("XDG_CONFIG_HOME").or_else(|| self.path("HOME").map(|home| home.join(".config")));
        own.map_or(known, |folder| folder.join("moongate/moongate.toml"))
    }

    /// Reads a secret's file: systemd credentials by bare name, other files by path.
    pub fn secret_file(&self, named: &str) -> Result<String, String> {
        let path = match self.path("CREDENTIALS_DIRECTORY") {
            Some(dir) if !named.contains('/') => dir.join(named),
            Some(_) => PathBuf::from(named),
            None => credential_at_home(named),
        };
        std::fs::read_to_string(&path)
            .map(|text| text.trim().to_owned())
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))
    }
}

/// Where a file named for systemd lies for commands that systemd did not start: `check` and `probe` read the service's
/// configuration too.
fn credential_at_home(named: &str) -> PathBuf {
    let path = PathBuf::from(named);
    match named.strip_prefix("credentials_") {
        Some(printer) if !named.contains('/') && !path.exists() => Path::new(CREDENTIALS).join(printer),
        _ => path,
    }
}

/// Larger than any configuration: a thousand printers take less than one MiB.
const LARGEST: u64 = 16 << 20;

/// The text of a configuration file.
///
/// # Errors
/// As of reading any file; [`ErrorKind::FileTooLarge`] above 16 MiB.
pub fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// What to do about a configuration that cannot be read.
pub fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => {
            "It belongs to another user, such as the service's: use sudo, or name your own with --config."
        }
        ErrorKind::InvalidData => "Save it as text in UTF-8.",
        ErrorKind::IsADirectory => "Name the file in it.",
        ErrorKind::FileTooLarge => "No configuration is that large: name the right file with --config.",
        _ => {
            "Write one with `moongate init` (docs/config.example.toml shows every key), or name it with --config."
        }
    }
}

/// Warns of users and groups that the serial ports shall belong to and that this machine does not have.
pub fn unknown_accounts(printers: &[PrinterConfig]) -> Vec<String> {
    let mut told = Vec::new();
    for printer in printers.iter().filter(|printer| printer.pty.enabled) {
        if let Some(group) =
            printer.pty.group.as_deref().filter(|name| matches!(Group::from_name(name), Ok(None)))
        {
            told.push(format!("pty_group of {}: this machine has no group \"{group}\".", printer.name));
        }
        if let Some(user) =
            printer.pty.owner.as_deref().filter(|name| matches!(User::from_name(name), Ok(None)))
        {
            told.push(format!("pty_owner of {}: this machine has no user \"{user}\".", printer.name));
        }
    }
    told
}

/// Warns of files in the service's configuration that the service cannot see, though whoever checks it can.
pub fn hidden_from_service(path: &Path, gateway: &GatewayConfig) -> Vec<String> {
    if !path.starts_with(SERVICE_CONFIG) {
        return Vec::new();
    }
    let mut named = vec![("web_root", gateway.web_root.as_deref())];
    if let Tls::Files { certificate, key } = &gateway.tls {
        named.extend([("tls_cert", Some(certificate.as_path())), ("tls_key", Some(key.as_path()))]);
    }
    let hidden = |file: &Path| HIDDEN_FROM_SERVICE.iter().any(|folder| file.starts_with(folder));
    named
        .into_iter()
        .filter_map(|(what, file)| file.filter(|file| hidden(file)).map(|file| (what, file)))
        .map(|(what, file)| format!("{what} {}: {SERVICE_SEES_NO_HOME}", file.display()))
        .collect()
}

/// Warns when a file with inline secrets can be read by others than its owner.
pub fn readable_secrets(path: &Path, text: &str) -> Option<String> {
    let inline = text.lines().any(|line| {
        line.trim_start().starts_with("access_code ") || line.trim_start().starts_with("access_code=")
    });
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (inline && mode & 0o077 != 0).then(|| {
        format!(
            "{} holds access codes and others can read it (mode {:o}): chmod 600 it, or use access_code_file.",
            path.display(),
            mode & 0o777
        )
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn the_service_s_state_is_found_by_commands_too() {
        let (service, own) = (Path::new("/etc/moongate/moongate.toml"), Path::new("/home/me/moongate.toml"));
        let folder = tempfile::tempdir().expect("a folder");
        let state = |variables: &[(&str, &str)], config: &Path, there: &Path| {
            Environment::of(variables).with_state_of_service(config, there).state_dir()
        };
        let root = [("HOME", "/root")];
        assert_eq!(state(&root, service, folder.path()), folder.path());
        let at_home = Path::new("/root/.local/state/moongate");
        assert_eq!(state(&root, own, folder.path()), at_home, "a gateway of one's own");
        assert_eq!(state(&root, service, &folder.path().join("none")), at_home, "the service has never run");
        assert_eq!(state(&[("STATE_DIRECTORY", "/a")], service, folder.path()), Path::new("/a"));
    }

    #[test]
    fn bytes_of_other_programs_do_not_disturb() {
        let raw = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let pairs = [(raw(b"LS_COLORS"), raw(b"\xff")), (raw(b"HOME"), raw(b"/home/me"))];
        assert_eq!(Environment::of_raw(pairs.into_iter()).get("HOME"), Some("/home/me"));
    }

    #[test]
    fn what_has_no_end_is_no_configuration() {
        let error = text_of(Path::new("/dev/zero")).expect_err("endless");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn the_service_s_codes_are_found_by_commands_too() {
        assert_eq!(credential_at_home("credentials_p1s"), Path::new("/etc/moongate/credentials/p1s"));
        assert_eq!(credential_at_home("./credentials_p1s"), Path::new("./credentials_p1s"));
        assert_eq!(credential_at_home("code.txt"), Path::new("code.txt"));
    }
}
