//! Runs work on several threads, and returns its results in order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, available_parallelism};

use camrig::spawn_thread;

/// Maximum number of threads.
const MAX_THREADS: usize = 8;

/// Size of unfinished work above which no more is started, in bytes.
const MAX_WAITING_BYTES: u64 = 24 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// Several threads, and the unfinished work. Results are returned in the order in which the work was given.
pub(super) struct InOrder<R> {
    jobs: mpsc::SyncSender<Job>,
    threads: usize,
    /// The size of each work, and its result.
    waiting: VecDeque<(u64, mpsc::Receiver<thread::Result<R>>)>,
    waiting_bytes: u64,
}

impl<R: Send + 'static> InOrder<R> {
    /// Starts a thread for each processor. They end when this drops.
    pub(super) fn start() -> Self {
        let (jobs, received) = mpsc::sync_channel::<Job>(MAX_THREADS + 1);
        let received = Arc::new(Mutex::new(received));
        let most = available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let start = || {
            let received = Arc::clone(&received);
            let next = move || received.lock().unwrap_or_else(PoisonError::into_inner).recv();
            spawn_thread("export", move || {
                while let Ok(job) = next() {
                    job();
                }
            })
        };
        let threads = (0..most).take_while(|_| start().is_ok()).count();
        Self { jobs, threads, waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    /// Begins work with data of this size. If that would exceed the bounds, results must be taken first.
    pub(super) fn give(&mut self, size_bytes: u64, work: impl FnOnce() -> R + Send + 'static) {
        let size_bytes = size_bytes.min(MAX_WAITING_BYTES);
        let (sender, result) = mpsc::sync_channel(1);
        let job = move || {
            // The other end may have given up.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        };
        self.waiting.push_back((size_bytes, result));
        self.waiting_bytes += size_bytes;
        match self.threads {
            0 => job(),
            // The receiver lives as long as the threads.
            _ => drop(self.jobs.send(Box::new(job))),
        }
    }

    /// Waits for the oldest result, if there is so much work that none of this size may be added; `None` if it may.
    pub(super) fn take_before(&mut self, size_bytes: u64) -> Option<R> {
        let size_bytes = size_bytes.min(MAX_WAITING_BYTES);
        let is_full =
            self.waiting.len() > self.threads || self.waiting_bytes + size_bytes > MAX_WAITING_BYTES;
        if is_full { self.take() } else { None }
    }

    /// Waits for the oldest result; `None` if there is none.
    pub(super) fn take(&mut self) -> Option<R> {
        let (size_bytes, result) = self.waiting.pop_front()?;
        self.waiting_bytes -= size_bytes;
        // Every job sends a result.
        Some(result.recv().ok()?.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_however_long_they_take() {
        let mut work = InOrder::start();
        let (release, released) = mpsc::sync_channel::<()>(1);
        // The first ends after the second, where there are threads for both.
        let waits = work.threads > 1;
        work.give(1, move || {
            if waits {
                released.recv().unwrap();
            }
            0
        });
        work.give(1, move || {
            let _ = release.send(());
            1
        });
        let mut results = Vec::new();
        for number in 2..50 {
            results.extend(std::iter::from_fn(|| work.take_before(1)));
            assert!(work.waiting.len() <= work.threads, "{}", work.waiting.len());
            work.give(1, move || number);
        }
        results.extend(std::iter::from_fn(|| work.take()));
        assert_eq!(results, (0..50).collect::<Vec<_>>());
        assert_eq!(work.waiting_bytes, 0);
    }

    #[test]
    fn the_size_of_waiting_work_is_bounded() {
        let mut work = InOrder::start();
        assert_eq!(work.take_before(u64::MAX / 2), None, "one alone may have any size");
        work.give(MAX_WAITING_BYTES - 1, || 0);
        assert_eq!(work.take_before(1), None);
        assert_eq!(work.take_before(2), Some(0));
        assert_eq!(work.take_before(2), None);
    }

    #[test]
    fn a_panic_is_that_of_its_result() {
        let mut work = InOrder::start();
        work.give(1, || panic!("on purpose"));
        work.give(1, || ());
        let panic = catch_unwind(AssertUnwindSafe(|| work.take())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
        assert_eq!(work.take(), Some(()));
    }
}
