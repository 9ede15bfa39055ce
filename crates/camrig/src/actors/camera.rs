//! A camera as an actor: it is repeatedly asked to capture for some time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message};

use super::on_this_thread;
use crate::driver::{Captured, DriverError};
use crate::failure::{self, Failure};
use crate::output::{CameraOutput, Publisher};
use crate::registry::{DriverEntry, OpenCamera};

/// Interval at which a camera checks its mailbox, and checks whether to stop.
const CAPTURE_TIME: Duration = Duration::from_millis(100);

/// Conditions that stop a camera, in addition to the end of its device.
#[derive(Clone)]
pub(crate) struct CameraLimits {
    /// Set to request a stop.
    pub(crate) stop: Arc<AtomicBool>,
    /// Set when the camera was found to deliver nothing.
    pub(crate) interrupt: Arc<AtomicBool>,
    /// Stop after this number of framesets.
    pub(crate) framesets: Option<u64>,
}

struct CameraActor {
    camera: Box<dyn OpenCamera>,
    output: CameraOutput,
    limits: CameraLimits,
}

impl CameraActor {
    fn is_to_stop(&self) -> bool {
        self.limits.stop.load(Ordering::Acquire)
            || self.limits.framesets.is_some_and(|limit| self.output.produced() >= limit)
            || self.output.abandoned()
    }
}

impl Actor for CameraActor {
    type Context = Context<Self>;
}

/// Asks a camera for its framesets of the next [`CAPTURE_TIME`]; breaks when there will be no more.
struct Capture;

impl Message for Capture {
    type Result = Result<ControlFlow<()>, DriverError>;
}

impl Handler<Capture> for CameraActor {
    type Result = Result<ControlFlow<()>, DriverError>;

    fn handle(&mut self, _: Capture, _: &mut Self::Context) -> Self::Result {
        let until = Instant::now() + CAPTURE_TIME;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.is_to_stop() {
                return Ok(ControlFlow::Break(()));
            }
            if self.limits.interrupt.load(Ordering::Acquire) {
                return Err(DriverError::new("delivered nothing within its `stall_timeout_millis`"));
            }
            if left.is_zero() {
                return Ok(ControlFlow::Continue(()));
            }
            if self.camera.capture(&mut self.output, left)? == Captured::End {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}

/// Parameters of an instance of a camera.
pub(crate) struct CameraLife<'a> {
    pub(crate) name: &'a str,
    pub(crate) driver_name: &'a str,
    pub(crate) driver: &'a dyn DriverEntry,
    pub(crate) options: &'a str,
    /// If true, the device is reset before it is opened.
    pub(crate) reset: bool,
}

/// Runs an instance of a camera, from open to end, on the calling thread. `ready` is called once, when the device is
/// open, and returns when framesets may flow.
pub(crate) fn run_camera(
    life: &CameraLife<'_>,
    publisher: Publisher,
    limits: CameraLimits,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    on_this_thread(async {
        let CameraLife { name, driver_name, driver, options, reset } = *life;
        if reset && let Err(error) = driver.reset(name, options) {
            // It may be missing, or unchanged: opening it will show.
            log::warn!("{error}; it is opened again without a reset");
        }
        let mut camera = driver.open(name, options)?;
        let mut info = camera.info();
        name.clone_into(&mut info.name);
        driver_name.clone_into(&mut info.driver);
        let output = CameraOutput::new(publisher, info).map_err(Failure::new)?;
        ready();
        camera.start()?;
        let context = Context::new();
        let address = context.address();
        let ended = actix::spawn(context.into_future(CameraActor { camera, output, limits }));
        // No response means that the actor panicked: its task has the reason.
        while let Ok(captured) = address.send(Capture).await {
            if captured?.is_break() {
                break;
            }
        }
        drop(address);
        ended.await.or_else(failure::of_task)
    })
}
