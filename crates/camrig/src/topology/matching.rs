//! The key `match`: the cameras whose framesets are matched, and the rules.
//!
//! A processor matches *cameras*, directly or through other processors: those that its inputs are, and those whose framesets
//! its inputs pass on. So the cameras are known when all links are.

use std::collections::BTreeSet;

use camrig_frame::Clock;
use camrig_ipc::{MAX_MATCH_CAMERAS, Overflow};

use super::draft::{Draft, MatchDraft};
use super::problem::{Problems, did_you_mean, quote, there_are};
use super::section::Section;
use super::{LinkSpec, MATCH_QUEUE_DEFAULT, MATCH_WINDOW_MILLIS_MAX, QUEUE_MAX, Role};
use crate::driver::RelayedCamera;
use crate::ids::ActorId;
use crate::matching::{MatchClock, MatchSpec, MatchedCamera, clock_of_all};

pub(super) const KEYS: &[&str] = &["window_millis", "wait", "missing", "clock", "queue"];

/// The names of the clocks.
const CLOCKS: &[(&str, MatchClock)] = &[
    ("hardware", MatchClock::Hardware),
    ("global", MatchClock::Global),
    ("system", MatchClock::System),
    ("estimated", MatchClock::Estimated),
];

/// Whether a match may lack cameras that it waits for.
const MISSING: &[(&str, bool)] = &[("drop", false), ("partial", true)];

/// Reads `match`, which has to be there for a `kind` that takes matches.
pub(super) fn draft_matching(processor: &mut Section<'_, '_>, kind: Option<&str>) -> Option<MatchDraft> {
    if let Some(kind) = kind.filter(|_| !processor.table.contains_key("match")) {
        let label = format!("kind {} takes matches: add `match = {{ window_millis = 10 }}`", quote(kind));
        processor.missing("match", &label);
    }
    let mut section = processor.table("match", "a table, as in `{ window_millis = 10 }`")?;
    let range = 1..=MATCH_WINDOW_MILLIS_MAX;
    if !section.table.contains_key("window_millis") {
        section.missing("window_millis", "how far apart the framesets of one instant can be");
    }
    let draft = MatchDraft {
        span: section.span.clone(),
        window_millis: section.number("window_millis", range).unwrap_or(1),
        wait: section.names("wait", "names of cameras"),
        partial: section.one_of("missing", MISSING).unwrap_or_default(),
        clock: section.one_of("clock", CLOCKS),
        queue: section.number("queue", 1..=QUEUE_MAX).unwrap_or(MATCH_QUEUE_DEFAULT),
    };
    section.finish(KEYS);
    Some(draft)
}

/// Returns the matching of each actor, when the cameras that reach it are known.
pub(super) fn specify(
    drafts: &[Draft],
    links: &[LinkSpec],
    problems: &mut Problems,
) -> Vec<Option<MatchSpec>> {
    let actors = drafts.iter().enumerate();
    actors.map(|(index, draft)| specify_one(ActorId::new(index), draft, drafts, links, problems)).collect()
}

/// Enlarges queues for complete matches. The framesets of a match are published together: unless the file sets `queue`, all of
/// them can wait at each reader's input, and one more frameset.
pub(super) fn make_room_for_matches(
    drafts: &[Draft],
    matchings: &[Option<MatchSpec>],
    links: &mut [LinkSpec],
) {
    for link in links.iter_mut().filter(|link| drafts[link.to.index()].queue.is_none()) {
        if let Some(matching) = &matchings[link.from.index()] {
            link.queue = link.queue.max(matching.cameras.len() + 1).min(QUEUE_MAX);
        }
    }
}

fn specify_one(
    actor: ActorId,
    draft: &Draft,
    drafts: &[Draft],
    links: &[LinkSpec],
    problems: &mut Problems,
) -> Option<MatchSpec> {
    let matching = draft.matching.as_ref()?;
    let processor = format!("processor {}", quote(&draft.name));
    let mut cameras: Vec<MatchedCamera> = Vec::new();
    let mut clocks = Vec::new();
    for link in links.iter().filter(|link| link.to == actor) {
        let input = &drafts[link.from.index()].name;
        let is_camera = |id: ActorId| matches!(drafts[id.index()].role, Role::Camera { .. });
        let behind = cameras_behind(link.from, links, is_camera);
        for RelayedCamera { name, clock } in behind.into_iter().flat_map(|id| relayed(&drafts[id.index()])) {
            if let Some(other) = cameras.iter().find(|camera| camera.name == name) {
                let title = format!(
                    "camera {} reaches {processor} by {} and by {}",
                    quote(&name),
                    quote(&other.input),
                    quote(input)
                );
                problems.add(matching.span.clone(), title, "a match has one frameset of each camera");
            } else {
                clocks.push((name.clone(), clock));
                cameras.push(MatchedCamera { name, input: input.clone(), awaited: true, required: false });
            }
        }
    }
    if cameras.len() > MAX_MATCH_CAMERAS {
        let title = format!("{} cameras reach {processor}", cameras.len());
        problems.add(matching.span.clone(), title, format!("a match has at most {MAX_MATCH_CAMERAS}"));
    }
    if let Some(wait) = &matching.wait {
        let names = || cameras.iter().map(|camera| camera.name.as_str());
        for camera in wait.iter().filter(|camera| !names().any(|name| name == camera.get_ref())) {
            let title = format!("{processor} waits for unknown camera {}", quote(camera.get_ref()));
            problems.add(camera.span(), title, did_you_mean(camera.get_ref(), names()));
        }
        if wait.is_empty() {
            problems.add(
                matching.span.clone(),
                format!("{processor} waits for no camera"),
                there_are(names()),
            );
        }
        for camera in &mut cameras {
            camera.awaited = wait.iter().any(|waited| *waited.get_ref() == camera.name);
        }
    }
    // Cameras that the file names are in every match, and so is each camera where none may be missing.
    let all_required = !matching.partial || matching.wait.is_some();
    for camera in &mut cameras {
        camera.required = camera.awaited && all_required;
    }
    Some(MatchSpec {
        window_nanos: matching.window_millis as u64 * 1_000_000,
        partial: matching.partial,
        clock: clock_of(matching, &processor, &clocks, problems),
        queue: matching.queue,
        blocks: draft.overflow == Overflow::Block,
        cameras,
    })
}

/// Returns the clock that a match compares. One that the file names has to be that of every camera whose clock is known.
/// Otherwise cameras that all have the host's clock are compared by it, and others by estimates.
fn clock_of(
    matching: &MatchDraft,
    processor: &str,
    clocks: &[(String, Option<Clock>)],
    problems: &mut Problems,
) -> MatchClock {
    let known = || clocks.iter().filter_map(|(name, clock)| Some((name, (*clock)?)));
    let Some(declared) = matching.clock else {
        return match clocks.first() {
            Some((_, Some(Clock::System)))
                if clocks.iter().all(|(_, clock)| *clock == Some(Clock::System)) =>
            {
                MatchClock::System
            }
            _ if known().all(|(_, clock)| clock == Clock::Global) => MatchClock::Global,
            _ => MatchClock::Estimated,
        };
    };
    let Some(clock) = clock_of_all(declared) else { return declared };
    let others = known().filter(|&(_, other)| other != clock);
    let others: Vec<_> = others.map(|(name, other)| format!("{} uses `{other}`", quote(name))).collect();
    if !others.is_empty() {
        let title = format!("{processor} compares `{clock}` clocks, but {}", others.join(", "));
        let label = "set the clock that all of them have, or `clock = \"estimated\"`, or no clock";
        problems.add(matching.span.clone(), title, label);
    }
    declared
}

/// Returns the cameras whose framesets a camera publishes: itself, or those of another host that it passes on.
fn relayed(camera: &Draft) -> Vec<RelayedCamera> {
    let options = camera.options.camera.as_ref();
    let relayed = options.and_then(|options| options.relayed()).filter(|relayed| !relayed.is_empty());
    relayed.unwrap_or_else(|| {
        vec![RelayedCamera { name: camera.name.clone(), clock: options.and_then(|options| options.clock()) }]
    })
}

/// Returns the cameras whose framesets an actor may publish: itself, or those that it reads, in the order of its inputs.
pub(super) fn cameras_behind(
    actor: ActorId,
    links: &[LinkSpec],
    is_camera: impl Fn(ActorId) -> bool,
) -> Vec<ActorId> {
    let (mut cameras, mut seen, mut left) = (Vec::new(), BTreeSet::new(), vec![actor]);
    while let Some(actor) = left.pop() {
        if !seen.insert(actor) {
            continue;
        }
        if is_camera(actor) {
            cameras.push(actor);
        } else {
            left.extend(links.iter().filter(|link| link.to == actor).rev().map(|link| link.from));
        }
    }
    cameras
}
