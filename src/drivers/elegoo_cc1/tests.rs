//! The driver against fixtures (`pure`) and against the simulated printer over real sockets (`linked`).

mod disks;
mod earlier;
mod halves;
mod linked;
mod pure;
mod rules;
mod swapped;
mod thin;
