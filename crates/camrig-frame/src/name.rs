//! Short names in frame headers: plain bytes without allocation, validated on creation.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name of 1 to `N` printable ASCII characters without spaces, such as a codec, a schema or an encoding.
///
/// ```
/// use camrig_frame::Name;
///
/// let schema = Name::<48>::new("example.Boxes")?;
/// assert_eq!(schema.as_str(), "example.Boxes");
/// assert!(Name::<48>::new("two words").is_err());
/// # Ok::<(), camrig_frame::NameError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<const N: usize> {
    /// Zeros follow the name.
    bytes: [u8; N],
}

/// A text that is not a valid [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not a name of 1 to {longest} printable ASCII characters without spaces")]
pub struct NameError {
    shown: String,
    longest: usize,
}

impl<const N: usize> Name<N> {
    /// Checks `text`.
    ///
    /// # Errors
    /// If `text` is empty, longer than `N` bytes, or contains other characters.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let refused = || NameError { shown: shown(text), longest: N };
        Self::from_bytes(text.as_bytes(), u8::is_ascii_graphic).ok_or_else(refused)
    }

    /// Creates the name `text`, for constants.
    ///
    /// # Panics
    /// If `text` is not a valid name; in a constant this fails the build.
    pub const fn constant(text: &str) -> Self {
        let text = text.as_bytes();
        assert!(!text.is_empty() && text.len() <= N, "a constant name of 1 to N bytes");
        let (mut bytes, mut at) = ([0; N], 0);
        while at < text.len() {
            assert!(text[at].is_ascii_graphic(), "a constant name of printable ASCII characters");
            bytes[at] = text[at];
            at += 1;
        }
        Self { bytes }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        let len = self.bytes.iter().position(|&byte| byte == 0).unwrap_or(N);
        // Every constructor checks for ASCII.
        std::str::from_utf8(&self.bytes[..len]).unwrap_or_default()
    }

    pub(crate) fn from_bytes(text: &[u8], allowed: impl Fn(&u8) -> bool) -> Option<Self> {
        if text.is_empty() || text.len() > N || !text.iter().all(allowed) {
            return None;
        }
        let mut bytes = [0; N];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { bytes })
    }
}

/// Maximum length of the name of an actor, process or host, in bytes. Names are used for threads, processes and log lines.
pub const NAME_BYTES_MAX: usize = 64;

/// Returns whether an actor, process or host may have this name: 1 to [`NAME_BYTES_MAX`] of `a-z`, `A-Z`, `0-9`, `_` and `-`, a
/// letter or digit first.
pub fn is_name(name: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphanumeric();
    let is_letter = |byte: u8| is_first(&byte) || byte == b'_' || byte == b'-';
    name.as_bytes().first().is_some_and(is_first)
        && name.bytes().all(is_letter)
        && name.len() <= NAME_BYTES_MAX
}

/// Formats a message that may quote foreign text: on one line, without control characters, and at most 1,000 characters
/// of it.
pub fn one_line(message: impl fmt::Display) -> String {
    let message = message.to_string();
    let joined = message.split_whitespace().flat_map(|word| [" ", word]).skip(1);
    let mut line = String::new();
    for letter in joined.flat_map(str::chars).take(1000) {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}

/// Returns the start of a text that may be long, for messages.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> std::str::FromStr for Name<N> {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// A string in formats for people; in binary formats bytes, which are read without allocation.
impl<const N: usize> Serialize for Name<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(self.as_str());
        }
        serializer.serialize_bytes(self.as_str().as_bytes())
    }
}

impl<'de, const N: usize> Deserialize<'de> for Name<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(NameVisitor)
        } else {
            deserializer.deserialize_bytes(NameVisitor)
        }
    }
}

struct NameVisitor<const N: usize>;

impl<const N: usize> Visitor<'_> for NameVisitor<N> {
    type Value = Name<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name of 1 to {N} printable ASCII characters without spaces")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Name<N>, E> {
        Name::new(text).map_err(E::custom)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Name<N>, E> {
        let name = Name::from_bytes(bytes, u8::is_ascii_graphic);
        name.ok_or_else(|| E::invalid_value(de::Unexpected::Bytes(bytes), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_equals_its_text_or_is_refused() {
        for text in ["a", "camrig.Boxes", "jsonschema"] {
            assert_eq!(Name::<12>::new(text).unwrap().to_string(), text);
        }
        for text in ["", "two words", "tab\t", "ä", "thirteen-char"] {
            let message = format!(
                "`{}` is not a name of 1 to 12 printable ASCII characters without spaces",
                text.escape_debug()
            );
            assert_eq!(Name::<12>::new(text).unwrap_err().to_string(), message);
        }
        assert_eq!(Name::<12>::constant("json"), Name::new("json").unwrap());
    }
}
