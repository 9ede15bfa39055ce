//! What a process of a measurement is to do, handed down in the environment: the benchmark's program is the
//! program of every candidate as well.
//!
//! The task also says how processes end: a process of ours ends when its standard input does, so none
//! outlives the benchmark, however that ends.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Fallible;
use crate::candidates::Candidate;
use crate::load::Load;

/// The environment variable that makes the program a process of a measurement.
const VARIABLE: &str = "CAMRIG_BENCH_TASK";

/// What a process of a measurement is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) candidate: Candidate,
    pub(crate) load: Load,
    /// A name that no other measurement has.
    pub(crate) name: String,
    /// When the first process was launched.
    pub(crate) launch_nanos: u64,
    /// From the first frameset of the last camera to the window.
    pub(crate) warmup: Duration,
    pub(crate) window: Duration,
    pub(crate) role: Role,
}

/// Which of the processes this is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The first one, which starts the others.
    Leader,
    /// A camera's, with what its leader has it know to connect.
    Producer { camera: usize, address: String },
}

impl Task {
    /// The task of this process; none when it is the benchmark itself.
    pub(crate) fn of_this_process() -> Option<Self> {
        serde_json::from_str(&std::env::var(VARIABLE).ok()?).ok()
    }

    /// This program, as a process with this task. It ends when its standard input is closed.
    pub(crate) fn command(&self) -> Fallible<Command> {
        let mut command = Command::new("/proc/self/exe");
        command.env(VARIABLE, serde_json::to_string(self)?).stdin(Stdio::piped());
        // Ctrl-C on the terminal reaches the benchmark only; the others end in order when it is gone.
        command.process_group(0);
        Ok(command)
    }

    /// Starts a camera's process.
    pub(crate) fn start_producer(&self, camera: usize, address: String) -> Fallible<Child> {
        let task = Self { role: Role::Producer { camera, address }, ..self.clone() };
        Ok(task.command()?.spawn()?)
    }
}

/// A flag that is set when this process is to end.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    on_end_of_input(move || flag.store(true, Ordering::Release));
    stop
}

/// In a leader with producers: when it is to end, ends them, and calls `ended` when they have.
pub(crate) fn on_end_of(producers: Vec<Child>, ended: impl FnOnce() + Send + 'static) {
    on_end_of_input(move || {
        let mut producers = producers;
        for producer in &mut producers {
            drop(producer.stdin.take());
        }
        for mut producer in producers {
            // Nothing is left to do for one that cannot be waited for.
            let _ = producer.wait();
        }
        ended();
    });
}

/// Calls `ended` when the standard input of this process ends.
pub(crate) fn on_end_of_input(ended: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        let mut byte = [0];
        // An error ends the process as well: whoever held the other end is gone.
        while std::io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        ended();
    });
}
