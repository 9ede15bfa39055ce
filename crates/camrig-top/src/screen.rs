//! Shows the dashboard on a terminal and handles keys.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use camrig_status::control::{Answer, Attach, AttachedConnection, Request};
use camrig_status::{RigStatus, spawn_thread};
use jiff::Zoned;
use ratatui::crossterm::cursor::Hide;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode, is_raw_mode_enabled};
use rustix::process::{Signal, kill_current_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::dashboard::Dashboard;
use crate::keys::{Effect, Mode, View, pressed};

/// The interval between two reads of the status.
const INTERVAL: Duration = Duration::from_millis(500);

/// Maximum time that a processor waits for a frameset of each input.
const ONCE_TIME: Duration = Duration::from_secs(10);

/// Time between two looks whether it has them.
const LOOK: Duration = Duration::from_millis(50);

/// The signals that end a program.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// The reason for the end of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The user quit.
    Quit,
    /// The rig has ended.
    Rig,
}

/// A rig in another process.
pub trait ShownRig: Clone + Send + 'static {
    /// Reads its status.
    ///
    /// # Errors
    /// When the rig does not answer; `ConnectionRefused` when it has ended.
    fn read(&self) -> io::Result<RigStatus>;

    /// Sends a request, and waits for its answer.
    ///
    /// # Errors
    /// When the rig does not answer.
    fn ask(&self, request: &Request) -> io::Result<Answer>;

    /// Adds a processor as [`camrig_status::control::attach`] does, and waits for the answer.
    ///
    /// # Errors
    /// When the rig does not answer.
    fn attach(&self, attach: Attach) -> io::Result<(Answer, Option<AttachedConnection>)>;
}

/// Returns whether a rig has ended that answers with this error: one that is stopped or busy has not.
fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// Shows the status of a rig, and changes it by keys, until the user quits or the rig ends. Afterwards the terminal has its
/// earlier state, also after an error and after a signal that ends this process.
///
/// # Errors
/// When stdout is not a usable terminal.
pub fn show(rig: &impl ShownRig) -> io::Result<Ended> {
    let in_use = Arc::<Mutex<()>>::default();
    restore_before_signals(Arc::clone(&in_use))?;
    let ended = show_until_end(rig, &in_use);
    let _guard = locked(&in_use);
    let restored = ratatui::try_restore();
    let ended = ended?;
    restored.map(|()| ended)
}

/// `in_use` is locked while the terminal is written to or changed.
fn show_until_end(rig: &impl ShownRig, in_use: &Mutex<()>) -> io::Result<Ended> {
    let guard = locked(in_use);
    let mut terminal = ratatui::try_init()?;
    drop(guard);
    let mut screen = Screen { dashboard: Dashboard::default(), answer: None };
    loop {
        match rig.read() {
            Ok(status) => screen.dashboard.update(status),
            Err(error) if has_ended(&error) => return Ok(Ended::Rig),
            Err(_) => screen.dashboard.is_silent = true,
        }
        let until = Instant::now() + INTERVAL;
        loop {
            screen.take_answer();
            let guard = locked(in_use);
            terminal.draw(|frame| screen.dashboard.draw(frame))?;
            drop(guard);
            if !event::poll(until.saturating_duration_since(Instant::now()))? {
                break;
            }
            let event = event::read()?;
            if is_suspension(&event) {
                ratatui::try_restore()?;
                // Returns when the job continues.
                kill_current_process_group(Signal::TSTP)?;
                let _guard = locked(in_use);
                enable_raw_mode()?;
                execute!(io::stdout(), EnterAlternateScreen, Hide)?;
                terminal.clear()?;
            } else if screen.handle(&event, rig) {
                return Ok(Ended::Quit);
            }
        }
    }
}

/// Restores the terminal before a signal ends this process, on a thread that lasts as long as the process: the thread of
/// the screen does not return from reading a terminal that has closed.
fn restore_before_signals(in_use: Arc<Mutex<()>>) -> io::Result<()> {
    let mut signals = Signals::new(ENDING)?;
    spawn_thread("signals", move || {
        for signal in signals.forever() {
            // Until the end of the process.
            let _guard = locked(&in_use);
            if is_raw_mode_enabled().unwrap_or(false) {
                // A terminal that has closed cannot be restored.
                let _ = ratatui::try_restore();
            }
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

fn locked(in_use: &Mutex<()>) -> MutexGuard<'_, ()> {
    in_use.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Screen {
    dashboard: Dashboard,
    /// The answer to the pending request.
    answer: Option<Receiver<io::Result<Answer>>>,
}

impl Screen {
    /// Handles a key. Returns whether the user quits.
    fn handle(&mut self, event: &Event, rig: &impl ShownRig) -> bool {
        let Event::Key(key) = event else { return false };
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let (by, now) = (
            format!("`camrig top` (process {})", std::process::id()),
            Zoned::now().strftime("%Y%m%d-%H%M%S").to_string(),
        );
        let dashboard = &self.dashboard;
        let view = View { status: dashboard.status(), selected: dashboard.selected(), by: &by, now: &now };
        let (mode, effect) = pressed(dashboard.mode.clone(), *key, &view);
        self.dashboard.mode = mode;
        match effect {
            Effect::Nothing => {}
            Effect::Quit => return true,
            Effect::Step { down } => self.dashboard.step(down),
            Effect::Ask(request) => self.ask(rig.clone(), move |rig| rig.ask(&request)),
            Effect::Once(attach) => self.ask(rig.clone(), move |rig| once(rig, attach)),
        }
        false
    }

    /// Asks the rig on a thread of its own: a camera may take long to open.
    fn ask<R: ShownRig>(&mut self, rig: R, ask: impl FnOnce(&R) -> io::Result<Answer> + Send + 'static) {
        if self.answer.is_some() {
            self.dashboard.mode = Mode::Said("the rig has not answered the previous request".to_owned());
            return;
        }
        let (send, answer) = sync_channel(1);
        let asked = spawn_thread("ask", move || {
            // No thread receives it if the user has quit.
            let _ = send.send(ask(&rig));
        });
        match asked {
            Ok(_) => self.answer = Some(answer),
            Err(error) => self.dashboard.mode = Mode::Said(format!("no thread can be started: {error}")),
        }
    }

    /// Shows the answer to the pending request, if it has arrived.
    fn take_answer(&mut self) {
        // Typing is not interrupted.
        if matches!(self.dashboard.mode, Mode::Set { .. } | Mode::Remove { .. }) {
            return;
        }
        let Some(answer) = &self.answer else { return };
        let text = match answer.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => "the request was not answered".to_owned(),
            Ok(answer) => text_of(answer),
        };
        self.answer = None;
        self.dashboard.mode = Mode::Said(text);
    }
}

/// Adds a processor, waits until it has taken a frameset of each input, and removes it. The rig removes it as well when this
/// process ends meanwhile.
fn once(rig: &impl ShownRig, attach: Attach) -> io::Result<Answer> {
    let name = attach.name.clone();
    let (added, attached) = rig.attach(attach)?;
    let Some(attached) = attached else { return Ok(added) };
    let until = Instant::now() + ONCE_TIME;
    let mut is_over = false;
    // One that does not answer in time is asked again.
    let has_taken = || match rig.read() {
        Ok(status) => {
            let mut own = status.links.iter().filter(|link| link.to == name).peekable();
            Ok(own.peek().is_some() && own.all(|link| link.delivered > 0))
        }
        Err(error) if has_ended(&error) => Err(error),
        Err(_) => Ok(false),
    };
    while !is_over && !has_taken()? {
        std::thread::sleep(LOOK);
        is_over = Instant::now() >= until;
    }
    Ok(match attached.leave()? {
        Answer::Changes(_) if is_over => {
            Answer::refused(format!("not every camera delivered a frameset within {} s", ONCE_TIME.as_secs()))
        }
        Answer::Changes(_) => {
            Answer::Changes(vec!["the pictures are in the folder where the rig was started".to_owned()])
        }
        answer => answer,
    })
}

/// Returns whether a key is Ctrl-Z: the terminal sends no signal for it while keys are read one by one.
fn is_suspension(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    key.kind == KeyEventKind::Press
        && key.code == KeyCode::Char('z')
        && key.modifiers.contains(KeyModifiers::CONTROL)
}

/// Returns an answer as one line.
fn text_of(answer: io::Result<Answer>) -> String {
    match answer {
        Ok(Answer::Changes(changes)) if changes.is_empty() => "nothing changes".to_owned(),
        Ok(Answer::Changes(changes)) => changes.join("; "),
        Ok(Answer::Refused { message, .. } | Answer::Failed { message }) => {
            let message = message.strip_prefix("error: ").unwrap_or(&message);
            message.lines().map(str::trim).collect::<Vec<_>>().join(" ")
        }
        Ok(Answer::Topology { .. } | Answer::Controls(_)) => {
            "the rig has answered another request".to_owned()
        }
        Err(error) => format!("the rig cannot be asked: {error}"),
    }
}
