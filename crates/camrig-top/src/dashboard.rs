//! A screen of actors, with the history of each rate.

use std::collections::{BTreeMap, VecDeque};

use camrig_status::RigStatus;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row as TableRow, Table, TableState};

use crate::row::{Mood, Row, title};

/// The number of rates drawn per actor, newest last.
const RATES: usize = 24;

/// The bars for rates, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The content of the screen.
#[derive(Default)]
pub(crate) struct Dashboard {
    status: RigStatus,
    /// By actor.
    rates: BTreeMap<String, VecDeque<f64>>,
    table: TableState,
}

impl Dashboard {
    /// Replaces the status by a newer one.
    pub(crate) fn update(&mut self, status: RigStatus) {
        for row in Row::all(&status) {
            let rates = self.rates.entry(row.name).or_default();
            rates.push_back(row.rate_hz);
            if rates.len() > RATES {
                rates.pop_front();
            }
        }
        self.status = status;
    }

    /// Moves the selection by one row.
    pub(crate) fn step(&mut self, down: bool) {
        let last = self.status.actors.len().saturating_sub(1);
        let now = self.table.selected();
        let next = if down {
            now.map_or(0, |now| (now + 1).min(last))
        } else {
            now.map_or(last, |now| now.saturating_sub(1))
        };
        self.table.select(Some(next));
    }

    pub(crate) fn draw(&mut self, frame: &mut Frame<'_>) {
        let rows = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)];
        let [head, _, body, foot] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(Line::from(vec!["camrig top  ".bold(), title(&self.status).into()]), head);
        let header = [
            "ACTOR", "KIND", "PROCESS", "STATE", "FPS", "", "MADE", "LOST", "DROPPED", "P99 MS", "RESTARTS",
            "CPU %", "MB",
        ];
        let rows: Vec<_> = Row::all(&self.status).into_iter().map(|row| self.cells(row)).collect();
        let widths: Vec<_> = (0..header.len())
            .map(|column| {
                let cells = rows.iter().map(|row| row[column].0.chars().count());
                Constraint::Length(cells.chain([header[column].len()]).max().unwrap_or(0) as u16)
            })
            .collect();
        let right_from = 4;
        let rows = rows.into_iter().map(|row| {
            TableRow::new(row.into_iter().enumerate().map(|(column, (text, style))| {
                let line = Line::from(text);
                Cell::new(if column >= right_from { line.right_aligned() } else { line }).style(style)
            }))
        });
        let header = header.into_iter().enumerate().map(|(column, text)| {
            let line = Line::from(text);
            Cell::new(if column >= right_from { line.right_aligned() } else { line })
        });
        let table = Table::new(rows, widths)
            .header(TableRow::new(header).style(Style::new().dim()))
            .column_spacing(2)
            .row_highlight_style(Style::new().reversed());
        frame.render_stateful_widget(table, body, &mut self.table);
        frame.render_widget(Line::from(self.foot_line()).dim(), foot);
    }

    fn cells(&self, row: Row) -> [(String, Style); 13] {
        let color = match row.mood() {
            Mood::Fine => Color::Green,
            Mood::Waiting => Color::Yellow,
            Mood::Bad => Color::Red,
        };
        let highlight =
            |text: &str| if text == "0" || text == "-" { Style::new().dim() } else { Style::new().yellow() };
        let rates = self.rates.get(&row.name).map(bars).unwrap_or_default();
        let plain = Style::new();
        let (lost, dropped, restarts) =
            (highlight(&row.lost), highlight(&row.dropped), highlight(&row.restarts));
        [
            (row.name, plain.bold()),
            (row.kind, plain),
            (row.process, plain),
            (row.state.to_string(), plain.fg(color)),
            (format!("{:.1}", row.rate_hz), plain),
            (rates, plain.cyan()),
            (row.produced, plain),
            (row.lost, lost),
            (row.dropped, dropped),
            (row.latency, plain),
            (row.restarts, restarts),
            (row.cpu, plain),
            (row.memory, plain),
        ]
    }

    /// Returns the last error of the selected actor, or a description of the keys.
    fn foot_line(&self) -> String {
        let selected = self.table.selected().and_then(|index| self.status.actors.get(index));
        match selected.filter(|actor| !actor.error.is_empty()) {
            Some(actor) => format!("{}: {}", actor.name, actor.error),
            None => "q quits, the rig keeps running; up and down select an actor and show its last error"
                .to_owned(),
        }
    }
}

/// Returns one bar per rate, relative to the highest one, padded to [`RATES`] characters; a space for 0.
fn bars(rates: &VecDeque<f64>) -> String {
    let most = rates.iter().copied().fold(0.0, f64::max);
    let bar = |&rate: &f64| match rate / most {
        share if share > 0.0 => BARS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1],
        _ => ' ',
    };
    let bars: String = rates.iter().map(bar).collect();
    format!("{bars:>RATES$}")
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::row::example;

    fn screen(dashboard: &mut Dashboard, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| dashboard.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_screen_shows_every_number_of_a_rig() {
        let mut dashboard = Dashboard::default();
        for rate_hz in [0.0, 10.0, 40.0, 30.0] {
            let mut status = example();
            status.actors[0].rate_hz = rate_hz;
            dashboard.update(status);
        }
        assert_eq!(
            screen(&mut dashboard, 140, 7),
            "\
camrig top  demo, 1:02:03, 3 actors in 3 processes

ACTOR  KIND       PROCESS  STATE                FPS                            MADE  LOST  DROPPED  P99 MS  RESTARTS  CPU %  MB
left   synthetic  left     running             30.0                       ▂█▆  1234     7        3     2.3         0     12  15
right  synthetic  right    waiting-for-device   0.0                            1234     7        3     2.3         1     12  15
view   view       right    running             30.0                      ████     -     -        6     2.3         0
q quits, the rig keeps running; up and down select an actor and show its last error"
        );
    }

    #[test]
    fn the_selected_actor_shows_its_last_error() {
        let mut dashboard = Dashboard::default();
        let mut status = example();
        status.actors[1].error = "it was unplugged".to_owned();
        dashboard.update(status);
        dashboard.step(true);
        dashboard.step(true);
        assert!(screen(&mut dashboard, 80, 9).ends_with("\nright: it was unplugged"));
        dashboard.step(false);
        assert!(screen(&mut dashboard, 80, 9).contains("\nq quits"));
    }
}
