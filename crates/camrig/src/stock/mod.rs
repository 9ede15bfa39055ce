//! The stock processors that every program has, and the driver `python`.

pub(crate) mod attached;
pub(crate) mod csv;
mod match_lines;
mod matches;
mod merge;
pub(crate) mod pcd;
pub(crate) mod ply;
pub(crate) mod pointcloud;
pub(crate) mod python;
pub(crate) mod snapshot;
mod sources;
pub(crate) mod stats;
pub(crate) mod verify;
mod watch_poses;

use camrig_image::LightImage;

use crate::frameset::FrameSet;
use crate::output::ProcessorOutput;
use crate::processor::{NoOptions, Processor, ProcessorError};
use crate::registry::Registry;

/// Registers every stock processor, in the way of user-defined ones.
pub(crate) fn register(registry: &mut Registry) {
    registry.add_processor(attached::KIND, |_: attached::AttachedOptions| {
        Err::<Elsewhere, _>("it runs in the program that has attached only".into())
    });
    registry.add_options::<attached::AttachedOptions>(attached::KIND);
    registry.add_processor("match", |_: NoOptions| Ok(matches::ForwardMatches));
    registry.add_processor("merge", |options| Ok(merge::Merge::new(options)));
    registry.add_options::<merge::Options>("merge");
    registry.add_processor("pointcloud", |options| Ok(pointcloud::Pointcloud::new(options)));
    registry.add_processor("python", |options: python::PythonOptions| {
        Err::<Elsewhere, _>(options.elsewhere().into())
    });
    registry.add_options::<python::PythonOptions>("python");
    registry.add_driver::<python::PythonCamera>("python");
    registry.add_processor("snapshot", snapshot::Snapshot::new);
    registry.add_options::<snapshot::OptionsAsWritten>("snapshot");
    registry.add_processor("stats", |options| Ok(stats::Stats::new(options)));
    registry.add_processor("verify", |options| Ok(verify::Verify::new(options)));
    registry.add_processor("watch-poses", watch_poses::WatchPoses::new);
    registry.add_options::<watch_poses::Options>("watch-poses");
}

/// A placeholder for a processor that this program cannot run.
struct Elsewhere;

impl Processor for Elsewhere {
    fn process(&mut self, _: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(())
    }
}

/// Returns the color image. One that cannot be decoded is logged: a camera may send a damaged JPEG occasionally, which must not
/// end a rig.
fn color_or_warning(frames: &FrameSet) -> Option<LightImage<'_>> {
    frames
        .color_image()
        .inspect_err(|error| {
            let (sequence, camera) = (frames.sequence(), frames.camera());
            log::warn!("the color of frameset {sequence} of `{camera}` does not decode: {error}");
        })
        .ok()
        .flatten()
}
