//! The threads that fill URBs: frames of a stream, samples of motion sensors.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use camrig::emulated::{START_STEP_MICROS, frame_micros};

use super::queue::Queue;
use super::{Shared, lock};
use crate::descriptors::endpoint_of;
use crate::device::Commit;
use crate::faults::{Faults, Frozen};
use crate::frames::{FrameInfo, Renderer, payload};
use crate::motion::{self, Sensor};
use crate::usbip;

/// Age at which a sample of a motion sensor that the host has not fetched is lost.
const SAMPLE_AGE_MAX: Duration = Duration::from_millis(50);

/// The times of frames: all streams that run together count from one start, as streams of one imager do.
#[derive(Debug, Default)]
pub(super) struct Grid {
    /// Endpoints of the streams that were committed and have not stopped.
    running: BTreeSet<u8>,
    /// Time of frame 0 on the camera's clock, in microseconds; `None` before the first frame can be received.
    start_us: Option<u64>,
}

impl Grid {
    /// Adds a stream that was committed.
    pub(super) fn add(&mut self, endpoint: u8) {
        self.running.insert(endpoint);
    }

    /// Removes a stream that has stopped.
    pub(super) fn remove(&mut self, endpoint: u8) {
        self.running.remove(&endpoint);
        if self.running.is_empty() {
            self.start_us = None;
        }
    }
}

/// The samples of a motion sensor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sampling {
    /// Samples per second; `None` while the sensor is off.
    rate: Option<u32>,
    /// Time of sample 0 on the camera's clock, in microseconds.
    start_us: u64,
    /// Number of the next sample.
    next: u32,
}

impl Sampling {
    /// Returns the time of the next sample on the camera's clock, in microseconds.
    fn time_us(&self) -> Option<u64> {
        Some(self.start_us + u64::from(self.next) * 1_000_000 / u64::from(self.rate?))
    }

    /// Skips samples that are more than [`SAMPLE_AGE_MAX`] late.
    fn skip(&mut self, now_us: u64) {
        let oldest_us = now_us.saturating_sub(SAMPLE_AGE_MAX.as_micros() as u64);
        if let Some(rate) = self.rate.filter(|_| self.time_us() < Some(oldest_us)) {
            self.next = ((now_us - self.start_us) * u64::from(rate) / 1_000_000) as u32;
        }
    }
}

impl Shared {
    /// Sends frames until the stream stops or restarts.
    pub(super) fn stream(&self, commit: &Commit, generation: u64) {
        let Some(queue) = self.queues.get(&endpoint_of(commit.stream)) else { return };
        let mut renderer = {
            let device = lock(&self.device);
            Renderer::new(device.model(), device.serial(), commit)
        };
        // Time starts with the first URB: no host can receive a frame before that.
        if !queue.wait(generation) {
            return;
        }
        let start_us = *lock(&self.grid).start_us.get_or_insert_with(|| {
            (self.started.elapsed().as_micros() as u64).next_multiple_of(START_STEP_MICROS)
        });
        let time_of = |number: u32| start_us + frame_micros(number.into(), commit.frames_per_second());
        let (mut number, mut sent) = (0_u32, 0_u32);
        // Counts the frames that are due before the present one has been sent.
        let mut missed = &self.counters.overrun;
        loop {
            let (next, count) = self.wait_for_frame(number, &time_of);
            number = next;
            // The host has not missed the frames before the first one.
            let count = if sent == 0 { 0 } else { count };
            missed.fetch_add(count.into(), Ordering::Relaxed);
            missed = &self.counters.overrun;
            if queue.generation() != generation {
                return;
            }
            let faults = self.faults_of_next_frame();
            if faults.frozen != Frozen::No {
                continue;
            }
            if faults.skipped > 0 {
                self.counters.skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if !faults.late.is_zero() {
                missed = &self.counters.delayed;
                std::thread::sleep(faults.late);
            }
            let frame = FrameInfo {
                number,
                time_us: time_of(number) as u32,
                settings: lock(&self.device).settings(),
            };
            sent = sent.wrapping_add(1);
            let mut bytes = payload(commit, &frame, sent % 2 != 0, renderer.render(number));
            if faults.torn > 0 {
                bytes.truncate(bytes.len() / 2);
                self.counters.torn.fetch_add(1, Ordering::Relaxed);
            }
            if self.link.carry(bytes.len()) >= commit.interval {
                missed = &self.counters.congested;
            }
            if !self.send_payload(queue, generation, &bytes) {
                return;
            }
            self.log(format_args!("frame {number} of endpoint {}", endpoint_of(commit.stream)));
            self.counters.frames.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends samples of the motion sensors until a rate changes, or the camera is disconnected. Those that the host did not
    /// fetch in time are lost.
    pub(super) fn sample(&self, endpoint: u8, generation: u64) {
        let Some(queue) = self.queues.get(&endpoint) else { return };
        loop {
            let due = {
                let mut sampling = lock(&self.sampling);
                let now_us = self.started.elapsed().as_micros() as u64;
                sampling.iter_mut().for_each(|own| own.skip(now_us));
                let due = (0..2).filter_map(|at| Some((sampling[at].time_us()?, at, sampling[at].next)));
                due.min()
            };
            let Some((time_us, at, number)) = due else { return };
            let now = self.started.elapsed().as_micros() as u64;
            std::thread::sleep(Duration::from_micros(time_us.saturating_sub(now)));
            if !self.send_report(queue, generation, &motion::sample(Sensor::ALL[at], number, time_us)) {
                return;
            }
            self.log(format_args!("sample {number} of sensor {at}"));
            lock(&self.sampling)[at].next += 1;
        }
    }

    /// Begins to count the samples of each motion sensor whose rate has changed.
    pub(super) fn set_rates(&self, rates: [Option<u32>; 2]) {
        let start_us = self.started.elapsed().as_micros() as u64;
        for (own, rate) in lock(&self.sampling).iter_mut().zip(rates) {
            if own.rate != rate {
                *own = Sampling { rate, start_us, next: 0 };
            }
        }
    }

    /// Waits until the frame after `number` is due, and returns its number. If the camera is late by more than a frame
    /// interval, it skips the missed frames; the second number is their count.
    fn wait_for_frame(&self, number: u32, time_of: &impl Fn(u32) -> u64) -> (u32, u32) {
        let mut next = number.wrapping_add(1);
        let now = self.started.elapsed().as_micros() as u64;
        while time_of(next.wrapping_add(1)) <= now {
            next = next.wrapping_add(1);
        }
        std::thread::sleep(Duration::from_micros(time_of(next).saturating_sub(now)));
        (next, next.wrapping_sub(number).wrapping_sub(1))
    }

    /// Takes the faults that concern one frame.
    fn faults_of_next_frame(&self) -> Faults {
        let mut faults = lock(&self.faults);
        let taken = faults.clone();
        if faults.frozen == Frozen::No {
            faults.torn = faults.torn.saturating_sub(1);
            faults.late = Duration::ZERO;
            faults.skipped = faults.skipped.saturating_sub(1);
        }
        taken
    }

    /// Fills one URB with a report. Returns false when the sensors were stopped or set.
    fn send_report(&self, queue: &Queue, generation: u64, report: &[u8]) -> bool {
        let Some((_locked, urb)) = queue.take(generation) else { return false };
        let report = &report[..report.len().min(urb.length as usize)];
        self.send(&usbip::submit_result(urb.sequence, 0, report.len() as u32, report)).is_ok()
    }

    /// Fills URBs with a payload, which ends with the first URB that is not full. Returns false when the stream has stopped.
    fn send_payload(&self, queue: &Queue, generation: u64, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        loop {
            // Sent under the lock: see the module `server`.
            let Some((_locked, urb)) = queue.take(generation) else { return false };
            let (part, after) = rest.split_at(rest.len().min(urb.length as usize));
            rest = after;
            if self.send(&usbip::submit_result(urb.sequence, 0, part.len() as u32, part)).is_err() {
                return false;
            }
            if part.len() < urb.length as usize {
                return true;
            }
        }
    }
}
