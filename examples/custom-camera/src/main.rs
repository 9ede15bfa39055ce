//! A custom camera driver, which generates a test pattern.
//!
//! `cargo run -p custom-camera -- run examples/custom-camera/custom-camera.toml --framesets 30`

use std::time::{Duration, Instant};

use camrig::frame::{CameraInfo, Clock, PixelFormat, Stream, StreamInfo, StreamProfile, Timestamp};
use camrig::{monotonic_nanos, prelude::*};
use serde::Deserialize;

/// The `options` in the topology. They are checked before anything is started: a wrong key or value is reported with
/// its line and the valid choices.
#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
#[serde(deny_unknown_fields)]
struct Options {
    color: StreamProfile,
}

struct TestPattern {
    stream: StreamInfo,
    width: u32,
    number: u64,
    started: Instant,
}

impl Driver for TestPattern {
    type Options = Options;

    fn open(_name: &str, Options { color: profile }: Options) -> Result<Self, DriverError> {
        let stream = StreamInfo::image(Stream::COLOR, PixelFormat::Rgb8, profile);
        Ok(Self { stream, width: profile.width(), number: 0, started: Instant::now() })
    }

    /// Returns the common properties of all framesets. The streams determine the size of the slots.
    fn info(&self) -> CameraInfo {
        let streams = vec![self.stream];
        CameraInfo { model: "test pattern".to_owned(), streams, ..CameraInfo::default() }
    }

    /// Called when every actor of the rig is ready, so that the first frameset is not lost.
    fn start(&mut self) -> Result<(), DriverError> {
        self.started = Instant::now();
        Ok(())
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        let due = Duration::from_secs(self.number) / self.stream.frames_per_second;
        let wait = due.saturating_sub(self.started.elapsed());
        // Never wait longer than requested: the camera may have to stop.
        std::thread::sleep(wait.min(timeout));
        if wait > timeout {
            return Ok(Captured::Nothing);
        }
        let timestamp = Timestamp { clock: Clock::Hardware, nanos: due.as_nanos() as u64 };
        let header = self.stream.header(self.number, timestamp);
        let loan = output.loan(monotonic_nanos(), [header].into_iter().collect());
        // No loan: all slots are in use. camrig has counted the frameset as dropped.
        if let Some(mut loan) = loan? {
            // Drawn directly into the memory of the readers, in any process, without a copy.
            draw(loan.frame_mut(0), self.width, self.number as u8);
            output.publish(loan);
        }
        self.number += 1;
        Ok(Captured::FrameSet)
    }
}

/// Draws a gradient that moves by one pixel from frame to frame.
fn draw(pixels: &mut [u8], width: u32, shift: u8) {
    for (row, y) in pixels.chunks_exact_mut(3 * width as usize).zip((0..=u8::MAX).cycle()) {
        for (pixel, x) in row.chunks_exact_mut(3).zip((0..=u8::MAX).cycle()) {
            pixel.copy_from_slice(&[x.wrapping_add(shift), y, 128]);
        }
    }
}

fn main() -> ExitCode {
    App::new().driver::<TestPattern>("test-pattern").main()
}
