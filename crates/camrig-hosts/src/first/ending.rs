//! The end of a rig over several hosts: the cameras of all hosts stop at the same time, and everything else ends when it has no
//! more input. The end of a producer crosses like its framesets, so it does not matter in which order hosts read each other.
//! The first host stops actors that wait for a host that has failed or vanished.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::host::{Host, STOP_INTERVAL};
use super::{RunningRig, STOP_TIME, at_once, locked};
use crate::protocol::HostRequest;
use crate::wire::starting;

impl RunningRig {
    /// See [`RunningHosts::drain`](camrig::hosts::RunningHosts::drain). A further call does nothing.
    pub(super) fn drain_all(&self, drain_own: &dyn Fn(), stop_own: &dyn Fn()) {
        if self.is_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        starting::end(&self.run);
        drain_own();
        self.drain_others();
        self.await_others();
        stop_own();
    }

    /// See [`RunningHosts::stop`](camrig::hosts::RunningHosts::stop).
    pub(super) fn end_others(&self, in_order: bool) {
        starting::end(&self.run);
        self.own_has_ended.store(true, Ordering::Release);
        if in_order && self.framesets.is_some() {
            self.await_limits();
        }
        if !self.is_asked.load(Ordering::Acquire) {
            self.drain_others();
        }
        self.await_others();
        at_once(self.hosts().into_iter().map(|host| {
            move || {
                host.stop();
                Ok(())
            }
        }));
    }

    /// Waits until the parts of the other hosts have ended by themselves, or the rig was asked to stop. Each camera has the same
    /// number of framesets to deliver: a part is not ended early because the one here was faster, but one without progress is.
    fn await_limits(&self) {
        let (mut seen, mut since) = (0, Instant::now());
        while !self.is_asked.load(Ordering::Acquire) && since.elapsed() < STOP_TIME {
            let hosts = self.hosts();
            if !hosts.iter().any(|host| host.may_end()) {
                return;
            }
            let framesets = hosts.iter().map(|host| host.framesets()).sum::<u64>();
            if framesets != seen {
                (seen, since) = (framesets, Instant::now());
            }
            std::thread::sleep(STOP_INTERVAL);
        }
    }

    /// Has the cameras of the other hosts stop.
    fn drain_others(&self) {
        let drain = |host: Arc<Host>| {
            move || {
                host.ask(&HostRequest::Drain { run: host.run() });
                Ok(())
            }
        };
        at_once(self.hosts().into_iter().filter(|host| !host.has_ended()).map(drain));
    }

    /// Waits until the parts of the other hosts have ended, within a bounded time. One that reads only of hosts that have ended, or
    /// that are lost, is stopped.
    fn await_others(&self) {
        let until = Instant::now() + STOP_TIME;
        let mut stopped = BTreeSet::new();
        while Instant::now() < until {
            let hosts = self.hosts();
            let left: Vec<_> = hosts.iter().filter(|host| host.may_end()).collect();
            if left.is_empty() {
                return;
            }
            let own = (!self.own_has_ended.load(Ordering::Acquire)).then_some(None);
            let live = left.iter().map(|host| Some(host.name().to_owned())).chain(own).collect();
            let reads = locked(&self.reads).clone();
            for host in left {
                if has_lost_sources(host.name(), &reads, &live) && stopped.insert(host.name().to_owned()) {
                    host.ask(&HostRequest::Stop { run: host.run() });
                }
            }
            std::thread::sleep(STOP_INTERVAL);
        }
    }
}

/// Returns whether a host reads others' framesets, and none of these hosts is live. `None` is the first host.
fn has_lost_sources(
    host: &str,
    reads: &BTreeMap<String, Vec<Option<String>>>,
    live: &BTreeSet<Option<String>>,
) -> bool {
    let sources = reads.get(host).filter(|sources| !sources.is_empty());
    sources.is_some_and(|sources| sources.iter().all(|source| !live.contains(source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stops_when_nothing_more_comes_from_any_host() {
        let (own, arm) = (None, Some("arm".to_owned()));
        let reads = [("arm", vec![]), ("base", vec![own.clone(), arm.clone()])];
        let reads = reads.map(|(host, sources)| (host.to_owned(), sources)).into();
        for (live, expected) in
            [(vec![own.clone(), arm.clone()], false), (vec![own], false), (vec![arm], false), (vec![], true)]
        {
            let live = live.into_iter().collect();
            assert_eq!(has_lost_sources("base", &reads, &live), expected, "{live:?}");
            // Its own cameras end it.
            assert!(!has_lost_sources("arm", &reads, &live));
        }
    }
}
