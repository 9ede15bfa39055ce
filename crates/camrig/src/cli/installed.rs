//! Files that packages install beside the program: man pages, and the completions of shells.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_mangen::Man;

use super::{code, code_of};
use crate::console::{print, print_error};
use crate::files;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The folder for the pages, such as /usr/local/share/man/man1
    folder: PathBuf,
}

/// Prints the completion script of a shell.
pub(super) fn complete(args: &CompletionsArgs, mut command: Command, name: &str) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    code_of(print(&String::from_utf8_lossy(&script)))
}

/// Writes a man page of the program, and one of each command.
pub(super) fn write_man_pages(args: &ManArgs, command: Command) -> ExitCode {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    for command in with_subcommands(command) {
        let page = Man::new(command);
        let path = args.folder.join(page.get_filename());
        if let Err(error) = files::write(&path, |file| page.render(file).and_then(|()| file.flush())) {
            print_error(format_args!("cannot write {}: {error}", path.display()));
            return ExitCode::from(code::CANT_CREATE);
        }
    }
    ExitCode::SUCCESS
}

/// Returns a command and all commands below it.
fn with_subcommands(command: Command) -> Vec<Command> {
    let mut commands = vec![command];
    let mut next = 0;
    while let Some(command) = commands.get(next) {
        let below: Vec<_> =
            command.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
        commands.extend(below);
        next += 1;
    }
    commands
}
