//! The task of a process of a measurement, passed in the environment: the benchmark's program is also the program of
//! every candidate.
//!
//! A process of a measurement ends when its standard input is closed, so none outlives the benchmark, even if that is
//! killed.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Fallible;
use crate::candidate::Candidate;
use crate::load::Load;

/// The environment variable that makes the program a process of a measurement.
const VARIABLE: &str = "CAMRIG_BENCH_TASK";

/// The task of a process of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) candidate: Candidate,
    pub(crate) load: Load,
    /// A name that is unique among measurements.
    pub(crate) name: String,
    /// When the first process was launched.
    pub(crate) launch_nanos: u64,
    /// Time from the first frameset of the last camera to the window.
    pub(crate) warmup: Duration,
    pub(crate) window: Duration,
    /// Slots of each camera of camrig; `None` for the default.
    pub(crate) slots: Option<u32>,
    pub(crate) role: Role,
}

/// The role of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The first process, which starts the others.
    Leader,
    /// A camera's process, with its leader's address.
    Producer { camera: usize, address: String },
}

impl Task {
    /// Returns the task of this process; `None` when it is the benchmark itself.
    pub(crate) fn of_this_process() -> Option<Self> {
        serde_json::from_str(&std::env::var(VARIABLE).ok()?).ok()
    }

    /// Returns the command that runs this program with this task. The process ends when its standard input is closed.
    pub(crate) fn command(&self) -> Fallible<Command> {
        let mut command = Command::new("/proc/self/exe");
        command.env(VARIABLE, serde_json::to_string(self)?).stdin(Stdio::piped());
        // Ctrl-C on the terminal reaches the benchmark only; the other processes end in order after it.
        command.process_group(0);
        Ok(command)
    }

    /// Starts a camera's process.
    pub(crate) fn start_producer(&self, camera: usize, address: String) -> Fallible<Child> {
        let task = Self { role: Role::Producer { camera, address }, ..self.clone() };
        Ok(task.command()?.spawn()?)
    }
}

/// Returns a flag that is set when this process has to end.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    on_end_of_input(move || flag.store(true, Ordering::Release));
    stop
}

/// Ends the producers when this leader has to end, and calls `ended` when they have ended.
pub(crate) fn on_end_of(producers: Vec<Child>, ended: impl FnOnce() + Send + 'static) {
    on_end_of_input(move || {
        let mut producers = producers;
        for producer in &mut producers {
            drop(producer.stdin.take());
        }
        for mut producer in producers {
            // Nothing else can be done if waiting fails.
            let _ = producer.wait();
        }
        ended();
    });
}

/// Calls `ended` when the standard input of this process ends.
pub(crate) fn on_end_of_input(ended: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        let mut byte = [0];
        // An error means that the parent has ended, and ends the process as well.
        while std::io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        ended();
    });
}
