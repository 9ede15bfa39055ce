//! Fuzzes the decoder of a frameset's header with the bytes of a slot.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| camrig_ipc::fuzzing::header(bytes));
