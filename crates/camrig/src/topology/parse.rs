//! From the text of a topology to a [`Topology`], or to everything that is wrong with it.
//!
//! Two steps: what each actor's table says by itself becomes a [`Draft`]; then the drafts are linked and
//! placed. Where a value is refused a default stands in for it, so that the rest can still be checked: a
//! topology is made only when there was no problem at all.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use camrig_ipc::{MAX_SLOTS, Overflow};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::problem::{Problems, Source, did_you_mean, quote, there_are};
use super::{
    ACTORS_MAX, ActorId, ActorSpec, INPUTS_MAX, LINKS_INTO_PROCESS_MAX, LinkSpec, MAIN, NAME_BYTES_MAX,
    Placement, QUEUE_DEFAULT, QUEUE_MAX, Role, SLOTS_MIN, Span, Topology,
};
use crate::registry::{OptionsError, Registry};

const FILE_KEYS: &[&str] = &["placement", "camera", "processor"];
const CAMERA_KEYS: &[&str] = &["driver", "process", "slots", "options"];
const PROCESSOR_KEYS: &[&str] = &["kind", "process", "inputs", "overflow", "queue", "slots", "options"];

const PLACEMENTS: &[(&str, Placement)] =
    &[("multi-process", Placement::MultiProcess), ("in-process", Placement::InProcess)];

const OVERFLOWS: &[(&str, Overflow)] = &[
    ("drop-oldest", Overflow::DropOldest),
    ("drop-newest", Overflow::DropNewest),
    ("block", Overflow::Block),
];

pub(super) fn parse(
    source: Arc<Source>,
    placement: Option<Placement>,
    registry: &Registry,
) -> Result<Topology, Problems> {
    let mut problems = Problems::new(Arc::clone(&source));
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        problems.add(error.span().unwrap_or_default(), one_line(error.message()), "");
    }
    // With broken syntax whatever else would be found is a guess at what the writer meant.
    let mut problems = problems.none_yet()?;
    let (drafts, file_placement) = draft_all(document.into_inner(), registry, &mut problems);
    if let Some(draft) = drafts.get(ACTORS_MAX) {
        let title = format!("topology has {} actors", drafts.len());
        problems.add(draft.span.clone(), title, format!("it can have at most {ACTORS_MAX}"));
        // How so many are linked is not worth the time that it takes to check.
        problems = problems.none_yet()?;
    }
    check_claims(&drafts, &mut problems);
    let links = link(&drafts, &mut problems);
    let (processes, homes) = place(&drafts, placement.unwrap_or(file_placement), placement.is_some());
    check_inboxes(&drafts, &links, &processes, &homes, &mut problems);
    problems.none_yet()?;

    let slots_needed: Vec<_> = (0..drafts.len()).map(|index| slots_needed(ActorId(index), &links)).collect();
    let actors =
        drafts.into_iter().zip(homes).zip(slots_needed).map(|((draft, process), slots_needed)| ActorSpec {
            name: draft.name,
            role: draft.role,
            process,
            slots: draft.slots.unwrap_or(slots_needed),
            options: draft.options.text,
            options_span: draft.options.span,
        });
    Ok(Topology { actors: actors.collect(), source, links, processes })
}

/// What the table of one actor says by itself.
struct Draft {
    name: String,
    /// Where it is named.
    span: Span,
    role: Role,
    process: Option<String>,
    slots: Option<usize>,
    inputs: Vec<Spanned<String>>,
    overflow: Overflow,
    queue: usize,
    options: Options,
}

/// Options that were checked, or that nobody was there to check.
struct Options {
    text: String,
    /// Where they are named, or else where their actor is.
    span: Span,
    /// The device that they claim.
    claim: Option<String>,
}

/// The actors in the order of the file, and its placement.
fn draft_all(document: DeTable<'_>, registry: &Registry, problems: &mut Problems) -> (Vec<Draft>, Placement) {
    let mut file = Section { subject: None, span: 0..0, table: document, problems };
    let placement = file.one_of("placement", PLACEMENTS).unwrap_or(Placement::MultiProcess);
    let cameras = file.named_tables("camera");
    let processors = file.named_tables("processor");
    file.finish(FILE_KEYS);
    // A misspelt `[camera.NAME]` was just reported as such.
    if cameras.is_empty() && problems.is_empty() {
        problems.add_file("has no cameras; it needs at least one `[camera.NAME]`");
    }

    let mut drafts: Vec<Draft> = Vec::new();
    for (name, span, table) in cameras {
        let subject = Some(format!("camera {}", quote(&name)));
        drafts.push(draft_camera(name, Section { subject, span, table, problems }, registry));
    }
    for (name, span, table) in processors {
        if let Some(camera) = drafts.iter().find(|draft| draft.name == name) {
            // The later of the two is where the writer has to look.
            let later = if camera.span.start < span.start { &span } else { &camera.span };
            let title = format!("a camera and a processor are both called {}", quote(&name));
            problems.add(later.clone(), title, "actors need names of their own");
        }
        let subject = Some(format!("processor {}", quote(&name)));
        drafts.push(draft_processor(name, Section { subject, span, table, problems }, registry));
    }
    drafts.sort_by_key(|draft| draft.span.start);
    (drafts, placement)
}

fn draft_camera(name: String, mut section: Section<'_, '_>, registry: &Registry) -> Draft {
    let drivers = || registry.drivers().map(|(name, _)| name);
    let driver = section.required("driver", || there_are(drivers()));
    let entry = driver.as_ref().and_then(|driver| registry.driver(driver.get_ref()));
    if let (Some(driver), None) = (&driver, entry) {
        let written = driver.get_ref();
        if let Some(reason) = registry.absent_driver(written) {
            let title = format!("driver {} is not in this build: {reason}", quote(written));
            section.problems.add(driver.span(), title, there_are(drivers()));
        } else {
            // What other builds have is no choice here, but may well be what was meant.
            let known = drivers().chain(registry.absent_drivers().map(|(name, _)| name));
            section.unknown(driver, "driver", known);
        }
    }
    let driver = driver.map(Spanned::into_inner).unwrap_or_default();
    let options = section.options(&format!("driver {}", quote(&driver)), |options| match entry {
        Some(entry) => entry.check(options),
        None => Ok(None),
    });
    let draft = Draft {
        name,
        span: section.span.clone(),
        role: Role::Camera { driver },
        process: section.process(),
        slots: section.number("slots", SLOTS_MIN..=MAX_SLOTS),
        inputs: Vec::new(),
        overflow: Overflow::default(),
        queue: QUEUE_DEFAULT,
        options,
    };
    section.finish(CAMERA_KEYS);
    draft
}

fn draft_processor(name: String, mut section: Section<'_, '_>, registry: &Registry) -> Draft {
    let kinds = || registry.kinds().map(|(name, _)| name);
    let kind = section.required("kind", || there_are(kinds()));
    let entry = kind.as_ref().and_then(|kind| registry.kind(kind.get_ref()));
    if let (Some(kind), None) = (&kind, entry) {
        section.unknown(kind, "kind", kinds());
    }
    let kind = kind.map(Spanned::into_inner).unwrap_or_default();
    let options = section.options(&format!("kind {}", quote(&kind)), |options| match entry {
        Some(entry) => entry.check(options).map(|()| None),
        None => Ok(None),
    });
    let draft = Draft {
        name,
        span: section.span.clone(),
        role: Role::Processor { kind },
        process: section.process(),
        slots: section.number("slots", SLOTS_MIN..=MAX_SLOTS),
        inputs: section.inputs(),
        overflow: section.one_of("overflow", OVERFLOWS).unwrap_or_default(),
        queue: section.number("queue", 1..=QUEUE_MAX).unwrap_or(QUEUE_DEFAULT),
        options,
    };
    section.finish(PROCESSOR_KEYS);
    draft
}

/// A table of the file, from which each key is taken once: what is left in the end is unknown.
struct Section<'p, 'i> {
    /// ``camera `left` ``; none for the file itself.
    subject: Option<String>,
    /// Where it is named.
    span: Span,
    table: DeTable<'i>,
    problems: &'p mut Problems,
}

impl<'i> Section<'_, 'i> {
    /// ``key `slots` of camera `left` ``
    fn describe(&self, key: &str) -> String {
        match &self.subject {
            Some(subject) => format!("{} of {subject}", quote(key)),
            None => quote(key),
        }
    }

    /// The value of `key`, if `read` finds it to be `wanted`.
    fn take<T>(
        &mut self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(DeValue<'i>) -> Result<T, DeValue<'i>>,
    ) -> Option<Spanned<T>> {
        let value = self.table.remove(key)?;
        let span = value.span();
        match read(value.into_inner()) {
            Ok(value) => Some(Spanned::new(span, value)),
            Err(value) => {
                let title = format!("{} is {}", self.describe(key), type_of(&value));
                self.problems.add(span, title, format!("it has to be {wanted}"));
                None
            }
        }
    }

    fn string(&mut self, key: &str) -> Option<Spanned<String>> {
        self.take(key, "a string", into_string)
    }

    /// A string that must be there; `label` says what it could be.
    fn required(&mut self, key: &str, label: impl FnOnce() -> String) -> Option<Spanned<String>> {
        if !self.table.contains_key(key) {
            self.missing(key, label());
        }
        self.string(key)
    }

    fn missing(&mut self, key: &str, label: String) {
        let title = format!("{} has no {}", self.subject.as_deref().unwrap_or("topology"), quote(key));
        self.problems.add(self.span.clone(), title, label);
    }

    /// What was `written` is not the name of any `what`.
    fn unknown<'a>(
        &mut self,
        written: &Spanned<String>,
        what: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        let name = written.get_ref();
        let title = match &self.subject {
            Some(subject) => format!("{subject} has unknown {what} {}", quote(name)),
            None => format!("unknown {what} {}", quote(name)),
        };
        self.problems.add(written.span(), title, did_you_mean(name, known));
    }

    fn one_of<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let written = self.string(key)?;
        let found = choices.iter().find(|(name, _)| name == written.get_ref());
        if found.is_none() {
            self.unknown(&written, key, choices.iter().map(|(name, _)| *name));
        }
        found.map(|(_, choice)| *choice)
    }

    fn number(&mut self, key: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let wanted = format!("{} to {}", range.start(), range.end());
        let written = self.take(key, &format!("an integer, {wanted}"), |value| match value {
            DeValue::Integer(integer) => Ok(integer),
            value => Err(value),
        })?;
        let integer = written.get_ref();
        // A number too large for its type is out of range, too.
        let number = usize::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let title = format!("{} is out of range", self.describe(key));
            self.problems.add(written.span(), title, format!("it has to be {wanted}"));
        }
        number
    }

    fn process(&mut self) -> Option<String> {
        let process = self.string("process")?;
        check_name("process", process.get_ref(), process.span(), self.problems);
        Some(process.into_inner())
    }

    /// The names of the inputs; whether they exist shows when all actors are known.
    fn inputs(&mut self) -> Vec<Spanned<String>> {
        const WANTED: &str = "an array of names of actors";
        if !self.table.contains_key("inputs") {
            self.missing("inputs", format!("it needs {WANTED}"));
        }
        let array = self.take("inputs", WANTED, |value| match value {
            DeValue::Array(array) => Ok(array),
            value => Err(value),
        });
        let Some(array) = array else { return Vec::new() };
        let subject = self.subject.clone().unwrap_or_default();
        if array.get_ref().is_empty() {
            self.problems.add(array.span(), format!("{subject} has no inputs"), format!("it needs {WANTED}"));
        }
        if let Some(input) = array.get_ref().get(INPUTS_MAX) {
            let title = format!("{subject} has {} inputs", array.get_ref().len());
            self.problems.add(input.span(), title, format!("it can have at most {INPUTS_MAX}"));
        }
        let mut inputs: Vec<Spanned<String>> = Vec::new();
        for input in array.get_ref().iter().take(INPUTS_MAX).cloned() {
            let span = input.span();
            match into_string(input.into_inner()) {
                Err(value) => {
                    let title = format!("an input of {subject} is {}", type_of(&value));
                    self.problems.add(span, title, "it has to be the name of an actor");
                }
                Ok(name) if inputs.iter().any(|input| *input.get_ref() == name) => {
                    self.problems.add(span, format!("{subject} reads {} twice", quote(&name)), "");
                }
                Ok(name) => inputs.push(Spanned::new(span, name)),
            }
        }
        inputs
    }

    /// The options, as `check` finds them; `taker` is who takes them, such as ``driver `realsense` ``.
    fn options(
        &mut self,
        taker: &str,
        check: impl FnOnce(ValueDeserializer<'i>) -> Result<Option<String>, OptionsError>,
    ) -> Options {
        let (span, value) = match self.table.remove_entry("options") {
            Some((key, value)) => (key.span(), value),
            None => (self.span.clone(), Spanned::new(self.span.clone(), DeValue::Table(DeTable::new()))),
        };
        if !value.get_ref().is_table() {
            let title = format!("{} is {}", self.describe("options"), type_of(value.get_ref()));
            self.problems.add(value.span(), title, "it has to be a table");
            return Options { text: String::new(), span, claim: None };
        }
        let checked = check(ValueDeserializer::from(value.clone())).and_then(|claim| {
            let table =
                toml::Table::deserialize(ValueDeserializer::from(value)).map_err(OptionsError::Type)?;
            Ok((claim, table.to_string()))
        });
        match checked {
            Ok((claim, text)) => Options { text, span, claim },
            Err(error) => {
                self.refused_options(taker, &span, &error);
                Options { text: String::new(), span, claim: None }
            }
        }
    }

    /// Says in our words what serde or the driver says of options.
    fn refused_options(&mut self, taker: &str, span: &Span, error: &OptionsError) {
        let subject = self.subject.as_deref().unwrap_or_default();
        let error = match error {
            OptionsError::Value(error) => {
                return self.problems.add(span.clone(), format!("{subject}: {error}"), "");
            }
            OptionsError::Type(error) => error,
        };
        let message = one_line(error.message());
        let (title, label) = match SerdeMessage::parse(&message) {
            SerdeMessage::UnknownField { name, known } if known.is_empty() => {
                (format!("unknown option {} of {subject}", quote(name)), format!("{taker} takes no options"))
            }
            SerdeMessage::UnknownField { name, known } => {
                (format!("unknown option {} of {subject}", quote(name)), did_you_mean(name, known))
            }
            SerdeMessage::UnknownVariant { name, known } => {
                (format!("{subject} has unknown value {}", quote(name)), did_you_mean(name, known))
            }
            SerdeMessage::MissingField { name } => {
                (format!("{subject} has no option {}", quote(name)), format!("{taker} needs it"))
            }
            SerdeMessage::Other => (format!("{subject}: {message}"), String::new()),
        };
        self.problems.add(error.span().unwrap_or_else(|| span.clone()), title, label);
    }

    /// The tables below `[role]`: their names, where these are, and their keys.
    fn named_tables(&mut self, role: &str) -> Vec<(String, Span, DeTable<'i>)> {
        let wanted = format!("a table for each {role}, as in `[{role}.NAME]`");
        let Some(tables) = self.take(role, &wanted, into_table) else { return Vec::new() };
        let mut named = Vec::new();
        for (name, value) in tables.into_inner() {
            let (span, name) = (name.span(), name.into_inner().into_owned());
            check_name(role, &name, span.clone(), self.problems);
            if name == MAIN {
                let title = format!("a {role} is called {}", quote(MAIN));
                self.problems.add(span.clone(), title, "this is the supervisor's own process");
            }
            let value_span = value.span();
            match into_table(value.into_inner()) {
                Ok(table) => named.push((name, span, table)),
                Err(value) => {
                    let title = format!("{role} {} is {}", quote(&name), type_of(&value));
                    self.problems.add(value_span, title, "it has to be a table");
                }
            }
        }
        named
    }

    /// Reports every key that nobody has taken; `keys` are all that there are.
    fn finish(mut self, keys: &[&str]) {
        for (key, _) in std::mem::take(&mut self.table) {
            let title = match &self.subject {
                Some(subject) => format!("unknown key {} of {subject}", quote(key.get_ref())),
                None => format!("unknown key {}", quote(key.get_ref())),
            };
            self.problems.add(key.span(), title, did_you_mean(key.get_ref(), keys.iter().copied()));
        }
    }
}

/// What serde's own errors say, as far as their wording is known.
enum SerdeMessage<'a> {
    UnknownField { name: &'a str, known: Vec<&'a str> },
    UnknownVariant { name: &'a str, known: Vec<&'a str> },
    MissingField { name: &'a str },
    Other,
}

impl<'a> SerdeMessage<'a> {
    fn parse(message: &'a str) -> Self {
        let named = |start: &str| message.strip_prefix(start)?.split_once('`');
        // Names stand between backticks, whatever words join them.
        let choices = |rest: &'a str| rest.split('`').skip(1).step_by(2).collect();
        if let Some((name, rest)) = named("unknown field `") {
            Self::UnknownField { name, known: choices(rest) }
        } else if let Some((name, rest)) = named("unknown variant `") {
            Self::UnknownVariant { name, known: choices(rest) }
        } else if let Some((name, _)) = named("missing field `") {
            Self::MissingField { name }
        } else {
            Self::Other
        }
    }
}

/// Two cameras cannot have the same device.
fn check_claims(drafts: &[Draft], problems: &mut Problems) {
    let mut claims = BTreeMap::new();
    for draft in drafts {
        let Some(claim) = &draft.options.claim else { continue };
        if let Some(first) = claims.insert(claim, &draft.name) {
            let title = format!("cameras {} and {} both claim {claim}", quote(first), quote(&draft.name));
            problems.add(draft.options.span.clone(), title, "");
            claims.insert(claim, first);
        }
    }
}

/// The links that the inputs ask for, reader by reader.
fn link(drafts: &[Draft], problems: &mut Problems) -> Vec<LinkSpec> {
    let mut ids = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        ids.entry(draft.name.as_str()).or_insert(ActorId(index));
    }
    let mut links = Vec::new();
    // Where each link is asked for.
    let mut spans = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        for input in &draft.inputs {
            let name = input.get_ref().as_str();
            if name == draft.name {
                problems.add(input.span(), format!("processor {} reads itself", quote(name)), "");
            } else if let Some(&from) = ids.get(name) {
                let (overflow, queue) = (draft.overflow, draft.queue);
                links.push(LinkSpec { from, to: ActorId(index), overflow, queue });
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

/// No processor may wait for itself, however many stand between.
fn check_circles(drafts: &[Draft], links: &[LinkSpec], spans: &[Span], problems: &mut Problems) {
    let mut reported = vec![false; drafts.len()];
    for start in 0..drafts.len() {
        if reported[start] {
            continue;
        }
        let Some(circle) = shortest_circle(ActorId(start), drafts.len(), links) else { continue };
        let mut names: Vec<_> = circle.iter().map(|&link| quote(&drafts[links[link].from.0].name)).collect();
        names.push(names[0].clone());
        let title = format!("processors {} read each other in a circle", names.join(" -> "));
        let closing = circle[circle.len() - 1];
        let label = format!("{} reads {} here", names[0], names[names.len() - 2]);
        problems.add(spans[closing].clone(), title, label);
        circle.iter().for_each(|&link| reported[links[link].from.0] = true);
    }
}

/// The links, each by its place in `links`, along which framesets would come back to `start` soonest.
fn shortest_circle(start: ActorId, actor_count: usize, links: &[LinkSpec]) -> Option<Vec<usize>> {
    // The link by which each actor was first reached.
    let mut reached_by: Vec<Option<usize>> = vec![None; actor_count];
    let mut waiting = VecDeque::from([start]);
    while let Some(actor) = waiting.pop_front() {
        for (index, link) in links.iter().enumerate().filter(|(_, link)| link.from == actor) {
            if reached_by[link.to.0].is_none() {
                reached_by[link.to.0] = Some(index);
                waiting.push_back(link.to);
            }
        }
    }
    let mut circle = vec![reached_by[start.0]?];
    while links[circle[circle.len() - 1]].from != start {
        circle.push(reached_by[links[circle[circle.len() - 1]].from.0]?);
    }
    circle.reverse();
    Some(circle)
}

/// The names of the processes, and for each actor the place of its own among them.
fn place(drafts: &[Draft], placement: Placement, overrides: bool) -> (Vec<String>, Vec<usize>) {
    let mut processes = vec![MAIN.to_owned()];
    let homes = drafts.iter().map(|draft| {
        let name = match (placement, &draft.process) {
            (_, Some(process)) if !overrides => process,
            (Placement::InProcess, _) => return 0,
            (Placement::MultiProcess, _) => &draft.name,
        };
        processes.iter().position(|process| process == name).unwrap_or_else(|| {
            processes.push(name.clone());
            processes.len() - 1
        })
    });
    let homes = homes.collect();
    (processes, homes)
}

/// A process has one inbox for the bells of all its links from other processes.
fn check_inboxes(
    drafts: &[Draft],
    links: &[LinkSpec],
    processes: &[String],
    homes: &[usize],
    problems: &mut Problems,
) {
    for (process, name) in processes.iter().enumerate() {
        let into = |link: &&LinkSpec| homes[link.to.0] == process && homes[link.from.0] != process;
        let mut arriving = links.iter().filter(into);
        let count = arriving.clone().count();
        if let Some(link) = arriving.nth(LINKS_INTO_PROCESS_MAX) {
            let title = format!("process {} reads {count} actors of other processes", quote(name));
            let label = format!("it can read at most {LINKS_INTO_PROCESS_MAX}: move some to another process");
            problems.add(drafts[link.to.0].span.clone(), title, label);
        }
    }
}

/// Slots enough that no reader starves another: whatever its readers can hold at once, one to write into and
/// one that was just written.
fn slots_needed(actor: ActorId, links: &[LinkSpec]) -> usize {
    let held: usize = links.iter().filter(|link| link.from == actor).map(|link| link.queue + 1).sum();
    (held + 2).min(MAX_SLOTS)
}

fn check_name(what: &str, name: &str, span: Span, problems: &mut Problems) {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if !(first && rest && name.len() <= NAME_BYTES_MAX) {
        let label = format!("1 to {NAME_BYTES_MAX} of a-z A-Z 0-9 _ -, and first a letter or digit");
        problems.add(span, format!("{} cannot be the name of a {what}", quote(name)), label);
    }
}

fn into_string(value: DeValue<'_>) -> Result<String, DeValue<'_>> {
    match value {
        DeValue::String(text) => Ok(text.into_owned()),
        value => Err(value),
    }
}

fn into_table(value: DeValue<'_>) -> Result<DeTable<'_>, DeValue<'_>> {
    match value {
        DeValue::Table(table) => Ok(table),
        value => Err(value),
    }
}

/// The type of a value with its article.
fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a datetime",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A message of another crate, on one line.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
