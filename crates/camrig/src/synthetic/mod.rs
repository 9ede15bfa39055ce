//! The driver `synthetic`: a simulated camera.
//!
//! It renders a moving scene with the optics of a D405 or D435; color and depth agree with each other and with the
//! calibration. It can inject faults of real cameras, so that a rig's recovery can be tested. Its framesets are a
//! function of its options and the frame's number, never of the wall clock: the same topology gives the same bytes in
//! every placement, and `verify` can detect wrong ones.
//!
//! * `options`: the options; `formats`: the formats that they offer
//! * `controls`: the options that can be set while it runs, and their effect on pictures
//! * `model`: profiles and optics
//! * `world`: the objects of the scene
//! * `scene`: their pixels
//! * `motion`: the samples of motion in each frameset
//! * [`emulated`]: frames as emulated RealSense cameras send them
//! * `device`: the state of the device, which outlives an open camera
//! * this module: the times of framesets, and the faults
//!
//! It depends on no reader: framesets that are dropped for lack of a slot are counted by the output.

mod controls;
mod device;
pub mod emulated;
mod formats;
mod model;
mod motion;
mod options;
mod scene;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use camrig_frame::{
    CameraInfo, Clock, FrameHeader, Metadata, MetadataKey, MotionSample, Payload, Role, SAMPLE_BYTES,
    StreamInfo, Timestamp,
};
use camrig_ipc::LostReason;

use self::controls::Controls;
use self::device::Device;
use self::motion::Samples;
pub use self::options::SyntheticOptions;
pub(crate) use self::scene::Scene;
use crate::clock::monotonic_nanos;
use crate::driver::{Captured, Control, ControlValue, DeviceProfile, Driver, DriverError};
use crate::output::{CameraOutput, FrameHeaders};

/// The name of this driver in topologies; [`Scene::of`] recognises its framesets by it.
pub(crate) const DRIVER: &str = "synthetic";

/// A paced camera that is delayed by more than this many frames loses the missed framesets, like a camera with a full
/// queue in its driver.
const LATE_FRAMES_MAX: u32 = 2;

/// A simulated camera that renders a moving scene and injects faults. See [`SyntheticOptions`].
pub struct Synthetic {
    name: String,
    options: SyntheticOptions,
    serial: String,
    device: Arc<Device>,
    /// Whether it has stalled: it, or its stream that stalls, will deliver nothing more.
    is_silent: bool,
    streams: Vec<StreamInfo>,
    motion: Vec<Samples>,
    scene: Scene,
    controls: Controls,
    frames_per_second: u64,
    /// The number of the next frameset that the device does not lose.
    number: u64,
    captured: u64,
    /// Whether framesets were missed since the last one: the samples that did not fit into it were missed as well.
    has_missed: bool,
    /// Start of run time: the first call of `capture`, so that the first framesets are not late.
    started: Option<Instant>,
}

impl Driver for Synthetic {
    type Options = SyntheticOptions;

    fn check(options: &SyntheticOptions) -> Result<(), DriverError> {
        Ok(options.check()?)
    }

    fn claims(options: &SyntheticOptions) -> Vec<String> {
        options.given_serial().map(|serial| format!("serial {serial}")).into_iter().collect()
    }

    fn streams(options: &SyntheticOptions) -> Vec<DeviceProfile> {
        options.streams().iter().filter_map(DeviceProfile::of).collect()
    }

    fn clock(_: &SyntheticOptions) -> Option<Clock> {
        Some(Clock::Hardware)
    }

    fn open(name: &str, options: SyntheticOptions) -> Result<Self, DriverError> {
        options.check()?;
        let (serial, streams) = (options.serial(name), options.streams());
        let device = Device::of(name, &serial);
        if !device.is_plugged_in(options.replug_after()) {
            return Err(unplugged(&serial));
        }
        let mut camera = Self {
            is_silent: device.is_wedged(),
            device,
            name: name.to_owned(),
            scene: Scene::new(options.model, &serial, &streams),
            controls: options.controls(),
            frames_per_second: streams.first().map_or(1, |info| info.frames_per_second).into(),
            options,
            serial,
            motion: streams.iter().filter_map(Samples::new).collect(),
            streams,
            number: 0,
            captured: 0,
            has_missed: false,
            started: None,
        };
        camera.number = camera.next_kept(0);
        Ok(camera)
    }

    fn info(&self) -> CameraInfo {
        CameraInfo {
            name: self.name.clone(),
            driver: DRIVER.to_owned(),
            serial: self.serial.clone(),
            model: self.options.model.name().to_owned(),
            depth_unit_meters: self.options.model.depth_unit_meters(),
            streams: self.streams.clone(),
            ..CameraInfo::default()
        }
    }

    fn reset(name: &str, options: &SyntheticOptions) -> Result<(), DriverError> {
        Device::of(name, &options.serial(name)).reset();
        Ok(())
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        if self.options.frames.is_some_and(|frames| self.captured >= frames) {
            return Ok(Captured::End);
        }
        if !self.device.is_plugged_in(self.options.replug_after()) {
            return Err(unplugged(&self.serial));
        }
        let started = *self.started.get_or_insert_with(Instant::now);
        let unplug_at = if self.device.can_be_unplugged() { self.options.unplug_at() } else { Duration::MAX };
        let stall_at = if self.device.can_stall() { self.options.stall_at() } else { Duration::MAX };
        if !self.is_silent {
            self.skip_missed(started.elapsed().min(unplug_at).min(stall_at), output);
        }
        let due = Duration::from_nanos(self.true_nanos(self.number));
        if due >= stall_at {
            self.device.stall(self.options.wedge_until_reset);
            self.is_silent = true;
        }
        let is_silent = self.is_silent && self.options.stall_stream().is_none();
        let next_at = if is_silent { Duration::MAX } else { due };
        if !self.wait(started, next_at.min(unplug_at), timeout) {
            return Ok(Captured::Nothing);
        }
        if unplug_at <= next_at {
            self.device.unplug();
            return Err(unplugged(&self.serial));
        }
        self.deliver(output)?;
        self.captured += 1;
        self.number = self.next_kept(self.number + 1);
        Ok(Captured::FrameSet)
    }

    fn controls(&self) -> Vec<Control> {
        self.controls.list()
    }

    fn set(&mut self, name: &str, value: &ControlValue) -> Result<ControlValue, DriverError> {
        self.controls.set(name, value)
    }

    fn pause(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    /// Continues with the frames of the present: the device's clock has not stopped.
    fn resume(&mut self) -> Result<(), DriverError> {
        let (Some(started), true) = (self.started, self.options.paced) else { return Ok(()) };
        let nanos = started.elapsed().saturating_sub(Duration::from_nanos(self.true_nanos(0))).as_nanos();
        let number = (nanos * u128::from(self.frames_per_second) / 1_000_000_000) as u64 + 1;
        self.number = self.next_kept(self.number.max(number));
        self.motion.iter_mut().for_each(|samples| samples.skip_to(self.number, self.frames_per_second));
        self.has_missed = false;
        Ok(())
    }
}

impl Synthetic {
    fn deliver(&mut self, output: &mut CameraOutput) -> Result<(), DriverError> {
        let arrival_nanos = monotonic_nanos();
        let mut headers = self.headers();
        let encoded: Vec<_> = headers.iter_mut().map(|header| self.encode(header)).collect();
        let has_missed = std::mem::take(&mut self.has_missed);
        let reason = if has_missed { LostReason::QueueFull } else { LostReason::NoPartner };
        for header in &headers {
            let samples = self.motion.iter_mut().filter(|samples| samples.stream() == header.stream);
            samples.for_each(|samples| {
                output.explain_lost(header.stream, reason, samples.take(header));
            });
        }
        let loan = output.loan(arrival_nanos, headers.clone());
        let Some(mut loan) = loan? else {
            return Ok(());
        };
        for (index, (header, encoded)) in headers.iter().zip(encoded).enumerate() {
            let content = loan.frame_mut(index);
            match encoded {
                Some(encoded) => content.copy_from_slice(&encoded),
                None if header.role == Role::Motion => self.write_samples(header, content),
                None => self.scene.render(header.stream, self.number, &header.metadata, content),
            }
        }
        output.publish(loan);
        Ok(())
    }

    /// Renders and encodes a frame, and gives its header the size; returns `None` for a frame that is not encoded. It
    /// precedes the loan, which needs the sizes.
    fn encode(&self, header: &mut FrameHeader) -> Option<Vec<u8>> {
        let Payload::Encoded { size_bytes, .. } = &mut header.payload else { return None };
        let encoded = self.scene.encode(header.stream, self.number, &header.metadata);
        *size_bytes = encoded.len() as u32;
        Some(encoded)
    }

    fn write_samples(&self, header: &FrameHeader, bytes: &mut [u8]) {
        let rates = self.motion.iter().filter(|samples| samples.stream() == header.stream);
        let rate = rates.map(Samples::per_second).next().unwrap_or(1);
        let numbers = header.number + 1 - header.numbers()..;
        for (number, place) in numbers.zip(bytes.chunks_exact_mut(SAMPLE_BYTES as usize)) {
            let nanos = self.options.hardware_nanos(self.true_nanos_at(number, rate));
            let sample = MotionSample { nanos, xyz: self.scene.motion(header.stream, number) };
            place.copy_from_slice(&sample.to_bytes());
        }
    }

    fn headers(&self) -> FrameHeaders {
        let nanos = self.options.hardware_nanos(self.true_nanos(self.number));
        let mut metadata = Metadata::EMPTY;
        metadata.set(MetadataKey::FRAME_COUNTER, self.number as i64);
        metadata.set(MetadataKey::SENSOR_TIMESTAMP, (nanos / 1000) as i64);
        // Imitates small changes by auto exposure.
        let hunt = (mix(Scene::seed(&self.serial) ^ self.number) % 16) as i64;
        self.controls.show(hunt, &mut metadata);
        let timestamp = Timestamp { clock: Clock::Hardware, nanos };
        let header = |stream: &StreamInfo| FrameHeader { metadata, ..stream.header(self.number, timestamp) };
        let images = self.streams.iter().filter(|info| info.role != Role::Motion).map(header);
        let motion = self.motion.iter().filter_map(|samples| {
            let numbers = samples.until(self.number, self.frames_per_second)?;
            let nanos = self.true_nanos_at(*numbers.end(), samples.per_second());
            let taken = Timestamp { clock: Clock::Hardware, nanos: self.options.hardware_nanos(nanos) };
            let count = (numbers.end() - numbers.start() + 1) as u32;
            Some(samples.info().header(*numbers.end(), taken).with_samples(count))
        });
        let stalled = self.options.stall_stream().filter(|_| self.is_silent);
        images.chain(motion).filter(|header| Some(header.stream.name()) != stalled).collect()
    }

    /// Waits until run time `at`, but at most for `timeout`; returns false if the time has not come.
    fn wait(&self, started: Instant, at: Duration, timeout: Duration) -> bool {
        if at == Duration::MAX {
            std::thread::sleep(timeout);
            return false;
        }
        if !self.options.paced {
            return true;
        }
        let wait = at.saturating_sub(started.elapsed());
        std::thread::sleep(wait.min(timeout));
        wait <= timeout
    }

    /// Skips the framesets that were missed by this run time, because a camera does not wait for its host. Their
    /// numbers form a gap, of which the device lost only its own share.
    fn skip_missed(&mut self, run_time: Duration, output: &mut CameraOutput) {
        let late = run_time.saturating_sub(Duration::from_nanos(self.true_nanos(self.number)));
        let period = Duration::from_nanos(1_000_000_000 / self.frames_per_second);
        if !self.options.paced || late <= LATE_FRAMES_MAX * period {
            return;
        }
        let periods = late.as_nanos() * u128::from(self.frames_per_second) / 1_000_000_000;
        let end = self.number.saturating_add(periods as u64);
        let mut missed = 0;
        while self.number < end {
            missed += 1;
            self.number = self.next_kept(self.number + 1);
        }
        self.has_missed = true;
        for info in self.streams.iter().filter(|info| info.role != Role::Motion) {
            output.explain_lost(info.stream, LostReason::QueueFull, missed);
        }
    }

    /// Returns the first number from `number` on that the device does not lose.
    fn next_kept(&self, mut number: u64) -> u64 {
        let seed = mix(Scene::seed(&self.serial));
        // It ends, because `check` limits the drop rate.
        while world::unit(mix(seed ^ mix(number))) < self.options.drop_rate {
            number += 1;
        }
        number
    }

    /// Returns the time of frame `number`, in nanoseconds of run time.
    fn true_nanos(&self, number: u64) -> u64 {
        self.true_nanos_at(number, self.frames_per_second)
    }

    /// Returns the time of item `number` at a rate of `per_second`, in nanoseconds of run time.
    fn true_nanos_at(&self, number: u64, per_second: u64) -> u64 {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(per_second);
        self.options.start_delay_nanos() + nanos as u64
    }
}

fn unplugged(serial: &str) -> DriverError {
    DriverError::unavailable(format!(
        "the device with serial {serial} was unplugged, as option `unplug_at` asks"
    ))
}

/// Distributes a number over all 64 bits: the last step of `SplitMix64` (Steele, Lea, Flood 2014).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Hashes bytes to the same number in every build, which the standard library's hashes do not guarantee.
fn hash_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().fold(mix(bytes.len() as u64), |hash, &byte| mix(hash ^ u64::from(byte)))
}

#[cfg(test)]
pub(crate) mod tests;
