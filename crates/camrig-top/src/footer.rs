//! A table in the last lines of a terminal, below other output.
//!
//! The terminal's scroll region is set to the lines above the table. So the output of processors and logs, from
//! any process, never mixes with the table. Each update is a single write, which the terminal handles as a whole.

use std::fmt::Write as _;
use std::io::{self, Write};

use camrig_status::RigStatus;
use comfy_table::{CellAlignment, Table, presets};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use crate::colors_are_wanted;
use crate::columns::{self, shortened};
use crate::row::{Row, Severity, title};

/// The minimum number of terminal lines for other output.
const OTHERS_MIN: usize = 6;

/// The fewest lines of a table: a title, the header and one actor.
const LINES_MIN: usize = 3;

/// The columns of the table.
const HEADER: [&str; 9] = ["actor", "process", "state", "fps", "dropped", "lost", "p99 ms", "cpu %", "MB"];

/// The columns that a narrow terminal leaves out, first one first. The last two are state and rate.
const OPTIONAL: [usize; 8] = [1, 8, 7, 6, 5, 4, 2, 3];

/// The number of leading columns that hold text; the others hold numbers, aligned to the right.
const TEXT_COLUMNS: usize = 3;

/// A table that is redrawn in place.
#[derive(Debug, Default)]
pub struct Footer {
    /// The heights of the terminal and of the table at the last update; `None` while there is no table.
    drawn: Option<(usize, usize)>,
    /// Whether other programs may have changed the scroll region since.
    is_disturbed: bool,
}

impl Footer {
    /// Draws the table on stderr, unless this process is in the background of its terminal, which belongs to another one
    /// then. Ignores errors: when the terminal closes, SIGHUP ends the rig.
    pub fn draw(&mut self, status: &RigStatus) {
        if is_in_background() {
            return self.clear();
        }
        let Ok(size) = tcgetwinsize(io::stderr()) else { return };
        let (width, height) = (usize::from(size.ws_col), usize::from(size.ws_row));
        let lines = lines(status, width, height.saturating_sub(OTHERS_MIN));
        if lines.is_empty() {
            return self.clear();
        }
        let top = height - lines.len();
        let mut text = String::new();
        if self.is_disturbed || self.drawn != Some((height, lines.len())) {
            self.is_disturbed = false;
            text += &self.removal();
            // Makes space: existing output scrolls up.
            text += &"\n".repeat(lines.len());
            let _ = write!(text, "\x1b[{}A\x1b7\x1b[1;{top}r\x1b8", lines.len());
        }
        text += "\x1b7";
        for (index, line) in lines.iter().enumerate() {
            let _ = write!(text, "\x1b[{};1H\x1b[2K{line}", top + index + 1);
        }
        text += "\x1b8";
        self.drawn = Some((height, lines.len()));
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Draws the whole table at the next update: other programs may have used the terminal.
    pub fn renew(&mut self) {
        self.is_disturbed = true;
    }

    /// Removes the table.
    pub fn clear(&mut self) {
        let text = self.removal();
        self.drawn = None;
        if text.is_empty() {
            return;
        }
        // A closed terminal has no table to remove.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Returns the escape sequence that removes the table.
    fn removal(&self) -> String {
        self.drawn.map_or_else(String::new, |(height, lines)| {
            format!("\x1b7\x1b[r\x1b[{};1H\x1b[J\x1b8", height - lines + 1)
        })
    }
}

/// Restores the terminal, however the run ends.
impl Drop for Footer {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            self.clear();
        }
    }
}

/// Returns whether this process belongs to a job in the background of the terminal behind stderr.
fn is_in_background() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|foreground| foreground != getpgrp())
}

/// Returns the table as lines of at most `width` characters: a title, a header, and a line per actor. Beyond
/// `max_lines` it omits actors, those in order first.
fn lines(status: &RigStatus, width: usize, max_lines: usize) -> Vec<String> {
    if max_lines < LINES_MIN {
        return Vec::new();
    }
    let mut rows = Row::all(status);
    let omitted = rows.len().saturating_sub(max_lines - 2);
    if omitted > 0 {
        rows.sort_by_key(|row| row.severity() == Severity::Good);
        rows.truncate(max_lines - 2);
    }
    let severities: Vec<_> = rows.iter().map(Row::severity).collect();
    let more = if omitted > 0 { format!(", {omitted} more") } else { String::new() };
    let title = paint("2", &title(status, &more, width));
    let table = table(rows, width);
    let rows = table.lines().enumerate().map(|(index, line)| {
        let line = line.trim_end();
        match index.checked_sub(1).map(|index| severities[index]) {
            None => paint("2", line),
            Some(Severity::Good) => line.to_owned(),
            Some(Severity::Waiting) => paint("33", line),
            Some(Severity::Bad) => paint("31", line),
        }
    });
    std::iter::once(title).chain(rows).collect()
}

/// Returns a header and one line per row, in the aligned columns that fit `width`.
fn table(rows: Vec<Row>, width: usize) -> String {
    let header = HEADER.map(str::to_owned);
    let rows = rows.into_iter().map(|row| {
        let (state, rate) = (row.state.to_string(), format!("{:.1}", row.rate_hz));
        [row.name, row.process, state, rate, row.dropped, row.lost, row.latency, row.cpu, row.memory]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let widths = columns::widths(rows.iter().map(|row| row.iter().map(String::as_str).collect()));
    let (shown, first) = columns::fit(&widths, &OPTIONAL, width);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(rows.iter().map(|row| {
        let text = |&column: &usize| {
            if column == 0 { shortened(&row[column], first) } else { row[column].clone() }
        };
        shown.iter().map(text).collect::<Vec<_>>()
    }));
    for (column, &index) in table.column_iter_mut().zip(&shown) {
        let alignment = if index < TEXT_COLUMNS { CellAlignment::Left } else { CellAlignment::Right };
        column.set_cell_alignment(alignment);
        column.set_padding(if index == 0 { (0, 0) } else { (columns::GAP as u16, 0) });
    }
    table.trim_fmt()
}

fn paint(color: &str, line: &str) -> String {
    if colors_are_wanted() { format!("\x1b[{color}m{line}\x1b[0m") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::example;

    #[test]
    fn lines_fit_and_show_problems_first() {
        assert_eq!(
            lines(&example(), 100, 9),
            [
                "\x1b[2mdemo, 1:02:03, 3 actors in 3 processes\x1b[0m",
                "\x1b[2mactor  process  state                fps  dropped  lost  p99 ms  cpu %  MB\x1b[0m",
                "left   left     running             30.0        3     7     2.3     12  15",
                "\x1b[31mright  right    waiting-for-device   0.0        3     7     2.3     12  15\x1b[0m",
                "view   right    running             30.0        6     -     2.3",
            ]
        );
        assert_eq!(
            lines(&example(), 40, 3),
            [
                "\x1b[2mdemo, 1:02:03, 3 actors, 2 more\x1b[0m",
                "\x1b[2mactor  state               fps  dropped\x1b[0m",
                "\x1b[31mright  waiting-for-device  0.0        3\x1b[0m",
            ]
        );
        assert_eq!(
            lines(&example(), 24, 3),
            ["\x1b[2mdemo, 1:02:03, 2 more\x1b[0m", "\x1b[2mactor  fps\x1b[0m", "\x1b[31mright  0.0\x1b[0m",]
        );
        assert!(lines(&example(), 80, 2).is_empty());
    }
}
