//! The parts of rigs that an agent runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use camrig::hosts::HostPlan;
use camrig::status::control;
use camrig::{Registry, Report, Rig, RigHandle, spawn_thread};

use crate::protocol::{Answer, Declared, Hello, HostRequest, PartRequest, PartState};
use crate::split;
use crate::wire::starting;

/// Maximum number of parts that run.
const PARTS_MAX: usize = 8;

/// Maximum number of parts that have ended, and whose report a first host may still ask for: the oldest one is removed.
const ENDED_MAX: usize = 16;

/// Maximum time in which a part ends after it was asked to; then it is ended immediately.
const STOP_TIME: Duration = Duration::from_secs(30);

/// Interval at which a part that starts is checked.
const START_LOOK: Duration = Duration::from_millis(50);

/// The parts of an agent.
pub(super) struct Parts {
    registry: Registry,
    /// The file of the agent's identity, for the sessions of crossings.
    identity: PathBuf,
    /// `None` while a part starts, which may take long: its cameras are looked for.
    by_run: Mutex<BTreeMap<String, Option<Running>>>,
}

/// A part that was started.
#[derive(Clone)]
struct Running {
    handle: RigHandle,
    began: Instant,
    /// Its report as JSON, when it has ended.
    report: Arc<Mutex<Option<String>>>,
}

impl Running {
    fn has_ended(&self) -> bool {
        locked(&self.report).is_some()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Parts {
    pub(super) fn new(registry: &Registry, identity: &Path) -> Self {
        Self { registry: registry.clone(), identity: identity.to_owned(), by_run: Mutex::default() }
    }

    pub(super) fn answer(&self, request: HostRequest) -> Answer {
        let done = |done: Result<(), Vec<String>>| done.map_or_else(Answer::Refused, |()| Answer::Done);
        match request {
            HostRequest::Hello => Answer::Hello(Hello {
                pid: std::process::id(),
                drivers: self.registry.driver_names().map(str::to_owned).collect(),
                kinds: self.registry.kind_names().map(str::to_owned).collect(),
                synchronized_by: camrig_doctor::clock_synchronizer(Path::new("/")).map(str::to_owned),
            }),
            HostRequest::Check(part) => done(
                self.rig(&part).and_then(|rig| rig.probe().map_err(|problems| lines(&problems.to_string()))),
            ),
            HostRequest::Declare(part) => match self.rig(&part) {
                Ok(rig) => {
                    let declared = rig.declarations().into_iter();
                    Answer::Declared(declared.map(|(actor, own)| (actor, Declared::of(&own))).collect())
                }
                Err(lines) => Answer::Refused(lines),
            },
            HostRequest::Start(part) => done(self.start(&part)),
            HostRequest::Drain { run } => done(self.with(&run, RigHandle::drain)),
            HostRequest::Stop { run } => done(self.with(&run, RigHandle::stop)),
            HostRequest::Interrupt { run } => done(self.with(&run, end_immediately)),
            HostRequest::Status { run } => Answer::Part(self.status(&run)),
            HostRequest::Devices { host } => {
                Answer::Devices(Box::new(camrig::devices_here(&host, &self.registry)))
            }
            HostRequest::Plan(part) => self.plan(&part).map_or_else(Answer::Refused, Answer::Plan),
            HostRequest::Rig { run, request } => Answer::Rig(self.ask_rig(&run, request)),
        }
    }

    fn plan(&self, part: &PartRequest) -> Result<Box<HostPlan>, Vec<String>> {
        let own = split::for_agent(&part.text, &self.identity).map_err(|fact| vec![fact])?;
        let plan = camrig::plan_here(&part.name, &own.text, &self.registry);
        plan.map(Box::new).map_err(|problems| lines(&problems.to_string()))
    }

    /// Returns the checked rig of a part.
    fn rig(&self, part: &PartRequest) -> Result<Rig, Vec<String>> {
        let own = split::for_agent(&part.text, &self.identity).map_err(|fact| vec![fact])?;
        let rig = Rig::parse(&part.name, &own.text, None, &self.registry);
        let mut rig = rig.map_err(|problems| lines(&problems.to_string()))?;
        if let Some(framesets) = part.framesets {
            rig = rig.stop_after_framesets(framesets);
        }
        Ok(rig)
    }

    fn start(&self, part: &PartRequest) -> Result<(), Vec<String>> {
        let rig = self.rig(part)?;
        self.take_place(&part.run).map_err(|fact| vec![fact])?;
        let started = Self::start_rig(&rig, part);
        let mut parts = locked(&self.by_run);
        // It is without a place if its first host went, or the agent ends.
        match (started, parts.get_mut(&part.run)) {
            (Ok(started), Some(place)) => {
                log::info!("the part of `{}` runs", part.name);
                *place = Some(started);
                Ok(())
            }
            (Ok(started), None) => {
                starting::end(&part.run);
                started.handle.stop();
                Err(vec![format!("its part of run `{}` ended while it started", part.run)])
            }
            (Err(lines), _) => {
                starting::end(&part.run);
                parts.remove(&part.run);
                Err(lines)
            }
        }
    }

    /// Takes the place of a part that starts.
    fn take_place(&self, run: &str) -> Result<(), String> {
        let mut parts = locked(&self.by_run);
        let is_ended = |part: &Option<Running>| part.as_ref().is_some_and(Running::has_ended);
        // A part that has ended may start again: a change of the rig removed its last actor, and another one adds an actor.
        if parts.get(run).is_some_and(|part| !is_ended(part)) {
            return Err(format!("it already runs a part of run `{run}`"));
        }
        let ended = parts.values().filter(|part| is_ended(part)).count();
        if parts.len() - ended >= PARTS_MAX {
            return Err(format!("it already runs {PARTS_MAX} parts"));
        }
        parts.insert(run.to_owned(), None);
        let began = |part: &Option<Running>| part.as_ref().map(|part| part.began);
        let oldest = parts.iter().filter(|(_, part)| is_ended(part)).min_by_key(|(_, part)| began(part));
        if let Some(oldest) = oldest.filter(|_| ended >= ENDED_MAX).map(|(run, _)| run.clone()) {
            parts.remove(&oldest);
        }
        Ok(())
    }

    /// Starts the rig of a part, and notes its report when it has ended.
    fn start_rig(rig: &Rig, part: &PartRequest) -> Result<Running, Vec<String>> {
        starting::begin(&part.run, &part.awaited);
        let rig = rig.start().map_err(|error| lines(&error.to_string()))?;
        let (handle, report) = (rig.handle(), Arc::<Mutex<Option<String>>>::default());
        let (ended, run) = (Arc::clone(&report), part.run.clone());
        let wait = move || {
            while starting::contains(&run) && !rig.wait_timeout(START_LOOK) {
                if !rig.status().is_starting() {
                    starting::end(&run);
                }
            }
            *locked(&ended) = serde_json::to_string(&rig.wait()).ok();
        };
        spawn_thread("part", wait).map_err(|error| vec![error.to_string()])?;
        Ok(Running { handle, began: Instant::now(), report })
    }

    /// Returns the part of a run; `None` if there is none, or it starts.
    fn part(&self, run: &str) -> Option<Running> {
        locked(&self.by_run).get(run).cloned().flatten()
    }

    /// Has the rig of a part answer a request, if that runs only drivers and kinds of this program.
    fn ask_rig(&self, run: &str, request: control::Request) -> control::Answer {
        let mut own = None;
        let allowed = match request {
            control::Request::Apply(apply) => split::for_agent(&apply.text, &self.identity).map(|part| {
                let text = own.insert(part).text.clone();
                control::Request::Apply(control::Apply { text, ..apply })
            }),
            // It only changes options of open devices.
            control::Request::Edit(ref edits) if edits.live && edits.restarts.is_empty() => Ok(request),
            control::Request::Controls { .. } | control::Request::Pause { .. } => Ok(request),
            _ => Err("an agent refuses this request from a first host".to_owned()),
        };
        match (allowed, self.part(run)) {
            (Ok(request), Some(part)) => part.handle.answer(request),
            (Err(refused), _) => control::Answer::refused(refused),
            (_, None) => control::Answer::refused(format!("it runs no part of run `{run}`")),
        }
    }

    fn with(&self, run: &str, act: impl FnOnce(&RigHandle)) -> Result<(), Vec<String>> {
        let part = self.part(run).ok_or_else(|| vec![format!("it runs no part of run `{run}`")])?;
        starting::end(run);
        act(&part.handle);
        Ok(())
    }

    fn status(&self, run: &str) -> PartState {
        let part = match locked(&self.by_run).get(run) {
            None => return PartState::Unknown,
            Some(None) => return PartState::Running(Box::default()),
            Some(Some(part)) => part.clone(),
        };
        let report =
            locked(&part.report).as_deref().and_then(|report| serde_json::from_str::<Report>(report).ok());
        match report {
            Some(report) => PartState::Ended(Box::new(report)),
            None => PartState::Running(Box::new(part.handle.status())),
        }
    }

    /// Stops the part of a run whose first host is disconnected, and removes it.
    pub(super) fn abandon(&self, run: &str) {
        let Some(part) = locked(&self.by_run).remove(run) else { return };
        starting::end(run);
        let running = part.filter(|part| !part.has_ended());
        if let Some(part) = running {
            log::warn!("the first host of run `{run}` is gone: its part stops");
            part.handle.stop();
        }
    }

    /// Stops every part, and waits until all have ended, within a bounded time.
    pub(super) fn stop_all(&self) {
        let parts = std::mem::take(&mut *locked(&self.by_run));
        for (run, part) in &parts {
            starting::end(run);
            if let Some(part) = part {
                part.handle.stop();
            }
        }
        let until = Instant::now() + STOP_TIME;
        for part in parts.into_values().flatten() {
            if !part.handle.wait_timeout(until.saturating_duration_since(Instant::now())) {
                end_immediately(&part.handle);
            }
        }
    }
}

/// Ends a rig immediately: the first interrupt stops it in order, the second ends it.
fn end_immediately(rig: &RigHandle) {
    rig.interrupt();
    rig.interrupt();
}

/// Returns the lines of a message.
fn lines(message: &str) -> Vec<String> {
    message.lines().map(str::to_owned).collect()
}
