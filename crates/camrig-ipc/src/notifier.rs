//! Wake-up of a process: one counter in shared memory per process, which every link into it can increment.
//!
//! A notification only means that something has changed; the link states contain the changes. It costs a system call if the
//! process sleeps, and none if it is awake. This module does not depend on links.
#![allow(unsafe_code)] // One marker: `Shared` for the structure below.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::futex;
#[cfg(not(shuttle))]
use crate::mapped::Shared;
use crate::sync::{AtomicU32, FutexWord, Mapped, fence};

/// Maximum sleep; guards against a wake-up that is lost because the notifying process died.
const LOOK: Duration = Duration::from_secs(1);

/// The layout of a [`Notifier`], as PROTOCOL.md describes it.
#[repr(C, align(64))]
#[cfg_attr(shuttle, derive(Default))]
pub struct NotifierCells {
    notifications: FutexWord,
    /// The number of threads that sleep, or are about to.
    asleep: AtomicU32,
}

// SAFETY: every field is an atomic or padding; aligned to 64.
#[cfg(not(shuttle))]
unsafe impl Shared for NotifierCells {
    const NAME: &'static str = "a notifier";
    const MAGIC: [u8; 8] = *b"camrigNO";
    const VERSION: u32 = 3;
}

/// Wakes a process.
pub type Notifier = Mapped<NotifierCells>;

impl Notifier {
    /// Wakes the process.
    pub fn notify(&self) {
        if self.count() {
            futex::wake(&self.notifications);
        }
    }

    /// Counts a notification; returns whether a thread sleeps, or is about to.
    pub(crate) fn count(&self) -> bool {
        let cells: &NotifierCells = self;
        // Pairs with the last load of `Listener::wait`.
        cells.notifications.fetch_add(1, Ordering::Release);
        // Pairs with the fence of `begin_sleep`: each side writes its word before it, and looks at the other's after it.
        fence(Ordering::SeqCst);
        cells.asleep.load(Ordering::Relaxed) != 0
    }

    /// Marks that a thread is about to sleep; returns whether it has seen all notifications. A later one wakes it.
    pub(crate) fn begin_sleep(&self, seen: u32) -> bool {
        let cells: &NotifierCells = self;
        cells.asleep.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence of `count`. The kernel compares the word once more, but futex(2) does not promise that it does so
        // after `asleep` is written.
        fence(Ordering::SeqCst);
        cells.notifications.load(Ordering::Relaxed) == seen
    }

    /// Forgets the threads that slept: their process has ended.
    pub fn note_death(&self) {
        let cells: &NotifierCells = self;
        // No pair: its process has ended, and the next one starts after this.
        cells.asleep.store(0, Ordering::Relaxed);
    }
}

/// The receiving end of a process's notifier, for one thread. A process may have several.
pub struct Listener {
    notifier: Arc<Notifier>,
    /// The number of notifications at the end of the last wait.
    pub(crate) seen: u32,
}

impl Listener {
    /// Creates a listener that receives all notifications.
    pub fn new(notifier: impl Into<Arc<Notifier>>) -> Self {
        Self { notifier: notifier.into(), seen: 0 }
    }

    /// Waits for a notification since the last call, but at most one second.
    pub fn wait(&mut self) {
        let cells: &NotifierCells = &self.notifier;
        // No pair: the last load is made in any case.
        if cells.notifications.load(Ordering::Relaxed) == self.seen {
            if self.notifier.begin_sleep(self.seen) {
                futex::sleep(&cells.notifications, self.seen, LOOK);
            }
            // No pair: a needless wake-up costs one call of the system.
            cells.asleep.fetch_sub(1, Ordering::Relaxed);
        }
        // Pairs with `Notifier::count`: writes of the notifying process before it are seen after this load.
        self.seen = cells.notifications.load(Ordering::Acquire);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on fails.

    use std::time::Instant;

    use super::*;

    /// Number of notifications in each direction: a lost wake-up costs a second.
    const ROUNDS: u32 = 10_000;

    /// Maximum time of all rounds: a test that loses wake-ups fails.
    const WATCHDOG: Duration = Duration::from_secs(60);

    fn connected() -> (Notifier, Listener) {
        let notifier = Notifier::new().unwrap();
        let listener = Listener::new(Notifier::received(notifier.share().unwrap()).unwrap());
        (notifier, listener)
    }

    /// Waits until `count` notifications have arrived.
    fn wait_for(listener: &mut Listener, count: u32, deadline: Instant) {
        while listener.seen < count {
            assert!(Instant::now() < deadline, "{} of {count} notifications arrived in time", listener.seen);
            listener.wait();
        }
    }

    #[test]
    fn each_notification_wakes_a_listener_that_sleeps_or_is_about_to() {
        let deadline = Instant::now() + WATCHDOG;
        let ((ping, mut pings), (pong, mut pongs)) = (connected(), connected());
        // Each side notifies the other only after it was notified itself.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    wait_for(&mut pings, round, deadline);
                    pong.notify();
                }
            });
            for round in 1..=ROUNDS {
                ping.notify();
                wait_for(&mut pongs, round, deadline);
            }
        });
        assert_eq!((pings.seen, pongs.seen), (ROUNDS, ROUNDS));
    }

    /// Each of them sleeps and wakes on its own: one that wakes first does not hide that another sleeps.
    #[test]
    fn several_listeners_are_woken() {
        let deadline = Instant::now() + WATCHDOG;
        let (notifier, mut first) = connected();
        let mut second = Listener::new(Notifier::received(notifier.share().unwrap()).unwrap());
        let (awake, awakes) = std::sync::mpsc::sync_channel(2);
        std::thread::scope(|scope| {
            for listener in [&mut first, &mut second] {
                let awake = awake.clone();
                scope.spawn(move || {
                    for round in 1..=ROUNDS / 10 {
                        wait_for(listener, round, deadline);
                        awake.send(()).unwrap();
                    }
                });
            }
            for _ in 0..ROUNDS / 10 {
                notifier.notify();
                (0..2).for_each(|_| awakes.recv().unwrap());
            }
        });
        notifier.note_death();
        assert_eq!((first.seen, second.seen), (ROUNDS / 10, ROUNDS / 10));
    }

    #[test]
    fn notifications_before_a_wait_are_all_counted() {
        let (notifier, mut listener) = connected();
        (0..ROUNDS).for_each(|_| notifier.notify());
        listener.wait();
        assert_eq!(listener.seen, ROUNDS);
    }
}
