//! The answers as a commented configuration.

use crate::config::Kind;

/// What was answered for one printer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub name: String,
    /// What people read, where it differs from the name.
    pub title: Option<String>,
    pub kind: Kind,
    pub host: String,
    pub serial: Option<String>,
    pub code: Option<String>,
    /// Model, for the comment.
    pub about: String,
}

const HEAD: &str = "\
# Written by `moongate init`. Every key: docs/ref/config.md and moongate's example configuration.
# After a change: moongate check

[gateway]
# 127.0.0.1 serves this machine only, 0.0.0.0 the network.
listen = \"LISTEN\"
# Status page, and every printer below /printers/<name>/.
port = 7100
# The folder of a built Mainsail or Fluidd, served at / of each printer's own port:
# web_root = \"/usr/share/mainsail\"
# Announce the printers by mDNS, so that apps find them:
announce = ANNOUNCE
";

const ACCESS: &str = "
[access]
# Private networks need no credentials, all others the API key. This asks everybody but this machine for it:
# trusted_clients = [\"127.0.0.0/8\", \"::1/128\"]
";

/// `open`: other machines may connect.
pub fn configuration(printers: &[Answered], open: bool) -> String {
    let head = HEAD.replace("LISTEN", if open { "0.0.0.0" } else { "127.0.0.1" });
    let mut text = head.replace("ANNOUNCE", if open { "true" } else { "false" });
    if open {
        text.push_str(ACCESS);
    }
    printers.iter().for_each(|printer| text.push_str(&table(printer)));
    text
}

fn table(printer: &Answered) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut text = String::from("\n[[printer]]\n");
    if !printer.about.is_empty() {
        text.push_str(&format!("# {}\n", crate::model::text::one_line(&printer.about, 80)));
    }
    text.push_str(&format!("name = {}\n", quoted(&printer.name)));
    if let Some(title) = &printer.title {
        text.push_str(&format!("title = {}\n", quoted(title)));
    }
    text.push_str(&format!("kind = \"{}\"\nhost = {}\n", printer.kind.name(), quoted(&printer.host)));
    if let Some(serial) = &printer.serial {
        text.push_str(&format!("serial = {}\n", quoted(serial)));
    }
    if let Some(code) = &printer.code {
        text.push_str("# access_code_file and access_code_env keep it out of this file.\n");
        text.push_str(&format!("access_code = {}\n", quoted(code)));
    }
    text.push_str("# Its own port for Mainsail, Home Assistant and others; counts up from 7125 by itself.\n");
    text.push_str("# moonraker_port = 7125\n# Show everything, send nothing:\n# read_only = true\n");
    text
}
