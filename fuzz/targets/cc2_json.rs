#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moongate::fuzzing::door("cc2_json").expect("a door")(bytes));
