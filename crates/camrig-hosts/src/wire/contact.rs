//! The thread by which a receiver stays in contact with its sender: it asks for the sender's clock, and repeats the last answer
//! while the camera waits for its readers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use camrig::spawn_thread;

use super::connection::Connection;
use crate::clock::{self, ClockFilter, Exchange, HostClock};

/// Time between two answers, if nothing arrives.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);

/// Number of exchanges at the start, without a pause between them.
const FIRST_EXCHANGES: usize = 8;

/// Time between two later exchanges.
const CLOCK_PERIOD: Duration = Duration::from_secs(1);

/// Time between two attempts before the first exchange.
const ATTEMPT_PERIOD: Duration = Duration::from_millis(100);

/// The contact with a sender, until it is dropped.
pub(super) struct Contact {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    connection: Arc<Connection>,
    clock_key: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    filter: ClockFilter,
    /// `None` before the first exchanges.
    estimate: Option<HostClock>,
    /// When something came from the sender, or the start.
    heard: Instant,
    /// When the sender's clock is asked for next.
    next_exchange: Instant,
    /// The last answer; `None` before the first one.
    answer: Option<Vec<u8>>,
    answered: Instant,
    ends: bool,
}

impl Contact {
    pub(super) fn start(connection: &Arc<Connection>, clock_key: String) -> std::io::Result<Self> {
        let now = Instant::now();
        let state = State {
            filter: ClockFilter::default(),
            estimate: None,
            heard: now,
            next_exchange: now,
            answer: None,
            answered: now,
            ends: false,
        };
        let shared = Arc::new(Shared {
            connection: Arc::clone(connection),
            clock_key,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let running = Arc::clone(&shared);
        let thread = spawn_thread("wire-contact", move || running.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Returns the sender's clock; `None` before the first exchanges.
    pub(super) fn estimate(&self) -> Option<HostClock> {
        self.shared.locked().estimate
    }

    /// Waits for an estimate, at most this time.
    pub(super) fn wait(&self, timeout: Duration) {
        let is_missing = |state: &mut State| state.estimate.is_none();
        let _ = self.shared.changed.wait_timeout_while(self.shared.locked(), timeout, is_missing);
    }

    /// Notes that something has come from the sender.
    pub(super) fn heard(&self) {
        self.shared.locked().heard = Instant::now();
    }

    /// Returns whether nothing was answered for some time.
    pub(super) fn is_answer_due(&self) -> bool {
        let state = self.shared.locked();
        state.answer.is_none() || state.answered.elapsed() >= HEARTBEAT
    }

    /// Sends an answer.
    pub(super) fn answer(&self, answer: Vec<u8>) {
        {
            let mut state = self.shared.locked();
            (state.answer, state.answered) = (Some(answer.clone()), Instant::now());
        }
        self.shared.connection.put(answer.into());
    }
}

impl State {
    /// Notes an exchange, or that there was no answer.
    fn exchanged(&mut self, exchange: Option<Exchange>, now: Instant) {
        if let Some(exchange) = exchange {
            self.filter.add(exchange);
            self.heard = now;
            let is_known = self.filter.len() >= FIRST_EXCHANGES;
            self.estimate = is_known.then(|| self.filter.estimate()).flatten();
        }
        self.next_exchange = now
            + match (exchange, self.filter.len()) {
                (None, 0) => ATTEMPT_PERIOD,
                (Some(_), length) if length < FIRST_EXCHANGES => Duration::ZERO,
                _ => CLOCK_PERIOD,
            };
    }

    /// Returns the last answer, if it should be repeated.
    fn due_answer(&mut self, now: Instant) -> Option<Vec<u8>> {
        let is_due = now.duration_since(self.answered) >= HEARTBEAT;
        let answer = self.answer.clone().filter(|_| is_due)?;
        self.answered = now;
        Some(answer)
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let (answer, asks, silent) = {
                let now = Instant::now();
                let mut state = self.locked();
                if state.ends {
                    return;
                }
                (
                    state.due_answer(now),
                    now >= state.next_exchange,
                    now.saturating_duration_since(state.heard),
                )
            };
            if let Some(answer) = answer {
                self.connection.put(answer.into());
            }
            self.connection.reopen_if_silent(silent);
            if asks {
                let session = self.connection.session();
                let exchange = session.and_then(|session| clock::exchange(&session, &self.clock_key));
                self.locked().exchanged(exchange, Instant::now());
                self.changed.notify_all();
            }
            self.pause();
        }
    }

    /// Waits until there is something to do.
    fn pause(&self) {
        let state = self.locked();
        let repeats = state.answer.is_some().then(|| state.answered + HEARTBEAT);
        let next = repeats.into_iter().fold(state.next_exchange, Instant::min);
        let time = next.saturating_duration_since(Instant::now());
        let _ = self.changed.wait_timeout_while(state, time, |state| !state.ends);
    }
}

impl Drop for Contact {
    fn drop(&mut self) {
        self.shared.locked().ends = true;
        self.shared.changed.notify_all();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
