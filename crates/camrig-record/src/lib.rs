//! Recording a rig, and running a rig on a recording: the processor `record`, the driver `replay`, and
//! commands about recordings. The processor `foxglove` shows a rig live in viewers of recordings.
//!
//! A recording is an MCAP file that other programs open too. This crate is registered as any crate of drivers and processors
//! is, by [`add_to`]; camrig does not depend on it. [`OpenRecording`] reads a recording in other programs.
#![forbid(unsafe_code)]

mod ahead;
mod bag;
mod cdr;
mod clock;
mod commands;
mod compression;
mod counted;
mod depth;
mod format;
mod fusion;
mod images;
mod live;
mod motion;
mod npy;
mod opened;
mod places;
mod read;
mod record;
mod replay;
mod ros;
mod sequence;
mod write;

use camrig::App;

pub use self::ahead::ReadAhead;
pub use self::opened::{OpenCamera, OpenRecording, RecordedFrameSet};
pub use self::places::FrameSetPlace;
pub use self::read::ReadError;
pub use self::replay::{Replay, ReplayOptions};
pub use self::sequence::Sequence;

/// Adds the processors `record` and `foxglove`, the driver `replay`, and the commands `recording`, `record` and `replay`.
#[must_use]
pub fn add_to(app: App) -> App {
    let app = app.driver::<Replay>("replay").processor("record", record::Record::new);
    let app = app.options::<record::OptionsAsWritten>("record");
    let app = app.actor("foxglove", live::Foxglove::new).options::<live::OptionsAsWritten>("foxglove");
    commands::add_to(app)
}
