//! The difference of two topologies: the changes that a rig with the first needs to run the second.
//!
//! Actors are compared by name. Values that are derived from others, such as the default number of slots, are not a difference:
//! a camera that gets another reader does not change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::Value;

use super::problem::quote;
use super::{MAIN, Role, Topology};
use crate::ids::{ActorId, ProcessId};

/// Name of options whose values are never shown: changes appear in logs, reports, statuses and recordings.
const SECRET: &str = "token";

/// The difference of two topologies. Actors of the first are named by their IDs there, others by those in the second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diff {
    /// Actors of the first topology that the second does not have.
    pub(crate) removed: Vec<ActorId>,
    /// Actors that restart as the second topology describes them.
    pub(crate) changed: Vec<(ActorId, ActorId)>,
    /// Actors that the first topology does not have.
    pub(crate) added: Vec<ActorId>,
    /// Actors that continue, some of them with other options.
    pub(crate) unchanged: Vec<(ActorId, ActorId)>,
    /// The changes in the order in which they are carried out.
    pub(crate) changes: Vec<Change>,
}

/// One change of a rig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A camera continues, and its device gets other options.
    Set { actor: String, facts: Vec<String> },
    /// An actor ends.
    Remove { actor: String },
    /// An actor restarts, for these reasons.
    Replace { actor: String, facts: Vec<String> },
    /// An actor begins in this process.
    Add { actor: String, process: String },
    /// A process starts.
    StartProcess(String),
    /// A process ends.
    EndProcess(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { actor, facts } => write!(f, "set {actor}: {}", facts.join(", ")),
            Self::Remove { actor } => write!(f, "remove {actor}"),
            Self::Replace { actor, facts } => write!(f, "restart {actor}: {}", facts.join(", ")),
            Self::Add { actor, process } => write!(f, "add {actor} in process {}", quote(process)),
            Self::StartProcess(process) => write!(f, "start process {}", quote(process)),
            Self::EndProcess(process) => write!(f, "end process {}", quote(process)),
        }
    }
}

/// An option that differs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OptionChange {
    /// Its path in the table `options`, such as `set.exposure`.
    pub(crate) key: String,
    pub(crate) was: Option<Value>,
    pub(crate) is: Option<Value>,
}

impl fmt::Display for OptionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option {}", quote(&self.key))?;
        if self.key.rsplit('.').next() == Some(SECRET) {
            return Ok(());
        }
        write!(f, " {} -> {}", value(self.was.as_ref()), value(self.is.as_ref()))
    }
}

impl Change {
    /// Returns whether an actor begins or ends.
    pub(crate) fn interrupts(&self) -> bool {
        !matches!(self, Self::Set { .. })
    }
}

impl Diff {
    /// Compares two topologies. Actors whose names are in `restarts` restart in any case. Cameras whose names are in `sets`
    /// continue with other options, if nothing else differs.
    ///
    /// # Errors
    /// If a running rig cannot change in this way.
    pub(crate) fn of(
        old: &Topology,
        new: &Topology,
        restarts: &[String],
        sets: &[String],
    ) -> Result<Self, String> {
        if old.metrics != new.metrics {
            return Err("`metrics` cannot change while the rig runs".to_owned());
        }
        if let Some(name) = restarts.iter().find(|name| new.find(name).is_none()) {
            return Err(format!("the rig has no actor {}", quote(name)));
        }
        let mut diff = Self::default();
        let may_be_set = |name: &String| sets.contains(name) && !restarts.contains(name);
        for id in ids(new).filter(|&id| may_be_set(&new.actor(id).name)) {
            let changed = old.find(&new.actor(id).name).and_then(|before| only_options(old, before, new, id));
            if let Some(options) = changed.filter(|options| !options.is_empty()) {
                let facts = options.iter().map(ToString::to_string).collect();
                diff.changes.push(Change::Set { actor: describe(new, id), facts });
            }
        }
        for id in ids(old).filter(|&id| new.find(&old.actor(id).name).is_none()) {
            diff.removed.push(id);
            diff.changes.push(Change::Remove { actor: describe(old, id) });
        }
        let facts_of = |before: ActorId, id: ActorId| {
            let name = &new.actor(id).name;
            let is_set = may_be_set(name) && only_options(old, before, new, id).is_some();
            let mut facts = if is_set { Vec::new() } else { facts(old, before, new, id) };
            if facts.is_empty() && restarts.contains(name) {
                facts.push("as requested".to_owned());
            }
            facts
        };
        let goes_on = |id: ActorId| Some((old.find(&new.actor(id).name)?, id));
        let threads: BTreeSet<_> = ids(new)
            .filter_map(goes_on)
            .filter(|&(before, id)| !facts_of(before, id).is_empty())
            .flat_map(|(before, id)| [&old.actor(before).thread, &new.actor(id).thread])
            .flatten()
            .collect();
        let (mut replaced, mut added) = (Vec::new(), Vec::new());
        for id in ids(new) {
            let Some((before, _)) = goes_on(id) else {
                let process = new.process(new.actor(id).process).to_owned();
                added.push(Change::Add { actor: describe(new, id), process });
                diff.added.push(id);
                continue;
            };
            let mut facts = facts_of(before, id);
            // On a shared thread, a camera that waits for the successor of a reader would prevent the end of that reader.
            if facts.is_empty() && new.actor(id).thread.as_ref().is_some_and(|own| threads.contains(own)) {
                facts.push("its thread restarts".to_owned());
            }
            if facts.is_empty() {
                diff.unchanged.push((before, id));
            } else {
                replaced.push(Change::Replace { actor: describe(new, id), facts });
                diff.changed.push((before, id));
            }
        }
        let (before, after) = (used(old), used(new));
        let started = after.iter().filter(|process| !before.contains(process));
        diff.changes.extend(started.map(|process| Change::StartProcess((*process).to_owned())));
        diff.changes.extend(replaced);
        diff.changes.extend(added);
        let ended = before.iter().filter(|process| !after.contains(process));
        diff.changes.extend(ended.map(|process| Change::EndProcess((*process).to_owned())));
        Ok(diff)
    }
}

/// Returns the options by which a camera differs; `None` if anything else differs, or it is not a camera.
pub(crate) fn only_options(
    old: &Topology,
    before: ActorId,
    new: &Topology,
    after: ActorId,
) -> Option<Vec<OptionChange>> {
    let is_camera = matches!(new.actor(after).role, Role::Camera { .. });
    let differs = !is_camera || !keys(old, before, new, after).is_empty();
    (!differs).then(|| options(old.actor(before).options(), new.actor(after).options()))
}

fn ids(topology: &Topology) -> impl Iterator<Item = ActorId> + use<> {
    (0..topology.actors().len()).map(ActorId::new)
}

/// Returns the processes beside the supervisor's own that host actors.
fn used(topology: &Topology) -> Vec<&str> {
    let processes = (1..topology.processes().len()).map(ProcessId::new);
    let used = processes.filter(|&process| topology.actors_of(process).next().is_some());
    used.map(|process| topology.process(process)).filter(|process| *process != MAIN).collect()
}

/// Returns the role and the name of an actor.
fn describe(topology: &Topology, id: ActorId) -> String {
    let spec = topology.actor(id);
    format!("{} {}", spec.role.name(), quote(&spec.name))
}

/// Returns how an actor differs, in short phrases.
fn facts(old: &Topology, before: ActorId, new: &Topology, after: ActorId) -> Vec<String> {
    let options = options(old.actor(before).options(), new.actor(after).options());
    let mut facts = keys(old, before, new, after);
    // After the changes of the actor itself.
    let place = facts.iter().take_while(|fact| fact.contains(' ')).count();
    facts.splice(place..place, options.iter().map(ToString::to_string));
    facts
}

/// Returns how an actor differs beside its options, in short phrases.
fn keys(old: &Topology, before: ActorId, new: &Topology, after: ActorId) -> Vec<String> {
    let (was, is) = (old.actor(before), new.actor(after));
    let mut facts = Vec::new();
    if was.role != is.role {
        let name = |role: &Role| match role {
            Role::Camera { driver: name } | Role::Processor { kind: name } => quote(name),
        };
        facts.push(format!(
            "{} {} -> {} {}",
            was.role.name(),
            name(&was.role),
            is.role.name(),
            name(&is.role)
        ));
    }
    let (was_in, is_in) = (old.process(was.process), new.process(is.process));
    if was_in != is_in {
        facts.push(format!("process {} -> {}", quote(was_in), quote(is_in)));
    } else if old.command(was.process) != new.command(is.process) {
        facts.push("command of its process".to_owned());
    } else if old.scheduling(was.process) != new.scheduling(is.process) {
        facts.push("scheduling of its process".to_owned());
    }
    if was.thread != is.thread {
        facts.push("thread".to_owned());
    }
    let inputs = |topology: &Topology, id| -> Vec<String> {
        let links = topology.links().iter().filter(|link| link.to == id);
        links.map(|link| topology.actor(link.from).name.clone()).collect()
    };
    if inputs(old, before) != inputs(new, after) {
        facts.push("inputs".to_owned());
    }
    let queues = |topology: &Topology, id| -> Vec<_> {
        let links = topology.links().iter().filter(move |link| link.to == id);
        links.map(|link| (link.overflow, link.queue)).collect()
    };
    let (had, has) = (queues(old, before), queues(new, after));
    let differs = |key: &str, differs: bool, facts: &mut Vec<String>| {
        if differs {
            facts.push(key.to_owned());
        }
    };
    let overflow = |links: &[(camrig_ipc::Overflow, usize)]| links.first().map(|link| link.0);
    let queue = |links: &[(camrig_ipc::Overflow, usize)]| links.first().map(|link| link.1);
    differs("overflow", overflow(&had) != overflow(&has), &mut facts);
    differs("queue", queue(&had) != queue(&has), &mut facts);
    differs("calibration", old.calibrated(before) != new.calibrated(after), &mut facts);
    differs("match", was.matching != is.matching, &mut facts);
    differs("slots", was.given_slots != is.given_slots, &mut facts);
    differs("restart", was.restart != is.restart, &mut facts);
    differs("stall_timeout_millis", was.stall_timeout != is.stall_timeout, &mut facts);
    differs("start_timeout_millis", was.start_timeout != is.start_timeout, &mut facts);
    facts
}

/// Returns the options that differ, each with both values.
fn options(old: &str, new: &str) -> Vec<OptionChange> {
    let parse = |text: &str| {
        let mut values = BTreeMap::new();
        flatten("", &text.parse().unwrap_or_default(), &mut values);
        values
    };
    let (mut old, mut new) = (parse(old), parse(new));
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
    let changes = keys.into_iter().map(|key| {
        let (was, is) = (old.remove(&key), new.remove(&key));
        OptionChange { key, was, is }
    });
    changes.filter(|change| change.was != change.is).collect()
}

/// Adds the values of a table and of the tables in it, by their paths.
fn flatten(path: &str, table: &toml::Table, values: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Table(inner) => flatten(&path, inner, values),
            value => drop(values.insert(path, value.clone())),
        }
    }
}

/// Returns a value as a file has it; `unset` without one.
fn value(value: Option<&Value>) -> String {
    value.map_or_else(|| "unset".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    const OLD: &str = "\
        [camera.left]\ndriver = 'synthetic'\noptions = { seed = 1 }\n\
        [camera.right]\ndriver = 'synthetic'\n\
        [processor.rates]\nkind = 'stats'\nprocess = 'vision'\ninputs = ['left', 'right']\n\
        [processor.check]\nkind = 'verify'\nprocess = 'vision'\ninputs = ['left']\n";

    fn parse(text: &str) -> Topology {
        Topology::parse("t.toml", text, None, &Registry::new()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn changes(new: &str) -> Vec<String> {
        let diff = Diff::of(&parse(OLD), &parse(new), &[], &[]).unwrap();
        diff.changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn equal_topologies_do_not_differ() {
        // Neither comments, nor the order, nor a default that is written out are a difference.
        let new = format!("# the lab\n{}", OLD.replace("['left']\n", "['left']\nqueue = 2\n"));
        let diff = Diff::of(&parse(OLD), &parse(&new), &[], &[]).unwrap();
        assert_eq!((diff.changes.len(), diff.unchanged.len()), (0, 4));
    }

    #[test]
    fn another_reader_does_not_change_its_camera() {
        let more = "[processor.more]\nkind = 'stats'\ninputs = ['left']\nqueue = 9\n";
        let new = format!("{OLD}{more}");
        assert_eq!(changes(&new), ["start process `more`", "add processor `more` in process `more`"]);
        assert!(parse(&new).actors()[0].slots > parse(OLD).actors()[0].slots);
    }

    #[test]
    fn each_difference_is_named() {
        let new = OLD
            .replace("seed = 1", "seed = 2, model = 'd435'")
            .replace(
                "inputs = ['left', 'right']",
                "inputs = ['left']\noverflow = 'block'\nqueue = 3\nslots = 9",
            )
            .replace("'verify'\nprocess = 'vision'", "'stats'\nprocess = 'eye'\nrestart = { max = 0 }");
        assert_eq!(
            changes(&new),
            [
                "start process `eye`",
                "restart camera `left`: option `model` unset -> \"d435\", option `seed` 1 -> 2",
                "restart processor `rates`: inputs, overflow, queue, slots",
                "restart processor `check`: processor `verify` -> processor `stats`, process `vision` -> `eye`, \
                 restart",
            ]
        );
        // A page finds the processors that began by these lines.
        let new = format!("{OLD}queue = 3\n[processor.more]\nkind = 'stats'\ninputs = ['left']\n");
        let changes = camrig_status::ChangeReport { changes: changes(&new), ..Default::default() };
        let begins = ["rates", "check", "more"].map(|name| changes.begins(name));
        assert_eq!(begins, [false, true, true], "{:?}", changes.changes);
    }

    #[test]
    fn actors_of_one_thread_restart_together() {
        let text = "[camera.left]\ndriver = 'synthetic'\nthread = 'eye'\n\
                    [processor.near]\nkind = 'verify'\nthread = 'eye'\ninputs = ['left']\n\
                    [processor.far]\nkind = 'verify'\ninputs = ['left']\n";
        let (old, eye) = (parse(text), "process `eye`");
        let changes = |new: &str, restarts: &[&str]| {
            let restarts: Vec<_> = restarts.iter().map(|&name| name.to_owned()).collect();
            let diff = Diff::of(&old, &parse(new), &restarts, &[]).unwrap();
            diff.changes.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let [left, near] = ["camera `left`", "processor `near`"].map(|actor| format!("restart {actor}: "));
        let both = [format!("{left}its thread restarts"), format!("{near}as requested")];
        assert_eq!(changes(text, &["near"]), both);
        let both = [format!("{left}as requested"), format!("{near}its thread restarts")];
        assert_eq!(changes(text, &["left"]), both);
        assert_eq!(changes(text, &["far"]), ["restart processor `far`: as requested"]);
        let apart = text.replace("kind = 'verify'\nthread = 'eye'", "kind = 'verify'");
        let gone = format!("{near}process `eye` -> `near`, thread");
        assert_eq!(
            changes(&apart, &[]),
            ["start process `near`", &format!("{left}its thread restarts"), &gone]
        );
        let more = format!("{text}[processor.more]\nkind = 'stats'\nthread = 'eye'\ninputs = ['left']\n");
        assert_eq!(changes(&more, &[]), [format!("add processor `more` in {eye}")]);
    }

    #[test]
    fn a_token_is_not_shown() {
        let change = OptionChange { key: SECRET.to_owned(), was: None, is: Some("a-secret".into()) };
        assert_eq!(change.to_string(), "option `token`");
        let inner = OptionChange { key: "server.token".to_owned(), ..change };
        assert_eq!(inner.to_string(), "option `server.token`");
    }

    #[test]
    fn removed_actors_end_first_and_empty_processes_last() {
        let (start, _) = OLD.split_once("[camera.right]").unwrap();
        let new = format!("{start}[processor.more]\nkind = 'stats'\nprocess = 'left'\ninputs = ['left']\n");
        assert_eq!(
            changes(&new),
            [
                "remove camera `right`",
                "remove processor `rates`",
                "remove processor `check`",
                "add processor `more` in process `left`",
                "end process `right`",
                "end process `vision`",
            ]
        );
    }

    #[test]
    fn actors_restart_on_request() {
        let (old, left) = (parse(OLD), ["left".to_owned()]);
        let diff = Diff::of(&old, &old, &left, &[]).unwrap();
        let changes: Vec<_> = diff.changes.iter().map(ToString::to_string).collect();
        assert_eq!(changes, ["restart camera `left`: as requested"]);
        assert_eq!(diff.changed, [(ActorId(0), ActorId(0))]);
        let error = Diff::of(&old, &old, &["top".to_owned()], &[]).unwrap_err();
        assert_eq!(error, "the rig has no actor `top`");
    }

    #[test]
    fn a_camera_whose_device_is_set_continues() {
        let sets = ["left".to_owned(), "right".to_owned()];
        let set = |from: &str, to: &str| {
            let diff = Diff::of(&parse(OLD), &parse(&OLD.replace(from, to)), &[], &sets).unwrap();
            let changes: Vec<_> = diff.changes.iter().map(ToString::to_string).collect();
            (changes, diff.unchanged.len())
        };
        let line = "set camera `left`: option `exposure` unset -> 4000, option `seed` 1 -> 2".to_owned();
        assert_eq!(set("seed = 1", "seed = 2, exposure = 4000"), (vec![line], 4));
        let (changes, goes_on) = set("seed = 1", "seed = 2, exposure = 4000 }\nslots = 9 #");
        assert_eq!((changes.len(), goes_on), (1, 3), "{changes:?}");
        assert!(changes[0].starts_with("restart camera `left`: option `exposure`"), "{changes:?}");
    }

    #[test]
    fn another_command_or_scheduling_of_a_process_is_a_change_of_its_actors() {
        for (before, after, facts) in [
            ("command = ['a']", "command = ['b']", "command of its process"),
            ("nice = 1", "nice = 2", "scheduling of its process"),
        ] {
            let with = |table: &str| format!("{OLD}[process.vision]\n{table}\n");
            let diff = Diff::of(&parse(&with(before)), &parse(&with(after)), &[], &[]).unwrap();
            let changes: Vec<_> = diff.changes.iter().map(ToString::to_string).collect();
            assert_eq!(
                changes,
                [
                    format!("restart processor `rates`: {facts}"),
                    format!("restart processor `check`: {facts}")
                ]
            );
        }
    }
}
