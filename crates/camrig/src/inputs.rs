//! A processor's inputs, merged: whichever has something is next, in turn.
//!
//! Delivery is counted here, at the last step before the processor is called. This module deliberately does
//! not know what the processor is.

use std::sync::Arc;
use std::time::Duration;

use camrig_ipc::{Inbox, Ledger, LinkReader};
use tokio::sync::Notify;

use crate::clock::monotonic_nanos;
use crate::frameset::FrameSet;
use crate::host::spawn;
use crate::local::LocalLink;

/// The reading ends of all links into one actor.
pub(crate) struct Inputs {
    wake: Arc<Notify>,
    /// The bells of these inputs, where they are all that the process hears.
    bells: Option<Inbox>,
    links: Vec<Input>,
    /// The input that was looked at last: the next look is at the one after it, so that a fast input does not starve the others.
    turn: usize,
}

struct Input {
    from: Arc<str>,
    end: End,
    /// Whether the last look found something, so that there may be more without another ring.
    busy: bool,
    ended: bool,
}

/// The reading end of a link.
pub(crate) enum End {
    /// From an actor of this process.
    Local(Arc<LocalLink>),
    /// From an actor of another process.
    Remote(LinkReader),
}

impl Inputs {
    /// Inputs that wake their reader through `wake`.
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        Self { wake, bells: None, links: Vec::new(), turn: 0 }
    }

    /// Whether some of the inputs come from other processes, and whether all of them do.
    pub(crate) fn some_and_all_remote(&self) -> (bool, bool) {
        let remote = |input: &Input| matches!(input.end, End::Remote(_));
        (self.links.iter().any(remote), self.links.iter().all(remote))
    }

    /// Makes these inputs hear the bells themselves, because nobody else in the process has any: one thread
    /// less between a bell and the processor.
    pub(crate) fn listen(&mut self, bells: Inbox) {
        self.bells = Some(bells);
    }

    /// Lets a thread hear the bells, for a reader whose own thread has other things to do.
    pub(crate) fn listen_on_a_thread(&mut self) {
        if let Some(mut bells) = self.bells.take() {
            let wake = Arc::clone(&self.wake);
            spawn("bells", move || {
                loop {
                    bells.wait();
                    wake.notify_one();
                }
            });
        }
    }

    pub(crate) fn add(&mut self, from: String, end: End) {
        self.links.push(Input { from: from.into(), end, busy: false, ended: false });
    }

    /// Each input's actor and accounting.
    pub(crate) fn ledgers(&self) -> Vec<(String, Arc<Ledger>)> {
        self.links.iter().map(|input| (input.from.to_string(), Arc::clone(input.ledger()))).collect()
    }

    /// Waits for the next frameset and counts it as delivered; none when every input has ended. Inputs that
    /// hear the bells themselves block the thread meanwhile.
    pub(crate) async fn next(&mut self) -> Option<FrameSet> {
        loop {
            for _ in 0..self.links.len() {
                self.turn = (self.turn + 1) % self.links.len();
                let input = &mut self.links[self.turn];
                if let Some(frameset) = input.take() {
                    let waited = monotonic_nanos().saturating_sub(frameset.arrival_nanos());
                    input.ledger().count_delivered(Duration::from_nanos(waited));
                    return Some(frameset);
                }
            }
            if self.links.iter().all(|input| input.ended) {
                return None;
            }
            match &mut self.bells {
                Some(bells) => bells.wait(),
                None => self.wake.notified().await,
            }
        }
    }
}

/// Whatever still waits when the reader goes is counted as dropped, and producers stop waiting for it.
impl Drop for Inputs {
    fn drop(&mut self) {
        self.links.iter().for_each(Input::close);
    }
}

impl Input {
    fn ledger(&self) -> &Arc<Ledger> {
        match &self.end {
            End::Local(link) => link.ledger(),
            End::Remote(reader) => reader.ledger(),
        }
    }

    fn take(&mut self) -> Option<FrameSet> {
        if self.ended || !(self.busy || self.ledger().rung()) {
            return None;
        }
        if let Some(frameset) = self.take_queued() {
            self.busy = true;
            return Some(frameset);
        }
        // Nothing there: listen again. What came before that is seen by one more look, what comes after it
        // rings. The end is asked for in between: whoever ends rings after it, and nothing is queued after it.
        self.ledger().heard();
        let ended = self.ledger().ended();
        let frameset = self.take_queued();
        self.busy = frameset.is_some();
        self.ended |= ended && !self.busy;
        frameset
    }

    fn take_queued(&mut self) -> Option<FrameSet> {
        match &mut self.end {
            End::Local(link) => link.take(),
            End::Remote(reader) => match reader.take() {
                Ok(lease) => lease.map(|lease| FrameSet::leased(Arc::clone(&self.from), lease)),
                Err(refused) => {
                    log::error!("the link from `{}` is closed: {refused}", self.from);
                    self.ended = true;
                    self.close();
                    None
                }
            },
        }
    }

    fn close(&self) {
        match &self.end {
            End::Local(link) => link.close(),
            End::Remote(reader) => {
                reader.ledger().set_reader_gone();
                reader.ledger().take_back_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use camrig_ipc::Overflow;

    use super::*;

    const WATCHDOG: Duration = Duration::from_secs(20);
    const ROUNDS: u32 = 5_000;

    #[test]
    fn an_end_is_noticed_however_it_meets_the_last_look() {
        actix::System::new().block_on(async {
            for round in 0..ROUNDS {
                let wake = Arc::new(Notify::new());
                let ledger = Arc::new(Ledger::new());
                let link = Arc::new(LocalLink::new(ledger, Arc::clone(&wake), Overflow::Block, 1));
                let mut inputs = Inputs::new(wake);
                inputs.add("front".to_owned(), End::Local(Arc::clone(&link)));
                // A ring that wakes the reader for nothing, and the end while it looks.
                link.ledger().ring();
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
                    // The look that meets the end, or comes before it.
                    inputs.links[0].take();
                });
                let next = actix::clock::timeout(WATCHDOG, inputs.next()).await;
                assert!(next.expect("the end is noticed").is_none(), "round {round}");
            }
        });
    }
}
