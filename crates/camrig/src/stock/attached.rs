//! The kind `attached`: a processor that another program runs, which has attached to the rig ([`crate::Attached`]).

use schemars::JsonSchema;
use serde::Deserialize;

use super::python::SCRIPT_KEEPS;
use crate::error::WrongOptions;
use crate::processor::ProcessorOptions;

/// The kind.
pub(crate) const KIND: &str = "attached";

/// Options of the kind `attached`. The program that attaches sets them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachedOptions {
    /// The program, with its arguments, that the rig starts as the worker; it passes its links to the attached program.
    command: Vec<String>,
}

impl ProcessorOptions for AttachedOptions {
    const KEEPS: usize = SCRIPT_KEEPS;

    fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if self.command.first().is_none_or(String::is_empty) {
            wrong.add(["command"], "`command` has no program; programs that attach set it");
        }
        wrong.or_ok()
    }

    fn command(&self) -> Option<Vec<String>> {
        Some(self.command.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_that_of_the_program_that_attaches() {
        let options = |command: &[&str]| AttachedOptions {
            command: command.iter().map(|&word| word.to_owned()).collect(),
        };
        let given = options(&["python3", "-c", "pass"]);
        assert!(given.check().is_ok());
        assert_eq!(given.command().unwrap(), ["python3", "-c", "pass"]);
        let message = options(&[]).check().unwrap_err().to_string();
        assert_eq!(message, "`command` has no program; programs that attach set it");
    }
}
