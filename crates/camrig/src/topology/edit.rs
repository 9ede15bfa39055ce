//! Small changes of the text of a topology, which keep its comments and its order.

use std::collections::BTreeSet;

use camrig_status::control::Edit;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value, value};

use super::Placement;
use super::parse::{CAMERA_KEYS, PLACEMENTS, PROCESSOR_KEYS};
use super::problem::quote;

/// Returns the text of a topology with a change.
///
/// # Errors
/// If there is no such actor, or already one.
pub fn edit(text: &str, edit: &Edit) -> Result<String, String> {
    let mut document = parse(text)?;
    let before = processes_of(&document);
    match edit {
        Edit::Add { name, kind, inputs, settings } => {
            if find(&mut document, name).is_some() {
                return Err(format!("the rig already has an actor {}", quote(name)));
            }
            let (role, key) = if inputs.is_empty() { ("camera", "driver") } else { ("processor", "kind") };
            let mut table = Table::new();
            table.insert(key, value(kind));
            if !inputs.is_empty() {
                table.insert("inputs", value(inputs.iter().collect::<toml_edit::Array>()));
            }
            settings.iter().try_for_each(|(key, text)| set(&mut table, role, key, text))?;
            let actors = document.entry(role).or_insert_with(|| {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            });
            let actors =
                actors.as_table_like_mut().ok_or_else(|| format!("{} is not a table", quote(role)))?;
            actors.insert(name, Item::Table(table));
        }
        Edit::Remove { name } => {
            let role = find(&mut document, name).map(|(role, _)| role);
            let role = role.ok_or_else(|| unknown(&mut document, name))?;
            if let Some(actors) = document.get_mut(role).and_then(Item::as_table_like_mut) {
                actors.remove(name);
            }
        }
        Edit::Set { name, settings } => {
            if find(&mut document, name).is_none() {
                return Err(unknown(&mut document, name));
            }
            if let Some((role, table)) = find(&mut document, name) {
                settings.iter().try_for_each(|(key, text)| set(table, role, key, text))?;
            }
        }
    }
    let after = processes_of(&document);
    forget_processes(&mut document, |name| before.contains(name) && !after.contains(name));
    Ok(document.to_string())
}

/// Returns the text of a topology in which a process is run by this command.
///
/// # Errors
/// If it is not a topology.
pub(crate) fn with_command(text: &str, process: &str, command: &[String]) -> Result<String, String> {
    let mut document = parse(text)?;
    let processes = document.entry("process").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let processes = processes.as_table_like_mut().ok_or("`process` is not a table")?;
    let table = Table::from_iter([("command", value(command.iter().collect::<toml_edit::Array>()))]);
    processes.insert(process, Item::Table(table));
    Ok(document.to_string())
}

/// Returns the text of `file`, another topology, with the content of `text`, and with its own comments and order; `text`
/// if `file` is no TOML.
#[cfg(feature = "program")]
pub(crate) fn merged(file: &str, text: &str) -> String {
    let (Ok(mut document), Ok(content)) = (parse(file), parse(text)) else { return text.to_owned() };
    merge(document.as_table_mut(), content.as_table());
    let merged = document.to_string();
    // Checks the result: it must be the topology that runs, for any content of the file.
    let is_whole = merged.parse::<toml::Table>().ok() == text.parse().ok();
    if is_whole { merged } else { text.to_owned() }
}

/// Gives a table the content of another one. Values that are equal stay as they are written.
#[cfg(feature = "program")]
fn merge(table: &mut dyn TableLike, content: &dyn TableLike) {
    let surplus: Vec<_> = table.iter().map(|(key, _)| key.to_owned()).collect();
    for key in surplus.iter().filter(|key| !content.contains_key(key)) {
        table.remove(key);
    }
    for (key, item) in content.iter() {
        match (table.get_mut(key), item) {
            (None, item) => drop(table.insert(key, item.clone())),
            (Some(old), item) if is_same(old, item) => {}
            (Some(old), item) if old.is_table_like() && item.is_table_like() => {
                let is_inline = old.is_inline_table();
                if let (Some(old), Some(item)) = (old.as_table_like_mut(), item.as_table_like()) {
                    merge(old, item);
                    if is_inline {
                        // No space before a comma; there are no comments within.
                        old.fmt();
                    }
                }
            }
            (Some(Item::Value(old)), Item::Value(new)) => {
                let decor = old.decor().clone();
                *old = new.clone();
                *old.decor_mut() = decor;
            }
            (Some(old), item) => *old = item.clone(),
        }
    }
}

/// Returns whether two values are equal, however they are written.
#[cfg(feature = "program")]
fn is_same(one: &Item, other: &Item) -> bool {
    let value = |item: &Item| {
        let value = item.as_value()?.clone().decorated("", "");
        format!("it = {value}").parse::<toml::Table>().ok()
    };
    value(one).is_some_and(|one| value(other) == Some(one))
}

/// Returns the text with this placement in place of its own, and of those of its actors, which are in these processes then.
pub(super) fn placed(text: &str, placement: Placement, processes: &[String]) -> String {
    let Ok(mut document) = parse(text) else { return text.to_owned() };
    let name = PLACEMENTS.iter().find(|(_, known)| *known == placement).map(|(name, _)| *name);
    document.insert("placement", value(name.unwrap_or_default()));
    for role in ROLES {
        let actors = document.get_mut(role).and_then(Item::as_table_like_mut);
        for (_, actor) in actors.into_iter().flat_map(TableLike::iter_mut) {
            actor.as_table_like_mut().and_then(|actor| actor.remove("process"));
        }
    }
    forget_processes(&mut document, |name| !processes.iter().any(|used| used == name));
    document.to_string()
}

const ROLES: [&str; 2] = ["camera", "processor"];

fn parse(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|error: toml_edit::TomlError| error.to_string())
}

/// Returns the role and the table of an actor.
fn find<'d>(document: &'d mut DocumentMut, name: &str) -> Option<(&'static str, &'d mut dyn TableLike)> {
    let has = |role: &&str| document.get(role).is_some_and(|actors| actors.get(name).is_some());
    let role = ROLES.into_iter().find(has)?;
    let actor = document.get_mut(role)?.get_mut(name)?;
    Some((role, actor.as_table_like_mut()?))
}

fn unknown(document: &mut DocumentMut, name: &str) -> String {
    let tables = ROLES.into_iter().filter_map(|role| document.get(role)?.as_table_like());
    let names: Vec<_> = tables.flat_map(TableLike::iter).map(|(name, _)| quote(name)).collect();
    format!("the rig has no actor {}; expected one of: {}", quote(name), names.join(", "))
}

/// Sets a key of an actor's table, or one of its options: other names are options, and `options.` names one that is
/// called like a key.
fn set(table: &mut dyn TableLike, role: &str, key: &str, text: &str) -> Result<(), String> {
    let keys = if role == "camera" { CAMERA_KEYS } else { PROCESSOR_KEYS };
    let (first, _) = key.split_once('.').unwrap_or((key, ""));
    let mut path: Vec<_> = key.split('.').collect();
    if !keys.contains(&first) {
        path.insert(0, "options");
    }
    if path.iter().any(|part| part.is_empty()) {
        return Err(format!("{} is not a key", quote(key)));
    }
    let written: Value = text.parse().unwrap_or_else(|_| Value::from(text));
    let (last, tables) = path.split_last().ok_or_else(|| format!("{} is not a key", quote(key)))?;
    let (mut table, mut is_inline) = (table, false);
    for part in tables {
        let inner = table.entry(part).or_insert_with(|| value(toml_edit::InlineTable::new()));
        is_inline = inner.is_inline_table();
        table = inner.as_table_like_mut().ok_or_else(|| format!("{} is not a table", quote(part)))?;
    }
    match table.get_mut(last) {
        // A comment behind the value stays.
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = written;
            *old.decor_mut() = decor;
        }
        _ => drop(table.insert(last, value(written))),
    }
    if is_inline {
        // No space before a comma; there are no comments within.
        table.fmt();
    }
    Ok(())
}

/// Returns the names that the processes of actors may have: one that is the supervisor's may have its own program.
fn processes_of(document: &DocumentMut) -> BTreeSet<String> {
    let actors = ROLES.into_iter().filter_map(|role| document.get(role)?.as_table_like());
    let names = |(name, actor): (&str, &Item)| {
        let word = |key| actor.get(key).and_then(Item::as_str);
        let names = word("process")
            .map_or_else(|| vec![word("thread").unwrap_or(name), name], |process| vec![process]);
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    actors.flat_map(TableLike::iter).flat_map(names).collect()
}

/// Removes the tables of processes that have no actors any more, which would be an error.
fn forget_processes(document: &mut DocumentMut, is_unused: impl Fn(&str) -> bool) {
    let Some(processes) = document.get_mut("process").and_then(Item::as_table_like_mut) else { return };
    let names: Vec<_> = processes.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names.into_iter().filter(|name| is_unused(name)) {
        processes.remove(&name);
    }
    if processes.is_empty() {
        document.remove("process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# the lab
[camera.left]            # by the door
driver = \"synthetic\"
options = { seed = 1 }   # any

[processor.check]
kind = \"verify\"
inputs = [\"left\"]
process = \"vision\"

[process.vision]
command = [\"worker\"]
";

    fn settings(settings: &[(&str, &str)]) -> Vec<(String, String)> {
        settings.iter().map(|&(key, text)| (key.to_owned(), text.to_owned())).collect()
    }

    #[test]
    fn an_added_actor_is_at_the_end() {
        let added = Edit::Add {
            name: "more".to_owned(),
            kind: "stats".to_owned(),
            inputs: vec!["left".to_owned()],
            settings: settings(&[("queue", "4"), ("seconds", "2.5"), ("options.queue", "x")]),
        };
        let expected = "[processor.more]\nkind = \"stats\"\ninputs = [\"left\"]\nqueue = 4\n\
                        options = { seconds = 2.5, queue = \"x\" }\n";
        let text = edit(TEXT, &added).unwrap();
        assert_eq!(text.replace(expected, "").replace("\n\n\n", "\n\n").trim(), TEXT.trim());
        assert_eq!(edit(&text, &added).unwrap_err(), "the rig already has an actor `more`");
    }

    #[test]
    fn a_change_keeps_comments() {
        let set = Edit::Set {
            name: "left".to_owned(),
            settings: settings(&[("seed", "2"), ("slots", "9"), ("motion.rate", "200"), ("model", "d435")]),
        };
        let expected = TEXT.replace(
            "options = { seed = 1 }   # any\n",
            "options = { seed = 2, motion = { rate = 200 }, model = \"d435\" }   # any\nslots = 9\n",
        );
        assert_eq!(edit(TEXT, &set).unwrap(), expected);
    }

    #[test]
    fn a_process_goes_with_its_last_actor() {
        let removed = edit(TEXT, &Edit::Remove { name: "check".to_owned() }).unwrap();
        assert_eq!(removed.trim_end(), TEXT.split_once("\n\n[processor").unwrap().0);
        let unknown = edit(TEXT, &Edit::Remove { name: "top".to_owned() }).unwrap_err();
        assert_eq!(unknown, "the rig has no actor `top`; expected one of: `left`, `check`");
    }

    #[test]
    #[cfg(feature = "program")]
    fn a_file_keeps_its_comments_and_its_order() {
        let more = "[processor.more]\nkind = \"stats\"\ninputs = [\"left\"]\n";
        let settings = settings(&[("seed", "2"), ("model", "d435")]);
        let set = edit(TEXT, &Edit::Set { name: "left".to_owned(), settings });
        let text =
            format!("{}\n{more}", set.unwrap().replace("# by the door", "").replace("# the lab\n", ""));
        // A file that was edited meanwhile: its comments, its order, its quotes.
        let file = "\
# the first table is that of the processor
[processor.check]
process = 'vision' # sees
inputs = ['left']  # and no other
kind = 'verify'
queue = 4

[process.vision]
command = ['worker']

[camera.left]      # in the corner
options = { seed = 1 } # of no meaning
driver = 'synthetic'
";
        let expected = file.replace("seed = 1", "seed = 2, model = \"d435\"").replace("queue = 4\n", "");
        let found = merged(file, &text);
        assert_eq!(found.replace(more, "").trim(), expected.trim());
        assert!(found.contains(more), "{found}");
        assert_eq!(merged(TEXT, TEXT), TEXT);
        assert_eq!(merged("no topology", &text), text);
        assert_eq!(merged("camera = 5 # none", &text), text);
    }

    #[test]
    fn the_process_of_a_thread_stays_with_its_actors() {
        let text = "[camera.left]\ndriver = \"synthetic\"\nthread = \"eye\"\n\n[process.eye]\ncpus = [1]\n";
        let set = Edit::Set { name: "left".to_owned(), settings: settings(&[("slots", "9")]) };
        assert_eq!(edit(text, &set).unwrap(), text.replace("\n\n", "\nslots = 9\n\n"));
        let moved = Edit::Set { name: "left".to_owned(), settings: settings(&[("process", "\"other\"")]) };
        assert!(!edit(text, &moved).unwrap().contains("[process.eye]"));
    }

    /// As of a detector in Python, which has a process of its own also in a rig of one process.
    #[test]
    fn the_process_of_an_actor_with_its_own_program_stays_with_it() {
        let text = "placement = \"in-process\"\n\n[camera.left]\ndriver = \"synthetic\"\n\n\
                    [processor.detect]\nkind = \"python\"\ninputs = [\"left\"]\n\n[process.detect]\nnice = 5\n";
        let set = Edit::Set { name: "left".to_owned(), settings: settings(&[("slots", "9")]) };
        assert_eq!(edit(text, &set).unwrap(), text.replacen("c\"\n\n[p", "c\"\nslots = 9\n\n[p", 1));
        let removed = edit(text, &Edit::Remove { name: "detect".to_owned() }).unwrap();
        assert!(!removed.contains("[process"), "{removed}");
        let placed = placed(text, Placement::InProcess, &["main".to_owned(), "detect".to_owned()]);
        assert!(placed.contains("[process.detect]"), "{placed}");
        // A table that no actor had is a mistake of the file, which `check` reports.
        let stray = format!("{text}[process.detekt]\nnice = 5\n");
        assert!(edit(&stray, &set).unwrap().contains("[process.detekt]"));
    }

    #[test]
    fn a_placement_takes_the_place_of_all_others() {
        let text = placed(TEXT, Placement::InProcess, &["main".to_owned()]);
        assert!(text.contains("placement = \"in-process\""), "{text}");
        assert!(!text.contains("vision") && text.contains("# by the door"), "{text}");
    }
}
