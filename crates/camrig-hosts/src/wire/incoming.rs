//! The driver `wire-in`: a camera whose framesets come from another host.
//!
//! It is ready immediately and waits for its sender, without a limit. Frames are decoded into the slot from which they are
//! read.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Queue, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use camrig::{CameraOutput, Captured, Driver, DriverError, LostReason, RelayedCamera, monotonic_nanos};
use camrig_frame::{
    CameraInfo, Clock, DeviceProfile, MAX_FRAMESET_BYTES, Payload, SAMPLE_BYTES, StreamInfo, Timestamp,
};
use schemars::JsonSchema;
use serde::Deserialize;
use zenoh::bytes::ZBytes;
use zenoh::sample::Sample;

use super::connection::Connection;
use super::contact::Contact;
use super::credit::{Arrival, CreditWindow, Receiver};
use super::message::{self, Answer, Incoming, IncomingFrameSet, MessageKind};
use super::{Ends, check_key, keys};
use crate::clock::HostClock;
use crate::codec::{Coding, Decoder};
use crate::session::{self, SessionOptions};
use crate::streams;

/// Share of the window after which an answer is sent although more is waiting.
const ANSWERS_PER_WINDOW: u32 = 4;

/// Questions and ends that may wait beside the framesets of a window; more are dropped, since later ones have the same content.
const QUEUE_EXTRA: usize = 8;

/// Options of the driver `wire-in`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WireInOptions {
    /// The unique name of the crossing, the same at both ends.
    key: String,
    /// The session that carries it.
    #[serde(default)]
    session: SessionOptions,
    /// Framesets that may be in flight at the same time.
    #[serde(default = "default_framesets")]
    #[schemars(range(min = 1, max = 64))]
    framesets: u32,
    /// Bytes of encoded frames that may be in flight at the same time; a larger frameset is sent alone.
    #[serde(default = "default_megabytes")]
    #[schemars(range(min = 1, max = 1024), extend("x-unit" = "MB"))]
    megabytes: u32,
    /// The narrowest window of a match that compares its arrival times: refused if it is narrower than twice the uncertainty of
    /// the clocks. 0 for none.
    #[serde(default)]
    #[schemars(range(min = 0), extend("x-unit" = "ms"))]
    match_window_millis: f64,
    /// The streams, if they are known before the first frameset: a format and a profile for each, such as `z16 848x480@30`.
    #[serde(default)]
    streams: BTreeMap<String, String>,
    /// The cameras whose framesets come, if it is not one of the name of this one.
    #[serde(default)]
    cameras: Vec<String>,
    /// The clocks of their timestamps, as far as they are known: `hardware`, `global` or `system`.
    #[serde(default)]
    clocks: BTreeMap<String, String>,
}

fn default_framesets() -> u32 {
    8
}

fn default_megabytes() -> u32 {
    32
}

impl WireInOptions {
    fn window(&self) -> CreditWindow {
        CreditWindow { framesets: self.framesets, bytes: u64::from(self.megabytes) * 1_000_000 }
    }
}

/// The camera. See the module.
pub struct WireIn {
    name: String,
    options: WireInOptions,
    contact: Contact,
    arrivals: Arc<Arrivals>,
    queue: Queue<ZBytes>,
    /// `None` before the first call that captures.
    receiver: Option<Receiver>,
    cameras: BTreeMap<u64, Arc<CameraInfo>>,
    decoder: Decoder,
    /// Encoded frames, before they are decoded.
    coded: Vec<u8>,
    /// Framesets since the last answer.
    unanswered: u32,
    /// Whether it has failed: another instance may follow.
    has_failed: bool,
}

/// The messages that have arrived and were not taken.
#[derive(Default)]
struct Arrivals {
    framesets: AtomicUsize,
    /// Questions and ends.
    others: AtomicUsize,
    bytes: AtomicU64,
}

impl Arrivals {
    fn count(&self, bytes: usize) -> &AtomicUsize {
        if message::is_plain(bytes) { &self.others } else { &self.framesets }
    }

    /// Counts a message that arrives; returns false if there is no space for it.
    fn enter(&self, bytes: usize, bytes_max: u64) -> bool {
        let others = self.count(bytes).fetch_add(1, Ordering::Relaxed);
        let waiting = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let is_extra = message::is_plain(bytes) && others >= QUEUE_EXTRA;
        let has_room = !is_extra && waiting + bytes as u64 <= bytes_max;
        if !has_room {
            self.leave(bytes);
        }
        has_room
    }

    /// Counts a message that was taken.
    fn leave(&self, bytes: usize) {
        self.count(bytes).fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.framesets.load(Ordering::Relaxed) == 0 && self.others.load(Ordering::Relaxed) == 0
    }
}

impl Driver for WireIn {
    type Options = WireInOptions;

    fn check(options: &WireInOptions) -> Result<(), DriverError> {
        check_key(&options.key).map_err(|error| DriverError::new(error).at("key"))?;
        session::check(&options.session)
            .map_err(|error| DriverError::new(error.to_string()).at("session"))?;
        for (stream, text) in &options.streams {
            streams::read(stream, text).map_err(|error| DriverError::new(error).at("streams"))?;
        }
        for (camera, name) in &options.clocks {
            streams::clock(name).ok_or_else(|| {
                let text =
                    format!("the clock of `{camera}` is `{name}`; expected `hardware`, `global` or `system`");
                DriverError::new(text).at("clocks")
            })?;
        }
        Ok(())
    }

    fn streams(options: &WireInOptions) -> Vec<DeviceProfile> {
        options.streams.iter().filter_map(|(stream, text)| streams::read(stream, text).ok()).collect()
    }

    fn relayed(options: &WireInOptions) -> Option<Vec<RelayedCamera>> {
        let camera = |name: &String| RelayedCamera {
            name: name.clone(),
            clock: options.clocks.get(name).and_then(|name| streams::clock(name)),
        };
        Some(options.cameras.iter().map(camera).collect())
    }

    fn claims(options: &WireInOptions) -> Vec<String> {
        vec![format!("crossing {}", options.key)]
    }

    fn open(name: &str, options: WireInOptions) -> Result<Self, DriverError> {
        let arrivals = Arc::new(Arrivals::default());
        let (sender, queue) = sync_channel(options.framesets as usize + QUEUE_EXTRA);
        let ends = Ends { reads: keys::data(&options.key), writes: keys::credit(&options.key) };
        let bytes_max = options.window().bytes + MAX_FRAMESET_BYTES as u64;
        let receive = receive(sender, Arc::clone(&arrivals), bytes_max);
        let refused = |error: &dyn std::fmt::Display| DriverError::new(error.to_string());
        let connection = Connection::open(&options.session, ends, None, receive);
        let connection = Arc::new(connection.map_err(|error| refused(&error))?);
        let contact = Contact::start(&connection, keys::clock(&options.key));
        Ok(Self {
            name: name.to_owned(),
            options,
            contact: contact.map_err(|error| refused(&error))?,
            arrivals,
            queue,
            receiver: None,
            cameras: BTreeMap::new(),
            decoder: Decoder::new().map_err(|error| refused(&error))?,
            coded: Vec::new(),
            unanswered: 0,
            has_failed: false,
        })
    }

    /// Streams that the options lack are known with the first frameset.
    fn info(&self) -> CameraInfo {
        let info = |it: DeviceProfile| StreamInfo::with_profile(it.stream, it.format, it.profile);
        let streams = Self::streams(&self.options).into_iter().filter_map(info).collect();
        CameraInfo { name: self.name.clone(), streams, ..CameraInfo::default() }
    }

    fn may_fall_silent(&self) -> bool {
        true
    }

    fn start(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        let captured = self.receive(output, timeout);
        self.has_failed = captured.is_err();
        captured
    }
}

impl WireIn {
    fn receive(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        if !self.knows_clock()? {
            output.blocked(|| self.contact.wait(timeout));
            return Ok(Captured::Nothing);
        }
        self.receiver.get_or_insert_with(|| {
            let (published, lost) = output.accounted(LostReason::Wire);
            Receiver::new(monotonic_nanos(), published.saturating_add(lost), self.options.window())
        });
        if self.contact.is_answer_due() {
            self.answer(false);
        }
        let message = match output.blocked(|| self.queue.recv_timeout(timeout)) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => return Ok(Captured::Nothing),
            Err(RecvTimeoutError::Disconnected) => return Err(DriverError::new("the session has ended")),
        };
        self.arrivals.leave(message.len());
        self.contact.heard();
        Ok(self.take(&message, output))
    }

    /// Returns whether arrival times can be mapped, or framesets are published without that: an absent sender has no clock.
    fn knows_clock(&self) -> Result<bool, DriverError> {
        if self.receiver.is_some() {
            return Ok(true);
        }
        let Some(estimate) = self.contact.estimate() else {
            return Ok(false);
        };
        let uncertainty_micros = estimate.uncertainty_nanos as f64 / 1e3;
        log::info!(
            "the clock of the host of `{}` differs by {:.6} s, known to {uncertainty_micros:.0} us",
            self.options.key,
            estimate.offset_nanos as f64 / 1e9
        );
        if self.options.match_window_millis > 0.0 {
            let window_nanos = (self.options.match_window_millis * 1e6) as u64;
            estimate.check_window(window_nanos).map_err(|error| DriverError::new(error.to_string()))?;
        }
        Ok(true)
    }

    fn answer(&mut self, ends: bool) {
        let Some(receiver) = &self.receiver else { return };
        let answer = Answer::new(receiver.ack(), self.cameras.keys().copied(), ends);
        self.contact.answer(answer.to_bytes());
        self.unanswered = 0;
    }

    fn take(&mut self, message: &ZBytes, output: &mut CameraOutput) -> Captured {
        let from = &mut message.reader();
        let incoming = match message::read(from) {
            Ok(incoming) => incoming,
            Err(error) => {
                log::warn!("a message on `{}` is ignored: {error}", self.options.key);
                return Captured::Nothing;
            }
        };
        let Incoming { kind, place, frameset } = incoming;
        let Some(receiver) = &mut self.receiver else { return Captured::Nothing };
        let Some(frameset) = frameset else {
            let lost = receiver.probed(place);
            self.count_lost(output, lost);
            self.answer(false);
            return if kind == MessageKind::End { Captured::End } else { Captured::Nothing };
        };
        let Arrival::Next { lost } = receiver.arrived(place) else { return Captured::Nothing };
        self.count_lost(output, lost);
        if let Err(error) = self.publish(frameset, from, output) {
            log::warn!("frameset {} on `{}` is lost: {error}", place.number, self.options.key);
            output.count_lost_framesets(LostReason::Wire, 1);
        }
        self.unanswered += 1;
        let many = self.unanswered >= self.options.framesets.div_ceil(ANSWERS_PER_WINDOW);
        if many || self.arrivals.is_empty() {
            self.answer(false);
        }
        Captured::FrameSet
    }

    fn count_lost(&self, output: &mut CameraOutput, lost: u64) {
        if lost > 0 {
            log::warn!("{lost} framesets on `{}` did not arrive", self.options.key);
            output.count_lost_framesets(LostReason::Wire, lost);
        }
    }

    fn publish(
        &mut self,
        frameset: IncomingFrameSet,
        from: &mut impl Read,
        output: &mut CameraOutput,
    ) -> Result<(), String> {
        let IncomingFrameSet { mut header, info_id, info, frames } = frameset;
        if let Some(info) = info {
            if self.cameras.len() == message::KNOWN_MAX {
                self.cameras.clear();
            }
            self.cameras.insert(info_id, Arc::new(info));
        }
        let source = self.cameras.get(&info_id).ok_or("its camera was not described")?;
        let estimate = self.contact.estimate();
        let now = monotonic_nanos();
        header.arrival_nanos = estimate.map_or(now, |clock| clock.here(header.arrival_nanos).min(now));
        if let Some(clock) = estimate {
            header.frames.iter_mut().for_each(|frame| to_wall_clock(&mut frame.timestamp, &clock));
        }
        let headers = header.frames.clone();
        let loan = output.loan_relayed(source, header).map_err(|error| error.to_string())?;
        // Without a slot it counts as published and dropped.
        let Some(mut loan) = loan else { return Ok(()) };
        for (index, ((coding, size), frame)) in frames.into_iter().zip(&headers).enumerate() {
            let pixels = loan.frame_mut(index);
            let cut = |_| "it is cut off".to_owned();
            if coding == Coding::Raw && size == pixels.len() {
                from.read_exact(pixels).map_err(cut)?;
            } else {
                self.coded.resize(size, 0);
                from.read_exact(&mut self.coded).map_err(cut)?;
                let decoded = self.decoder.decode(coding, &self.coded, frame, pixels);
                decoded.map_err(|error| format!("{}: {error}", frame.stream))?;
            }
            if let Some(clock) = estimate.filter(|_| matches!(frame.payload, Payload::Motion { .. })) {
                samples_to_wall_clock(pixels, frame.timestamp.clock, &clock);
            }
        }
        output.publish_relayed(loan);
        Ok(())
    }
}

/// Maps a time of the other host's wall clock to that of this one. Hardware clocks are the devices' own.
fn to_wall_clock(timestamp: &mut Timestamp, clock: &HostClock) {
    if matches!(timestamp.clock, Clock::Global | Clock::System) {
        timestamp.nanos = clock.wall_here(timestamp.nanos);
    }
}

/// As [`to_wall_clock`], of samples of motion: each begins with its time.
fn samples_to_wall_clock(samples: &mut [u8], clock: Clock, estimate: &HostClock) {
    for sample in samples.chunks_exact_mut(SAMPLE_BYTES as usize) {
        let Some(bytes) = sample.first_chunk_mut::<8>() else { continue };
        let mut timestamp = Timestamp { clock, nanos: u64::from_le_bytes(*bytes) };
        to_wall_clock(&mut timestamp, estimate);
        *bytes = timestamp.nanos.to_le_bytes();
    }
}

impl Drop for WireIn {
    /// The sender need not wait for a camera that has stopped: at its last frameset, or because its part of the rig has failed.
    fn drop(&mut self) {
        self.answer(!self.has_failed);
    }
}

/// Returns the function that queues messages. A sender that keeps to its credit never finds the queue full; messages beyond
/// the credit are lost.
fn receive(
    queue: SyncSender<ZBytes>,
    arrivals: Arc<Arrivals>,
    bytes_max: u64,
) -> impl Fn(Sample) + Send + Sync + 'static {
    move |sample| {
        let message = sample.payload();
        let bytes = message.len();
        if arrivals.enter(bytes, bytes_max) && queue.try_send(message.clone()).is_err() {
            arrivals.leave(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use camrig_frame::MotionSample;

    use super::*;

    #[test]
    fn questions_leave_the_room_of_framesets_free() {
        let arrivals = Arrivals::default();
        let question = message::plain(
            MessageKind::Question,
            super::super::credit::FrameSetNumber { epoch: 1, base: None, number: 1 },
        );
        assert!(message::is_plain(question.len()));
        let entered = (0..100).filter(|_| arrivals.enter(question.len(), 1000)).count();
        assert_eq!(entered, QUEUE_EXTRA);
        assert!(arrivals.enter(600, 1000), "a frameset");
        assert!(!arrivals.enter(600, 1000), "more bytes than the window has");
        for bytes in [question.len(); QUEUE_EXTRA].into_iter().chain([600]) {
            assert!(!arrivals.is_empty());
            arrivals.leave(bytes);
        }
        assert!(arrivals.is_empty() && arrivals.bytes.load(Ordering::Relaxed) == 0);
    }

    const AHEAD: HostClock = HostClock {
        offset_nanos: 0,
        drift_ppm: 0.0,
        uncertainty_nanos: 10,
        at_nanos: 0,
        wall_offset_nanos: 1000,
    };

    #[test]
    fn times_by_the_wall_clock_are_those_of_this_host() {
        for (clock, expected) in [(Clock::Global, 1005), (Clock::System, 1005), (Clock::Hardware, 5)] {
            let mut timestamp = Timestamp { clock, nanos: 5 };
            to_wall_clock(&mut timestamp, &AHEAD);
            assert_eq!(timestamp, Timestamp { clock, nanos: expected });
            let sample = |nanos| MotionSample { nanos, xyz: [1.0, -2.0, 0.5] }.to_bytes();
            let mut samples = [sample(5), sample(7)].concat();
            samples_to_wall_clock(&mut samples, clock, &AHEAD);
            assert_eq!(samples, [sample(expected), sample(expected + 2)].concat(), "{clock}");
        }
    }
}
