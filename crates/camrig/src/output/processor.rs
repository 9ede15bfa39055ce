//! A processor's output: what it makes of its inputs, passes on, or makes itself; and the status of its inputs.

use std::sync::Arc;

use camrig_frame::{CameraInfo, Name, Origins};
use camrig_ipc::LinkState;

use super::publisher::{Origin, Publisher};
use super::{FrameHeaders, LinkStatus, Loan, OutputError};
use crate::frameset::FrameSet;
use crate::matching::{Match, MatchStats, MatchStatus};

/// Where a processor publishes framesets, and learns the status of its inputs.
pub struct ProcessorOutput {
    publisher: Publisher,
    inputs: InputStatus,
}

/// The status of a processor's inputs.
#[derive(Clone, Default)]
pub(crate) struct InputStatus {
    /// The name of the rig's status socket.
    pub(crate) rig: Arc<str>,
    /// Each input's actor and link.
    pub(crate) links: Vec<(String, Arc<LinkState>)>,
    /// What the matching came to, where the inputs are matched.
    pub(crate) matching: Option<Arc<MatchStats>>,
}

impl ProcessorOutput {
    pub(crate) fn new(publisher: Publisher, inputs: InputStatus) -> Self {
        Self { publisher, inputs }
    }

    /// Returns the actor's name.
    pub fn name(&self) -> &str {
        self.publisher.name()
    }

    /// Returns the name under which the status of the whole rig can be read, as `camrig top` does.
    pub fn rig(&self) -> &str {
        &self.inputs.rig
    }

    /// Returns the input links as they are now.
    pub fn inputs(&self) -> impl Iterator<Item = LinkStatus<'_>> {
        self.inputs.links.iter().map(|(from, link_state)| LinkStatus {
            from,
            counts: link_state.counts(),
            latency: link_state.latency(),
        })
    }

    /// Returns the counts of the inputs' matching so far, where the topology has `match`.
    pub fn matching(&self) -> Option<MatchStatus<'_>> {
        self.inputs.matching.as_ref().map(|stats| stats.status())
    }

    /// Lends a slot for a frameset that is made from `origin`, whose camera, arrival and match it keeps. Returns `None`
    /// when every slot is held, and counts the frameset as dropped.
    ///
    /// # Errors
    /// When the headers are not those of a frameset, or it is of one camera too many.
    pub fn derive(&mut self, origin: &FrameSet, frames: FrameHeaders) -> Result<Option<Loan>, OutputError> {
        let source = self.publisher.source(origin.info())?;
        let (arrival_nanos, matched) = (origin.arrival_nanos(), origin.header().matched);
        let origins = origin.header().origins.clone();
        Ok(self.publisher.loan(Origin { source, arrival_nanos, matched, origins }, frames)?.slot())
    }

    /// Lends a slot for a frameset of the processor's own: readers see `source` as its camera. `arrival_nanos` is the
    /// time of [`monotonic_nanos`](crate::monotonic_nanos) from which the latency is counted. Keep the `Arc`: framesets
    /// with the same one are of the same source. Returns `None` when every slot is held, and counts the frameset as
    /// dropped.
    ///
    /// # Errors
    /// When the headers are not those of a frameset, the source has no name, or it is one source too many.
    pub fn loan(
        &mut self,
        source: &Arc<CameraInfo>,
        arrival_nanos: u64,
        frames: FrameHeaders,
    ) -> Result<Option<Loan>, OutputError> {
        self.loan_own(source, arrival_nanos, None, Origins::NONE, frames)
    }

    /// Lends a slot for a frameset that is made from a whole match: as [`Self::loan`], under the match's number, with
    /// the arrival of the frameset that came last. Readers find the match's framesets in
    /// [`FrameSet::origins`](crate::FrameSet::origins).
    ///
    /// # Errors
    /// As [`Self::loan`]; also when the match has more framesets than a frameset can have origins.
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
        Ok(self.publisher.loan(Origin { source, arrival_nanos, matched, origins }, frames)?.slot())
    }

    /// Publishes a loan whose frames are all written.
    pub fn publish(&mut self, loan: Loan) {
        self.publisher.publish(loan);
    }

    /// Passes on a frameset as it is, under the next sequence number of this actor.
    ///
    /// Readers in this process share the frames: nothing is copied, and the frameset is held where it is until they drop
    /// it. With a reader in another process the frames are copied once, into a slot of this actor's, which all readers
    /// share; the report and the status count such framesets as `copied`. As many framesets as the actor has slots can
    /// be passed on and not dropped; one more counts as dropped.
    ///
    /// # Errors
    /// When framesets of too many cameras are passed on.
    pub fn forward(&mut self, frameset: &FrameSet) -> Result<(), OutputError> {
        self.publisher.forward(frameset, frameset.header().matched)
    }

    /// Passes on the framesets of a match, one after another, each as [`Self::forward`] does, under the match's number:
    /// see [`FrameSetHeader::matched`](crate::frame::FrameSetHeader::matched).
    ///
    /// # Errors
    /// When framesets of too many cameras are passed on.
    pub fn forward_match(&mut self, matched: &Match) -> Result<(), OutputError> {
        let number = Some(matched.number());
        matched.framesets().iter().try_for_each(|frameset| self.publisher.forward(frameset, number))
    }
}

/// Returns the camera, sequence and time of each frameset of a match.
fn origins(matched: &Match) -> Result<Origins, OutputError> {
    let origin = |frames: &FrameSet| -> Result<_, OutputError> {
        let camera = Name::new(frames.camera()).map_err(|_| OutputError::Origins)?;
        Ok(camrig_frame::Origin { camera, sequence: frames.sequence(), timestamp: frames.timestamp() })
    };
    let origins: Vec<_> = matched.framesets().iter().map(origin).collect::<Result<_, OutputError>>()?;
    Origins::new(&origins).ok_or(OutputError::Origins)
}
