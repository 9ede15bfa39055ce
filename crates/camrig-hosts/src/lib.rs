//! Rigs over several hosts, on Zenoh.
