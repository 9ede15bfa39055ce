//! Parts of a rig for unit tests: framesets with given pixels, an output, a folder.
//!
//! A frameset takes the way that it takes in a rig, through a [`CameraOutput`] and a [`LocalLink`], so that a test
//! sees what a processor sees. It deliberately knows no driver and no thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camrig_frame::{CameraInfo, Clock, PixelFormat, Stream, StreamInfo, Timestamp};
use camrig_ipc::{ActorCounters, LinkState, Overflow};
use camrig_usb::UsbTree;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::frameset::FrameSet;
use crate::inputs::InputLink;
use crate::link::{LocalLink, ProducerEnd};
use crate::matching::MatchStats;
use crate::output::{CameraOutput, InputStatus, OutputLinks, ProcessorOutput, Publisher, Wiring};

/// As many framesets of one camera as a test can hold at once.
const SLOTS: usize = 8;

/// A camera whose framesets hold what the test gives.
pub(crate) struct TestCamera {
    info: CameraInfo,
    output: CameraOutput,
    link: Arc<LocalLink>,
}

impl TestCamera {
    /// A camera with a stream of each of these formats and sizes, and a depth unit of a millimetre.
    pub(crate) fn new(name: &str, streams: &[(Stream, PixelFormat, &str)]) -> Self {
        Self::with_depth_unit(name, streams, 0.001)
    }

    /// A camera with another depth unit.
    pub(crate) fn with_depth_unit(
        name: &str,
        streams: &[(Stream, PixelFormat, &str)],
        depth_unit_meters: f32,
    ) -> Self {
        let stream = |&(stream, format, profile): &(Stream, PixelFormat, &str)| {
            StreamInfo::image(stream, format, profile.parse().unwrap())
        };
        Self::with_streams(name, streams.iter().map(stream).collect(), depth_unit_meters)
    }

    /// A camera with these streams.
    pub(crate) fn with_streams(name: &str, streams: Vec<StreamInfo>, depth_unit_meters: f32) -> Self {
        let info = CameraInfo {
            name: name.to_owned(),
            driver: "test".to_owned(),
            depth_unit_meters,
            streams,
            ..CameraInfo::default()
        };
        let link = local_link(Overflow::DropOldest, 1);
        let output = CameraOutput::new(publisher(name, vec![Arc::clone(&link) as _]), info.clone()).unwrap();
        Self { info, output, link }
    }

    /// The next frameset: the pixels of each stream, in the order in which the camera was given them.
    ///
    /// # Panics
    /// When the pixels are not as many as the profiles say, or the test holds all slots.
    pub(crate) fn frameset(&mut self, arrival_nanos: u64, pixels: &[&[u8]]) -> FrameSet {
        self.stamped(Timestamp { clock: Clock::System, nanos: arrival_nanos }, pixels)
    }

    /// The next frameset, with a timestamp of any clock, at which it arrives too.
    pub(crate) fn stamped(&mut self, timestamp: Timestamp, pixels: &[&[u8]]) -> FrameSet {
        let arrival_nanos = timestamp.nanos;
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

    /// The link state of the camera's link. It counts each frameset as produced; deliveries are the test's own.
    pub(crate) fn link_state(&self) -> &Arc<LinkState> {
        self.link.link_state()
    }
}

/// The output of a processor with these inputs and no reader.
pub(crate) fn output(name: &str, inputs: &[(&str, &Arc<LinkState>)]) -> ProcessorOutput {
    ProcessorOutput::new(publisher(name, Vec::new()), status(inputs))
}

/// The output of a processor whose inputs are matched, and which has no reader.
pub(crate) fn output_with_matching(
    name: &str,
    inputs: &[(&str, &Arc<LinkState>)],
    stats: &Arc<MatchStats>,
) -> ProcessorOutput {
    let status = InputStatus { matching: Some(Arc::clone(stats)), ..status(inputs) };
    ProcessorOutput::new(publisher(name, Vec::new()), status)
}

/// The output of a processor with these inputs, and the link to its reader.
pub(crate) fn output_with_reader(
    name: &str,
    inputs: &[(&str, &Arc<LinkState>)],
) -> (ProcessorOutput, Arc<LocalLink>) {
    let link = local_link(Overflow::DropNewest, SLOTS);
    (ProcessorOutput::new(publisher(name, vec![Arc::clone(&link) as _]), status(inputs)), link)
}

/// A link within this process whose reader nobody wakes.
pub(crate) fn local_link(overflow: Overflow, queue: usize) -> Arc<LocalLink> {
    let link_state = Arc::new(LinkState::new().unwrap());
    Arc::new(LocalLink::new(link_state, Arc::new(Notify::new()), overflow, queue))
}

/// A publisher with these links.
pub(crate) fn publisher(name: &str, links: Vec<Arc<dyn ProducerEnd>>) -> Publisher {
    let counters = Arc::new(ActorCounters::new().unwrap());
    let links = OutputLinks::of(links);
    Publisher::new(Wiring { name: name.to_owned(), slots: SLOTS, links, counters })
}

fn status(inputs: &[(&str, &Arc<LinkState>)]) -> InputStatus {
    let links = inputs.iter().map(|&(from, link_state)| InputLink::of(from, link_state));
    InputStatus { links: links.collect(), ..InputStatus::default() }
}

/// A USB tree as sysfs has it, in `folder`: the port, speed, version and serial number of each device.
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

/// A name for a folder of the test's own, which nothing has made yet; removed with what it holds at the end.
pub(crate) struct TestFolder {
    path: PathBuf,
    _parent: TempDir,
}

impl TestFolder {
    pub(crate) fn new(test: &str) -> Self {
        let parent = tempfile::tempdir().unwrap();
        Self { path: parent.path().join(test), _parent: parent }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all files in it, hidden ones too, in alphabetical order.
    pub(crate) fn file_names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
