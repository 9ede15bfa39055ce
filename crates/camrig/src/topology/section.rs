//! Reads one table of a topology file, key by key.
//!
//! This module checks the types of values and reports invalid ones. It has no knowledge of actors: the keys of each
//! table and their meaning are defined in `parse`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use camrig_frame::one_line;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue, ValueDeserializer};

use super::problem::{Problems, did_you_mean, quote};
use super::watch::CheckWatch;
use super::{INPUTS_MAX, MAIN, Span};
use crate::error::WrongOption;
use crate::ids::{NAME_BYTES_MAX, is_name};
use crate::late::Late;
use crate::registry::{CameraOptions, RefusedOptions};
use crate::schema::{Fact, Mismatch};

/// The locations of the keys of options.
pub(super) type OptionSpans = BTreeMap<String, Span>;

/// Options that have been checked, or cannot be checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// As they are sent to a worker; `None` if they are wrong.
    pub(super) text: Option<String>,
    /// Location of the options, or else of their actor.
    pub(super) span: Span,
    /// Locations of the keys.
    pub(super) spans: OptionSpans,
    /// Parsed options of a camera, if valid.
    pub(super) camera: Option<Arc<dyn CameraOptions>>,
}

/// A table of the file from which each key is taken once: the remaining keys are unknown.
pub(super) struct Section<'p, 'i> {
    /// ``camera `left` ``; `None` for the file itself.
    pub(super) subject: Option<String>,
    /// Location of its name.
    pub(super) span: Span,
    pub(super) table: DeTable<'i>,
    pub(super) problems: &'p mut Problems,
}

impl<'i> Section<'_, 'i> {
    /// Returns ``camera `left` ``, or the file itself.
    fn subject(&self) -> &str {
        self.subject.as_deref().unwrap_or("topology")
    }

    /// Returns `` `slots` of camera `left` ``.
    pub(super) fn describe(&self, key: &str) -> String {
        match &self.subject {
            Some(subject) => format!("{} of {subject}", quote(key)),
            None => quote(key),
        }
    }

    /// Takes the value of `key` if `read` accepts it; otherwise reports that `wanted` is expected.
    fn take<T>(
        &mut self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(DeValue<'i>) -> Result<T, DeValue<'i>>,
    ) -> Option<Spanned<T>> {
        let value = self.table.remove(key)?;
        let span = value.span();
        match read(value.into_inner()) {
            Ok(value) => Some(Spanned::new(span, value)),
            Err(value) => {
                let title = format!("{} is {}", self.describe(key), type_of(&value));
                self.problems.add(span, title, format!("must be {wanted}"));
                None
            }
        }
    }

    fn string(&mut self, key: &str) -> Option<Spanned<String>> {
        self.take(key, "a string", into_string)
    }

    /// Takes an optional string.
    pub(super) fn optional(&mut self, key: &str) -> Option<Spanned<String>> {
        self.string(key)
    }

    /// Takes a required string; `label` describes the valid values.
    pub(super) fn required(&mut self, key: &str, label: impl FnOnce() -> String) -> Option<Spanned<String>> {
        if !self.table.contains_key(key) {
            self.missing(key, &label());
        }
        self.string(key)
    }

    pub(super) fn missing(&mut self, key: &str, label: &str) {
        let title = format!("{} has no {}", self.subject(), quote(key));
        self.problems.add(self.span.clone(), title, label);
    }

    /// Reports that `written` is not the name of a `what`.
    pub(super) fn unknown<'a>(
        &mut self,
        written: &Spanned<String>,
        what: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        let name = written.get_ref();
        let title = match &self.subject {
            Some(subject) => format!("{subject} has unknown {what} {}", quote(name)),
            None => format!("unknown {what} {}", quote(name)),
        };
        self.problems.add(written.span(), title, did_you_mean(name, known));
    }

    pub(super) fn one_of<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let written = self.string(key)?;
        let found = choices.iter().find(|(name, _)| name == written.get_ref());
        if found.is_none() {
            self.unknown(&written, key, choices.iter().map(|(name, _)| *name));
        }
        found.map(|(_, choice)| *choice)
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        let taken = self.take(key, "`true` or `false`", |value| match value {
            DeValue::Boolean(flag) => Ok(flag),
            value => Err(value),
        });
        taken.map(Spanned::into_inner)
    }

    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let range = i64::try_from(*range.start()).ok()?..=i64::try_from(*range.end()).ok()?;
        self.integer(key, range).and_then(|number| usize::try_from(number).ok())
    }

    /// Takes an integer, which may be negative.
    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let wanted = format!("{} to {}", range.start(), range.end());
        let written = self.take(key, &format!("an integer, {wanted}"), |value| match value {
            DeValue::Integer(integer) => Ok(integer),
            value => Err(value),
        })?;
        let number = within(written.get_ref(), &range);
        if number.is_none() {
            let title = format!("{} is out of range", self.describe(key));
            self.problems.add(written.span(), title, format!("must be {wanted}"));
        }
        number
    }

    /// Takes an array of at least one integer.
    pub(super) fn integers(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<Vec<i64>> {
        let wanted = format!("an array of integers, {} to {}", range.start(), range.end());
        let array = self.take(key, &wanted, |value| match value {
            DeValue::Array(array) => Ok(array),
            value => Err(value),
        })?;
        if array.get_ref().is_empty() {
            let title = format!("{} is empty", self.describe(key));
            self.problems.add(array.span(), title, format!("must be {wanted}"));
        }
        let mut integers = Vec::new();
        for value in array.get_ref() {
            let title = match value.get_ref() {
                DeValue::Integer(integer) => match within(integer, &range) {
                    Some(number) => {
                        integers.push(number);
                        continue;
                    }
                    None => format!("{} has a number out of range", self.describe(key)),
                },
                value => format!("{} has {}", self.describe(key), type_of(value)),
            };
            self.problems.add(value.span(), title, format!("must be {wanted}"));
        }
        Some(integers)
    }

    /// Takes a table below `key`, as a section of its own.
    pub(super) fn table(&mut self, key: &str, wanted: &str) -> Option<Section<'_, 'i>> {
        let table = self.take(key, wanted, into_table)?;
        let (subject, span) = (Some(self.describe(key)), table.span());
        Some(Section { subject, span, table: table.into_inner(), problems: self.problems })
    }

    pub(super) fn name(&mut self, key: &str) -> Option<String> {
        let name = self.string(key)?;
        check_name(key, name.get_ref(), name.span(), self.problems);
        Some(name.into_inner())
    }

    /// Takes the names of the inputs; whether they exist can only be checked when all actors are known.
    pub(super) fn inputs(&mut self) -> Vec<Spanned<String>> {
        const WANTED: &str = "an array of names of actors";
        if !self.table.contains_key("inputs") {
            self.missing("inputs", &format!("it needs {WANTED}"));
        }
        let array = self.take("inputs", WANTED, |value| match value {
            DeValue::Array(array) => Ok(array),
            value => Err(value),
        });
        let Some(array) = array else { return Vec::new() };
        let subject = self.subject().to_owned();
        if array.get_ref().is_empty() {
            self.problems.add(array.span(), format!("{subject} has no inputs"), format!("it needs {WANTED}"));
        }
        if array.get_ref().len() > INPUTS_MAX {
            let title = format!("{subject} has {} inputs", array.get_ref().len());
            self.problems.add(array.span(), title, format!("it can have at most {INPUTS_MAX}"));
        }
        let mut inputs: Vec<Spanned<String>> = Vec::new();
        for input in array.get_ref().iter().take(INPUTS_MAX).cloned() {
            let span = input.span();
            match into_string(input.into_inner()) {
                Err(value) => {
                    let title = format!("an input of {subject} is {}", type_of(&value));
                    self.problems.add(span, title, "must be the name of an actor");
                }
                Ok(name) if inputs.iter().any(|input| *input.get_ref() == name) => {
                    self.problems.add(span, format!("{subject} reads {} twice", quote(&name)), "");
                }
                Ok(name) => inputs.push(Spanned::new(span, name)),
            }
        }
        inputs
    }

    /// Takes the options, and parses them with `check`, watched with this bound; `taker` is their consumer, such as
    /// ``driver `realsense` ``.
    pub(super) fn options(
        &mut self,
        taker: &str,
        watched: (&CheckWatch, Option<(Duration, Late)>),
        check: impl FnOnce(&Spanned<DeValue<'i>>) -> Result<Option<Arc<dyn CameraOptions>>, RefusedOptions>,
    ) -> Options {
        let (span, value) = match self.table.remove_entry("options") {
            Some((key, value)) => (key.span(), value),
            None => (self.span.clone(), Spanned::new(self.span.clone(), DeValue::Table(DeTable::new()))),
        };
        if !value.get_ref().is_table() {
            let title = format!("{} is {}", self.describe("options"), type_of(value.get_ref()));
            self.problems.add(value.span(), title, "must be a table");
            return Options { span, ..Options::default() };
        }
        let spans = spans_of(&value);
        let (watch, bound) = watched;
        let hangs = |late: Late| {
            let title = format!(
                "{}: {taker} did not return from the check of its options {}",
                self.subject(),
                late.bound()
            );
            self.problems.with(span.clone(), title)
        };
        let camera = match watch.call(bound, hangs, || check(&value)) {
            Ok(camera) => camera,
            Err(refused) => {
                self.refuse_options(taker, &span, &value, refused);
                return Options { span, ..Options::default() };
            }
        };
        match toml::Table::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(table) => Options { text: Some(table.to_string()), span, spans, camera },
            Err(error) => {
                self.refuse_type(&span, &value, &error);
                Options { span, ..Options::default() }
            }
        }
    }

    /// Reports all problems of `options`. `at` is their location.
    fn refuse_options(
        &mut self,
        taker: &str,
        at: &Span,
        options: &Spanned<DeValue<'_>>,
        refused: RefusedOptions,
    ) {
        for mismatch in refused.mismatches {
            self.refuse_option(taker, mismatch);
        }
        for error in refused.types {
            self.refuse_type(at, options, &error);
        }
        let spans = spans_of(options);
        for WrongOption { options: names, message } in refused.values {
            let span = span_of(&spans, &names).unwrap_or(at).clone();
            self.problems.add(span, format!("{}: {message}", self.subject()), "");
        }
    }

    /// Reports an option that its type rejects.
    fn refuse_type(&mut self, at: &Span, options: &Spanned<DeValue<'_>>, error: &toml::de::Error) {
        let span = error.span().unwrap_or_else(|| at.clone());
        let subject = self.subject_of_option(option_at(options, &span));
        self.problems.add(span, format!("{subject}: {}", one_line(error.message())), "");
    }

    fn refuse_option(&mut self, taker: &str, Mismatch { span, option, fact }: Mismatch) {
        let subject = self.subject();
        let (title, label) = match fact {
            Fact::Unknown { name, known } => {
                let label = if known.is_empty() {
                    format!("{taker} takes no options")
                } else {
                    did_you_mean(&name, known.iter().map(String::as_str))
                };
                (format!("unknown option {} of {subject}", quote(&name)), label)
            }
            Fact::Missing { name } => {
                (format!("{subject} has no option {}", quote(&name)), format!("{taker} needs it"))
            }
            Fact::NotAChoice { written, choices } => {
                let subject = self.subject_of_option(option.as_deref());
                let label = did_you_mean(&written, choices.iter().map(String::as_str));
                (format!("{subject} has unknown value {}", quote(&written)), label)
            }
            Fact::Unexpected { found, wanted } => {
                let subject = self.subject_of_option(option.as_deref());
                (format!("{subject} is {}", one_line(found)), format!("must be {wanted}"))
            }
        };
        self.problems.add(span, title, label);
    }

    /// Returns ``option `serial` of camera `left` ``, or the camera if no option is concerned.
    fn subject_of_option(&self, option: Option<&str>) -> String {
        let subject = self.subject();
        option.map_or_else(|| subject.to_owned(), |option| format!("option {} of {subject}", quote(option)))
    }

    /// Takes an array of names; invalid elements are reported as `what`.
    pub(super) fn names(&mut self, key: &str, what: &str) -> Option<Vec<Spanned<String>>> {
        let wanted = format!("an array of {what}");
        let array = self.take(key, &wanted, |value| match value {
            DeValue::Array(array) => Ok(array),
            value => Err(value),
        })?;
        let mut names = Vec::new();
        for value in array.get_ref().iter().cloned() {
            let span = value.span();
            match into_string(value.into_inner()) {
                Ok(name) => names.push(Spanned::new(span, name)),
                Err(value) => {
                    let title = format!("{} has {}", self.describe(key), type_of(&value));
                    self.problems.add(span, title, format!("must be {wanted}"));
                }
            }
        }
        Some(names)
    }

    /// Returns the tables below `[role]`: names, locations, and keys.
    pub(super) fn named_tables(&mut self, role: &str) -> Vec<(String, Span, DeTable<'i>)> {
        let wanted = format!("a table for each {role}, as in `[{role}.NAME]`");
        let Some(tables) = self.take(role, &wanted, into_table) else { return Vec::new() };
        let mut named = Vec::new();
        for (name, value) in tables.into_inner() {
            let (span, name) = (name.span(), name.into_inner().into_owned());
            check_name(role, &name, span.clone(), self.problems);
            if name == MAIN {
                let title = match role {
                    "process" => format!("process {} has a table", quote(MAIN)),
                    _ => format!("a {role} is called {}", quote(MAIN)),
                };
                self.problems.add(span.clone(), title, "this is the supervisor's own process");
            }
            let value_span = value.span();
            match into_table(value.into_inner()) {
                Ok(table) => named.push((name, span, table)),
                Err(value) => {
                    let title = format!("{role} {} is {}", quote(&name), type_of(&value));
                    self.problems.add(value_span, title, "must be a table");
                }
            }
        }
        named
    }

    /// Reports every key that was not taken; `keys` are the valid ones.
    pub(super) fn finish(mut self, keys: &[&str]) {
        for (key, _) in std::mem::take(&mut self.table) {
            let title = match &self.subject {
                Some(subject) => format!("unknown key {} of {subject}", quote(key.get_ref())),
                None => format!("unknown key {}", quote(key.get_ref())),
            };
            self.problems.add(key.span(), title, did_you_mean(key.get_ref(), keys.iter().copied()));
        }
    }
}

/// Returns the locations of the keys of options, those of tables in it as `table.key`.
fn spans_of(options: &Spanned<DeValue<'_>>) -> OptionSpans {
    let mut spans = OptionSpans::new();
    for (key, value) in options.get_ref().as_table().into_iter().flatten() {
        let name = key.get_ref();
        let inner = spans_of(value).into_iter().map(|(inner, span)| (format!("{name}.{inner}"), span));
        spans.extend(inner);
        spans.insert(name.to_string(), key.span());
    }
    spans
}

/// Returns the location of the first of these options that the topology has, or that of the table that would contain it.
pub(super) fn span_of<'s>(spans: &'s OptionSpans, names: &[String]) -> Option<&'s Span> {
    let table = |name: &String| name.split_once('.').and_then(|(table, _)| spans.get(table));
    names.iter().find_map(|name| spans.get(name)).or_else(|| names.iter().find_map(table))
}

/// Returns the innermost option whose value contains `span`.
fn option_at<'o>(options: &'o Spanned<DeValue<'_>>, span: &Span) -> Option<&'o str> {
    let around =
        |value: &Spanned<DeValue<'_>>| value.span().start <= span.start && span.end <= value.span().end;
    let mut tables = vec![options.get_ref().as_table()?];
    let mut innermost: Option<(usize, &str)> = None;
    // Every table is searched: the span of one written with dotted keys does not contain its own values.
    while let Some(table) = tables.pop() {
        tables.extend(table.values().filter_map(|value| value.get_ref().as_table()));
        for (key, value) in table.iter().filter(|(_, value)| around(value)) {
            let length = value.span().len();
            if innermost.is_none_or(|(shortest, _)| length <= shortest) {
                innermost = Some((length, key.get_ref()));
            }
        }
    }
    innermost.map(|(_, key)| key)
}

fn check_name(what: &str, name: &str, span: Span, problems: &mut Problems) {
    if !is_name(name) {
        let label = format!("1 to {NAME_BYTES_MAX} of a-z A-Z 0-9 _ -, and first a letter or digit");
        problems.add(span, format!("{} cannot be the name of a {what}", quote(name)), label);
    }
}

fn into_string(value: DeValue<'_>) -> Result<String, DeValue<'_>> {
    match value {
        DeValue::String(text) => Ok(text.into_owned()),
        value => Err(value),
    }
}

fn into_table(value: DeValue<'_>) -> Result<DeTable<'_>, DeValue<'_>> {
    match value {
        DeValue::Table(table) => Ok(table),
        value => Err(value),
    }
}

/// Returns the number that is written, if it is within `range`.
fn within(integer: &DeInteger<'_>, range: &RangeInclusive<i64>) -> Option<i64> {
    // A number too large for its type is also out of range.
    let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
    number.filter(|number| range.contains(number))
}

/// Returns the type of a value with its article.
fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a datetime",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
