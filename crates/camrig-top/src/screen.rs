//! The dashboard on a terminal, and its keys.

use std::io;
use std::time::{Duration, Instant};

use camrig_status::RigStatus;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::dashboard::Dashboard;

/// How often the rig is asked.
const INTERVAL: Duration = Duration::from_millis(500);

/// Why the dashboard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its user has seen enough.
    Asked,
    /// The rig no longer answers.
    Rig,
}

/// Shows what `read` reads until the user quits or the rig ends.
///
/// # Errors
/// When the terminal is none.
pub fn show(read: impl Fn() -> io::Result<RigStatus>) -> io::Result<Ended> {
    let mut terminal = ratatui::try_init()?;
    let mut dashboard = Dashboard::default();
    let ended = (|| {
        loop {
            let Ok(status) = read() else { return Ok(Ended::Rig) };
            dashboard.note(status);
            let until = Instant::now() + INTERVAL;
            loop {
                terminal.draw(|frame| dashboard.draw(frame))?;
                if !event::poll(until.saturating_duration_since(Instant::now()))? {
                    break;
                }
                if !hear(&event::read()?, &mut dashboard) {
                    return Ok(Ended::Asked);
                }
            }
        }
    })();
    // Whatever happened, the terminal is the user's again.
    ratatui::try_restore()?;
    ended
}

/// False when the user has seen enough.
fn hear(event: &Event, dashboard: &mut Dashboard) -> bool {
    let Event::Key(key) = event else { return true };
    if key.kind == KeyEventKind::Release {
        return true;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Up | KeyCode::Char('k') => dashboard.step(false),
        KeyCode::Down | KeyCode::Char('j') => dashboard.step(true),
        _ => {}
    }
    true
}
