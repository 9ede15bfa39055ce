//! `recording import`: a bag of ROS 2 that realsense-ros has recorded, as a recording.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{CommandError, bar, counted, interrupt, size_bytes};
use crate::bag::{Bag, BagMessage, BagMessages, Framesets};
use crate::compression::Compression;
use crate::record::{Encoded, Next, Part, PartOptions};
use crate::write::with_suffix;

/// Maximum number of problems that are printed.
const MAX_PROBLEMS: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// A bag of ROS 2, in MCAP or `SQLite`
    file: PathBuf,
    /// The new recording; by default FILE with `-imported` before its extension
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn import(args: &ImportArgs) -> Result<String, CommandError> {
    let ImportArgs { file, output } = args;
    let looking = bar(size_bytes(file), "reading");
    let bag = Bag::open(file, &|at| looking.set_position(at))?;
    looking.finish_and_clear();
    let mut problems = Problems::default();
    let range = bag.range();
    let (cameras, left_out) = bag.survey().cameras(range.end.saturating_sub(range.start) as f64 / 1e9);
    let mut text = String::new();
    let mapping = cameras
        .iter()
        .flat_map(|camera| camera.mapping.iter().map(|line| format!("{}: {line}", camera.info.name)));
    for line in mapping.chain(left_out) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    if cameras.is_empty() {
        return Err(CommandError::Damaged {
            text,
            problems: vec![format!("`{}` has no images in the topics of realsense-ros", file.display())],
        });
    }
    let output = output.clone().unwrap_or_else(|| with_suffix(file, "imported").with_extension("mcap"));
    let options = PartOptions { number: 1, compression: Compression::Zstd };
    let part = Part::create(&output, options).map_err(|error| CommandError::Create(error.to_string()))?;
    let cameras = cameras.into_iter().map(Framesets::new).collect();
    let mut importing = Importing { part, origin: range.start, cameras };
    interrupt::receive();
    importing.run(&bag, &mut problems)?;
    let path = importing.part.path().display().to_string();
    for camera in &mut importing.cameras {
        if let count @ 1.. = camera.late_samples() {
            let (name, what) = (&camera.info().name, counted(count, "sample"));
            let _ = writeln!(text, "{name}: left out: {what} of motion after the last image");
        }
    }
    let framesets: u64 = importing.cameras.iter().map(Framesets::count).sum();
    let count = importing.cameras.len();
    importing.part.finish(Next::End).map_err(|error| CommandError::Create(error.to_string()))?;
    let _ = writeln!(text, "{path}: {}, {}", counted(count as u64, "camera"), counted(framesets, "frameset"));
    if interrupt::is_requested() {
        return Err(CommandError::Interrupted(text.trim_end().replace('\n', "; ")));
    }
    match problems.finish() {
        problems if problems.is_empty() => Ok(text),
        problems => Err(CommandError::Damaged { text, problems }),
    }
}

/// The problems of a bag: the first ones, and the number of others.
#[derive(Default)]
struct Problems {
    first: Vec<String>,
    more: u64,
}

impl Problems {
    fn add(&mut self, problem: String) {
        if self.first.len() < MAX_PROBLEMS {
            self.first.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.first.push(counted(self.more, "more problem"));
        }
        self.first
    }
}

/// A recording that is made of a bag.
struct Importing {
    part: Part,
    origin: u64,
    cameras: Vec<Framesets>,
}

impl Importing {
    fn run(&mut self, bag: &Bag, problems: &mut Problems) -> Result<(), CommandError> {
        let bar = bar(bag.size_bytes(), "writing");
        let Self { part, origin, cameras } = self;
        let mut write = |encoded: Vec<Encoded>| {
            let mut written = encoded.iter().map(|encoded| part.write(encoded, *origin));
            written.try_for_each(|written| written.map_err(|error| CommandError::Create(error.to_string())))
        };
        let mut messages = BagMessages::default();
        while let Some(message) = messages.next(bag).filter(|_| !interrupt::is_requested()) {
            match message {
                Ok(BagMessage { topic, log_time, data }) => {
                    bar.inc(data.len() as u64);
                    let Some(camera) = cameras.iter_mut().find(|camera| camera.has(topic)) else { continue };
                    match camera.add(topic, &data, log_time) {
                        Ok(framesets) => write(framesets)?,
                        Err(problem) => problems.add(format!("`{}`: {problem}", camera.info().name)),
                    }
                }
                Err(problem) => problems.add(problem),
            }
        }
        bar.finish_and_clear();
        for camera in cameras {
            match camera.finish() {
                Ok(framesets) => write(framesets)?,
                Err(problem) => problems.add(format!("`{}`: {problem}", camera.info().name)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use camrig::frame::Stream;

    use super::*;
    use crate::commands::export::{ExportArgs, Format};
    use crate::commands::ros2;
    use crate::read::{Content, Recording, image_data, write_pixels};
    use crate::record::testing::{TestFolder, headers, info, pixels, write};

    fn framesets(path: &Path) -> Vec<Vec<(Stream, Vec<u8>)>> {
        let recording = Recording::open(path, &|_| {}).unwrap();
        let mut contents = recording.contents(|_| true, 0..u64::MAX);
        let mut found = Vec::new();
        while let Some((_, content)) = contents.next(&recording) {
            let Content::FrameSet(frameset) = content else { panic!("{content:?}") };
            let frames = frameset.record.frames.iter().zip(&frameset.images).map(|(frame, message)| {
                let mut shown = vec![0; frame.payload.size_bytes() as usize];
                write_pixels(frame, &image_data(frame, message.clone()).unwrap(), &mut shown).unwrap();
                (frame.stream, shown)
            });
            found.push(frames.collect());
        }
        found
    }

    #[test]
    fn a_bag_that_was_exported_comes_back() {
        const FRAMESETS: u64 = 40;
        let folder = TestFolder::new("import");
        let path = folder.path().join("rig.mcap");
        write(&path, &["front", "rear"], FRAMESETS, Compression::None, &[]);
        let output = folder.path().join("bag");
        let (camera, format) = (vec!["front".to_owned()], Format::Ros2);
        ros2::export(&ExportArgs { camera, ..ExportArgs::all(&path, &output, format) }).unwrap();
        let bag = output.join("rig.mcap");
        let error = Recording::open(&bag, &|_| {}).err().unwrap().to_string();
        assert!(
            error.ends_with("is a bag of ROS 2; `camrig recording import` makes a recording of it"),
            "{error}"
        );

        let imported = folder.path().join("imported.mcap");
        let text = import(&ImportArgs { file: bag, output: Some(imported.clone()) }).unwrap();
        let name = imported.display();
        let expected = format!(
            "front: /camera/front/depth/image_rect_raw is depth, z16 20x10\n\
             front: /camera/front/color/image_raw is color, rgb8 16x12\n\
             {name}: 1 camera, 40 framesets\n"
        );
        assert_eq!(text, expected);
        let original = info("front");
        let recording = Recording::open(&imported, &|_| {}).unwrap();
        let camera = &recording.cameras()[0];
        assert_eq!((camera.name.as_str(), camera.info.driver.as_str()), ("front", "realsense-ros"));
        for stream in &camera.info.streams {
            let expected = original.stream(stream.stream).unwrap();
            assert_eq!((stream.payload, stream.intrinsics), (expected.payload, expected.intrinsics));
            assert_eq!(stream.frames_per_second, 30);
        }
        let [of_depth, of_color] = [Stream::DEPTH, Stream::COLOR]
            .map(|stream| camera.info.stream(stream).unwrap().to_depth.unwrap().translation_meters);
        assert_eq!(of_depth.to_vec(), [0.0; 3]);
        assert!((of_color[0] - 0.015).abs() < 1e-6, "{of_color:?}");
        let found = framesets(&imported);
        assert_eq!(found.len() as u64, FRAMESETS);
        for (number, frameset) in found.into_iter().enumerate() {
            let mut expected: Vec<_> = headers(&original, number as u64)
                .iter()
                .map(|header| (header.stream, pixels("front", header)))
                .collect();
            expected.reverse();
            assert_eq!(frameset, expected);
        }
    }
}
