//! Rigs over several hosts, on Zenoh.
//!
//! * `split`: one ordinary topology for each host, pure
//! * `identity`: the keys of hosts, and TLS that trusts pinned keys only
//! * `agent`: `camrig join`, which runs the parts that first hosts give it
//! * `router`: `camrig route`, which forwards between hosts that cannot reach each other
//! * `first`: the first host, which has agents run their parts; `protocol`: the messages between both
//! * `plan`: the data rate on the network link of each host, pure
//! * `session`: sessions of Zenoh without scouting and without other listeners
//! * `wire`: the crossing of framesets, with its account
//! * `codec`: the forms in which frames cross, pure
//! * `streams`: the streams that cross, as texts, pure
//! * `clock`: the offset of another host's clock
#![forbid(unsafe_code)]

pub mod agent;
pub mod clock;
pub mod codec;
mod commands;
pub mod first;
pub mod identity;
mod plan;
mod protocol;
mod router;
pub mod session;
pub mod split;
mod streams;
pub mod wire;

use camrig::App;

/// Adds the commands `join` and `route` and the kinds of crossings to a program, and lets it run topologies that name other
/// hosts.
#[must_use]
pub fn add_to(app: App) -> App {
    session::set_threads();
    wire::add_to(app)
        .hosts(first::OverZenoh)
        .registry_command(commands::command(), commands::run)
        .command(commands::route_command(), commands::route)
}
