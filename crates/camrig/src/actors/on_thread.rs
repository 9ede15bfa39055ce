//! The turns of the cameras and processors that share a thread.
//!
//! A camera blocks its thread while it captures. Before each capture it lets its readers run, and theirs, until they have taken
//! everything that it published: a frameset is passed on without a wake-up of another thread. Then it waits for its turn among
//! the cameras of the thread: it is that of the one whose frameset is due first, which waits for it until that of another one is
//! due. Before it captures it lets the readers of the others run too, but only for a limited number of turns: a reader that
//! matches framesets may leave those of another camera until this one has captured.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::ids::ActorId;
use crate::link::LocalLink;

/// Number of successive turns that the other tasks of the thread get. A [`Processor`](crate::Processor) takes a frameset within
/// a few; an actor of the user's own takes the next one when it has answered, which may take long.
const TURNS: usize = 64;

/// Interval at which slower readers are checked.
const LOOK: Duration = Duration::from_millis(1);

/// Maximum time of one call of a driver, after which the camera reads its mail.
pub(super) const CAPTURE_TIME: Duration = Duration::from_millis(100);

/// The same where the frameset of another camera is overdue, or its time is not known.
const SHARED_CAPTURE_TIME: Duration = Duration::from_millis(5);

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
        OnThread { fed: links(true), others: links(false), queue, due: Due::new(None) }
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
    due: Due,
}

/// The cameras of a thread that can capture.
type Queue = Rc<RefCell<Vec<Waiting>>>;

/// A camera that waits for its turn.
struct Waiting {
    due: Due,
    wake: Rc<Notify>,
}

/// The time at which a camera's next frameset is expected: as long after the last one as that came after the one before,
/// but not less than half the interval of its rate, and not more than the interval. Without the lower bound, a camera that
/// keeps no pace would be due again immediately, before those that it keeps waiting.
#[derive(Clone, Copy)]
struct Due {
    interval_min: Duration,
    interval_max: Duration,
    last: Option<Instant>,
    /// `None` before the first capture.
    at: Option<Instant>,
}

impl Due {
    /// Expects framesets `rate` times a second; `None` where that is not known.
    fn new(rate: Option<u32>) -> Self {
        let interval = rate.map(|rate| (Duration::from_secs(1) / rate).min(CAPTURE_TIME));
        let interval_min = interval.map_or(Duration::ZERO, |interval| interval / 2);
        Self { interval_min, interval_max: interval.unwrap_or(CAPTURE_TIME), last: None, at: None }
    }

    /// Notes a capture, which ended `now` with a frameset or without.
    fn note(&mut self, now: Instant, captured: bool) {
        let until = if captured {
            let interval = self.last.replace(now).map_or(Duration::ZERO, |last| now - last);
            // A little early: one that was taken late because of another camera is taken earlier the next time.
            interval.clamp(self.interval_min, self.interval_max) * 31 / 32
        } else {
            SHARED_CAPTURE_TIME
        };
        self.at = Some(now + until);
    }

    /// Returns how long another camera may wait for its own frameset.
    fn time_for_another(&self, now: Instant) -> Duration {
        let until = self.at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        until.clamp(SHARED_CAPTURE_TIME, CAPTURE_TIME)
    }
}

/// Returns the camera whose frameset is due first; of several, the one that has waited longest.
fn first(waiting: &[Waiting]) -> Option<&Waiting> {
    waiting.iter().min_by_key(|waiting| waiting.due.at)
}

impl OnThread {
    /// Returns whether other cameras share the thread.
    pub(super) fn has_other_cameras(&self) -> bool {
        self.queue.is_some()
    }

    /// Expects framesets of the camera `rate` times a second.
    pub(super) fn expect(&mut self, rate: Option<u32>) {
        self.due = Due::new(rate);
    }

    /// Returns the maximum time of the camera's next capture.
    pub(super) fn capture_time(&self) -> Duration {
        let Some(queue) = &self.queue else { return CAPTURE_TIME };
        first(&queue.borrow()).map_or(SHARED_CAPTURE_TIME, |next| next.due.time_for_another(Instant::now()))
    }

    /// Notes a capture that just ended, with a frameset or without.
    pub(super) fn note_capture(&mut self, captured: bool) {
        self.due.note(Instant::now(), captured);
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
            let place = Place::of(self.due, queue);
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
    fn of(due: Due, queue: &Queue) -> Self {
        let wake = Rc::default();
        queue.borrow_mut().push(Waiting { due, wake: Rc::clone(&wake) });
        Self { queue: Rc::clone(queue), wake }
    }

    async fn is_first(&self) {
        while !first(&self.queue.borrow()).is_some_and(|first| Rc::ptr_eq(&first.wake, &self.wake)) {
            self.wake.notified().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.queue.borrow_mut();
        queue.retain(|waiting| !Rc::ptr_eq(&waiting.wake, &self.wake));
        first(&queue).inspect(|first| first.wake.notify_one());
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
    fn the_camera_whose_frameset_is_due_first_captures() {
        let thread = Thread { cameras: [0, 1, 2].map(id).into(), ..Thread::default() };
        let (start, captured) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
        actix::System::new().block_on(async {
            let capture = |camera, times| {
                let (mut turns, captured) = (thread.turns_of(id(camera)), Rc::clone(&captured));
                actix::spawn(async move {
                    for _ in 0..times {
                        turns.let_others_run(|| false).await;
                        captured.borrow_mut().push(camera);
                        // Later than any other one.
                        turns.due.at = Some(start + Duration::from_secs(captured.borrow().len() as u64));
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

    /// Lets cameras whose framesets come each 1/30 s, first at these milliseconds, share a thread for 10 s. Returns the
    /// captures for each frameset, and the longest time in milliseconds that a frameset waited in the second half.
    fn share(phases: &[u64]) -> (f64, u128) {
        let interval = Duration::from_micros(33_333);
        let start = Instant::now();
        let mut coming: Vec<_> = phases.iter().map(|&phase| start + Duration::from_millis(phase)).collect();
        let mut dues = vec![Due::new(Some(30)); phases.len()];
        let (mut now, mut captures, mut framesets, mut longest) = (start, 0, 0, Duration::ZERO);
        while now < start + Duration::from_secs(10) {
            let by_due = |&camera: &usize| dues[camera].at;
            let camera = (0..phases.len()).min_by_key(by_due).unwrap();
            let other = (0..phases.len()).filter(|&other| other != camera).min_by_key(by_due);
            let until = now + dues[other.unwrap()].time_for_another(now);
            let captured = coming[camera] <= until;
            now = if captured { now.max(coming[camera]) } else { until };
            captures += 1;
            if captured {
                if now > start + Duration::from_secs(5) {
                    longest = longest.max(now - coming[camera]);
                }
                framesets += 1;
                coming[camera] += interval;
            }
            dues[camera].note(now, captured);
        }
        (f64::from(captures) / f64::from(framesets), longest.as_millis())
    }

    #[test]
    fn a_camera_captures_when_its_frameset_is_due() {
        for (phases, captures, millis) in [
            (&[0, 17][..], 1.1, 0),
            (&[0, 1], 1.6, 1),
            (&[0, 0, 0, 0, 0, 0], 1.3, 5),
            (&[0, 5, 11, 16, 22, 27], 2.1, 5),
            (&[3, 30, 9, 24, 15], 2.1, 5),
        ] {
            let (captures_found, longest) = share(phases);
            assert!(
                captures_found < captures && longest <= millis,
                "{phases:?}: {captures_found} captures for each frameset, which waited up to {longest} ms"
            );
        }
    }

    /// As replayed ones that are not paced; the thread stands still now and then.
    #[test]
    fn cameras_that_keep_no_pace_capture_equally_often() {
        let (mut now, mut captures) = (Instant::now(), [0_u32; 6]);
        let mut dues = [Due::new(Some(30)); 6];
        for number in 0..20_000 {
            let camera = (0..6).min_by_key(|&camera| dues[camera].at).unwrap();
            let late = if number % 997 == 0 { Duration::from_millis(5) } else { Duration::ZERO };
            now += Duration::from_micros(40 + camera as u64) + late;
            captures[camera] += 1;
            dues[camera].note(now, true);
        }
        let (least, most) = (captures.iter().min().unwrap(), captures.iter().max().unwrap());
        assert!(most - least <= most / 20, "{captures:?}");
    }
}
