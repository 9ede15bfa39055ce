//! The stock processor `match`: forwards matches, and nothing else.
//!
//! The framesets of a match are published unmodified, one after another, in the order of the inputs, all with the
//! match's number: see [`FrameSetHeader::matched`](camrig_frame::FrameSetHeader::matched). A reader of single
//! framesets receives only matched ones. A reader of matches has `match` in its own table, and gets the same matches
//! (an `estimated` clock is estimated again there, which takes half a second). The matching itself is done by the
//! inputs.

use camrig_frame::StreamInfo;

use crate::matching::Match;
use crate::output::ProcessorOutput;
use crate::processor::{Declared, Processor, ProcessorError};

/// Publishes each match.
pub(crate) struct ForwardMatches;

impl Processor<Match> for ForwardMatches {
    fn declare(input: &[StreamInfo]) -> Declared {
        Ok(Some(input.to_vec()))
    }

    fn process(&mut self, matched: &Match, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(output.forward_match(matched)?)
    }
}
