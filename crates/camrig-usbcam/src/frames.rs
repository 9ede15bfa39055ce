//! The payloads of a stream: UVC header, metadata as D400 firmware adds them, and pixels.
//!
//! The metadata structures are those that librealsense 2.56 reads (`src/metadata.h`): each begins with its type and
//! its size, both of 32 bits.

use camrig::emulated::Pictures;
use camrig::frame::{PixelFormat, Stream, StreamProfile};

use crate::device::{Commit, SensorValues};
use crate::models::{Format, Model};

/// UVC payload header: length, flags, presentation time, source clock.
const HEADER_BYTES: usize = 12;

/// Header flags: end of header, source clock and presentation time present, end of frame.
const FLAGS: u8 = 0x8E;

const CAPTURE_TIMING: u32 = 0x8000_0001;
const CAPTURE_STATISTICS: u32 = 3;
const DEPTH_CONTROL: u32 = 0x8000_0000;
const CONFIGURATION: u32 = 0x8000_0002;

/// The parts of a frame that are sent beside its pixels.
#[derive(Clone, Copy, Debug)]
pub struct FrameInfo {
    /// Number of the frame since the stream started, from 1.
    pub number: u32,
    /// Time of the device's clock, in microseconds.
    pub time_us: u32,
    /// Settings of the depth imagers.
    pub settings: SensorValues,
}

/// Returns the payload of one frame. The frame id toggles with the parity of the number of frames sent.
pub fn payload(commit: &Commit, frame: &FrameInfo, frame_id: bool, pixels: &[u8]) -> Vec<u8> {
    let metadata = metadata(commit, frame);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + metadata.len() + pixels.len());
    bytes.push((HEADER_BYTES + metadata.len()) as u8);
    bytes.push(FLAGS | u8::from(frame_id));
    bytes.extend(frame.time_us.to_le_bytes());
    bytes.extend(frame.time_us.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(metadata);
    bytes.extend(pixels);
    bytes
}

/// The pixels of one stream: those of the synthetic camera with the same serial number.
pub struct Renderer {
    pictures: Option<Pictures>,
    stream: Stream,
    pixels: Vec<u8>,
}

impl Renderer {
    /// Creates the renderer of a stream of a camera.
    pub fn new(model: &Model, serial: &str, commit: &Commit) -> Self {
        let (stream, format) = match commit.stream.format {
            Format::Z16 => (Stream::DEPTH, PixelFormat::Z16),
            Format::Y8 => (Stream::INFRARED_1, PixelFormat::Y8),
            Format::Yuy2 => (Stream::COLOR, PixelFormat::Yuyv),
        };
        let (width, height) = commit.size;
        let profile = StreamProfile::new(width.into(), height.into(), commit.frames_per_second()).ok();
        let pictures =
            profile.and_then(|profile| Pictures::new(model.name, serial, [(stream, format, profile)]));
        Self { pictures, stream, pixels: vec![0; commit.stream.format.frame_bytes(commit.size) as usize] }
    }

    /// Renders a frame.
    pub fn render(&mut self, number: u32) -> &[u8] {
        if let Some(pictures) = &self.pictures {
            pictures.render(self.stream, number.into(), &mut self.pixels);
        }
        &self.pixels
    }
}

fn metadata(commit: &Commit, frame: &FrameInfo) -> Vec<u8> {
    let FrameInfo { number, time_us, settings } = *frame;
    let interval_us = commit.interval.as_micros() as u32;
    let rate = commit.frames_per_second() as u16;
    let (width, height) = commit.size;
    let mut bytes = Vec::new();
    let timing = [CAPTURE_TIMING, 40, 1, 0x3F, number, time_us, 0, settings.exposure_us, interval_us, 0];
    bytes.extend(timing.map(u32::to_le_bytes).as_flattened());
    bytes.extend([CAPTURE_STATISTICS, 80].map(u32::to_le_bytes).as_flattened());
    bytes.extend([0; 72]);
    let (right, bottom) = (u32::from(width) - 1, u32::from(height) - 1);
    let control = [
        DEPTH_CONTROL,
        60,
        1,
        0xFFFF,
        settings.gain,
        settings.exposure_us,
        settings.laser_power_mw,
        settings.auto_exposure.into(),
        0,
        0,
        right,
        0,
        bottom,
        0,
    ];
    bytes.extend(control.map(u32::to_le_bytes).as_flattened());
    bytes.extend([settings.emitter, 0, 0, 0]);
    bytes.extend([CONFIGURATION, 40, 3, 0xFFFF].map(u32::to_le_bytes).as_flattened());
    bytes.extend([4, 1]);
    bytes.extend([0, 0, 0, 0, 1, 0]);
    bytes.extend([width, height, rate].map(u16::to_le_bytes).as_flattened());
    bytes.extend([0; 10]);
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::models::VideoStream;

    fn commit(format: Format) -> Commit {
        let stream = VideoStream { interface: 1, format };
        Commit { stream, size: (424, 240), interval: Duration::from_nanos(66_666_600) }
    }

    fn frame(number: u32) -> FrameInfo {
        let settings = SensorValues {
            exposure_us: 8_500,
            gain: 16,
            laser_power_mw: 150,
            auto_exposure: true,
            emitter: 1,
        };
        FrameInfo { number, time_us: 77, settings }
    }

    #[test]
    fn a_payload_is_header_metadata_and_pixels() {
        let commit = commit(Format::Z16);
        let mut renderer = Renderer::new(Model::by_name("d405").unwrap(), "230000001001", &commit);
        let pixels = renderer.render(3).to_vec();
        let bytes = payload(&commit, &frame(3), true, &pixels);
        let header = usize::from(bytes[0]);
        assert_eq!((header, bytes[1]), (12 + 220, 0x8F));
        assert_eq!(bytes.len(), header + 424 * 240 * 2);
        assert!(bytes[header..] == pixels && pixels != renderer.render(4));
        assert_eq!(payload(&commit, &frame(255), false, &pixels)[1], 0x8E);
    }

    #[test]
    fn metadata_blocks_follow_one_another_by_their_sizes() {
        let bytes = metadata(&commit(Format::Z16), &frame(9));
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < bytes.len() {
            kinds.push(word(at));
            at += word(at + 4) as usize;
        }
        assert_eq!(at, bytes.len());
        assert_eq!(kinds, [CAPTURE_TIMING, CAPTURE_STATISTICS, DEPTH_CONTROL, CONFIGURATION]);
        assert_eq!((word(16), word(28)), (9, 8_500));
    }
}
