//! The line at the end of a run: its losses, the matchings without a match, and the actors that failed.

use std::collections::BTreeMap;
use std::fmt::Display;

use camrig_ipc::DropReason;
use camrig_status::{ActorRole, ActorState, MatchingStatus};

use crate::report::{ActorReport, Report};

/// Returns the losses of a run, the matchings without a match and the actors that failed; `None` if there are none of these.
pub(super) fn line(report: &Report) -> Option<String> {
    let finished = |name: &str| {
        report.actors.iter().any(|actor| actor.name == name && actor.state == ActorState::Finished)
    };
    // A reader that has finished needs no more, as with `| head -1`.
    let dropped = sums(report.links.iter().flat_map(|link| {
        let is_needed = !finished(&link.to);
        link.dropped.iter().filter(move |(reason, _)| is_needed || **reason != DropReason::ReaderGone)
    }));
    let lost = sums(report.actors.iter().flat_map(|actor| &actor.lost_by_reason));
    let mut facts: Vec<_> = [("dropped", dropped), ("lost", lost)]
        .into_iter()
        .filter_map(|(word, (sum, reasons))| (sum > 0).then(|| format!("{sum} {word} ({reasons})")))
        .collect();
    if !facts.is_empty() {
        let delivered: u64 = report.links.iter().map(|link| link.delivered).sum();
        facts.insert(0, format!("{delivered} framesets delivered"));
    }
    let mut parts = vec![facts.join(", ")];
    parts.retain(|part| !part.is_empty());
    parts.extend(unmatched(&report.matching));
    parts.extend(report.actors.iter().filter(|actor| actor.state == ActorState::Failed).map(failure));
    let (topology, seconds) = (&report.topology, report.seconds);
    (!parts.is_empty()).then(|| format!("{topology}: ended after {seconds:.1} s: {}", parts.join("; ")))
}

/// Describes each processor that got framesets and found no match, with all its instances.
fn unmatched(matching: &[MatchingStatus]) -> Vec<String> {
    let mut instances: BTreeMap<&str, Vec<&MatchingStatus>> = BTreeMap::new();
    for instance in matching {
        instances.entry(&instance.processor).or_default().push(instance);
    }
    let describe = |(processor, instances): (&str, Vec<&MatchingStatus>)| {
        let cameras = instances.iter().flat_map(|instance| &instance.cameras);
        let (sum, reasons) = sums(cameras.flat_map(|camera| &camera.unmatched));
        let is_empty = instances.iter().all(|instance| instance.matches == 0) && sum > 0;
        is_empty.then(|| format!("`{processor}` matched none of {sum} framesets ({reasons})"))
    };
    instances.into_iter().filter_map(describe).collect()
}

fn failure(actor: &ActorReport) -> String {
    let role = if actor.role == ActorRole::Camera { "camera" } else { "processor" };
    let error = actor.errors.last().map_or("", String::as_str);
    format!("{role} `{}` failed: {error}", actor.name)
}

/// Returns the sum of all counts, and the sums by reason as text.
fn sums<'a, R: Display + Ord + Copy + 'a>(counts: impl Iterator<Item = (&'a R, &'a u64)>) -> (u64, String) {
    let mut sums = BTreeMap::new();
    counts.for_each(|(&reason, &count)| *sums.entry(reason).or_insert(0) += count);
    let reasons: Vec<_> = sums.iter().map(|(reason, sum)| format!("{reason} {sum}")).collect();
    (sums.values().sum(), reasons.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_reports_its_losses_and_the_failures_of_its_actors() {
        let mut report: Report =
            serde_json::from_str(include_str!("../../tests/before/report.json")).unwrap();
        report.topology = "rig.toml".to_owned();
        report.seconds = 2.04;
        for link in &mut report.links {
            link.delivered = 40;
            link.dropped.clear();
        }
        for actor in &mut report.actors {
            actor.lost_by_reason.clear();
            actor.state = ActorState::Finished;
        }
        assert_eq!(line(&report), None);
        // Framesets for a reader that has ended are not a loss.
        let reader = report.links[0].to.clone();
        report.links[0].dropped = [(DropReason::ReaderGone, 3)].into();
        let state_of = |report: &mut Report, state| {
            report.actors.iter_mut().find(|actor| actor.name == reader).unwrap().state = state;
        };
        state_of(&mut report, ActorState::Running);
        assert!(line(&report).unwrap().ends_with("3 dropped (reader-gone 3)"));
        state_of(&mut report, ActorState::Finished);
        assert_eq!(line(&report), None);
        let delivered = 40 * report.links.len();
        report.actors[1].state = ActorState::Failed;
        report.actors[1].errors = vec!["it stalls".to_owned(), "it is unplugged".to_owned()];
        let failed = format!("camera `{}` failed: it is unplugged", report.actors[1].name);
        assert_eq!(line(&report).unwrap(), format!("rig.toml: ended after 2.0 s: {failed}"));
        report.links[0].dropped = [(DropReason::NoSlot, 2)].into();
        report.links[1].dropped = [(DropReason::NoSlot, 1), (DropReason::DropOldest, 4)].into();
        report.actors[0].lost_by_reason = [(camrig_ipc::LostReason::Device, 5)].into();
        let counts = format!(
            "{delivered} framesets delivered, 7 dropped (drop-oldest 4, no-slot 3), 5 lost (device 5)"
        );
        assert_eq!(line(&report).unwrap(), format!("rig.toml: ended after 2.0 s: {counts}; {failed}"));
    }

    #[test]
    fn a_run_reports_that_nothing_was_matched() {
        let mut report: Report =
            serde_json::from_str(include_str!("../../tests/before/report.json")).unwrap();
        for link in &mut report.links {
            link.dropped.clear();
        }
        for actor in &mut report.actors {
            actor.lost_by_reason.clear();
            actor.state = ActorState::Finished;
        }
        assert_eq!(line(&report), None);
        report.matching[0].matches = 0;
        let said = line(&report).unwrap();
        let none = ": `fusion` matched none of 73 framesets (missing 29, unsettled 44)";
        assert!(said.ends_with(none), "{said}");
        // As after a change that replaced it.
        let earlier = report.matching[0].clone();
        report.matching.push(earlier);
        let said = line(&report).unwrap();
        assert!(
            said.ends_with(": `fusion` matched none of 146 framesets (missing 58, unsettled 88)"),
            "{said}"
        );
        report.matching[1].matches = 340;
        assert_eq!(line(&report), None);
        report.matching.pop();
        report.matching[0].cameras.clear();
        assert_eq!(line(&report), None);
    }
}
