//! An instance of a camera: it captures until the supervisor's mail, its limit or its device ends it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use camrig_ipc::protocol::CalibratedPose;
use tokio::sync::watch;

use super::Flow;
use super::calls::{DeviceCalls, Streams};
use super::on_thread::{CAPTURE_TIME, OnThread};
use crate::driver::Captured;
use crate::failure::Failure;
use crate::mail::Unread;
use crate::output::{CameraOutput, Publisher};
use crate::registry::{DriverEntry, ErasedCamera};
use crate::topology::of_another_device;

/// Parameters of an instance of a camera.
pub(super) struct CameraInstance {
    pub(super) name: String,
    pub(super) driver_name: String,
    pub(super) driver: Arc<dyn DriverEntry>,
    /// The text of a TOML table, which was checked.
    pub(super) options: String,
    /// The timeline that its recording joins.
    pub(super) timeline: Option<Range<u64>>,
    /// If true, the device is reset before it is opened.
    pub(super) reset: bool,
    /// The number of framesets of all instances after which it ends; `None` for no limit.
    pub(super) framesets: Option<u64>,
    /// The longest silence of a stream while others continue; `None` for any.
    pub(super) stream_timeout: Option<Duration>,
    /// The pose of its device in the rig.
    pub(super) calibrated: Option<CalibratedPose>,
    /// The supervisor's calls to the device.
    pub(super) calls: DeviceCalls,
    /// Its turns on a shared thread.
    pub(super) on_thread: OnThread,
}

/// An open device; it is dropped before its output.
struct Capturing {
    camera: Box<dyn ErasedCamera>,
    output: CameraOutput,
    calls: DeviceCalls,
    streams: Streams,
    on_thread: OnThread,
}

impl CameraInstance {
    /// Runs the instance from open to end. `ready` is called once, when the device is open; framesets flow as `flow`
    /// allows.
    pub(super) async fn run(
        self,
        publisher: Publisher,
        mut flow: watch::Receiver<Flow>,
        unread: Unread,
        ready: impl FnOnce(),
    ) -> Result<(), Failure> {
        let limit = self.framesets;
        let mut capturing = self.open(publisher)?;
        ready();
        if capturing.may_start(&mut flow).await? {
            capturing.camera.start()?;
            capturing.streams = Streams::On;
            capturing.until_the_end(limit, &flow, &unread).await?;
        }
        Ok(())
    }

    fn open(self, publisher: Publisher) -> Result<Capturing, Failure> {
        let Self {
            name,
            driver_name,
            driver,
            options,
            timeline,
            reset,
            stream_timeout,
            calibrated,
            calls,
            mut on_thread,
            ..
        } = self;
        if reset && let Err(error) = driver.reset(&name, &options) {
            // It may be missing, or unchanged: opening it will show.
            log::warn!("{error}; it is opened again without a reset");
        }
        let mut camera = driver.open(&name, &options)?;
        if let Some(timeline) = timeline {
            camera.join(timeline);
        }
        let mut info = camera.info();
        (info.name, info.driver) = (name, driver_name);
        if let Some(CalibratedPose { serial, pose }) = calibrated {
            if serial != info.serial {
                return Err(Failure::new(of_another_device(&serial, &info.serial)));
            }
            info.pose = Some(pose);
        }
        on_thread.expect(info.image_rate());
        let mut output = CameraOutput::new(publisher, info).map_err(Failure::new)?;
        if let Some(timeout) = stream_timeout.filter(|_| !camera.may_fall_silent()) {
            output.expect_all_streams(timeout);
        }
        Ok(Capturing { camera, output, calls, streams: Streams::Held, on_thread })
    }
}

impl Capturing {
    /// Waits until cameras may capture, and makes calls to the device meanwhile; returns false if it ends before.
    async fn may_start(&mut self, flow: &mut watch::Receiver<Flow>) -> Result<bool, Failure> {
        loop {
            tokio::select! {
                // An error means that the actor has ended.
                changed = flow.wait_for(|&flow| flow > Flow::Held) => {
                    return Ok(changed.is_ok_and(|flow| *flow == Flow::Flowing));
                }
                () = self.calls.came() => self.calls.make(&mut *self.camera, &mut self.streams)?,
            }
        }
    }

    /// Lets the readers on this thread take the published framesets, and its other cameras capture. Meanwhile the camera is
    /// blocked by them, not stalled.
    async fn let_others_run(&self, flow: &watch::Receiver<Flow>) {
        if self.on_thread.is_waited_for() {
            self.output.set_blocked(true);
            self.on_thread.let_others_run(|| *flow.borrow() == Flow::Stopped).await;
            self.output.set_blocked(false);
        }
    }

    async fn until_the_end(
        &mut self,
        limit: Option<u64>,
        flow: &watch::Receiver<Flow>,
        unread: &Unread,
    ) -> Result<(), Failure> {
        loop {
            self.let_others_run(flow).await;
            unread.all_read().await;
            let was = self.streams;
            self.calls.make_with_announced(&mut *self.camera, &mut self.streams).await?;
            if was == Streams::Paused && self.streams == Streams::On {
                self.output.begin_again();
            }
            let stops = *flow.borrow() == Flow::Stopped
                || limit.is_some_and(|limit| self.output.produced() >= limit)
                || self.output.abandoned();
            if !stops && self.streams == Streams::Paused {
                // An error means that the time is over.
                let _ = tokio::time::timeout(CAPTURE_TIME, self.calls.came()).await;
                continue;
            }
            if stops {
                return Ok(());
            }
            let captured = self.camera.capture(&mut self.output, self.on_thread.capture_time())?;
            if captured == Captured::End {
                return Ok(());
            }
            self.on_thread.note_capture(captured == Captured::FrameSet);
            if let Some(stream) = self.output.silent_stream() {
                return Err(Failure::new(format_args!(
                    "its stream `{stream}` delivered nothing within `stall_timeout_millis` while others continued"
                )));
            }
        }
    }
}
