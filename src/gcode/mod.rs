//! The G-code language: one parser, one translator, for every front end (design D10).

pub mod script;
pub mod translate;
