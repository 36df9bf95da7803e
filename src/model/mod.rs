//! The canonical model: what every printer is to us, in the field's words, whatever its vendor or client calls it.
//!
//! Plain values without I/O. `model` imports nothing of ours. A driver reduces reports into a [`Device`]; the printer
//! room adds link, permission and [`Job`]; together they are one immutable [`PrinterState`] snapshot, of which each
//! front end computes its own view. `None` means that the printer has not reported a value; hardware that does not
//! exist is missing from [`Capabilities`] instead.

pub mod capabilities;
pub mod command;
pub mod event;
pub mod fault;
pub mod filament;
pub mod job;
pub mod link;
pub mod state;
pub mod text;

pub use capabilities::{
    Calibration, Capabilities, ControlCaps, Evidence, FilamentCaps, FileCaps, HeaterCaps, MotionCaps,
    SAME_SPEED, SpeedLevel,
};
pub use command::{
    Axes, Command, CommandError, DryRequest, FilamentAction, Outcome, Seen, SlotEdit, StartJob, StartOptions,
};
pub use event::{ConsoleLine, Event, Speaker};
pub use fault::{Fault, FaultAction, FaultSource, Severity};
pub use filament::{
    Color, Dryer, DryerPhase, Filament, FilamentOperation, FilamentSystem, FilamentUnit, Slot, SlotId,
};
pub use job::{Job, JobOrigin, JobPhase, Transfer, is_passed};
pub use link::{Control, Link, LinkFault, LinkPhase};
pub use state::{
    Activity, AirMode, CameraKind, CameraState, Celsius, Device, DeviceJob, DeviceStage, Fan, FanId, Heater,
    Homed, Identity, Light, LightId, Millimeters, Motion, Network, Nozzle, PrintOption, PrinterState, Ratio,
    Speed, StageDetail, Storage, UnixSeconds,
};
