//! Why there is no link, with what the user can do (headings of `docs/ref/faults.md`).

use crate::drivers::elegoo::whereabouts;
use crate::model::LinkFault;

/// Code of [`silent`].
pub const SILENT: &str = "MG-CC2-SILENT";
/// Code of [`full`].
pub const FULL: &str = "MG-CC2-FULL";
/// Code of [`another`].
pub const OTHER: &str = "MG-CC2-OTHER";

fn fault(code: &str, text: String, remedy: &str, permanent: bool) -> LinkFault {
    LinkFault { code: code.to_owned(), text, remedy: remedy.to_owned(), permanent }
}

/// No TCP connection to the broker.
pub fn unreachable(place: &str, why: &str) -> LinkFault {
    fault(
        "MG-CC2-UNREACHABLE",
        format!("No connection to the Centauri Carbon 2 at {place}: {why}."),
        "Is it switched on, on this network, still at this address, and is \"LAN Only\" mode on (network settings on its screen)? A Centauri Carbon (first model) needs kind = \"elegoo_cc1\".",
        false,
    )
}

/// The printer says that it is in cloud mode (elegoo.md 3.1, 3.2).
pub fn lan_mode_off(place: &str) -> LinkFault {
    fault(
        "MG-CC2-LAN",
        format!("The Centauri Carbon 2 at {place} is not in \"LAN Only\" mode and refuses local control."),
        "Switch \"LAN Only\" on in the network settings on its screen.",
        true,
    )
}

/// CONNACK 4 or 5, or HTTP 401.
pub fn wrong_code(place: &str) -> LinkFault {
    fault(
        "MG-CC2-AUTH",
        format!("The Centauri Carbon 2 at {place} refuses the access code."),
        "Read the access code on its screen (network settings) and put it in access_code; without a code set there, leave the key out.",
        true,
    )
}

/// The registration was refused: two clients at once is all it takes (elegoo.md 3.4).
pub fn full(place: &str) -> LinkFault {
    fault(
        FULL,
        format!("The Centauri Carbon 2 at {place} refuses another client: \"too many clients\"."),
        "Close the slicer's device tab, the app or other programs connected to it; a place of a program that crashed is free after about a minute.",
        true,
    )
}

/// The broker answers, the printer behind it does not.
pub fn silent(place: &str, what: &str) -> LinkFault {
    fault(
        SILENT,
        format!(
            "The broker of the Centauri Carbon 2 at {place} is up, but the printer does not answer {what}."
        ),
        "Is the serial number right? If so, switch the printer off and on: its control program hangs.",
        false,
    )
}

/// The serial number is needed for every topic.
pub fn no_serial(place: &str) -> LinkFault {
    fault(
        "MG-CC2-SERIAL",
        format!("The Centauri Carbon 2 at {place} does not tell its serial number."),
        "Put the serial number (F01..., on its screen) in serial. If it cannot be reached at all, check address and \"LAN Only\" mode.",
        false,
    )
}

/// Another machine answers the discovery.
pub fn other_model(place: &str, name: &str) -> LinkFault {
    fault(
        "MG-CC2-MODEL",
        format!("The machine at {place} calls itself \"{name}\", which this driver cannot run."),
        "Check the address of the printer in the configuration.",
        true,
    )
}

/// Another machine of the same model answers at the address.
pub fn another(name: &str, place: &str, known: &str, found: &str, configured: bool) -> LinkFault {
    fault(
        OTHER,
        format!(
            "Another Centauri Carbon 2 answers at {place}: serial number {found}, expected {known}. It is given nothing."
        ),
        &whereabouts::remedy("it was replaced by this one,", name, found, configured),
        true,
    )
}

/// The registration was declined without saying why, or was forgotten.
pub fn unregistered(place: &str) -> LinkFault {
    fault(
        "MG-CC2-REGISTRATION",
        format!("The Centauri Carbon 2 at {place} does not accept this client."),
        "It is tried again by itself. If it stays so, switch the printer off and on.",
        false,
    )
}

/// The connection ended.
pub fn lost(place: &str, why: &str) -> LinkFault {
    fault(
        "MG-CC2-LOST",
        format!("The connection to the Centauri Carbon 2 at {place} ended: {why}."),
        "It is tried again by itself.",
        false,
    )
}
