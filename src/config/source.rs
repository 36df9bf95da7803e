//! What the surroundings contribute: directories of systemd and XDG, secrets kept in files or the environment.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};

use super::PrinterConfig;

/// Where the service's access codes lie (deploy/systemd); the unit hands them over as `credentials_NAME`.
const CREDENTIALS: &str = "/etc/moongate/credentials";

/// The environment variables, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        Self { variables: std::env::vars().collect() }
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

    /// `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/moongate`, else `~/.local/state/moongate`.
    pub fn state_dir(&self) -> PathBuf {
        self.path("STATE_DIRECTORY")
            .or_else(|| self.path("XDG_STATE_HOME").map(|dir| dir.join("moongate")))
            .or_else(|| self.path("HOME").map(|home| home.join(".local/state/moongate")))
            .unwrap_or_else(|| PathBuf::from("/var/lib/moongate"))
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

/// What to do about a configuration that cannot be read.
pub fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => {
            "It belongs to another user, such as the service's: use sudo, or name your own with --config."
        }
        ErrorKind::InvalidData => "Save it as text in UTF-8.",
        ErrorKind::IsADirectory => "Name the file in it.",
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
    use super::*;

    #[test]
    fn the_service_s_codes_are_found_by_commands_too() {
        assert_eq!(credential_at_home("credentials_p1s"), Path::new("/etc/moongate/credentials/p1s"));
        assert_eq!(credential_at_home("./credentials_p1s"), Path::new("./credentials_p1s"));
        assert_eq!(credential_at_home("code.txt"), Path::new("code.txt"));
    }
}
