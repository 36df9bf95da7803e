//! Simulated printer: see the module documentation once built.
