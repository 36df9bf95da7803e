//! Simulated printers, true to their protocols and reached only through their sockets (design D17).
//!
//! Nothing outside `cli` and the tests knows this module, and it knows nothing of `model`, `drivers` or
//! `front`: a simulated printer is an independent reading of the protocol dossiers. What they share: `physics`
//! (heat and layers), `control` (faults over a socket), `traffic` (what arrived), and for the two Elegoo machines
//! their models, sockets, searches, storage, sample file and camera pictures.

#![expect(
    clippy::disallowed_methods,
    reason = "each task ends with the printer's own tokens, as its power does"
)]

pub mod bambu;
pub mod camera_faults;
pub mod control;
pub mod elegoo_camera;
pub mod elegoo_cc1;
pub mod elegoo_cc2;
mod elegoo_life;
pub mod elegoo_models;
pub mod elegoo_sample;
pub mod elegoo_storage;
pub mod h264;
pub mod physics;
pub mod sample;
pub mod traffic;

/// Where a printer at `address` listens for searches: a socket bound to one address hears no broadcast. On loopback,
/// where several printers share the ports, it hears only what is sent to itself.
fn hears_broadcasts(address: std::net::IpAddr) -> std::net::IpAddr {
    if address.is_loopback() { address } else { std::net::Ipv4Addr::UNSPECIFIED.into() }
}

/// Says which service of a printer could not have which address; the kind of the error stays.
fn unheard(service: &str, at: std::net::SocketAddr) -> impl Fn(std::io::Error) -> std::io::Error {
    move |error| {
        let place = if at.port() == 0 { at.ip().to_string() } else { at.to_string() };
        std::io::Error::new(error.kind(), format!("its {service} cannot listen at {place}: {error}"))
    }
}

#[cfg(test)]
mod fixture;
