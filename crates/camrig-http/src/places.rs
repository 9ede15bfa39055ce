//! The open connections of a server: at most a fixed number. A new connection is always accepted; at
//! the maximum it replaces one of the peer with the most.
//!
//! It only counts: the caller closes the connection that [`Places::take`] names.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// The places of a server's connections.
#[derive(Clone)]
pub(crate) struct Places(Arc<Mutex<State>>);

struct State {
    max: usize,
    next: u64,
    /// In the order of their arrival.
    taken: Vec<Held>,
}

struct Held {
    id: u64,
    peer: IpAddr,
    standing: Standing,
    /// Ends the connection; `None` until its task runs.
    task: Option<AbortHandle>,
}

/// State of a connection. The order is that in which connections are closed for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// None of its requests was admitted.
    Unknown,
    /// One of its requests was admitted.
    Admitted,
    /// It became a WebSocket.
    Page,
}

/// The place of one connection, until this is dropped.
pub(crate) struct HeldPlace {
    places: Places,
    id: u64,
}

/// Changes the standing of a connection. It does not hold the place.
#[derive(Clone)]
pub(crate) struct Marker {
    places: Places,
    id: u64,
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(State { max, next: 0, taken: Vec::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from `peer`. Ends another connection if there is no place; returns `None` if
    /// each place is a page's.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<HeldPlace> {
        let peer = network_of(peer);
        let mut state = self.state();
        if state.taken.len() >= state.max {
            let known: Vec<_> = state.taken.iter().map(|entry| (entry.peer, entry.standing)).collect();
            let ended = state.taken.remove(least_missed(&known)?);
            ended.task.iter().for_each(AbortHandle::abort);
        }
        let id = state.next;
        state.next += 1;
        state.taken.push(Held { id, peer, standing: Standing::Unknown, task: None });
        Some(HeldPlace { places: self.clone(), id })
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Held)) {
        self.state().taken.iter_mut().find(|entry| entry.id == id).map(change);
    }
}

impl HeldPlace {
    pub(crate) fn marker(&self) -> Marker {
        Marker { places: self.places.clone(), id: self.id }
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.places.state().taken.retain(|entry| entry.id != self.id);
    }
}

impl Marker {
    /// Sets the task that serves the connection.
    pub(crate) fn served_by(&self, task: AbortHandle) {
        self.places.change(self.id, |entry| entry.task = Some(task));
    }

    /// Notes that a request of the connection is admitted.
    pub(crate) fn admitted(&self) {
        self.places.change(self.id, |entry| entry.standing = entry.standing.max(Standing::Admitted));
    }

    /// Notes that the connection becomes a WebSocket.
    pub(crate) fn becomes_page(&self) {
        self.places.change(self.id, |entry| entry.standing = Standing::Page);
    }
}

/// Returns the part that all addresses of one peer share: an IPv6 host has 64 bits of its own.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(peer) => Ipv6Addr::from_bits(peer.to_bits() >> 64 << 64).into(),
        peer @ IpAddr::V4(_) => peer,
    }
}

/// Returns the index of the connection to end, of connections in the order of their arrival: one of lowest standing,
/// of the peer that has most of these, the oldest one. So a peer that opens many ends its own. Returns `None` if all
/// are pages.
fn least_missed(connections: &[(IpAddr, Standing)]) -> Option<usize> {
    let lowest = connections.iter().map(|(_, standing)| *standing).min()?;
    if lowest == Standing::Page {
        return None;
    }
    let candidates = || connections.iter().filter(|(_, standing)| *standing == lowest);
    let count = |peer: &IpAddr| candidates().filter(|(other, _)| other == peer).count();
    let most = candidates().map(|(peer, _)| count(peer)).max()?;
    connections.iter().position(|(peer, standing)| *standing == lowest && count(peer) == most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Admitted, Page, Unknown};

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn the_oldest_connection_of_the_peer_with_most_unknown_ones_is_replaced() {
        for (connections, expected) in [
            (vec![], None),
            (vec![(A, Page), (B, Page)], None),
            (vec![(A, Unknown), (A, Unknown)], Some(0)),
            (vec![(A, Unknown), (B, Unknown), (B, Unknown)], Some(1)),
            (vec![(A, Admitted), (B, Unknown)], Some(1)),
            (vec![(A, Page), (B, Admitted), (A, Admitted), (A, Admitted)], Some(2)),
            (vec![(A, Admitted), (A, Admitted), (A, Admitted), (B, Unknown)], Some(3)),
        ] {
            assert_eq!(least_missed(&connections), expected, "{connections:?}");
        }
    }

    #[test]
    fn the_addresses_of_an_ipv6_host_are_one_peer() {
        for (peer, expected) in [
            ("2001:db8::1", "2001:db8::"),
            ("2001:db8::ffff:1", "2001:db8::"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(network_of(peer.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn a_place_is_free_when_it_is_dropped_and_pages_are_never_ended() {
        let places = Places::new(2);
        let (first, second) = (places.take(A).unwrap(), places.take(A).unwrap());
        first.marker().becomes_page();
        // A request on a connection that is a page changes nothing.
        first.marker().admitted();
        let third = places.take(B).unwrap();
        third.marker().becomes_page();
        assert!(places.take(B).is_none());
        // Its place went to the third one.
        drop(second);
        assert!(places.take(B).is_none());
        drop(first);
        assert!(places.take(B).is_some());
    }
}
