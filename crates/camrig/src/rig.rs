//! A rig as a value: check, start, query, stop, wait.
//!
//! Programs run rigs with this interface; [`App`](crate::App) is such a program. This module prints nothing, does not
//! log to a terminal, handles no signals and does not end the process. A process can have several rigs at the same
//! time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use camrig_ipc::handshake;
use camrig_status::RigStatus;
use camrig_status::control::{self, Edit, Edits};

use crate::control::DeviceCall;
use crate::driver::ControlValue;
use crate::hosts::Declaration;
use crate::late::StartTime;
use crate::registry::Registry;
use crate::report::Report;
use crate::supervisor::{self, ChangeError, Others, Run, RunControl, RunLimits, Stage, WantedTopology};
use crate::topology::{Placement, Problems, Topology, TopologyBuilder};

/// Polling interval of an unbounded wait.
const LONG: Duration = Duration::from_secs(3600);

/// A checked topology that has not been started.
///
/// ```no_run
/// use camrig::{Registry, Rig};
///
/// let rig = Rig::read("rig.toml", &Registry::new()).map_err(|problems| problems.to_string())?;
/// let running = rig.start().map_err(|error| error.to_string())?;
/// println!("{} actors", running.status().actors.len());
/// running.stop();
/// println!("{}", running.wait().exit);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone)]
pub struct Rig {
    topology: Arc<Topology>,
    registry: Registry,
    limits: RunLimits,
    others: Option<Others>,
}

impl Rig {
    /// Reads and checks the topology file at `path`. `registry` contains the available drivers and processors.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn read(path: impl AsRef<Path>, registry: &Registry) -> Result<Self, Problems> {
        let topology = Topology::read(path.as_ref(), None, registry)?;
        Ok(Self::new(topology, registry, RunLimits::default()))
    }

    /// Checks a topology that was built in code, with the same rules as for a file.
    ///
    /// # Errors
    /// All problems; they show the topology in the form of a file.
    pub fn build(topology: &TopologyBuilder, registry: &Registry) -> Result<Self, Problems> {
        Self::parse(topology.name(), &topology.to_toml(), None, registry)
    }

    /// Checks the text of a topology, which messages call `name`. `placement` overrides that of the text.
    ///
    /// # Errors
    /// All problems of the text.
    pub fn parse(
        name: &str,
        text: &str,
        placement: Option<Placement>,
        registry: &Registry,
    ) -> Result<Self, Problems> {
        let topology = Topology::parse(name, text, placement, registry)?;
        Ok(Self::new(topology, registry, RunLimits::default()))
    }

    /// Returns the properties of the framesets of each actor that are known before the first one, by the names of the actors.
    #[must_use]
    pub fn declarations(&self) -> BTreeMap<String, Declaration> {
        self.topology.declarations()
    }

    pub(crate) fn new(topology: Topology, registry: &Registry, limits: RunLimits) -> Self {
        Self { topology: Arc::new(topology), registry: registry.clone(), limits, others: None }
    }

    /// Adds the parts of the rig on other hosts: to its status, and to its changes.
    #[cfg(any(test, feature = "program"))]
    #[must_use]
    pub(crate) fn beside(mut self, others: Others) -> Self {
        self.others = Some(others);
        self
    }

    /// Stops the rig this long after all actors are ready. Actors that are not ready within this time, but at least 30 s,
    /// fail.
    #[must_use]
    pub fn stop_after(mut self, time: Duration) -> Self {
        self.limits.time = Some(time);
        self
    }

    /// Stops each camera after this number of framesets.
    #[must_use]
    pub fn stop_after_framesets(mut self, framesets: u64) -> Self {
        self.limits.framesets = Some(framesets);
        self
    }

    /// Checks that the devices of all cameras are connected and the programs of all processes exist, and starts the rig.
    /// Returns as soon as every process has been started; the rig continues in the background.
    ///
    /// # Errors
    /// If a device or a program is missing, or the system lacks resources. No process is left running.
    pub fn start(&self) -> Result<RunningRig, StartError> {
        // Otherwise each worker would start the rig again, with workers of its own.
        if handshake::is_unanswered() {
            return Err(StartError::Unserved);
        }
        self.probe().map_err(StartError::Devices)?;
        Ok(self.start_without_probe()?)
    }

    /// Checks that the devices of all cameras are connected and the programs of all processes exist, without starting
    /// anything.
    ///
    /// # Errors
    /// All of them that are missing.
    pub fn probe(&self) -> Result<(), Problems> {
        self.topology.probe(&self.registry, StartTime::of_rig(self.limits.time))
    }

    pub(crate) fn start_without_probe(&self) -> io::Result<RunningRig> {
        let registry = Arc::new(self.registry.clone());
        let others = self.others.clone();
        let run = supervisor::start(Arc::clone(&self.topology), &registry, self.limits, others)?;
        let Run { control, thread, metrics, name } = run;
        Ok(RunningRig { handle: RigHandle { control }, thread: Some(thread), metrics, name })
    }
}

/// An error of starting a rig.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Devices of cameras that are not available, or programs of processes that do not exist.
    #[error("{0}")]
    Devices(Problems),
    /// This process is a worker of such a rig: its `main` does not begin with [`Registry::serve_worker`].
    #[error("this process was started as a worker: call `Registry::serve_worker` first in `main`")]
    Unserved,
    /// Processes, file descriptors, memory or an address that the system does not provide.
    #[error("the rig cannot be started: {0}")]
    System(#[from] io::Error),
}

/// A running rig. Dropping it stops the rig in order and waits for its end.
pub struct RunningRig {
    handle: RigHandle,
    /// `None` after waiting for it.
    thread: Option<JoinHandle<Report>>,
    metrics: Option<SocketAddr>,
    name: String,
}

impl RunningRig {
    /// Returns the current status, or the last one if the rig has ended.
    pub fn status(&self) -> RigStatus {
        self.handle.status()
    }

    /// As [`RigHandle::topology`].
    ///
    /// # Errors
    /// If the rig has ended.
    pub fn topology(&self) -> Result<String, ChangeError> {
        self.handle.topology()
    }

    /// As [`RigHandle::apply`].
    ///
    /// # Errors
    /// As for [`RigHandle::apply`].
    pub fn apply(&self, rig: &Rig, by: &str) -> Result<Vec<String>, ChangeError> {
        self.handle.apply(rig, by)
    }

    /// Stops the rig in order: cameras first, then every actor when it has no more input. Does not wait.
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Waits until the rig has ended, by itself or because it was stopped, and returns its report.
    ///
    /// # Panics
    /// If the supervisor panicked.
    pub fn wait(mut self) -> Report {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(report)) => report,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => unreachable!("the thread is taken here and at the drop only"),
        }
    }

    /// Waits until the rig has ended, for at most `timeout`; returns whether it has.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.handle.wait_timeout(timeout)
    }

    /// Returns a handle for other threads.
    pub fn handle(&self) -> RigHandle {
        self.handle.clone()
    }

    /// Returns the address that serves `/status` and `/metrics`, if configured.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Returns the name of the rig's status socket.
    pub fn socket(&self) -> &str {
        &self.name
    }

    /// Waits until the stage differs from `seen`, for at most `timeout`.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn wait_for_stage(&self, seen: Stage, timeout: Duration) -> Stage {
        self.handle.control.wait(seen, timeout)
    }
}

impl Drop for RunningRig {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.handle.stop();
            // The panic of the supervisor was already printed; do not panic again.
            let _ = thread.join();
        }
    }
}

/// Queries and stops a running rig, from any thread.
#[derive(Clone)]
pub struct RigHandle {
    control: RunControl,
}

impl RigHandle {
    /// The origin of the changes of [`Self::set`], for the log and the report.
    pub const SETTER: &str = "the program of the rig";

    /// As [`RunningRig::status`].
    pub fn status(&self) -> RigStatus {
        self.control.status()
    }

    /// Returns the topology that runs, as the text of a file.
    ///
    /// # Errors
    /// If the rig has ended.
    pub fn topology(&self) -> Result<String, ChangeError> {
        self.control.whole_topology().map(|topology| topology.running_text()).ok_or(ChangeError::Over)
    }

    /// Changes the running rig so that it runs the topology of `rig`, and waits until that is done. Actors that `rig` has with
    /// the same options, inputs and placement continue, and lose no frameset. Returns the changes, one line each, in their
    /// order. `by` is the origin of the request, for the log and the report.
    ///
    /// # Errors
    /// If a device or a program of an actor that would start is missing, the rig is starting, stopping or already
    /// changing, or the system lacks resources: nothing has changed then. Also if an added or restarted actor fails to
    /// start, and if the rig has ended.
    pub fn apply(&self, rig: &Rig, by: &str) -> Result<Vec<String>, ChangeError> {
        self.control.apply(WantedTopology::whole(Topology::clone(&rig.topology), by))
    }

    /// Returns the changes that [`Self::apply`] would make.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub fn compare(&self, rig: &Rig) -> Result<Vec<String>, ChangeError> {
        let wanted = WantedTopology::whole(Topology::clone(&rig.topology), "");
        self.control.apply(WantedTopology { dry_run: true, ..wanted })
    }

    /// Restarts actors, unchanged, and waits until that is done. `by` is the origin of the request.
    ///
    /// # Errors
    /// As for [`Self::apply`], and if the rig has no such actor.
    pub fn restart(&self, actors: &[&str], by: &str) -> Result<Vec<String>, ChangeError> {
        let restarts = actors.iter().map(|&actor| actor.to_owned()).collect();
        self.control.edit(Edits { restarts, by: by.to_owned(), ..Edits::default() })
    }

    /// As [`RunningRig::stop`].
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Stops the rig as a part of one over several hosts: as [`Self::stop`], but its cameras that pass on framesets of another
    /// host continue until that host has no more. [`Self::stop`] ends these too.
    pub fn drain(&self) {
        self.control.drain();
    }

    /// Stops the rig in order; if that was already requested, kills all its workers. Actors in this process then
    /// end as soon as possible, without being waited for.
    pub fn interrupt(&self) {
        self.control.interrupt();
    }

    /// Returns the options of a camera's device that can be read and set while it runs, with their present values. The
    /// camera reads them between two framesets.
    ///
    /// # Errors
    /// A message if the rig has no such camera, the camera is not open, or does not answer in time.
    pub fn controls(&self, camera: &str) -> Result<Vec<crate::Control>, String> {
        self.control.call_device(camera, DeviceCall::Controls)
    }

    /// Sets an option of a camera's device, and returns it with the value that the device has then; `None` if the device
    /// does not list it any more. The topology that runs gets it, if it has a place for it:
    /// [`Control::key`](crate::Control).
    ///
    /// # Errors
    /// A message as of [`Self::controls`], or if the device has no such option, or cannot set it to `value`.
    #[allow(clippy::needless_pass_by_value)] // As a caller has it.
    pub fn set(
        &self,
        camera: &str,
        option: &str,
        value: ControlValue,
    ) -> Result<Option<crate::Control>, String> {
        let settings = vec![(option.to_owned(), value.to_string())];
        let edits = vec![Edit::Set { name: camera.to_owned(), settings }];
        let edits = Edits { edits, live: true, by: Self::SETTER.to_owned(), ..Edits::default() };
        // The error of a camera that there is not names the cameras.
        let refused = |error: ChangeError| self.controls(camera).err().unwrap_or_else(|| error.to_string());
        self.control.edit(edits).map_err(refused)?;
        Ok(self.controls(camera)?.into_iter().find(|control| control.name == option))
    }

    /// Stops the streams of cameras; their devices stay open, and other actors continue. A camera that is restarted after a
    /// failure is paused again. Returns a line for each camera that was not paused. `by` names the requester.
    ///
    /// # Errors
    /// If the rig has no such camera, its driver cannot pause, or its streams have not started.
    pub fn pause(&self, cameras: &[&str], by: &str) -> Result<Vec<String>, ChangeError> {
        let cameras: Vec<_> = cameras.iter().map(|&camera| camera.to_owned()).collect();
        self.control.pause(&cameras, true, by)
    }

    /// Starts the streams of cameras that were [paused](Self::pause). Framesets that they would have delivered meanwhile
    /// are neither produced nor lost.
    ///
    /// # Errors
    /// If the rig has no such camera, or its device does not start again: it has failed then, and is restarted.
    pub fn resume(&self, cameras: &[&str], by: &str) -> Result<Vec<String>, ChangeError> {
        let cameras: Vec<_> = cameras.iter().map(|&camera| camera.to_owned()).collect();
        self.control.pause(&cameras, false, by)
    }

    /// Answers a request to the rig, as its control socket does. A client that attaches itself has to be removed by a request
    /// of its own.
    pub fn answer(&self, request: control::Request) -> control::Answer {
        supervisor::answer(&self.control, request)
    }

    /// As [`RunningRig::wait_timeout`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        // A time beyond the clock's range has no end.
        let until = std::time::Instant::now().checked_add(timeout);
        let mut stage = Stage::Starting;
        loop {
            let left = until.map_or(LONG, |until| until.saturating_duration_since(std::time::Instant::now()));
            stage = self.control.wait(stage, left);
            if stage == Stage::Over || left.is_zero() {
                return stage == Stage::Over;
            }
        }
    }
}
