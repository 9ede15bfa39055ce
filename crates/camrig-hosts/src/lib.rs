//! Rigs over several hosts, on Zenoh.
//!
//! * `split`: one ordinary topology for each host, pure
//! * `identity`: the keys of hosts, and TLS that trusts pinned keys only
#![forbid(unsafe_code)]

pub mod identity;
pub mod split;
