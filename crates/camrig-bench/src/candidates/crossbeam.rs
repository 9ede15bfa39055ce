//! *crossbeam*: a thread per camera, one reader, a bounded channel of pooled buffers.
//!
//! A paced camera drops the frameset that finds the channel full or no buffer free; an unpaced one waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camrig::monotonic_nanos;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::load::{QUEUE, SLOTS};
use crate::meter::{Account, Meter};
use crate::task::{Task, stop_flag};
use crate::work::{Pacer, Source, Stamped, copy, read};

/// A frameset on its way, and where its buffer goes back to.
struct Packet {
    stamped: Stamped,
    pixels: Vec<u8>,
    home: Sender<Vec<u8>>,
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
    while let Ok(Packet { stamped, pixels, home }) = receiver.recv() {
        meter.note(&stamped);
        read(&pixels);
        // A camera that has ended wants its buffers no more.
        let _ = home.send(pixels);
    }
    meter.finish();
}

fn produce(task: &Task, camera: usize, stop: &AtomicBool, sender: &Sender<Packet>) {
    let load = task.load;
    let source = Source::new(load.size, camera);
    let mut pacer = Pacer::new(load, camera);
    let mut account = Account::new(task, camera);
    let (home, free) = bounded(SLOTS);
    // Written, so that every page is there; the channel has room for all of them.
    (0..SLOTS).for_each(|_| drop(home.send(vec![1_u8; load.size.frameset_bytes()])));
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        pacer.wait();
        let begun_nanos = monotonic_nanos();
        let buffer = if load.is_paced() { free.try_recv().ok() } else { free.recv().ok() };
        if let Some(mut pixels) = buffer {
            copy(source.frameset(sequence), &mut pixels);
            let handed_nanos = monotonic_nanos();
            let stamped = Stamped { camera, sequence, begun_nanos, handed_nanos };
            let packet = Packet { stamped, pixels, home: home.clone() };
            let back = if load.is_paced() {
                sender.try_send(packet).err().map(crossbeam_channel::TrySendError::into_inner)
            } else {
                sender.send(packet).err().map(crossbeam_channel::SendError::into_inner)
            };
            back.map(|packet| home.send(packet.pixels));
        }
        account.note(begun_nanos);
        sequence += 1;
    }
}
