//! `recording export`: frames as image files, data sets and videos, for programs without support for recordings.
//!
//! * `images`: a folder per camera with a folder per stream
//! * `tum`, `open3d`: data sets of color and aligned depth
//! * `scene`, `poses`: images of all cameras with intrinsics and poses, for COLMAP and `NeRF`
//! * `mp4`: videos
//! * `decoded`: results computed from frames
//! * `chosen`, `matched`: which framesets are exported, and under which names
//! * `folder`: files that are created
//! * `in_order`: framesets that are decoded and encoded on several threads

mod chosen;
mod decoded;
mod folder;
mod images;
mod in_order;
mod matched;
mod mp4;
mod open3d;
mod poses;
mod scene;
mod tum;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use camrig::frame::{AlignDepth, CameraInfo};

pub(super) use self::chosen::{Chosen, Rename};
pub(super) use self::decoded::{Decoded, PointsError, point_cloud};
use self::decoded::{PointsFormat, aligned};
pub(super) use self::folder::make_output;
use self::images::Images;
use self::in_order::InOrder;
use self::mp4::Videos;
use self::open3d::Open3d;
pub(super) use self::poses::Poses;
#[cfg(all(test, feature = "calibration"))]
pub(super) use self::poses::tests::write_calibration;
use self::scene::Scene;
pub(super) use self::scene::check_calibration;
use self::tum::Tum;
use super::problems::Problems;
use super::progress::{self, FilesBar};
use super::{CommandError, counted, interrupt, milliseconds};
use crate::read::{Content, Parts, ReadError, ReadFrameSet, RecordedCamera};

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// A recording
    pub(super) file: PathBuf,
    /// The folder to write into; it is created, its parents are not
    #[arg(short, long, value_name = "FOLDER")]
    pub(super) output: PathBuf,
    /// Format of the files
    #[arg(long, value_name = "FORMAT", default_value = "png")]
    pub(super) format: Format,
    /// Only this camera; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(super) camera: Vec<String>,
    /// Only every N-th frameset of each camera
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) every: u64,
    /// Only framesets that all cameras took within this time, such as 10ms; files are named by match
    #[arg(long = "match", value_name = "TIME", value_parser = milliseconds)]
    pub(super) match_nanos: Option<u64>,
    /// Write depth in the pixels of color, as librealsense's filter `align` does; `tum` and `open3d` always do
    #[arg(long)]
    pub(super) align: bool,
    /// The poses of the cameras for `colmap` and `nerf`: the file that `calibrate` writes
    #[arg(long, value_name = "FILE")]
    pub(super) calibration: Option<PathBuf>,
    /// Rename a camera in the export; may be given several times
    #[arg(long, value_name = "CAMERA=NAME")]
    pub(super) rename: Vec<Rename>,
}

/// File format of exported frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// 8 bits a channel; depth with 16 bits, in its own unit
    Png,
    /// Arrays of `NumPy`, as they would be read from PNG
    Npy,
    /// Points, colored where color is known, instead of images
    Ply,
    /// Points as `ply`, in files of the Point Cloud Library
    Pcd,
    /// Data set in the format of TU Munich: color, aligned depth, lists with times
    Tum,
    /// Data set of `Open3D`: color, aligned depth, intrinsics
    Open3d,
    /// Color of all cameras with intrinsics and poses, as a model of COLMAP in text
    Colmap,
    /// Color and aligned depth of all cameras with intrinsics and poses, in a `transforms.json`
    Nerf,
    /// A video for each stream of images, with a list of times; needs ffmpeg
    Mp4,
    /// Messages of ROS 2 in one MCAP file, with the topics of realsense-ros
    Ros2,
}

impl Format {
    /// Returns the format of points, if it is one.
    fn points(self) -> Option<PointsFormat> {
        match self {
            Self::Ply => Some(PointsFormat::Ply),
            Self::Pcd => Some(PointsFormat::Pcd),
            _ => None,
        }
    }

    /// Returns whether depth is written in the pixels of color.
    fn is_aligned(self) -> bool {
        matches!(self, Self::Tum | Self::Open3d)
    }

    /// Returns whether the images of all cameras are in one list.
    fn is_scene(self) -> bool {
        matches!(self, Self::Colmap | Self::Nerf)
    }
}

/// A frameset that is written.
struct ExportedFrameSet {
    /// The name of its files, without extension.
    name: String,
    read: ReadFrameSet,
    frames: Decoded,
    /// The files that the target's [`Encode`] made.
    encoded: Vec<EncodedFile>,
}

/// A file made of a frame.
struct EncodedFile {
    /// The folder that it belongs to, below that of the camera.
    folder: String,
    extension: &'static str,
    bytes: io::Result<Vec<u8>>,
}

/// Makes files of frames, for several framesets in parallel.
type Encode = Arc<dyn Fn(&Decoded) -> Vec<EncodedFile> + Send + Sync>;

/// The files made from the framesets of one camera.
trait ExportTarget {
    /// Returns the function that encodes files in advance, on another thread; `None` if [`Self::write`] encodes all of them.
    fn encode(&self) -> Option<Encode> {
        None
    }

    /// Writes a frameset. Returns whether it has a file, and the first problem of a stream that is left out.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn write(&mut self, taken: &ExportedFrameSet) -> io::Result<(bool, Option<String>)>;

    /// Completes the files. Returns a note about them beside their number.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn finish(&mut self) -> io::Result<Option<String>> {
        Ok(None)
    }
}

/// A camera, and its files.
struct Exported {
    path: PathBuf,
    prepare: Arc<Prepare>,
    target: Box<dyn ExportTarget>,
    written: u64,
}

/// The steps applied to a frameset of a camera before it is written.
struct Prepare {
    depth_unit_meters: f32,
    align: Option<AlignDepth>,
    encode: Option<Encode>,
}

/// A part of a recording that is ready to be written.
struct Prepared {
    camera: String,
    content: Result<ExportedFrameSet, String>,
    /// A problem with a frame of it.
    problem: Option<String>,
}

/// An export in progress.
struct Export {
    chosen: Chosen,
    /// The name of each camera in the export, and its files.
    exported: BTreeMap<String, (String, Exported)>,
    problems: Problems,
}

pub(super) fn export(args: &ExportArgs) -> Result<String, CommandError> {
    let (parts, chosen) = open(args)?;
    if args.align && !matches!(args.format, Format::Png | Format::Npy | Format::Tum | Format::Open3d) {
        let text = "`--align` is of formats with images of depth: `png`, `npy`, `tum`, `open3d`";
        return Err(CommandError::Usage(text.to_owned()));
    }
    if args.format == Format::Mp4 {
        mp4::check().map_err(|error| CommandError::Create(error.to_string()))?;
    }
    let fail = |error: io::Error| {
        CommandError::Create(format!("cannot write into `{}`: {error}", args.output.display()))
    };
    let wanted = parts.cameras().into_iter().filter(|camera| chosen.has(&camera.name));
    let cameras: Vec<_> = wanted.collect();
    let scene = Scene::create(args, &cameras, fail)?;
    make_output(&args.output).map_err(fail)?;
    let mut problems = Problems::default();
    let mut exported = BTreeMap::new();
    for camera in cameras {
        let name = chosen.name_of(&camera.name).to_owned();
        match Exported::new(camera, &name, args, scene.as_ref()) {
            Ok(made) => drop(exported.insert(camera.name.clone(), (name, made))),
            Err(NotExported::LeftOut(reason)) => {
                problems.add(format!("`{}` is left out: {reason}", camera.name));
            }
            Err(NotExported::Output(error)) => return Err(fail(error)),
        }
    }
    interrupt::receive();
    let mut export = Export { chosen, exported, problems };
    export.write_all(&parts).map_err(fail)?;
    let Export { exported, mut problems, .. } = export;
    problems.extend(parts.problem().map(|problem| format!("the recording continues, but {problem}")));
    let mut text = String::new();
    for (name, mut camera) in exported.into_values() {
        let more = camera.target.finish().map_err(fail)?.map(|more| format!("; {more}")).unwrap_or_default();
        let written = counted(camera.written, "frameset");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {written} in {}{more}", camera.path.display());
    }
    if interrupt::is_requested() {
        return Err(CommandError::Interrupted(text.trim_end().replace('\n', "; ")));
    }
    let problems = problems.finish();
    if problems.is_empty() { Ok(text) } else { Err(CommandError::Damaged { text, problems }) }
}

impl Export {
    /// Writes the framesets of a recording, unless Ctrl-C ends it.
    fn write_all(&mut self, parts: &Parts) -> io::Result<()> {
        let mut bar = FilesBar::new(parts, "writing");
        let mut work = InOrder::start();
        for recording in parts.files() {
            let mut contents =
                recording.contents(|camera| self.exported.contains_key(&camera.name), 0..u64::MAX);
            while let Some((index, content)) = contents.next(recording).filter(|_| !interrupt::is_requested())
            {
                bar.set_position(contents.position_bytes(recording));
                let camera = recording.cameras()[index].name.clone();
                let Some((_, exported)) = self.exported.get(&camera) else { continue };
                let (size_bytes, content) = match content {
                    Content::FrameSet(read) => match self.chosen.next(&camera, read.record.sequence) {
                        Some(name) => (read.size_bytes(), Ok((name, read))),
                        None => continue,
                    },
                    Content::Gap(_) => continue,
                    Content::Unreadable { error, .. } => (0, Err(error.to_string())),
                };
                let prepare = Arc::clone(&exported.prepare);
                while let Some(prepared) = work.take_before(size_bytes) {
                    self.write(prepared)?;
                }
                work.give(size_bytes, move || prepare.prepare(camera, content));
            }
            bar.finish_file(recording);
        }
        while let Some(prepared) = work.take() {
            self.write(prepared)?;
        }
        bar.finish();
        Ok(())
    }

    fn write(&mut self, prepared: Prepared) -> io::Result<()> {
        let Prepared { camera, content, problem } = prepared;
        let problem = match (content, self.exported.get_mut(&camera)) {
            (Ok(taken), Some((_, exported))) => problem.or(exported.write(&taken)?),
            (content, _) => content.err(),
        };
        self.problems.extend(problem.map(|problem| format!("`{camera}`: {problem}")));
        Ok(())
    }
}

/// Opens the recording of an export, and checks which framesets are wanted.
pub(super) fn open(args: &ExportArgs) -> Result<(Parts, Chosen), CommandError> {
    let parts = progress::open(&args.file)?;
    if parts.cameras().is_empty() {
        return Err(ReadError::new(&args.file, "has no cameras, so there is nothing to export").into());
    }
    let chosen = Chosen::new(&parts, args)?;
    Ok((parts, chosen))
}

/// The reason why nothing is made of a camera.
enum NotExported {
    LeftOut(String),
    Output(io::Error),
}

impl From<io::Error> for NotExported {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Exported {
    fn new(
        camera: &RecordedCamera,
        name: &str,
        args: &ExportArgs,
        scene: Option<&Rc<Scene>>,
    ) -> Result<Self, NotExported> {
        let is_aligned =
            args.align || args.format.is_aligned() || scene.is_some_and(|scene| scene.has_depth());
        let (align, info) = if is_aligned {
            let (align, info) =
                aligned(&camera.info).map_err(|error| NotExported::LeftOut(error.to_string()))?;
            (Some(align), info)
        } else {
            (None, camera.info.clone())
        };
        let (path, target) = if let Some(scene) = scene {
            scene.add(&camera.name, name, &camera.info)?
        } else {
            let path = folder::of_camera(&args.output, name)?;
            let target = target(&path, &info, args)?;
            (path, target)
        };
        let depth_unit_meters = camera.info.depth_unit_meters;
        let prepare = Arc::new(Prepare { depth_unit_meters, align, encode: target.encode() });
        Ok(Self { path, prepare, target, written: 0 })
    }

    /// Writes a frameset. Returns the problem of a part that is left out.
    fn write(&mut self, taken: &ExportedFrameSet) -> io::Result<Option<String>> {
        let (is_written, problem) = self.target.write(taken)?;
        self.written += u64::from(is_written);
        Ok(problem)
    }
}

impl Prepare {
    /// Decodes, aligns and encodes a frameset of this name; a problem is passed on unchanged.
    fn prepare(&self, camera: String, content: Result<(String, ReadFrameSet), String>) -> Prepared {
        let mut problem = None;
        let content = content.and_then(|(name, read)| {
            let mut frames = Decoded::new(&read).map_err(|error| error.to_string())?;
            let aligned =
                self.align.as_ref().map_or(Ok(()), |align| frames.align(align, self.depth_unit_meters));
            problem = aligned.err().map(|error| format!("depth is not aligned: {error}"));
            let encoded = self.encode.as_ref().map_or_else(Vec::new, |encode| encode(&frames));
            Ok(ExportedFrameSet { name, read, frames, encoded })
        });
        Prepared { camera, content, problem }
    }
}

/// Creates the files of a camera in this folder.
fn target(path: &Path, info: &CameraInfo, args: &ExportArgs) -> io::Result<Box<dyn ExportTarget>> {
    Ok(match args.format {
        Format::Tum => Box::new(Tum::create(path, info)?),
        Format::Open3d => Box::new(Open3d::create(path, info)?),
        Format::Mp4 => Box::new(Videos::create(path, info, args.every)?),
        // Those of ROS are in one file, by a function of their own, and scenes in one list.
        Format::Png
        | Format::Npy
        | Format::Ply
        | Format::Pcd
        | Format::Ros2
        | Format::Colmap
        | Format::Nerf => Box::new(Images::create(path, info, args.format)?),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use camrig::frame::{Extrinsics, PointCloudError, Stream};

    use super::*;
    use crate::compression::Compression;
    use crate::format::FrameSetRecord;
    use crate::record::testing::{
        PERIOD, TestFolder, write, write_apart, write_restarted, write_without_color,
    };

    impl ExportArgs {
        /// Returns the arguments of an export of everything.
        pub(in super::super) fn all(file: &Path, output: &Path, format: Format) -> Self {
            let (file, output) = (file.to_owned(), output.to_owned());
            let (camera, rename, calibration) = (Vec::new(), Vec::new(), None);
            Self {
                file,
                output,
                format,
                camera,
                every: 1,
                match_nanos: None,
                align: false,
                calibration,
                rename,
            }
        }
    }

    fn args(folder: &TestFolder, format: Format) -> ExportArgs {
        ExportArgs::all(&folder.path().join("rig.mcap"), &folder.path().join("out"), format)
    }

    fn names(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = TestFolder::new("overwrite");
        write(&folder.path().join("rig.mcap"), &["front"], 2, Compression::None, &[]);
        export(&args(&folder, Format::Png)).unwrap();
        let list = fs::read_to_string(folder.path().join("out/front/framesets.jsonl")).unwrap();
        assert_eq!(list.lines().count(), 2);
        let error = export(&args(&folder, Format::Png)).unwrap_err().to_string();
        let file = folder.path().join("out/front/camera.json");
        assert!(error.ends_with(&format!("`{}`: File exists (os error 17)", file.display())), "{error}");
    }

    #[test]
    fn folders_above_the_output_are_not_created() {
        let folder = TestFolder::new("parents");
        write(&folder.path().join("rig.mcap"), &["front"], 1, Compression::None, &[]);
        let no = folder.path().join("no");
        for format in [Format::Png, Format::Ros2] {
            let args = ExportArgs { output: no.join("out"), ..args(&folder, format) };
            let exported =
                if format == Format::Ros2 { super::super::ros2::export(&args) } else { export(&args) };
            let expected = format!(": there is no folder `{}`; create it first", no.display());
            let error = exported.unwrap_err().to_string();
            assert!(error.ends_with(&expected), "{error}");
        }
        assert!(!no.exists());
    }

    #[test]
    fn framesets_of_the_same_number_have_names_of_their_own() {
        let folder = TestFolder::new("collide");
        write_restarted(&folder.path().join("rig.mcap"), "front", &[2, 1]);
        export(&args(&folder, Format::Npy)).unwrap();
        let expected = ["000000-2.npy", "000000.npy", "000001.npy"];
        assert_eq!(names(&folder.path().join("out/front/depth")), expected);
    }

    #[test]
    fn framesets_that_are_left_out_are_not_counted() {
        let folder = TestFolder::new("count");
        let path = folder.path().join("rig.mcap");
        write_without_color(&path, "front", 5);
        for format in [Format::Open3d, Format::Colmap] {
            let output = folder.path().join(format!("{format:?}"));
            let Err(CommandError::Damaged { text, problems }) =
                export(&ExportArgs::all(&path, &output, format))
            else {
                panic!("{format:?}")
            };
            assert!(text.starts_with("front: 3 framesets in "), "{format:?}: {text}");
            assert_eq!(problems.len(), 2, "{problems:?}");
        }
    }

    /// Returns the width and the height of a PNG file.
    fn png_size(path: &Path) -> (u32, u32) {
        let bytes = fs::read(path).unwrap();
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        (number(16), number(20))
    }

    #[test]
    fn a_data_set_of_tum_has_lists_with_times() {
        let folder = TestFolder::new("tum");
        write(&folder.path().join("rig.mcap"), &["front"], 3, Compression::None, &[]);
        let text = export(&args(&folder, Format::Tum)).unwrap();
        assert!(text.ends_with("; the distortion of color (brown-conrady) is not corrected\n"), "{text}");
        let camera = folder.path().join("out/front");
        // The times of a hardware clock become those of the wall.
        let times = ["1790000000.000000", "1790000000.033333", "1790000000.066666"];
        let list = |name: &str, lines: [String; 3]| {
            let text = fs::read_to_string(camera.join(name)).unwrap();
            assert_eq!(text.lines().skip_while(|line| line.starts_with('#')).collect::<Vec<_>>(), lines);
        };
        list("rgb.txt", times.map(|at| format!("{at} rgb/{at}.png")));
        list("depth.txt", times.map(|at| format!("{at} depth/{at}.png")));
        list("associations.txt", times.map(|at| format!("{at} rgb/{at}.png {at} depth/{at}.png")));
        for kind in ["rgb", "depth"] {
            assert_eq!(png_size(&camera.join(format!("{kind}/{}.png", times[2]))), (16, 12), "{kind}");
        }
    }

    #[test]
    fn a_data_set_of_open3d_has_intrinsics_of_color() {
        let folder = TestFolder::new("open3d");
        write(&folder.path().join("rig.mcap"), &["front"], 2, Compression::None, &[]);
        export(&args(&folder, Format::Open3d)).unwrap();
        let camera = folder.path().join("out/front");
        assert_eq!(names(&camera), ["camera_intrinsic.json", "color", "config.json", "depth"]);
        for kind in ["color", "depth"] {
            assert_eq!(names(&camera.join(kind)), ["000000.png", "000001.png"]);
            assert_eq!(png_size(&camera.join(kind).join("000001.png")), (16, 12), "{kind}");
        }
        let json = |name: &str| {
            let text = fs::read(camera.join(name)).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()
        };
        let matrix = [12.5, 0.0, 0.0, 0.0, 12.75, 0.0, 8.5, 6.25, 1.0];
        let expected = serde_json::json!({ "width": 16, "height": 12, "intrinsic_matrix": matrix });
        assert_eq!(json("camera_intrinsic.json"), expected);
        assert_eq!(json("config.json")["depth_scale"], 1000.0);
    }

    #[test]
    fn aligned_depth_has_the_lens_and_the_place_of_color() {
        let folder = TestFolder::new("aligned");
        write(&folder.path().join("rig.mcap"), &["front"], 1, Compression::None, &[]);
        export(&ExportArgs { align: true, ..args(&folder, Format::Png) }).unwrap();
        let camera = folder.path().join("out/front");
        assert_eq!(png_size(&camera.join("depth/000000.png")), (16, 12));
        let info: CameraInfo =
            serde_json::from_slice(&fs::read(camera.join("camera.json")).unwrap()).unwrap();
        let [color, depth] = [Stream::COLOR, Stream::DEPTH].map(|stream| *info.stream(stream).unwrap());
        assert_eq!((depth.intrinsics, depth.payload.size()), (color.intrinsics, Some((16, 12))));
        assert_eq!([color.to_depth, depth.to_depth], [Some(Extrinsics::IDENTITY); 2]);
        let error =
            export(&ExportArgs { align: true, ..args(&folder, Format::Ply) }).unwrap_err().to_string();
        assert_eq!(error, "`--align` is of formats with images of depth: `png`, `npy`, `tum`, `open3d`");
    }

    #[test]
    fn matched_framesets_have_the_same_name() {
        let folder = TestFolder::new("together");
        // One period and 2 ms apart: the first frameset of one camera and the last one of the other have no partner.
        write_apart(&folder.path().join("rig.mcap"), &["front", "rear"], 6, PERIOD + 2_000_000);
        let every = ExportArgs { match_nanos: Some(5_000_000), every: 2, ..args(&folder, Format::Npy) };
        let rename = vec!["front=left".parse().unwrap(), "rear=right".parse().unwrap()];
        let text = export(&ExportArgs { rename, ..every }).unwrap();
        let out = folder.path().join("out");
        let expected =
            ["left", "right"].map(|name| format!("{name}: 3 framesets in {}\n", out.join(name).display()));
        assert_eq!(text, expected.concat());
        let sequences = |name: &str| {
            assert_eq!(names(&out.join(name).join("depth")), ["000000.npy", "000002.npy", "000004.npy"]);
            let list = fs::read_to_string(out.join(name).join("framesets.jsonl")).unwrap();
            let sequence = |line: &str| serde_json::from_str::<FrameSetRecord>(line).unwrap().sequence;
            list.lines().map(sequence).collect::<Vec<_>>()
        };
        assert_eq!((sequences("left"), sequences("right")), (vec![1, 3, 5], vec![0, 2, 4]));
    }

    #[test]
    fn names_of_cameras_do_not_collide() {
        let folder = TestFolder::new("names");
        write(&folder.path().join("rig.mcap"), &["front", "rear"], 1, Compression::None, &[]);
        let failing = |rename: &str| {
            let rename = vec![rename.parse().unwrap()];
            export(&ExportArgs { rename, ..args(&folder, Format::Png) }).unwrap_err().to_string()
        };
        assert_eq!(failing("front=rear"), "`front` and `rear` would both be called `rear`");
        let error = failing("top=left");
        assert!(error.starts_with("`--rename` is `top`: `"), "{error}");
        for wrong in ["front", "front=", "=left", "front=../left", "front=.."] {
            assert!(wrong.parse::<Rename>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stream_without_calibration_does_not_end_the_others() {
        let folder = TestFolder::new("uncalibrated");
        // The calibration of these cameras is of another size than its images need for points.
        write(&folder.path().join("rig.mcap"), &["front", "rear"], 3, Compression::None, &[]);
        let mut info = crate::record::testing::info("front");
        info.streams.iter_mut().for_each(|stream| stream.intrinsics = None);
        let unknown = PointCloudError::NoIntrinsics(Stream::DEPTH);
        assert!(matches!(point_cloud(&info), Err(PointsError::Cloud(error)) if error == unknown));
        let done = export(&args(&folder, Format::Ply));
        let text = match done {
            Ok(text) | Err(CommandError::Damaged { text, .. }) => text,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(text.lines().count(), 2, "{text}");
        for camera in ["front", "rear"] {
            let list =
                fs::read_to_string(folder.path().join("out").join(camera).join("framesets.jsonl")).unwrap();
            assert_eq!(list.lines().count(), 3);
        }
    }
}
