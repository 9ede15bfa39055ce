//! A table in the last lines of a terminal, below whatever else is printed there.
//!
//! The terminal is told to scroll only the lines above the table, so that what processors and logs print goes
//! its usual way and never mixes with it, whichever process prints. Everything is written in one call: the
//! terminal takes it in one piece.

use std::fmt::Write as _;
use std::io::{self, Write};

use camrig_status::RigStatus;
use rustix::termios::tcgetwinsize;

use crate::row::{Mood, Row, title};

/// The lines of the terminal that are left to others.
const OTHERS_MIN: usize = 6;

/// A table that is redrawn in place.
#[derive(Debug, Default)]
pub struct Footer {
    /// The height of the terminal and that of the table, as they were last drawn.
    drawn: Option<(usize, usize)>,
}

impl Footer {
    /// Draws the table on stderr. A terminal that is gone ends the rig by SIGHUP: errors are nobody's here.
    pub fn draw(&mut self, status: &RigStatus) {
        let Ok(size) = tcgetwinsize(io::stderr()) else { return };
        let (width, height) = (usize::from(size.ws_col), usize::from(size.ws_row));
        let lines = lines(status, width, height.saturating_sub(OTHERS_MIN));
        if lines.is_empty() {
            return self.clear();
        }
        let top = height - lines.len();
        let mut text = String::new();
        if self.drawn != Some((height, lines.len())) {
            text += &self.away();
            // Makes room: what is printed already moves up.
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

    /// Takes the table away.
    pub fn clear(&mut self) {
        let text = self.away();
        self.drawn = None;
        // A terminal that is gone needs nothing.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn away(&self) -> String {
        self.drawn.map_or_else(String::new, |(height, lines)| {
            format!("\x1b7\x1b[r\x1b[{};1H\x1b[J\x1b8", height - lines + 1)
        })
    }
}

/// A terminal that is left as it was, however the run ends.
impl Drop for Footer {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            self.clear();
        }
    }
}

/// The table as lines of at most `width` letters: a title, the columns, an actor each; what does not fit into
/// `most` lines is left out, actors that are fine first.
fn lines(status: &RigStatus, width: usize, most: usize) -> Vec<String> {
    if most < 3 {
        return Vec::new();
    }
    let mut rows = Row::all(status);
    let left_out = rows.len().saturating_sub(most - 2);
    if left_out > 0 {
        rows.sort_by_key(|row| row.mood() == Mood::Fine);
        rows.truncate(most - 2);
    }
    let header =
        ["actor", "process", "state", "fps", "dropped", "lost", "p99 ms", "cpu %", "MB"].map(str::to_owned);
    let moods: Vec<_> = rows.iter().map(Row::mood).collect();
    let cells = rows.into_iter().map(|row| {
        let rate = format!("{:.1}", row.rate_hz);
        [
            row.name,
            row.process,
            row.state.to_string(),
            rate,
            row.dropped,
            row.lost,
            row.latency,
            row.cpu,
            row.memory,
        ]
    });
    let table: Vec<_> = std::iter::once(header).chain(cells).collect();
    let widths: Vec<_> = (0..table[0].len())
        .map(|column| table.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let more = if left_out > 0 { format!(", {left_out} more") } else { String::new() };
    let mut lines = vec![paint("2", &cut(&format!("{}{more}", title(status)), width))];
    for (index, row) in table.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, &wide)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = if column < 3 {
                write!(line, "{gap}{cell:wide$}")
            } else {
                write!(line, "{gap}{cell:>wide$}")
            };
        }
        let line = cut(&line, width);
        lines.push(match index.checked_sub(1).map(|index| moods[index]) {
            None => paint("2", &line),
            Some(Mood::Fine) => line,
            Some(Mood::Waiting) => paint("33", &line),
            Some(Mood::Bad) => paint("31", &line),
        });
    }
    lines
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect::<String>().trim_end().to_owned()
}

fn paint(color: &str, line: &str) -> String {
    format!("\x1b[{color}m{line}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::example;

    #[test]
    fn lines_fit_and_show_trouble_first() {
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
            lines(&example(), 24, 3),
            [
                "\x1b[2mdemo, 1:02:03, 3 actors\x1b[0m",
                "\x1b[2mactor  process  state\x1b[0m",
                "\x1b[31mright  right    waiting-\x1b[0m",
            ]
        );
        assert!(lines(&example(), 80, 2).is_empty());
    }
}
