//! What a user writes to look at framesets.

use schemars::JsonSchema;
use serde::Deserialize;

pub use crate::error::ProcessorError;
use crate::frameset::FrameSet;
use crate::inputs::Next;
use crate::output::ProcessorOutput;

/// A processor: called with each frameset of each of its inputs, one at a time, always on the same thread.
///
/// A `Processor<Match>` is called with each [`Match`](crate::Match) instead: one frameset of each camera, all of
/// the same instant. Its topology says with `match` what that is. A plain `Processor` whose topology has `match`
/// is called with the framesets of each match, one after another.
///
/// Registered with [`App::processor`](crate::App::processor). Whoever needs timers, own messages or
/// asynchronous work registers an actix actor with [`App::actor`](crate::App::actor) instead.
pub trait Processor<I: Input = FrameSet>: 'static {
    /// Looks at one frameset, or one match. What it publishes through `output` reaches the processors that name
    /// this one as an input.
    ///
    /// # Errors
    /// An error fails the processor.
    fn process(&mut self, input: &I, output: &mut ProcessorOutput) -> Result<(), ProcessorError>;

    /// Called once after the last frameset of all inputs.
    ///
    /// # Errors
    /// An error fails the processor.
    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let _ = output;
        Ok(())
    }
}

/// What a processor can be called with: a [`FrameSet`] or a [`Match`](crate::Match).
pub trait Input: Next {}

impl<I: Next> Input for I {}

/// The options of a driver or processor that has none: anything in `options` is refused.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}
