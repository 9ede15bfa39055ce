//! For unit tests of processors: framesets with given pixels, and an output that collects the published framesets.
//!
//! ```
//! use camrig::frame::{PixelFormat, Stream};
//! use camrig::prelude::*;
//! use camrig::testing::{TestCamera, TestOutput};
//!
//! /// Forwards framesets with something nearer than a metre in their center.
//! struct Near;
//!
//! impl Processor for Near {
//!     fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
//!         let depth = frames.depth().ok_or("the camera has no depth")?;
//!         if depth.center_meters().is_some_and(|meters| meters < 1.0) {
//!             output.forward(frames)?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let mut camera = TestCamera::new("front", &[(Stream::DEPTH, PixelFormat::Z16, "2x2@30")]);
//! let mut output = TestOutput::new("near");
//! for millimeters in [500_u16, 1500] {
//!     let pixels = [millimeters; 4].map(u16::to_le_bytes).concat();
//!     Near.process(&camera.frameset(0, &[&pixels]), output.output())?;
//! }
//! let published = output.published();
//! assert_eq!(published.len(), 1);
//! assert_eq!(published[0].depth().and_then(|depth| depth.center_meters()), Some(0.5));
//! # Ok::<(), ProcessorError>(())
//! ```
//!
//! A frameset takes the same path as in a rig, through a [`CameraOutput`] and a link inside the process, so that a test reads
//! frames as a processor does. No driver, no thread and no other process is involved.
#![allow(clippy::unwrap_used)] // An error fails the test.

use std::cell::RefCell;
#[cfg(test)]
use std::fs;
#[cfg(test)]
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use camrig_frame::{CameraInfo, Clock, PixelFormat, Stream, StreamInfo, Timestamp};
use camrig_ipc::{ActorCounters, LinkState, Overflow};
#[cfg(test)]
use camrig_usb::UsbTree;
#[cfg(test)]
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::frameset::FrameSet;
use crate::inputs::InputLink;
use crate::link::{LocalLink, ProducerEnd};
#[cfg(test)]
use crate::matching::MatchStats;
use crate::output::{CameraOutput, Declared, InputStatus, OutputLinks, ProcessorOutput, Publisher, Wiring};

/// Maximum number of framesets of one camera, or of one output, that a test can hold at the same time.
pub const SLOTS: usize = 8;

/// A camera whose framesets hold the pixels that the test gives.
pub struct TestCamera {
    info: CameraInfo,
    output: CameraOutput,
    link: Arc<LocalLink>,
}

impl TestCamera {
    /// Creates a camera with a stream of each of these formats and profiles, such as `640x480@30`, and a depth unit of a
    /// millimetre.
    ///
    /// # Panics
    /// If a profile is invalid.
    pub fn new(name: &str, streams: &[(Stream, PixelFormat, &str)]) -> Self {
        Self::with_depth_unit(name, streams, 0.001)
    }

    /// Creates a camera with another depth unit.
    ///
    /// # Panics
    /// If a profile is invalid.
    pub fn with_depth_unit(
        name: &str,
        streams: &[(Stream, PixelFormat, &str)],
        depth_unit_meters: f32,
    ) -> Self {
        let stream = |&(stream, format, profile): &(Stream, PixelFormat, &str)| {
            StreamInfo::image(stream, format, profile.parse().unwrap())
        };
        Self::with_streams(name, streams.iter().map(stream).collect(), depth_unit_meters)
    }

    /// Creates a camera with these streams, of any payload, with or without calibration.
    ///
    /// # Panics
    /// If they form no valid frameset.
    pub fn with_streams(name: &str, streams: Vec<StreamInfo>, depth_unit_meters: f32) -> Self {
        Self::of(CameraInfo {
            name: name.to_owned(),
            driver: "test".to_owned(),
            depth_unit_meters,
            streams,
            ..CameraInfo::default()
        })
    }

    /// Creates a camera with this description, such as one with a pose.
    ///
    /// # Panics
    /// If its streams form no valid frameset.
    pub fn of(info: CameraInfo) -> Self {
        let link = local_link(Overflow::DropOldest, 1);
        let publisher = publisher(&info.name, vec![Arc::clone(&link) as _]);
        let output = CameraOutput::new(publisher, info.clone()).unwrap();
        Self { info, output, link }
    }

    /// Returns the next frameset: the bytes of each stream, in the order of the camera's streams. This arrival time is also its
    /// timestamp, of the clock [`Clock::System`].
    ///
    /// # Panics
    /// If the bytes are not as many as the profiles need, or the test holds all [slots](SLOTS).
    pub fn frameset(&mut self, arrival_nanos: u64, pixels: &[&[u8]]) -> FrameSet {
        self.stamped(Timestamp { clock: Clock::System, nanos: arrival_nanos }, pixels)
    }

    /// Returns the next frameset, with a timestamp of any clock, at which it arrives too.
    ///
    /// # Panics
    /// As [`Self::frameset`].
    pub fn stamped(&mut self, timestamp: Timestamp, pixels: &[&[u8]]) -> FrameSet {
        self.arriving(timestamp.nanos, timestamp, pixels)
    }

    /// Returns the next frameset, with a timestamp of any clock, which arrives at another time.
    pub(crate) fn arriving(
        &mut self,
        arrival_nanos: u64,
        timestamp: Timestamp,
        pixels: &[&[u8]],
    ) -> FrameSet {
        assert_eq!(pixels.len(), self.info.streams.len(), "images for the streams of `{}`", self.info.name);
        let number = self.output.produced();
        let headers = self.info.streams.iter().map(|stream| stream.header(number, timestamp)).collect();
        let mut loan = self.output.loan(arrival_nanos, headers).unwrap().expect("a slot that no test holds");
        for (index, pixels) in pixels.iter().enumerate() {
            loan.frame_mut(index).copy_from_slice(pixels);
        }
        self.output.publish(loan);
        self.link.take().unwrap()
    }

    /// Returns the link state of the camera's link. It counts each frameset as produced; deliveries are the test's own.
    #[cfg(test)]
    pub(crate) fn link_state(&self) -> &Arc<LinkState> {
        self.link.link_state()
    }
}

/// An output that collects the framesets that a processor publishes.
pub struct TestOutput {
    output: ProcessorOutput,
    link: Arc<LocalLink>,
    warnings: Rc<RefCell<Vec<String>>>,
}

impl TestOutput {
    /// Creates the output of a processor with this name in the topology.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn new(name: &str) -> Self {
        let (output, link) = output_with_reader(name, &[]);
        let warnings: Rc<RefCell<Vec<String>>> = Rc::default();
        let taken = Rc::clone(&warnings);
        let output = output.warning(move |fact| taken.borrow_mut().push(fact));
        Self { output, link, warnings }
    }

    /// Creates the output of a processor that declares its streams: `TestOutput::declaring("mask", Mask::declare)`.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn declaring(name: &str, declare: impl Fn(&[StreamInfo]) -> Declared + 'static) -> Self {
        let Self { output, link, warnings } = Self::new(name);
        Self { output: output.declaring(declare), link, warnings }
    }

    /// Returns the output, for [`Processor::process`](crate::Processor::process).
    pub fn output(&mut self) -> &mut ProcessorOutput {
        &mut self.output
    }

    /// Returns the framesets that were published since the last call, in order. At most [`SLOTS`] wait here; if there are more,
    /// the newest are dropped.
    pub fn published(&mut self) -> Vec<FrameSet> {
        std::iter::from_fn(|| self.link.take()).collect()
    }

    /// Returns the warnings of the processor since the last call, in order.
    pub fn warnings(&mut self) -> Vec<String> {
        self.warnings.take()
    }
}

/// Returns the output of a processor with these inputs and no reader.
#[cfg(test)]
pub(crate) fn output(name: &str, inputs: &[(&str, &Arc<LinkState>)]) -> ProcessorOutput {
    ProcessorOutput::new(publisher(name, Vec::new()), status(inputs))
}

/// Returns the output of a processor whose inputs are matched, and which has no reader.
#[cfg(test)]
pub(crate) fn output_with_matching(
    name: &str,
    inputs: &[(&str, &Arc<LinkState>)],
    stats: &Arc<MatchStats>,
) -> ProcessorOutput {
    let status = InputStatus { matching: Some(Arc::clone(stats)), ..status(inputs) };
    ProcessorOutput::new(publisher(name, Vec::new()), status)
}

/// Returns the output of a processor with these inputs, and the link to its reader.
pub(crate) fn output_with_reader(
    name: &str,
    inputs: &[(&str, &Arc<LinkState>)],
) -> (ProcessorOutput, Arc<LocalLink>) {
    let link = local_link(Overflow::DropNewest, SLOTS);
    (ProcessorOutput::new(publisher(name, vec![Arc::clone(&link) as _]), status(inputs)), link)
}

/// Returns a link within this process whose reader is not woken.
pub(crate) fn local_link(overflow: Overflow, queue: usize) -> Arc<LocalLink> {
    let link_state = Arc::new(LinkState::new().unwrap());
    Arc::new(LocalLink::new(link_state, Arc::new(Notify::new()), overflow, queue))
}

/// Returns a publisher with these links.
pub(crate) fn publisher(name: &str, links: Vec<Arc<dyn ProducerEnd>>) -> Publisher {
    let counters = Arc::new(ActorCounters::new().unwrap());
    let links = OutputLinks::of(links);
    Publisher::new(Wiring { name: name.to_owned(), slots: SLOTS, links, counters })
}

fn status(inputs: &[(&str, &Arc<LinkState>)]) -> InputStatus {
    let links = inputs.iter().map(|&(from, link_state)| InputLink::of(from, link_state));
    InputStatus { links: links.collect(), ..InputStatus::default() }
}

/// Makes a USB tree as sysfs has it, in `folder`: the port, speed, version and serial number of each device.
#[cfg(test)]
pub(crate) fn usb_tree(folder: &TestFolder, devices: &[(&str, &str, &str, &str)]) -> UsbTree {
    for (port, speed, version, serial) in devices {
        let device = folder.path().join(port);
        fs::create_dir_all(&device).unwrap();
        for (name, text) in [("speed", speed), ("version", version), ("serial", serial)] {
            fs::write(device.join(name), format!("{text}\n")).unwrap();
        }
    }
    UsbTree::read(folder.path()).unwrap()
}

/// A name for a folder of the test's own, which does not exist yet; removed with its contents at the end.
#[cfg(test)]
pub(crate) struct TestFolder {
    path: PathBuf,
    _parent: TempDir,
}

#[cfg(test)]
impl TestFolder {
    pub(crate) fn new(test: &str) -> Self {
        let parent = tempfile::tempdir().unwrap();
        Self { path: parent.path().join(test), _parent: parent }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of all files in it, hidden ones too, in alphabetical order.
    pub(crate) fn file_names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH: (Stream, PixelFormat, &str) = (Stream::DEPTH, PixelFormat::Z16, "2x2@30");

    #[test]
    fn an_output_has_the_framesets_published_since() {
        let mut camera = TestCamera::new("left", &[DEPTH]);
        let mut output = TestOutput::declaring("left-only", |_| Ok(Some(Vec::new())));
        for _ in 0..2 {
            let frames = camera.frameset(7, &[&[1; 8]]);
            output.output().forward(&frames).unwrap();
            let published = output.published();
            assert_eq!((published.len(), published[0].camera()), (1, "left"));
            assert!(output.published().is_empty());
        }
    }
}
