//! Errors in the syntax of a topology, with the places that the parser of TOML gives.

use camrig_frame::one_line;
use toml::de::Error;
use toml_parser::decoder::ScalarKind;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{ParseError, Source, Span};

use super::problem::{Problems, quote};

/// The deepest nesting of tables and arrays in which places are looked for: that of the crate `toml`.
const NESTING_MAX: u32 = 80;

/// Adds the errors that the parser of TOML found in `text`.
pub(super) fn report(errors: &[Error], text: &str, problems: &mut Problems) {
    if errors.is_empty() {
        return;
    }
    let parts = Parts::of(text);
    for error in errors {
        let span = error.span().unwrap_or_default();
        let title = one_line(error.message());
        match parts.place(Span::new_unchecked(span.start, span.end)) {
            ErrorPlace::Key(key) => problems.add(span, format!("{title} {}", quote(key)), ""),
            ErrorPlace::Word => problems.add(span, title, "a string needs quotes"),
            ErrorPlace::Other => problems.add(span, title, ""),
        }
    }
}

/// The place of an error.
#[derive(Debug, PartialEq)]
enum ErrorPlace<'t> {
    /// A key that is well-formed: it contradicts another one.
    Key(&'t str),
    /// A value that begins as a boolean or a number such as `inf`, which a string without quotes can.
    Word,
    Other,
}

/// The parts of a text, as the parser of TOML has found them.
struct Parts<'t> {
    source: Source<'t>,
    events: Vec<Event>,
    /// Errors of the grammar. An error about a key that is not among them comes from the keys before.
    errors: Vec<ParseError>,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Self {
        let source = Source::new(text);
        let (mut events, mut errors) = (Vec::new(), Vec::new());
        let mut bounded = RecursionGuard::new(&mut events, NESTING_MAX);
        parse_document(&source.lex().into_vec(), &mut bounded, &mut errors);
        Self { source, events, errors }
    }

    fn place(&self, span: Span) -> ErrorPlace<'t> {
        let Some(event) = self.events.iter().find(|event| event.span() == span) else {
            return ErrorPlace::Other;
        };
        let Some(part) = self.source.get(event) else {
            return ErrorPlace::Other;
        };
        match event.kind() {
            EventKind::SimpleKey => {
                let mut malformed = None;
                part.decode_key(&mut (), &mut malformed);
                let in_grammar = self.errors.iter().any(|error| error.unexpected() == Some(span));
                if malformed.is_some() || in_grammar {
                    ErrorPlace::Other
                } else {
                    ErrorPlace::Key(part.as_str())
                }
            }
            EventKind::Scalar if part.as_str().starts_with(char::is_alphabetic) => {
                match part.decode_scalar(&mut (), &mut ()) {
                    // The error itself says that it needs quotes.
                    ScalarKind::String => ErrorPlace::Other,
                    _ => ErrorPlace::Word,
                }
            }
            _ => ErrorPlace::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    /// Returns the message and the place of each error of a text.
    fn errors(text: &str) -> Vec<(String, ErrorPlace<'_>)> {
        let parts = Parts::of(text);
        let errors = DeTable::parse_recoverable(text).1;
        let place = |error: &Error| {
            let span = error.span().unwrap_or_default();
            parts.place(Span::new_unchecked(span.start, span.end))
        };
        errors.iter().map(|error| (error.message().to_owned(), place(error))).collect()
    }

    /// Returns the places of the errors of a text.
    fn places(text: &str) -> Vec<ErrorPlace<'_>> {
        errors(text).into_iter().map(|(_, place)| place).collect()
    }

    #[test]
    fn a_key_that_contradicts_another_one_is_named() {
        for (text, key) in [
            ("a = 1\na = 2\n", "a"),
            ("[a]\n[a]\n", "a"),
            ("[a.b]\n[c]\n[a.b]\n", "b"),
            ("a = { b = 1, b = 2 }\n", "b"),
            ("a = { b = 1,b=2}\n", "b"),
            ("\"a b\" = 1\n\"a b\" = 2\n", "\"a b\""),
            ("a = 1\na.b = 2\n", "a"),
            ("a = []\n[[a]]\n", "a"),
        ] {
            assert_eq!(places(text), [ErrorPlace::Key(key)], "{text}");
        }
    }

    #[test]
    fn a_word_that_begins_as_another_value_needs_quotes() {
        for text in ["a = in-process\n", "a = true-depth\n", "a = [1, false.]\n", "a = { b = now, c = 1 }\n"]
        {
            assert_eq!(places(text), [ErrorPlace::Word], "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let text = format!("a = {}\n", "[".repeat(1 << 16));
        assert!(places(&text).iter().all(|place| *place == ErrorPlace::Other));
    }

    #[test]
    fn other_errors_are_about_neither() {
        for text in [
            "[a\n",
            "a =\n",
            "a\n",
            "a b\n",
            "= 1\n",
            "a = synthetic\n",
            "a = \"b\n",
            "a = 1e\n",
            "\u{e4} = 1\n",
            "'''a''' = 1\n",
            "a = { b 1 }\n",
            "a = 1 a = 2\n",
        ] {
            let found = errors(text);
            assert!(!found.is_empty(), "{text}");
            assert!(found.iter().all(|(_, place)| *place == ErrorPlace::Other), "{text}: {found:?}");
        }
    }
}
