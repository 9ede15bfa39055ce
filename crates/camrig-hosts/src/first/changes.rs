//! Changes of the parts of other hosts while a rig runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use camrig::hosts::PartChange;
use camrig::status::control;

use super::{CHECK_TIME, Host, Prepared, RunningRig, check, locked, request};
use crate::protocol::{Answer, HostRequest};

impl RunningRig {
    /// Changes the part of a host: it may begin, or end.
    pub(super) fn change_part(&self, change: &PartChange<'_>) -> control::Answer {
        let PartChange { spec, name, part, dry_run, .. } = change;
        let running = self.running(&spec.name);
        match (running, part) {
            (None, None) => control::Answer::Changes(Vec::new()),
            (None, Some(part)) => {
                let part_request = request(&self.run, name, &spec.name, part.text.clone(), self.framesets);
                let checked = check(spec, part_request, part.reads.clone());
                let begun = checked.and_then(|prepared| if *dry_run { Ok(()) } else { self.begin(prepared) });
                done(begun, "its part starts")
            }
            (Some(host), None) => {
                if !dry_run {
                    host.stop();
                    locked(&self.reads).remove(&spec.name);
                }
                done(Ok(()), "its part ends")
            }
            (Some(host), Some(part)) => {
                let known = host.agent().spec();
                if (&known.address, &known.fingerprint, known.router)
                    != (&spec.address, &spec.fingerprint, spec.router)
                {
                    let fact =
                        "it has another address or fingerprint than when the rig began: start the rig again";
                    return control::Answer::refused(fact);
                }
                let is_same = host.part().text == part.text && change.restarts.is_empty();
                if is_same {
                    return control::Answer::Changes(Vec::new());
                }
                let answer = ask(&host, apply(change, &part.text));
                // After a failure it has changed as well.
                let has_changed =
                    matches!(answer, control::Answer::Changes(_) | control::Answer::Failed { .. });
                if has_changed && !dry_run {
                    host.part().text.clone_from(&part.text);
                    locked(&self.reads).insert(spec.name.clone(), part.reads.clone());
                }
                answer
            }
        }
    }

    pub(super) fn ask_agent(&self, host: &str, request: control::Request) -> control::Answer {
        match self.running(host) {
            Some(host) => ask(&host, request),
            None => control::Answer::refused("it runs no part of this rig"),
        }
    }

    /// Returns the host whose part runs.
    pub(super) fn running(&self, name: &str) -> Option<Arc<Host>> {
        self.hosts().into_iter().find(|host| host.name() == name && !host.has_ended())
    }

    /// Starts a part that was checked.
    fn begin(&self, prepared: Prepared) -> Result<(), Vec<String>> {
        prepared.agent.announce(&self.run).map_err(|fact| vec![fact])?;
        prepared.agent.done(&HostRequest::Start(prepared.part.clone()), CHECK_TIME)?;
        self.add(prepared).map_err(|fact| vec![fact])
    }
}

/// Returns the hosts in the order in which they change: one whose framesets others read comes before these. `None` is the
/// first host.
pub(super) fn order(reads: &BTreeMap<String, Vec<Option<String>>>) -> Vec<Option<String>> {
    let sources = sources(reads);
    let others = by_sources(reads).into_iter().filter(|name| !sources.contains(name)).map(Some);
    sources.iter().cloned().map(Some).chain([None]).chain(others.collect::<Vec<_>>()).collect()
}

/// Returns the other hosts: one that reads others' framesets comes after them. Those that read each other in a cycle come last.
fn by_sources(reads: &BTreeMap<String, Vec<Option<String>>>) -> Vec<String> {
    let mut left: Vec<_> = reads.keys().cloned().collect();
    let mut order: Vec<String> = Vec::new();
    while !left.is_empty() {
        let is_free = |name: &String| reads[name].iter().flatten().all(|read| order.contains(read));
        let (free, rest): (Vec<_>, Vec<_>) = left.iter().cloned().partition(is_free);
        if free.is_empty() {
            order.extend(rest);
            break;
        }
        order.extend(free);
        left = rest;
    }
    order
}

/// Returns the hosts that change before the first host: those that read no frameset of it, even by others.
fn sources(reads: &BTreeMap<String, Vec<Option<String>>>) -> Vec<String> {
    let mut sources = by_sources(reads);
    loop {
        let reads_first = |name: &String, sources: &[String]| {
            reads[name].iter().any(|read| read.as_ref().is_none_or(|read| !sources.contains(read)))
        };
        let kept: Vec<_> = sources.iter().filter(|name| !reads_first(name, &sources)).cloned().collect();
        if kept.len() == sources.len() {
            return kept;
        }
        sources = kept;
    }
}

fn apply(change: &PartChange<'_>, text: &str) -> control::Request {
    let PartChange { spec, name, restarts, live, dry_run, by, .. } = change;
    control::Request::Apply(control::Apply {
        name: format!("{name} (host {})", spec.name),
        text: text.to_owned(),
        restarts: restarts.clone(),
        base: None,
        live: *live,
        dry_run: *dry_run,
        by: (*by).to_owned(),
    })
}

/// Has the agent of a host answer a request about its part.
fn ask(host: &Host, request: control::Request) -> control::Answer {
    let unavailable = |message| control::Answer::Refused { message, unavailable: true };
    match host.agent().ask(&HostRequest::Rig { run: host.run(), request }, CHECK_TIME) {
        Ok(Answer::Rig(answer)) => answer,
        Ok(Answer::Refused(lines)) => unavailable(lines.join("; ")),
        Ok(_) => unavailable("its agent answered another request".to_owned()),
        Err(fact) => unavailable(fact),
    }
}

fn done(done: Result<(), Vec<String>>, line: &str) -> control::Answer {
    match done {
        Ok(()) => control::Answer::Changes(vec![line.to_owned()]),
        Err(lines) => control::Answer::Refused { message: lines.join("; "), unavailable: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(of: &[(&str, &[Option<&str>])]) -> BTreeMap<String, Vec<Option<String>>> {
        let owned = |read: Option<&str>| read.map(str::to_owned);
        of.iter()
            .map(|(name, reads)| ((*name).to_owned(), reads.iter().copied().map(owned).collect()))
            .collect()
    }

    #[test]
    fn readers_come_after_their_sources() {
        let chain = reads(&[("a", &[Some("b")]), ("b", &[Some("c")]), ("c", &[])]);
        assert_eq!(by_sources(&chain), ["c", "b", "a"]);
        assert_eq!(sources(&chain), ["c", "b", "a"]);
        let circle = reads(&[("a", &[Some("b")]), ("b", &[Some("a")]), ("c", &[])]);
        assert_eq!(by_sources(&circle), ["c", "a", "b"]);
    }

    #[test]
    fn readers_of_the_first_host_come_after_it() {
        let reads = reads(&[("a", &[None]), ("b", &[Some("a")]), ("c", &[]), ("d", &[Some("c"), None])]);
        assert_eq!(sources(&reads), ["c"]);
        assert_eq!(by_sources(&reads), ["a", "c", "b", "d"]);
    }

    #[test]
    fn hosts_change_before_their_readers() {
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(order(&reads(&[])), [None]);
        assert_eq!(
            order(&reads(&[("a", &[None]), ("b", &[Some("a")]), ("c", &[])])),
            [named("c"), None, named("a"), named("b")]
        );
    }
}
