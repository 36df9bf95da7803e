//! The closed list of what is ever sent to a Centauri Carbon (elegoo.md 2.9).
//!
//! An unknown command, or a known one with a wrong payload, kills the process that also moves the printer, and the
//! print with it. Nothing else than [`Sdcp`] can be serialised here, and each payload is a typed struct.

use serde::Serialize;

use crate::drivers::elegoo::canvas::SlotMapEntry;

/// Every command of the allow-list.
#[derive(Debug, Clone, PartialEq)]
pub enum Sdcp {
    /// 0
    Status,
    /// 1
    Attributes,
    /// 128
    Start(StartPrint),
    /// 129
    Pause,
    /// 130
    Stop,
    /// 131
    Resume,
    /// 258
    ListFiles(Disk),
    /// 259
    Delete(Disk, String),
    /// 320: the ids of past runs, newest first.
    HistoryIds,
    /// 321: the runs of these ids.
    HistoryDetail(Vec<String>),
    /// 324: only for firmware above 1.1 with a Canvas.
    Canvas,
    /// 386
    Video(bool),
    /// 401: mm.
    Jog(Axis, f64),
    /// 402
    Home(HomeAxes),
    /// 403
    Set(Parameter),
}

/// Roots of the printer's paths. Clients name the stick both ways (elegoo.md 7): both are read, jobs start by `/usb`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Disk {
    #[default]
    Local,
    Usb,
    Udisk,
}

impl Disk {
    pub fn root(self) -> &'static str {
        match self {
            Disk::Local => "/local",
            Disk::Usb => "/usb",
            Disk::Udisk => "/udisk",
        }
    }

    fn path(self, name: &str) -> String {
        format!("{}/{name}", self.root())
    }
}

/// What the firmware does with the file (elegoo.md 2.9, start print).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StartPrint {
    pub disk: Disk,
    /// Base name.
    pub file: String,
    pub level_first: bool,
    pub smooth_plate: bool,
    pub timelapse: bool,
    pub slot_map: Vec<SlotMapEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Axis {
    X,
    Y,
    Z,
}

/// The five spellings that clients use; no other is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HomeAxes {
    X,
    Y,
    Z,
    Xy,
    Xyz,
}

/// One purpose of Cmd 403.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Parameter {
    /// Whole °C.
    Nozzle(u16),
    /// Whole °C.
    Bed(u16),
    /// Percent.
    PartFan(u8),
    /// Percent.
    AuxiliaryFan(u8),
    /// Percent.
    ChamberFan(u8),
    Light(bool),
    /// 50, 100, 130 or 160; anything else is dropped by the firmware.
    Speed(u16),
}

impl Sdcp {
    /// The number on the wire.
    pub fn number(&self) -> u16 {
        match self {
            Sdcp::Status => 0,
            Sdcp::Attributes => 1,
            Sdcp::Start(_) => 128,
            Sdcp::Pause => 129,
            Sdcp::Stop => 130,
            Sdcp::Resume => 131,
            Sdcp::ListFiles(_) => 258,
            Sdcp::Delete(..) => 259,
            Sdcp::HistoryIds => 320,
            Sdcp::HistoryDetail(_) => 321,
            Sdcp::Canvas => 324,
            Sdcp::Video(_) => 386,
            Sdcp::Jog(..) => 401,
            Sdcp::Home(_) => 402,
            Sdcp::Set(_) => 403,
        }
    }

    /// False for what must never reach the printer while `CurrentStatus` contains 1 (elegoo.md 2.9, column mid-print).
    pub fn allowed_while_printing(&self) -> bool {
        !matches!(self, Sdcp::Start(_) | Sdcp::Jog(..) | Sdcp::Home(_))
    }

    /// Cmd 0 and 1 are answered twice: by an Ack and by a frame of their own (elegoo.md 2.3).
    pub fn answered_by_frame(&self) -> bool {
        matches!(self, Sdcp::Status | Sdcp::Attributes)
    }

    fn payload(&self) -> Payload<'_> {
        match self {
            Sdcp::Status
            | Sdcp::Attributes
            | Sdcp::Pause
            | Sdcp::Stop
            | Sdcp::Resume
            | Sdcp::HistoryIds
            | Sdcp::Canvas => Payload::Empty {},
            Sdcp::Start(start) => Payload::Start {
                filename: start.disk.path(&start.file),
                start_layer: 0,
                calibration: u8::from(start.level_first),
                platform: u8::from(start.smooth_plate),
                timelapse: u8::from(start.timelapse),
                slot_map: &start.slot_map,
            },
            Sdcp::ListFiles(disk) => Payload::List { url: disk.root() },
            Sdcp::Delete(disk, name) => Payload::Delete { files: [disk.path(name)], folders: [] },
            Sdcp::HistoryDetail(runs) => Payload::History { id: runs },
            Sdcp::Video(on) => Payload::Video { enable: u8::from(*on) },
            Sdcp::Jog(axis, step) => Payload::Jog { axis: *axis, step: *step },
            Sdcp::Home(axes) => Payload::Home { axis: *axes },
            Sdcp::Set(parameter) => Payload::set(*parameter),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Empty {},
    Start {
        #[serde(rename = "Filename")]
        filename: String,
        #[serde(rename = "StartLayer")]
        start_layer: u8,
        #[serde(rename = "Calibration_switch")]
        calibration: u8,
        #[serde(rename = "PrintPlatformType")]
        platform: u8,
        #[serde(rename = "Tlp_Switch")]
        timelapse: u8,
        #[serde(skip_serializing_if = "<[SlotMapEntry]>::is_empty")]
        slot_map: &'a [SlotMapEntry],
    },
    List {
        #[serde(rename = "Url")]
        url: &'static str,
    },
    Delete {
        #[serde(rename = "FileList")]
        files: [String; 1],
        #[serde(rename = "FolderList")]
        folders: [&'static str; 0],
    },
    History {
        #[serde(rename = "Id")]
        id: &'a [String],
    },
    Video {
        #[serde(rename = "Enable")]
        enable: u8,
    },
    Jog {
        #[serde(rename = "Axis")]
        axis: Axis,
        #[serde(rename = "Step")]
        step: f64,
    },
    Home {
        #[serde(rename = "Axis")]
        axis: HomeAxes,
    },
    Nozzle {
        #[serde(rename = "TempTargetNozzle")]
        target: u16,
    },
    Bed {
        #[serde(rename = "TempTargetHotbed")]
        target: u16,
    },
    Fan {
        #[serde(rename = "TargetFanSpeed")]
        fan: FanSpeed,
    },
    Light {
        #[serde(rename = "LightStatus")]
        light: LightStatus,
    },
    Speed {
        #[serde(rename = "PrintSpeedPct")]
        percent: u16,
    },
}

/// A part of the fans may be named (elegoo.md 2.9).
#[derive(Serialize)]
enum FanSpeed {
    #[serde(rename = "ModelFan")]
    Part(u8),
    #[serde(rename = "AuxiliaryFan")]
    Auxiliary(u8),
    #[serde(rename = "BoxFan")]
    Chamber(u8),
}

/// `RgbLight` is sent along although nothing lights: stock firmware was captured with it.
#[derive(Serialize)]
struct LightStatus {
    #[serde(rename = "SecondLight")]
    second: u8,
    #[serde(rename = "RgbLight")]
    rgb: [u8; 3],
}

impl Payload<'_> {
    fn set(parameter: Parameter) -> Self {
        match parameter {
            Parameter::Nozzle(target) => Payload::Nozzle { target },
            Parameter::Bed(target) => Payload::Bed { target },
            Parameter::PartFan(percent) => Payload::Fan { fan: FanSpeed::Part(percent) },
            Parameter::AuxiliaryFan(percent) => Payload::Fan { fan: FanSpeed::Auxiliary(percent) },
            Parameter::ChamberFan(percent) => Payload::Fan { fan: FanSpeed::Chamber(percent) },
            Parameter::Light(on) => {
                Payload::Light { light: LightStatus { second: u8::from(on), rgb: [0, 0, 0] } }
            }
            Parameter::Speed(percent) => Payload::Speed { percent },
        }
    }
}

/// What is written around a command.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// 16 hex digits.
    pub request: &'a str,
    /// Empty until it is known (elegoo.md 2.3).
    pub mainboard: &'a str,
    /// Unix seconds.
    pub time: u64,
}

#[derive(Serialize)]
struct Outer<'a> {
    #[serde(rename = "Id")]
    id: &'a str,
    #[serde(rename = "Data")]
    data: Inner<'a>,
    #[serde(rename = "Topic")]
    topic: String,
}

#[derive(Serialize)]
struct Inner<'a> {
    #[serde(rename = "Cmd")]
    command: u16,
    #[serde(rename = "Data")]
    data: Payload<'a>,
    #[serde(rename = "RequestID")]
    request: &'a str,
    #[serde(rename = "MainboardID")]
    mainboard: &'a str,
    #[serde(rename = "TimeStamp")]
    time: u64,
    #[serde(rename = "From")]
    from: u8,
}

/// The text frame of one command.
///
/// # Errors
/// Only if JSON itself fails, e.g. for a jog that is not a number.
pub fn frame(command: &Sdcp, envelope: &Envelope<'_>) -> serde_json::Result<String> {
    serde_json::to_string(&Outer {
        id: "",
        data: Inner {
            command: command.number(),
            data: command.payload(),
            request: envelope.request,
            mainboard: envelope.mainboard,
            time: envelope.time,
            from: 1,
        },
        topic: format!("sdcp/request/{}", envelope.mainboard),
    })
}
