#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moongate::fuzzing::door("three_mf").expect("a door")(bytes));
