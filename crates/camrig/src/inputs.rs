//! Merges a processor's inputs: takes framesets from its links in turn.
//!
//! Counts a delivery in the last step before the processor is called, or before its framesets are matched. Inputs
//! outlast the instances of the processor: during a restart, framesets that arrive are dropped and counted. This module
//! depends on no kind of processor, and on no rule of matching.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use camrig_ipc::{ActorCounters, LinkState, Listener};
use tokio::sync::Notify;

use crate::clock::monotonic_nanos;
use crate::error::ProcessorError;
use crate::frameset::FrameSet;
use crate::link::ReaderEnd;
use crate::mail::Unread;
use crate::matching::{Match, MatchError, MatchStats, Matching};
use crate::threads;

/// Time without framesets from a camera after which matching continues without it.
const MATCH_WAIT_MAX: Duration = Duration::from_secs(2);

/// The readers' ends of all links into one actor, to be moved to the actor's thread.
pub(crate) struct InputLinks {
    wake: Arc<Notify>,
    unread: Unread,
    counters: Arc<ActorCounters>,
    /// The process's notifier, when these inputs are its only readers.
    notifiers: Option<Listener>,
    links: Vec<Input>,
    matching: Option<Matching>,
    /// Whether the actor has no instance, so that framesets that arrive are dropped.
    paused: bool,
    /// Whether two links come from the same actor.
    replacing: bool,
    /// Whether a frameset arrived that cannot be matched as the topology requires.
    unmatchable: bool,
    /// The start of a time in which no frameset was queued for a match, while some input is held back.
    quiet_since: Option<Instant>,
    /// The input that was polled last. Polling continues with the one after it, so that a fast input does not starve the
    /// others.
    turn: usize,
}

/// The inputs of an actor, shared by its instances one after the other.
#[derive(Clone)]
pub struct Inputs {
    wake: Arc<Notify>,
    unread: Unread,
    links: Rc<RefCell<InputLinks>>,
}

struct Input {
    from: Arc<str>,
    end: Box<dyn ReaderEnd>,
    /// Whether the last poll found a frameset, so that there may be more without another wake-up.
    busy: bool,
    ended: bool,
    /// The reason why the link was closed, if its content was refused.
    refusal: Option<String>,
    /// The link state of the newest link from this actor.
    shown: NewestState,
}

/// The state of the newest link from an actor.
type NewestState = Arc<Mutex<Option<Arc<LinkState>>>>;

/// The actor of an input, and the state of the link from it that is read.
#[derive(Clone)]
pub(crate) struct InputLink {
    pub(crate) from: String,
    shown: NewestState,
}

impl InputLink {
    /// Describes an input that no link replaces.
    pub(crate) fn of(from: &str, link_state: &Arc<LinkState>) -> Self {
        Self { from: from.to_owned(), shown: Arc::new(Mutex::new(Some(Arc::clone(link_state)))) }
    }

    /// Returns the state of the newest link.
    pub(crate) fn link_state(&self) -> Option<Arc<LinkState>> {
        lock(&self.shown).clone()
    }
}

fn lock(shown: &NewestState) -> MutexGuard<'_, Option<Arc<LinkState>>> {
    // No code panics while it holds the lock.
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Result of polling the inputs.
enum Polled<T> {
    Found(T),
    Nothing,
    AllEnded,
}

impl InputLinks {
    /// Creates inputs that wake their reader through `wake`, and record its calls in `counters`. The reader does not wait
    /// while it has `unread` mail.
    pub(crate) fn new(wake: Arc<Notify>, counters: Arc<ActorCounters>, unread: Unread) -> Self {
        Self {
            wake,
            unread,
            counters,
            notifiers: None,
            links: Vec::new(),
            matching: None,
            paused: false,
            replacing: false,
            unmatchable: false,
            quiet_since: None,
            turn: 0,
        }
    }

    /// Matches the inputs' framesets with `matching`.
    pub(crate) fn match_by(&mut self, matching: Matching) {
        self.matching = Some(matching);
    }

    /// Returns the counters of the matching, if the inputs are matched.
    pub(crate) fn match_stats(&self) -> Option<Arc<MatchStats>> {
        self.matching.as_ref().map(|matching| Arc::clone(matching.stats()))
    }

    /// Returns whether some of the inputs come from other processes, and whether all of them do.
    pub(crate) fn some_and_all_remote(&self) -> (bool, bool) {
        let remote = |input: &Input| input.end.is_remote();
        (self.links.iter().any(remote), self.links.iter().all(remote))
    }

    /// Waits on the process's notifier directly, without a forwarding thread, because these inputs are its only
    /// readers.
    pub(crate) fn listen(&mut self, notifiers: Listener) {
        self.notifiers = Some(notifiers);
    }

    /// Adds a link from the actor called `from`. It may replace one from the same actor.
    pub(crate) fn add(&mut self, from: &str, end: Box<dyn ReaderEnd>) {
        let before = self.links.iter().find(|input| *input.from == *from);
        self.replacing |= before.is_some();
        // A link that replaces another is shown once that one is empty: deliveries are counted there until then.
        let first = || Arc::new(Mutex::new(Some(Arc::clone(end.link_state()))));
        let shown = before.map_or_else(first, |input| Arc::clone(&input.shown));
        if self.paused {
            end.link_state().set_reader_paused(true);
        }
        // Busy: a wake-up may have come before this reader existed.
        self.links.push(Input { from: from.into(), end, busy: true, ended: false, refusal: None, shown });
    }

    /// Returns the link state of each input.
    pub(crate) fn link_states(&self) -> Vec<Arc<LinkState>> {
        self.links.iter().map(|input| Arc::clone(input.link_state())).collect()
    }

    /// Returns each input's actor and present link state.
    pub(crate) fn status(&self) -> Vec<InputLink> {
        let newest =
            |index: usize| self.links[index + 1..].iter().all(|later| later.from != self.links[index].from);
        let status = |index: usize| InputLink {
            from: self.links[index].from.to_string(),
            shown: Arc::clone(&self.links[index].shown),
        };
        (0..self.links.len()).filter(|&index| newest(index)).map(status).collect()
    }

    fn all_ended(&self) -> bool {
        self.links.iter().all(Input::is_over)
    }

    /// Discards the inputs that have ended and are replaced by others.
    fn forget_replaced(&mut self) {
        let replaced = |index: usize, links: &[Input]| {
            links[index].ended && links[index + 1..].iter().any(|later| later.from == links[index].from)
        };
        while let Some(index) = (0..self.links.len()).find(|&index| replaced(index, &self.links)) {
            self.links.remove(index);
            self.turn = 0;
        }
        self.replacing = (0..self.links.len()).any(|index| self.waits_for_another(index));
        for index in (0..self.links.len()).filter(|&index| !self.waits_for_another(index)) {
            let input = &self.links[index];
            *lock(&input.shown) = Some(Arc::clone(input.link_state()));
        }
    }

    /// Returns whether an earlier link of the same actor has to be emptied first.
    fn waits_for_another(&self, index: usize) -> bool {
        let links = &self.links;
        links[..index].iter().any(|earlier| earlier.from == links[index].from)
    }

    fn look(&mut self) -> Polled<FrameSet> {
        for _ in 0..self.links.len() {
            self.turn = (self.turn + 1) % self.links.len();
            if self.is_held_back(self.turn) || self.replacing && self.waits_for_another(self.turn) {
                continue;
            }
            if let Some(frameset) = self.links[self.turn].deliver() {
                return Polled::Found(frameset);
            }
        }
        if self.replacing {
            let links = self.links.len();
            self.forget_replaced();
            if self.links.len() < links {
                // Framesets queued on a link that waited for the end of another.
                return self.look();
            }
        }
        if self.all_ended() { Polled::AllEnded } else { Polled::Nothing }
    }

    /// Returns the next match, after passing new framesets to the matching.
    fn look_for_match(&mut self) -> Result<Polled<Match>, MatchError> {
        loop {
            let looked = self.look();
            // A processor that takes matches always has a matching.
            let Some(matching) = &mut self.matching else { return Ok(Polled::AllEnded) };
            let nothing_came = match looked {
                Polled::Found(frameset) => {
                    // One that is left out brings no match nearer: a camera of another clock has any number of them.
                    if matching.push(frameset).inspect_err(|_| self.unmatchable = true)? {
                        self.quiet_since = None;
                    }
                    None
                }
                Polled::Nothing => Some(Polled::Nothing),
                Polled::AllEnded => Some(Polled::AllEnded),
            };
            let mut has_room_again = false;
            for input in self.links.iter().filter(|input| input.is_over()) {
                has_room_again |= matching.end(&input.from).inspect_err(|_| self.unmatchable = true)?;
            }
            if let Some(matched) = matching.next() {
                return Ok(Polled::Found(matched));
            }
            if let Some(looked) = nothing_came
                && !has_room_again
                && !self.give_up_waiting()
            {
                return Ok(looked);
            }
        }
    }

    /// Returns the next frameset; if framesets are matched, the framesets of each match, one after another.
    fn look_for_frameset(&mut self) -> Result<Polled<FrameSet>, MatchError> {
        if self.matching.is_none() {
            return Ok(self.look());
        }
        loop {
            if let Some(frameset) = self.matching.as_mut().and_then(Matching::next_loose) {
                return Ok(Polled::Found(frameset));
            }
            match (self.look_for_match()?, &mut self.matching) {
                (Polled::Found(matched), Some(matching)) => matching.loosen(matched),
                (Polled::Nothing, _) => return Ok(Polled::Nothing),
                (Polled::AllEnded, _) | (_, None) => return Ok(Polled::AllEnded),
            }
        }
    }

    /// Returns whether an input has to wait for others.
    fn is_held_back(&self, input: usize) -> bool {
        let input = &self.links[input];
        !input.is_over() && self.matching.as_ref().is_some_and(|matching| !matching.has_room(&input.from))
    }

    fn some_held_back(&self) -> bool {
        self.matching.is_some() && (0..self.links.len()).any(|input| self.is_held_back(input))
    }

    /// Continues matching without silent cameras if inputs have been held back for too long.
    fn give_up_waiting(&mut self) -> bool {
        let held_back = self.some_held_back();
        let since = *self.quiet_since.get_or_insert_with(Instant::now);
        let gives_up = held_back && since.elapsed() >= MATCH_WAIT_MAX;
        if gives_up {
            self.quiet_since = None;
            self.matching.iter_mut().for_each(Matching::give_up);
        }
        gives_up
    }
}

impl Inputs {
    /// Makes the inputs of an actor, on its own thread.
    pub(crate) fn new(links: InputLinks) -> Self {
        let (wake, unread) = (Arc::clone(&links.wake), links.unread.clone());
        Self { wake, unread, links: Rc::new(RefCell::new(links)) }
    }

    /// Adds a link from the actor called `from`, in place of one that ends or has ended.
    pub(crate) fn add(&self, from: &str, end: Box<dyn ReaderEnd>) {
        // Framesets of this process do not come through the notifier.
        if !end.is_remote()
            && let Err(error) = self.listen_on_a_thread()
        {
            log::error!("framesets of other processes are taken late: {error}");
        }
        self.links.borrow_mut().add(from, end);
        self.wake.notify_one();
    }

    /// Waits on the notifier in a thread of its own, for a reader whose thread must not block. The thread ends at most a
    /// second after the actor.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn listen_on_a_thread(&self) -> std::io::Result<()> {
        if let Some(mut notifiers) = self.links.borrow_mut().notifiers.take() {
            let wake = Arc::downgrade(&self.wake);
            threads::spawn("notifiers", move || {
                while let Some(wake) = wake.upgrade() {
                    wake.notify_one();
                    drop(wake);
                    notifiers.wait();
                }
            })?;
        }
        Ok(())
    }

    /// Returns whether the topology matches the inputs.
    pub(crate) fn are_matched(&self) -> bool {
        self.links.borrow().matching.is_some()
    }

    /// Waits for the next frameset, or the next one of a match. Returns `None` when every input has ended. Inputs that
    /// wait on the notifier directly block the thread.
    ///
    /// # Errors
    /// If framesets cannot be matched.
    pub(crate) async fn next(&self) -> Result<Option<FrameSet>, ProcessorError> {
        self.wait_for(InputLinks::look_for_frameset).await
    }

    async fn wait_for<T>(
        &self,
        look: impl Fn(&mut InputLinks) -> Result<Polled<T>, MatchError>,
    ) -> Result<Option<T>, ProcessorError> {
        self.note_call(None);
        loop {
            self.unread.all_read().await;
            let looked = look(&mut self.links.borrow_mut())?;
            match looked {
                Polled::Found(found) => {
                    self.note_call(Some(monotonic_nanos()));
                    return Ok(Some(found));
                }
                Polled::AllEnded => {
                    // The last call is the one in which the processor finishes.
                    self.note_call(Some(monotonic_nanos()));
                    return Ok(None);
                }
                Polled::Nothing => {}
            }
            let notified = self.links.borrow_mut().notifiers.as_mut().map(Listener::wait);
            let wait_max = self.links.borrow().some_held_back().then_some(MATCH_WAIT_MAX);
            match (notified, wait_max) {
                (Some(()), _) => {}
                // The next poll finds out whether it was the time-out or a wake-up.
                (None, Some(wait_max)) => drop(actix::clock::timeout(wait_max, self.wake.notified()).await),
                (None, None) => self.wake.notified().await,
            }
        }
    }

    /// Returns whether there will never be another frameset, or another match.
    pub(crate) fn give_nothing_more(&self) -> bool {
        let links = self.links.borrow();
        links.all_ended() || links.unmatchable
    }

    /// Returns why an input ended early, if its content was refused.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.links.borrow().links.iter().find_map(|input| input.refusal.clone())
    }

    /// Drops the queued framesets, and those that arrive until [`Self::resume`]: the actor has no instance.
    pub(crate) fn pause(&self) {
        self.note_call(None);
        self.links.borrow_mut().paused = true;
        for input in &self.links.borrow().links {
            input.link_state().set_reader_paused(true);
            input.drop_queued();
        }
        self.forget_matching();
    }

    /// Takes framesets again: another instance begins.
    pub(crate) fn resume(&self) {
        let mut links = self.links.borrow_mut();
        links.paused = false;
        links.links.iter().for_each(|input| input.link_state().set_reader_paused(false));
    }

    /// Ends the inputs for good: drops the queued framesets, and frees producers that wait for this reader.
    pub(crate) fn close(&self) {
        self.note_call(None);
        for input in &self.links.borrow().links {
            input.link_state().set_reader_ended();
            input.drop_queued();
        }
        self.forget_matching();
    }

    /// Counts the framesets that waited for a match as left over.
    fn forget_matching(&self) {
        self.links.borrow_mut().matching.iter_mut().for_each(Matching::forget);
    }

    fn note_call(&self, at_nanos: Option<u64>) {
        self.links.borrow().counters.set_called_at(at_nanos);
    }
}

/// An item that inputs can deliver.
pub trait Next: Sized + 'static {
    /// Whether it consists of several framesets, so that the topology has to define a match.
    const MATCHED: bool;

    /// Waits for the next item. Returns `None` when every input has ended.
    #[doc(hidden)]
    fn next(inputs: &Inputs) -> impl Future<Output = Result<Option<Self>, ProcessorError>>;
}

impl Next for FrameSet {
    const MATCHED: bool = false;

    async fn next(inputs: &Inputs) -> Result<Option<Self>, ProcessorError> {
        inputs.next().await
    }
}

/// The input of a processor that takes both: a frameset, or a match where its topology has `match`.
#[derive(Clone, Debug)]
pub enum Delivered {
    /// The next frameset of the inputs.
    FrameSet(FrameSet),
    /// The next match.
    Match(Match),
}

impl Next for Delivered {
    const MATCHED: bool = false;

    async fn next(inputs: &Inputs) -> Result<Option<Self>, ProcessorError> {
        if inputs.are_matched() {
            return Ok(Match::next(inputs).await?.map(Self::Match));
        }
        Ok(FrameSet::next(inputs).await?.map(Self::FrameSet))
    }
}

impl Next for Match {
    const MATCHED: bool = true;

    async fn next(inputs: &Inputs) -> Result<Option<Self>, ProcessorError> {
        inputs.wait_for(InputLinks::look_for_match).await
    }
}

impl Input {
    fn link_state(&self) -> &Arc<LinkState> {
        self.end.link_state()
    }

    /// Returns whether nothing more will come from its actor. After a link that another continues, that one is on its way.
    fn is_over(&self) -> bool {
        self.ended && !self.link_state().continues()
    }

    /// Takes the next frameset and counts it, as one step.
    fn deliver(&mut self) -> Option<FrameSet> {
        if self.ended || !(self.busy || self.link_state().is_notified()) {
            return None;
        }
        let link_state = Arc::clone(self.link_state());
        let _step = link_state.reader_step();
        let frameset = self.take()?;
        let waited = monotonic_nanos().saturating_sub(frameset.arrival_nanos());
        link_state.count_delivered(Duration::from_nanos(waited));
        Some(frameset)
    }

    fn take(&mut self) -> Option<FrameSet> {
        if let Some(frameset) = self.take_queued() {
            self.busy = true;
            return Some(frameset);
        }
        // Nothing is queued: request a wake-up. A frameset queued before that is found by one more poll, a later one
        // wakes. The end is read in between: the producer wakes the reader after it, and queues nothing after it.
        self.link_state().clear_notified();
        let ended = self.link_state().ended();
        let frameset = self.take_queued();
        self.busy = frameset.is_some();
        self.ended |= ended && !self.busy;
        frameset
    }

    fn take_queued(&mut self) -> Option<FrameSet> {
        self.end.take().unwrap_or_else(|refused| {
            let refusal = format!("the link from `{}` is closed: {refused}", self.from);
            log::error!("{refusal}");
            self.refusal = Some(refusal);
            self.ended = true;
            self.link_state().set_reader_ended();
            self.end.drop_queued();
            None
        })
    }

    fn drop_queued(&self) {
        let _step = self.link_state().reader_step();
        self.end.drop_queued();
    }
}
