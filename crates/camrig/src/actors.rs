//! Actors on their threads: what runs from the moment an actor is built until it ends.
//!
//! Each actor has a thread and an actix system of its own, so that a processor that computes and a camera
//! that waits never hold up each other. A camera actor answers `Capture` messages; a processor is an actor
//! that handles framesets. This module deliberately knows no process and no topology: a host gives it wired
//! inputs and outlets, and learns how each actor ended.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, MailboxError, Message, Recipient, System};
use tokio::task::{JoinError, JoinHandle};

use crate::driver::{Captured, DriverError};
use crate::frameset::FrameSet;
use crate::inputs::Inputs;
use crate::logging;
use crate::outlet::Outlet;
use crate::processor::{Processor, ProcessorError};
use crate::registry::{DriverEntry, KindEntry, OpenCamera};

/// How long one capture waits before the camera looks whether it should stop.
const CAPTURE_TIMEOUT: Duration = Duration::from_millis(100);

/// How long an actor that has no more input may go on with what it is doing before it is stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// How an actor failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What went wrong, as one line.
    pub(crate) message: String,
    /// Whether a device is missing.
    pub(crate) unavailable: bool,
}

impl Failure {
    pub(crate) fn new(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), unavailable: false }
    }

    /// From a task that did not end by itself.
    fn of_task(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => {
                Self::new(format_args!("panicked{}: {}", logging::take_panic_location(), panic_text(&panic)))
            }
            Err(error) => Self::new(error),
        }
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self { message: error.to_string(), unavailable: error.is_unavailable() }
    }
}

fn panic_text(panic: &Box<dyn Any + Send>) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// An actor that runs on this thread and handles framesets.
pub(crate) struct Running {
    recipient: Recipient<FrameSet>,
    ended: JoinHandle<()>,
    last_words: LastWords,
}

/// Where a processor leaves the error of its `finish`, which has no caller to return to.
type LastWords = Rc<RefCell<Option<ProcessorError>>>;

impl Running {
    /// Starts an actor on this thread, which must run an actix system.
    pub(crate) fn start<A: Actor<Context = Context<A>> + Handler<FrameSet>>(actor: A) -> Self {
        Self::start_with(actor, LastWords::default())
    }

    /// Starts a processor, as an actor, on this thread.
    pub(crate) fn start_processor(processor: impl Processor, outlet: Outlet) -> Self {
        let last_words = LastWords::default();
        let processor = Box::new(processor);
        let actor = ProcessorActor { processor, outlet, last_words: Rc::clone(&last_words) };
        Self::start_with(actor, last_words)
    }

    fn start_with<A>(actor: A, last_words: LastWords) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<FrameSet>,
    {
        let context = Context::new();
        let recipient = context.address().recipient();
        // Not `Actor::start`: the task's handle tells how the actor ended, a panic included.
        let ended = actix::spawn(context.into_future(actor));
        Self { recipient, ended, last_words }
    }

    /// Gives the actor one frameset after another until the inputs or the actor end.
    async fn feed(self, mut inputs: Inputs) -> Result<(), Failure> {
        let Self { recipient, mut ended, last_words } = self;
        while let Some(frameset) = inputs.next().await {
            match recipient.send(frameset).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Failure::new(error)),
                // The actor stopped by itself, or panicked: its task knows.
                Err(MailboxError::Closed | MailboxError::Timeout) => break,
            }
        }
        // An actor whose last address is gone stops when it has done what it was doing, which a timer never
        // has: then it is stopped, by the drop of its context.
        drop(recipient);
        if let Ok(ended) = actix::clock::timeout(STOP_PATIENCE, &mut ended).await {
            ended.map_err(Failure::of_task)?;
        } else {
            ended.abort();
            ended
                .await
                .or_else(|error| if error.is_cancelled() { Ok(()) } else { Err(Failure::of_task(error)) })?;
        }
        last_words.take().map_or(Ok(()), |error| Err(Failure::new(error)))
    }
}

/// A processor as an actor.
struct ProcessorActor {
    processor: Box<dyn Processor>,
    outlet: Outlet,
    last_words: LastWords,
}

impl Actor for ProcessorActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        *self.last_words.borrow_mut() = self.processor.finish(&mut self.outlet).err();
    }
}

impl Handler<FrameSet> for ProcessorActor {
    type Result = Result<(), ProcessorError>;

    fn handle(&mut self, frameset: FrameSet, _: &mut Self::Context) -> Self::Result {
        self.processor.process(&frameset, &mut self.outlet)
    }
}

/// A processor from build to end, on the calling thread. Calls `ready` once, when it is built.
pub(crate) fn run_processor(
    kind: &dyn KindEntry,
    options: &str,
    outlet: Outlet,
    inputs: Inputs,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    on_this_thread(async {
        let running = kind.start(options, outlet).map_err(Failure::new)?;
        ready();
        running.feed(inputs).await
    })
}

/// A camera as an actor.
struct CameraActor {
    camera: Box<dyn OpenCamera>,
    outlet: Outlet,
}

/// Asks a camera for its next frameset.
struct Capture;

impl Message for Capture {
    type Result = Result<Progress, DriverError>;
}

/// What a camera has come to.
struct Progress {
    captured: Captured,
    produced: u64,
    abandoned: bool,
}

impl Actor for CameraActor {
    type Context = Context<Self>;
}

impl Handler<Capture> for CameraActor {
    type Result = Result<Progress, DriverError>;

    fn handle(&mut self, _: Capture, _: &mut Self::Context) -> Self::Result {
        let captured = self.camera.capture(&mut self.outlet, CAPTURE_TIMEOUT)?;
        Ok(Progress { captured, produced: self.outlet.produced(), abandoned: self.outlet.abandoned() })
    }
}

/// When a camera stops beside the end of its device.
pub(crate) struct CameraLimits {
    /// Set by whoever wants it to stop.
    pub(crate) stop: Arc<AtomicBool>,
    /// After so many framesets.
    pub(crate) framesets: Option<u64>,
}

/// A camera from open to end, on the calling thread. `ready` is called once, when the device is open, and
/// returns when framesets may flow.
pub(crate) fn run_camera(
    name: &str,
    driver: (&str, &dyn DriverEntry),
    options: &str,
    mut outlet: Outlet,
    limits: &CameraLimits,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    on_this_thread(async {
        let (driver_name, driver) = driver;
        let mut camera = driver.open(name, options)?;
        let mut info = camera.info();
        name.clone_into(&mut info.name);
        driver_name.clone_into(&mut info.driver);
        outlet.prepare(&Arc::new(info)).map_err(Failure::new)?;
        ready();
        camera.start()?;
        let context = Context::new();
        let address = context.address();
        let ended = actix::spawn(context.into_future(CameraActor { camera, outlet }));
        while !limits.stop.load(Ordering::Acquire) {
            let Ok(progress) = address.send(Capture).await else { break };
            let Progress { captured, produced, abandoned } = progress?;
            if captured == Captured::End
                || abandoned
                || limits.framesets.is_some_and(|limit| produced >= limit)
            {
                break;
            }
        }
        drop(address);
        ended.await.map_err(Failure::of_task)
    })
}

/// Runs an actor's whole life in an actix system of its own. Panics outside of its task are failures too.
fn on_this_thread(life: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let system = System::new();
    let life = std::panic::AssertUnwindSafe(|| system.block_on(life));
    std::panic::catch_unwind(life).unwrap_or_else(|panic| {
        Err(Failure::new(format_args!("panicked{}: {}", logging::take_panic_location(), panic_text(&panic))))
    })
}
