//! A processor's output, for framesets that it computes, forwards or creates; and the status of its inputs.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camrig_frame::{CameraInfo, Name, Origins, StreamInfo, one_line};
use camrig_ipc::{LostReason, MAX_SOURCES};
use camrig_status::PROGRESS_CHARACTERS_MAX;

use super::publisher::{FrameSetOrigin, Publisher};
use super::{FrameHeaders, InputLinkStatus, Loan, OutputError};
use crate::frameset::FrameSet;
use crate::inputs::InputLink;
use crate::matching::{Match, MatchStats, MatchStatus};

/// The most warnings of a processor in this time: they are messages to the supervisor.
const WARNINGS_IN_PERIOD: u32 = 16;
const WARNING_PERIOD: Duration = Duration::from_secs(60);

/// The least time between two texts about a processor's progress.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);

/// The streams that a processor declares for one of its inputs; `None` if they are not known. The error names the stream
/// that the input lacks.
pub type Declared = Result<Option<Vec<StreamInfo>>, String>;

/// Returns the streams that are derived from framesets with the given ones.
type Declare = Box<dyn Fn(&[StreamInfo]) -> Declared>;

/// Publishes a processor's framesets, and gives access to the status of its inputs.
pub struct ProcessorOutput {
    publisher: Publisher,
    inputs: InputStatus,
    /// The first declaration that is not `None` applies.
    declare: Vec<Declare>,
    /// Cameras that framesets were derived from, each with the declaration of those.
    declared: Vec<(Arc<CameraInfo>, Arc<CameraInfo>)>,
    warnings: Warnings,
    progress: Progress,
}

/// Takes what a processor says of its progress.
struct Progress {
    take: Box<dyn Fn(String)>,
    text: String,
    said_at: Option<Instant>,
}

/// Takes the warnings of a processor.
struct Warnings {
    take: Box<dyn Fn(String)>,
    /// The beginning of the present period, and the number of warnings in it.
    period: Instant,
    count: u32,
}

/// The status of a processor's inputs.
#[derive(Clone, Default)]
pub(crate) struct InputStatus {
    /// The name of the rig's status socket.
    pub(crate) rig: Arc<str>,
    /// The text of the topology.
    pub(crate) topology: Arc<str>,
    /// Each input's actor and link.
    pub(crate) links: Vec<InputLink>,
    /// The matching of the inputs, if they are matched.
    pub(crate) matching: Option<Arc<MatchStats>>,
}

impl ProcessorOutput {
    pub(crate) fn new(publisher: Publisher, inputs: InputStatus) -> Self {
        let warnings = Warnings { take: Box::new(|_| {}), period: Instant::now(), count: 0 };
        let progress = Progress { take: Box::new(|_| {}), text: String::new(), said_at: None };
        Self { publisher, inputs, declare: Vec::new(), declared: Vec::new(), warnings, progress }
    }

    /// Passes warnings to this function.
    pub(crate) fn warning(mut self, take: impl Fn(String) + 'static) -> Self {
        self.warnings.take = Box::new(take);
        self
    }

    /// Passes progress to this function.
    pub(crate) fn progressing(mut self, take: impl Fn(String) + 'static) -> Self {
        self.progress.take = Box::new(take);
        self
    }

    /// Describes derived framesets by these declarations, unless an earlier one applies.
    pub(crate) fn declaring(mut self, declare: impl Fn(&[StreamInfo]) -> Declared + 'static) -> Self {
        self.declare.push(Box::new(declare));
        self
    }

    /// Returns the actor's name.
    pub fn name(&self) -> &str {
        self.publisher.name()
    }

    /// Returns the text of the rig's topology; empty in tests of a processor alone.
    pub fn topology(&self) -> &str {
        &self.inputs.topology
    }

    /// Returns the name under which the status of the whole rig can be read, for example by `camrig top`.
    pub fn rig(&self) -> &str {
        &self.inputs.rig
    }

    /// Returns the current status of the input links.
    pub fn inputs(&self) -> impl Iterator<Item = InputLinkStatus<'_>> {
        self.inputs.links.iter().filter_map(|input| {
            let link_state = input.link_state()?;
            Some(InputLinkStatus {
                from: &input.from,
                joined: link_state.joined(),
                counts: link_state.counts(),
                latency: link_state.latency(),
                ended: link_state.ended(),
                reader_leaves: link_state.reader_leaves(),
            })
        })
    }

    /// Returns the counts of the inputs' matching so far, if the topology contains `match`.
    pub fn matching(&self) -> Option<MatchStatus<'_>> {
        self.inputs.matching.as_ref().map(|stats| stats.status())
    }

    /// Warns the user of the rig of a fact, such as a camera that has moved: it is in the log, the status, the report, the
    /// metrics and the page of `view`. The processor goes on. At most 16 warnings a minute are passed on; the log says
    /// when there are more.
    pub fn warn(&mut self, fact: impl Display) {
        let Warnings { take, period, count } = &mut self.warnings;
        if period.elapsed() >= WARNING_PERIOD {
            (*period, *count) = (Instant::now(), 0);
        }
        *count += 1;
        match *count {
            ..=WARNINGS_IN_PERIOD => take(one_line(fact)),
            count if count == WARNINGS_IN_PERIOD + 1 => {
                log::warn!("more than {WARNINGS_IN_PERIOD} warnings in a minute: the others are left out");
            }
            _ => {}
        }
    }

    /// Tells the user of the rig what the processor is doing at the moment, in a few lines: they are in the status and on the
    /// page of `view`. Call it again and again: a text that is new is passed on at most twice a second, and its first
    /// 2000 characters only.
    pub fn tell(&mut self, text: impl Display) {
        let Progress { take, text: last, said_at } = &mut self.progress;
        if said_at.is_some_and(|at| at.elapsed() < PROGRESS_PERIOD) {
            return;
        }
        let text: String = text.to_string().chars().take(PROGRESS_CHARACTERS_MAX).collect();
        if text != *last {
            *said_at = Some(Instant::now());
            last.clone_from(&text);
            take(text);
        }
    }

    /// Calls `wait`, which waits for something outside of the rig, such as another host: the processor is not stalled then,
    /// however long it takes. It must end soon after the [inputs](Self::inputs) have ended.
    pub fn blocked<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.publisher.blocked(wait)
    }

    /// Counts framesets of its input that were taken and can reach nobody, such as those for another host whose readers have
    /// ended.
    pub fn count_lost_framesets(&self, reason: LostReason, framesets: u64) {
        self.publisher.counters().count_lost(reason, framesets);
    }

    /// Lends a slot for a frameset made from `origin`, whose camera, arrival time and match it inherits. Its streams are
    /// those that the processor [declares](crate::Processor::declare), or else those of `origin`. Returns `None` if all
    /// slots are in use, and counts the frameset as dropped.
    ///
    /// # Errors
    /// If the headers do not form a valid frameset, or the limit of cameras is exceeded.
    pub fn derive(&mut self, origin: &FrameSet, frames: FrameHeaders) -> Result<Option<Loan>, OutputError> {
        let source = self.source_of(origin.info())?;
        let (arrival_nanos, matched) = (origin.arrival_nanos(), origin.header().matched);
        let origins = origin.header().origins.clone();
        Ok(self.publisher.loan(FrameSetOrigin { source, arrival_nanos, matched, origins }, frames)?.slot())
    }

    /// Returns the number of the source of framesets that are derived from this camera's.
    fn source_of(&mut self, camera: &Arc<CameraInfo>) -> Result<usize, OutputError> {
        if let Some((_, declared)) = self.declared.iter().find(|(known, _)| Arc::ptr_eq(known, camera)) {
            return self.publisher.source(declared);
        }
        // The processor itself reports missing streams, when it is called.
        let declared = self.declare.iter().find_map(|declare| declare(&camera.streams).transpose());
        let declared = match declared {
            Some(Ok(streams)) if streams != camera.streams => {
                Arc::new(CameraInfo { streams, ..CameraInfo::clone(camera) })
            }
            _ => Arc::clone(camera),
        };
        let source = self.publisher.source(&declared)?;
        if self.declared.len() == MAX_SOURCES {
            self.declared.clear();
        }
        self.declared.push((Arc::clone(camera), declared));
        Ok(source)
    }

    /// Lends a slot for a frameset that the processor created: readers see `source` as its camera. Latency is
    /// measured from `arrival_nanos`, a time of [`monotonic_nanos`](crate::monotonic_nanos). Keep the `Arc`:
    /// framesets with the same `Arc` belong to the same source. Returns `None` if all slots are in use, and
    /// counts the frameset as dropped.
    ///
    /// # Errors
    /// If the headers do not form a valid frameset, the source has no name, or the limit of sources is exceeded.
    pub fn loan(
        &mut self,
        source: &Arc<CameraInfo>,
        arrival_nanos: u64,
        frames: FrameHeaders,
    ) -> Result<Option<Loan>, OutputError> {
        self.loan_own(source, arrival_nanos, None, Origins::NONE, frames)
    }

    /// Lends a slot for a frameset made from a whole match: like [`Self::loan`], with the number of the match and
    /// the latest arrival time of its framesets. Readers find the framesets of the match in
    /// [`FrameSet::origins`](crate::FrameSet::origins).
    ///
    /// # Errors
    /// As for [`Self::loan`]; also if the match has more framesets than the maximum number of origins.
    pub fn derive_match(
        &mut self,
        source: &Arc<CameraInfo>,
        matched: &Match,
        frames: FrameHeaders,
    ) -> Result<Option<Loan>, OutputError> {
        let last = matched.framesets().iter().map(FrameSet::arrival_nanos).max();
        let origins = origins(matched)?;
        self.loan_own(source, last.unwrap_or_default(), Some(matched.number()), origins, frames)
    }

    fn loan_own(
        &mut self,
        source: &Arc<CameraInfo>,
        arrival_nanos: u64,
        matched: Option<u64>,
        origins: Origins,
        frames: FrameHeaders,
    ) -> Result<Option<Loan>, OutputError> {
        if source.name.is_empty() {
            return Err(OutputError::Unnamed);
        }
        let source = self.publisher.source(source)?;
        Ok(self.publisher.loan(FrameSetOrigin { source, arrival_nanos, matched, origins }, frames)?.slot())
    }

    /// Publishes a loan after all its frames have been written.
    pub fn publish(&mut self, loan: Loan) {
        self.publisher.publish(loan);
    }

    /// Forwards an unmodified frameset with the next sequence number of this actor.
    ///
    /// Readers in this process share the frames: nothing is copied, and the frameset is kept in place until they
    /// drop it. If a reader is in another process, the frames are copied once, into a slot of this actor that all
    /// readers share; the report and the status count such framesets as `copied`. As many forwarded framesets as
    /// the actor has slots can be alive at the same time; further ones count as dropped.
    ///
    /// # Errors
    /// If the limit of cameras is exceeded.
    pub fn forward(&mut self, frameset: &FrameSet) -> Result<(), OutputError> {
        self.publisher.forward(frameset, frameset.header().matched)
    }

    /// Forwards the framesets of a match, one after another, each as by [`Self::forward`], with the match's
    /// number: see [`FrameSetHeader::matched`](crate::frame::FrameSetHeader::matched).
    ///
    /// # Errors
    /// If the limit of cameras is exceeded.
    pub fn forward_match(&mut self, matched: &Match) -> Result<(), OutputError> {
        let number = Some(matched.number());
        matched.framesets().iter().try_for_each(|frameset| self.publisher.forward(frameset, number))
    }
}

/// Returns the camera, sequence number and capture time of each frameset of a match.
fn origins(matched: &Match) -> Result<Origins, OutputError> {
    let origin = |frames: &FrameSet| -> Result<_, OutputError> {
        let camera = Name::new(frames.camera()).map_err(|_| OutputError::Origins)?;
        Ok(camrig_frame::Origin { camera, sequence: frames.sequence(), timestamp: frames.timestamp() })
    };
    let origins: Vec<_> = matched.framesets().iter().map(origin).collect::<Result<_, OutputError>>()?;
    Origins::new(&origins).ok_or(OutputError::Origins)
}
