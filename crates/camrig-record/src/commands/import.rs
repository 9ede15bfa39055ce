//! `recording import`: a bag of ROS 2 that realsense-ros has recorded, as a recording.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use camrig::files::NewFile;

use super::copy::{keep_all, keep_part};
use super::problems::Problems;
use super::progress::{bar, size_bytes};
use super::{CommandError, counted, interrupt};
use crate::bag::{Bag, BagMessage, BagMessages, Framesets};
use crate::compression::Compression;
use crate::record::{Encoded, Next, PartOptions, RecordingPart};
use crate::write::{WriteError, numbered};

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// A bag of ROS 2, in MCAP or `SQLite`: its folder, or its first file
    file: PathBuf,
    /// The new recording; by default FILE with `-imported` before its extension
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn import(args: &ImportArgs) -> Result<String, CommandError> {
    let ImportArgs { file, output } = args;
    let looking = bar(size_bytes(file), "reading");
    // The files of the bag are known when it is open.
    let bag = Bag::open(file, &|at| {
        looking.set_length(looking.length().unwrap_or(0).max(at));
        looking.set_position(at);
    })?;
    looking.finish_and_clear();
    let mut problems = Problems::default();
    problems.extend(bag.problems().iter().map(ToString::to_string));
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
    let stem = if file.is_dir() { file.file_name() } else { file.file_stem() };
    let name = format!("{}-imported.mcap", stem.unwrap_or_default().to_string_lossy());
    let output = output.clone().unwrap_or_else(|| file.with_file_name(name));
    let cameras = cameras.into_iter().map(Framesets::new).collect();
    let (file, origin) = (NewPart::begin(&output, 1)?, range.start);
    let mut importing = Importing { file, full: Vec::new(), output, origin, cameras, written: 0 };
    interrupt::receive();
    let run = importing.run(&bag, &mut problems);
    let Importing { file: NewPart { file, part }, full: mut files, output, mut cameras, written, .. } =
        importing;
    let ends = run.is_ok() && !interrupt::is_requested();
    let finished = part.finish(if ends { Next::End } else { Next::Unknown });
    files.push(file);
    let has_index = finished.is_ok();
    let run = run.and(finished.map(drop).map_err(|error| not_written(&error)));
    if run.is_err() || !ends {
        let kept = keep_part(&output, files, Some(written), has_index);
        return Err(match run {
            Err(error) => CommandError::Create(format!("{error}; {kept}")),
            Ok(()) => CommandError::Interrupted(kept),
        });
    }
    keep_all(&output, files, Some(written))?;
    for camera in &mut cameras {
        let (early, late) = (camera.early_samples(), camera.late_samples());
        for (count, time) in [(early, "long before the next image"), (late, "after the last image")] {
            if count > 0 {
                let (name, what) = (&camera.info().name, counted(count, "sample"));
                let _ = writeln!(text, "{name}: left out: {what} of motion {time}");
            }
        }
    }
    let framesets: u64 = cameras.iter().map(Framesets::count).sum();
    let (count, framesets) = (counted(cameras.len() as u64, "camera"), counted(framesets, "frameset"));
    let _ = writeln!(text, "{}: {count}, {framesets}", output.display());
    match problems.finish() {
        problems if problems.is_empty() => Ok(text),
        problems => Err(CommandError::Damaged { text, problems }),
    }
}

/// A recording that is made of a bag.
struct Importing {
    /// The last file.
    file: NewPart,
    /// The full files, which get their names when the last one is complete.
    full: Vec<NewFile>,
    /// The name of the first file.
    output: PathBuf,
    origin: u64,
    cameras: Vec<Framesets>,
    /// Number of framesets in all files.
    written: u64,
}

/// A file of a recording, which gets its name when it is complete.
struct NewPart {
    file: NewFile,
    part: RecordingPart,
}

impl NewPart {
    /// Begins the file of this number.
    fn begin(output: &Path, number: u32) -> Result<Self, CommandError> {
        let path = numbered(output, number);
        let options = PartOptions { number, compression: Compression::Zstd };
        let file = NewFile::creating(&path).and_then(|file| Ok((file.try_clone()?, file)));
        let (clone, file) = file
            .map_err(|error| CommandError::Create(format!("cannot create `{}`: {error}", path.display())))?;
        Ok(Self {
            file,
            part: RecordingPart::begin(clone, path, options).map_err(|error| not_written(&error))?,
        })
    }
}

fn not_written(error: &WriteError) -> CommandError {
    CommandError::Create(error.to_string())
}

impl Importing {
    /// Writes all framesets of the bag, until Ctrl-C.
    fn run(&mut self, bag: &Bag, problems: &mut Problems) -> Result<(), CommandError> {
        let bar = bar(bag.size_bytes(), "writing");
        let mut messages = BagMessages::default();
        while let Some(message) = messages.next(bag).filter(|_| !interrupt::is_requested()) {
            match message {
                Ok(BagMessage { topic, log_time, data }) => {
                    bar.inc(data.len() as u64);
                    let camera = self.cameras.iter_mut().find(|camera| camera.has(topic));
                    let Some(camera) = camera else { continue };
                    match camera.add(topic, &data, log_time) {
                        Ok(framesets) => self.write(&framesets)?,
                        Err(problem) => problems.add(format!("`{}`: {problem}", camera.info().name)),
                    }
                }
                Err(problem) => problems.add(problem),
            }
        }
        bar.finish_and_clear();
        for index in 0..self.cameras.len() {
            let camera = &mut self.cameras[index];
            match camera.finish() {
                Ok(framesets) => self.write(&framesets)?,
                Err(problem) => problems.add(format!("`{}`: {problem}", camera.info().name)),
            }
        }
        Ok(())
    }

    /// Writes framesets, into another file when the last one is full.
    fn write(&mut self, framesets: &[Encoded]) -> Result<(), CommandError> {
        for encoded in framesets {
            if self.file.part.is_full() {
                let next = NewPart::begin(&self.output, self.file.part.number() + 1)?;
                let NewPart { file, part } = std::mem::replace(&mut self.file, next);
                self.full.push(file);
                part.finish(Next::File(self.file.part.path())).map_err(|error| not_written(&error))?;
            }
            self.file.part.write(encoded, self.origin).map_err(|error| not_written(&error))?;
            self.written += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use camrig::frame::Stream;

    use super::*;
    use crate::commands::export::{ExportArgs, Format};
    use crate::commands::ros2;
    use crate::format::{GapReason, GapRecord};
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

    #[test]
    fn the_files_of_a_bag_become_one_recording() {
        let folder = TestFolder::new("split-bag");
        let before = GapRecord { first_sequence: 0, last_sequence: 19, reason: GapReason::Link };
        let bag = folder.path().join("bag");
        for (name, cameras, framesets, missing) in [
            ("bag_0.mcap", &["front"][..], 20, &[][..]),
            // The topics have other numbers there.
            ("bag_1.mcap", &["abroad", "front"], 40, &[before]),
        ] {
            let path = folder.path().join(name);
            write(&path, cameras, framesets, Compression::None, missing);
            ros2::export(&ExportArgs::all(&path, &bag, Format::Ros2)).unwrap();
        }
        let imported = folder.path().join("imported.mcap");
        let import_into = |file: &Path, output: &Path| {
            let output = Some(output.to_owned());
            let text = import(&ImportArgs { file: file.to_owned(), output })?;
            Ok::<_, CommandError>(text.lines().last().unwrap_or_default().to_owned())
        };
        let expected = format!("{}: 2 cameras, 60 framesets", imported.display());
        assert_eq!(import_into(&bag.join("bag_0.mcap"), &imported).unwrap(), expected);
        let error = import_into(&bag.join("bag_0.mcap"), &imported).unwrap_err().to_string();
        assert!(error.ends_with("imported.mcap`: File exists (os error 17)"), "{error}");
        // The list names another file, which is missing.
        let list = "relative_file_paths:\n- bag_0.mcap\n- bag_1.mcap\n- bag_2.mcap\n";
        std::fs::write(bag.join("metadata.yaml"), list).unwrap();
        let again = folder.path().join("again.mcap");
        let Err(CommandError::Damaged { text, problems }) = import_into(&bag, &again) else { panic!() };
        assert!(text.ends_with("again.mcap: 2 cameras, 60 framesets\n"), "{text}");
        assert!(problems.len() == 1 && problems[0].contains("bag_2.mcap` "), "{problems:?}");
        assert_eq!(framesets(&imported), framesets(&again));
    }
}
