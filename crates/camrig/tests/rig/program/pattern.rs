//! The driver `pattern`: a camera that owns its frames, whose pixels are a function of their numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camrig::frame::{
    CameraInfo, Clock, FrameHeader, PixelFormat, Stream, StreamInfo, StreamProfile, Timestamp,
};
use camrig::prelude::*;
use camrig::{Control, FrameHeaders, HeldFrames, monotonic_nanos};
use schemars::JsonSchema;
use serde::Deserialize;

use super::fault::{At, Fault, How};

/// Returns the depth of the pattern at one pixel of one frame.
pub(super) fn pattern(number: u64, x: u32, y: u32) -> u16 {
    (number.wrapping_mul(40_503) as u32).wrapping_add(y * 251 + x * 7) as u16
}

/// Bytes at the start of a frame that hold the buffer's address: four pixels.
pub(super) const ADDRESS_BYTES: usize = 8;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PatternOptions {
    /// Ends after this many framesets.
    frames: Option<u64>,
    /// Sleep before each frameset.
    pause_millis: u64,
    /// Stamps by a clock of the device; without it timestamps are frame numbers.
    times: Option<Times>,
    fault: Fault,
}

/// Timestamps of a camera at 30 Hz, some of which are wrong.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Times {
    /// The number of the first wrong one.
    from: u64,
    /// The number after the last wrong one.
    to: u64,
    /// How far they are ahead.
    leap_millis: u64,
    /// Whether they are of the clock `global`.
    global: bool,
}

impl Times {
    fn at(self, number: u64) -> Timestamp {
        let nanos = (number + 1) * 33_333_333;
        let is_wrong = (self.from..self.to).contains(&number);
        let clock = if is_wrong && self.global { Clock::Global } else { Clock::Hardware };
        Timestamp { clock, nanos: if is_wrong { nanos + self.leap_millis * 1_000_000 } else { nanos } }
    }
}

impl Default for PatternOptions {
    fn default() -> Self {
        Self {
            frames: None,
            pause_millis: 0,
            times: None,
            fault: Fault { at: At::Nowhere, how: How::Error, after: 0, times: None },
        }
    }
}

/// A camera that owns its frames, as librealsense does, and counts how often each was read.
pub(super) struct Pattern {
    name: String,
    options: PatternOptions,
    number: u64,
    reads: Arc<Mutex<Reads>>,
}

/// Number of frames by how often they were read.
type Reads = BTreeMap<u64, u64>;

pub(super) const WIDTH: u32 = 64;
pub(super) const HEIGHT: u32 = 48;

struct OwnFrame {
    bytes: Vec<u8>,
    reads: AtomicU64,
    all: Arc<Mutex<Reads>>,
}

impl HeldFrames for OwnFrame {
    fn pixels(&self, _: usize) -> &[u8] {
        self.reads.fetch_add(1, Ordering::Relaxed);
        &self.bytes
    }
}

impl Drop for OwnFrame {
    fn drop(&mut self) {
        *self.all.lock().unwrap().entry(self.reads.load(Ordering::Relaxed)).or_default() += 1;
    }
}

impl Driver for Pattern {
    type Options = PatternOptions;

    fn open(name: &str, options: PatternOptions) -> Result<Self, DriverError> {
        options.fault.occur(At::Open)?;
        Ok(Self { name: name.to_owned(), options, number: 0, reads: Arc::default() })
    }

    fn info(&self) -> CameraInfo {
        let profile = StreamProfile::new(WIDTH, HEIGHT, 30).unwrap();
        let depth = StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, profile);
        CameraInfo { model: "pattern".to_owned(), streams: vec![depth], ..CameraInfo::default() }
    }

    fn start(&mut self) -> Result<(), DriverError> {
        self.options.fault.occur(At::Start)
    }

    fn controls(&self) -> Vec<Control> {
        // Only a fault that never returns is of use here.
        drop(self.options.fault.occur(At::Controls));
        Vec::new()
    }

    fn capture(&mut self, output: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        if self.options.frames == Some(self.number) {
            return Ok(Captured::End);
        }
        if self.number == self.options.fault.after {
            self.options.fault.occur(At::Capture)?;
        }
        std::thread::sleep(Duration::from_millis(self.options.pause_millis));
        let places = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
        let mut bytes: Vec<u8> = places.flat_map(|(x, y)| pattern(self.number, x, y).to_le_bytes()).collect();
        let address = bytes.as_ptr() as u64;
        bytes[..ADDRESS_BYTES].copy_from_slice(&address.to_le_bytes());
        let frame = OwnFrame { bytes, reads: AtomicU64::new(0), all: Arc::clone(&self.reads) };
        let mut header = depth_header(WIDTH, HEIGHT, self.number);
        header.timestamp = self.options.times.map_or(header.timestamp, |times| times.at(self.number));
        let headers = FrameHeaders::from_iter([header]);
        output.publish_held(monotonic_nanos(), headers, Box::new(frame))?;
        self.number += 1;
        Ok(Captured::FrameSet)
    }
}

pub(super) fn depth_header(width: u32, height: u32, number: u64) -> FrameHeader {
    FrameHeader {
        number,
        timestamp: Timestamp { clock: Clock::System, nanos: number },
        ..FrameHeader::image(Stream::DEPTH, PixelFormat::Z16, width, height)
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        println!("{}: frames by how often they were read: {:?}", self.name, self.reads.lock().unwrap());
    }
}
