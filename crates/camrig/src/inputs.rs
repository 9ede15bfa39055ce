//! A processor's inputs, merged: whichever has something is next, in turn.
//!
//! Delivery is counted here, at the last step before the processor is called. Inputs outlive the processor: while
//! it is being restarted, whatever comes is dropped and counted. This module deliberately does not know what
//! the processor is.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use camrig_ipc::{Absence, Inbox, Ledger, LinkReader, Tally};
use tokio::sync::Notify;

use crate::clock::monotonic_nanos;
use crate::frameset::FrameSet;
use crate::host::spawn;
use crate::local::LocalLink;

/// The reading ends of all links into one actor, on its way to the actor's thread.
pub(crate) struct InputLinks {
    wake: Arc<Notify>,
    tally: Arc<Tally>,
    /// The bells of these inputs, where they are all that the process hears.
    bells: Option<Inbox>,
    links: Vec<Input>,
    /// The input that was looked at last: the next look is at the one after it, so that a fast input does not
    /// starve the others.
    turn: usize,
}

/// What every life of an actor reads, one after the other.
#[derive(Clone)]
pub(crate) struct Inputs {
    wake: Arc<Notify>,
    links: Rc<RefCell<InputLinks>>,
}

struct Input {
    from: Arc<str>,
    end: End,
    /// Whether the last look found something, so that there may be more without another ring.
    busy: bool,
    ended: bool,
    /// That between the last life and this one.
    absence: Absence,
}

/// The reading end of a link.
pub(crate) enum End {
    /// From an actor of this process.
    Local(Arc<LocalLink>),
    /// From an actor of another process.
    Remote(LinkReader),
}

/// What a look at the inputs finds.
enum Look {
    Found(FrameSet),
    Nothing,
    AllEnded,
}

impl InputLinks {
    /// Inputs that wake their reader through `wake`, and note in `tally` when it is called.
    pub(crate) fn new(wake: Arc<Notify>, tally: Arc<Tally>) -> Self {
        Self { wake, tally, bells: None, links: Vec::new(), turn: 0 }
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

    pub(crate) fn add(&mut self, from: String, end: End) {
        // Busy: whatever rang before this reader was there has to be looked for.
        self.links.push(Input {
            from: from.into(),
            end,
            busy: true,
            ended: false,
            absence: Absence::default(),
        });
    }

    /// Each input's actor and accounting.
    pub(crate) fn ledgers(&self) -> Vec<(String, Arc<Ledger>)> {
        self.links.iter().map(|input| (input.from.to_string(), Arc::clone(input.ledger()))).collect()
    }

    fn all_ended(&self) -> bool {
        self.links.iter().all(|input| input.ended)
    }

    fn look(&mut self) -> Look {
        for _ in 0..self.links.len() {
            self.turn = (self.turn + 1) % self.links.len();
            if let Some(frameset) = self.links[self.turn].deliver() {
                return Look::Found(frameset);
            }
        }
        if self.all_ended() { Look::AllEnded } else { Look::Nothing }
    }
}

impl Inputs {
    /// The inputs of an actor on its own thread.
    pub(crate) fn new(links: InputLinks) -> Self {
        Self { wake: Arc::clone(&links.wake), links: Rc::new(RefCell::new(links)) }
    }

    /// Lets a thread hear the bells, for a reader whose own thread has other things to do.
    pub(crate) fn listen_on_a_thread(&self) {
        if let Some(mut bells) = self.links.borrow_mut().bells.take() {
            let wake = Arc::clone(&self.wake);
            spawn("bells", move || {
                loop {
                    bells.wait();
                    wake.notify_one();
                }
            });
        }
    }

    /// Waits for the next frameset and counts it as delivered; none when every input has ended. Inputs that
    /// hear the bells themselves block the thread meanwhile.
    pub(crate) async fn next(&self) -> Option<FrameSet> {
        self.note_call(None);
        loop {
            let looked = self.links.borrow_mut().look();
            match looked {
                Look::Found(frameset) => {
                    self.note_call(Some(monotonic_nanos()));
                    return Some(frameset);
                }
                Look::AllEnded => return None,
                Look::Nothing => {}
            }
            let heard = self.links.borrow_mut().bells.as_mut().map(Inbox::wait);
            if heard.is_none() {
                self.wake.notified().await;
            }
        }
    }

    /// Whether there will never be another frameset.
    pub(crate) fn all_ended(&self) -> bool {
        self.links.borrow().all_ended()
    }

    /// Between two lives: what waits is dropped, and so is what comes.
    pub(crate) fn pause(&self) {
        self.note_call(None);
        for input in &mut self.links.borrow_mut().links {
            input.absence = input.ledger().set_reader_away();
            input.drop_queued();
        }
    }

    /// Another life begins.
    pub(crate) fn resume(&self) {
        let links = self.links.borrow();
        links.links.iter().for_each(|input| input.ledger().set_reader_back(input.absence));
    }

    /// The last word: whatever waits is dropped, and producers stop waiting for this reader.
    pub(crate) fn close(&self) {
        self.note_call(None);
        for input in &self.links.borrow().links {
            input.ledger().set_reader_ended();
            input.drop_queued();
        }
    }

    fn note_call(&self, at_nanos: Option<u64>) {
        self.links.borrow().tally.set_called_at(at_nanos);
    }
}

impl Input {
    fn ledger(&self) -> &Arc<Ledger> {
        match &self.end {
            End::Local(link) => link.ledger(),
            End::Remote(reader) => reader.ledger(),
        }
    }

    /// Takes the next frameset and counts it, as one step.
    fn deliver(&mut self) -> Option<FrameSet> {
        if self.ended || !(self.busy || self.ledger().rung()) {
            return None;
        }
        let ledger = Arc::clone(self.ledger());
        let _step = ledger.reader_step();
        let frameset = self.take()?;
        let waited = monotonic_nanos().saturating_sub(frameset.arrival_nanos());
        ledger.count_delivered(Duration::from_nanos(waited));
        Some(frameset)
    }

    fn take(&mut self) -> Option<FrameSet> {
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
                    self.ledger().set_reader_ended();
                    self.ledger().take_back_all();
                    None
                }
            },
        }
    }

    fn drop_queued(&self) {
        let _step = self.ledger().reader_step();
        match &self.end {
            End::Local(link) => link.take_back_all(),
            End::Remote(reader) => reader.ledger().take_back_all(),
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
                let ledger = Arc::new(Ledger::new().unwrap());
                let link = Arc::new(LocalLink::new(ledger, Arc::clone(&wake), Overflow::Block, 1));
                let mut links = InputLinks::new(wake, Arc::new(Tally::new().unwrap()));
                links.add("front".to_owned(), End::Local(Arc::clone(&link)));
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
                    links.links[0].deliver();
                });
                let inputs = Inputs::new(links);
                let next = actix::clock::timeout(WATCHDOG, inputs.next()).await;
                assert!(next.expect("the end is noticed").is_none(), "round {round}");
            }
        });
    }
}
