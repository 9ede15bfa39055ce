//! Framesets, frames and matches as Python objects.
//!
//! * `source`: a frameset of a rig or of a recording
//! * `frame`: one frame, as an array and with its calibration
//! * `set`: the frames of a frameset
//! * `points`: the points of a frameset
//! * `matched`: framesets of several cameras

mod frame;
mod matched;
mod points;
mod set;
mod source;

pub(crate) use frame::PyFrame;
pub(crate) use matched::PyMatch;
pub(crate) use set::PyFrameSet;
pub(crate) use source::Source;
