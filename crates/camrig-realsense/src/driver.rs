//! The half of the driver that needs librealsense: turns the frames of one camera into framesets.
//!
//! It combines `camera` and `gather`, and decides how long to wait for partners, for the end, and for a restart.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use camrig::frame::{CameraInfo, Clock, FrameHeader, MAX_FRAMES, MetadataKey, Stream};
use camrig::{
    CameraOutput, Captured, Control, ControlValue, Device, DriverError, FrameHeaders, HeldFrames, LostReason,
    monotonic_nanos,
};

use crate::camera::{Event, RealSenseCamera};
use crate::checks;
use crate::filters::Frames;
use crate::find::{self, describe_library, devices};
use crate::gather::{Gatherer, WaitingFrame};
use crate::library::{Library, OpenResult, Opened};
use crate::motion::Motion;
use crate::options::Options;
use crate::recording;
use crate::request::{CameraRequest, FileRequest, SourceRequest};
use crate::reset;
use crate::settings::HardwareSync;
use crate::streams::is_motion;
use crate::sys::Pixels;

/// Interval at which the end of a file, and frames without a partner, are checked.
const LOOK: Duration = Duration::from_millis(10);

/// Interval between two attempts to start a camera while others are opened.
const TURN_INTERVAL: Duration = Duration::from_millis(2);

/// Least time for which a frame of a live camera waits for its partners: the difference of the latencies of two streams,
/// which does not depend on their rates.
const PARTNER_TIME_MIN: Duration = Duration::from_millis(100);

/// Maximum wait of a probe for a file's first frame.
const FIRST_FRAME: Duration = Duration::from_secs(5);

/// Number of framesets in which a file that begins with the clock of the host may change to another one: librealsense needs a
/// second or two to map the clock of a camera.
const SETTLED: usize = 128;

/// The name under which a probe takes the host-wide lock.
const PROBE: &str = "a check of devices";

/// The half of the driver that needs librealsense.
pub(crate) const LIBRARY: Library = Library {
    probe,
    recall,
    recorded,
    clock,
    open,
    reset: reset_device,
    devices,
    describe: describe_library,
};

fn probe(request: CameraRequest) -> Result<Option<Device>, DriverError> {
    let file = match &request.source {
        SourceRequest::File(file) => file,
        SourceRequest::Live(live) => {
            live.record_to
                .as_deref()
                .map(recording::check)
                .transpose()
                .map_err(|error| error.at("record_to"))?;
            let camera = RealSenseCamera::look(PROBE, &request)?;
            log_warnings(&camera);
            let device = camera.device();
            if camera.warnings().is_empty() {
                checks::remember(&request, &device);
            }
            return Ok(Some(device));
        }
    };
    let name = file.path.display().to_string();
    let (grabber, first) = first_of_file(request)?;
    log_warnings(&grabber.camera);
    if !matches!(first, Grabbed::End) {
        return Ok(None);
    }
    let streams: Vec<_> = grabber.camera.streams().map(|(stream, _)| stream.to_string()).collect();
    let error = format!("file `{name}` holds no frames of {}", streams.join(", "));
    Err(DriverError::new(error).at("file"))
}

fn recall(request: &CameraRequest) -> Option<Device> {
    let SourceRequest::Live(live) = &request.source else { return None };
    live.record_to.as_deref().map(recording::check).transpose().ok()?;
    checks::recall(request)
}

fn log_warnings(camera: &RealSenseCamera) {
    for warning in camera.warnings() {
        log::warn!("{warning}");
    }
}

/// Returns the times of a file, if its first frame has a time of the host: its timestamp, or else its arrival.
fn recorded(request: CameraRequest) -> Result<Option<Range<u64>>, DriverError> {
    let (grabber, first) = first_of_file(request)?;
    let Grabbed::FrameSet { headers, .. } = first else { return Ok(None) };
    let duration = grabber.camera.duration_nanos()?;
    let begin = headers.iter().filter(|header| !is_motion(header.stream)).filter_map(host_nanos).min();
    Ok(begin.map(|begin| begin..begin.saturating_add(duration)))
}

/// Returns the clock of a file's first framesets: the first one that is not the host's, or else the host's. `None` if the
/// file cannot be played, which a probe reports.
fn clock(request: CameraRequest) -> Option<Clock> {
    let (mut grabber, first) = first_of_file(request).ok()?;
    let mut found = None;
    let mut next = Ok(first);
    for _ in 0..SETTLED {
        let Ok(Grabbed::FrameSet { headers, .. }) = next else { break };
        found = headers.first().map(|header| header.timestamp.clock);
        if found != Some(Clock::System) {
            break;
        }
        next = grabber.next(FIRST_FRAME);
    }
    found
}

fn open(name: &str, options: &Options) -> OpenResult {
    let request = CameraRequest::new(options)?;
    if let SourceRequest::Live(live) = &request.source
        && live.reset
    {
        reset::once(name, &who(name), &live.selection)?;
    }
    let mut grabber = Grabber::new(RealSenseCamera::open(&who(name), &request)?);
    if let SourceRequest::File(FileRequest { start_offset: Some(offset), .. }) = &request.source {
        grabber.schedule.offset = *offset;
    }
    // A slave runs before its master. All cameras of a rig, in all processes, are open before the first one is
    // started.
    if options.sync == Some(HardwareSync::Slave) {
        grabber.start()?;
    }
    Ok(Box::new(OpenRealSense { grabber, starts_since: None }))
}

fn reset_device(name: &str, options: &Options) -> Result<(), DriverError> {
    match options.selection()? {
        Some(selection) => find::reset(&who(name), &selection),
        // A file needs no reset.
        None => Ok(()),
    }
}

/// An open camera whose framesets go to an output.
struct OpenRealSense {
    grabber: Grabber,
    /// When a live camera began to wait for its turn to start; `None` otherwise.
    starts_since: Option<Instant>,
}

impl Opened for OpenRealSense {
    /// Starts a file; a live camera starts with the first capture, which may wait while others are opened.
    fn start(&mut self) -> Result<(), DriverError> {
        let camera = &self.grabber.camera;
        if camera.playback().is_none() && !camera.is_running() {
            self.starts_since = Some(Instant::now());
            return Ok(());
        }
        self.grabber.start()
    }

    fn info(&self) -> CameraInfo {
        self.grabber.info.clone()
    }

    fn join(&mut self, recorded: Range<u64>, timeline: Range<u64>) {
        let nanos = |later: u64, earlier: u64| Duration::from_nanos(later.saturating_sub(earlier));
        self.grabber.schedule.offset = nanos(recorded.start, timeline.start);
        self.grabber.schedule.round = Some(nanos(timeline.end, timeline.start));
    }

    /// Streams of a recording may end before others.
    fn may_fall_silent(&self) -> bool {
        self.grabber.camera.playback().is_some()
    }

    fn controls(&self) -> Vec<Control> {
        self.grabber.camera.controls()
    }

    fn set(&mut self, name: &str, value: &ControlValue) -> Result<ControlValue, DriverError> {
        self.grabber.camera.set(name, value)
    }

    fn preset(&self) -> Result<String, DriverError> {
        self.grabber.camera.preset()
    }

    fn pause(&mut self) -> Result<(), DriverError> {
        self.grabber.pause()
    }

    /// Resumes a file; a live camera starts with the next capture, as at its first start.
    fn resume(&mut self) -> Result<(), DriverError> {
        if self.grabber.camera.playback().is_none() {
            self.starts_since = Some(Instant::now());
            return Ok(());
        }
        self.grabber.camera.play_on()
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        if let Some(since) = self.starts_since {
            // Others of the host are opened, one after the other: that is not a stall of this camera.
            if !self.grabber.camera.start_in_turn(since)? {
                output.wait(TURN_INTERVAL.min(timeout));
                return Ok(Captured::Nothing);
            }
            self.starts_since = None;
        }
        let wait = self.grabber.time_to_begin();
        if !wait.is_zero() {
            output.wait(wait.min(timeout));
            return Ok(Captured::Nothing);
        }
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
}

/// Returns the name under which the camera called `name` takes the host-wide lock.
fn who(name: &str) -> String {
    format!("camera `{name}`")
}

/// Plays a file up to its first frame, in a few milliseconds: its content is known only then.
fn first_of_file(mut request: CameraRequest) -> Result<(Grabber, Grabbed), DriverError> {
    if let SourceRequest::File(file) = &mut request.source {
        (file.real_time, file.repeat) = (false, false);
    }
    let mut grabber = Grabber::new(RealSenseCamera::look(PROBE, &request)?);
    grabber.start()?;
    let first = grabber.next(FIRST_FRAME)?;
    Ok((grabber, first))
}

/// Returns the streams of images with their rates.
fn rates(camera: &RealSenseCamera) -> impl Iterator<Item = (Stream, u32)> + '_ {
    let images = camera.streams().filter(|(stream, _)| !is_motion(*stream));
    images.map(|(stream, profile)| (stream, profile.frames_per_second()))
}

/// Returns the time of a frame in nanoseconds since 1970, if it is known.
fn host_nanos(frame: &FrameHeader) -> Option<u64> {
    if matches!(frame.timestamp.clock, Clock::Global | Clock::System) {
        return Some(frame.timestamp.nanos);
    }
    let arrival_millis = frame.metadata.get(MetadataKey::TIME_OF_ARRIVAL)?;
    u64::try_from(arrival_millis).ok()?.checked_mul(1_000_000)
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
    pub(crate) camera: RealSenseCamera,
    pub(crate) info: CameraInfo,
    gatherer: Gatherer<(FrameHeader, Pixels)>,
    motion: Motion,
    /// Maximum time for which a frame waits for its partners; `None` for a file, where later frames decide, so that
    /// every playback gives the same framesets.
    pub(crate) partner_timeout: Option<Duration>,
    /// Number of frames of each stream that were discarded without a partner since the last `take_lost`.
    without_partner: BTreeMap<Stream, u64>,
    ended: bool,
    /// Whether the file has delivered a frame since it was last started.
    fruitful: bool,
    pub(crate) schedule: Schedule,
    /// The time at which the file begins; `None` if it has begun.
    begins_at: Option<Instant>,
}

/// The times at which a file begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Schedule {
    /// Its start, after that of each round.
    offset: Duration,
    /// The duration of a round; `None` to begin again at the end of the file.
    round: Option<Duration>,
    /// The start of the current round.
    round_began: Option<Instant>,
}

impl Schedule {
    /// Begins a round now, or after the previous round, and returns the time at which the file begins.
    fn next_round(&mut self, now: Instant) -> Instant {
        let behind = self.round_began.zip(self.round).map(|(began, round)| began + round);
        let began = behind.unwrap_or(now);
        // The offset of a file without a timeline applies once.
        let offset =
            if self.round_began.is_some() && behind.is_none() { Duration::ZERO } else { self.offset };
        self.round_began = Some(began);
        began + offset
    }
}

impl Grabber {
    pub(crate) fn new(camera: RealSenseCamera) -> Self {
        let slowest = rates(&camera).map(|(_, rate)| rate).min().unwrap_or(1);
        let gatherer = Gatherer::new(rates(&camera));
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
            schedule: Schedule::default(),
            begins_at: None,
        }
    }

    /// Starts the camera. If it was started before, queued frames are discarded.
    pub(crate) fn start(&mut self) -> Result<(), DriverError> {
        if self.camera.is_running() {
            self.camera.discard();
            return Ok(());
        }
        self.start_next_round()
    }

    /// Stops the streams of a live camera, or the player of a file.
    pub(crate) fn pause(&mut self) -> Result<(), DriverError> {
        if self.camera.playback().is_some() {
            return self.camera.hold();
        }
        self.camera.stop();
        self.gatherer = Gatherer::new(rates(&self.camera));
        self.motion.clear();
        self.camera.begin_filters()
    }

    /// Starts the camera, or a file when its time has come: see [`Self::time_to_begin`].
    fn start_next_round(&mut self) -> Result<(), DriverError> {
        let now = Instant::now();
        let begins_at = self.schedule.next_round(now);
        self.begins_at = Some(begins_at).filter(|at| *at > now);
        if self.begins_at.is_some() { Ok(()) } else { self.camera.start() }
    }

    /// Returns the time until the file begins; 0 if it has begun.
    pub(crate) fn time_to_begin(&self) -> Duration {
        self.begins_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Waits at most `timeout` for the next frameset.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Grabbed, DriverError> {
        if self.begins_at.is_some() {
            if !self.time_to_begin().is_zero() {
                return Ok(Grabbed::Nothing);
            }
            self.begins_at = None;
            self.camera.start()?;
        }
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
                if let Some(error) = self.camera.cut_short() {
                    return Err(error);
                }
                let repeat = self.camera.playback().is_some_and(|playback| playback.repeat);
                if !(repeat && self.fruitful) {
                    return Ok(Grabbed::End);
                }
                self.camera.begin_filters()?;
                self.motion.clear();
                (self.ended, self.fruitful) = (false, false);
                self.start_next_round()?;
                if self.begins_at.is_some() {
                    return Ok(Grabbed::Nothing);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Frames that have arrived are taken first, however fast they come.
            let wait = if quiet { left.min(LOOK) } else { Duration::ZERO };
            match self.camera.next(wait)? {
                Event::Frame(header, pixels, arrival_nanos) => {
                    (self.fruitful, quiet) = (true, false);
                    let frame = WaitingFrame {
                        number: header.number,
                        timestamp: header.timestamp,
                        arrival_nanos,
                        frame: (header, pixels),
                    };
                    if let Err(WaitingFrame { frame: (header, _), .. }) =
                        self.gatherer.put(header.stream, frame)
                    {
                        log::warn!("a frame of stream {} arrived that was not requested", header.stream);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_a_timeline_have_its_duration() {
        let seconds = Duration::from_secs;
        let start = Instant::now();
        let next_rounds = |mut schedule: Schedule| {
            [start, start + seconds(4), start + seconds(9)].map(|now| schedule.next_round(now) - start)
        };
        assert_eq!(next_rounds(Schedule::default()), [0, 4, 9].map(seconds));
        let offset = Schedule { offset: seconds(2), ..Schedule::default() };
        assert_eq!(next_rounds(offset), [2, 4, 9].map(seconds));
        let joined = Schedule { offset: seconds(2), round: Some(seconds(5)), ..Schedule::default() };
        assert_eq!(next_rounds(joined), [2, 7, 12].map(seconds));
    }
}
