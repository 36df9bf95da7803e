//! Front ends: each presents a printer in the words of one kind of client. They know `model`, `printer`'s handle side and
//! the shared services, never a driver and never each other.

pub mod marlin;
