//! A rig as a value: checked, started, asked, stopped, waited for.
//!
//! A program of its own runs rigs with this; [`App`](crate::App) is such a program. Nothing here prints, logs to a
//! terminal, handles signals or ends the process, and a process can have several rigs, also at once.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use camrig_status::RigStatus;

use crate::registry::Registry;
use crate::report::Report;
use crate::supervisor::{self, Control, Run, RunLimits, Stage};
use crate::topology::{Placement, Problems, Topology, TopologyBuilder};

/// Time between two looks of an unbounded wait.
const LONG: Duration = Duration::from_secs(3600);

/// A topology that was checked, and is not started.
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
}

impl Rig {
    /// Reads and checks the topology file at `path`. `registry` has the drivers and processors that it may name.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn read(path: impl AsRef<Path>, registry: &Registry) -> Result<Self, Problems> {
        let topology = Topology::read(path.as_ref(), None, registry)?;
        Ok(Self::new(topology, registry, RunLimits::default()))
    }

    /// Checks a topology that was built in code, by the same rules as a file.
    ///
    /// # Errors
    /// Every problem; they show the topology as a file would hold it.
    pub fn build(topology: &TopologyBuilder, registry: &Registry) -> Result<Self, Problems> {
        Self::parse(topology.name(), &topology.to_toml(), None, registry)
    }

    /// Checks the text of a topology, which messages call `name`. A `placement` overrides that of the text.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(
        name: &str,
        text: &str,
        placement: Option<Placement>,
        registry: &Registry,
    ) -> Result<Self, Problems> {
        let topology = Topology::parse(name, text, placement, registry)?;
        Ok(Self::new(topology, registry, RunLimits::default()))
    }

    pub(crate) fn new(topology: Topology, registry: &Registry, limits: RunLimits) -> Self {
        Self { topology: Arc::new(topology), registry: registry.clone(), limits }
    }

    /// Stops the rig this long after all actors are ready.
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

    /// Checks that the device of every camera is there, and starts the rig. Returns as soon as every process is
    /// started; the rig goes on by itself.
    ///
    /// # Errors
    /// When a device is missing, or the system lacks what a rig is made of. Nothing is left running.
    pub fn start(&self) -> Result<RunningRig, StartError> {
        self.topology.probe().map_err(StartError::Devices)?;
        Ok(self.start_without_probe()?)
    }

    pub(crate) fn start_without_probe(&self) -> io::Result<RunningRig> {
        let registry = Arc::new(self.registry.clone());
        let run = supervisor::start(Arc::clone(&self.topology), &registry, self.limits)?;
        let Run { control, thread, metrics, name } = run;
        Ok(RunningRig { handle: RigHandle { control }, thread: Some(thread), metrics, name })
    }
}

/// Why a rig was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Devices of cameras that cannot be used.
    #[error("{0}")]
    Devices(Problems),
    /// Processes, descriptors, memory or an address that the system does not give.
    #[error("the rig cannot be started: {0}")]
    System(#[from] io::Error),
}

/// A rig that runs. When it drops, the rig is stopped in order and waited for.
pub struct RunningRig {
    handle: RigHandle,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<Report>>,
    metrics: Option<SocketAddr>,
    name: String,
}

impl RunningRig {
    /// Returns the status of the moment; of a rig that has ended, its last one.
    pub fn status(&self) -> RigStatus {
        self.handle.status()
    }

    /// Stops the rig in order: cameras first, then every actor when it has no more input. Does not wait.
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Waits until the rig has ended, by itself or because it was stopped, and returns its report.
    ///
    /// # Panics
    /// When the supervisor panicked.
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

    /// Returns where `/status` and `/metrics` are served, if the topology asks for that.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Returns the name of the rig's status socket.
    pub fn socket(&self) -> &str {
        &self.name
    }

    /// Waits for another stage than `seen`, for at most `timeout`.
    pub(crate) fn wait_for_stage(&self, seen: Stage, timeout: Duration) -> Stage {
        self.handle.control.wait(seen, timeout)
    }
}

impl Drop for RunningRig {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.handle.stop();
            // A panic of the supervisor was printed, and is no reason for another one.
            let _ = thread.join();
        }
    }
}

/// Asks and stops a running rig, from any thread.
#[derive(Clone)]
pub struct RigHandle {
    control: Control,
}

impl RigHandle {
    /// As [`RunningRig::status`].
    pub fn status(&self) -> RigStatus {
        self.control.status()
    }

    /// As [`RunningRig::stop`].
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Stops the rig in order; when that was asked for before, ends all its workers at once. Actors in this process
    /// end as soon as they can then, and are not waited for.
    pub fn interrupt(&self) {
        self.control.interrupt();
    }

    /// As [`RunningRig::wait_timeout`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let until = std::time::Instant::now() + timeout.min(LONG);
        let mut stage = Stage::Active;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            stage = self.control.wait(stage, left);
            if stage == Stage::Over || left.is_zero() {
                return stage == Stage::Over;
            }
        }
    }
}
