//! Front ends: each presents the printers to one kind of client. None knows another, none knows a driver.

pub mod moonraker;
