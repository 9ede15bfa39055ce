//! Actors on their threads: what runs from the moment an actor is built until it ends.
//!
//! Each actor has a thread and an actix system of its own, so that a processor that computes and a camera
//! that waits never hold up each other. This module deliberately knows no process and no topology: a host
//! gives it wired inputs and outputs, and learns how each actor ended.
//!
//! * `camera`: an actor that is asked to capture
//! * `processor`: an actor whose framesets are a stream, or messages

mod camera;
mod processor;

use std::any::Any;
use std::panic::AssertUnwindSafe;

use actix::System;
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::task::JoinError;

pub(crate) use self::camera::{CameraLife, CameraLimits, run_camera};
pub(crate) use self::processor::{Running, run_processor};
use crate::driver::DriverError;
use crate::logging;

/// How an actor failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What went wrong, as one line.
    pub(crate) message: String,
    /// Whether a device is missing.
    pub(crate) unavailable: bool,
    /// Whether another life would have nothing to do: every input has ended.
    pub(crate) in_vain: bool,
}

impl Failure {
    pub(crate) fn new(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), unavailable: false, in_vain: false }
    }

    /// From a task that did not end by itself.
    fn of_task(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => Self::of_panic(&panic),
            Err(error) => Self::new(error),
        }
    }

    fn of_panic(panic: &Box<dyn Any + Send>) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        Self::new(format_args!("panicked{}: {text}", logging::take_panic_location()))
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self { unavailable: error.is_unavailable(), ..Self::new(error) }
    }
}

/// Runs an actor's whole life in an actix system of its own. Panics outside of its task are failures too.
fn on_this_thread(life: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // Made here, because actix panics where the system has no descriptors for it.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let system = System::with_tokio_rt(|| runtime);
    let life = AssertUnwindSafe(|| system.block_on(life));
    std::panic::catch_unwind(life).unwrap_or_else(|panic| Err(Failure::of_panic(&panic)))
}
