//! A screen of actors, with the history of each rate.

use std::collections::{BTreeMap, VecDeque};

use camrig_status::{ActorStatus, RigStatus};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState, Wrap};

use crate::columns::{self, shortened};
use crate::keys::Mode;
use crate::row::{Row, Severity, facts, host_line, title};

/// The number of rates drawn per actor, newest last.
const RATES: usize = 24;

/// The bars for rates, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The columns of the table. The one without a name has bars.
const HEADER: [&str; 13] = [
    "ACTOR", "KIND", "PROCESS", "STATE", "FPS", "", "MADE", "LOST", "DROPPED", "P99 MS", "RESTARTS", "CPU %",
    "MB",
];

/// The number of leading columns that hold text; the others are aligned to the right.
const TEXT_COLUMNS: usize = 4;

/// The columns that a narrow screen leaves out, first one first. The last two are state and rate.
const OPTIONAL: [usize; 12] = [5, 1, 2, 12, 11, 6, 10, 9, 7, 8, 3, 4];

/// The name of this screen, in front of the title.
const NAME: &str = "camrig top  ";

/// The end of the title while the rig does not answer.
const SILENCE: &str = ", it does not answer";

/// The last line while nothing is selected.
const FIRST_KEYS: &str = "q quits, the rig keeps running; up and down select an actor and show its last error; ? shows the other keys";

/// The maximum number of other hosts that are shown.
const HOSTS_MAX: usize = 8;

/// The maximum number of lines of the text below the table.
const FOOT_LINES_MAX: u16 = 4;

/// The content of the screen.
#[derive(Default)]
pub(crate) struct Dashboard {
    status: RigStatus,
    /// By actor.
    rates: BTreeMap<String, VecDeque<f64>>,
    table: TableState,
    pub(crate) mode: Mode,
    /// Whether the rig did not answer the last request for its status: the numbers are old.
    pub(crate) is_silent: bool,
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
        // An actor that was added or removed above the selected one moves its row.
        let selected = self.selected().map(|actor| actor.name.clone());
        let row = selected.and_then(|name| status.actors.iter().position(|actor| actor.name == name));
        self.table.select(row);
        self.status = status;
        self.is_silent = false;
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
        let width = usize::from(frame.area().width);
        let foot_text = self.foot_line();
        let rows = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(self.status.hosts.len().min(HOSTS_MAX) as u16),
            Constraint::Length(lines_of(&foot_text, width)),
        ];
        let [head, _, body, hosts, foot] = Layout::vertical(rows).areas(frame.area());
        let silence = if self.is_silent { SILENCE } else { "" };
        frame.render_widget(head_line(&self.status, silence, width), head);
        self.draw_table(frame, body);
        let lines: Vec<_> = self.status.hosts.iter().take(HOSTS_MAX).map(host_line).map(Line::from).collect();
        frame.render_widget(Paragraph::new(lines), hosts);
        frame.render_widget(Paragraph::new(foot_text).wrap(Wrap { trim: true }).dim(), foot);
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let rows: Vec<_> = Row::all(&self.status).into_iter().map(|row| self.cells(row)).collect();
        let texts = rows.iter().map(|row| row.iter().map(|(text, _)| text.as_str()).collect());
        let widths = columns::widths(std::iter::once(HEADER.to_vec()).chain(texts));
        let (shown, first) = columns::fit(&widths, &OPTIONAL, usize::from(area.width));
        let cell = |column: usize, text: &str| {
            let line = Line::from(if column == 0 { shortened(text, first) } else { text.to_owned() });
            Cell::new(if column >= TEXT_COLUMNS { line.right_aligned() } else { line })
        };
        let table_rows = rows.iter().map(|row| {
            TableRow::new(shown.iter().map(|&column| {
                let (text, style) = &row[column];
                cell(column, text).style(*style)
            }))
        });
        let header = TableRow::new(shown.iter().map(|&column| cell(column, HEADER[column])));
        let lengths = shown.iter().map(|&column| if column == 0 { first } else { widths[column] });
        let table = Table::new(table_rows, lengths.map(|width| Constraint::Length(width as u16)))
            .header(header.style(Style::new().dim()))
            .column_spacing(columns::GAP as u16)
            .row_highlight_style(Style::new().reversed());
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    fn cells(&self, row: Row) -> [(String, Style); 13] {
        let color = match row.severity() {
            Severity::Good => Color::Green,
            Severity::Waiting => Color::Yellow,
            Severity::Bad => Color::Red,
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

    pub(crate) fn status(&self) -> &RigStatus {
        &self.status
    }

    pub(crate) fn selected(&self) -> Option<&ActorStatus> {
        self.table.selected().and_then(|index| self.status.actors.get(index))
    }

    /// Returns the line of the mode; otherwise the streams and the last error of the selected actor, or the first keys.
    fn foot_line(&self) -> String {
        let of_actor = || self.selected().and_then(facts);
        self.mode.line().or_else(of_actor).unwrap_or_else(|| FIRST_KEYS.to_owned())
    }
}

/// Returns the name of the screen and the title, which ends with `silence`, or the title alone where both do not fit.
fn head_line(status: &RigStatus, silence: &str, width: usize) -> Line<'static> {
    let named = title(status, silence, usize::MAX);
    if NAME.len() + named.chars().count() <= width {
        Line::from(vec![NAME.bold(), named.into()])
    } else {
        Line::from(title(status, silence, width))
    }
}

/// Returns the number of lines that a text takes when it is wrapped between words.
fn lines_of(text: &str, width: usize) -> u16 {
    let (mut lines, mut column) = (1, 0);
    for word in text.split_whitespace().map(|word| word.chars().count()) {
        if column > 0 && column + 1 + word > width {
            (lines, column) = (lines + 1, word);
        } else {
            column += word + usize::from(column > 0);
        }
    }
    lines.min(FOOT_LINES_MAX)
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

    use camrig_status::StreamStatus;

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
q quits, the rig keeps running; up and down select an actor and show its last error; ? shows the other keys"
        );
    }

    #[test]
    fn a_rig_that_does_not_answer_is_shown_as_it_was() {
        let mut dashboard = Dashboard::default();
        dashboard.update(example());
        dashboard.is_silent = true;
        for (width, expected) in [
            (100, "camrig top  demo, 1:02:03, 3 actors in 3 processes, it does not answer"),
            (40, "demo, 1:02:03, it does not answer"),
        ] {
            let shown = screen(&mut dashboard, width, 7);
            assert_eq!(shown.lines().next(), Some(expected));
            assert!(shown.contains("\nleft "), "{shown}");
        }
        dashboard.update(example());
        assert!(!screen(&mut dashboard, 100, 7).contains("answer"));
    }

    #[test]
    fn a_narrow_screen_leaves_out_columns_and_shows_every_digit_of_the_others() {
        let mut dashboard = Dashboard::default();
        dashboard.update(example());
        for (width, expected) in [
            (
                80,
                "\
camrig top  demo, 1:02:03, 3 actors in 3 processes

ACTOR  STATE                FPS  MADE  LOST  DROPPED  P99 MS  RESTARTS  CPU %
left   running             30.0  1234     7        3     2.3         0     12
right  waiting-for-device   0.0  1234     7        3     2.3         1     12
view   running             30.0     -     -        6     2.3         0

q quits, the rig keeps running; up and down select an actor and show its last
error; ? shows the other keys",
            ),
            (
                60,
                "\
camrig top  demo, 1:02:03, 3 actors in 3 processes

ACTOR  STATE                FPS  LOST  DROPPED  P99 MS
left   running             30.0     7        3     2.3
right  waiting-for-device   0.0     7        3     2.3
view   running             30.0     -        6     2.3

q quits, the rig keeps running; up and down select an actor
and show its last error; ? shows the other keys",
            ),
            (
                40,
                "\
demo, 1:02:03, 3 actors in 3 processes

ACTOR  STATE                FPS  DROPPED
left   running             30.0        3
right  waiting-for-device   0.0        3
view   running             30.0        6

q quits, the rig keeps running; up and
down select an actor and show its last
error; ? shows the other keys",
            ),
            (
                14,
                "\
demo, 1:02:03

ACTOR   FPS
left   30.0
right   0.0
view   30.0
q quits, the
rig keeps
running; up
and down",
            ),
        ] {
            let height = expected.lines().count() as u16;
            assert_eq!(screen(&mut dashboard, width, height), expected, "{width} columns");
        }
        // Numbers that grow leave less space for others.
        let mut status = example();
        status.actors[0].produced = 1_369_000_000;
        status.actors[0].lost = 1_369_000_000;
        dashboard.update(status);
        for width in 1..=140 {
            for line in screen(&mut dashboard, width, 8).lines().skip(2).take(4) {
                for number in line.split_whitespace().filter(|word| word.starts_with(char::is_numeric)) {
                    let whole =
                        ["30.0", "0.0", "1369000000", "1234", "0", "1", "2.3", "3", "6", "7", "12", "15"];
                    assert!(whole.contains(&number), "{width} columns: {line}");
                }
            }
        }
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

    #[test]
    fn the_selection_follows_its_actor() {
        let mut dashboard = Dashboard::default();
        dashboard.update(example());
        dashboard.step(true);
        dashboard.step(true);
        let selected = |dashboard: &Dashboard| dashboard.selected().map(|actor| actor.name.clone());
        assert_eq!(selected(&dashboard).as_deref(), Some("right"));
        let mut status = example();
        status.actors.remove(0);
        dashboard.update(status.clone());
        assert_eq!(selected(&dashboard).as_deref(), Some("right"));
        status.actors.remove(0);
        dashboard.update(status);
        assert_eq!(selected(&dashboard), None);
    }

    #[test]
    fn the_selected_camera_shows_rate_and_age_of_each_stream() {
        let mut dashboard = Dashboard::default();
        let mut status = example();
        let stream = |stream: &str, rate_hz, age_ms| StreamStatus {
            stream: stream.to_owned(),
            rate_hz,
            age_ms,
            ..StreamStatus::default()
        };
        status.actors[0].streams = vec![
            stream("color", 30.04, Some(12.3)),
            stream("depth", 0.0, Some(3140.0)),
            stream("accel", 0.0, None),
        ];
        status.actors[0].error = "it was unplugged".to_owned();
        dashboard.update(status);
        dashboard.step(true);
        assert!(screen(&mut dashboard, 140, 9).ends_with(
            "\nleft: color 30.0 Hz, 12 ms ago; depth 0.0 Hz, 3.1 s ago; accel 0.0 Hz, no frame yet; \
             last error: it was unplugged"
        ));
    }
}
