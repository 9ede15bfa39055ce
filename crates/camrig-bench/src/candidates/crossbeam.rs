//! *crossbeam*: a thread per camera, one reader, a bounded channel of pooled buffers.
//!
//! A paced camera drops its frameset when the channel is full or no buffer is free; an unpaced one waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camrig::monotonic_nanos;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::load::{QUEUE, SLOTS};
use crate::meter::{Meter, ProducerMeter};
use crate::task::{Task, stop_flag};
use crate::work::{FrameRing, Pacer, Stamped, copy, read};

/// A frameset in transit, with the channel to which its buffer returns.
struct Packet {
    stamped: Stamped,
    pixels: Vec<u8>,
    returns: Sender<Vec<u8>>,
}

pub(super) fn run(task: &Task) {
    let stop = stop_flag();
    let (sender, receiver) = bounded(QUEUE * task.load.cameras);
    for camera in 0..task.load.cameras {
        let (task, stop, sender) = (task.clone(), Arc::clone(&stop), sender.clone());
        std::thread::spawn(move || produce(&task, camera, &stop, &sender));
    }
    drop(sender);
    consume(task, &receiver);
}

fn consume(task: &Task, receiver: &Receiver<Packet>) {
    let mut meter = Meter::new(task);
    while let Ok(Packet { stamped, pixels, returns }) = receiver.recv() {
        meter.record(&stamped);
        read(&pixels);
        // A camera that has ended needs its buffers no longer.
        let _ = returns.send(pixels);
    }
    meter.finish();
}

fn produce(task: &Task, camera: usize, stop: &AtomicBool, sender: &Sender<Packet>) {
    let load = task.load;
    let ring = FrameRing::new(load.size, camera);
    let mut pacer = Pacer::new(load, camera);
    let mut meter = ProducerMeter::new(task, camera);
    let (returns, free) = bounded(SLOTS);
    // Written, so that every page is present; the channel has room for all of them.
    (0..SLOTS).for_each(|_| drop(returns.send(vec![1_u8; load.size.frameset_bytes()])));
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        pacer.wait();
        let begun_nanos = monotonic_nanos();
        let buffer = if load.is_paced() { free.try_recv().ok() } else { free.recv().ok() };
        if let Some(mut pixels) = buffer {
            copy(ring.frameset(sequence), &mut pixels);
            let handed_nanos = monotonic_nanos();
            let stamped = Stamped { camera, sequence, begun_nanos, handed_nanos };
            let packet = Packet { stamped, pixels, returns: returns.clone() };
            let back = if load.is_paced() {
                sender.try_send(packet).err().map(crossbeam_channel::TrySendError::into_inner)
            } else {
                sender.send(packet).err().map(crossbeam_channel::SendError::into_inner)
            };
            back.map(|packet| returns.send(packet.pixels));
        }
        meter.record(begun_nanos);
        sequence += 1;
    }
}
