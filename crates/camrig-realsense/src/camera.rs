//! An open device with its chosen streams: its description, and its frames.
//!
//! A live camera and a file differ only in how the device is found, how its streams are chosen, and whether frames wait for
//! space in the queue. This module does not depend on framesets.

mod description;
mod options;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use camrig::frame::{FrameHeader, Stream, StreamProfile, Timestamp};
use camrig::{ControlValue, Device, DriverError};

use crate::broken;
use crate::convert::{header, sample};
use crate::filters::{Chain, Frames};
use crate::find::{context, describe, find, open_file, profiles};
use crate::motion::Sample;
use crate::order::{Newest, Order};
use crate::processing::{FilterKind, Processing};
use crate::profiles::{Candidate, candidates, choose_live, choose_recorded};
use crate::recording::free_path;
use crate::repeats::Repeats;
use crate::request::{CameraRequest, FileRequest, SourceRequest};
use crate::resolve::{Regions, Resolved};
use crate::streams::is_motion;
use crate::subject::Subject;
use crate::sys::{Arrived, Context, DroppedFrames, Fault, OpenDevice, OpenSensor, Pixels, Sink, StreamKey};
use crate::turn::Turns;

/// Maximum number of frames of each stream that wait for the capture thread.
const QUEUED_FRAMES_PER_STREAM: usize = 8;

/// Maximum number of samples of motion that wait for the capture thread: those of more than a second at cameras' rates.
const QUEUED_SAMPLES: usize = 1024;

/// Maximum time for which a player may deliver nothing before its end. librealsense 2.58 and 2.59 neither end nor report an
/// error after some damage. It is shorter than the usual `stall_timeout_millis`, whose error has no reason.
const PLAYER_SILENCE_MAX: Duration = Duration::from_secs(4);

/// Maximum time for which a player may deliver nothing after its last frame. librealsense 2.59 does not report the end in
/// some runs.
const END_SILENCE_MAX: Duration = Duration::from_secs(1);

/// Maximum time between the last frame of a file and its end.
const LAST_FRAME: Duration = Duration::from_millis(100);

/// An open device. It sends nothing before [`Camera::start`].
pub(crate) struct RealSenseCamera {
    // Dropped in this order: without its receiver no callback waits for space, so that sensors can stop.
    receiver: Option<Receiver<Arrived>>,
    samples: Option<Receiver<Arrived>>,
    sensors: Vec<OpenSensor>,
    /// Records into a file, and writes the file's index when it is dropped.
    recorder: Option<OpenDevice>,
    device: OpenDevice,
    _context: Context,
    /// The name under which it takes the host-wide lock.
    who: String,
    subject: Subject,
    chosen: Vec<Candidate>,
    /// The settings; `None` for a file.
    settings: Option<Resolved>,
    /// The options that were set while it runs and that a topology has, in their order.
    set: Vec<(String, ControlValue)>,
    processing: Processing,
    /// The filters that the device recommends, in their order.
    recommended: Vec<FilterKind>,
    chain: Chain,
    /// The file of a live camera's recording.
    record_to: Option<PathBuf>,
    /// `None` for a live camera.
    playback: Option<Playback>,
    /// Counts the frames that were dropped because the queue was full.
    dropped: Arc<DroppedFrames>,
    /// The newest frame of each stream since the start.
    newest: BTreeMap<Stream, Option<Newest>>,
    /// Number of repeated frames of each stream since the last `take_repeated`.
    repeated: BTreeMap<Stream, u64>,
    /// Number of frames of each stream that had the number and time of its newest one, which is still the newest.
    again: BTreeMap<Stream, u64>,
    /// The messages about frames with the metadata of earlier ones.
    earlier: Repeats,
    /// The time at which the last frame or sample arrived, or the sensors were started.
    last_arrival: Instant,
    /// The regions of auto exposure to be set; `None` before the start, and for a file.
    regions: Option<Regions>,
}

/// The playback settings of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Playback {
    real_time: bool,
    pub(crate) repeat: bool,
}

/// The result of waiting for a frame.
#[allow(clippy::large_enum_variant, reason = "it is nearly always a frame, and taken apart at once")]
pub(crate) enum Event {
    Frame(FrameHeader, Pixels, u64),
    Sample(Stream, Sample),
    /// The queue is empty.
    Nothing,
    /// The end of a file; nothing follows before the next [`Camera::start`].
    End,
}

impl RealSenseCamera {
    /// Finds the device, chooses its streams and applies its settings. `who` names the caller to processes that wait
    /// for the host-wide lock.
    pub(crate) fn open(who: &str, request: &CameraRequest) -> Result<Self, DriverError> {
        let _turn = Turns::of_this_host().take(who)?;
        let mut camera = Self::open_in(context()?, who, request)?;
        camera.set_up()?;
        Ok(camera)
    }

    /// Like [`Self::open`], but without changing the device.
    pub(crate) fn look(who: &str, request: &CameraRequest) -> Result<Self, DriverError> {
        let _turn = Turns::of_this_host().take(who)?;
        Self::open_in(context()?, who, request)
    }

    /// Like [`Self::look`], among the devices of `context`.
    pub(crate) fn open_in(context: Context, who: &str, request: &CameraRequest) -> Result<Self, DriverError> {
        let mut model = String::new();
        let (subject, mut device, playback) = match &request.source {
            SourceRequest::Live(live) => {
                let (mut device, Device { serial, usb_type, model: own, .. }) =
                    find(&context, &live.selection)?;
                model = own;
                let subject = Subject::Live(serial);
                device.watch(&context).map_err(|fault| subject.refuses(&fault))?;
                if usb_type.starts_with('2') && !live.allow_usb2 {
                    return Err(DriverError::new(format!(
                        "{subject} is on USB {usb_type}, where profiles are fewer and slower: connect it to a USB 3 \
                         port with a USB 3 cable, or set `allow_usb2 = true`"
                    ))
                    .at(live.selection.key()));
                }
                (subject, device, None)
            }
            SourceRequest::File(FileRequest { path, real_time, repeat, .. }) => {
                let playback = Playback { real_time: *real_time, repeat: *repeat };
                (Subject::File(path.display().to_string()), open_file(&context, path)?, Some(playback))
            }
        };
        let sensors = device.sensors().map_err(|fault| subject.refuses(&fault))?;
        device.log_notifications(&subject.to_string(), &sensors);
        let (candidates, left_out) = candidates(&sensors);
        let chosen = match request.source {
            SourceRequest::Live(_) => choose_live(&subject, &candidates, &left_out, &request.streams)?,
            SourceRequest::File(_) => choose_recorded(&subject, &candidates, &left_out, &request.streams)?,
        };
        let (settings, record_to) = match &request.source {
            SourceRequest::Live(live) => {
                let settings =
                    live.settings.resolve(&subject, &model, &device, &sensors, &candidates, &chosen)?;
                (Some(settings), live.record_to.clone())
            }
            SourceRequest::File(_) => (None, None),
        };
        let streams: Vec<_> = chosen.iter().map(|it| (it.stream, Some(it.format))).collect();
        request.processing.check_streams(&streams)?;
        let depth = chosen.iter().find(|it| it.stream == Stream::DEPTH);
        let blocks = depth.map(|it| sensors[it.sensor].recommended_blocks()).unwrap_or_default();
        let kind = |name: &String| FilterKind::ALL.into_iter().find(|kind| kind.block_name() == *name);
        let recommended: Vec<_> = blocks.iter().filter_map(kind).collect();
        let processing = request.processing.clone();
        let chain = Chain::new(&processing, &recommended)?;
        Ok(Self {
            receiver: None,
            samples: None,
            sensors,
            recorder: None,
            device,
            _context: context,
            who: who.to_owned(),
            subject,
            chosen,
            settings,
            set: Vec::new(),
            processing,
            recommended,
            chain,
            record_to,
            playback,
            dropped: Arc::default(),
            newest: BTreeMap::new(),
            repeated: BTreeMap::new(),
            again: BTreeMap::new(),
            earlier: Repeats::default(),
            last_arrival: Instant::now(),
            regions: None,
        })
    }

    /// Applies the settings, and starts the recording. Before that the device is unchanged.
    pub(crate) fn set_up(&mut self) -> Result<(), DriverError> {
        if let Some(settings) = &self.settings {
            settings.apply(&self.subject, &self.device, &self.sensors)?;
        }
        let Some(path) = &self.record_to else { return Ok(()) };
        let path = free_path(path)?;
        let error = |fault: Fault| {
            DriverError::new(format!("{} cannot be recorded to `{}`: {fault}", self.subject, path.display()))
                .at("record_to")
        };
        let recorder = self.device.record(&path).map_err(error)?;
        let sensors = recorder.sensors().map_err(error)?;
        // Chosen streams are identified by their index among the sensors' profiles.
        if candidates(&sensors) != candidates(&self.sensors) {
            return Err(error(Fault::new("the recorder has other streams")));
        }
        log::info!("{} is recorded to `{}`", self.subject, path.display());
        (self.sensors, self.recorder) = (sensors, Some(recorder));
        Ok(())
    }

    /// Returns the description of the device.
    pub(crate) fn device(&self) -> Device {
        Device { profiles: profiles(&self.sensors), ..describe(&self.device) }
    }

    /// Returns the error of a player that stopped before the end of its file.
    pub(crate) fn cut_short(&self) -> Option<DriverError> {
        let (Subject::File(path), Some(reason)) = (&self.subject, self.device.play_error()) else {
            return None;
        };
        let error = DriverError::new(format!("{} stopped before its end: {reason}", self.subject)).at("file");
        broken::remember(Path::new(path), &error);
        Some(error)
    }

    /// Returns the playback settings; `None` for a live camera.
    pub(crate) fn playback(&self) -> Option<Playback> {
        self.playback
    }

    /// Returns the duration of a file, in nanoseconds.
    pub(crate) fn duration_nanos(&self) -> Result<u64, DriverError> {
        self.device.duration_nanos().map_err(|fault| self.subject.refuses(&fault))
    }

    /// Returns the streams and their profiles.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (Stream, StreamProfile)> + '_ {
        self.chosen.iter().map(|chosen| (chosen.stream, chosen.profile))
    }

    /// Starts the sensors. A file plays from its start.
    pub(crate) fn start(&mut self) -> Result<(), DriverError> {
        let live = self.playback.is_none();
        let _turn = live.then(|| Turns::of_this_host().take(&self.who)).transpose()?;
        self.start_sensors()
    }

    /// Starts a live camera. Returns false while another one is opened or started; `since` is when the wait began.
    pub(crate) fn start_in_turn(&mut self, since: Instant) -> Result<bool, DriverError> {
        let Some(_turn) = Turns::of_this_host().attempt(&self.who, since)? else { return Ok(false) };
        self.start_sensors().map(|()| true)
    }

    fn start_sensors(&mut self) -> Result<(), DriverError> {
        let images = self.chosen.iter().filter(|it| !is_motion(it.stream)).count();
        let (image_sender, receiver) = sync_channel(QUEUED_FRAMES_PER_STREAM * images);
        let (sample_sender, samples) = sync_channel(QUEUED_SAMPLES);
        (self.receiver, self.samples) = (Some(receiver), Some(samples));
        self.newest.clear();
        self.count_again();
        // Sensors start one after another, and a player starts with the first of them: it has to be paused until all
        // have started, otherwise the first frames of the others would be lost.
        if let Some(playback) = self.playback {
            let held = self.device.set_real_time(playback.real_time).and_then(|()| self.device.pause());
            held.map_err(|fault| self.subject.refuses(&fault))?;
        }
        // Even a paused player reads one frame when its first sensor starts. A stream that is opened after that is omitted if
        // all its frames are before the next one, so every sensor is opened first.
        for (number, sensor) in self.sensors.iter_mut().enumerate() {
            let indices: Vec<_> =
                self.chosen.iter().filter(|it| it.sensor == number).map(|it| it.index).collect();
            if !indices.is_empty() {
                sensor.open(&indices).map_err(|fault| self.subject.refuses(&fault))?;
            }
        }
        self.set_over_visual_preset()?;
        // Callbacks may only wait in a player that plays as fast as its frames are taken: a live camera, or a
        // recording at its own pace, would lose frames without a gap in their numbers.
        let wait = self.playback.is_some_and(|playback| !playback.real_time);
        for sensor in self.sensors.iter_mut().filter(|sensor| sensor.is_open()) {
            let started = sensor.start(Sink {
                images: image_sender.clone(),
                samples: sample_sender.clone(),
                wait,
                dropped: Arc::clone(&self.dropped),
            });
            started.map_err(|fault| self.subject.refuses(&fault))?;
        }
        self.last_arrival = Instant::now();
        self.regions = self.settings.as_ref().map(|settings| settings.regions(self.last_arrival));
        if self.playback.is_some() {
            self.device.resume().map_err(|fault| self.subject.refuses(&fault))?;
        }
        Ok(())
    }

    /// Returns whether it was started.
    pub(crate) fn is_running(&self) -> bool {
        self.receiver.is_some()
    }

    /// Stops the sensors; the device stays open.
    pub(crate) fn stop(&mut self) {
        // Without its receiver no callback waits for a free place.
        (self.receiver, self.samples) = (None, None);
        self.sensors.iter_mut().for_each(OpenSensor::silence);
    }

    /// Stops the player of a file at its current position.
    pub(crate) fn hold(&mut self) -> Result<(), DriverError> {
        self.device.pause().map_err(|fault| self.subject.refuses(&fault))
    }

    /// Lets the player of a file continue.
    pub(crate) fn play_on(&mut self) -> Result<(), DriverError> {
        self.last_arrival = Instant::now();
        self.device.resume().map_err(|fault| self.subject.refuses(&fault))
    }

    /// Discards the frames in the queue.
    pub(crate) fn discard(&self) {
        self.receiver.iter().chain(&self.samples).flat_map(Receiver::try_iter).for_each(drop);
        self.take_dropped().for_each(drop);
    }

    /// Takes the numbers of frames of each stream that were dropped because the queue was full.
    pub(crate) fn take_dropped(&self) -> impl Iterator<Item = (Stream, u64)> + '_ {
        self.dropped.take().filter_map(|(key, count)| Some((self.stream(key)?, count)))
    }

    /// Takes the numbers of repeated frames of each stream.
    pub(crate) fn take_repeated(&mut self) -> impl Iterator<Item = (Stream, u64)> + use<> {
        std::mem::take(&mut self.repeated).into_iter().filter(|(_, frames)| *frames > 0)
    }

    /// Returns the next sample of motion in the queue, or else waits at most `timeout` for the next frame. Without one the
    /// queue is empty: frames that are not new, or unknown, are passed over.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Event, DriverError> {
        self.set_regions()?;
        while let Some(arrived) = self.samples.as_ref().and_then(|samples| samples.try_recv().ok()) {
            let measured = arrived.frame.measured().map_err(|fault| self.subject.refuses(&fault))?;
            let (Some(stream), Some(sample)) = (self.stream(arrived.key), sample(&measured)) else {
                log::warn!("{} sent a sample of an unknown stream or clock", self.subject);
                continue;
            };
            self.last_arrival = Instant::now();
            if self.is_new(stream, sample.number, sample.timestamp) {
                return Ok(Event::Sample(stream, sample));
            }
        }
        let mut wait = timeout;
        loop {
            if let Some(event) = self.next_frame(wait)? {
                return Ok(event);
            }
            wait = Duration::ZERO;
        }
    }

    /// Waits at most `timeout` for the next frame; returns `None` if it is passed over.
    fn next_frame(&mut self, timeout: Duration) -> Result<Option<Event>, DriverError> {
        let Some(receiver) = &self.receiver else { return Ok(Some(Event::End)) };
        let arrived = match receiver.recv_timeout(timeout) {
            Ok(arrived) => arrived,
            // The sensors hold the senders until they are silenced, which happens only at the end of a file.
            Err(RecvTimeoutError::Disconnected) => {
                self.receiver = None;
                self.count_again();
                return Ok(Some(Event::End));
            }
            Err(RecvTimeoutError::Timeout) => {
                if self.has_played()? {
                    // The queue was empty, so there is space for the remaining callbacks.
                    self.sensors.iter_mut().for_each(OpenSensor::silence);
                }
                if self.device.is_gone() {
                    return Err(DriverError::unavailable(format!("{} was unplugged", self.subject)));
                }
                return Ok(Some(Event::Nothing));
            }
        };
        self.last_arrival = Instant::now();
        // The device is connected, although the frame is invalid.
        let bad = |fault| DriverError::new(format!("{} sent a bad frame: {fault}", self.subject));
        let image = arrived.frame.into_image().map_err(bad)?;
        let Some(header) = self.stream(arrived.key).and_then(|stream| header(&image, stream)) else {
            log::warn!("{} sent a frame of an unknown stream or format", self.subject);
            return Ok(None);
        };
        let is_new = self.is_new(header.stream, header.number, header.timestamp);
        Ok(is_new.then(|| Event::Frame(header, image.into_pixels(), arrived.arrival_nanos)))
    }

    /// Sets the regions of auto exposure that the camera has not accepted yet.
    fn set_regions(&mut self) -> Result<(), DriverError> {
        let (Some(regions), true) = (&mut self.regions, self.receiver.is_some()) else { return Ok(()) };
        let set = |sensor: usize, region| self.sensors[sensor].set_exposure_region(region);
        regions.attempt(Instant::now(), set).map_err(|(region, fault)| {
            DriverError::new(format!(
                "auto exposure of {} cannot be limited to {region:?}: {fault}",
                self.subject
            ))
        })
    }

    /// Returns whether a player has come to its end.
    fn has_played(&self) -> Result<bool, DriverError> {
        let (Some(Playback { real_time, .. }), Subject::File(path)) = (self.playback, &self.subject) else {
            return Ok(false);
        };
        if self.device.is_stopped().unwrap_or(true) {
            return Ok(true);
        }
        let silence = self.last_arrival.elapsed();
        if silence < END_SILENCE_MAX {
            return Ok(false);
        }
        let nanos = |nanos: Result<u64, Fault>| Duration::from_nanos(nanos.unwrap_or(0));
        let (position, duration) = (nanos(self.device.position_nanos()), nanos(self.device.duration_nanos()));
        if position + LAST_FRAME >= duration {
            return Ok(true);
        }
        if silence < silence_max(real_time, position, duration) {
            return Ok(false);
        }
        let error = DriverError::new(format!(
            "{} stopped before its end: librealsense delivers nothing after {:.1} s of {:.1} s, and reports no error; \
             the file is damaged there",
            self.subject,
            position.as_secs_f64(),
            duration.as_secs_f64(),
        ))
        .at("file");
        broken::remember(Path::new(path), &error);
        Err(error)
    }

    /// Returns the stream with librealsense's number and index, if it was chosen.
    fn stream(&self, key: StreamKey) -> Option<Stream> {
        self.chosen.iter().find(|it| it.key == key).map(|it| it.stream)
    }

    /// Returns whether a frame or sample is new, and counts repetitions, each when a new frame follows: where numbers are
    /// missing then, they were new frames with the metadata of the one before them, and the gap counts them.
    fn is_new(&mut self, stream: Stream, number: u64, timestamp: Timestamp) -> bool {
        // A file is played as it was recorded.
        let any_order = self.playback.is_some() || is_motion(stream);
        match Order::of(self.newest.entry(stream).or_default(), number, timestamp, any_order) {
            Order::New { missing } => {
                let again = self.again.remove(&stream).unwrap_or_default();
                *self.repeated.entry(stream).or_default() += again.saturating_sub(missing);
                true
            }
            Order::Again { of_first } => {
                // The frame that a paused player has read first may arrive before and again after it resumes; that is no
                // repetition by the camera.
                let slipped_through = self.playback.is_some() && of_first;
                *self.again.entry(stream).or_default() += u64::from(!slipped_through);
                false
            }
            Order::Earlier => {
                let message = format!(
                    "a frame of {stream} came with number {number} and the time of an earlier one, and is counted as \
                     lost: this machine does not take frames from the kernel in time"
                );
                if let Some(text) = self.earlier.text(&self.subject.to_string(), &message, Instant::now()) {
                    log::warn!("{text}");
                }
                false
            }
        }
    }

    /// Counts the frames after which no new one followed as repeated.
    fn count_again(&mut self) {
        for (stream, frames) in std::mem::take(&mut self.again) {
            *self.repeated.entry(stream).or_default() += frames;
        }
    }

    /// Creates the filters again: the new ones have no state of earlier frames.
    pub(crate) fn begin_filters(&mut self) -> Result<(), DriverError> {
        self.chain = Chain::new(&self.processing, &self.recommended)?;
        Ok(())
    }

    /// Processes the frames of an instant with the filters and the alignment. Not all frames may remain.
    pub(crate) fn process(&mut self, frames: Frames) -> Result<Frames, DriverError> {
        self.chain.apply(frames).map_err(|fault| {
            DriverError::new(format!("frames of {} cannot be processed: {fault}", self.subject))
        })
    }
}

/// Returns the maximum silence of a player before its end. At the recorded pace, a recording may have a pause: the end
/// comes after it.
fn silence_max(real_time: bool, position: Duration, duration: Duration) -> Duration {
    let left = if real_time { duration.saturating_sub(position) } else { Duration::ZERO };
    left + PLAYER_SILENCE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_a_recording_is_waited_for_at_its_pace_only() {
        let seconds = Duration::from_secs;
        assert_eq!(silence_max(false, seconds(2), seconds(60)), seconds(4));
        assert_eq!(silence_max(true, seconds(2), seconds(60)), seconds(62));
        assert_eq!(silence_max(true, seconds(61), seconds(60)), seconds(4));
    }
}
