//! *floor* and *memcpy*: copying and reading in a single thread, without a hop.
//!
//! The floor copies into one buffer per camera, which stays in the cache as far as possible. memcpy copies into two in
//! turn, the minimum with which a link can write one while the other is read.

use std::sync::atomic::Ordering;

use camrig::monotonic_nanos;

use crate::candidate::Candidate;
use crate::meter::{Meter, ProducerMeter};
use crate::task::{Task, stop_flag};
use crate::work::{FrameRing, Pacer, Stamped, copy, read};

pub(super) fn run(task: &Task) {
    let Task { load, .. } = *task;
    let stop = stop_flag();
    let reads = task.candidate == Candidate::Floor;
    let slots = if reads { 1 } else { 2 };
    let cameras = 0..load.cameras;
    let rings: Vec<FrameRing> = cameras.clone().map(|camera| FrameRing::new(load.size, camera)).collect();
    let mut pacers: Vec<Pacer> = cameras.clone().map(|camera| Pacer::new(load, camera)).collect();
    // Written, so that every page is present.
    let mut buffers = vec![vec![1_u8; load.size.frameset_bytes()]; slots * load.cameras];
    let mut meter = Meter::new(task);
    let mut account = ProducerMeter::new(task, 0);
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        for camera in cameras.clone() {
            pacers[camera].wait();
            let begun_nanos = monotonic_nanos();
            let buffer = &mut buffers[camera * slots + sequence as usize % slots];
            copy(rings[camera].frameset(sequence), buffer);
            let handed_nanos = monotonic_nanos();
            account.record(handed_nanos);
            meter.record(&Stamped { camera, sequence, begun_nanos, handed_nanos });
            if reads {
                read(buffer);
            }
        }
        sequence += 1;
    }
    meter.finish();
}
