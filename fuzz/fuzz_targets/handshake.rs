//! Fuzzes the parent's half of the handshake with the bytes of a started process.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| camrig_ipc::fuzzing::handshake(bytes));
