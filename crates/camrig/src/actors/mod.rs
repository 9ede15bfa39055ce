//! Actors on their threads, from the creation of an actor until its end.
//!
//! Each actor has its own thread and actix system, so that a busy processor and a waiting camera never block each
//! other. This module has no knowledge of processes and topologies: a host passes it connected inputs and outputs,
//! and is told how each actor ended.
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

/// Runs an actor in an actix system of its own. Panics outside of its task are failures as well.
fn on_this_thread(life: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // Created here because actix panics if there are not enough file descriptors.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let system = System::with_tokio_rt(|| runtime);
    let life = AssertUnwindSafe(|| system.block_on(life));
    std::panic::catch_unwind(life).unwrap_or_else(|panic| failure::of_panic(&*panic))
}
