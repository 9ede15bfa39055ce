//! Fuzzes the topology parser and validator with text.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| camrig::fuzzing::topology(bytes));
