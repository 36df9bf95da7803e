//! One folder per printer protocol. A driver knows `model`, `net` and the driver's side of `printer`; vendor words end here.
pub mod bambu;
