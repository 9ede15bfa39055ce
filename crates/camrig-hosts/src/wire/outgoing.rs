//! The processor `wire-out`: sends the framesets of its input to another host.
//!
//! It is an ordinary reader: while the other host gives no credit, its queue fills, and the overflow policy of its input
//! applies.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use camrig::{
    FrameSet, LostReason, Processor, ProcessorError, ProcessorOptions, ProcessorOutput, WrongOptions,
};
use camrig_frame::{CameraInfo, Frame};
use schemars::JsonSchema;
use serde::Deserialize;
use zenoh::bytes::ZBytes;
use zenoh::sample::Sample;

use super::connection::Connection;
use super::credit::Sender;
use super::message::{self, Answer, Description, MessageKind};
use super::{Ends, check_key, keys, starting};
use crate::codec::{Coding, DEFAULT_MBPS, Encoder, WireCodec};
use crate::session::{self, SessionOptions};

/// Maximum time for which a sender waits for its reader at the start.
const START_TIME: Duration = Duration::from_secs(60);

/// Interval at which the input is checked while there is no credit.
const LOOK: Duration = Duration::from_millis(50);

/// Time without an acknowledgement after which the receiver is asked about the framesets in flight.
const ASK_AFTER: Duration = Duration::from_millis(500);

/// Time without any answer after which nothing is sent to the receiver: it would be lost.
const SILENCE: Duration = Duration::from_secs(2);

/// Maximum time without an answer that framesets wait for credit, and the end for its acknowledgement, after the input has
/// ended.
const END_WAIT: Duration = Duration::from_secs(5);

/// The same for a receiver that answers but accounts for nothing: its readers delay it.
const END_PROGRESS_WAIT: Duration = Duration::from_secs(30);

/// Time after the end of a receiver in which another one may follow, as after a change of the rig. Later the framesets have no
/// reader: they do not wait, since their producer may have to end.
const FOLLOW_TIME: Duration = Duration::from_secs(2);

/// Time without an answer, and without a session of a receiver, after which it has ended without a word: its host is off. A
/// cable that is cut for shorter loses only what is in flight.
const GONE_TIME: Duration = Duration::from_secs(60);

/// Maximum number of answers that wait to be read; more are dropped, since later ones have the same content.
const ANSWERS_MAX: usize = 64;

/// Maximum number of cameras whose description is kept.
const CAMERAS_MAX: usize = 64;

/// Options of the processor `wire-out`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WireOutOptions {
    /// The unique name of the crossing, the same at both ends.
    key: String,
    /// The session that carries it.
    #[serde(default)]
    session: SessionOptions,
    /// The codec of each stream: `raw`, `zstd`, `delta` or `jpeg:QUALITY`. The others follow from the rate.
    #[serde(default)]
    codecs: BTreeMap<String, WireCodec>,
    /// The rate of the network.
    #[serde(default = "default_mbps")]
    #[schemars(range(min = 1, max = 1_000_000), extend("x-unit" = "Mb/s"))]
    rate_mbps: u32,
}

fn default_mbps() -> u32 {
    DEFAULT_MBPS
}

impl ProcessorOptions for WireOutOptions {
    /// It waits for credit.
    const SHARES_THREAD: bool = false;

    fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if let Err(error) = check_key(&self.key) {
            wrong.add(["key"], error);
        }
        if let Err(error) = session::check(&self.session) {
            wrong.add(["session"], error.to_string());
        }
        wrong.or_ok()
    }
}

/// The processor. See the module.
pub(super) struct WireOut {
    options: WireOutOptions,
    connection: Connection,
    answers: Receiver<Answer>,
    /// The answer that arrived before the first frameset.
    first_answer: Option<Answer>,
    /// `None` before the first frameset.
    sender: Option<Sender>,
    /// Framesets without credit since the last one that was sent.
    unsent: u64,
    /// The descriptions that the receiver has.
    known: Vec<u64>,
    cameras: Vec<(Arc<CameraInfo>, Arc<Description>)>,
    encoder: Encoder,
    answered: Option<Instant>,
    /// Since when the receiver takes nothing more; `None` while it does, and when another one has followed.
    receiver_ended: Option<Instant>,
    /// When the receiver last accounted for a frameset, or the start.
    progressed: Instant,
    began: Instant,
    asked: Instant,
    /// Since when the input is known to have ended.
    ended: Option<Instant>,
    said_silent: bool,
}

/// The content of a frame that is sent as `raw`: the frameset is kept until Zenoh has sent it.
struct RawContent(FrameSet, usize);

impl AsRef<[u8]> for RawContent {
    fn as_ref(&self) -> &[u8] {
        camrig::HeldFrames::pixels(&self.0, self.1)
    }
}

impl WireOut {
    /// Opens the session.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn new(options: WireOutOptions) -> Result<Self, ProcessorError> {
        let (answers, receiver) = sync_channel(ANSWERS_MAX);
        let ends = Ends { reads: keys::credit(&options.key), writes: keys::data(&options.key) };
        let serves = Some(keys::clock(&options.key));
        let connection = Connection::open(&options.session, ends, serves, receive(answers))?;
        let first_answer = first_answer(&options.key, &receiver);
        Ok(Self {
            options,
            connection,
            answers: receiver,
            first_answer,
            sender: None,
            unsent: 0,
            known: Vec::new(),
            cameras: Vec::new(),
            encoder: Encoder::new()?,
            answered: None,
            receiver_ended: None,
            progressed: Instant::now(),
            began: Instant::now(),
            asked: Instant::now(),
            ended: None,
            said_silent: false,
        })
    }

    /// Returns the frameset's number on its link, after the sender is that of the link.
    fn number(&mut self, output: &ProcessorOutput) -> Result<u64, ProcessorError> {
        let input = output.inputs().next().ok_or("it has no input")?;
        let mut hasher = DefaultHasher::new();
        // Numbers begin again with a new link.
        (output.rig(), input.from, input.joined).hash(&mut hasher);
        let epoch = hasher.finish().max(1);
        if self.sender.as_ref().is_none_or(|sender| sender.epoch() != epoch) {
            self.sender = Some(Sender::new(epoch));
            self.known.clear();
        }
        Ok(input.counts.delivered)
    }

    fn description(&mut self, info: &Arc<CameraInfo>) -> Result<Arc<Description>, ProcessorError> {
        if let Some((_, known)) = self.cameras.iter().find(|(camera, _)| Arc::ptr_eq(camera, info)) {
            return Ok(Arc::clone(known));
        }
        let description = Description::of(info);
        let description = description.ok_or_else(|| format!("camera `{}` cannot be described", info.name))?;
        let description = Arc::new(description);
        if self.cameras.len() == CAMERAS_MAX {
            self.cameras.clear();
        }
        self.cameras.push((Arc::clone(info), Arc::clone(&description)));
        Ok(description)
    }

    fn encode(&mut self, frame: Frame<'_>) -> Option<(Coding, Vec<u8>)> {
        let named = self.options.codecs.get(frame.stream().name()).copied();
        let by_rate = || WireCodec::of_payload(frame.role(), frame.payload(), self.options.rate_mbps);
        let codec = named.unwrap_or_else(by_rate);
        self.encoder.encode(codec, frame)
    }

    /// Takes the answers that have arrived; waits at most `timeout` for one.
    fn take_answers(&mut self, timeout: Duration) -> Result<(), ProcessorError> {
        let mut next = self.first_answer.take();
        if next.is_none() {
            next = match self.answers.recv_timeout(timeout) {
                Ok(answer) => Some(answer),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Err("the session has ended".into()),
            };
        }
        while let (Some(answer), Some(sender)) = (next, &mut self.sender) {
            let before = sender.in_flight();
            let is_new = sender.acked(answer.ack);
            if is_new {
                log::info!("`{}` has a receiver", self.options.key);
            } else if self.said_silent {
                log::info!("the receiver of `{}` answers again", self.options.key);
            }
            self.said_silent = false;
            self.known = answer.known;
            self.answered = Some(Instant::now());
            if is_new {
                self.receiver_ended = None;
            }
            if answer.ends {
                // An earlier answer of it may still arrive.
                self.receiver_ended = self.receiver_ended.or(self.answered);
            }
            if sender.in_flight() < before {
                (self.asked, self.progressed) = (Instant::now(), Instant::now());
            } else if is_new {
                // Framesets sent to the receiver before it are lost: it is asked about them immediately.
                self.asked = Instant::now().checked_sub(ASK_AFTER).unwrap_or(self.asked);
            }
            next = self.answers.try_recv().ok();
        }
        Ok(())
    }

    fn may_send(&self, bytes: u64) -> bool {
        let answers = self.receiver_ended.is_none() && self.answered.is_some_and(|at| at.elapsed() < SILENCE);
        let has_credit = answers && self.sender.as_ref().is_some_and(|sender| sender.may_send(bytes));
        has_credit && self.connection.has_receiver()
    }

    /// Asks about the framesets in flight, if nothing was acknowledged for some time.
    fn ask(&mut self) {
        let place = self.sender.as_ref().and_then(Sender::probe);
        if let Some(place) = place.filter(|_| self.asked.elapsed() >= ASK_AFTER) {
            self.asked = Instant::now();
            self.connection.put(message::plain(MessageKind::Question, place).into());
        }
        let silent = self.answered.unwrap_or(self.began).elapsed();
        self.connection.reopen_if_silent(silent);
        let is_silent = self.answered.is_some() && self.receiver_ended.is_none() && silent >= SILENCE;
        if is_silent && !self.said_silent {
            self.said_silent = true;
            log::warn!(
                "the receiver of `{}` has not answered for {} s; framesets wait for it",
                self.options.key,
                SILENCE.as_secs()
            );
        }
    }

    /// Returns whether to stop waiting after the input has ended.
    fn gives_up(&self, ended: Instant) -> bool {
        self.receiver_ended.is_some() || is_in_vain(Instant::now(), ended, self.answered, self.progressed)
    }

    /// Returns whether the receiver takes nothing more, and no other one has followed in time.
    fn is_abandoned(&self) -> bool {
        is_abandoned(self.receiver_ended, self.answered, Instant::now(), || self.connection.has_receiver())
    }

    /// Counts the delivered framesets that no receiver will account for. One that has ended has said which it had accounted for;
    /// one that is not reachable may have accounted for all that were sent, so these stay in flight.
    fn count_lost(&self, delivered: u64, output: &ProcessorOutput) {
        let ended = self.sender.as_ref().filter(|_| self.receiver_ended.is_some());
        let lost = ended.map_or(self.unsent, |sender| sender.unaccounted(delivered));
        if lost > 0 {
            log::warn!("{lost} framesets on `{}` have no receiver", self.options.key);
            output.count_lost_framesets(LostReason::Wire, lost);
        }
    }

    /// Waits for credit for a frameset of this size; returns false if the receiver ends, or the input ends and there is no credit
    /// for some time.
    fn await_credit(&mut self, bytes: u64, output: &ProcessorOutput) -> Result<bool, ProcessorError> {
        self.take_answers(Duration::ZERO)?;
        if self.may_send(bytes) {
            return Ok(true);
        }
        if self.is_abandoned() {
            if self.receiver_ended.is_none() {
                // Its host may be back, but reachable only by a session that is opened again.
                output.blocked(|| self.ask());
            }
            return Ok(false);
        }
        output.blocked(|| {
            loop {
                self.take_answers(LOOK)?;
                if self.may_send(bytes) {
                    return Ok(true);
                }
                self.ask();
                if self.ended.is_none() && output.inputs().all(|input| input.ended) {
                    self.ended = Some(Instant::now());
                }
                if self.is_abandoned() || self.ended.is_some_and(|ended| self.gives_up(ended)) {
                    return Ok(false);
                }
            }
        })
    }
}

/// Waits for an answer while the part of the sender starts, within a bounded time: the receiver takes framesets from then on.
fn first_answer(key: &str, answers: &Receiver<Answer>) -> Option<Answer> {
    let until = Instant::now() + START_TIME;
    while starting::awaits_reader(key) {
        if Instant::now() >= until {
            log::warn!(
                "the receiver of `{key}` takes no framesets after {} s; the cameras start without it",
                START_TIME.as_secs()
            );
            break;
        }
        match answers.recv_timeout(LOOK) {
            Ok(answer) if !answer.ends => return Some(answer),
            Err(RecvTimeoutError::Disconnected) => return None,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
    None
}

/// Returns whether a receiver is silent for too long, or accounts for nothing for too long, after the input has ended.
fn is_in_vain(now: Instant, ended: Instant, answered: Option<Instant>, progressed: Instant) -> bool {
    let since = |last: Instant| now.saturating_duration_since(last.max(ended));
    since(answered.unwrap_or(ended)) >= END_WAIT || since(progressed) >= END_PROGRESS_WAIT
}

/// Returns whether there is no receiver any more: it has ended, or nothing is known of it.
fn is_abandoned(
    ended: Option<Instant>,
    answered: Option<Instant>,
    now: Instant,
    has_receiver: impl FnOnce() -> bool,
) -> bool {
    let since = |at: Instant| now.saturating_duration_since(at);
    ended.is_some_and(|at| since(at) >= FOLLOW_TIME)
        || answered.is_some_and(|at| since(at) >= GONE_TIME) && !has_receiver()
}

/// Returns the function that reads answers.
fn receive(answers: SyncSender<Answer>) -> impl Fn(Sample) + Send + Sync + 'static {
    move |sample| match Answer::of_bytes(&sample.payload().to_bytes()) {
        // A full queue has enough answers.
        Ok(answer) => drop(answers.try_send(answer)),
        Err(error) => log::warn!("an answer on `{}` is ignored: {error}", sample.key_expr()),
    }
}

impl Processor for WireOut {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let number = self.number(output)?;
        let description = self.description(frames.info())?;
        let coded: Vec<_> = frames.frames().map(|frame| self.encode(frame)).collect();
        let raw_bytes = |index: usize| frames.header().frames[index].size_bytes() as usize;
        if coded.len() != frames.header().frames.len() {
            return Err("a frame of the frameset cannot be read".into());
        }
        let size = |(index, coded): (usize, &Option<(Coding, Vec<u8>)>)| match coded {
            Some((coding, bytes)) => (*coding, bytes.len()),
            None => (Coding::Raw, raw_bytes(index)),
        };
        let sizes: Vec<_> = coded.iter().enumerate().map(size).collect();
        let bytes = sizes.iter().map(|(_, size)| *size as u64).sum();
        if !self.await_credit(bytes, output)? {
            self.unsent += 1;
            return Ok(());
        }
        let Some(sender) = &mut self.sender else { return Ok(()) };
        let described = !self.known.contains(&description.id);
        let head = message::frameset(
            sender.place(number),
            frames.header(),
            &description,
            described,
            sizes.into_iter(),
        );
        let mut writer = ZBytes::writer();
        writer.append(head.into());
        for (index, coded) in coded.into_iter().enumerate() {
            writer.append(match coded {
                Some((_, bytes)) => bytes.into(),
                None => Bytes::from_owner(RawContent(frames.clone(), index)).into(),
            });
        }
        if sender.in_flight() == 0 {
            self.asked = Instant::now();
        }
        sender.sent(number, bytes);
        // The receiver sees by the number which are missing before it.
        self.unsent = 0;
        let (connection, message) = (&self.connection, writer.finish());
        output.blocked(|| connection.put(message));
        Ok(())
    }

    /// Sends the number of framesets, and waits until the receiver has accounted for all; those that have no receiver any more
    /// are lost. Where only this processor ends, by a change of the rig, the receiver does not end: its producer continues, or
    /// another one replaces it.
    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let delivered = self.number(output)?;
        let begin = self.ended.unwrap_or_else(Instant::now);
        // Without a frameset, none was taken yet.
        self.take_answers(Duration::ZERO)?;
        let Some(place) = self.sender.as_ref().map(|sender| sender.place(delivered)) else { return Ok(()) };
        if self.answered.is_none() {
            self.count_lost(delivered, output);
            return Ok(());
        }
        let leaves = output.inputs().all(|input| input.reader_leaves);
        let kind = if leaves { MessageKind::Question } else { MessageKind::End };
        output.blocked(|| {
            let mut said: Option<Instant> = None;
            while !self.gives_up(begin) {
                if said.is_none_or(|at| at.elapsed() >= ASK_AFTER) {
                    said = Some(Instant::now());
                    self.connection.put(message::plain(kind, place).into());
                }
                self.take_answers(LOOK)?;
                if self.sender.as_ref().is_some_and(|sender| sender.is_acked(delivered)) {
                    return Ok(());
                }
            }
            if self.receiver_ended.is_some() {
                self.count_lost(delivered, output);
                return Ok(());
            }
            if self.is_abandoned() {
                self.count_lost(delivered, output);
            }
            log::warn!(
                "the receiver of `{}` has not acknowledged the end: no answer for {} s, or no frameset read for {} s",
                self.options.key,
                END_WAIT.as_secs(),
                END_PROGRESS_WAIT.as_secs()
            );
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framesets_wait_for_a_receiver_that_may_come_back() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        // Before the first answer there is no limit.
        assert!(!is_abandoned(None, None, at(1000), || false));
        // A cut cable, a machine that is off, and one that is slow.
        assert!(!is_abandoned(None, Some(begin), at(59), || false));
        assert!(is_abandoned(None, Some(begin), at(60), || false));
        assert!(!is_abandoned(None, Some(begin), at(60), || true));
        // One that has ended, and may have a successor.
        assert!(!is_abandoned(Some(begin), Some(begin), at(1), || false));
        assert!(is_abandoned(Some(begin), Some(begin), at(2), || true));
    }

    #[test]
    fn the_end_waits_as_long_as_framesets_are_read() {
        let ended = Instant::now();
        let at = |seconds: u64| ended + Duration::from_secs(seconds);
        // No answer at all, or an old one.
        assert!(!is_in_vain(at(4), ended, None, ended) && is_in_vain(at(5), ended, None, ended));
        assert!(is_in_vain(at(15), ended, Some(at(10)), at(10)));
        // A slow reader: a frameset in 10 s.
        assert!(!is_in_vain(at(60), ended, Some(at(59)), at(50)));
        // One that has stopped reading.
        assert!(
            !is_in_vain(at(29), ended, Some(at(29)), ended) && is_in_vain(at(30), ended, Some(at(29)), ended)
        );
    }
}
