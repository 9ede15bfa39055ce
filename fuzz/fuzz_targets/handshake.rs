//! The starter of a process, whatever the process says.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| camrig_ipc::fuzzing::handshake(bytes));
