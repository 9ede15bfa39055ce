//! Tests of the wake-ups of inputs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use camrig_frame::{Clock, PixelFormat, Stream, Timestamp};
use camrig_ipc::Overflow;

use super::*;
use crate::link::{LocalLink, LocalReader, Outgoing, ProducerEnd};
use crate::matching::{MatchClock, MatchSpec, MatchedCamera};
use crate::output::{InputStatus, OutputLinks, ProcessorOutput, Publisher, Wiring};
use crate::testing::TestCamera;

const WATCHDOG: Duration = Duration::from_secs(60);
const ROUNDS: u32 = 5_000;

/// Returns a link that blocks, with room for 4 framesets.
fn blocking(wake: &Arc<Notify>) -> Arc<LocalLink> {
    let link_state = Arc::new(LinkState::new().unwrap());
    Arc::new(LocalLink::new(link_state, Arc::clone(wake), Overflow::Block, 4))
}

/// Returns the inputs of a processor that matches these cameras, with a queue of one frameset for each.
fn matched(wake: &Arc<Notify>, partial: bool, cameras: &[(&str, &Arc<LocalLink>)]) -> InputLinks {
    let camera = |(name, _): &(&str, _)| MatchedCamera {
        name: (*name).into(),
        input: (*name).into(),
        awaited: true,
        required: !partial,
    };
    let spec = MatchSpec {
        window_nanos: 1,
        partial,
        clock: MatchClock::System,
        queue: 1,
        blocks: true,
        cameras: cameras.iter().map(camera).collect(),
    };
    let stats = Arc::new(MatchStats::new(&spec).unwrap());
    let mut links =
        InputLinks::new(Arc::clone(wake), Arc::new(ActorCounters::new().unwrap()), Unread::default());
    links.match_by(Matching::new(spec, stats));
    for (name, link) in cameras {
        links.add(name, Box::new(LocalReader::new(link)));
    }
    links
}

fn publish(link: &LocalLink, frameset: FrameSet) {
    let (producer, info) = (frameset.camera().into(), Arc::clone(frameset.info()));
    link.publish(&mut Outgoing::of(&producer, &info, frameset));
}

/// No second wake-up comes for a frameset that was held back: the input is polled when there is room.
#[test]
fn an_input_that_was_held_back_is_polled_when_another_ends() {
    actix::System::new().block_on(async {
        let wake = Arc::new(Notify::new());
        let mut camera = TestCamera::new("left", &[(Stream::DEPTH, PixelFormat::Z16, "1x1@30")]);
        let (left, right) = (blocking(&wake), blocking(&wake));
        let links = matched(&wake, false, &[("right", &right), ("left", &left)]);
        for nanos in 0..3 {
            publish(&left, camera.frameset(nanos, &[&[0, 0]]));
        }
        left.end();
        right.end();
        // No further wake-up comes.
        wake.notified().await;
        let inputs = Inputs::new(links);
        let next = actix::clock::timeout(WATCHDOG, inputs.next()).await;
        assert!(next.expect("the end is noticed").unwrap().is_none());
        assert_eq!(left.link_state().counts().delivered, 3);
    });
}

/// A camera whose framesets are all left out never has a full queue, and says nothing about a silent one.
#[test]
fn a_silent_camera_is_given_up_while_framesets_of_another_are_left_out() {
    actix::System::new().block_on(async {
        let wake = Arc::new(Notify::new());
        let [silent, held, other] = [(); 3].map(|()| blocking(&wake));
        let links = matched(&wake, true, &[("silent", &silent), ("held", &held), ("other", &other)]);
        let camera = |name| TestCamera::new(name, &[(Stream::DEPTH, PixelFormat::Z16, "1x1@30")]);
        publish(&held, camera("held").frameset(1, &[&[0, 0]]));
        let mut camera = camera("other");
        let others = actix::spawn(async move {
            for nanos in 0.. {
                let timestamp = Timestamp { clock: Clock::Hardware, nanos };
                publish(&other, camera.stamped(timestamp, &[&[0, 0]]));
                actix::clock::sleep(Duration::from_millis(10)).await;
            }
        });
        let inputs = Inputs::new(links);
        let next = actix::clock::timeout(WATCHDOG, inputs.next()).await;
        let next = next.expect("the silent camera is given up").unwrap();
        assert_eq!(next.as_ref().map(FrameSet::camera), Some("held"));
        others.abort();
    });
}

/// A link of another kind than those of this crate: its framesets have no handle and no slot of the producer.
struct Cable {
    link_state: Arc<LinkState>,
    wake: Arc<Notify>,
    carried: Mutex<VecDeque<FrameSet>>,
}

impl ProducerEnd for Cable {
    fn link_state(&self) -> &Arc<LinkState> {
        &self.link_state
    }

    fn overflow(&self) -> Overflow {
        Overflow::Block
    }

    fn needs_slots(&self) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        true
    }

    fn take_back_oldest(&self) -> bool {
        false
    }

    fn publish(&self, frameset: &mut Outgoing<'_>) {
        self.link_state.count_produced();
        self.carried.lock().unwrap().push_back(frameset.handle().copied());
        if self.link_state.notify() {
            self.wake.notify_one();
        }
    }

    fn end(&self) {
        self.link_state.end();
        self.wake.notify_one();
    }
}

struct CableEnd(Arc<Cable>);

impl ReaderEnd for CableEnd {
    fn link_state(&self) -> &Arc<LinkState> {
        &self.0.link_state
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn take(&mut self) -> Result<Option<FrameSet>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.carried.lock().unwrap().pop_front())
    }

    fn drop_queued(&self) {
        self.0.carried.lock().unwrap().clear();
    }
}

#[test]
fn a_third_kind_of_link_fits_between_output_and_inputs() {
    let (wake, counters) = (Arc::new(Notify::new()), Arc::new(ActorCounters::new().unwrap()));
    let link_state = Arc::new(LinkState::new().unwrap());
    let cable = Arc::new(Cable { link_state, wake: Arc::clone(&wake), carried: Mutex::default() });
    let mut output = ProcessorOutput::new(
        Publisher::new(Wiring {
            name: "left".to_owned(),
            slots: 2,
            links: OutputLinks::of(vec![Arc::clone(&cable) as _]),
            counters: Arc::clone(&counters),
        }),
        InputStatus::default(),
    );
    let mut links = InputLinks::new(wake, counters, Unread::default());
    links.add("left", Box::new(CableEnd(Arc::clone(&cable))));
    let inputs = Inputs::new(links);
    let mut camera = TestCamera::new("left", &[(Stream::DEPTH, PixelFormat::Z16, "1x1@30")]);
    for byte in 0..3 {
        output.forward(&camera.frameset(0, &[&[byte, 0]])).unwrap();
    }
    cable.end();
    actix::System::new().block_on(async {
        let mut read = Vec::new();
        while let Some(frames) = actix::clock::timeout(WATCHDOG, inputs.next()).await.unwrap().unwrap() {
            read.push((frames.sequence(), frames.frame(Stream::DEPTH).unwrap().bytes()[0]));
        }
        assert_eq!(read, [(0, 0), (1, 1), (2, 2)]);
    });
    let counts = cable.link_state.counts();
    assert_eq!((counts.produced, counts.delivered, counts.in_flight), (3, 3, 0));
}

#[test]
fn the_thread_on_the_notifier_ends_with_the_inputs() {
    let notifier = Arc::new(camrig_ipc::Notifier::new().unwrap());
    let wake = Arc::new(Notify::new());
    let counters = Arc::new(ActorCounters::new().unwrap());
    let mut links = InputLinks::new(wake, counters, Unread::default());
    links.listen(Listener::new(Arc::clone(&notifier)));
    let inputs = Inputs::new(links);
    inputs.listen_on_a_thread().unwrap();
    assert_eq!(Arc::strong_count(&notifier), 2);
    drop(inputs);
    let deadline = Instant::now() + WATCHDOG;
    while Arc::strong_count(&notifier) > 1 {
        assert!(Instant::now() < deadline, "the thread has not ended");
        notifier.notify();
        std::thread::yield_now();
    }
}

#[test]
fn an_end_is_noticed_at_any_moment_of_the_last_poll() {
    actix::System::new().block_on(async {
        for round in 0..ROUNDS {
            let wake = Arc::new(Notify::new());
            let link_state = Arc::new(LinkState::new().unwrap());
            let link = Arc::new(LocalLink::new(link_state, Arc::clone(&wake), Overflow::Block, 1));
            let mut links = InputLinks::new(wake, Arc::new(ActorCounters::new().unwrap()), Unread::default());
            links.add("front", Box::new(LocalReader::new(&link)));
            // A wake-up without a frameset, and the end during the poll.
            link.link_state().notify();
            let ready = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    ready.store(true, Ordering::SeqCst);
                    (0..round % 50).for_each(|_| std::hint::spin_loop());
                    link.end();
                });
                while !ready.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
                // The poll during the end, or before it.
                links.links[0].deliver();
            });
            let inputs = Inputs::new(links);
            let next = actix::clock::timeout(WATCHDOG, inputs.next()).await;
            assert!(next.expect("the end is noticed").unwrap().is_none(), "round {round}");
        }
    });
}
