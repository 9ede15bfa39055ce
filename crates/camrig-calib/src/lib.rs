//! Calibration of a rig: the poses of its cameras in the coordinates of one of them.
//!
//! * [`Board`], [`Sheet`]: the board that is printed and shown to the cameras
//! * [`Detector`]: the corners of a board in an image
//! * [`calibrate()`], [`calibrate_lenses`]: from corners to poses
//! * [`choose_moments`]: which pictures of many are used
//! * [`Capture`]: the same of live cameras, as their pictures come
//! * [`Scale`]: depth as a check of the board's scale
//! * [`RigCalibration`]: the file of a calibrated rig, and its exports
//!
//! It does not depend on files, recordings or topologies: it takes images as bytes, and returns values and text.
#![forbid(unsafe_code)]

mod april_grid;
mod board;
mod board_error;
mod board_pose;
mod bundle;
mod capture;
mod detect;
mod drawing;
mod export;
mod file;
mod graph;
mod lens;
mod median;
mod pose;
mod print;
mod scale;
mod select;
mod solve;
mod tags;
#[cfg(test)]
mod tests;

pub use self::board::Board;
pub use self::board_error::BoardError;
pub use self::capture::{BoardState, Capture, CaptureStatus, SeeingCamera};
pub use self::detect::{Corner, Detector};
pub use self::drawing::Rect;
pub use self::export::ExportFormat;
pub use self::file::{CalibratedCamera, FileError, Identity, Optics, RigCalibration};
pub use self::pose::Pose;
pub use self::print::Sheet;
pub use self::scale::{Scale, ViewDepth, expected_depth, view_depth};
pub use self::select::{Seen, choose_moments};
pub use self::solve::{
    LensCheck, Solution, SolveError, SolvedPose, UncalibratedCamera, View, calibrate, calibrate_lenses,
};
