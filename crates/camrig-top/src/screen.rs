//! Shows the dashboard on a terminal and handles keys.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use camrig_status::RigStatus;
use ratatui::crossterm::cursor::Hide;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use rustix::process::{Signal, kill_current_process_group};

use crate::dashboard::Dashboard;

/// The interval between two reads of the status.
const INTERVAL: Duration = Duration::from_millis(500);

/// The reason for the end of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The user quit.
    Quit,
    /// The rig no longer answers.
    Rig,
}

/// Shows the status that `read` returns until the user quits or the rig ends.
///
/// # Errors
/// When stdout is not a usable terminal.
pub fn show(read: impl Fn() -> io::Result<RigStatus>) -> io::Result<Ended> {
    let mut terminal = ratatui::try_init()?;
    let mut dashboard = Dashboard::default();
    let ended = (|| {
        loop {
            let Ok(status) = read() else { return Ok(Ended::Rig) };
            dashboard.update(status);
            let until = Instant::now() + INTERVAL;
            loop {
                terminal.draw(|frame| dashboard.draw(frame))?;
                if !event::poll(until.saturating_duration_since(Instant::now()))? {
                    break;
                }
                let event = event::read()?;
                if is_suspension(&event) {
                    suspend()?;
                    terminal.clear()?;
                } else if handle(&event, &mut dashboard).is_break() {
                    return Ok(Ended::Quit);
                }
            }
        }
    })();
    // Restores the terminal after errors too.
    ratatui::try_restore()?;
    ended
}

/// Returns whether a key is Ctrl-Z: the terminal sends no signal for it while keys are read one by one.
fn is_suspension(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    key.kind == KeyEventKind::Press
        && key.code == KeyCode::Char('z')
        && key.modifiers.contains(KeyModifiers::CONTROL)
}

/// Stops this job as Ctrl-Z does, with the terminal as it was before, until it is continued.
fn suspend() -> io::Result<()> {
    ratatui::try_restore()?;
    // Returns when the job continues.
    kill_current_process_group(Signal::TSTP)?;
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, Hide)
}

/// Handles a key; breaks when the user quits.
fn handle(event: &Event, dashboard: &mut Dashboard) -> ControlFlow<()> {
    let Event::Key(key) = event else { return ControlFlow::Continue(()) };
    if key.kind == KeyEventKind::Release {
        return ControlFlow::Continue(());
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return ControlFlow::Break(()),
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            return ControlFlow::Break(());
        }
        KeyCode::Up | KeyCode::Char('k') => dashboard.step(false),
        KeyCode::Down | KeyCode::Char('j') => dashboard.step(true),
        _ => {}
    }
    ControlFlow::Continue(())
}
