//! The crossing of framesets from one host to another: the processor `wire-out` at the producer's host, and a camera of the
//! driver `wire-in` at the reader's, on a session of Zenoh.
//!
//! The sender sends no more than the receiver has given credit for, so Zenoh never drops: see [`credit`].

mod connection;
mod contact;
pub mod credit;
mod incoming;
mod message;
mod outgoing;
pub(crate) mod starting;

use camrig::App;

pub use self::incoming::{WireIn, WireInOptions};
use self::outgoing::WireOut;
pub use self::outgoing::WireOutOptions;

/// Name of the kind that sends.
pub const OUT: &str = "wire-out";

/// Name of the driver that receives.
pub const IN: &str = camrig::status::RELAY;

/// Maximum length of a crossing's key in bytes.
const KEY_BYTES_MAX: usize = 256;

/// Adds the kind [`OUT`] and the driver [`IN`] to a program.
#[must_use]
pub fn add_to(app: App) -> App {
    app.processor(OUT, WireOut::new).options::<WireOutOptions>(OUT).driver::<WireIn>(IN)
}

/// The keys of one end.
struct Ends {
    reads: String,
    writes: String,
}

/// The keys of a crossing.
mod keys {
    pub(super) fn data(key: &str) -> String {
        format!("{key}/data")
    }

    pub(super) fn credit(key: &str) -> String {
        format!("{key}/credit")
    }

    pub(super) fn clock(key: &str) -> String {
        format!("{key}/clock")
    }
}

/// Checks the key of a crossing.
fn check_key(key: &str) -> Result<(), String> {
    let of_words = key.split('/').all(|word| !word.is_empty() && word.bytes().all(is_plain));
    if of_words && key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    let shown: String = key.chars().take(40).collect();
    Err(format!(
        "`{shown}` is not a key: words of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.` with `/` between them"
    ))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_no_wildcards() {
        for key in ["left", "camrig/4f3a/left/main", "a.b/c_d"] {
            assert_eq!(check_key(key), Ok(()));
        }
        for key in ["", "/left", "left/", "a//b", "a/*", "a/**", "a/$*", "a b", "@/a", "ä", &"a".repeat(257)]
        {
            assert!(check_key(key).is_err(), "{key}");
        }
    }
}
