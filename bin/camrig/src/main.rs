//! The stock camrig program: everything that camrig has, registered.

use std::process::ExitCode;

fn main() -> ExitCode {
    camrig_cli::app().main()
}
