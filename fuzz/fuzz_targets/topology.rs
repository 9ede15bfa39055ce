//! The topology parser and validator, on any text.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| camrig::fuzzing::topology(bytes));
