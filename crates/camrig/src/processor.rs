//! The interface of user-defined processors.

use camrig_frame::StreamInfo;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use crate::error::ProcessorError;
use crate::error::WrongOptions;
use crate::frameset::FrameSet;
use crate::inputs::Next;
pub use crate::output::Declared;
use crate::output::ProcessorOutput;

/// A processor: called with each frameset of its inputs, one at a time, always on the same thread.
///
/// A `Processor<Match>` is called with each [`Match`](crate::Match) instead: one frameset of each camera, all
/// captured at the same time. Its topology defines the window with `match`. A plain `Processor` whose topology
/// contains `match` is called with the framesets of each match, one after another.
///
/// Register it with [`App::processor`](crate::App::processor). For timers, custom messages or asynchronous work,
/// register an actix actor with [`App::actor`](crate::App::actor) instead.
pub trait Processor<I: Input = FrameSet>: 'static {
    /// Processes one frameset, or one match. Its output, published through `output`, is sent to the processors
    /// that have this one as an input.
    ///
    /// # Errors
    /// An error fails the processor.
    fn process(&mut self, input: &I, output: &mut ProcessorOutput) -> Result<(), ProcessorError>;

    /// Declares the streams of the framesets that the processor [derives](ProcessorOutput::derive) from framesets with the
    /// streams `input`, each with its largest frame. Returns `None` when they are not known before the first one, which is the
    /// default: derived framesets are then described like their origin. `camrig check` computes the memory from the
    /// declaration, and readers find it in [`FrameSet::info`](crate::FrameSet::info). A processor that only forwards declares
    /// `input` itself, and one that publishes nothing an empty list. For a match it is called with the streams of each camera.
    /// Where the streams depend on the options, [`ProcessorOptions`] declares them.
    ///
    /// # Errors
    /// If `input` lacks a stream that the processor needs, with a text such as `it has no depth`: `camrig check` shows it.
    fn declare(input: &[StreamInfo]) -> Declared
    where
        Self: Sized,
    {
        let _ = input;
        Ok(None)
    }

    /// Called once after the last frameset of all inputs; not after an error or a panic, nor when the supervisor has died.
    ///
    /// # Errors
    /// An error fails the processor.
    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let _ = output;
        Ok(())
    }
}

/// The properties of a kind that follow from its options alone, before anything starts. All methods have defaults.
///
/// ```
/// use camrig::prelude::*;
/// use camrig::{ProcessorOptions, WrongOptions};
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// #[schemars(crate = "camrig::schemars")]
/// #[serde(deny_unknown_fields)]
/// struct Options {
///     /// Distances between these are reported.
///     near: f32,
///     far: f32,
/// }
///
/// impl ProcessorOptions for Options {
///     fn check(&self) -> Result<(), WrongOptions> {
///         let mut wrong = WrongOptions::default();
///         if self.far <= self.near {
///             wrong.add(["far", "near"], format!("`far` is {}; it must be more than `near`", self.far));
///         }
///         wrong.or_ok()
///     }
/// }
///
/// struct Within(Options);
///
/// impl Processor for Within {
///     fn process(&mut self, _: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
///         Ok(())
///     }
/// }
///
/// App::new().processor("within", |options: Options| Ok(Within(options))).options::<Options>("within");
/// ```
pub trait ProcessorOptions: DeserializeOwned + JsonSchema + 'static {
    /// Whether the processor may be on the thread of its camera, which captures nothing during its calls. False for a
    /// processor whose calls wait for something else than its input, such as a network.
    const SHARES_THREAD: bool = true;

    /// Maximum number of framesets of each input that the processor may keep, beside the one that it is called with: those who
    /// publish them get so many more slots.
    const KEEPS: usize = 0;

    /// Checks the options without accessing any file or device.
    ///
    /// # Errors
    /// Each option that is wrong, with the fact and the choices.
    fn check(&self) -> Result<(), WrongOptions> {
        Ok(())
    }

    /// Checks that the files and folders of the options exist, such as the folder of an output. `camrig check
    /// --no-devices` does not call it.
    ///
    /// # Errors
    /// Each option that is wrong, with the fact.
    fn probe(&self) -> Result<(), WrongOptions> {
        Ok(())
    }

    /// Returns the command of the process that runs it, where that is another program than this one: the program and its
    /// arguments. Such a processor is in a process of its own, or in one with others of the same command.
    fn command(&self) -> Option<Vec<String>> {
        None
    }

    /// As [`Processor::declare`], which is asked when this returns `None`, as by default.
    ///
    /// # Errors
    /// If `input` lacks a stream that the processor needs.
    fn declare(&self, input: &[StreamInfo]) -> Declared {
        let _ = input;
        Ok(None)
    }
}

/// The input type of a processor: a [`FrameSet`] or a [`Match`](crate::Match).
pub trait Input: Next {}

impl<I: Next> Input for I {}

/// The options of a driver or processor without options: anything in `options` is rejected.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}
