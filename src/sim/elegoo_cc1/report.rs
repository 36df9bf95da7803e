//! Frames the simulated CC1 sends: exactly the keys of `fixtures/elegoo/*/cc1-*`.

use serde_json::{Value, json};

use super::Options;
use super::machine::{Core, Record};
use crate::sim::elegoo_life::unix_now;
use crate::sim::elegoo_storage::Entry;

/// Brand constant, the same on every Centauri Carbon (dossier 2.2).
pub const BRAND: &str = "979d4C788A4a78bC777A870F1A02867A";
/// Key names the firmware gets wrong: hex dumps of `TotalExtrusion` and `CurrentExtrusion` (dossier 2.4).
const TOTAL_EXTRUSION: &str = "54 6F 74 61 6C 45 78 74 72 75 73 69 6F 6E 00";
const CURRENT_EXTRUSION: &str = "43 75 72 72 65 6E 74 45 78 74 72 75 73 69 6F 6E 00";

/// `cc1-discovery-reply`.
pub fn discovery(options: &Options) -> Value {
    json!({"Id": BRAND, "Data": {
        "Name": options.name, "MachineName": options.model.name, "BrandName": "Centauri",
        "MainboardIP": options.bind.to_string(), "MainboardID": options.mainboard_id,
        "ProtocolVersion": "V3.0.0", "FirmwareVersion": options.firmware}})
}

/// `cc1-response-*`: `data` beside the request's number and id.
pub fn response(options: &Options, command: i64, request: &str, data: Value) -> Value {
    json!({"Id": BRAND, "Data": {"Cmd": command, "Data": data, "RequestID": request,
        "MainboardID": options.mainboard_id, "TimeStamp": unix_now()},
        "Topic": format!("sdcp/response/{}", options.mainboard_id)})
}

/// `sdcp/error` with 1 = MD5 failed, 2 = format failed (dossier 2.3).
pub fn error(options: &Options, code: i64) -> Value {
    json!({"Id": BRAND, "Data": {"Data": {"ErrorCode": code}, "MainboardID": options.mainboard_id,
        "TimeStamp": unix_now()}, "Topic": format!("sdcp/error/{}", options.mainboard_id)})
}

/// `cc1-attributes-push`.
pub fn attributes(core: &Core, free: u64, viewers: usize) -> Value {
    let options = &core.options;
    let id = &options.mainboard_id;
    json!({"Attributes": {
        "Name": core.name, "MachineName": options.model.name, "BrandName": "Centauri",
        "ProtocolVersion": "V3.0.0", "FirmwareVersion": options.firmware, "XYZsize": "300x300x400",
        "MainboardIP": options.bind.to_string(), "MainboardID": id,
        "NumberOfVideoStreamConnected": viewers, "MaximumVideoStreamAllowed": options.camera_limit,
        "NumberOfCloudSDCPServicesConnected": 0, "MaximumCloudSDCPSercicesAllowed": 1,
        "NetworkStatus": "wlan", "MainboardMAC": options.mac, "UsbDiskStatus": i64::from(core.faults.usb_stick),
        "Capabilities": ["FILE_TRANSFER", "PRINT_CONTROL", "VIDEO_STREAM"], "SupportFileType": ["GCODE"],
        "DevicesStatus": {"ZMotorStatus": 1, "YMotorStatus": 1, "XMotorStatus": 1, "ExtruderMotorStatus": 1,
            "RelaseFilmState": 1},
        "CameraStatus": i64::from(!core.faults.no_camera), "RemainingMemory": free, "SDCPStatus": 1},
        "MainboardID": id, "TimeStamp": unix_now(), "Topic": format!("sdcp/attributes/{id}")})
}

/// `cc1-status-*`: float noise, integer targets, the firmware's own spelling.
pub fn status(core: &Core) -> Value {
    let id = &core.options.mainboard_id;
    let (current, sub) = core.codes();
    let machine = &core.machine;
    let nozzle = machine.nozzles.first();
    let noise = |salt: f64| (core.now * salt).sin() * 0.04;
    let [x, y, z] = core.position;
    let [part, auxiliary, chamber] = core.fans.map(|percent| percent.trunc() as i64);
    let mut status = json!({
        "CurrentStatus": current, "TimeLapseStatus": core.timelapse, "PlatFormType": core.platform,
        "TempOfHotbed": machine.bed.actual + noise(12.9898),
        "TempOfNozzle": nozzle.map_or(0.0, |n| n.actual) + noise(78.233),
        "TempOfBox": machine.chamber.actual + noise(37.719),
        "TempTargetHotbed": machine.bed.target as i64,
        "TempTargetNozzle": nozzle.map_or(0, |n| n.target as i64),
        "TempTargetBox": 0,
        "CurrenCoord": format!("{x:.2},{y:.2},{z:.2}"),
        "CurrentFanSpeed": {"ModelFan": part, "AuxiliaryFan": auxiliary, "BoxFan": chamber},
        "ZOffset": 1e-14,
        "LightStatus": {"SecondLight": core.light, "RgbLight": core.rgb},
        "PrintInfo": print_info(core, sub)});
    if core.options.is_v14()
        && core.options.tells_canvas
        && let Some(map) = status.as_object_mut()
    {
        map.insert("AmsConnectStatus".to_owned(), json!(i64::from(core.options.canvas)));
    }
    json!({"Status": status, "MainboardID": id, "TimeStamp": unix_now(), "Topic": format!("sdcp/status/{id}")})
}

/// File name and task id go with the job; layers and ticks stay behind, a cancelled job keeps only its totals.
fn print_info(core: &Core, sub: i64) -> Value {
    let run = core.machine.run.as_ref().filter(|_| sub != 8);
    let progress = run.map_or(0, |run| (run.progress() * 100.0) as i64);
    let layer = if core.layers_known { run.map_or(0, |run| run.layer()) } else { 0 };
    let mut info = json!({
        "Status": sub, "CurrentLayer": layer, "TotalLayer": core.total_layer,
        "CurrentTicks": core.ticks, "TotalTicks": core.total_ticks,
        "Filename": core.file, "TaskId": core.task,
        "PrintSpeedPct": core.speed_pct, "Progress": progress});
    let Some(map) = info.as_object_mut() else { return info };
    if core.error_number != 0 {
        map.insert("ErrorNumber".to_owned(), json!(core.error_number));
    }
    if core.options.extrusion_keys {
        let done = run.map_or(0.0, |run| run.progress()) * 1210.5;
        map.insert(TOTAL_EXTRUSION.to_owned(), json!(done));
        map.insert(CURRENT_EXTRUSION.to_owned(), json!(done));
    }
    info
}

/// One entry of `cc1-response-filelist-258`; `root` is `/local` or the stick's.
pub fn file(entry: &Entry, root: &str) -> Value {
    json!({"name": format!("{root}/{}", entry.name), "FileSize": entry.size,
        "TotalLayers": entry.facts.layers.unwrap_or(0), "LayerHeight": 0, "EstFilamentLength": 0,
        "CreateTime": entry.created, "type": 1})
}

/// One entry of `cc1-response-history-detail-321`.
pub fn detail(options: &Options, record: &Record) -> Value {
    json!({"Thumbnail": format!("http://{}/history_image/{}.png", options.bind, record.task),
        "TaskName": record.name, "BeginTime": record.begin, "EndTime": record.end, "TaskStatus": record.status,
        "SliceInformation": {"total_layer_numbers": record.layers, "print_time": record.seconds},
        "AlreadyPrintLayer": record.layer, "TaskId": record.task, "MD5": record.md5,
        "CurrentLayerTalVolume": 0.02, "TimeLapseVideoStatus": i64::from(record.video),
        "TimeLapseVideoUrl": if record.video { record.video_url() } else { String::new() },
        "ErrorStatusReason": record.reason})
}

/// `cc1-response-canvas-324`: fields directly in `Data`, placeholders in an empty tray.
pub fn canvas(core: &Core) -> Value {
    if !core.options.canvas {
        return json!({"Ack": 0, "active_canvas_id": 0, "active_tray_id": -1, "auto_refill": 0, "canvas_list": []});
    }
    let trays: Vec<Value> = core.trays.iter().enumerate().map(|(id, tray)| {
        if tray.status == 0 {
            return json!({"tray_id": id, "brand": "— — — —", "filament_type": "?", "filament_name": "— — —",
                "filament_code": "", "filament_color": "", "min_nozzle_temp": 0, "max_nozzle_temp": 0, "status": 0});
        }
        let feeding = usize::try_from(core.active_tray) == Ok(id);
        json!({"tray_id": id, "brand": "ELEGOO", "filament_type": tray.kind, "filament_name": tray.kind,
            "filament_code": "0x00000", "filament_color": tray.colour, "min_nozzle_temp": 190,
            "max_nozzle_temp": 230, "status": if feeding { 2 } else { 1 }})
    }).collect();
    json!({"Ack": 0, "active_canvas_id": 0, "active_tray_id": core.active_tray, "auto_refill": 1,
        "canvas_list": [{"canvas_id": 0, "connected": 1, "tray_list": trays}]})
}
