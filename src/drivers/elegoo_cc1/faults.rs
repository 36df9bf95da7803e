//! Why there is no link, with what the user can do (headings of `docs/ref/faults.md`).

use crate::drivers::elegoo::whereabouts;
use crate::model::LinkFault;

/// Code of [`full`].
pub const FULL: &str = "MG-CC1-FULL";

fn fault(code: &str, text: String, remedy: &str, permanent: bool) -> LinkFault {
    LinkFault { code: code.to_owned(), text, remedy: remedy.to_owned(), permanent }
}

/// No TCP connection to the WebSocket port.
pub fn unreachable(place: &str, why: &str) -> LinkFault {
    fault(
        "MG-CC1-UNREACHABLE",
        format!("No connection to the Centauri Carbon at {place}: {why}."),
        "Is it switched on, on this network, and still at this address? A Centauri Carbon 2 needs kind = \"elegoo_cc2\".",
        false,
    )
}

/// All WebSocket slots of the printer are taken (elegoo.md 2.3).
pub fn full(place: &str, reason: &str) -> LinkFault {
    fault(
        FULL,
        format!("The Centauri Carbon at {place} refuses another client: \"{reason}\"."),
        "Close other programs that hold a connection (its web page, the slicer's device tab, the app, Home Assistant); the place is taken as soon as one is free.",
        true,
    )
}

/// The printer declined the handshake with another reason.
pub fn declined(place: &str, status: u16, body: &str) -> LinkFault {
    fault(
        "MG-CC1-DECLINED",
        format!("{place} declined the WebSocket with HTTP status {status} {body:?}."),
        "Is this a Centauri Carbon with its usual firmware? A printer with COSMOS or Klipper already speaks Moonraker and needs no gateway.",
        false,
    )
}

/// Another machine answers at the address.
pub fn other_model(place: &str, name: &str) -> LinkFault {
    fault(
        "MG-CC1-MODEL",
        format!("The machine at {place} calls itself \"{name}\", which this driver cannot run."),
        "Resin printers are not supported. Check the address of the printer in the configuration.",
        true,
    )
}

/// Another machine of the same model answers at the address.
pub fn another(name: &str, place: &str, known: &str, found: &str, configured: bool) -> LinkFault {
    fault(
        "MG-CC1-OTHER",
        format!(
            "Another Centauri Carbon answers at {place}: mainboard id {found}, expected {known}. It is given nothing."
        ),
        // A firmware update changes the id too (elegoo.md 2.2); the hardware address tells only where it is known.
        &whereabouts::remedy(
            "it or its mainboard was replaced by this one, or its firmware updated,",
            name,
            found,
            configured,
        ),
        true,
    )
}

/// Connected, but nothing comes.
pub fn silent(place: &str, seconds: u64) -> LinkFault {
    fault(
        "MG-CC1-SILENT",
        format!("The Centauri Carbon at {place} has not answered for {seconds} s."),
        "If its screen does not react either, switch it off and on. Otherwise check the network.",
        false,
    )
}

/// The connection ended.
pub fn lost(place: &str, why: &str) -> LinkFault {
    fault(
        "MG-CC1-LOST",
        format!("The connection to the Centauri Carbon at {place} ended: {why}."),
        "It is tried again by itself.",
        false,
    )
}
