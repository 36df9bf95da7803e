//! Settings that are simply on or off (bambu.md 3.8, 3.10, 3.11).

use std::collections::BTreeMap;

use super::Source;
use crate::drivers::bambu::field::{bit, bits32, flag};
use crate::model::PrintOption;

pub(super) fn options(source: Source<'_>) -> BTreeMap<PrintOption, bool> {
    use PrintOption::*;
    let (old, new) = (source.home_flag(), source.hex("/cfg"));
    // All 12 dumps that carry both bit fields agree; the newer one names more.
    let bits = |in_old: u32, in_new: Option<u32>| {
        let newer = new.zip(in_new).map(|(bits, index)| bit(bits, index));
        newer.or_else(|| old.map(|bits| bit(bits, in_old)))
    };
    let says = |pointer: &str| flag(source.at(pointer));
    // A decimal number here, unlike the hexadecimal `cfg` beside it.
    let detects = |index: u32| bits32(source.at("/xcam/cfg")).map(|bits| bit(bits.into(), index));
    let all = [
        (AutoRecovery, bits(4, Some(16))),
        (AutoSwitchFilament, bits(10, Some(18))),
        (PromptSound, bits(17, Some(22))),
        (FilamentTangleDetection, bits(20, Some(23))),
        (NozzleBlobDetection, bits(24, Some(24))),
        (AirPrintDetection, bits(28, None)),
        (BuildPlateMarker, says("/xcam/buildplate_marker_detector")),
        (FirstLayerInspection, says("/xcam/first_layer_inspector")),
        (SpaghettiDetection, says("/xcam/spaghetti_detector")),
        (AllowSkippingParts, says("/xcam/allow_skip_parts")),
        (PileUpDetection, detects(10)),
        (NozzleClumpDetection, detects(13)),
        (AiAirPrintDetection, detects(16)),
        (PlateAlignment, detects(20)),
        (Timelapse, says("/ipcam/timelapse")),
        (CameraRecording, says("/ipcam/ipcam_record")),
        (AmsReadOnInsert, says("/ams/insert_flag")),
        (AmsReadAtStart, says("/ams/power_on_flag")),
        (AmsEstimateRemaining, says("/ams/calibrate_remain_flag").or_else(|| bits(7, Some(17)))),
    ];
    all.into_iter().filter_map(|(option, on)| Some((option, on?))).collect()
}
