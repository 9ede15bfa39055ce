//! Tests of the wake-ups of inputs.

use std::sync::atomic::{AtomicBool, Ordering};

use camrig_frame::{PixelFormat, Stream};
use camrig_ipc::Overflow;

use super::*;
use crate::link::{LocalLink, LocalReader, Outgoing, ProducerEnd};
use crate::matching::{MatchClock, MatchSpec, MatchedCamera};
use crate::testing::TestCamera;

const WATCHDOG: Duration = Duration::from_secs(60);
const ROUNDS: u32 = 5_000;

/// No second wake-up comes for a frameset that was held back: the input is polled when there is room.
#[test]
fn an_input_that_was_held_back_is_polled_when_another_ends() {
    actix::System::new().block_on(async {
        let wake = Arc::new(Notify::new());
        let mut camera = TestCamera::new("left", &[(Stream::DEPTH, PixelFormat::Z16, "1x1@30")]);
        let link = || {
            let link_state = Arc::new(LinkState::new().unwrap());
            Arc::new(LocalLink::new(link_state, Arc::clone(&wake), Overflow::Block, 4))
        };
        let (left, right) = (link(), link());
        let camera_of = |name: &str| MatchedCamera {
            name: name.into(),
            input: name.into(),
            awaited: true,
            required: true,
        };
        let spec = MatchSpec {
            window_nanos: 1,
            partial: false,
            clock: MatchClock::System,
            queue: 1,
            blocks: true,
            cameras: vec![camera_of("left"), camera_of("right")],
        };
        let stats = Arc::new(MatchStats::new(&spec).unwrap());
        let matching = Matching::new(spec, stats);
        let mut links =
            InputLinks::new(Arc::clone(&wake), Arc::new(ActorCounters::new().unwrap()), Unread::default());
        links.match_by(matching);
        links.add("right", Box::new(LocalReader::new(&right)));
        links.add("left", Box::new(LocalReader::new(&left)));
        for nanos in 0..3 {
            let frameset = camera.frameset(nanos, &[&[0, 0]]);
            let (producer, info) = ("left".into(), Arc::clone(frameset.info()));
            left.publish(&mut Outgoing::of(&producer, &info, frameset));
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
