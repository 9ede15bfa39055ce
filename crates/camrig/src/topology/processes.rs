//! The tables `[process.NAME]`: the commands that run processes instead of this executable, and how the kernel runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use camrig_ipc::{CPUS_MAX, Scheduling};
use toml::Spanned;
use toml::de::DeTable;

use super::draft::Draft;
use super::problem::{Problems, did_you_mean, quote};
use super::section::Section;
use super::{MAIN, Role, Span};
use crate::ids::ProcessId;
use crate::registry::Registry;

pub(super) const PROCESS_KEYS: &[&str] = &["command", "cpus", "nice", "fifo"];

/// The command that runs a process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessCommand {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    /// The location of the program in the file.
    pub(super) span: Span,
}

impl ProcessCommand {
    /// Creates a command that is in no file.
    pub(crate) fn new(program: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { program: program.to_owned(), arguments, span: Span::default() }
    }
}

/// The table of one process.
pub(super) struct ProcessDraft {
    name: String,
    span: Span,
    /// `None` without one, or if it is not valid.
    command: Option<ProcessCommand>,
    scheduling: Option<ProcessScheduling>,
}

impl ProcessDraft {
    /// Returns whether the process is called `name`, and a command runs it.
    pub(super) fn is_run_by_command(&self, name: &str) -> bool {
        self.name == name && self.command.is_some()
    }
}

/// The scheduling of the threads of a process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessScheduling {
    pub(crate) scheduling: Scheduling,
    /// The locations of its keys in the file.
    spans: BTreeMap<&'static str, Span>,
}

impl PartialEq for ProcessScheduling {
    /// Compares without the place in the file.
    fn eq(&self, other: &Self) -> bool {
        self.scheduling == other.scheduling
    }
}

pub(super) fn draft_processes(
    tables: Vec<(String, Span, DeTable<'_>)>,
    problems: &mut Problems,
) -> Vec<ProcessDraft> {
    let draft = |(name, span, table): (String, Span, _)| {
        let subject = Some(format!("process {}", quote(&name)));
        let mut section = Section { subject, span: span.clone(), table, problems };
        if section.table.is_empty() {
            let title = format!("process {} has no keys", quote(&name));
            let keys: Vec<_> = PROCESS_KEYS.iter().map(|key| quote(key)).collect();
            section.problems.add(
                span.clone(),
                title,
                format!("expected at least one of: {}", keys.join(", ")),
            );
        }
        let command = command(&mut section);
        let scheduling = scheduling(&mut section);
        section.finish(PROCESS_KEYS);
        ProcessDraft { name, span, command, scheduling }
    };
    tables.into_iter().map(draft).collect()
}

/// Takes the command of a process.
fn command(section: &mut Section<'_, '_>) -> Option<ProcessCommand> {
    const WANTED: &str = "must be a program and its arguments, as in `[\"program\", \"argument\"]`";
    let span = section.table.get_key_value("command")?.0.span();
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

/// Takes how the kernel runs the threads of a process; `None` if no key says it.
fn scheduling(section: &mut Section<'_, '_>) -> Option<ProcessScheduling> {
    let span = |key: &'static str| Some((key, section.table.get_key_value(key)?.1.span()));
    let spans: BTreeMap<_, _> = ["cpus", "nice", "fifo"].into_iter().filter_map(span).collect();
    let mut cpus = section.integers("cpus", 0..=i64::from(CPUS_MAX) - 1).unwrap_or_default();
    cpus.sort_unstable();
    cpus.dedup();
    let scheduling = Scheduling {
        cpus: cpus.into_iter().filter_map(|cpu| u32::try_from(cpu).ok()).collect(),
        nice: section.integer("nice", -20..=19).and_then(|nice| i8::try_from(nice).ok()),
        fifo: section.integer("fifo", 1..=99).and_then(|priority| u8::try_from(priority).ok()),
    };
    (!spans.is_empty()).then_some(ProcessScheduling { scheduling, spans })
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
pub(super) fn commands(drafts: &[ProcessDraft]) -> BTreeMap<String, ProcessCommand> {
    drafts.iter().filter_map(|draft| Some((draft.name.clone(), draft.command.clone()?))).collect()
}

/// Returns how the kernel runs processes, by their names.
pub(super) fn schedulings(drafts: Vec<ProcessDraft>) -> BTreeMap<String, ProcessScheduling> {
    drafts.into_iter().filter_map(|draft| Some((draft.name, draft.scheduling?))).collect()
}

/// Reports settings that the kernel would refuse. No process is changed.
pub(super) fn probe_scheduling(process: &str, wanted: &ProcessScheduling, problems: &mut Problems) {
    let ProcessScheduling { scheduling, spans } = wanted;
    // Without a thread to try it, the start of the rig will say it.
    let Ok(Err(refusal)) = scheduling.try_out() else { return };
    let span = spans.get(refusal.setting).cloned().unwrap_or_default();
    problems.add(
        span,
        format!("process {} cannot be scheduled like this", quote(process)),
        refusal.to_string(),
    );
}

/// Returns the command of the process of an actor, where its driver or kind needs another program than this one.
pub(super) fn own_command(draft: &Draft, registry: &Registry) -> Option<Vec<String>> {
    match &draft.role {
        Role::Camera { .. } => draft.options.camera.as_ref()?.command(),
        Role::Processor { kind } => registry.kind(kind)?.command(draft.options.text.as_deref()?),
    }
}

/// Adds the commands that drivers and kinds of processors need to those of the file, which take precedence. Reports an actor that
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
        let role = if matches!(draft.role, Role::Camera { .. }) { "camera" } else { "processor" };
        let others = || (0..drafts.len()).filter(|&other| process_of[other] == process_of[index]);
        if process_of[index] == ProcessId::MAIN {
            let title = format!("{role} {} cannot be in process {}", quote(&draft.name), quote(MAIN));
            problems.add(draft.span.clone(), title, format!("{} runs it", quote(program)));
        } else if let Some(other) = others().find(|&other| own[other] != *command) {
            let (name, other) = (quote(&draft.name), quote(&drafts[other].name));
            let title = format!("{role} {name} cannot share process {} with {other}", quote(process));
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
    /// Compares without the place in the file.
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
