//! moongate: one gateway between closed-protocol 3D printers and every Moonraker and OctoPrint client.
//!
//! ```text
//!   Bambu X1 P1 A1 P2 H2      Centauri Carbon       Centauri Carbon 2
//!   MQTT/TLS + FTPS           SDCP WebSocket+HTTP   MQTT + HTTP
//!         |                         |                     |
//!   drivers/bambu             drivers/elegoo_cc1    drivers/elegoo_cc2    one link per printer
//!         \_________________________|____________________/
//!                                   |  StateWriter, Command, Outcome
//!    jobs, library,       +---------v---------+
//!    metadata, camera  ---|  printer/ (actor) |--- store (history, database, pins)
//!                         |  model/   (types) |
//!                         +---------^---------+
//!                                   |  PrinterHandle: watch state, send command, events
//!       .___________.______________|_______.__________________.
//!  front/moonraker  front/marlin (pty)  front/webcam, rtsp  front/admin
//!       |                |                                    |
//!  Mainsail Fluidd   OctoPrint 1.x                       status, health, metrics
//!  HA Mobileraker
//!  slicers, OctoPrint 2
//! ```
//! Data flows one way: bytes, `wire`, `reduce`, one immutable [`model::PrinterState`], a `view` per front end, the
//! difference to the client. Commands flow back through [`printer::PrinterHandle::send`]: guard, driver, effect.
//! [`app`] is the only place that names concrete drivers and front ends (and [`discovery`], which asks for printers by
//! every protocol).
//!
//! | floor | rooms |
//! |---|---|
//! | ground | [`model`], [`net`], [`store`], [`gcode`], [`metadata`], [`secret`], [`url`] |
//! | one printer | [`printer`], [`library`], [`filament`], [`jobs`], [`camera`], [`console`], all of it as a [`station`] |
//! | the gateway | [`config`], [`access`], [`logging`], [`discovery`] |
//! | its two sides | [`drivers`], [`front`] |
//! | on top | [`app`], [`cli`] |
//! | outside | [`sim`], the simulated printers |
//!
//! Which room may name which is a table in `tests/layering.rs`; where a new line goes is told in `docs/extending.md`.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime"))]
pub mod access;
pub mod app;
pub mod camera;
pub mod cli;
pub mod config;
pub mod console;
pub mod discovery;
pub mod drivers;
pub mod filament;
pub mod front;
#[cfg(any(test, fuzzing, feature = "doors"))]
pub mod fuzzing;
pub mod gcode;
pub mod jobs;
pub mod library;
pub mod logging;
pub mod metadata;
pub mod model;
pub mod net;
pub mod printer;
pub mod secret;
pub mod sim;
pub mod station;
pub mod store;
pub mod url;
