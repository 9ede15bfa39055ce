//! Topologies built in code.
//!
//! A built topology is written as a file would hold it, and read by the same parser: so the same rules hold, and problems
//! look the same.

use camrig_ipc::Overflow;
use toml::{Table, Value};

use super::parse::OVERFLOWS;

/// A topology that is built in code.
///
/// ```
/// use camrig::{ActorTable, Registry, Rig, TopologyBuilder};
///
/// let topology = TopologyBuilder::new("two cameras")
///     .set("placement", "in-process")
///     .actor(ActorTable::camera("left", "synthetic").option("model", "d435"))
///     .actor(ActorTable::camera("right", "synthetic"))
///     .actor(ActorTable::processor("rates", "stats").inputs(["left", "right"]).set("queue", 4));
/// let rig = Rig::build(&topology, &Registry::new()).map_err(|problems| problems.to_string())?;
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct TopologyBuilder {
    name: String,
    keys: Table,
    actors: Vec<ActorTable>,
}

/// A camera or a processor of a topology, as its table in a file.
#[derive(Clone, Debug)]
pub struct ActorTable {
    name: String,
    role: &'static str,
    keys: Table,
}

impl TopologyBuilder {
    /// Creates a topology without actors. Messages and reports call it `name`.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), keys: Table::new(), actors: Vec::new() }
    }

    /// Sets a key of the whole topology: `placement`, `metrics` or `usb`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    /// Sets the command that runs a process: a program and its arguments. Without one, this executable runs it. The
    /// program serves as a worker, with [`Registry::serve_worker`](crate::Registry::serve_worker), and has the drivers
    /// and kinds of the process's actors. Without a `/`, it is looked up in `PATH`.
    #[must_use]
    pub fn process_command<'a>(mut self, process: &str, command: impl IntoIterator<Item = &'a str>) -> Self {
        let command = command.into_iter().map(Value::from).collect::<Vec<_>>();
        let processes = self.keys.entry("process").or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(processes) = processes {
            let table = Table::from_iter([("command".to_owned(), Value::Array(command))]);
            processes.insert(process.to_owned(), Value::Table(table));
        }
        self
    }

    /// Adds a camera or a processor. Status and report list them in this order.
    #[must_use]
    pub fn actor(mut self, actor: ActorTable) -> Self {
        self.actors.push(actor);
        self
    }

    /// Returns the name that messages and reports use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the topology as a file would hold it.
    pub fn to_toml(&self) -> String {
        let actors = self.actors.iter().map(|actor| {
            let named = Table::from_iter([(actor.name.clone(), Value::Table(actor.keys.clone()))]);
            Table::from_iter([(actor.role.to_owned(), Value::Table(named))]).to_string()
        });
        [self.keys.to_string()].into_iter().chain(actors).collect::<Vec<_>>().join("\n")
    }
}

impl ActorTable {
    /// Creates a camera that a driver opens.
    pub fn camera(name: &str, driver: &str) -> Self {
        Self::new(name, "camera", "driver", driver)
    }

    /// Creates a processor of a kind.
    pub fn processor(name: &str, kind: &str) -> Self {
        Self::new(name, "processor", "kind", kind)
    }

    fn new(name: &str, role: &'static str, key: &str, value: &str) -> Self {
        Self { name: name.to_owned(), role, keys: Table::new() }.set(key, value)
    }

    /// Sets a key of the actor, as a file names it: `slots`, `queue`, `restart`, `match`, and others.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    /// Sets the names of the actors that a processor reads.
    #[must_use]
    pub fn inputs<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.set("inputs", names.into_iter().map(Value::from).collect::<Vec<_>>())
    }

    /// Sets the process that hosts the actor; actors of the same process share it.
    #[must_use]
    pub fn process(self, name: &str) -> Self {
        self.set("process", name)
    }

    /// Sets the overflow policy of a processor's inputs.
    #[must_use]
    pub fn overflow(self, overflow: Overflow) -> Self {
        let name = OVERFLOWS.iter().find(|(_, known)| *known == overflow).map(|(name, _)| *name);
        self.set("overflow", name.unwrap_or_default())
    }

    /// Sets one of the options of the driver or kind.
    #[must_use]
    pub fn option(mut self, key: &str, value: impl Into<Value>) -> Self {
        let options = self.keys.entry("options").or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(options) = options {
            options.insert(key.to_owned(), value.into());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProcessId;
    use crate::registry::Registry;
    use crate::topology::Topology;

    fn check(topology: &TopologyBuilder) -> Result<Topology, String> {
        let parsed = Topology::parse(topology.name(), &topology.to_toml(), None, &Registry::new());
        parsed.map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_built_topology_equals_that_of_a_file() {
        let built = TopologyBuilder::new("lab")
            .process_command("eye", ["worker", "--quiet"])
            .set("placement", "in-process")
            .actor(ActorTable::camera("b", "synthetic").option("seed", 7).process("eye"))
            .actor(ActorTable::camera("a", "synthetic"))
            .actor(ActorTable::processor("rates", "stats").inputs(["b", "a"]).overflow(Overflow::Block));
        assert_eq!(
            built.to_toml(),
            "placement = \"in-process\"\n\n\
             [process.eye]\ncommand = [\"worker\", \"--quiet\"]\n\n\
             [camera.b]\ndriver = \"synthetic\"\nprocess = \"eye\"\n\n[camera.b.options]\nseed = 7\n\n\
             [camera.a]\ndriver = \"synthetic\"\n\n\
             [processor.rates]\ninputs = [\"b\", \"a\"]\nkind = \"stats\"\noverflow = \"block\"\n"
        );
        let topology = check(&built).unwrap();
        let names: Vec<_> = topology.actors().iter().map(|actor| actor.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "rates"]);
        assert_eq!(topology.process(topology.actors()[0].process), "eye");
        assert_eq!(topology.actors()[1].process, ProcessId::MAIN);
        assert!(topology.links().iter().all(|link| link.overflow == Overflow::Block));
    }

    #[test]
    fn problems_are_those_of_a_file() {
        let built = TopologyBuilder::new("lab")
            .actor(ActorTable::camera("left", "synthetic"))
            .actor(ActorTable::processor("rates", "stats").inputs(["lefft"]));
        let problems = check(&built).unwrap_err();
        assert!(problems.starts_with("error: processor `rates` reads unknown actor `lefft`"), "{problems}");
        assert!(problems.contains("did you mean `left`?"), "{problems}");
        let problems = check(&TopologyBuilder::new("lab")).unwrap_err();
        assert_eq!(problems, "error: topology `lab` has no cameras; it needs at least one `[camera.NAME]`");
    }
}
