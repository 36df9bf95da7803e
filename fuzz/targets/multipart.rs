#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moongate::fuzzing::door("multipart").expect("a door")(bytes));
