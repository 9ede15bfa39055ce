//! Actors on their threads: what runs from the moment an actor is built until it ends.
//!
//! Each actor has a thread and an actix system of its own, so that a processor that computes and a camera
//! that waits never hold up each other. This module deliberately knows no process and no topology: a host
//! gives it wired inputs and outputs, and learns how each actor ended.
//!
//! * `camera`: an actor that is asked to capture
//! * `processor`: an instance of a processor

mod camera;
mod processor;

use std::panic::AssertUnwindSafe;

use actix::System;
use tokio::runtime::Builder;

pub(crate) use self::camera::{CameraLife, CameraLimits, run_camera};
pub(crate) use self::processor::run_processor;
use crate::failure::{self, Failure};

/// Runs an actor's whole life in an actix system of its own. Panics outside of its task are failures too.
fn on_this_thread(life: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // Made here, because actix panics where the system has no descriptors for it.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let system = System::with_tokio_rt(|| runtime);
    let life = AssertUnwindSafe(|| system.block_on(life));
    std::panic::catch_unwind(life).unwrap_or_else(|panic| Err(failure::of_panic(&*panic)))
}
