//! A device with its streams chosen: what it says of itself, and its frames as they come.
//!
//! A live camera and a file differ only in how the device is found, in how its streams are chosen and in who
//! waits for whom. It knows no framesets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use camrig::frame::{CameraInfo, Extrinsics, FrameHeader, Stream, StreamInfo, StreamProfile, Timestamp};
use camrig::{Device, DriverError};
use realsense_rust::kind::Rs2Option;

use crate::convert::{header, pinhole, sample};
use crate::filters::{Chain, Frames};
use crate::find::{Subject, context, describe, find, open_file};
use crate::motion::Sample;
use crate::profiles::{
    Candidate, candidates, choose_live, choose_recorded, is_motion, stream_numbered, stream_of,
};
use crate::recording::free_path;
use crate::request::{FileRequest, Request, SourceRequest};
use crate::settings::Resolved;
#[cfg(test)]
use crate::sys::OptionKind;
use crate::sys::{Arrived, Context, Fault, OpenDevice, OpenSensor, Overflow, Pixels, Sink};
use crate::turn::Turns;

/// Frames of each stream that may wait for the capture thread.
const QUEUED_FRAMES_PER_STREAM: usize = 8;

/// Samples of motion that may wait for the capture thread: those of a second and more, at the rates that cameras
/// have.
const QUEUED_SAMPLES: usize = 1024;

/// The depth unit of all D400 cameras but the D405, which says its own.
const USUAL_DEPTH_UNIT_METERS: f32 = 0.001;

/// An open device. It sends nothing before [`Camera::start`].
pub(crate) struct Camera {
    // Dropped in this order: without its receiver no callback waits for room, so that sensors can stop.
    receiver: Option<Receiver<Arrived>>,
    samples: Option<Receiver<Arrived>>,
    sensors: Vec<OpenSensor>,
    /// Writes a file, whose index it writes when it drops.
    recorder: Option<OpenDevice>,
    device: OpenDevice,
    _context: Context,
    /// How it takes its turn.
    who: String,
    subject: Subject,
    chosen: Vec<Candidate>,
    /// What there is to set; none in a file.
    settings: Option<Resolved>,
    chain: Chain,
    /// Where a live camera is recorded to.
    record_to: Option<PathBuf>,
    /// None for a live camera.
    playback: Option<Playback>,
    /// What found no room in the queue.
    overflow: Arc<Overflow>,
    /// Each stream's newest frame since the start.
    newest: BTreeMap<Stream, Newest>,
    /// How many frames of each stream came again since this was last asked.
    repeated: BTreeMap<Stream, u64>,
}

/// The newest frame of a stream.
#[derive(Clone, Copy, Debug)]
struct Newest {
    number: u64,
    timestamp: Timestamp,
    /// Whether it is the first one, too.
    is_first: bool,
}

/// How a file plays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Playback {
    real_time: bool,
    pub(crate) repeat: bool,
}

/// What came of waiting for a frame.
#[allow(clippy::large_enum_variant, reason = "it is nearly always a frame, and taken apart at once")]
pub(crate) enum Event {
    Frame(FrameHeader, Pixels, u64),
    Sample(Stream, Sample),
    Nothing,
    /// A file has come to its end; nothing comes before the next [`Camera::start`].
    End,
}

impl Camera {
    /// Finds the device, chooses its streams and sets what was asked for. Others who wait for their turn learn
    /// that it is that of `who`.
    pub(crate) fn open(who: &str, request: &Request) -> Result<Self, DriverError> {
        let _turn = Turns::of_this_host().take(who)?;
        let mut camera = Self::open_in(context()?, who, request)?;
        camera.set_up()?;
        Ok(camera)
    }

    /// As [`Self::open`], but leaves the device as it is.
    pub(crate) fn look(who: &str, request: &Request) -> Result<Self, DriverError> {
        let _turn = Turns::of_this_host().take(who)?;
        Self::open_in(context()?, who, request)
    }

    /// As [`Self::look`], among the devices of `context`.
    pub(crate) fn open_in(context: Context, who: &str, request: &Request) -> Result<Self, DriverError> {
        let mut model = String::new();
        let (subject, device, playback) = match &request.source {
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
                    )));
                }
                (subject, device, None)
            }
            SourceRequest::File(FileRequest { path, real_time, repeat }) => {
                let playback = Playback { real_time: *real_time, repeat: *repeat };
                (Subject::File(path.display().to_string()), open_file(&context, path)?, Some(playback))
            }
        };
        let sensors = device.sensors().map_err(|fault| subject.refuses(&fault))?;
        let (candidates, left_out) = candidates(&sensors);
        let chosen = match request.source {
            SourceRequest::Live(_) => choose_live(&subject, &candidates, &request.streams)?,
            SourceRequest::File(_) => {
                for what in &left_out {
                    log::warn!("{subject}: {what} is left out: its format or size is unknown");
                }
                choose_recorded(&subject, &candidates, &left_out, &request.streams)?
            }
        };
        let (settings, record_to) = match &request.source {
            SourceRequest::Live(live) => {
                let settings = live.settings.resolve(&subject, &model, &device, &sensors, &candidates)?;
                (Some(settings), live.record_to.clone())
            }
            SourceRequest::File(_) => (None, None),
        };
        let streams: Vec<_> = chosen.iter().map(|it| (it.stream, Some(it.format))).collect();
        request.processing.check_streams(&streams)?;
        let chain = Chain::new(&request.processing)?;
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
            chain,
            record_to,
            playback,
            overflow: Arc::default(),
            newest: BTreeMap::new(),
            repeated: BTreeMap::new(),
        })
    }

    /// Sets what was asked for, and begins to record. Until then the device is as it was found.
    pub(crate) fn set_up(&mut self) -> Result<(), DriverError> {
        if let Some(settings) = &self.settings {
            settings.apply(&self.subject, &self.device, &self.sensors)?;
        }
        let Some(path) = &self.record_to else { return Ok(()) };
        let path = free_path(path)?;
        let error = |fault: Fault| {
            DriverError::new(format!("{} cannot be recorded to `{}`: {fault}", self.subject, path.display()))
        };
        let recorder = self.device.record(&path).map_err(error)?;
        let sensors = recorder.sensors().map_err(error)?;
        // What was chosen is known by its place among the sensors' profiles.
        if candidates(&sensors) != candidates(&self.sensors) {
            return Err(error(Fault::new("the recorder has other streams")));
        }
        log::info!("{} is recorded to `{}`", self.subject, path.display());
        (self.sensors, self.recorder) = (sensors, Some(recorder));
        Ok(())
    }

    /// How the file plays; none for a live camera.
    pub(crate) fn playback(&self) -> Option<Playback> {
        self.playback
    }

    /// The streams and their rates.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (Stream, StreamProfile)> + '_ {
        self.chosen.iter().map(|chosen| (chosen.stream, chosen.profile))
    }

    /// Starts the sensors. A file plays from its beginning.
    pub(crate) fn start(&mut self) -> Result<(), DriverError> {
        let live = self.playback.is_none();
        let _turn = live.then(|| Turns::of_this_host().take(&self.who)).transpose()?;
        let images = self.chosen.iter().filter(|it| !is_motion(it.stream)).count();
        let (image_sender, receiver) = sync_channel(QUEUED_FRAMES_PER_STREAM * images);
        let (sample_sender, samples) = sync_channel(QUEUED_SAMPLES);
        (self.receiver, self.samples) = (Some(receiver), Some(samples));
        self.newest.clear();
        // Sensors start one after another, and a player starts with the first of them: it has to be held
        // until the last is there, or the first frames of the others are lost.
        if let Some(playback) = self.playback {
            let held = self.device.set_real_time(playback.real_time).and_then(|()| self.device.pause());
            held.map_err(|fault| self.subject.refuses(&fault))?;
        }
        // Even a held player reads one frame when its first sensor starts. A stream that is opened after that
        // is left out for good if its frames all lie before the next one, so every sensor opens first.
        for (number, sensor) in self.sensors.iter_mut().enumerate() {
            let indices: Vec<_> =
                self.chosen.iter().filter(|it| it.sensor == number).map(|it| it.index).collect();
            if !indices.is_empty() {
                sensor.open(&indices).map_err(|fault| self.subject.refuses(&fault))?;
            }
        }
        // Only a player that plays as fast as its frames are taken may be held up by its callbacks: a live
        // camera, or a recording at its own pace, would lose frames unseen instead of with a gap in numbers.
        let wait = self.playback.is_some_and(|playback| !playback.real_time);
        for sensor in self.sensors.iter_mut().filter(|sensor| sensor.is_open()) {
            let started = sensor.start(Sink {
                images: image_sender.clone(),
                samples: sample_sender.clone(),
                wait,
                overflow: Arc::clone(&self.overflow),
            });
            started.map_err(|fault| self.subject.refuses(&fault))?;
        }
        if self.playback.is_some() {
            self.device.resume().map_err(|fault| self.subject.refuses(&fault))?;
        }
        Ok(())
    }

    /// Whether frames come, or have come to their end.
    pub(crate) fn is_running(&self) -> bool {
        self.receiver.is_some()
    }

    /// Leaves out the frames that have come and were not taken.
    pub(crate) fn discard(&self) {
        self.receiver.iter().chain(&self.samples).flat_map(Receiver::try_iter).for_each(drop);
        self.take_overflow().for_each(drop);
    }

    /// How many frames of which streams found no room in the queue since this was last asked.
    pub(crate) fn take_overflow(&self) -> impl Iterator<Item = (Stream, u64)> + '_ {
        self.overflow
            .take()
            .filter_map(|(stream, index, count)| Some((stream_numbered(stream, index)?, count)))
    }

    /// How many frames of which streams came again, and were left out, since this was last asked.
    pub(crate) fn take_repeated(&mut self) -> impl Iterator<Item = (Stream, u64)> + use<> {
        std::mem::take(&mut self.repeated).into_iter().filter(|(_, frames)| *frames > 0)
    }

    /// The next sample of motion that has come, or else waits at most `timeout` for the next frame.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Event, DriverError> {
        while let Some(arrived) = self.samples.as_ref().and_then(|samples| samples.try_recv().ok()) {
            let measured = arrived.frame.measured().map_err(|fault| self.subject.refuses(&fault))?;
            let Some((stream, sample)) = sample(&measured) else {
                log::warn!("{} sent a sample of an unknown stream or clock", self.subject);
                continue;
            };
            if !self.came_again(stream, sample.number, sample.timestamp) {
                return Ok(Event::Sample(stream, sample));
            }
        }
        let Some(receiver) = &self.receiver else { return Ok(Event::End) };
        let arrived = match receiver.recv_timeout(timeout) {
            Ok(arrived) => arrived,
            // The sensors hold the other end until they are silent, which only the end of a file makes them.
            Err(RecvTimeoutError::Disconnected) => {
                self.receiver = None;
                return Ok(Event::End);
            }
            Err(RecvTimeoutError::Timeout) => {
                if self.playback.is_some() && self.device.is_stopped().unwrap_or(true) {
                    // The queue has been seen empty, so there is room for what callbacks still bring.
                    self.sensors.iter_mut().for_each(OpenSensor::silence);
                }
                if self.device.is_gone() {
                    return Err(DriverError::unavailable(format!("{} was unplugged", self.subject)));
                }
                return Ok(Event::Nothing);
            }
        };
        // The device is there, whatever it sends.
        let bad = |fault| DriverError::new(format!("{} sent a bad frame: {fault}", self.subject));
        let image = arrived.frame.into_image().map_err(bad)?;
        let Some(header) = header(&image) else {
            log::warn!("{} sent a frame of an unknown stream", self.subject);
            return Ok(Event::Nothing);
        };
        if self.came_again(header.stream, header.number, header.timestamp) {
            return Ok(Event::Nothing);
        }
        Ok(Event::Frame(header, image.into_pixels(), arrived.arrival_nanos))
    }

    /// Whether it is the newest frame once more, or a sample; if so it is counted.
    fn came_again(&mut self, stream: Stream, number: u64, timestamp: Timestamp) -> bool {
        let newest = self.newest.get(&stream).copied();
        // By both: a camera that does not count sends new frames with old numbers.
        let Some(same) = newest.filter(|newest| (newest.number, newest.timestamp) == (number, timestamp))
        else {
            self.newest.insert(stream, Newest { number, timestamp, is_first: newest.is_none() });
            return false;
        };
        // What a held player has read first may slip through when it is let go, and then comes again: nobody has
        // sent it twice.
        let slipped_through = self.playback.is_some() && same.is_first;
        *self.repeated.entry(stream).or_default() += u64::from(!slipped_through);
        true
    }

    /// What an option of a sensor is.
    #[cfg(test)]
    pub(crate) fn option(&self, sensor: usize, kind: OptionKind) -> f32 {
        self.sensors[sensor].options().get(kind).unwrap()
    }

    /// Does to the frames of an instant what was asked for. Not all of them may come out.
    pub(crate) fn process(&self, frames: Frames) -> Result<Frames, DriverError> {
        self.chain.apply(frames).map_err(|fault| {
            DriverError::new(format!("frames of {} cannot be processed: {fault}", self.subject))
        })
    }

    /// Everything that stays the same.
    pub(crate) fn info(&self) -> CameraInfo {
        let Device { model, serial, firmware, usb_type, .. } = describe(self.device.device());
        let mut streams: Vec<_> = self.chosen.iter().map(|chosen| self.stream_info(chosen)).collect();
        self.chain.tell(&mut streams);
        let depth_unit_meters = self.depth_unit_meters().unwrap_or_else(|| {
            if self.chosen.iter().any(|chosen| chosen.stream == Stream::DEPTH) {
                log::warn!(
                    "{} does not say its depth unit; {USUAL_DEPTH_UNIT_METERS} m is assumed",
                    self.subject
                );
            }
            USUAL_DEPTH_UNIT_METERS
        });
        CameraInfo {
            name: String::new(),
            driver: String::new(),
            serial,
            model,
            firmware,
            usb_type,
            depth_unit_meters,
            streams,
        }
    }

    fn stream_info(&self, chosen: &Candidate) -> StreamInfo {
        let profile = self.sensors[chosen.sensor].profile(chosen.index);
        let place = self.chain.place_of_depth();
        let depth = self.chosen.iter().find(|it| it.stream == place);
        // Where no depth is chosen, any profile of depth is in the same place.
        let depth = depth.map(|it| (it.sensor, it.index)).or_else(|| self.any_depth());
        let depth = depth.and_then(|(sensor, index)| self.sensors[sensor].profile(index));
        let intrinsics = profile.as_ref().and_then(|profile| profile.get().intrinsics().ok());
        let to_depth = match (&profile, &depth) {
            _ if chosen.stream == place => Some(Extrinsics::IDENTITY),
            (Some(own), Some(depth)) => own.get().extrinsics(depth.get()).ok().map(|extrinsics| Extrinsics {
                rotation: extrinsics.rotation(),
                translation_meters: extrinsics.translation(),
            }),
            _ => None,
        };
        StreamInfo {
            intrinsics: intrinsics.and_then(|intrinsics| pinhole(&intrinsics.0)),
            to_depth,
            ..chosen.info()
        }
    }

    fn any_depth(&self) -> Option<(usize, usize)> {
        self.sensors.iter().enumerate().find_map(|(number, sensor)| {
            let index = sensor.profiles().position(|data| stream_of(&data) == Some(Stream::DEPTH))?;
            Some((number, index))
        })
    }

    fn depth_unit_meters(&self) -> Option<f32> {
        let units = |sensor: &OpenSensor| sensor.with_view(|view| view.get_option(Rs2Option::DepthUnits));
        self.sensors.iter().find_map(units).filter(|unit| unit.is_finite() && *unit > 0.0)
    }
}
