//! The driver `realsense`: turns the frames of one camera into framesets.
//!
//! It combines `camera` and `gather`, and decides how long to wait for partners, for the end, and for a restart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use camrig::frame::{CameraInfo, FrameHeader, MAX_FRAMES, Stream};
use camrig::{
    CameraOutput, Captured, Device, DeviceProfile, Driver, DriverError, FrameHeaders, HeldFrames, LostReason,
    monotonic_nanos,
};

use crate::camera::{Camera, Event};
use crate::filters::Frames;
use crate::find::{self, devices};
use crate::gather::{Gatherer, Waiting};
use crate::motion::Motion;
use crate::options::Options;
use crate::recording;
use crate::request::{Request, SourceRequest};
use crate::reset;
use crate::settings::HardwareSync;
use crate::streams::is_motion;
use crate::sys::Pixels;

/// Interval at which the end of a file, and frames without a partner, are checked.
const LOOK: Duration = Duration::from_millis(10);

/// Least time for which a frame of a live camera waits for its partners: the difference of the latencies of two streams,
/// which does not depend on their rates.
const PARTNER_TIME_MIN: Duration = Duration::from_millis(100);

/// Maximum wait of a probe for a file's first frame.
const FIRST_FRAME: Duration = Duration::from_secs(5);

/// The name under which a probe takes the host-wide lock.
const PROBE: &str = "a check of devices";

/// A RealSense camera, live or recorded.
///
/// A frameset holds librealsense's own frames until its last handle is dropped; nothing is copied. librealsense limits
/// the frames in use to 16 per stream (32 for a file) and then silently stops, so every frame is marked as kept when it
/// arrives: it then no longer counts towards the limit, but its memory is still recycled. Memory is bounded by the
/// driver's own limits: the camera's `slots`, 8 frames per stream in the queue, and those of 0.3 seconds (or three of
/// the slowest stream's intervals) that wait for a partner.
///
/// Samples of motion are copied: they are part of the first frameset that is not older than they are.
///
/// From a file with `real_time = false` every frame arrives exactly once, however slow its consumers are. At the pace
/// of the recording, and from a live camera, frames that find the queue full are lost, which leaves a gap in their
/// numbers. Frames that a player at that pace drops after the last delivered frame are not counted: librealsense
/// reports the duration of a file, but not its number of frames.
pub struct RealSense {
    grabber: Grabber,
}

impl Driver for RealSense {
    type Options = Options;

    fn check(options: &Options) -> Result<(), DriverError> {
        Request::new(options).map(drop)
    }

    fn claims(options: &Options) -> Vec<String> {
        options.claims()
    }

    fn streams(options: &Options) -> Vec<DeviceProfile> {
        options.usb_demand().map(|demand| demand.streams).unwrap_or_default()
    }

    fn probe(options: &Options) -> Result<(), DriverError> {
        let mut request = Request::new(options)?;
        let file = match &mut request.source {
            SourceRequest::File(file) => file,
            SourceRequest::Live(live) => {
                live.record_to.as_deref().map(recording::check).transpose()?;
                return Camera::look(PROBE, &request).map(drop);
            }
        };
        // The content of a file is known only when it is played: up to its first frame, in a few milliseconds.
        (file.real_time, file.repeat) = (false, false);
        let name = file.path.display().to_string();
        let camera = Camera::look(PROBE, &request)?;
        let streams: Vec<_> = camera.streams().map(|(stream, _)| stream.to_string()).collect();
        let mut grabber = Grabber::new(camera);
        grabber.start()?;
        match grabber.next(FIRST_FRAME)? {
            Grabbed::End => {
                Err(DriverError::new(format!("file `{name}` holds no frames of {}", streams.join(", "))))
            }
            Grabbed::FrameSet { .. } | Grabbed::Nothing => Ok(()),
        }
    }

    fn open(name: &str, options: Options) -> Result<Self, DriverError> {
        let request = Request::new(&options)?;
        if let SourceRequest::Live(live) = &request.source
            && live.reset
        {
            reset::once(name, &who(name), &live.selection)?;
        }
        let mut grabber = Grabber::new(Camera::open(&who(name), &request)?);
        // A slave runs before its master. All cameras of a rig, in all processes, are open before the first one is
        // started.
        if options.sync == Some(HardwareSync::Slave) {
            grabber.start()?;
        }
        Ok(Self { grabber })
    }

    fn start(&mut self) -> Result<(), DriverError> {
        self.grabber.start()
    }

    fn info(&self) -> CameraInfo {
        self.grabber.info.clone()
    }

    fn reset(name: &str, options: &Options) -> Result<(), DriverError> {
        match options.selection()? {
            Some(selection) => find::reset(&who(name), &selection),
            // A file needs no reset.
            None => Ok(()),
        }
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        let grabbed = self.grabber.next(timeout);
        for (stream, reason, frames) in self.grabber.take_lost() {
            output.explain_lost(stream, reason, frames);
        }
        match grabbed? {
            Grabbed::FrameSet { arrival_nanos, headers, held } => {
                output.publish_held(arrival_nanos, headers, Box::new(held))?;
                Ok(Captured::FrameSet)
            }
            Grabbed::Nothing => Ok(Captured::Nothing),
            Grabbed::End => Ok(Captured::End),
        }
    }

    fn devices() -> Result<Option<Vec<Device>>, DriverError> {
        devices().map(Some)
    }
}

/// Returns the name under which the camera called `name` takes the host-wide lock.
fn who(name: &str) -> String {
    format!("camera `{name}`")
}

/// The result of waiting for a frameset.
#[allow(clippy::large_enum_variant, reason = "it is nearly always a frameset, and taken apart at once")]
pub(crate) enum Grabbed {
    FrameSet { arrival_nanos: u64, headers: FrameHeaders, held: Held },
    Nothing,
    End,
}

/// The pixels of a frameset in librealsense's memory, followed by its motion.
pub(crate) struct Held {
    pub(crate) images: ArrayVec<Pixels, MAX_FRAMES>,
    motion: ArrayVec<Vec<u8>, MAX_FRAMES>,
}

impl HeldFrames for Held {
    fn pixels(&self, index: usize) -> &[u8] {
        match self.images.get(index) {
            Some(pixels) => pixels.bytes(),
            None => &self.motion[index - self.images.len()],
        }
    }
}

/// A camera with the frames that wait for a partner: the driver without its output.
pub(crate) struct Grabber {
    pub(crate) camera: Camera,
    pub(crate) info: CameraInfo,
    gatherer: Gatherer<(FrameHeader, Pixels)>,
    motion: Motion,
    /// Maximum time for which a frame waits for its partners; `None` for a file, where later frames decide, so that
    /// every playback gives the same framesets.
    partner_timeout: Option<Duration>,
    /// Number of frames of each stream that were discarded without a partner since the last `take_lost`.
    without_partner: BTreeMap<Stream, u64>,
    ended: bool,
    /// Whether the file has delivered a frame since it was last started.
    fruitful: bool,
}

impl Grabber {
    pub(crate) fn new(camera: Camera) -> Self {
        let images = || camera.streams().filter(|(stream, _)| !is_motion(*stream));
        let rates = || images().map(|(stream, profile)| (stream, profile.frames_per_second()));
        let slowest = rates().map(|(_, rate)| rate).min().unwrap_or(1);
        let gatherer = Gatherer::new(rates());
        let motion = Motion::new(camera.streams());
        // Two periods of the slowest stream: one until its next frame, one for its latency.
        let partner_timeout = (Duration::from_secs(2) / slowest).max(PARTNER_TIME_MIN);
        let partner_timeout = camera.playback().is_none().then_some(partner_timeout);
        // Before the camera streams, because reading options would disturb it then.
        let info = camera.info();
        Self {
            camera,
            info,
            gatherer,
            motion,
            partner_timeout,
            without_partner: BTreeMap::new(),
            ended: false,
            fruitful: false,
        }
    }

    /// Starts the camera. If it was started before, queued frames are discarded.
    pub(crate) fn start(&mut self) -> Result<(), DriverError> {
        if self.camera.is_running() {
            self.camera.discard();
            return Ok(());
        }
        self.camera.start()
    }

    /// Waits at most `timeout` for the next frameset.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Grabbed, DriverError> {
        let deadline = Instant::now() + timeout;
        // Set when every queued frame was examined, because a partner may be among them.
        let mut quiet = false;
        loop {
            let give_up_before_nanos = if quiet || self.ended { self.give_up_before_nanos() } else { 0 };
            // Samples arrive before the image of their time, which takes longer. In a file they are waited for, so
            // that every playback gives the same framesets.
            let ready = |instant| self.partner_timeout.is_some() || self.motion.is_past(instant);
            if let Some(together) = self.gatherer.take(give_up_before_nanos, ready) {
                let instants = together.iter().map(|waiting| waiting.timestamp);
                let Some(instant) = instants.min_by_key(|it| it.nanos) else { continue };
                // A frameset has arrived when its last frame has.
                let arrival_nanos =
                    together.iter().map(|waiting| waiting.arrival_nanos).max().unwrap_or_default();
                let frames: Frames = together.into_iter().map(|waiting| waiting.frame).collect();
                let came: ArrayVec<Stream, MAX_FRAMES> =
                    frames.iter().map(|(header, _)| header.stream).collect();
                let frames = self.camera.process(frames)?;
                let left_out = |stream: &Stream| frames.iter().all(|(header, _)| header.stream != *stream);
                came.into_iter()
                    .filter(left_out)
                    .for_each(|stream| *self.without_partner.entry(stream).or_default() += 1);
                if frames.is_empty() {
                    continue;
                }
                let (mut headers, images): (FrameHeaders, _) = frames.into_iter().unzip();
                let (motion_headers, motion): (FrameHeaders, _) = self.motion.take(instant).unzip();
                headers.extend(motion_headers);
                return Ok(Grabbed::FrameSet { arrival_nanos, headers, held: Held { images, motion } });
            }
            if self.ended {
                let repeat = self.camera.playback().is_some_and(|playback| playback.repeat);
                if !(repeat && self.fruitful) {
                    return Ok(Grabbed::End);
                }
                self.camera.start()?;
                self.camera.begin_filters()?;
                self.motion.clear();
                (self.ended, self.fruitful) = (false, false);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Frames that have arrived are taken first, however fast they come.
            let wait = if quiet { left.min(LOOK) } else { Duration::ZERO };
            match self.camera.next(wait)? {
                Event::Frame(header, pixels, arrival_nanos) => {
                    (self.fruitful, quiet) = (true, false);
                    let frame =
                        Waiting { timestamp: header.timestamp, arrival_nanos, frame: (header, pixels) };
                    if let Err(Waiting { frame: (header, _), .. }) = self.gatherer.put(header.stream, frame) {
                        log::warn!("a frame of stream {} came that was not asked for", header.stream);
                    }
                }
                Event::Sample(stream, sample) => self.motion.put(stream, sample),
                Event::End => self.ended = true,
                Event::Nothing if quiet && left.is_zero() => return Ok(Grabbed::Nothing),
                Event::Nothing => quiet = true,
            }
        }
    }

    /// Takes the numbers of frames that the device delivered and the driver discarded, with their reasons.
    pub(crate) fn take_lost(&mut self) -> Vec<(Stream, LostReason, u64)> {
        let without_partner =
            std::mem::take(&mut self.without_partner).into_iter().chain(self.motion.take_lost());
        let repeated = self.camera.take_repeated();
        let reason = |reason| move |(stream, frames)| (stream, reason, frames);
        without_partner
            .map(reason(LostReason::NoPartner))
            .chain(self.camera.take_dropped().map(reason(LostReason::QueueFull)))
            .chain(repeated.map(reason(LostReason::Repeated)))
            .collect()
    }

    fn give_up_before_nanos(&self) -> u64 {
        match self.partner_timeout {
            _ if self.ended => u64::MAX,
            Some(partner_timeout) => monotonic_nanos().saturating_sub(partner_timeout.as_nanos() as u64),
            None => 0,
        }
    }
}
