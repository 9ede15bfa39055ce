//! Changes of the parts of other hosts while a rig runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use camrig::hosts::PartChange;
use camrig::status::control;

use super::{CHECK_TIME, Host, Prepared, RunningRig, check, locked, request, sources};
use crate::protocol::{Answer, Request};

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
                let known = host.agent.spec();
                if (&known.address, &known.fingerprint) != (&spec.address, &spec.fingerprint) {
                    let fact =
                        "it has another address or fingerprint than when the rig began: start the rig again";
                    return control::Answer::refused(fact);
                }
                let is_same = locked(&host.part).text == part.text && change.restarts.is_empty();
                if is_same {
                    return control::Answer::Changes(Vec::new());
                }
                let answer = ask(&host, apply(change, &part.text));
                // After a failure it has changed as well.
                let has_changed =
                    matches!(answer, control::Answer::Changes(_) | control::Answer::Failed { .. });
                if has_changed && !dry_run {
                    locked(&host.part).text.clone_from(&part.text);
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
    fn running(&self, name: &str) -> Option<Arc<Host>> {
        self.hosts().into_iter().find(|host| host.name() == name && !host.has_ended())
    }

    /// Starts a part that was checked.
    fn begin(&self, prepared: Prepared) -> Result<(), Vec<String>> {
        prepared.agent.announce(&self.run).map_err(|fact| vec![fact])?;
        prepared.agent.done(&Request::Start(prepared.part.clone()), CHECK_TIME)?;
        self.add(prepared).map_err(|fact| vec![fact])
    }
}

/// Returns the hosts in the order in which they change: one whose framesets others read comes before these. `None` is the
/// first host.
pub(super) fn order(reads: &BTreeMap<String, Vec<Option<String>>>) -> Vec<Option<String>> {
    let sources = sources(reads);
    let others = super::order(reads).into_iter().filter(|name| !sources.contains(name)).map(Some);
    sources.iter().cloned().map(Some).chain([None]).chain(others.collect::<Vec<_>>()).collect()
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
    match host.agent.ask(&Request::Rig { run: host.run(), request }, CHECK_TIME) {
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

    #[test]
    fn hosts_change_before_their_readers() {
        let reads = |of: &[(&str, &[Option<&str>])]| {
            let owned = |read: Option<&str>| read.map(str::to_owned);
            let row = |(name, reads): &(&str, &[Option<&str>])| {
                ((*name).to_owned(), reads.iter().copied().map(owned).collect())
            };
            order(&of.iter().map(row).collect())
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(reads(&[]), [None]);
        assert_eq!(
            reads(&[("a", &[None]), ("b", &[Some("a")]), ("c", &[])]),
            [named("c"), None, named("a"), named("b")]
        );
    }
}
