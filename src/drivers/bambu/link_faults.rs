//! Why there is no link, with the remedy (codes are headings in `docs/ref/faults.md`).

use crate::model::LinkFault;
use crate::net::mqtt::MqttError;
use crate::net::tls::TlsFault;

/// Connected, and nothing was ever reported.
const UNHEARD: &str =
    "Check the serial number. If it is right, the printer's network service hangs: restart the printer.";

/// Where the link goes, as users know it.
pub(super) struct Place {
    pub name: String,
    /// host:port.
    pub address: String,
    pub serial: String,
}

impl Place {
    fn fault(&self, code: &str, permanent: bool, text: String, remedy: String) -> LinkFault {
        LinkFault {
            code: format!("MG-BAMBU-{code}"),
            text: format!("Printer \"{}\": {text}", self.name),
            remedy,
            permanent,
        }
    }

    /// A failed connection attempt, or the end of a session; `tls` is what the certificate check found.
    pub fn mqtt(&self, error: &MqttError, tls: Option<TlsFault>) -> LinkFault {
        let address = &self.address;
        if let (Some(fault), MqttError::Tls(_) | MqttError::Unreachable(_) | MqttError::Closed(_)) =
            (&tls, error)
        {
            return self.tls(fault);
        }
        match error {
            MqttError::BadCredentials => self.auth(),
            MqttError::Unreachable(cause) => self.fault(
                "UNREACHABLE",
                false,
                format!("no connection to {address} ({cause})."),
                "Is it switched on, on this network, and its LAN mode on? Is the address right?".into(),
            ),
            MqttError::Timeout => self.fault(
                "UNREACHABLE",
                false,
                format!("no answer from {address} in time."),
                "Is it switched on and on this network? After switching on it needs up to half a minute."
                    .into(),
            ),
            MqttError::Tls(cause) => self.fault(
                "CERT",
                false,
                format!("the encrypted connection to {address} failed ({cause})."),
                "Is there really a Bambu Lab printer at this address and port?".into(),
            ),
            MqttError::SubscriptionRefused(_) => self.fault(
                "SERIAL",
                true,
                format!("{address} refuses to report as {}.", shortened(&self.serial)),
                format!(
                    "Compare the serial number with the printer's screen and correct it in the [[printer]] \"{}\" of the configuration.",
                    self.name
                ),
            ),
            MqttError::Refused(code) => self.fault(
                "BROKER",
                false,
                format!("{address} refused the connection (MQTT code {code})."),
                "Too many programs may be connected to it; close some, or restart the printer.".into(),
            ),
            other => self.fault(
                "LOST",
                false,
                format!("the connection to {address} ended ({other})."),
                "It is opened again by itself.".into(),
            ),
        }
    }

    /// As [`Self::mqtt`], for an end before anything was heard: some printers hang up on a wrong serial number
    /// (bambu.md 2.2).
    pub fn unheard(&self, error: &MqttError, tls: Option<TlsFault>) -> LinkFault {
        let fault = self.mqtt(error, tls);
        match error {
            MqttError::Closed(_) if fault.code.ends_with("LOST") => {
                LinkFault { remedy: UNHEARD.into(), ..fault }
            }
            _ => fault,
        }
    }

    pub fn auth(&self) -> LinkFault {
        self.fault(
            "AUTH",
            true,
            format!("login refused by {}.", self.address),
            format!(
                "The access code changes when LAN mode or Developer Mode is switched; read it again on the printer \
                 under Settings > Network (WLAN) and put it in the [[printer]] \"{}\" of the configuration.",
                self.name
            ),
        )
    }

    fn tls(&self, fault: &TlsFault) -> LinkFault {
        let address = &self.address;
        match fault {
            TlsFault::WrongName { expected, found } => self.fault(
                "SERIAL",
                true,
                format!("{address} is printer {}, not {}.", shortened(found), shortened(expected)),
                format!("Correct the address or the serial number in the [[printer]] \"{}\" of the configuration.", self.name),
            ),
            TlsFault::ChangedPin { .. } => self.fault(
                "CERT",
                true,
                format!("{address} shows another key than at the first contact."),
                format!("If its mainboard was changed, confirm the new key with `moongate trust {}`; otherwise another device poses as it.", self.name),
            ),
            TlsFault::BadCertificate(cause) | TlsFault::BadSignature(cause) => self.fault(
                "CERT",
                true,
                format!("the certificate of {address} is not valid ({cause})."),
                "Is there really a Bambu Lab printer at this address?".into(),
            ),
        }
    }

    /// Connected and logged in, but no report comes.
    pub fn silent(&self, seconds: u64) -> LinkFault {
        self.fault(
            "SILENT",
            false,
            format!("{} takes the login, but sends no report for {seconds} s.", self.address),
            UNHEARD.into(),
        )
    }

    /// Reports flow, but commands are not answered (bambu.md 2.3).
    pub fn deaf(&self) -> LinkFault {
        self.fault(
            "DEAF",
            false,
            format!("{} reports, but does not answer commands.", self.address),
            "The connection is opened anew. If it happens again: is Developer Mode on? Otherwise restart the printer."
                .into(),
        )
    }

    pub fn setup(&self, cause: &str) -> LinkFault {
        self.fault(
            "SETUP",
            true,
            format!("TLS cannot be set up ({cause})."),
            "Please report this as a bug.".into(),
        )
    }

    pub fn stopped(&self) -> LinkFault {
        self.fault("STOPPED", false, "the link was closed.".into(), String::new())
    }
}

/// Enough of a serial number to recognise it; the whole is an address of the printer.
fn shortened(serial: &str) -> String {
    let count = serial.chars().count();
    if count <= 8 {
        return format!("\"{serial}\"");
    }
    let head: String = serial.chars().take(3).collect();
    let tail: String = serial.chars().skip(count - 4).collect();
    format!("{head}...{tail}")
}
