//! Converts the text of a topology to a [`Topology`], or to a list of all its problems.
//!
//! There are two steps: each actor's table is converted to a [`Draft`]; then the drafts are linked and placed. An
//! invalid value is replaced by a default, so that the rest can still be checked: a topology is only created if there
//! were no problems.

use std::sync::Arc;
use std::time::Duration;

use camrig_ipc::{MAX_SLOTS, Overflow};
use camrig_usb::{Budgets, MEGABITS_MAX};
use toml::Spanned;
use toml::de::DeTable;

use super::calibration::Calibration;
use super::draft::Draft;
use super::graph::{check_claims, check_listeners, check_threads, link, place, slots_needed};
use super::hosts::{HostDraft, check_hosts, draft_hosts, take_host, take_wire};
use super::matching::{draft_matching, make_room_for_matches, specify};
use super::metrics::metrics;
use super::probe::{Probe, probe_commands, probe_options, probe_schedulings};
use super::problem::{Problems, TopologyText, quote, there_are};
use super::processes::{ProcessDraft, add_own_commands, check_used, commands, draft_processes, schedulings};
use super::section::Section;
use super::streams::declared_streams;
use super::syntax;
use super::watch::{self, CheckWatch};
use super::{
    ACTORS_MAX, ActorSpec, BACKOFF_MAX_MILLIS_DEFAULT, BACKOFF_MILLIS_DEFAULT, CAMERA_STALL_MILLIS_DEFAULT,
    DEVICE_TIMEOUT_MILLIS_DEFAULT, PROCESSOR_STALL_MILLIS_DEFAULT, Placement, Probed, QUEUE_MAX,
    RESTARTS_DEFAULT, RESTARTS_MAX, RestartPolicy, Role, SLOTS_MIN, START_MILLIS_DEFAULT, TIME_MILLIS_MAX,
    Topology, WINDOW_SECONDS_DEFAULT,
};
use crate::ids::ProcessId;
use crate::late::StartTime;
use crate::metrics::MetricsSpec;
use crate::registry::Registry;

pub(super) const FILE_KEYS: &[&str] =
    &["placement", "calibration", "usb", "metrics", "host", "process", "camera", "processor"];
pub(super) const USB_KEYS: &[&str] = &["cautious_megabits", "optimistic_megabits"];
pub(super) const CAMERA_KEYS: &[&str] = &[
    "driver",
    "host",
    "process",
    "thread",
    "slots",
    "restart",
    "start_timeout_millis",
    "stall_timeout_millis",
    "device_timeout_millis",
    "options",
];
pub(super) const PROCESSOR_KEYS: &[&str] = &[
    "kind",
    "host",
    "process",
    "thread",
    "inputs",
    "wire",
    "overflow",
    "queue",
    "match",
    "slots",
    "restart",
    "start_timeout_millis",
    "stall_timeout_millis",
    "options",
];
pub(super) const RESTART_KEYS: &[&str] = &["max", "window", "backoff_millis", "backoff_max_millis"];

pub(super) const PLACEMENTS: &[(&str, Placement)] =
    &[("multi-process", Placement::MultiProcess), ("in-process", Placement::InProcess)];

pub(super) const OVERFLOWS: &[(&str, Overflow)] = &[
    ("drop-oldest", Overflow::DropOldest),
    ("drop-newest", Overflow::DropNewest),
    ("block", Overflow::Block),
];

pub(super) fn parse(
    source: Arc<TopologyText>,
    placement: Option<Placement>,
    registry: &Registry,
    time: StartTime,
    probe: Option<Probe>,
) -> Result<Topology, Problems> {
    let registry = registry.clone();
    watch::run(move |watch| parse_watched(source, placement, &registry, Checks { watch, time }, probe))
}

/// The bounds of the calls that check options.
#[derive(Clone, Copy)]
struct Checks<'a> {
    watch: &'a CheckWatch,
    time: StartTime,
}

fn parse_watched(
    source: Arc<TopologyText>,
    placement: Option<Placement>,
    registry: &Registry,
    checks: Checks<'_>,
    probe: Option<Probe>,
) -> Result<Topology, Problems> {
    let mut problems = Problems::new(Arc::clone(&source));
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    syntax::report(&errors, &source.text, &mut problems);
    // After a syntax error, all further problems would be guesses.
    let mut problems = problems.none_yet()?;
    let drafts = draft_all(document.into_inner(), registry, checks, &mut problems);
    let Drafts { calibration, usb, metrics, hosts, processes: process_drafts, .. } = drafts;
    let (drafts, file_placement) = (drafts.actors, drafts.placement);
    if let Some(draft) = drafts.get(ACTORS_MAX) {
        let title = format!("topology has {} actors", drafts.len());
        problems.add(draft.span.clone(), title, format!("it can have at most {ACTORS_MAX}"));
        // With too many actors, checking the links would take too long.
        problems = problems.none_yet()?;
    }
    check_claims(&drafts, &mut problems);
    check_hosts(&hosts, &drafts, &process_drafts, &mut problems);
    let mut links = link(&drafts, &mut problems);
    // Another placement does not make a valid file invalid.
    let (file_processes, file_process_of) = place(&drafts, registry, file_placement, false);
    check_used(&process_drafts, &file_processes, &mut problems);
    check_threads(&drafts, &links, &file_processes, &file_process_of, registry, &mut problems);
    let (processes, process_of) =
        place(&drafts, registry, placement.unwrap_or(file_placement), placement.is_some());
    check_listeners(&drafts, &links, &processes, &process_of, &mut problems);
    let matchings = specify(&drafts, &links, &mut problems);
    make_room_for_matches(&drafts, &matchings, &mut links);
    let streams = declared_streams(&drafts, &links, registry, &mut problems);
    let mut commands = commands(&process_drafts);
    let schedulings = schedulings(process_drafts);
    add_own_commands(&drafts, registry, &processes, &process_of, &mut commands, &mut problems);
    let (mut probed, mut refused) = (Probed::new(), Vec::new());
    if let Some(probe) = probe {
        // The agents of other hosts look for their own files and devices.
        for draft in drafts.iter().filter(|draft| draft.host.is_none()) {
            let how = (probe, checks.time.bound(draft.start_timeout));
            let Draft { name, role, options, .. } = draft;
            if !probe_options(name, role, options, registry, how, &mut probed, &mut problems) {
                refused.push(options.span.clone());
            }
        }
        let here: Vec<_> = here(&drafts, &processes, &process_of);
        probe_commands(&here, &commands, &refused, &mut problems);
        probe_schedulings(&here, &schedulings, &mut problems);
        if let Some(calibration) = &calibration {
            calibration.probe(&probed, &mut problems);
        }
    }
    problems.none_yet()?;

    let slots_needed = slots_needed(&process_of, &links);
    let placed = drafts.into_iter().zip(process_of).zip(slots_needed).zip(matchings).zip(streams);
    let actors = placed.map(|((((draft, process), slots_needed), matching), streams)| ActorSpec {
        name: draft.name,
        role: draft.role,
        host: draft.host.map(Spanned::into_inner),
        process,
        thread: draft.thread,
        slots: draft.slots.unwrap_or(slots_needed),
        given_slots: draft.slots,
        matching,
        restart: draft.restart,
        stall_timeout: draft.stall_timeout,
        start_timeout: draft.start_timeout,
        streams,
        options: draft.options,
    });
    let actors = actors.collect();
    Ok(Topology {
        source,
        actors,
        links,
        processes,
        commands,
        schedulings,
        calibration,
        usb,
        metrics,
        hosts: hosts.into_iter().map(HostDraft::into_spec).collect(),
        probed,
        placement,
    })
}

/// Content of the file.
struct Drafts {
    /// In file order.
    actors: Vec<Draft>,
    placement: Placement,
    calibration: Option<Calibration>,
    usb: Budgets,
    metrics: Option<MetricsSpec>,
    hosts: Vec<HostDraft>,
    processes: Vec<ProcessDraft>,
}

fn draft_all(
    document: DeTable<'_>,
    registry: &Registry,
    checks: Checks<'_>,
    problems: &mut Problems,
) -> Drafts {
    let mut file = Section { subject: None, span: 0..0, table: document, problems };
    let placement = file.one_of("placement", PLACEMENTS).unwrap_or(Placement::MultiProcess);
    let calibration = Calibration::of(&mut file);
    let usb = usb_budgets(&mut file);
    let metrics = metrics(&mut file);
    let hosts = file.named_tables("host");
    let processes = file.named_tables("process");
    let cameras = file.named_tables("camera");
    let processors = file.named_tables("processor");
    file.finish(FILE_KEYS);
    // A misspelled `[camera.NAME]` has already been reported.
    if cameras.is_empty() && problems.is_empty() {
        problems.add_file("has no cameras; it needs at least one `[camera.NAME]`");
    }

    let hosts = draft_hosts(hosts, registry, problems);
    let processes = draft_processes(processes, problems);
    let mut drafts: Vec<Draft> = Vec::new();
    for (name, span, table) in cameras {
        let subject = Some(format!("camera {}", quote(&name)));
        drafts.push(draft_camera(name, Section { subject, span, table, problems }, registry, checks));
    }
    for (name, span, table) in processors {
        if let Some(camera) = drafts.iter().find(|draft| draft.name == name) {
            // Report the later one, where the writer has to look.
            let later = if camera.span.start < span.start { &span } else { &camera.span };
            let title = format!("a camera and a processor are both called {}", quote(&name));
            problems.add(later.clone(), title, "actors need names of their own");
        }
        let subject = Some(format!("processor {}", quote(&name)));
        let section = Section { subject, span, table, problems };
        let has_own_program = |process: &str| processes.iter().any(|own| own.is_run_by_command(process));
        drafts.push(draft_processor(name, section, registry, checks, has_own_program));
    }
    drafts.sort_by_key(|draft| draft.span.start);
    Drafts { actors: drafts, placement, calibration, usb, metrics, hosts, processes }
}

/// Returns the names of the processes that have an actor on the host where the rig is started.
fn here(drafts: &[Draft], processes: &[String], process_of: &[ProcessId]) -> Vec<String> {
    let has = |process: usize| {
        drafts.iter().zip(process_of).any(|(draft, of)| of.index() == process && draft.host.is_none())
    };
    let named = processes.iter().enumerate();
    named.filter(|(index, _)| has(*index)).map(|(_, name)| name.clone()).collect()
}

fn usb_budgets(file: &mut Section<'_, '_>) -> Budgets {
    let mut budgets = Budgets::default();
    let Some(mut usb) = file.table("usb", "a table, as in `usb = { cautious_megabits = 1200 }`") else {
        return budgets;
    };
    for (key, megabits) in
        [(USB_KEYS[0], &mut budgets.cautious_megabits), (USB_KEYS[1], &mut budgets.optimistic_megabits)]
    {
        if let Some(given) = usb.number(key, 1..=MEGABITS_MAX) {
            *megabits = given as u32;
        }
    }
    usb.finish(USB_KEYS);
    budgets
}

fn draft_camera(
    name: String,
    mut section: Section<'_, '_>,
    registry: &Registry,
    checks: Checks<'_>,
) -> Draft {
    let device_timeout = section.number("device_timeout_millis", 0..=TIME_MILLIS_MAX);
    let device_timeout = millis(device_timeout.unwrap_or(DEVICE_TIMEOUT_MILLIS_DEFAULT));
    let host = take_host(&mut section);
    let drivers = || registry.drivers().map(|(name, _)| name);
    let driver = section.required("driver", || there_are(drivers()));
    let entry = driver.as_ref().and_then(|driver| registry.driver(driver.get_ref()));
    // An agent checks a driver that only its program has.
    if let (Some(driver), None, None) = (&driver, entry, &host) {
        section.unknown(driver, "driver", drivers());
    }
    let driver = driver.map(Spanned::into_inner).unwrap_or_default();
    let start_timeout = timeout(&mut section, "start_timeout_millis", START_MILLIS_DEFAULT);
    let watched = (checks.watch, checks.time.bound(start_timeout));
    let options = section.options(&format!("driver {}", quote(&driver)), watched, |options| match entry {
        Some(entry) => entry.check(options).map(Some),
        None => Ok(None),
    });
    let draft = Draft {
        name,
        span: section.span.clone(),
        role: Role::Camera { driver },
        process: section.name("process"),
        host,
        thread: section.name("thread"),
        slots: section.number("slots", SLOTS_MIN..=MAX_SLOTS),
        restart: RestartPolicy { device_timeout, ..restart_policy(&mut section) },
        stall_timeout: timeout(&mut section, "stall_timeout_millis", CAMERA_STALL_MILLIS_DEFAULT),
        start_timeout,
        inputs: Vec::new(),
        wire: Vec::new(),
        overflow: Overflow::default(),
        queue: None,
        matching: None,
        keeps: 0,
        options,
    };
    section.finish(CAMERA_KEYS);
    draft
}

fn draft_processor(
    name: String,
    mut section: Section<'_, '_>,
    registry: &Registry,
    checks: Checks<'_>,
    has_own_program: impl Fn(&str) -> bool,
) -> Draft {
    let process = section.name("process");
    let host = take_host(&mut section);
    let wire = take_wire(&mut section);
    let kinds = || registry.kinds().map(|(name, _)| name);
    let kind = section.required("kind", || there_are(kinds()));
    let entry = kind.as_ref().and_then(|kind| registry.kind(kind.get_ref()));
    if let (Some(kind), None, None) = (&kind, entry, &host)
        && !has_own_program(process.as_deref().unwrap_or(&name))
    {
        section.unknown(kind, "kind", kinds());
    }
    let kind = kind.map(Spanned::into_inner).unwrap_or_default();
    let start_timeout = timeout(&mut section, "start_timeout_millis", START_MILLIS_DEFAULT);
    let watched = (checks.watch, checks.time.bound(start_timeout));
    let options = section.options(&format!("kind {}", quote(&kind)), watched, |options| match entry {
        Some(entry) => entry.check(options).map(|()| None),
        None => Ok(None),
    });
    let takes_matches = entry.is_some_and(|entry| entry.takes_matches());
    let draft = Draft {
        name,
        span: section.span.clone(),
        matching: draft_matching(&mut section, takes_matches.then_some(kind.as_str())),
        keeps: entry.map_or(0, |entry| entry.keeps()),
        role: Role::Processor { kind },
        process,
        host,
        wire,
        thread: section.name("thread"),
        slots: section.number("slots", SLOTS_MIN..=MAX_SLOTS),
        restart: restart_policy(&mut section),
        stall_timeout: timeout(&mut section, "stall_timeout_millis", PROCESSOR_STALL_MILLIS_DEFAULT),
        start_timeout,
        inputs: section.inputs(),
        overflow: section.one_of("overflow", OVERFLOWS).unwrap_or_default(),
        queue: section.number("queue", 1..=QUEUE_MAX),
        options,
    };
    section.finish(PROCESSOR_KEYS);
    draft
}

/// Returns the actor's restart policy.
fn restart_policy(section: &mut Section<'_, '_>) -> RestartPolicy {
    let mut policy = RestartPolicy {
        max: RESTARTS_DEFAULT,
        window: Duration::from_secs(WINDOW_SECONDS_DEFAULT as u64),
        backoff: millis(BACKOFF_MILLIS_DEFAULT),
        backoff_max: millis(BACKOFF_MAX_MILLIS_DEFAULT),
        device_timeout: Duration::ZERO,
    };
    let Some(mut restart) = section.table("restart", "a table, as in `restart = { max = 5, window = 60 }`")
    else {
        return policy;
    };
    let given = |number: Option<usize>, default: usize| number.unwrap_or(default);
    policy.max = given(restart.number("max", 0..=RESTARTS_MAX), RESTARTS_DEFAULT);
    let seconds = given(restart.number("window", 1..=TIME_MILLIS_MAX / 1_000), WINDOW_SECONDS_DEFAULT);
    policy.window = Duration::from_secs(seconds as u64);
    let backoff = given(restart.number("backoff_millis", 1..=TIME_MILLIS_MAX), BACKOFF_MILLIS_DEFAULT);
    policy.backoff = millis(backoff);
    // If only the maximum pause is given, it takes precedence.
    let longest = restart.number("backoff_max_millis", 1..=TIME_MILLIS_MAX);
    policy.backoff_max = millis(given(longest, BACKOFF_MAX_MILLIS_DEFAULT).max(backoff));
    restart.finish(RESTART_KEYS);
    policy
}

/// Returns `None` for 0: there is no time limit.
fn timeout(section: &mut Section<'_, '_>, key: &'static str, default: usize) -> Option<Duration> {
    let given = section.number(key, 0..=TIME_MILLIS_MAX).unwrap_or(default);
    (given > 0).then(|| millis(given))
}

fn millis(millis: usize) -> Duration {
    Duration::from_millis(millis as u64)
}
