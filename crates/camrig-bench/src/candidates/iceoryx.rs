//! *iceoryx2*: one publish-subscribe service for all cameras, or one for each; one event service that wakes the
//! reader.
//!
//! A paced camera overwrites the oldest queued frameset, as iceoryx2 does by default; an unpaced one waits until the
//! queue has room. The reader blocks on the event and then takes all queued framesets, in iceoryx2's order or one of
//! each camera in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camrig::monotonic_nanos;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::Fallible;
use crate::candidate::Candidate;
use crate::load::{Load, QUEUE};
use crate::meter::{Meter, ProducerMeter};
use crate::task::{Task, on_end_of, stop_flag};
use crate::work::{FrameRing, Pacer, Stamped, read};

/// The words of [`Stamped`].
type Header = [u64; 4];

pub(super) fn lead(task: &Task) -> Fallible<()> {
    let node = new_node()?;
    let services = if task.candidate == Candidate::Iceoryx2InTurn { task.load.cameras } else { 1 };
    let subscribers = (0..services).map(|camera| subscriber(&node, task, camera));
    let subscribers = subscribers.collect::<Fallible<Vec<_>>>()?;
    let listener = listener(&node, task)?;
    let cameras = 0..task.load.cameras;
    let producers = cameras.map(|camera| task.start_producer(camera, String::new()));
    let producers = producers.collect::<Fallible<Vec<_>>>()?;
    let ended = Arc::new(AtomicBool::new(false));
    let (flag, last_task) = (Arc::clone(&ended), task.clone());
    on_end_of(producers, move || {
        flag.store(true, Ordering::Release);
        // Wakes the reader, which blocks until an event.
        let woken = new_node().and_then(|node| Ok(notifier(&node, &last_task)?.notify()?));
        woken.expect("the reader's listener exists");
    });
    let mut meter = Meter::new(task);
    while !ended.load(Ordering::Acquire) {
        listener.blocking_wait(|_| {})?;
        let mut taken = true;
        while std::mem::take(&mut taken) {
            for subscriber in &subscribers {
                if let Some(sample) = subscriber.receive()? {
                    meter.record(&Stamped::of_words(*sample.user_header()));
                    read(sample.payload());
                    taken = true;
                }
            }
        }
    }
    meter.finish();
    Ok(())
}

pub(super) fn produce(task: &Task, camera: usize) -> Fallible<()> {
    let stop = stop_flag();
    let node = new_node()?;
    let (publisher, notifier) = (publisher(&node, task, camera)?, notifier(&node, task)?);
    let frameset_bytes = task.load.size.frameset_bytes();
    let ring = task.candidate.has_ring().then(|| FrameRing::new(task.load.size, camera));
    let mut pacer = Pacer::new(task.load, camera);
    let mut meter = ProducerMeter::new(task, camera);
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        pacer.wait();
        let begun_nanos = monotonic_nanos();
        let loan = publisher.loan_slice_uninit(frameset_bytes)?;
        let mut sample = match &ring {
            Some(ring) => loan.write_from_slice(ring.frameset(sequence)),
            // Like `work::generate`: the compiler makes a memset of it.
            None => loan.write_from_fn(|_| sequence as u8),
        };
        let handed_nanos = monotonic_nanos();
        *sample.user_header_mut() = Stamped { camera, sequence, begun_nanos, handed_nanos }.to_words();
        sample.send()?;
        notifier.notify()?;
        meter.record(handed_nanos);
        sequence += 1;
    }
    Ok(())
}

fn new_node() -> Fallible<Node<ipc::Service>> {
    set_log_level(LogLevel::Error);
    // The benchmark ends processes by itself: see `task`.
    Ok(NodeBuilder::new().signal_handling_mode(SignalHandlingMode::Disabled).create::<ipc::Service>()?)
}

type Framesets = iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u8], Header>;

fn framesets(node: &Node<ipc::Service>, task: &Task, camera: usize) -> Fallible<Framesets> {
    let service = if task.candidate == Candidate::Iceoryx2InTurn { camera } else { 0 };
    let name = format!("{}/framesets-{service}", task.name);
    let Load { cameras, .. } = task.load;
    let service = node
        .service_builder(&name.as_str().try_into()?)
        .publish_subscribe::<[u8]>()
        .user_header::<Header>()
        .payload_alignment(Alignment::new(64).ok_or("64 is not an alignment")?)
        .enable_safe_overflow(task.load.is_paced())
        .subscriber_max_buffer_size(QUEUE)
        .subscriber_max_borrowed_samples(1)
        .history_size(0)
        .max_subscribers(1)
        .max_publishers(cameras)
        .max_nodes(cameras + 2)
        .open_or_create()?;
    Ok(service)
}

fn subscriber(
    node: &Node<ipc::Service>,
    task: &Task,
    camera: usize,
) -> Fallible<Subscriber<ipc::Service, [u8], Header>> {
    Ok(framesets(node, task, camera)?.subscriber_builder().create()?)
}

fn publisher(
    node: &Node<ipc::Service>,
    task: &Task,
    camera: usize,
) -> Fallible<Publisher<ipc::Service, [u8], Header>> {
    let service = framesets(node, task, camera)?;
    Ok(service
        .publisher_builder()
        .initial_max_slice_len(task.load.size.frameset_bytes())
        .max_loaned_samples(1)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()?)
}

type Events = iceoryx2::service::port_factory::event::PortFactory<ipc::Service>;

fn events(node: &Node<ipc::Service>, task: &Task) -> Fallible<Events> {
    let name = format!("{}/events", task.name);
    let service = node
        .service_builder(&name.as_str().try_into()?)
        .event()
        .max_notifiers(task.load.cameras + 1)
        .max_listeners(1)
        .max_nodes(task.load.cameras + 2)
        .open_or_create()?;
    Ok(service)
}

fn listener(node: &Node<ipc::Service>, task: &Task) -> Fallible<Listener<ipc::Service>> {
    Ok(events(node, task)?.listener_builder().create()?)
}

fn notifier(node: &Node<ipc::Service>, task: &Task) -> Fallible<Notifier<ipc::Service>> {
    Ok(events(node, task)?.notifier_builder().create()?)
}
