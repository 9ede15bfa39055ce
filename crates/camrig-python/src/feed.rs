//! Framesets of a running rig for a loop of Python: the actor that hands them over, and the reader that takes them.
//!
//! Each iteration of the loop corresponds to a call of `process` of another processor: the actor takes its next input when the
//! loop requests the next frameset. So queue, overflow, counts and latencies work as for any other reader.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camrig::schemars::JsonSchema;
use camrig::{
    Delivered, FrameSet, Match, Processor, ProcessorError, ProcessorOptions, ProcessorOutput, Registry,
    SCRIPT_KEEPS,
};
use pyo3::prelude::*;
use rustix::event::{EventfdFlags, eventfd};
use serde::de::DeserializeOwned;

use crate::errors::error;
use crate::frames::{PyFrameSet, PyMatch, Source};
use crate::kept::KeptFrames;

/// The kind of the actor.
pub(crate) const KIND: &str = "loop";

/// Options of the kind: none.
#[derive(serde::Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
#[serde(deny_unknown_fields)]
pub(crate) struct LoopOptions {}

impl ProcessorOptions for LoopOptions {
    const KEEPS: usize = SCRIPT_KEEPS;
}

/// Interval at which a wait checks for signals, and for the end of the rig.
const LOOK: Duration = Duration::from_millis(50);

/// The loops of a rig, by the names of their actors.
#[derive(Clone, Default)]
pub(crate) struct Loops(Arc<Mutex<BTreeMap<String, Arc<Shared>>>>);

impl Loops {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Shared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a loop.
    pub(crate) fn add(&self, name: &str) -> PyResult<Arc<Shared>> {
        let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let ready = ready.map_err(|fault| error(format_args!("a loop cannot be added: {fault}")))?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), ready });
        self.lock().insert(name.to_owned(), Arc::clone(&shared));
        Ok(shared)
    }

    pub(crate) fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Ends every loop.
    pub(crate) fn close(&self) {
        self.lock().values().for_each(|shared| shared.close());
    }

    /// Adds the kind of the actor to those of a program.
    pub(crate) fn register<O>(&self, registry: Registry, kind: &str) -> Registry
    where
        O: DeserializeOwned + JsonSchema + 'static,
    {
        let loops = self.clone();
        registry.with_delivered(kind, move |_: O, output: &ProcessorOutput| {
            let shared = loops.lock().get(output.name()).cloned();
            let shared = shared.ok_or_else(|| format!("no loop `{}` is in this program", output.name()))?;
            shared.begin();
            Ok(Feed { shared, kept_frames: KeptFrames::default() })
        })
    }
}

/// An item that an actor gives to its loop.
enum Given {
    FrameSet(Source),
    Match(PyMatch),
}

/// The state that the actor and the loop share.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Readable while something is given, and after the end: for event loops.
    ready: OwnedFd,
}

#[derive(Default)]
struct State {
    given: Option<Given>,
    /// Whether the loop waits for the next one, so that the call of the previous one is over.
    asked: bool,
    /// Whether the loop has ended.
    closed: bool,
    /// Whether the actor has ended.
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        self.lock().ended = false;
    }

    /// Gives an input to the loop, and waits until the loop requests the next one, or only until it has taken this one if
    /// `is_last` returns that none follows.
    fn give(&self, given: Given, is_last: impl Fn() -> bool) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        (state.given, state.asked) = (Some(given), false);
        self.note();
        while !state.closed && !state.asked && (state.given.is_some() || !is_last()) {
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Notes that the loop has something to take: the state is locked.
    fn note(&self) {
        // Fails only if the counter is at its maximum: it is readable then.
        let _ = rustix::io::write(&self.ready, &1_u64.to_ne_bytes());
        self.changed.notify_all();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.note();
    }

    /// Ends the loop: the actor discards its further inputs.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let given = state.given.take();
        self.note();
        drop(state);
        drop(given);
    }

    /// Takes the given input, or requests the next one.
    fn poll(&self, state: &mut State) -> Polled {
        if let Some(given) = state.given.take() {
            // Fails if it was read before.
            let _ = rustix::io::read(&self.ready, &mut [0; 8]);
            return Polled::Given(given);
        }
        if state.closed || state.ended {
            return Polled::Ended;
        }
        if !std::mem::replace(&mut state.asked, true) {
            self.changed.notify_all();
        }
        Polled::Nothing
    }
}

enum Polled {
    Given(Given),
    Nothing,
    Ended,
}

/// The actor of a loop.
struct Feed {
    shared: Arc<Shared>,
    kept_frames: KeptFrames,
}

impl Processor<Delivered> for Feed {
    fn process(&mut self, input: &Delivered, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let mut keep = |frames: &FrameSet| {
            let (frames, kept) = self.kept_frames.given(frames);
            Source::Live(frames, kept)
        };
        let given = match input {
            Delivered::FrameSet(frames) => Given::FrameSet(keep(frames)),
            Delivered::Match(matched) => Given::Match(matched_of(matched, keep)),
        };
        self.shared.give(given, || output.inputs().all(|input| input.ended));
        Ok(())
    }
}

fn matched_of(matched: &Match, keep: impl FnMut(&FrameSet) -> Source) -> PyMatch {
    PyMatch::live(matched, matched.framesets().iter().map(keep).collect())
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Returns whether the rig is over; fails if it is not started.
pub(crate) type IsOver = Box<dyn Fn() -> PyResult<bool> + Send + Sync>;

/// Takes framesets, or matches, of a running rig.
#[pyclass(frozen, module = "camrig._camrig")]
pub(crate) struct Reader {
    name: String,
    shared: Arc<Shared>,
    is_over: IsOver,
}

impl Reader {
    pub(crate) fn new(name: String, shared: Arc<Shared>, is_over: IsOver) -> Self {
        Self { name, shared, is_over }
    }

    fn object(py: Python<'_>, given: Given) -> PyResult<Py<PyAny>> {
        Ok(match given {
            Given::FrameSet(source) => Py::new(py, PyFrameSet { source })?.into_any(),
            Given::Match(matched) => Py::new(py, matched)?.into_any(),
        })
    }
}

#[pymethods]
impl Reader {
    /// Name of its actor.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the next frameset or match; returns `None` after the last one.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        loop {
            let polled = py.detach(|| {
                let mut state = self.shared.lock();
                let polled = self.shared.poll(&mut state);
                if !matches!(polled, Polled::Nothing) {
                    return polled;
                }
                let is_empty = |state: &mut State| state.given.is_none() && !state.closed && !state.ended;
                let waited = self.shared.changed.wait_timeout_while(state, LOOK, is_empty);
                let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                self.shared.poll(&mut state)
            });
            match polled {
                Polled::Given(given) => return Self::object(py, given).map(Some),
                Polled::Ended => return Ok(None),
                Polled::Nothing if py.detach(|| (self.is_over)())? => return Ok(None),
                Polled::Nothing => py.check_signals()?,
            }
        }
    }

    /// Takes without waiting: returns whether the end was reached, and the next one if it is there.
    fn poll(&self, py: Python<'_>) -> PyResult<(bool, Option<Py<PyAny>>)> {
        match py.detach(|| self.shared.poll(&mut self.shared.lock())) {
            Polled::Given(given) => Ok((false, Some(Self::object(py, given)?))),
            Polled::Nothing => Ok((py.detach(|| (self.is_over)())?, None)),
            Polled::Ended => Ok((true, None)),
        }
    }

    /// The descriptor that is readable when `poll` finds something.
    fn fileno(&self) -> i32 {
        self.shared.ready.as_raw_fd()
    }

    /// Ends the loop. Framesets that arrive later are discarded.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.shared.close());
    }
}
