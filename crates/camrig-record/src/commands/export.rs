//! `recording export`: frames as image files, for programs without support for recordings.
//!
//! A folder per camera, with `camera.json`, which contains calibration and depth unit, `framesets.jsonl`, which has one
//! line per frameset, and a folder per stream, with files named by frameset number. Where the numbers of a camera begin
//! anew, as after a restart of its rig, the names get a suffix: `000000-2`. Motion is exported as CSV files, independent
//! of the image format.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use camrig::files::NewFile;
use camrig::frame::{
    CameraInfo, ColorView, DType, DepthView, Frame, Intrinsics, MJPEG, MessageView, MotionView, Payload,
    PointCloud, PointCloudError, PointsView, Role, Stream, TensorView,
};
use camrig::{encode_csv, encode_ply, probe_folder};
use camrig_image::{LightImage, Picture};

use super::edit::check_camera;
use super::{CommandError, bar, counted, interrupt, size_bytes};
use crate::npy;
use crate::read::{
    Content, FrameSetError, Parts, ReadFrameSet, RecordedCamera, image_data, shown_header, write_pixels,
};

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
    /// Only this camera; may be given again
    #[arg(long, value_name = "NAME")]
    pub(super) camera: Vec<String>,
    /// Only every N-th frameset of each camera
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) every: u64,
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
    /// Messages of ROS 2 in one MCAP file, with the topics of realsense-ros
    Ros2,
}

pub(super) fn export(args: &ExportArgs) -> Result<String, CommandError> {
    let looking = bar(size_bytes(&args.file), "reading");
    let parts = Parts::open(&args.file, &|at| looking.set_position(at))?;
    looking.finish_and_clear();
    for name in &args.camera {
        check_camera("--camera", &parts, name)?;
    }
    let fail = |error: io::Error| {
        CommandError::Create(format!("cannot write into `{}`: {error}", args.output.display()))
    };
    make_output(&args.output).map_err(fail)?;
    let wanted = |camera: &RecordedCamera| args.camera.is_empty() || args.camera.contains(&camera.name);
    let mut folders = BTreeMap::new();
    for camera in parts.cameras().into_iter().filter(|camera| wanted(camera)) {
        folders.insert(&camera.name, CameraFolder::make(&args.output, camera, args).map_err(fail)?);
    }
    let mut problems = Vec::new();
    interrupt::receive();
    for recording in parts.files() {
        let bar = bar(recording.size_bytes(), "writing");
        let mut contents = recording.contents(wanted, 0..u64::MAX);
        while let Some((index, content)) = contents.next(recording).filter(|_| !interrupt::is_requested()) {
            bar.set_position(contents.position_bytes(recording));
            let camera = &recording.cameras()[index];
            let Some(folder) = folders.get_mut(&camera.name) else { continue };
            let shown = match content {
                Content::FrameSet(frameset) => Shown::new(&frameset).map(|shown| (frameset, shown)),
                Content::Gap(_) => continue,
                Content::Unreadable { error, .. } => Err(error),
            };
            match shown {
                Ok((frameset, shown)) => {
                    let left_out = folder.write(&frameset, &shown).map_err(fail)?;
                    problems.extend(left_out.map(|problem| format!("`{}`: {problem}", camera.name)));
                }
                Err(error) => problems.push(format!("`{}`: {error}", camera.name)),
            }
        }
        bar.finish_and_clear();
    }
    problems.extend(parts.problem().map(|problem| format!("the recording continues, but {problem}")));
    let mut text = String::new();
    for (name, folder) in folders {
        let CameraFolder { path, written, .. } = folder;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {} in {}", counted(written, "frameset"), path.display());
    }
    if interrupt::is_requested() {
        return Err(CommandError::Interrupted(text.trim_end().replace('\n', "; ")));
    }
    if problems.is_empty() { Ok(text) } else { Err(CommandError::Damaged { text, problems }) }
}

/// The decoded frames of a frameset.
struct Shown(Vec<(camrig::frame::FrameHeader, Vec<u8>)>);

impl Shown {
    fn new(frameset: &ReadFrameSet) -> Result<Self, FrameSetError> {
        let headers: Vec<_> = frameset.record.frames.iter().map(shown_header).collect();
        // The sizes come from a file and are unverified.
        camrig::frame::Layout::of(&headers)?;
        let frames = frameset.record.frames.iter().zip(&frameset.images).zip(headers);
        let frames = frames.map(|((frame, message), header)| {
            let mut pixels = vec![0; header.size_bytes() as usize];
            write_pixels(frame, &image_data(frame, message.clone())?, &mut pixels)?;
            Ok((header, pixels))
        });
        frames.collect::<Result<_, FrameSetError>>().map(Self)
    }
}

impl Shown {
    fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        // Each was created with the length given by its header.
        self.0.iter().filter_map(|(header, pixels)| Frame::new(header, pixels).ok())
    }

    /// Returns the frameset's points as a file, either recorded or computed from its depth; `None` without either.
    fn ply(
        &self,
        cloud: &Result<PointCloud, PointsError>,
        depth_unit_meters: f32,
    ) -> Result<Option<Vec<u8>>, PointsError> {
        if let Some(points) = self.frames().find_map(PointsView::new) {
            return Ok(Some(encode_ply(&points)));
        }
        let depth = self.frames().find_map(|frame| DepthView::new(frame, depth_unit_meters, None));
        let Some(depth) = depth else { return Ok(None) };
        let cloud = cloud.as_ref().map_err(PointsError::clone)?;
        let header = PointCloud::header(depth.frame().header());
        let mut points = vec![0; header.size_bytes() as usize];
        let color = self.frames().find(|frame| frame.stream() == Stream::COLOR);
        let color =
            color.map(LightImage::new).transpose().map_err(|error| PointsError::Color(error.to_string()))?;
        let color = color.flatten();
        let color = color.as_ref().and_then(LightImage::view);
        cloud.write(&depth, color.as_ref(), &mut points)?;
        let frame = Frame::new(&header, &points).ok();
        Ok(frame.and_then(PointsView::new).map(|points| encode_ply(&points)))
    }
}

/// The reason why a camera's depth cannot become points.
#[derive(Clone, Debug, thiserror::Error)]
enum PointsError {
    #[error("the camera has no depth")]
    NoDepth,
    #[error("the calibration of depth is not known, or of another size")]
    NoCalibration,
    #[error("its color is a JPEG that cannot be decoded: {0}")]
    Color(String),
    #[error(transparent)]
    Cloud(#[from] PointCloudError),
}

/// Creates the converter of a camera's depth to points.
fn point_cloud(info: &CameraInfo) -> Result<PointCloud, PointsError> {
    let depth = info.stream_of(Role::Depth).ok_or(PointsError::NoDepth)?;
    // Sizes in a file must not determine the memory consumption.
    let fits = |lens: &Intrinsics| depth.payload.size() == Some((lens.width, lens.height));
    if !depth.intrinsics.as_ref().is_some_and(fits) {
        return Err(PointsError::NoCalibration);
    }
    let color =
        info.stream(Stream::COLOR).filter(|color| color.intrinsics.is_some() && color.to_depth.is_some());
    Ok(PointCloud::new(depth, color)?)
}

/// Destination of a camera's frames.
struct CameraFolder {
    path: PathBuf,
    /// Written line by line, so that it lists all exported framesets whenever the program ends.
    list: File,
    format: Format,
    depth_unit_meters: f32,
    /// The converter from depth to points, or the reason why it is unavailable; `None` if not requested.
    points: Option<Result<PointCloud, PointsError>>,
    every: u64,
    seen: u64,
    written: u64,
    /// The number of the last frameset, and the number of times that the numbers restarted.
    last: Option<u64>,
    rounds: u32,
    /// The streams that are left out, each of which is reported once.
    left_out: HashSet<Stream>,
}

impl CameraFolder {
    fn make(output: &Path, camera: &RecordedCamera, args: &ExportArgs) -> io::Result<Self> {
        // A name from a file must not select another folder.
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if !camera.name.split('/').all(plain) {
            return Err(io::Error::other(format!("`{}` is not the name of a folder", camera.name)));
        }
        let path = output.join(&camera.name);
        make_folder(&path)?;
        let info = serde_json::to_vec_pretty(&camera.info)?;
        create(&path.join("camera.json"), &info)?;
        let list = path.join("framesets.jsonl");
        let list = File::create_new(&list).map_err(|error| named(&list, &error))?;
        let points = (args.format == Format::Ply).then(|| point_cloud(&camera.info));
        let depth_unit_meters = camera.info.depth_unit_meters;
        let (format, every) = (args.format, args.every);
        Ok(Self {
            path,
            list,
            format,
            depth_unit_meters,
            points,
            every,
            seen: 0,
            written: 0,
            last: None,
            rounds: 1,
            left_out: HashSet::new(),
        })
    }

    /// Writes a frameset. Returns the first problem of a stream that is left out.
    fn write(&mut self, frameset: &ReadFrameSet, shown: &Shown) -> io::Result<Option<String>> {
        let sequence = frameset.record.sequence;
        self.rounds += u32::from(self.last.replace(sequence).is_some_and(|last| sequence <= last));
        let wanted = self.seen.is_multiple_of(self.every);
        self.seen += 1;
        if !wanted {
            return Ok(None);
        }
        let name = match self.rounds {
            1 => format!("{sequence:06}"),
            rounds => format!("{sequence:06}-{rounds}"),
        };
        let mut problem = None;
        let write = |folder: &str, extension: &str, bytes: Vec<u8>| {
            let folder = self.path.join(folder);
            make_folder(&folder)?;
            create(&folder.join(format!("{name}.{extension}")), &bytes)
        };
        if let Some(points) = &self.points {
            match shown.ply(points, self.depth_unit_meters) {
                Ok(Some(ply)) => write("points", "ply", ply)?,
                Err(error) if self.left_out.insert(Stream::DEPTH) => {
                    problem = Some(format!("depth has no points: {error}"));
                }
                Ok(None) | Err(_) => {}
            }
        } else {
            for frame in shown.frames() {
                if let Some((extension, file)) = image_file(frame, self.format) {
                    write(frame.stream().name(), extension, file?)?;
                } else if PointsView::new(frame).is_some() && self.left_out.insert(frame.stream()) {
                    problem = Some(format!("{} is no image: `--format ply` writes points", frame.stream()));
                }
            }
        }
        for frame in shown.frames() {
            let stream = frame.stream();
            if let Some(motion) = MotionView::new(frame) {
                write(stream.name(), "csv", encode_csv(&motion))?;
            } else if let Some(tensor) = TensorView::new(frame) {
                write(stream.name(), "npy", npy::file(tensor.dtype(), tensor.shape(), tensor.bytes()))?;
            } else if let Some(message) = MessageView::new(frame) {
                write(stream.name(), extension_of(message.encoding()), message.bytes().to_vec())?;
            } else if let Payload::Encoded { codec, .. } = frame.payload() {
                let extension = if *codec == MJPEG { "jpg" } else { extension_of(codec.as_str()) };
                write(stream.name(), extension, frame.bytes().to_vec())?;
            }
        }
        let mut line = serde_json::to_vec(&frameset.record)?;
        line.push(b'\n');
        self.list.write_all(&line)?;
        self.written += 1;
        Ok(problem)
    }
}

/// Creates a file, whole or not at all, that does not exist.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let create = || {
        let mut file = NewFile::creating(path)?;
        file.file().write_all(bytes)?;
        file.keep()
    };
    create().map_err(|error| named(path, &error))
}

/// Returns an error that names the file, which is below the folder that the user named.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// Creates the folder that the user named, if it does not exist. Folders above it are the user's to create.
///
/// # Errors
/// If it cannot be created, as when its parent does not exist.
pub(super) fn make_output(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    probe_folder(parent).map_err(io::Error::other)?;
    fs::create_dir(path)
}

/// Creates a folder below the user's, with those between.
fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path).map_err(|error| named(path, &error))
}

/// Returns the file extension for this encoding. The encoding comes from a file and must not affect the rest of the
/// path.
fn extension_of(encoding: &str) -> &str {
    let plain = encoding.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain && !encoding.is_empty() { encoding } else { "bin" }
}

/// An image as a PNG file, with its extension, or as a `NumPy` file where PNG does not have its numbers. Returns `None`
/// when the frame is not an image.
fn image_file(frame: Frame<'_>, format: Format) -> Option<(&'static str, io::Result<Vec<u8>>)> {
    let picture = if format == Format::Png { Picture::plain(frame) } else { None };
    match picture {
        Some(picture) => Some(("png", picture.to_png())),
        None => Some(("npy", Ok(image_npy(frame)?))),
    }
}

/// An image as an array of its numbers, color as red, green and blue. Returns `None` when the frame is not an image.
fn image_npy(frame: Frame<'_>) -> Option<Vec<u8>> {
    let format = frame.payload().pixel_format()?;
    let color = ColorView::new(frame).filter(|_| format.is_colored());
    let (element, channels, pixels) = match color {
        Some(color) => (DType::U8, 3, color.to_rgb8()),
        None => (format.element(), format.channels(), frame.rows().flatten().copied().collect()),
    };
    let shape = [frame.height(), frame.width(), channels];
    let dimensions = if channels == 1 { 2 } else { 3 };
    Some(npy::file(element, &shape[..dimensions], &pixels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::record::testing::{TestFolder, write, write_restarted};

    fn args(folder: &TestFolder, format: Format) -> ExportArgs {
        let (file, output) = (folder.path().join("rig.mcap"), folder.path().join("out"));
        ExportArgs { file, output, format, camera: Vec::new(), every: 1 }
    }

    fn names(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
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
    fn framesets_of_the_same_number_have_names_of_their_own() {
        let folder = TestFolder::new("collide");
        write_restarted(&folder.path().join("rig.mcap"), "front", &[2, 1]);
        export(&args(&folder, Format::Npy)).unwrap();
        let expected = ["000000-2.npy", "000000.npy", "000001.npy"];
        assert_eq!(names(&folder.path().join("out/front/depth")), expected);
    }

    #[test]
    fn a_stream_without_calibration_does_not_end_the_others() {
        let folder = TestFolder::new("uncalibrated");
        // The calibration of these cameras is of another size than its images need for points.
        write(&folder.path().join("rig.mcap"), &["front", "rear"], 3, Compression::None, &[]);
        let mut info = crate::record::testing::info("front");
        info.streams.iter_mut().for_each(|stream| stream.intrinsics = None);
        assert!(matches!(point_cloud(&info), Err(PointsError::NoCalibration)));
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
