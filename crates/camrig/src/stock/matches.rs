//! The stock processor `match`: passes on what belongs together, and nothing else.
//!
//! The framesets of a match are published one after another, in the order of the inputs, each as it was taken and
//! all under the match's number: see [`FrameSetHeader::matched`](camrig_frame::FrameSetHeader::matched). Whoever reads
//! them one by one sees matched framesets only. Whoever wants the matches themselves has `match` in its own table, and
//! finds the same (an `estimated` clock is estimated again there, which takes half a second). It deliberately does no
//! matching: its inputs do.

use crate::matching::Match;
use crate::output::ProcessorOutput;
use crate::processor::{Processor, ProcessorError};

/// Publishes each match.
pub(crate) struct PassOn;

impl Processor<Match> for PassOn {
    fn process(&mut self, matched: &Match, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(output.forward_match(matched)?)
    }
}
