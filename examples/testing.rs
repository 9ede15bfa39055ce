//! Runs the program of an example in its tests.

use std::process::Command;

/// Returns a command that runs the program at `path`. It ends with its parent, and after a minute at the latest.
pub(crate) fn program(path: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig=KILL",
        "timeout",
        "--kill-after=5",
        "60",
        "setpriv",
        "--pdeathsig=KILL",
        path,
    ]);
    command
}

/// Runs a command to its end, and returns its stdout, stderr and exit code.
#[allow(dead_code)] // Not all tests run a program to its end.
pub(crate) fn output(command: &mut Command) -> (String, String, Option<i32>) {
    let output = command.output().expect("`setpriv` starts");
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    (text(output.stdout), text(output.stderr), output.status.code())
}
