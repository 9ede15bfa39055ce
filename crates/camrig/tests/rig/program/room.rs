//! The driver `room`: a depth camera in the corner of a room with a box, which is bumped at one of its frames.

use std::time::Duration;

use camrig::frame::{
    CameraInfo, Clock, Distortion, FrameHeader, Intrinsics, PixelFormat, Stream, StreamInfo, StreamProfile,
    Timestamp,
};
use camrig::prelude::*;
use camrig::{FrameHeaders, monotonic_nanos};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomOptions {
    /// Ends after this many framesets.
    frames: u64,
    /// The first frameset after it was bumped.
    bumped_at: Option<u64>,
}

pub(super) struct Room {
    options: RoomOptions,
    number: u64,
    /// The frames before and after it was bumped, in millimetres.
    pictures: [Vec<u8>; 2],
}

const WIDTH: u32 = 106;
const HEIGHT: u32 = 60;
const LENS: Intrinsics = Intrinsics {
    width: WIDTH,
    height: HEIGHT,
    ppx: 52.5,
    ppy: 29.5,
    fx: 60.0,
    fy: 60.0,
    distortion: Distortion::None,
    coefficients: [0.0; 5],
};

/// Returns the distance of the nearest surface in this direction: the corner's three walls, and a box's.
fn distance(right_meters: f64, ray: [f64; 3]) -> f64 {
    let wall = |normal: [f64; 3], meters: f64| {
        let along: f64 = (0..3).map(|axis| normal[axis] * ray[axis]).sum();
        let left = meters - normal[0] * right_meters;
        if along > 0.0 { left / along } else { f64::MAX }
    };
    let room = wall([0.8, 0.0, 0.6], 1.6).min(wall([-0.8, 0.0, 0.6], 1.6)).min(wall([0.0, 1.0, 0.0], 0.7));
    let front = 1.0;
    let [x, y] = [right_meters + ray[0] * front, ray[1] * front];
    if (-0.1..0.3).contains(&x) && y > 0.1 { front } else { room }
}

fn picture(right_meters: f64) -> Vec<u8> {
    let pixels = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
    let units = pixels.map(|(x, y)| {
        let ray = [(f64::from(x) - 52.5) / 60.0, (f64::from(y) - 29.5) / 60.0, 1.0];
        (distance(right_meters, ray) * 10_000.0) as u16
    });
    units.flat_map(u16::to_le_bytes).collect()
}

impl Driver for Room {
    type Options = RoomOptions;

    fn open(_: &str, options: RoomOptions) -> Result<Self, DriverError> {
        Ok(Self { options, number: 0, pictures: [0.0, 0.02].map(picture) })
    }

    fn info(&self) -> CameraInfo {
        let profile = StreamProfile::new(WIDTH, HEIGHT, 10).unwrap();
        let depth = StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, profile);
        let streams = vec![StreamInfo { intrinsics: Some(LENS), ..depth }];
        CameraInfo { model: "room".to_owned(), depth_unit_meters: 0.0001, streams, ..CameraInfo::default() }
    }

    fn start(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    fn capture(&mut self, output: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        if self.options.frames == self.number {
            return Ok(Captured::End);
        }
        let bumped = self.options.bumped_at.is_some_and(|at| self.number >= at);
        let header = FrameHeader {
            number: self.number,
            timestamp: Timestamp { clock: Clock::Hardware, nanos: (self.number + 1) * 100_000_000 },
            ..FrameHeader::image(Stream::DEPTH, PixelFormat::Z16, WIDTH, HEIGHT)
        };
        if let Some(mut loan) = output.loan(monotonic_nanos(), FrameHeaders::from_iter([header]))? {
            loan.frame_mut(0).copy_from_slice(&self.pictures[usize::from(bumped)]);
            output.publish(loan);
        }
        self.number += 1;
        Ok(Captured::FrameSet)
    }
}
