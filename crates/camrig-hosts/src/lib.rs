//! Rigs over several hosts, on Zenoh.
//!
//! * `split`: one ordinary topology for each host, pure
//! * `identity`: the keys of hosts, and TLS that trusts pinned keys only
//! * `session`: sessions of Zenoh that do nothing but what they are told
//! * `wire`: the crossing of framesets, with its account
//! * `codec`: the forms in which frames cross, pure
//! * `clock`: the offset of another host's clock
#![forbid(unsafe_code)]

pub mod clock;
pub mod codec;
pub mod identity;
pub mod session;
pub mod split;
pub mod wire;
