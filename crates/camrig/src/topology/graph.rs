//! Relations between actors: links, cycles, processes, device claims.
//!
//! This module has no knowledge of the file's tables: it operates on [`Draft`]s, which refer to the file only by spans.

use std::collections::{BTreeMap, VecDeque};

use camrig_ipc::MAX_SLOTS;

use super::draft::Draft;
use super::problem::{Problems, did_you_mean, quote};
use super::processes;
use super::{LINKS_INTO_PROCESS_MAX, LinkSpec, MAIN, Placement, QUEUE_DEFAULT, Role, Span};
use crate::ids::{ActorId, ProcessId};
use crate::registry::Registry;

/// Checks that no two cameras use the same device, or write the same file.
pub(super) fn check_claims(drafts: &[Draft], problems: &mut Problems) {
    let mut claims = BTreeMap::new();
    for draft in drafts {
        for claim in draft.options.camera.iter().flat_map(|options| options.claims()) {
            let first = *claims.entry((draft.host_name(), claim.clone())).or_insert(&draft.name);
            if *first != draft.name {
                let title = format!("cameras {} and {} both claim {claim}", quote(first), quote(&draft.name));
                problems.add(draft.options.span.clone(), title, "");
            }
        }
    }
}

/// Creates the links for all inputs, reader by reader.
pub(super) fn link(drafts: &[Draft], problems: &mut Problems) -> Vec<LinkSpec> {
    let mut ids = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        ids.entry(draft.name.as_str()).or_insert(ActorId::new(index));
    }
    let mut links = Vec::new();
    // Location in the file of each link's input.
    let mut spans = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        for input in &draft.inputs {
            let name = input.get_ref().as_str();
            if name == draft.name {
                problems.add(input.span(), format!("processor {} reads itself", quote(name)), "");
            } else if let Some(&from) = ids.get(name) {
                let (overflow, queue) = (draft.overflow, draft.queue.unwrap_or(QUEUE_DEFAULT));
                let held = draft.matching.as_ref().map_or(0, |matching| matching.queue) + draft.keeps;
                links.push(LinkSpec { from, to: ActorId::new(index), overflow, queue, held });
                spans.push(input.span());
            } else {
                let title = format!("processor {} reads unknown actor {}", quote(&draft.name), quote(name));
                let others =
                    drafts.iter().map(|other| other.name.as_str()).filter(|other| *other != draft.name);
                problems.add(input.span(), title, did_you_mean(name, others));
            }
        }
    }
    check_circles(drafts, &links, &spans, problems);
    links
}

/// Checks that no processor depends on its own output, directly or indirectly.
fn check_circles(drafts: &[Draft], links: &[LinkSpec], spans: &[Span], problems: &mut Problems) {
    let mut reported = vec![false; drafts.len()];
    for start in 0..drafts.len() {
        if reported[start] {
            continue;
        }
        let Some(circle) = shortest_circle(ActorId::new(start), drafts.len(), links) else { continue };
        let mut names: Vec<_> =
            circle.iter().map(|&link| quote(&drafts[links[link].from.index()].name)).collect();
        names.push(names[0].clone());
        let title = format!("processors {} read each other in a circle", names.join(" -> "));
        let closing = circle[circle.len() - 1];
        let label = format!("{} reads {} here", names[0], names[names.len() - 2]);
        problems.add(spans[closing].clone(), title, label);
        for &link in &circle {
            reported[links[link].from.index()] = true;
        }
    }
}

/// Returns the shortest cycle of links, as indices into `links`, that leads back to `start`.
fn shortest_circle(start: ActorId, actor_count: usize, links: &[LinkSpec]) -> Option<Vec<usize>> {
    // The link by which each actor was first reached.
    let mut reached_by: Vec<Option<usize>> = vec![None; actor_count];
    let mut waiting = VecDeque::from([start]);
    while let Some(actor) = waiting.pop_front() {
        for (index, link) in links.iter().enumerate().filter(|(_, link)| link.from == actor) {
            if reached_by[link.to.index()].is_none() {
                reached_by[link.to.index()] = Some(index);
                waiting.push_back(link.to);
            }
        }
    }
    let mut circle = vec![reached_by[start.index()]?];
    while links[circle[circle.len() - 1]].from != start {
        circle.push(reached_by[links[circle[circle.len() - 1]].from.index()]?);
    }
    circle.reverse();
    Some(circle)
}

/// Checks the actors that share a thread: cameras, which block the thread while they capture, and processors that are called
/// after one has captured.
pub(super) fn check_threads(
    drafts: &[Draft],
    links: &[LinkSpec],
    processes: &[String],
    process_of: &[ProcessId],
    registry: &Registry,
    problems: &mut Problems,
) {
    const RULE: &str = "a thread has cameras, and processors that read nothing from elsewhere";
    let mut threads: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (actor, draft) in drafts.iter().enumerate() {
        draft.thread.iter().for_each(|thread| threads.entry(thread).or_default().push(actor));
    }
    for (thread, actors) in threads {
        let thread = quote(thread);
        let place = |actor: &usize| drafts[*actor].span.clone();
        if actors.iter().all(|&actor| !matches!(drafts[actor].role, Role::Camera { .. })) {
            problems.add(place(&actors[0]), format!("thread {thread} has no camera"), RULE);
            continue;
        }
        let process = |actor: usize| quote(&processes[process_of[actor].index()]);
        if let Some(other) = actors.iter().find(|&&actor| process_of[actor] != process_of[actors[0]]) {
            let title = format!(
                "actors of thread {thread} are in processes {} and {}",
                process(actors[0]),
                process(*other)
            );
            problems.add(place(other), title, "give them the same `process`, or none");
        }
        let host = |actor: usize| drafts[actor].host.as_ref().map(toml::Spanned::get_ref);
        if let Some(other) = actors.iter().find(|&&actor| host(actor) != host(actors[0])) {
            let title = format!("actors of thread {thread} are on different hosts");
            problems.add(place(other), title, "give them the same `host`, or none");
        }
        let is_elsewhere =
            |link: &&LinkSpec| actors.contains(&link.to.index()) && !actors.contains(&link.from.index());
        for link in links.iter().filter(is_elsewhere) {
            let [from, to] = [link.from, link.to].map(|actor| quote(&drafts[actor.index()].name));
            let title = format!("processor {to} on thread {thread} reads {from}, which is not on it");
            problems.add(place(&link.to.index()), title, RULE);
        }
        let kind = |actor: usize| match &drafts[actor].role {
            Role::Processor { kind } => registry.kind(kind).map(|entry| (kind, entry)),
            Role::Camera { .. } => None,
        };
        let kinds = actors.iter().filter_map(|&actor| Some((actor, kind(actor)?)));
        for (actor, (kind, _)) in kinds.filter(|(_, (_, entry))| !entry.shares_thread()) {
            let title = format!("processor {} cannot be on thread {thread}", quote(&drafts[actor].name));
            let label = format!("kind {} waits, and the camera would wait as well", quote(kind));
            problems.add(place(&actor), title, label);
        }
    }
}

/// Returns the names of the processes, and for each actor the index of its own.
pub(super) fn place(
    drafts: &[Draft],
    registry: &Registry,
    placement: Placement,
    overrides: bool,
) -> (Vec<String>, Vec<ProcessId>) {
    let mut processes = vec![MAIN.to_owned()];
    let process_of = drafts.iter().map(|draft| {
        let name = match (placement, &draft.process) {
            (_, Some(process)) if !overrides => process,
            // Another program cannot run in this process.
            (Placement::InProcess, _) if processes::own_command(draft, registry).is_some() => &draft.name,
            (Placement::InProcess, _) => return ProcessId::MAIN,
            (Placement::MultiProcess, _) => draft.thread.as_ref().unwrap_or(&draft.name),
        };
        ProcessId::new(processes.iter().position(|process| process == name).unwrap_or_else(|| {
            processes.push(name.clone());
            processes.len() - 1
        }))
    });
    let process_of = process_of.collect();
    (processes, process_of)
}

/// Checks the number of links into a process, which has one listener for the notifiers of all of them.
pub(super) fn check_listeners(
    drafts: &[Draft],
    links: &[LinkSpec],
    processes: &[String],
    process_of: &[ProcessId],
    problems: &mut Problems,
) {
    for (index, name) in processes.iter().enumerate() {
        let process = ProcessId::new(index);
        let into = |link: &&LinkSpec| {
            process_of[link.to.index()] == process && process_of[link.from.index()] != process
        };
        let mut arriving = links.iter().filter(into);
        let count = arriving.clone().count();
        if let Some(link) = arriving.nth(LINKS_INTO_PROCESS_MAX) {
            let title = format!("process {} reads {count} actors of other processes", quote(name));
            let label = format!("it can read at most {LINKS_INTO_PROCESS_MAX}: move some to another process");
            problems.add(drafts[link.to.index()].span.clone(), title, label);
        }
    }
}

/// Returns the slots that each actor needs, so that no reader starves another: as many as its readers can hold at the same
/// time, one to write into and one that was just written. The links must not form a cycle.
pub(super) fn slots_needed(process_of: &[ProcessId], links: &[LinkSpec]) -> Vec<usize> {
    let mut passed_on = vec![None; process_of.len()];
    let held = |actor: usize, passed_on: &mut Vec<Option<usize>>| -> usize {
        let readers = links.iter().filter(|link| link.from.index() == actor);
        readers.map(|link| held_by(link, process_of, links, passed_on)).sum()
    };
    (0..process_of.len()).map(|actor| (held(actor, &mut passed_on) + 2).min(MAX_SLOTS)).collect()
}

/// Returns the maximum number of framesets that a link and its reader hold at the same time.
fn held_by(
    link: &LinkSpec,
    process_of: &[ProcessId],
    links: &[LinkSpec],
    passed_on: &mut Vec<Option<usize>>,
) -> usize {
    link.queue + link.held + 1 + held_behind(link.to.index(), process_of, links, passed_on)
}

/// Returns the framesets of one input that the readers of `actor` hold when it passes them on, which copies nothing as long as
/// all of them are in its process: the input's share of the framesets that they can hold at the same time.
fn held_behind(
    actor: usize,
    process_of: &[ProcessId],
    links: &[LinkSpec],
    passed_on: &mut Vec<Option<usize>>,
) -> usize {
    if let Some(known) = passed_on[actor] {
        return known;
    }
    let readers = || links.iter().filter(|link| link.from.index() == actor);
    let copies = readers().any(|link| process_of[link.to.index()] != process_of[actor]);
    let inputs = links.iter().filter(|link| link.to.index() == actor).count();
    let held =
        if copies { 0 } else { readers().map(|link| held_by(link, process_of, links, passed_on)).sum() };
    let share = held.div_ceil(inputs.max(1));
    passed_on[actor] = Some(share);
    share
}
