//! One folder per printer protocol; each hands [`crate::printer::DriverParts`] to the supervisor and knows only
//! `model`, `net`, `metadata` and `printer::io`. Vendor words end here.

mod elegoo;
pub mod elegoo_cc1;
pub mod elegoo_cc2;
