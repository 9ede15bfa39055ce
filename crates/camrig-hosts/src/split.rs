//! Splits the topology of several hosts into one ordinary topology for each of them.
//!
//! Where a reader is on another host than its input, the part of the producer's host gets a processor `wire-out` that reads
//! the producer, and the part of the reader's host a camera `wire-in` of the producer's name. So readers, reports and
//! recordings are those of one host. Several readers on one host share one crossing.
//!
//! One end of each crossing is in the process of an agent and uses its session; the other connects to that agent. So only
//! agents listen. It is pure: from text to text.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use camrig::HostSpec;
use camrig::hosts::{Declaration, FIRST, HostPart};
use camrig_frame::DeviceProfile;
use tempfile::TempPath;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value, value};

use crate::streams;

/// The kind of the processor that sends framesets to another host.
pub const OUT_KIND: &str = "wire-out";

/// The driver of the camera that receives framesets of another host.
pub const IN_DRIVER: &str = camrig::status::RELAY;

/// The process of an end that uses the session of its agent.
const AGENT_PROCESS: &str = "main";

/// The number of framesets that wait for a reader on another host, unless it asks for more or less.
const QUEUE_DEFAULT: i64 = 2;

/// The crossing of one producer's framesets to another host.
pub(crate) struct Crossing {
    pub(crate) actor: String,
    /// Where it is; `None` for the first host.
    pub(crate) from: Option<String>,
    /// Where its readers are.
    pub(crate) to: Option<String>,
    overflow: Option<String>,
    queue: i64,
    /// By the name of the stream.
    pub(crate) codecs: BTreeMap<String, String>,
    /// The narrowest window in which its readers match it, in milliseconds.
    pub(crate) window_millis: Option<i64>,
    restart: Option<Item>,
    declaration: Declaration,
}

impl Crossing {
    /// Returns the name of the crossing in a run, the same at both ends.
    pub(crate) fn key(&self, run: &str) -> String {
        format!("camrig/{run}/{}/{}", self.actor, self.to.as_deref().unwrap_or(FIRST))
    }
}

/// The properties of an actor that decide the split.
struct Actor {
    role: &'static str,
    host: Option<String>,
    /// Its restart policy, which is that of its crossings too.
    restart: Option<Item>,
}

/// Splits a topology, in which every name is known, into the parts of the hosts that have actors. `declarations` has the known
/// properties of the framesets of actors, by their names; `run` names the run in the keys of its crossings. The part of the
/// first host comes first.
///
/// # Errors
/// A line that says which crossings contradict each other.
pub fn split(
    text: &str,
    hosts: &[HostSpec],
    declarations: &BTreeMap<String, Declaration>,
    run: &str,
) -> Result<Vec<HostPart>, String> {
    let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let actors = actors(&document);
    let mut crossings = crossings(&document, &actors)?;
    for crossing in &mut crossings {
        crossing.declaration = declarations.get(&crossing.actor).cloned().unwrap_or_default();
    }
    let is_used = |host: &&HostSpec| actors.values().any(|actor| actor.host.as_ref() == Some(&host.name));
    let used = hosts.iter().filter(is_used).map(|host| Some(host.name.clone()));
    std::iter::once(None)
        .chain(used)
        .map(|host| part(&document, &actors, &crossings, hosts, host, run))
        .collect()
}

/// Returns the crossings of a topology, in which every name is known.
///
/// # Errors
/// As for [`split`].
pub(crate) fn crossings_of(text: &str) -> Result<Vec<Crossing>, String> {
    let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    crossings(&document, &actors(&document))
}

const ROLES: [&str; 2] = ["camera", "processor"];

fn actors(document: &DocumentMut) -> BTreeMap<String, Actor> {
    let of_role = |role: &'static str| {
        let tables = document.get(role).and_then(Item::as_table_like).into_iter().flat_map(TableLike::iter);
        tables.map(move |(name, table)| {
            let host = host_of(table).map(str::to_owned);
            (name.to_owned(), Actor { role, host, restart: table.get("restart").cloned() })
        })
    };
    ROLES.into_iter().flat_map(of_role).collect()
}

/// Returns the host of an actor; `None` for that where the rig is started.
fn host_of(actor: &Item) -> Option<&str> {
    actor.get("host").and_then(Item::as_str).filter(|host| *host != FIRST)
}

/// Returns the crossings, one for each actor and each other host with a reader of it.
fn crossings(document: &DocumentMut, actors: &BTreeMap<String, Actor>) -> Result<Vec<Crossing>, String> {
    let mut crossings: Vec<Crossing> = Vec::new();
    let processors = document.get("processor").and_then(Item::as_table_like);
    for (reader, table) in processors.into_iter().flat_map(TableLike::iter) {
        let to = host_of(table);
        let inputs = table.get("inputs").and_then(Item::as_array).into_iter().flat_map(Array::iter);
        for (name, actor) in inputs.filter_map(|input| actors.get_key_value(input.as_str()?)) {
            if actor.host.as_deref() == to {
                continue;
            }
            let new = crossing(name, actor, to, table);
            let same = crossings.iter_mut().find(|old| old.actor == *name && old.to.as_deref() == to);
            match same {
                Some(old) => merge(old, new).map_err(|fact| format!("processor `{reader}`: {fact}"))?,
                None => crossings.push(new),
            }
        }
    }
    for crossing in &crossings {
        let name = out_name(crossing);
        if actors.contains_key(&name) {
            return Err(format!(
                "actor `{name}` has the name of the processor that sends `{}` to host `{}`: rename it",
                crossing.actor,
                crossing.to.as_deref().unwrap_or(FIRST)
            ));
        }
    }
    Ok(crossings)
}

fn crossing(name: &str, actor: &Actor, to: Option<&str>, reader: &Item) -> Crossing {
    let codecs = reader.get("wire").and_then(Item::as_table_like).into_iter().flat_map(TableLike::iter);
    let codec = |(stream, codec): (&str, &Item)| Some((stream.to_owned(), codec.as_str()?.to_owned()));
    let matching = reader.get("match").and_then(Item::as_table_like);
    // A clock that the cameras share has no relation to those of hosts.
    let matching = matching.filter(|own| own.get("clock").and_then(Item::as_str) != Some("hardware"));
    let window_millis = matching.and_then(|matching| matching.get("window_millis")?.as_integer());
    Crossing {
        actor: name.to_owned(),
        from: actor.host.clone(),
        to: to.map(str::to_owned),
        overflow: reader.get("overflow").and_then(Item::as_str).map(str::to_owned),
        queue: reader.get("queue").and_then(Item::as_integer).unwrap_or(QUEUE_DEFAULT),
        codecs: codecs.filter_map(codec).collect(),
        window_millis,
        restart: actor.restart.clone(),
        declaration: Declaration::default(),
    }
}

/// The overflow policies of a crossing, from the one that drops least. A frameset that crosses for one reader is available to
/// all; each reader has its own policy on its own link.
const OVERFLOWS: [&str; 3] = ["block", "drop-oldest", "drop-newest"];

/// The policy of a reader that names none.
const OVERFLOW_DEFAULT: &str = OVERFLOWS[1];

/// Adds another reader on the same host to a crossing.
fn merge(old: &mut Crossing, new: Crossing) -> Result<(), String> {
    let subject = format!("`{}` crosses to the same host for another processor", new.actor);
    let rank = |crossing: &Crossing| {
        let own = crossing.overflow.as_deref().unwrap_or(OVERFLOW_DEFAULT);
        OVERFLOWS.iter().position(|known| *known == own)
    };
    if rank(&new) < rank(old) {
        old.overflow = Some(new.overflow.unwrap_or_else(|| OVERFLOW_DEFAULT.to_owned()));
    }
    for (stream, codec) in new.codecs {
        let first = old.codecs.entry(stream.clone()).or_insert_with(|| codec.clone());
        if *first != codec {
            return Err(format!("{subject} with `{stream}` as `{first}`, not `{codec}`: give both the same"));
        }
    }
    old.queue = old.queue.max(new.queue);
    old.window_millis = old.window_millis.into_iter().chain(new.window_millis).min();
    Ok(())
}

/// Returns the name of the processor that sends the framesets of a crossing.
fn out_name(crossing: &Crossing) -> String {
    format!("{}-to-{}", crossing.actor, crossing.to.as_deref().unwrap_or(FIRST))
}

fn part(
    document: &DocumentMut,
    actors: &BTreeMap<String, Actor>,
    crossings: &[Crossing],
    hosts: &[HostSpec],
    host: Option<String>,
    run: &str,
) -> Result<HostPart, String> {
    let mut part = document.clone();
    part.remove("host");
    if host.is_some() {
        // The rig has one server.
        part.remove("metrics");
    }
    for (name, actor) in actors {
        let Some(tables) = part.get_mut(actor.role).and_then(Item::as_table_like_mut) else { continue };
        if actor.host != host {
            tables.remove(name);
        } else if let Some(table) = tables.get_mut(name).and_then(Item::as_table_like_mut) {
            table.remove("host");
            table.remove("wire");
        }
    }
    remove_unused_processes(&mut part);
    for crossing in crossings {
        if crossing.from == host {
            add(&mut part, "processor", &out_name(crossing), out_table(crossing, hosts, run)?)?;
        }
        if crossing.to == host {
            add(&mut part, "camera", &crossing.actor, in_table(crossing, hosts, run)?)?;
        }
    }
    let mut reads: Vec<_> = crossings
        .iter()
        .filter(|crossing| crossing.to == host)
        .map(|crossing| crossing.from.clone())
        .collect();
    reads.sort_unstable();
    reads.dedup();
    Ok(HostPart { host, text: part.to_string(), reads })
}

fn add(part: &mut DocumentMut, role: &str, name: &str, table: Table) -> Result<(), String> {
    let tables = part.entry(role).or_insert_with(|| {
        let mut tables = Table::new();
        tables.set_implicit(true);
        Item::Table(tables)
    });
    let tables = tables.as_table_like_mut().ok_or_else(|| format!("`{role}` is not a table"))?;
    tables.insert(name, Item::Table(table));
    Ok(())
}

/// Removes the tables of processes whose actors are on other hosts.
fn remove_unused_processes(part: &mut DocumentMut) {
    let mut used = Vec::new();
    for role in ROLES {
        let tables = part.get(role).and_then(Item::as_table_like).into_iter().flat_map(TableLike::iter);
        used.extend(
            tables
                .map(|(name, table)| table.get("process").and_then(Item::as_str).unwrap_or(name).to_owned()),
        );
    }
    let Some(processes) = part.get_mut("process").and_then(Item::as_table_like_mut) else { return };
    let names: Vec<_> = processes.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names.into_iter().filter(|name| !used.contains(name)) {
        processes.remove(&name);
    }
    if processes.is_empty() {
        part.remove("process");
    }
}

fn out_table(crossing: &Crossing, hosts: &[HostSpec], run: &str) -> Result<Table, String> {
    let mut table = Table::new();
    table.insert("kind", value(OUT_KIND));
    table.insert("inputs", value(Array::from_iter([crossing.actor.as_str()])));
    if let Some(overflow) = &crossing.overflow {
        table.insert("overflow", value(overflow));
    }
    table.insert("queue", value(crossing.queue));
    let agent = at_agent(crossing)?;
    let is_at_agent = crossing.from.as_ref() == Some(agent);
    let mut options = common(crossing, hosts, agent, is_at_agent, run);
    if !crossing.codecs.is_empty() {
        options.insert("codecs", crossing.codecs.iter().collect::<InlineTable>().into());
    }
    if let Some(rate) = rate_megabits(crossing, hosts) {
        options.insert("rate_mbps", Value::from(i64::from(rate)));
    }
    finish(&mut table, options, is_at_agent, crossing);
    Ok(table)
}

/// Returns the rate of the slowest link that a crossing uses; `None` if the topology gives none.
pub(crate) fn rate_megabits(crossing: &Crossing, hosts: &[HostSpec]) -> Option<u32> {
    let ends = [&crossing.from, &crossing.to];
    ends.into_iter().flatten().filter_map(|end| find(hosts, end)?.rate_megabits).min()
}

fn in_table(crossing: &Crossing, hosts: &[HostSpec], run: &str) -> Result<Table, String> {
    let mut table = Table::new();
    table.insert("driver", value(IN_DRIVER));
    let agent = at_agent(crossing)?;
    let is_at_agent = crossing.from.as_ref() != Some(agent);
    let mut options = common(crossing, hosts, agent, is_at_agent, run);
    if let Some(window) = crossing.window_millis {
        options.insert("match_window_millis", Value::from(window as f64));
    }
    declare(crossing, &mut options);
    finish(&mut table, options, is_at_agent, crossing);
    Ok(table)
}

/// Adds the known properties of the framesets of a crossing to the options of its reader's end.
fn declare(crossing: &Crossing, options: &mut InlineTable) {
    let Declaration { cameras, streams } = &crossing.declaration;
    let text = |stream: &DeviceProfile| Some((stream.stream.name().to_owned(), streams::text(stream)?));
    // All of them or none: an incomplete list would be wrong.
    if let Some(streams) = streams.iter().map(text).collect::<Option<InlineTable>>()
        && !streams.is_empty()
    {
        options.insert("streams", streams.into());
    }
    let clocks: InlineTable =
        cameras.iter().filter_map(|camera| Some((camera.name.as_str(), camera.clock?.name()))).collect();
    let is_itself = matches!(&cameras[..], [camera] if camera.name == crossing.actor);
    if !is_itself && !cameras.is_empty() || !clocks.is_empty() {
        options
            .insert("cameras", cameras.iter().map(|camera| camera.name.as_str()).collect::<Array>().into());
    }
    if !clocks.is_empty() {
        options.insert("clocks", clocks.into());
    }
}

/// Returns the host whose agent's session the crossing uses: the producer's, or the reader's where the producer's host has no
/// agent.
fn at_agent(crossing: &Crossing) -> Result<&String, String> {
    let agent = crossing.from.as_ref().or(crossing.to.as_ref());
    agent.ok_or_else(|| format!("`{}` crosses from the first host to itself", crossing.actor))
}

fn find<'h>(hosts: &'h [HostSpec], name: &str) -> Option<&'h HostSpec> {
    hosts.iter().find(|host| host.name == name)
}

/// Returns the options that both ends have.
fn common(crossing: &Crossing, hosts: &[HostSpec], agent: &str, is_at_agent: bool, run: &str) -> InlineTable {
    let mut options = InlineTable::new();
    options.insert("key", crossing.key(run).into());
    if let Some(host) = find(hosts, agent).filter(|_| !is_at_agent) {
        let mut session = InlineTable::new();
        session.insert("connect", Array::from_iter([host.address.as_str()]).into());
        if host.router {
            session.insert("router", true.into());
        }
        match &host.fingerprint {
            Some(fingerprint) => session.insert("peers", Array::from_iter([fingerprint.as_str()]).into()),
            None => session.insert("insecure", true.into()),
        };
        options.insert("session", session.into());
    }
    options
}

fn finish(table: &mut Table, options: InlineTable, is_at_agent: bool, crossing: &Crossing) {
    if let Some(restart) = &crossing.restart {
        table.insert("restart", restart.clone());
    }
    if is_at_agent {
        table.insert("process", value(AGENT_PROCESS));
    }
    table.insert("options", value(options));
}

/// The key of a part of another host that has the content of the file that `calibration` names.
const CALIBRATION_CONTENT: &str = "calibration-content";

/// The key that names the file of poses.
const CALIBRATION: &str = "calibration";

/// Returns a part of another host with the content of the file of poses, which is on the first host, instead of its name.
///
/// # Errors
/// If the file cannot be read.
pub fn with_calibration(
    text: &str,
    read: impl FnOnce(&Path) -> Result<String, String>,
) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let Some(file) = document.get(CALIBRATION).and_then(Item::as_str).map(str::to_owned) else {
        return Ok(text.to_owned());
    };
    let content = read(Path::new(&file)).map_err(|fact| format!("calibration `{file}` {fact}"))?;
    document.remove(CALIBRATION);
    document.insert(CALIBRATION_CONTENT, value(content));
    Ok(document.to_string())
}

/// A part as an agent runs it.
pub struct AgentPart {
    /// Its topology.
    pub text: String,
    /// The file of poses that it names, which exists as long as this.
    _calibration: Option<TempPath>,
}

/// Returns a part as an agent runs it: sessions of its crossings have its identity.
///
/// # Errors
/// If a process is run by a command: an agent runs drivers and kinds of its own program only. If the file of poses cannot be
/// written.
pub fn for_agent(text: &str, identity: &Path) -> Result<AgentPart, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let processes = document.get("process").and_then(Item::as_table_like);
    let commanded =
        processes.into_iter().flat_map(TableLike::iter).find(|(_, table)| table.get("command").is_some());
    if let Some((name, _)) = commanded {
        return Err(format!(
            "process `{name}` has a command; an agent runs the drivers and kinds of its own program only"
        ));
    }
    let calibration = document.remove(CALIBRATION_CONTENT);
    let calibration = calibration.as_ref().and_then(Item::as_str).map(written).transpose()?;
    if let Some(file) = &calibration {
        document.insert(CALIBRATION, value(file.display().to_string()));
    }
    Ok(AgentPart { text: identified(document, identity).to_string(), _calibration: calibration })
}

/// Writes the file of poses for a topology that is about to be parsed.
fn written(content: &str) -> Result<TempPath, String> {
    let refused = |error: std::io::Error| format!("the calibration cannot be written: {error}");
    let mut file = tempfile::NamedTempFile::with_prefix("camrig-calibration-").map_err(refused)?;
    file.write_all(content.as_bytes()).map_err(refused)?;
    Ok(file.into_temp_path())
}

/// Returns a part with the identity of its host in the sessions of its crossings.
///
/// # Errors
/// If it is not TOML.
pub fn with_identity(text: &str, identity: &Path) -> Result<String, String> {
    let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    Ok(identified(document, identity).to_string())
}

fn identified(mut document: DocumentMut, identity: &Path) -> DocumentMut {
    for (role, key, maker) in [("processor", "kind", OUT_KIND), ("camera", "driver", IN_DRIVER)] {
        let tables = document.get_mut(role).and_then(Item::as_table_like_mut);
        for (_, table) in tables.into_iter().flat_map(TableLike::iter_mut) {
            if table.get(key).and_then(Item::as_str) != Some(maker) {
                continue;
            }
            let session = table.get_mut("options").and_then(|options| options.get_mut("session"));
            if let Some(session) =
                session.and_then(Item::as_table_like_mut).filter(|session| session.get("peers").is_some())
            {
                session.insert("identity", value(identity.display().to_string()));
                // No space before a comma.
                session.fmt();
            }
        }
    }
    document
}

#[cfg(test)]
mod tests;
