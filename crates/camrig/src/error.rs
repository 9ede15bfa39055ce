//! Errors of processors, drivers and options.
//!
//! These types have a module of their own because all types of the public interface refer to them.

use std::fmt;
use std::io;

/// An error that stops a processor: any error, or a text (`"too dark".into()`).
pub type ProcessorError = Box<dyn std::error::Error + Send + Sync>;

/// An error of a driver, as one line with enough information to fix it: from a text, an [`io::Error`] or
/// [`WrongOptions`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{wrong}")]
pub struct DriverError {
    /// The message; where the options are at fault, with their names.
    wrong: WrongOptions,
    unavailable: bool,
}

impl DriverError {
    /// Creates an error that retrying does not fix, such as options that the device does not support.
    pub fn new(message: impl Into<String>) -> Self {
        Self { wrong: WrongOptions::from(message.into()), unavailable: false }
    }

    /// Creates an error of a device that is missing, or in use by another program: retrying may succeed.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { unavailable: true, ..Self::new(message) }
    }

    /// Names the option that is at fault, such as `serial`, or `filters.spatial` for one in a table. Where options are
    /// named already, they stay.
    #[must_use]
    pub fn at(mut self, option: impl Into<String>) -> Self {
        let option = option.into();
        // A table around it, if it is not in the topology itself.
        let names = std::iter::successors(Some(option.as_str()), |name| Some(name.rsplit_once('.')?.0));
        let names: Vec<_> = names.map(str::to_owned).collect();
        for wrong in self.wrong.list.iter_mut().filter(|wrong| wrong.options.is_empty()) {
            wrong.options.clone_from(&names);
        }
        self
    }

    /// Returns whether the device is missing or in use by another program.
    pub fn is_unavailable(&self) -> bool {
        self.unavailable
    }

    /// Returns the messages, with the options that are at fault.
    pub(crate) fn into_wrong_options(self) -> WrongOptions {
        self.wrong
    }
}

impl From<WrongOptions> for DriverError {
    fn from(wrong: WrongOptions) -> Self {
        Self { wrong, unavailable: false }
    }
}

impl From<String> for DriverError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for DriverError {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<io::Error> for DriverError {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Options that are wrong, each with a message. A topology's problems point at them.
///
/// ```
/// use camrig::WrongOptions;
///
/// fn check(least: f64, most: f64) -> Result<(), WrongOptions> {
///     let mut wrong = WrongOptions::default();
///     if least < 0.0 {
///         wrong.add(["least"], format!("`least` is {least}; it must be 0 or more"));
///     }
///     if most < least {
///         wrong.add(["most", "least"], format!("`most` is {most}; it must be at least `least`, which is {least}"));
///     }
///     wrong.or_ok()
/// }
///
/// assert!(check(0.0, 1.0).is_ok());
/// assert_eq!(check(-1.0, 1.0).unwrap_err().to_string(), "`least` is -1; it must be 0 or more");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrongOptions {
    pub(crate) list: Vec<WrongOption>,
}

/// One message about options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrongOption {
    /// The names of the options that it concerns; empty for the options as a whole.
    pub(crate) options: Vec<String>,
    pub(crate) message: String,
}

impl WrongOptions {
    /// Adds a message about `options`. The problem points at the first of them that the topology has. A name such as
    /// `filters.spatial` is that of an option in a table.
    pub fn add<'a>(&mut self, options: impl IntoIterator<Item = &'a str>, message: impl Into<String>) {
        let options = options.into_iter().map(str::to_owned).collect();
        self.list.push(WrongOption { options, message: message.into() });
    }

    /// Returns `Ok` if no message was added.
    ///
    /// # Errors
    /// The messages.
    pub fn or_ok(self) -> Result<(), Self> {
        if self.list.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<String> for WrongOptions {
    fn from(message: String) -> Self {
        Self { list: vec![WrongOption { options: Vec::new(), message }] }
    }
}

impl From<&str> for WrongOptions {
    fn from(message: &str) -> Self {
        Self::from(message.to_owned())
    }
}

impl fmt::Display for WrongOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<_> = self.list.iter().map(|wrong| wrong.message.as_str()).collect();
        f.write_str(&messages.join("; "))
    }
}

impl std::error::Error for WrongOptions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_error_comes_from_texts_and_errors_by_the_question_mark() {
        fn read() -> Result<(), DriverError> {
            std::fs::read("/proc/self/nowhere")?;
            Ok(())
        }
        fn refuse() -> Result<(), DriverError> {
            Err(format!("no camera {}", 7))?
        }
        fn wrong() -> Result<(), DriverError> {
            let mut wrong = WrongOptions::default();
            wrong.add(["a"], "`a` is 1");
            wrong.add(["b", "a"], "`b` is 2");
            Ok(wrong.or_ok()?)
        }
        let text = |error: Result<(), DriverError>| {
            let error = error.unwrap_err();
            assert!(!error.is_unavailable());
            error.to_string()
        };
        assert_eq!(text(read()), "No such file or directory (os error 2)");
        assert_eq!(text(refuse()), "no camera 7");
        assert_eq!(text(Err("dark".into())), "dark");
        assert_eq!(text(wrong()), "`a` is 1; `b` is 2");
        assert_eq!(WrongOptions::default().or_ok(), Ok(()));
    }
}
