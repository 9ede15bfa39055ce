//! The turns of the cameras and processors that share a thread.
//!
//! A camera blocks its thread while it captures. Before each capture it lets its readers run, and theirs, until they have taken
//! everything that it published: a frameset is passed on without a wake-up of another thread. Then it waits for its turn among
//! the cameras of the thread. Before it captures it lets the readers of the others run too, but only for a limited number of
//! turns: a reader that matches framesets may leave those of another camera until this one has captured.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use crate::ids::ActorId;
use crate::link::LocalLink;

/// Number of successive turns that the other tasks of the thread get. A [`Processor`](crate::Processor) takes a frameset within
/// a few; an actor of the user's own takes the next one when it has answered, which may take long.
const TURNS: usize = 64;

/// Interval at which slower readers are checked.
const LOOK: Duration = Duration::from_millis(1);

/// The actors of a thread.
#[derive(Default)]
pub(super) struct Thread {
    pub(super) cameras: Vec<ActorId>,
    /// All links within the thread.
    pub(super) links: Vec<Within>,
    queue: Queue,
}

/// A link within a thread.
pub(super) struct Within {
    pub(super) from: ActorId,
    pub(super) to: ActorId,
    pub(super) link: Arc<LocalLink>,
}

impl Thread {
    /// Returns the turns of an actor of this thread.
    pub(super) fn turns_of(&self, actor: ActorId) -> OnThread {
        let mut fed = vec![actor];
        while let Some(next) =
            self.links.iter().find(|link| fed.contains(&link.from) && !fed.contains(&link.to))
        {
            fed.push(next.to);
        }
        let links = |fed_by: bool| {
            let links = self.links.iter().filter(|link| fed.contains(&link.from) == fed_by);
            links.map(|link| Arc::clone(&link.link)).collect()
        };
        let queue = self.cameras.iter().any(|&camera| camera != actor).then(|| Rc::clone(&self.queue));
        OnThread { fed: links(true), others: links(false), queue }
    }
}

/// The turns of an actor on its thread.
#[derive(Clone)]
pub(super) struct OnThread {
    /// The links within the thread by which its framesets pass, or what is made of them.
    fed: Rc<[Arc<LocalLink>]>,
    others: Rc<[Arc<LocalLink>]>,
    /// `None` without other cameras.
    queue: Option<Queue>,
}

/// The wake-ups of the cameras of a thread that can capture, the next one first.
type Queue = Rc<RefCell<VecDeque<Rc<Notify>>>>;

impl OnThread {
    /// Returns whether other cameras share the thread.
    pub(super) fn has_other_cameras(&self) -> bool {
        self.queue.is_some()
    }

    /// Returns whether another actor of the thread may have something to do.
    pub(super) fn is_waited_for(&self) -> bool {
        self.has_other_cameras() || is_any_waiting(&self.fed)
    }

    /// Lets the readers of the camera run until nothing waits for them, and then the other cameras, until it is its turn to
    /// capture, or until `stops`.
    pub(super) async fn let_others_run(&self, stops: impl Fn() -> bool) {
        let mut turns = 0;
        while is_any_waiting(&self.fed) && !stops() {
            if turns < TURNS {
                turns += 1;
                let_ready_tasks_run().await;
            } else {
                actix::clock::sleep(LOOK).await;
            }
        }
        if let Some(queue) = &self.queue {
            let place = Place::at_the_end_of(queue);
            // Others can take theirs.
            let_ready_tasks_run().await;
            place.is_first().await;
            for _ in 0..TURNS {
                if stops() || !is_any_waiting(&self.others) {
                    return;
                }
                let_ready_tasks_run().await;
            }
        }
    }
}

/// A place in a queue, which is left when this is dropped.
struct Place {
    queue: Queue,
    wake: Rc<Notify>,
}

impl Place {
    fn at_the_end_of(queue: &Queue) -> Self {
        let wake = Rc::default();
        queue.borrow_mut().push_back(Rc::clone(&wake));
        Self { queue: Rc::clone(queue), wake }
    }

    async fn is_first(&self) {
        while !self.queue.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &self.wake)) {
            self.wake.notified().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.queue.borrow_mut();
        queue.retain(|wake| !Rc::ptr_eq(wake, &self.wake));
        queue.iter().take(1).for_each(|first| first.notify_one());
    }
}

/// Returns whether a frameset waits for the reader of one of these links.
fn is_any_waiting(links: &[Arc<LocalLink>]) -> bool {
    links.iter().any(|link| link.is_waiting())
}

/// Lets every other ready task of the thread run. Unlike tokio's own yield it makes no system call.
async fn let_ready_tasks_run() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use camrig_frame::{PixelFormat, Stream};

    use super::*;
    use crate::output::ProcessorOutput;
    use crate::testing::{self, TestCamera};

    fn id(index: usize) -> ActorId {
        ActorId::new(index)
    }

    /// Returns a link whose reader has not taken `framesets` framesets.
    fn link_with(framesets: u64) -> (ProcessorOutput, Arc<LocalLink>) {
        let mut camera = TestCamera::new("left", &[(Stream::DEPTH, PixelFormat::Z16, "2x1@30")]);
        let (mut output, link) = testing::output_with_reader("first", &[]);
        for number in 0..framesets {
            output.forward(&camera.frameset(number, &[&[0; 4]])).unwrap();
        }
        (output, link)
    }

    async fn take_all(link: Arc<LocalLink>) {
        while link.take().is_some() {
            let_ready_tasks_run().await;
        }
    }

    #[test]
    fn readers_run_until_nothing_waits_or_the_camera_stops() {
        let (_output, link) = link_with(2);
        let within = Within { from: id(0), to: id(1), link: Arc::clone(&link) };
        let thread = Thread { cameras: vec![id(0)], links: vec![within], ..Thread::default() };
        let on_thread = thread.turns_of(id(0));
        assert!(on_thread.is_waited_for() && !on_thread.has_other_cameras());
        actix::System::new().block_on(async {
            // No reader runs: it ends after all turns, because `stops` returns true.
            let looks = Cell::new(0);
            let stops = || {
                looks.set(looks.get() + 1);
                looks.get() > TURNS + 2
            };
            on_thread.let_others_run(stops).await;
            assert!(on_thread.is_waited_for());
            let reader = actix::spawn(take_all(link));
            on_thread.let_others_run(|| false).await;
            reader.await.unwrap();
        });
        assert!(!on_thread.is_waited_for());
    }

    /// Two cameras, whose framesets one reader takes, which passes some on to a second one.
    #[test]
    fn a_camera_waits_only_for_readers_of_its_own_framesets() {
        let [(_left, left), (_right, right), (_on, on)] = [0, 1, 0].map(link_with);
        let link =
            |from, to, link: &Arc<LocalLink>| Within { from: id(from), to: id(to), link: Arc::clone(link) };
        let links = vec![link(3, 4, &on), link(0, 3, &left), link(1, 3, &right)];
        let thread = Thread { cameras: vec![id(0), id(1)], links, ..Thread::default() };
        let [of_left, of_right] = [0, 1].map(|camera| thread.turns_of(id(camera)));
        for (turns, own) in [(&of_left, &left), (&of_right, &right)] {
            assert!(turns.has_other_cameras() && turns.is_waited_for());
            assert_eq!((turns.fed.len(), turns.others.len()), (2, 1));
            assert!(turns.fed.iter().any(|link| Arc::ptr_eq(link, own)));
        }
        actix::System::new().block_on(async {
            // The reader leaves the frameset of the right camera until it has one of the left camera.
            of_left.let_others_run(|| false).await;
            let looks = Cell::new(0);
            let stops = || {
                looks.set(looks.get() + 1);
                looks.get() > TURNS + 2
            };
            of_right.let_others_run(stops).await;
            assert!(right.is_waiting() && looks.get() > TURNS + 2);
            let reader = actix::spawn(take_all(Arc::clone(&right)));
            of_right.let_others_run(|| false).await;
            assert!(!right.is_waiting());
            reader.await.unwrap();
        });
    }

    #[test]
    fn cameras_capture_in_turn() {
        let thread = Thread { cameras: [0, 1, 2].map(id).into(), ..Thread::default() };
        let captured = Rc::new(RefCell::new(Vec::new()));
        actix::System::new().block_on(async {
            let capture = |camera, times| {
                let (turns, captured) = (thread.turns_of(id(camera)), Rc::clone(&captured));
                actix::spawn(async move {
                    for _ in 0..times {
                        turns.let_others_run(|| false).await;
                        captured.borrow_mut().push(camera);
                    }
                })
            };
            let [first, second, third] =
                [(0, 4), (1, 2), (2, 100)].map(|(camera, times)| capture(camera, times));
            first.await.unwrap();
            second.await.unwrap();
            // One that is ended while it waits leaves its place to others.
            third.abort();
            assert!(third.await.is_err());
            capture(0, 1).await.unwrap();
        });
        let captured = captured.take();
        assert_eq!(captured[..9], [0, 1, 2, 0, 1, 2, 0, 2, 0], "{captured:?}");
        assert_eq!(captured.last(), Some(&0));
        assert!(thread.queue.borrow().is_empty());
    }
}
