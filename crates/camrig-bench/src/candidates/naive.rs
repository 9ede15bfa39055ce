//! *naive*: each frameset in a fresh shared-memory object, sent over one ipc-channel that all cameras
//! share.
//!
//! Its only bound is the socket's buffer, in which ipc-channel has room for about 278 messages. Nothing is dropped.

use std::sync::atomic::Ordering;

use camrig::monotonic_nanos;
use ipc_channel::ipc::{IpcOneShotServer, IpcSender, IpcSharedMemory, channel};

use crate::Fallible;
use crate::meter::{Meter, ProducerMeter};
use crate::task::{Task, on_end_of, stop_flag};
use crate::work::{FrameRing, Pacer, Stamped, read};

type Packet = ([u64; 4], IpcSharedMemory);

pub(super) fn lead(task: &Task) -> Fallible<()> {
    let (sender, receiver) = channel::<Packet>()?;
    let mut producers = Vec::new();
    let mut servers = Vec::new();
    for camera in 0..task.load.cameras {
        let (server, address) = IpcOneShotServer::<IpcSender<IpcSender<Packet>>>::new()?;
        producers.push(task.start_producer(camera, address)?);
        servers.push(server);
    }
    for server in servers {
        let (_, setup) = server.accept()?;
        setup.send(sender.clone())?;
    }
    // The channel closes when the last producer ends.
    drop(sender);
    on_end_of(producers, || {});
    let mut meter = Meter::new(task);
    while let Ok((words, pixels)) = receiver.recv() {
        meter.record(&Stamped::of_words(words));
        read(&pixels);
    }
    meter.finish();
    Ok(())
}

pub(super) fn produce(task: &Task, camera: usize, address: &str) -> Fallible<()> {
    let stop = stop_flag();
    let (setup, answer) = channel()?;
    IpcSender::connect(address.to_owned())?.send(setup)?;
    let sender: IpcSender<Packet> = answer.recv()?;
    let ring = FrameRing::new(task.load.size, camera);
    let mut pacer = Pacer::new(task.load, camera);
    let mut meter = ProducerMeter::new(task, camera);
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        pacer.wait();
        let begun_nanos = monotonic_nanos();
        let pixels = IpcSharedMemory::from_bytes(ring.frameset(sequence));
        let handed_nanos = monotonic_nanos();
        let stamped = Stamped { camera, sequence, begun_nanos, handed_nanos };
        sender.send((stamped.to_words(), pixels))?;
        meter.record(handed_nanos);
        sequence += 1;
    }
    Ok(())
}
