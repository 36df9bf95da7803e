//! Lights, motion, speed level, storage, network, camera and door (bambu.md 3.5, 3.8, 3.10).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Source;
use crate::drivers::bambu::field::{at, bit, bits32, flag, list, small, text};
use crate::drivers::bambu::models::{Door, SPEEDS};
use crate::model::{CameraKind, CameraState, Homed, Light, LightId, Motion, Network, Speed, Storage};

pub(super) fn lights(source: Source<'_>) -> BTreeMap<LightId, Light> {
    let mut lights = BTreeMap::new();
    for entry in list(source.at("/lights_report")) {
        let node = text(at(entry, "/node")).unwrap_or_default();
        let id = match node.as_str() {
            "chamber_light" => LightId::Chamber,
            "work_light" if source.row.lights.contains(&LightId::Work) => LightId::Work,
            "heatbed_light" => LightId::Bed,
            _ => continue,
        };
        let light = match text(at(entry, "/mode")).as_deref() {
            Some("on") => Light { on: true, flashing: false },
            Some("flashing") => Light { on: true, flashing: true },
            Some("off") => Light { on: false, flashing: false },
            _ => continue,
        };
        lights.insert(id, light);
    }
    lights
}

/// No model reports where its toolhead is; only which axes are homed.
pub(super) fn motion(source: Source<'_>) -> Motion {
    let homed = source.home_flag().map(|bits| Homed { x: bit(bits, 0), y: bit(bits, 1), z: bit(bits, 2) });
    Motion { position: None, homed, velocity: None }
}

/// Only the four real levels; garbage sent by some client shows as 254 % and more (bambu.md T39).
pub(super) fn speed(source: Source<'_>) -> Speed {
    let level = small::<usize>(source.at("/spd_lvl")).and_then(|level| SPEEDS.get(level.checked_sub(1)?));
    match level {
        Some((name, factor)) => Speed { factor: Some(*factor), level: Some((*name).to_owned()) },
        None => Speed::default(),
    }
}

pub(super) fn storage(source: Source<'_>) -> Storage {
    let trouble = match source.reports.storage_condition() {
        Some(2) => Some("The storage is damaged: check or format the card or USB stick."),
        Some(3) => {
            Some("The storage is write-protected: take the protection off, or use another card or USB stick.")
        }
        _ => None,
    };
    // Newer firmware tells the size of the card or stick among its camera settings; 0 without one.
    let bytes = |pointer: &str| small::<u64>(source.at(pointer)).and_then(|kib| kib.checked_mul(1024));
    let total_bytes = bytes("/ipcam/tl_external_total_kb").filter(|total| *total > 0);
    let free_bytes = total_bytes.and_then(|_| bytes("/ipcam/tl_external_free_kb"));
    // Models with storage of their own deny having any while they print (fixtures x2d, h2c, h2d): an upload tells.
    let present = source.reports.storage_present().filter(|present| *present || !source.row.internal_storage);
    Storage { present, trouble: trouble.map(str::to_owned), total_bytes, free_bytes }
}

pub(super) fn network(source: Source<'_>) -> Network {
    let wired = bits32(source.at("/net/conf")).map(|bits| bits & 1 == 1);
    let signal = text(source.at("/wifi_signal"));
    let dbm = signal.and_then(|signal| signal.trim_end_matches("dBm").trim().parse().ok());
    let address = list(source.at("/net/info"))
        .get(usize::from(wired == Some(true)))
        .and_then(|entry| bits32(at(entry, "/ip")))
        .filter(|ip| *ip != 0)
        .map(|ip| Ipv4Addr::from(ip.to_le_bytes()).to_string());
    Network {
        // On a cable the signal is a constant -90 (fixture h2dpro).
        wifi_dbm: dbm.filter(|dbm: &i32| wired != Some(true) && (-120..0).contains(dbm)),
        wired,
        ip: address,
    }
}

pub(super) fn camera(source: Source<'_>) -> CameraState {
    let off = text(source.at("/ipcam/rtsp_url")).as_deref() == Some("disable");
    let blocked = (off && source.row.camera == CameraKind::H264).then(|| {
        "The camera's network stream is off. On the printer: Settings > LAN Only Liveview: on.".to_owned()
    });
    CameraState {
        recording: flag(source.at("/ipcam/ipcam_record")),
        timelapse: flag(source.at("/ipcam/timelapse")),
        blocked,
    }
}

/// True while the front door is open; X1 firmware with `stat` keeps telling it by `home_flag` (bambu.md 3.11).
pub(super) fn door(source: Source<'_>) -> Option<bool> {
    let of_home_flag = || source.home_flag().map(|bits| bit(bits, 23));
    match source.row.door {
        Door::None => None,
        Door::HomeFlag => of_home_flag(),
        Door::Stat => source.hex("/stat").map(|bits| bit(bits, 23)).or_else(of_home_flag),
    }
}
