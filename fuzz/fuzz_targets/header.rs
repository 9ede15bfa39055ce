//! The header of a frameset, in any slot.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| camrig_ipc::fuzzing::header(bytes));
