//! A camera of your own: a driver for what camrig does not know. This one shows a test pattern.
//!
//! `cargo run -p custom-camera -- run examples/custom-camera/custom-camera.toml --framesets 30`

use std::time::{Duration, Instant};

use camrig::frame::{CameraInfo, Clock, PixelFormat, Stream, StreamInfo, StreamProfile, Timestamp};
use camrig::{monotonic_nanos, prelude::*};
use serde::Deserialize;

/// What a topology gives as `options`. It is checked before anything starts: a wrong key or value is shown
/// with its line and the choices.
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

    /// Says once what every frameset has in common. The streams tell camrig how large its slots must be.
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
        // Never wait longer than asked: in between, the camera is told to stop.
        std::thread::sleep(wait.min(timeout));
        if wait > timeout {
            return Ok(Captured::Nothing);
        }
        let timestamp = Timestamp { clock: Clock::Hardware, nanos: due.as_nanos() as u64 };
        let header = self.stream.header(self.number, timestamp);
        let loan = output.loan(monotonic_nanos(), [header].into_iter().collect());
        // No loan: readers hold every slot. camrig has counted the frameset as dropped; go on.
        if let Some(mut loan) = loan? {
            // Drawn where the readers will see it, in whatever process they are: nothing is copied.
            draw(loan.frame_mut(0), self.width, self.number as u8);
            output.publish(loan);
        }
        self.number += 1;
        Ok(Captured::FrameSet)
    }
}

/// A gradient that moves by one pixel from frame to frame.
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
