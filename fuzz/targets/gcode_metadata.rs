#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moongate::fuzzing::door("gcode_metadata").expect("a door")(bytes));
