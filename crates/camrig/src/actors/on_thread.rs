//! The turns of a camera and of the processors that share its thread.
//!
//! A camera blocks its thread while it captures. Before each capture it lets its readers run, and theirs, until they have taken
//! everything that it published: a frameset is passed on without a wake-up of another thread.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::link::LocalLink;

/// Number of successive turns that the other tasks of the thread get. A [`Processor`](crate::Processor) takes a frameset within
/// a few; an actor of the user's own takes the next one when it has answered, which may take long.
const TURNS: usize = 64;

/// Interval at which slower readers are checked.
const LOOK: Duration = Duration::from_millis(1);

/// All links within a thread.
#[derive(Clone)]
pub(super) struct OnThread(Rc<[Arc<LocalLink>]>);

impl OnThread {
    pub(super) fn new(links: impl Iterator<Item = Arc<LocalLink>>) -> Self {
        Self(links.collect())
    }

    /// Returns whether a frameset waits for its reader on this thread.
    pub(super) fn is_waited_for(&self) -> bool {
        self.0.iter().any(|link| link.is_waiting())
    }

    /// Lets the readers run until nothing waits for them, or until `stops`.
    pub(super) async fn let_readers_run(&self, stops: impl Fn() -> bool) {
        let mut turns = 0;
        while self.is_waited_for() && !stops() {
            if turns < TURNS {
                turns += 1;
                let_others_run().await;
            } else {
                actix::clock::sleep(LOOK).await;
            }
        }
    }
}

/// Lets every other ready task of the thread run. Unlike tokio's own yield it makes no system call.
async fn let_others_run() {
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
    use crate::testing::{self, TestCamera};

    #[test]
    fn readers_run_until_nothing_waits_or_the_camera_stops() {
        let mut camera = TestCamera::new("left", &[(Stream::DEPTH, PixelFormat::Z16, "2x1@30")]);
        let (mut output, link) = testing::output_with_reader("first", &[]);
        let on_thread = OnThread::new([Arc::clone(&link)].into_iter());
        assert!(!on_thread.is_waited_for());
        for frame in [camera.frameset(0, &[&[0; 4]]), camera.frameset(1, &[&[0; 4]])] {
            output.forward(&frame).unwrap();
        }
        assert!(on_thread.is_waited_for());
        actix::System::new().block_on(async {
            // No reader runs: it ends after all turns, because `stops` returns true.
            let looks = Cell::new(0);
            let stops = || {
                looks.set(looks.get() + 1);
                looks.get() > TURNS + 2
            };
            on_thread.let_readers_run(stops).await;
            assert!(on_thread.is_waited_for());
            let reader = actix::spawn(async move {
                while link.take().is_some() {
                    let_others_run().await;
                }
            });
            on_thread.let_readers_run(|| false).await;
            reader.await.unwrap();
        });
        assert!(!on_thread.is_waited_for());
    }
}
