//! Output on stdout and stderr, for programs and for processors that print.
//!
//! `println!` and `eprintln!` panic when the disk is full or the pipe is closed. The functions here never do: a rig loses
//! only the lines, and a command reports the error by its exit code.

use std::fmt::Display;
use std::io::{self, ErrorKind, Stdout, Write};
use std::process::ExitCode;

/// `EX_IOERR` of sysexits.h: the exit code of a command whose result cannot be written.
const IO_ERROR: u8 = 74;

/// Prints the result of a command on stdout, with a line break at its end. A closed pipe, as in `camrig list | head -1`,
/// is not an error.
///
/// # Errors
/// The exit code of the command if stdout cannot be written; the error was printed.
pub fn print(text: &str) -> Result<(), ExitCode> {
    match write_line(&mut io::stdout(), text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            print_error(format_args!("stdout cannot be written: {error}"));
            Err(ExitCode::from(IO_ERROR))
        }
        _ => Ok(()),
    }
}

/// Prints a line on stdout if it can be written. For facts that a rig runs without, such as the address of its page.
pub fn print_note(note: impl Display) {
    let _ = write_line(&mut io::stdout(), &note.to_string());
}

/// Prints `error: ` and the message on stderr, if it can be written.
pub fn print_error(message: impl Display) {
    print_stderr(format_args!("error: {message}"));
}

/// Prints `warning: ` and the message on stderr, if it can be written.
pub fn print_warning(message: impl Display) {
    print_stderr(format_args!("warning: {message}"));
}

/// Prints a line on stderr, if it can be written.
pub fn print_stderr(line: impl Display) {
    let _ = write_line(&mut io::stderr(), &line.to_string());
}

/// Writes lines, if there are any, by one call, so that the output of several processes does not mix.
fn write_line(out: &mut impl Write, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let lines = format!("{}\n", text.trim_end_matches('\n'));
    out.write_all(lines.as_bytes()).and_then(|()| out.flush())
}

/// Stdout is closed. A processor that returns this error, or panics because of it, has ended in order:
/// its only reader has.
#[derive(Debug, thiserror::Error)]
#[error("stdout is closed")]
pub(crate) struct StdoutClosed;

/// Returns whether `text` is the message of a panic of `println!` because stdout is closed.
pub(crate) fn is_panic_of_closed_stdout(text: &str) -> bool {
    text.starts_with("failed printing to stdout") && text.contains("Broken pipe")
}

/// The lines of a processor on stdout.
#[derive(Debug)]
pub(crate) struct Lines<W = Stdout> {
    pub(crate) out: W,
    /// Whether the last lines were lost.
    lost: bool,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self::to(io::stdout())
    }
}

impl<W: Write> Lines<W> {
    pub(crate) fn to(out: W) -> Self {
        Self { out, lost: false }
    }

    /// Prints lines. If they cannot be written, as on a full disk, they are lost, which is logged once.
    ///
    /// # Errors
    /// If stdout is closed.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), StdoutClosed> {
        match write_line(&mut self.out, text) {
            Ok(()) => self.lost = false,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(StdoutClosed),
            Err(error) => {
                if !self.lost {
                    log::warn!("lines are lost: stdout cannot be written: {error}");
                }
                self.lost = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails every write with this error.
    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn lines_are_written_completely() {
        let mut lines = Lines::to(Vec::new());
        for text in ["one", "two\nthree\n"] {
            lines.print(text).unwrap();
        }
        assert_eq!(lines.out, b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_full_disk_costs_lines_and_a_closed_pipe_ends_them() {
        let mut lines = Lines::to(Failing(ErrorKind::StorageFull));
        lines.print("lost").unwrap();
        assert!(lines.lost);
        let closed = Lines::to(Failing(ErrorKind::BrokenPipe)).print("lost").unwrap_err();
        assert_eq!(closed.to_string(), "stdout is closed");
    }

    #[test]
    fn the_panic_of_println_is_recognised() {
        assert!(is_panic_of_closed_stdout("failed printing to stdout: Broken pipe (os error 32)"));
        assert!(!is_panic_of_closed_stdout(
            "failed printing to stdout: No space left on device (os error 28)"
        ));
        assert!(!is_panic_of_closed_stdout("a socket: Broken pipe (os error 32)"));
    }
}
