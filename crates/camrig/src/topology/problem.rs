//! Problems of a topology: fact, location, choices.
//!
//! This module does not depend on TOML or on the rules of a topology: its callers describe location and remedy.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::Span;
use crate::ids::NAME_BYTES_MAX;

/// Maximum number of problems that are shown; of further ones only the number is.
const PROBLEMS_SHOWN_MAX: usize = 64;

/// Maximum number of choices that are listed; of further ones only the number is.
const CHOICES_SHOWN_MAX: usize = 16;

/// The text of a topology and the name of its file.
#[derive(Debug)]
pub(super) struct TopologyText {
    pub(super) file: String,
    pub(super) text: String,
}

impl TopologyText {
    pub(super) fn new(file: &str, text: &str) -> Arc<Self> {
        Arc::new(Self { file: file.to_owned(), text: text.to_owned() })
    }

    /// Returns the line in which `span` starts, its number, and the part of `span` on it.
    ///
    /// Problems show only this line, so that rendering is quick for files of any size.
    fn line(&self, span: Span) -> (&str, usize, Span) {
        let text = self.text.as_str();
        // A parser may report a position between lines or inside a character, which a caret cannot mark.
        let floor = |offset: usize| (0..=offset).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let start = floor(span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let number = 1 + text[..line_start].matches('\n').count();
        let start = (start - line_start).min(line.len());
        let end = floor(span.end.min(text.len())).saturating_sub(line_start).clamp(start, line.len());
        (line, number, start..end)
    }
}

/// One problem.
#[derive(Clone, Debug)]
struct Problem {
    title: String,
    span: Option<Span>,
    label: String,
    unavailable: bool,
}

/// All problems of a topology, in the order of its file.
#[derive(Clone, Debug)]
pub struct Problems {
    source: Arc<TopologyText>,
    list: Vec<Problem>,
}

impl Problems {
    /// Creates an empty list.
    pub(super) fn new(source: Arc<TopologyText>) -> Self {
        Self { source, list: Vec::new() }
    }

    /// Returns a problem of the whole file, described by `fact`.
    pub(crate) fn of_file(file: &str, fact: &str) -> Self {
        let mut problems = Self::new(TopologyText::new(file, ""));
        problems.add_file(fact);
        problems
    }

    pub(super) fn add_file(&mut self, fact: &str) {
        let title = format!("topology {} {fact}", quote(&self.source.file));
        self.list.push(Problem { title, span: None, label: String::new(), unavailable: false });
    }

    /// Adds a problem: `title` is the fact, `label` the remedy, which may be empty.
    pub(super) fn add(&mut self, span: Span, title: impl Into<String>, label: impl Into<String>) {
        let problem =
            Problem { title: title.into(), span: Some(span), label: label.into(), unavailable: false };
        self.list.push(problem);
    }

    /// Returns these problems and another one, in the order of the file.
    pub(super) fn with(&self, span: Span, title: String) -> Self {
        let mut all = self.clone();
        all.add(span, title, "");
        all.sort();
        all
    }

    /// Adds a problem that may pass: a device that is not attached.
    pub(super) fn add_unavailable(&mut self, span: Span, title: String) {
        self.list.push(Problem { title, span: Some(span), label: String::new(), unavailable: true });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns `Ok` without problems, and all of them in the order of the file otherwise.
    pub(super) fn none_yet(mut self) -> Result<Self, Self> {
        self.sort();
        if self.is_empty() { Ok(self) } else { Err(self) }
    }

    fn sort(&mut self) {
        self.list.sort_by_key(|problem| problem.span.as_ref().map(|span| (span.start, span.end)));
    }

    /// Returns whether all problems are unavailable devices: trying again later may help.
    pub fn is_unavailable(&self) -> bool {
        self.list.iter().all(|problem| problem.unavailable)
    }

    /// Renders the text for the user; `styled` for a terminal.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let mut texts: Vec<String> = self
            .list
            .iter()
            .take(PROBLEMS_SHOWN_MAX)
            .map(|problem| renderer.render(&[self.group(problem)]))
            .collect();
        if let Some(more @ 1..) = self.list.len().checked_sub(PROBLEMS_SHOWN_MAX) {
            let title = format!("there are {more} more problems");
            texts.push(renderer.render(&[Group::with_title(Level::ERROR.primary_title(title))]));
        }
        texts.join("\n\n")
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let title = Level::ERROR.primary_title(&problem.title);
        let Some(span) = &problem.span else { return Group::with_title(title) };
        let (line, number, span) = self.source.line(span.clone());
        let label = (!problem.label.is_empty()).then_some(problem.label.as_str());
        let snippet = Snippet::source(line).line_start(number).path(self.source.file.as_str());
        title.element(snippet.annotation(AnnotationKind::Primary.span(span).label(label)))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// Quotes a name in backticks: on one line, and truncated to the length of valid names.
pub(super) fn quote(name: &str) -> String {
    let mut quoted = String::from("`");
    for letter in name.chars().take(NAME_BYTES_MAX) {
        if letter.is_control() {
            quoted.extend(letter.escape_default());
        } else {
            quoted.push(letter);
        }
    }
    quoted.push_str(if name.chars().nth(NAME_BYTES_MAX).is_some() { "...`" } else { "`" });
    quoted
}

/// Formats the choices, as ``expected one of: `left`, `right` ``.
pub(super) fn there_are<'a>(known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known = known.into_iter();
    let shown: Vec<_> = known.by_ref().take(CHOICES_SHOWN_MAX).map(quote).collect();
    if shown.is_empty() {
        return "there are none".to_owned();
    }
    let mut text = format!("expected one of: {}", shown.join(", "));
    if let more @ 1.. = known.count() {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {more} more");
    }
    text
}

/// Formats the nearest choice, if one is near, and all choices, as ``did you mean `left`? expected one of: `left`, `right`
/// ``.
pub(super) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    let there_are = there_are(known.iter().copied());
    // A third of the word, as in cargo; a text much longer than any name is near to none.
    let near = written.len().clamp(3, NAME_BYTES_MAX) / 3;
    let distance = |name: &str| strsim::damerau_levenshtein(written, name);
    let nearest = (written.len() <= 2 * NAME_BYTES_MAX)
        .then(|| known.iter().map(|name| (distance(name), name)).min())
        .flatten()
        .filter(|(distance, _)| *distance <= near);
    match nearest {
        Some((_, name)) => format!("did you mean {}? {there_are}", quote(name)),
        None => there_are,
    }
}
