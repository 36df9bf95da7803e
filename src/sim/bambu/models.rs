//! One row per printer model: identity, report style, cameras, and where models differ on the wire.
//!
//! Rows quote dossier section 1.3 (identity), 3.2 (report style), 3.4 (field presence, by way of the captured report
//! of that model), 4.1 and 4.8 (acknowledgements), 4.5 (URL forms), 5.1 (FTPS) and 6 (camera).

/// How state is published between two `pushall` answers (dossier 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reporting {
    /// Changed top-level fields only, `msg: 1` (P1, A1).
    Delta,
    /// The whole object about once a second while active (first X1 firmware).
    Full,
    /// Changed objects, and from time to time the whole one (new X1 firmware, P2S, X2D, H2).
    Mixed,
}

/// Shape of an acknowledgement (dossier 3.1, fixtures `ack-*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckForm {
    WithCommand,
    /// The A1 mini leaves `command` out.
    WithoutCommand,
}

/// What a printer that wants signatures does with an unsigned command (dossier 4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// `result: failed`, `err_code: 84033543`.
    ErrorCode,
    /// `{command, sequence_id}` only, and HMS 0500_0500_0001_0007.
    BareAndHms,
    /// No answer at all.
    Silent,
}

/// Which of the URL forms of dossier 4.5 a model resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urls {
    /// `ftp://`, `file:///sdcard/`, `file:///mnt/sdcard/`.
    X1,
    /// `ftp://`, `file:///sdcard/`, `file:///`.
    P1,
    /// `ftp://`, `file:///media/usb0/`.
    New,
}

/// What the FTPS data channel wants (dossier 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataChannel {
    /// TLS that resumes the session of the control connection; else 522.
    Resumed,
    /// TLS, resumed or not.
    Tls,
    /// Clear text only: PROT P is refused.
    Clear,
}

/// What can be seen (dossier 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Camera {
    /// JPEG stream on port 6000.
    Jpeg,
    /// RTSPS on port 322.
    Rtsp,
}

/// A habit that one model or few have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// Deltas leave out what a `pushall` tells (P1).
    LeanDeltas,
    /// `stg_cur` is in no delta (P1P; rare in those of a P1S).
    HidesStage,
    /// Drying is acknowledged and ignored (P1, trap T30).
    IgnoresDrying,
    /// A start with an id of 13 digits leaves it in IDLE for ever (P1S, trap T19).
    HangsOnLongIds,
    /// `gcode_file` is acknowledged and ignored (P1S).
    IgnoresGcodeFile,
    /// Its captured versions are of a printer without an AMS; its report shows an AMS 2 Pro (P1S).
    UnlistedAms,
    /// A start during a job ends that job (A1 mini).
    StartEndsJob,
    /// Certificates are X.509 v3, with TLS 1.3 (P2S, X2D, H2C).
    NewCertificate,
}

/// A chamber sensor and heater (dossier 3.7).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Chamber {
    /// `chamber_temper` is a constant 5.
    Fake,
    Measured,
    /// To this many °C at most.
    Heated(f64),
}

/// One printer model.
#[derive(Debug)]
pub struct Model {
    /// Name in options, lower case.
    pub key: &'static str,
    /// Code of SSDP, detect and `printer_model_id`.
    pub code: &'static str,
    pub product_name: &'static str,
    /// First three characters of the serial.
    pub prefix: &'static str,
    pub firmware: &'static str,
    pub reporting: Reporting,
    pub ack: AckForm,
    pub rejection: Rejection,
    pub urls: Urls,
    pub data_channel: DataChannel,
    pub camera: Camera,
    pub chamber: Chamber,
    pub nozzles: usize,
    /// °C
    pub nozzle_limit: f64,
    /// °C
    pub bed_limit: f64,
    /// `stg_cur` when nothing is done.
    pub idle_stage: i64,
    /// Runs `/data/Metadata/plate_N.gcode` (3.4), and not the stored file name.
    pub ram_path: bool,
    /// NLST answers whole paths (5.3).
    pub nlst_paths: bool,
    pub quirks: &'static [Quirk],
    /// Shape of `push_status`: a captured report.
    pub(super) report: &'static str,
    /// Shape of `get_version`: a captured answer.
    pub(super) versions: &'static str,
}

impl Model {
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }
}

macro_rules! report {
    ($name:literal) => {
        include_str!(concat!("../../../fixtures/bambu/report-pushall-", $name, ".json"))
    };
}
macro_rules! versions {
    ($name:literal) => {
        include_str!(concat!("../../../fixtures/bambu/info-get_version-", $name, ".json"))
    };
}

/// A report with filled AMS slots, for the models whose captured report shows none.
pub(super) const FILLED_AMS: &str = report!("p1p-01.07.00.00-failed");

const P1: Model = Model {
    key: "p1s",
    code: "C12",
    product_name: "Bambu Lab P1S",
    prefix: "01P",
    firmware: "01.09.01.00",
    reporting: Reporting::Delta,
    ack: AckForm::WithCommand,
    rejection: Rejection::BareAndHms,
    urls: Urls::P1,
    data_channel: DataChannel::Resumed,
    camera: Camera::Jpeg,
    chamber: Chamber::Fake,
    nozzles: 1,
    nozzle_limit: 300.0,
    bed_limit: 100.0,
    idle_stage: 0,
    ram_path: false,
    nlst_paths: false,
    quirks: &[
        Quirk::LeanDeltas,
        Quirk::IgnoresDrying,
        Quirk::HangsOnLongIds,
        Quirk::IgnoresGcodeFile,
        Quirk::UnlistedAms,
    ],
    report: report!("p1s-finish-ams2pro"),
    versions: versions!("p1p-01.08.02.00-finish-noams"),
};
const A1: Model = Model {
    key: "a1",
    code: "N2S",
    product_name: "Bambu Lab A1",
    prefix: "039",
    firmware: "01.05.00.00",
    rejection: Rejection::ErrorCode,
    data_channel: DataChannel::Tls,
    quirks: &[],
    report: report!("a1-01.05.00.00-idle"),
    versions: versions!("a1-01.05.00.00-idle"),
    ..P1
};
const X1: Model = Model {
    key: "x1c",
    code: "BL-P001",
    product_name: "Bambu Lab X1-Carbon",
    prefix: "00M",
    firmware: "01.09.00.01",
    reporting: Reporting::Mixed,
    rejection: Rejection::ErrorCode,
    urls: Urls::X1,
    camera: Camera::Rtsp,
    chamber: Chamber::Measured,
    bed_limit: 120.0,
    idle_stage: -1,
    ram_path: true,
    nlst_paths: true,
    quirks: &[],
    report: report!("x1c-01.09.00.01-finish-4ams"),
    versions: versions!("x1c-01.09.00.01-finish-4ams"),
    ..P1
};
const H2: Model = Model {
    key: "h2d",
    code: "O1D",
    product_name: "Bambu Lab H2D",
    prefix: "094",
    firmware: "01.01.02.00",
    urls: Urls::New,
    data_channel: DataChannel::Tls,
    chamber: Chamber::Heated(65.0),
    nozzles: 2,
    nozzle_limit: 350.0,
    report: report!("h2d-01.01.02.00-idle-mixed-ams"),
    versions: versions!("h2d-01.01.02.00-idle-mixed-ams"),
    ..X1
};

/// Every simulated model; a new one is a new row. X1, X1E and P1S borrow the captured shape of their nearest relative.
pub static TABLE: &[Model] = &[
    P1,
    Model {
        key: "p1p",
        code: "C11",
        product_name: "Bambu Lab P1P",
        prefix: "01S",
        firmware: "01.08.02.00",
        rejection: Rejection::ErrorCode,
        idle_stage: 255,
        quirks: &[Quirk::LeanDeltas, Quirk::IgnoresDrying, Quirk::HidesStage],
        report: report!("p1p-01.08.02.00-finish-noams"),
        ..P1
    },
    A1,
    Model {
        key: "a1mini",
        code: "N1",
        product_name: "Bambu Lab A1 mini",
        prefix: "030",
        firmware: "01.07.02.00",
        ack: AckForm::WithoutCommand,
        rejection: Rejection::Silent,
        bed_limit: 80.0,
        quirks: &[Quirk::StartEndsJob],
        report: report!("a1mini-idle"),
        versions: versions!("a1mini-01.07.02.00"),
        ..A1
    },
    Model {
        key: "a2l",
        code: "N9",
        product_name: "Bambu Lab A2L",
        prefix: "26A",
        firmware: "01.01.00.00",
        bed_limit: 80.0,
        report: report!("a2l-01.01.00.00-idle"),
        versions: versions!("a2l-01.01.00.00-idle"),
        ..A1
    },
    X1,
    Model {
        key: "x1c-early",
        firmware: "01.01.01.00",
        reporting: Reporting::Full,
        report: report!("x1c-early-idle"),
        versions: versions!("x1c-01.01.01.00"),
        ..X1
    },
    Model { key: "x1", code: "BL-P002", product_name: "Bambu Lab X1", prefix: "00W", ..X1 },
    Model {
        key: "x1e",
        code: "C13",
        product_name: "Bambu Lab X1E",
        prefix: "03W",
        chamber: Chamber::Heated(60.0),
        nozzle_limit: 320.0,
        bed_limit: 110.0,
        ..X1
    },
    Model {
        key: "p2s",
        code: "N7",
        product_name: "Bambu Lab P2S",
        prefix: "22E",
        firmware: "01.01.00.00",
        urls: Urls::New,
        data_channel: DataChannel::Tls,
        bed_limit: 110.0,
        quirks: &[Quirk::NewCertificate],
        report: report!("p2s-01.01.00.00-running"),
        versions: versions!("p2s-01.01.00.00-running"),
        ..X1
    },
    Model {
        key: "x2d",
        code: "N6",
        product_name: "Bambu Lab X2D",
        prefix: "20P",
        firmware: "01.01.00.00",
        nozzle_limit: 300.0,
        quirks: &[Quirk::NewCertificate],
        report: report!("x2d-01.01.00.00-running"),
        versions: versions!("x2d-01.01.00.00-running"),
        ..H2
    },
    Model {
        key: "h2s",
        code: "O1S",
        product_name: "Bambu Lab H2S",
        prefix: "093",
        firmware: "01.01.00.00",
        nozzles: 1,
        report: report!("h2s-01.01.00.00-running"),
        versions: versions!("h2s-01.01.00.00-running"),
        ..H2
    },
    H2,
    Model {
        key: "h2dpro",
        code: "O1E",
        product_name: "Bambu Lab H2D Pro",
        prefix: "239",
        firmware: "01.01.00.00",
        report: report!("h2dpro-01.01.00.00-idle-ethernet-devmode"),
        versions: versions!("h2dpro-01.01.00.00-idle-ethernet-devmode"),
        ..H2
    },
    Model {
        key: "h2c",
        code: "O1C2",
        product_name: "Bambu Lab H2C",
        prefix: "31B",
        firmware: "01.01.00.00",
        quirks: &[Quirk::NewCertificate],
        report: report!("h2c-01.01.00.00-failed-rack"),
        versions: versions!("h2c-01.01.00.00-failed-rack"),
        ..H2
    },
];

/// The row named `key`, in any case.
pub fn find(key: &str) -> Option<&'static Model> {
    TABLE.iter().find(|row| row.key.eq_ignore_ascii_case(key))
}
