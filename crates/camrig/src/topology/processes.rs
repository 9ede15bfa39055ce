//! The tables `[process.NAME]`: the commands that run processes in place of this executable.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;

use super::draft::Draft;
use super::problem::{Problems, did_you_mean, quote};
use super::section::Section;
use super::{MAIN, Role, Span};
use crate::ids::ProcessId;
use crate::registry::Registry;

pub(super) const PROCESS_KEYS: &[&str] = &["command"];

/// The command that runs a process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessCommand {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    /// The location of the program in the file.
    pub(super) span: Span,
}

impl ProcessCommand {
    /// A command that is in no file.
    pub(crate) fn new(program: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { program: program.to_owned(), arguments, span: Span::default() }
    }
}

/// The table of one process.
pub(super) struct ProcessDraft {
    name: String,
    span: Span,
    /// `None` if it is not valid.
    command: Option<ProcessCommand>,
}

pub(super) fn draft_processes(
    tables: Vec<(String, Span, DeTable<'_>)>,
    problems: &mut Problems,
) -> Vec<ProcessDraft> {
    let draft = |(name, span, table): (String, Span, _)| {
        let subject = Some(format!("process {}", quote(&name)));
        let mut section = Section { subject, span: span.clone(), table, problems };
        let command = command(&mut section);
        section.finish(PROCESS_KEYS);
        ProcessDraft { name, span, command }
    };
    tables.into_iter().map(draft).collect()
}

/// Takes the command of a process.
fn command(section: &mut Section<'_, '_>) -> Option<ProcessCommand> {
    const WANTED: &str = "must be a program and its arguments, as in `[\"program\", \"argument\"]`";
    let Some((key, _)) = section.table.get_key_value("command") else {
        section.missing("command", WANTED);
        return None;
    };
    let span = key.span();
    let mut words = section.names("command", "strings")?;
    if let Some(word) = words.iter().find(|word| word.get_ref().contains('\0')) {
        let title = format!("{} has a zero byte", section.describe("command"));
        section.problems.add(word.span(), title, "programs and arguments cannot have any");
    }
    if words.first().is_none_or(|program| program.get_ref().is_empty()) {
        section.problems.add(span, format!("{} has no program", section.describe("command")), WANTED);
        return None;
    }
    let program = words.remove(0);
    let arguments = words.into_iter().map(Spanned::into_inner).collect();
    Some(ProcessCommand { span: program.span(), program: program.into_inner(), arguments })
}

/// Checks that every table is that of a process with actors. `processes` are the names of these.
pub(super) fn check_used(drafts: &[ProcessDraft], processes: &[String], problems: &mut Problems) {
    // A table of `main` has already been reported.
    for draft in drafts.iter().filter(|draft| draft.name != MAIN && !processes.contains(&draft.name)) {
        let title = format!("process {} has no actors", quote(&draft.name));
        let others = processes.iter().map(String::as_str).filter(|process| *process != MAIN);
        problems.add(draft.span.clone(), title, did_you_mean(&draft.name, others));
    }
}

/// Returns the commands by the names of their processes.
pub(super) fn commands(drafts: Vec<ProcessDraft>) -> BTreeMap<String, ProcessCommand> {
    drafts.into_iter().filter_map(|draft| Some((draft.name, draft.command?))).collect()
}

/// Returns the command of the process of an actor, where its kind needs another program than this one.
pub(super) fn own_command(draft: &Draft, registry: &Registry) -> Option<Vec<String>> {
    let Role::Processor { kind } = &draft.role else { return None };
    registry.kind(kind)?.command(draft.options.text.as_deref()?)
}

/// Adds the commands that kinds of processors need to those of the file, which take precedence. Reports an actor that
/// shares its process with one that needs another program.
pub(super) fn add_own_commands(
    drafts: &[Draft],
    registry: &Registry,
    processes: &[String],
    process_of: &[ProcessId],
    commands: &mut BTreeMap<String, ProcessCommand>,
    problems: &mut Problems,
) {
    let of_file: BTreeSet<String> = commands.keys().cloned().collect();
    let own: Vec<_> = drafts.iter().map(|draft| own_command(draft, registry)).collect();
    for (index, (draft, command)) in drafts.iter().zip(&own).enumerate() {
        let process = &processes[process_of[index].index()];
        let Some(words) = command.as_ref().filter(|_| !of_file.contains(process)) else { continue };
        let Some((program, arguments)) = words.split_first() else { continue };
        let others = || (0..drafts.len()).filter(|&other| process_of[other] == process_of[index]);
        if process_of[index] == ProcessId::MAIN {
            let title = format!("processor {} cannot be in process {}", quote(&draft.name), quote(MAIN));
            problems.add(draft.span.clone(), title, format!("{} runs it", quote(program)));
        } else if let Some(other) = others().find(|&other| own[other] != *command) {
            let (name, other) = (quote(&draft.name), quote(&drafts[other].name));
            let title = format!("processor {name} cannot share process {} with {other}", quote(process));
            problems.add(draft.span.clone(), title, format!("{} runs it", quote(program)));
        } else {
            let (program, arguments) = (program.clone(), arguments.to_vec());
            let span = draft.options.span.clone();
            commands.insert(process.clone(), ProcessCommand { program, arguments, span });
        }
    }
}

/// Reports a program that does not exist. `path` is the value of `PATH`.
pub(super) fn probe(process: &str, command: &ProcessCommand, path: Option<&OsStr>, problems: &mut Problems) {
    if !exists(&command.program, path) {
        let title =
            format!("program {} of process {} does not exist", quote(&command.program), quote(process));
        let label = if command.program.contains('/') { "" } else { "no folder of `PATH` has it" };
        problems.add(command.span.clone(), title, label);
    }
}

/// Returns whether a program exists where [`std::process::Command`] looks it up: at its path if it contains a `/`, in
/// the folders of `PATH` otherwise. A place that cannot be read may have it.
fn exists(program: &str, path: Option<&OsStr>) -> bool {
    let may_exist = |path: &Path| path.try_exists().unwrap_or(true);
    if program.contains('/') {
        return may_exist(Path::new(program));
    }
    // Without `PATH` the system has its own folders.
    path.is_none_or(|path| std::env::split_paths(path).any(|folder| may_exist(&folder.join(program))))
}

impl PartialEq for ProcessCommand {
    /// At any place in the file.
    fn eq(&self, other: &Self) -> bool {
        self.program == other.program && self.arguments == other.arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_as_at_the_start() {
        let folders = Some(OsStr::new("/nowhere:/proc/self"));
        assert!(exists("exe", folders));
        assert!(!exists("exe", Some(OsStr::new("/nowhere"))));
        assert!(exists("exe", None));
        assert!(exists("/proc/self/exe", Some(OsStr::new(""))));
        assert!(!exists("./self/exe", folders));
    }
}
