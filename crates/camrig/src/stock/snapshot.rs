//! The stock processor `snapshot`: every n-th frameset of each camera as PNG, PLY and CSV files for viewing.
//!
//! For each such frameset it writes `CAMERA-SEQUENCE-color.png`, `CAMERA-SEQUENCE-depth.png` in the colors of
//! [`Colorizer`], and with `depth16` also `CAMERA-SEQUENCE-depth16.png`, the raw depth units; for other images, such as
//! `CAMERA-SEQUENCE-infrared-1.png`, their own numbers; for the points of `pointcloud` and `merge`,
//! `CAMERA-SEQUENCE-points.ply` or `.pcd`; for motion, `CAMERA-SEQUENCE-accel.csv` and `CAMERA-SEQUENCE-gyro.csv`. With
//! several inputs, those of a processor are called `PROCESSOR.CAMERA-SEQUENCE-...`, since each actor numbers framesets itself.
//! Missing frames have no file. An existing file is replaced: another run counts from 0. Calibration and time are not stored:
//! the files are for viewing, not for replay.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use camrig_frame::{MotionView, Role, Stream, StreamInfo};
use camrig_image::{Colorizer, LightImage, Picture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sources::Sources;
use super::{csv, pcd, ply};
use crate::error::WrongOptions;
use crate::files;
use crate::folders::probe_folder;
use crate::frameset::FrameSet;
use crate::output::ProcessorOutput;
use crate::processor::{Declared, Processor, ProcessorError, ProcessorOptions};

/// The options of `snapshot`, checked.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "OptionsAsWritten")]
#[schemars(with = "OptionsAsWritten")]
pub(crate) struct Options {
    folder: PathBuf,
    every: NonZeroU64,
    colorizer: Colorizer,
    depth16: bool,
    points: PointsFormat,
}

/// The format of files with points.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum PointsFormat {
    #[default]
    Ply,
    Pcd,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OptionsAsWritten {
    /// The folder for the files, which exists.
    folder: PathBuf,
    /// Writes every n-th frameset of each camera.
    #[serde(default = "OptionsAsWritten::default_every")]
    every: NonZeroU64,
    /// Distance that is drawn in the first color.
    #[serde(default = "OptionsAsWritten::default_min_meters")]
    #[schemars(extend("x-unit" = "m"))]
    min_meters: f64,
    /// Distance that is drawn in the last color.
    #[serde(default = "OptionsAsWritten::default_max_meters")]
    #[schemars(extend("x-unit" = "m"))]
    max_meters: f64,
    /// Writes depth images of 16 bits too, in the camera's depth units.
    #[serde(default)]
    depth16: bool,
    /// The format of files with points.
    #[serde(default)]
    points: PointsFormat,
}

impl OptionsAsWritten {
    /// Returns once per second for most cameras.
    const fn default_every() -> NonZeroU64 {
        NonZeroU64::new(30).expect("30 is not 0")
    }

    /// Returns about the minimum distance of a D405 and a D435.
    const fn default_min_meters() -> f64 {
        0.1
    }

    /// Returns a distance that covers most indoor scenes.
    const fn default_max_meters() -> f64 {
        4.0
    }
}

impl OptionsAsWritten {
    fn colorizer(&self) -> Result<Colorizer, String> {
        let Self { min_meters, max_meters, .. } = self;
        Colorizer::new(*min_meters as f32, *max_meters as f32).ok_or_else(|| {
            format!(
                "`min_meters` is {min_meters} and `max_meters` is {max_meters}; \
                 the first is 0 or more, the second is more than that"
            )
        })
    }
}

impl ProcessorOptions for OptionsAsWritten {
    fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if self.folder.as_os_str().is_empty() {
            wrong.add(["folder"], "`folder` is empty; the current folder is `.`");
        }
        if let Err(message) = self.colorizer() {
            wrong.add(["min_meters", "max_meters"], message);
        }
        wrong.or_ok()
    }

    fn probe(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if let Err(message) = probe(&self.folder) {
            wrong.add(["folder"], message);
        }
        wrong.or_ok()
    }
}

impl TryFrom<OptionsAsWritten> for Options {
    type Error = String;

    fn try_from(written: OptionsAsWritten) -> Result<Self, String> {
        written.check().map_err(|wrong| wrong.to_string())?;
        let colorizer = written.colorizer()?;
        let OptionsAsWritten { folder, every, depth16, points, .. } = written;
        Ok(Self { folder, every, colorizer, depth16, points })
    }
}

/// Checks that files can be made in the folder.
fn probe(folder: &Path) -> Result<(), String> {
    probe_folder(folder)
        .map_err(|reason| format!("nothing can be written into `{}`: {reason}", folder.display()))
}

/// Writes every n-th frameset of each camera into a folder, the first one included.
pub(crate) struct Snapshot {
    options: Options,
    /// Number of framesets received.
    seen: Sources<u64>,
}

impl Snapshot {
    pub(crate) fn new(options: Options) -> Result<Self, ProcessorError> {
        probe(&options.folder)?;
        Ok(Self { options, seen: Sources::new() })
    }

    /// Counts a frameset. Returns whether it should be written.
    fn count(&mut self, frames: &FrameSet) -> bool {
        let seen = self.seen.of(frames, || 0);
        *seen += 1;
        (*seen - 1).is_multiple_of(self.options.every.get())
    }
}

impl Processor for Snapshot {
    /// Declares no streams: it publishes nothing.
    fn declare(_: &[StreamInfo]) -> Declared {
        Ok(Some(Vec::new()))
    }

    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if !self.count(frames) {
            return Ok(());
        }
        let is_own = frames.producer() == frames.camera() || output.inputs().count() <= 1;
        // No name in a topology has a dot.
        let producer = if is_own { String::new() } else { format!("{}.", frames.producer()) };
        let write = |what: &str, content: io::Result<Vec<u8>>| -> Result<(), ProcessorError> {
            let name = format!("{producer}{}-{:06}-{what}", frames.camera(), frames.sequence());
            let path = self.options.folder.join(&name);
            // A camera's name comes from a link: it must not select another folder.
            if path.file_name() != Some(OsStr::new(&name)) {
                return Err(format!("`{name}` is not the name of a file").into());
            }
            content
                .and_then(|content| files::write(&path, |file| file.write_all(&content)))
                .map_err(|error| format!("cannot write `{}`: {error}", path.display()).into())
        };
        let color = super::color_or_warning(frames);
        if let Some(color) = color.as_ref().and_then(LightImage::view) {
            write("color.png", Picture::color(&color).to_png())?;
        }
        if let Some(depth) = frames.depth() {
            write("depth.png", Picture::colorized(&depth, &self.options.colorizer).to_png())?;
            if self.options.depth16 {
                write("depth16.png", Picture::depth16(&depth).to_png())?;
            }
        }
        let others =
            frames.frames().filter(|frame| frame.stream() != Stream::COLOR && frame.role() != Role::Depth);
        for (stream, picture) in others.filter_map(|frame| Some((frame.stream(), Picture::plain(frame)?))) {
            write(&format!("{stream}.png"), picture.to_png())?;
        }
        if let Some(points) = frames.points() {
            match self.options.points {
                PointsFormat::Ply => write("points.ply", Ok(ply::encode(&points)))?,
                PointsFormat::Pcd => write("points.pcd", Ok(pcd::encode(&points)))?,
            }
        }
        for motion in frames.frames().filter_map(MotionView::new) {
            write(&format!("{}.csv", motion.frame().stream()), Ok(csv::encode(&motion)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::BufReader;
    use std::sync::Arc;

    use camrig_frame::{MotionSample, Payload, PixelFormat};
    use png::{BitDepth, ColorType};

    use super::*;
    use crate::testing::{self, TestCamera, TestFolder};

    const COLOR: (Stream, PixelFormat, &str) = (Stream::COLOR, PixelFormat::Bgr8, "2x1@30");
    const DEPTH: (Stream, PixelFormat, &str) = (Stream::DEPTH, PixelFormat::Z16, "2x2@30");
    const COLOR_PIXELS: &[u8] = &[1, 2, 3, 4, 5, 6];
    /// No depth, 1 m, 2 m and 6.5535 m, in tenths of a millimetre.
    const DEPTH_PIXELS: &[u8] = &[0, 0, 0x10, 0x27, 0x20, 0x4e, 0xff, 0xff];

    fn snapshot(folder: &TestFolder, options: &str) -> Snapshot {
        fs::create_dir_all(folder.path()).unwrap();
        let options = format!("folder = '{}'\n{options}", folder.path().display());
        Snapshot::new(toml::from_str(&options).unwrap()).unwrap()
    }

    fn decode(path: &Path) -> (png::OutputInfo, Vec<u8>, Option<String>) {
        let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let image = reader.next_frame(&mut pixels).unwrap();
        let text = reader.info().uncompressed_latin1_text.first();
        (image, pixels, text.map(|chunk| format!("{}: {}", chunk.keyword, chunk.text)))
    }

    #[test]
    fn every_nth_frameset_of_each_camera_is_written() {
        let folder = TestFolder::new("snapshot-every");
        let mut snapshot = snapshot(&folder, "every = 3");
        let mut output = testing::output("snapshot", &[]);
        let mut front = TestCamera::new("front", &[COLOR]);
        let mut left = TestCamera::new("left", &[COLOR, DEPTH]);
        for arrival in 0..5 {
            snapshot.process(&front.frameset(arrival, &[COLOR_PIXELS]), &mut output).unwrap();
        }
        // The first frameset to arrive is written; its number does not matter.
        left.frameset(0, &[COLOR_PIXELS, DEPTH_PIXELS]);
        snapshot.process(&left.frameset(1, &[COLOR_PIXELS, DEPTH_PIXELS]), &mut output).unwrap();
        let names = [
            "front-000000-color.png",
            "front-000003-color.png",
            "left-000001-color.png",
            "left-000001-depth.png",
        ];
        assert_eq!(folder.file_names(), names);
    }

    /// A camera and two processors that pass it on: each is counted by itself, and no file of one replaces another's.
    #[test]
    fn every_producer_of_a_camera_has_files_of_its_own() {
        let folder = TestFolder::new("snapshot-producers");
        let mut snapshot = snapshot(&folder, "every = 3");
        let mut camera = TestCamera::new("front", &[COLOR]);
        let (mut mask, masked) = testing::output_with_reader("mask", &[]);
        let link_state = Arc::clone(camera.link_state());
        for inputs in [&["front", "mask"][..], &["mask"]] {
            let inputs: Vec<_> = inputs.iter().map(|from| (*from, &link_state)).collect();
            let mut output = testing::output("snapshot", &inputs);
            for _ in 0..3 {
                let frames = camera.frameset(0, &[COLOR_PIXELS]);
                mask.forward(&frames).unwrap();
                for frames in [frames, masked.take().unwrap()] {
                    snapshot.process(&frames, &mut output).unwrap();
                }
            }
        }
        let names = ["front-000000-color.png", "front-000003-color.png", "mask.front-000000-color.png"];
        assert_eq!(folder.file_names(), names);
    }

    #[test]
    fn the_files_hold_the_pixels() {
        let folder = TestFolder::new("snapshot-pixels");
        let mut snapshot = snapshot(&folder, "depth16 = true\nmin_meters = 0.5\nmax_meters = 2");
        let mut output = testing::output("snapshot", &[]);
        let mut camera = TestCamera::with_depth_unit("front", &[COLOR, DEPTH], 0.0001);
        snapshot.process(&camera.frameset(0, &[COLOR_PIXELS, DEPTH_PIXELS]), &mut output).unwrap();

        let (image, pixels, text) = decode(&folder.path().join("front-000000-color.png"));
        assert_eq!(
            (image.width, image.height, image.color_type, image.bit_depth),
            (2, 1, ColorType::Rgb, BitDepth::Eight)
        );
        assert_eq!((pixels, text), (vec![3, 2, 1, 6, 5, 4], None));

        let (image, pixels, text) = decode(&folder.path().join("front-000000-depth.png"));
        assert_eq!(
            (image.width, image.height, image.color_type, image.bit_depth),
            (2, 2, ColorType::Rgb, BitDepth::Eight)
        );
        let colors = Colorizer::new(0.5, 2.0).unwrap();
        let expected = [Colorizer::NONE, colors.color_of(1.0), colors.color_of(2.0), colors.color_of(2.0)];
        assert_eq!((pixels, text), (expected.concat(), None));

        let (image, pixels, text) = decode(&folder.path().join("front-000000-depth16.png"));
        assert_eq!(
            (image.width, image.height, image.color_type, image.bit_depth),
            (2, 2, ColorType::Grayscale, BitDepth::Sixteen)
        );
        let expected = [0_u16, 10_000, 20_000, 65_535].map(u16::to_be_bytes).concat();
        assert_eq!((pixels, text.as_deref()), (expected, Some("Depth unit meters: 0.0001")));
    }

    #[test]
    fn other_images_keep_their_numbers() {
        let folder = TestFolder::new("snapshot-gray");
        let infrared = [
            (Stream::INFRARED_1, PixelFormat::Y8, "2x1@30"),
            (Stream::INFRARED_2, PixelFormat::Y16, "2x1@30"),
        ];
        let frames = TestCamera::new("front", &infrared).frameset(0, &[&[7, 250], &[1, 2, 3, 4]]);
        snapshot(&folder, "").process(&frames, &mut testing::output("snapshot", &[])).unwrap();
        assert_eq!(folder.file_names(), ["front-000000-infrared-1.png", "front-000000-infrared-2.png"]);
        let content = |name| {
            let (image, pixels, _) = decode(&folder.path().join(name));
            (image.width, image.height, image.color_type, image.bit_depth, pixels)
        };
        let gray = ColorType::Grayscale;
        assert_eq!(content("front-000000-infrared-1.png"), (2, 1, gray, BitDepth::Eight, vec![7, 250]));
        assert_eq!(content("front-000000-infrared-2.png"), (2, 1, gray, BitDepth::Sixteen, vec![2, 1, 4, 3]));
    }

    #[test]
    fn points_become_a_file() {
        let folder = TestFolder::new("snapshot-points");
        let mut camera = TestCamera::with_streams(
            "front",
            vec![StreamInfo::new(Stream::POINTS, Payload::Points { width: 1, height: 1 }, 30)],
            0.001,
        );
        let frames = camera.frameset(0, &[&[[0, 0, 128, 63].repeat(3), vec![7, 8, 9, 255]].concat()]);
        snapshot(&folder, "").process(&frames, &mut testing::output("snapshot", &[])).unwrap();
        assert_eq!(folder.file_names(), ["front-000000-points.ply"]);
        let file = fs::read(folder.path().join("front-000000-points.ply")).unwrap();
        assert_eq!(file, ply::encode(&frames.points().unwrap()));
        assert!(file.ends_with(&[0, 0, 128, 63, 0, 0, 128, 63, 0, 0, 128, 63, 7, 8, 9]));
        snapshot(&folder, "points = 'pcd'").process(&frames, &mut testing::output("snapshot", &[])).unwrap();
        assert_eq!(folder.file_names(), ["front-000000-points.pcd", "front-000000-points.ply"]);
        let file = fs::read(folder.path().join("front-000000-points.pcd")).unwrap();
        assert_eq!(file, pcd::encode(&frames.points().unwrap()));
    }

    #[test]
    fn motion_becomes_a_table() {
        let folder = TestFolder::new("snapshot-motion");
        let gyro = StreamInfo::new(Stream::GYRO, Payload::Motion { samples: 2 }, 200);
        let sample = |nanos, xyz| MotionSample { nanos, xyz }.to_bytes();
        let samples = [sample(7, [0.1, -9.80665, 1e-9]), sample(u64::MAX, [0.0, 1.0, f32::NAN])].concat();
        let frames = TestCamera::with_streams("front", vec![gyro], 0.001).frameset(0, &[&samples]);
        snapshot(&folder, "").process(&frames, &mut testing::output("snapshot", &[])).unwrap();
        assert_eq!(folder.file_names(), ["front-000000-gyro.csv"]);
        assert_eq!(
            fs::read_to_string(folder.path().join("front-000000-gyro.csv")).unwrap(),
            "nanos,x,y,z\n7,0.1,-9.80665,0.000000001\n18446744073709551615,0,1,NaN\n",
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named_and_leaves_nothing() {
        let folder = TestFolder::new("snapshot-errors");
        let mut output = testing::output("snapshot", &[]);
        let mut camera = TestCamera::new("front", &[COLOR]);
        let mut fail = |prepare: &dyn Fn()| {
            let mut snapshot = snapshot(&folder, "");
            prepare();
            let frames = camera.frameset(0, &[COLOR_PIXELS]);
            let error = snapshot.process(&frames, &mut output).unwrap_err().to_string();
            let file = folder.path().join(format!("front-{:06}-color.png", frames.sequence()));
            error.strip_prefix(&format!("cannot write `{}`: ", file.display())).unwrap().to_owned()
        };

        let full_disk = || {
            std::os::unix::fs::symlink("/dev/full", folder.path().join("front-000000-color.png")).unwrap();
        };
        assert_eq!(fail(&full_disk), "No space left on device (os error 28)");
        fs::remove_file(folder.path().join("front-000000-color.png")).unwrap();
        assert!(folder.file_names().is_empty());

        let taken = || fs::create_dir(folder.path().join("front-000001-color.png")).unwrap();
        assert_eq!(fail(&taken), "Is a directory (os error 21)");
        assert_eq!(folder.file_names(), ["front-000001-color.png"]);

        let removed = || fs::remove_dir_all(folder.path()).unwrap();
        let folder = folder.path().display();
        assert_eq!(fail(&removed), format!("there is no folder `{folder}`; create it first"));
    }

    #[test]
    fn no_folder_is_made_and_a_missing_one_is_named() {
        let folder = TestFolder::new("snapshot-folder");
        let path = folder.path().display();
        for (path, reason) in [
            ("/dev/null/pictures".to_owned(), "`/dev/null` is not a folder".to_owned()),
            (path.to_string(), format!("there is no folder `{path}`; create it first")),
        ] {
            let options: Options = toml::from_str(&format!("folder = '{path}'")).unwrap();
            assert_eq!(
                Snapshot::new(options).map(|_| ()).unwrap_err().to_string(),
                format!("nothing can be written into `{path}`: {reason}"),
            );
        }
        assert!(!folder.path().exists());
    }

    #[test]
    fn a_camera_does_not_choose_the_folder() {
        let folder = TestFolder::new("snapshot-names");
        let mut snapshot = snapshot(&folder, "");
        let frames = TestCamera::new("../front", &[COLOR]).frameset(0, &[COLOR_PIXELS]);
        let error = snapshot.process(&frames, &mut testing::output("snapshot", &[])).unwrap_err();
        assert_eq!(error.to_string(), "`../front-000000-color.png` is not the name of a file");
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let parse = |text: &str| toml::from_str::<Options>(text);
        let options = parse("folder = 'pictures'").unwrap();
        assert_eq!((options.folder.as_path(), options.every.get()), (Path::new("pictures"), 30));
        assert!(!options.depth16);
        for (text, message) in [
            ("", "missing field `folder`"),
            ("folder = ''", "`folder` is empty; the current folder is `.`"),
            ("folder = '.'\nevery = 0", "invalid value: integer `0`, expected a nonzero u64"),
            (
                "folder = '.'\nmin_meters = 5",
                "`min_meters` is 5 and `max_meters` is 4; \
                 the first is 0 or more, the second is more than that",
            ),
            (
                "folder = '.'\ndepth = true",
                "unknown field `depth`, \
                 expected one of `folder`, `every`, `min_meters`, `max_meters`, `depth16`, `points`",
            ),
        ] {
            assert_eq!(parse(text).map(|_| ()).unwrap_err().message(), message);
        }
    }
}
