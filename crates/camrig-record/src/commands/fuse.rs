//! `recording fuse`: one surface of the depth of all cameras of a recording, as a mesh.

use std::collections::BTreeMap;
use std::io::{self, BufWriter};
use std::path::PathBuf;

use camrig::files::NewFile;
use camrig::frame::{CameraInfo, Extrinsics, Intrinsics, POINT_BYTES, PointCloud, Role};

use super::edit::{check_camera, range};
use super::export::{Decoded, PointsError, Poses, point_cloud};
use super::problems::Problems;
use super::progress::{self, FilesBar};
use super::{CommandError, counted, interrupt, seconds};
use crate::fusion::{BlockCount, Full, FusedView, Mesh, Volume, write_ply};
use crate::read::{Content, FrameSetError, Parts, ReadError, ReadFrameSet};

/// Maximum number of blocks: 1 GiB.
const MAX_BLOCKS: usize = (1 << 30) / Volume::BLOCK_BYTES;

/// The range of `--voxel`, in millimetres.
const VOXEL_MIN_MILLIMETERS: f32 = 0.5;
const VOXEL_MAX_MILLIMETERS: f32 = 1000.0;

/// Fuse the depth of all cameras into one surface
#[derive(Debug, clap::Args)]
pub(super) struct FuseArgs {
    /// A recording
    file: PathBuf,
    /// The mesh to write, as PLY
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Edge length of the voxels of the surface
    #[arg(long, value_name = "LENGTH", value_parser = millimeters, default_value = "5mm")]
    voxel: f32,
    /// The poses of the cameras, if the recording lacks them: the file that `calibrate` writes
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Only this camera; may be given several times
    #[arg(long, value_name = "NAME")]
    camera: Vec<String>,
    /// Start at this time of the recording
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value_t = 0.0)]
    from: f64,
    /// End before this time of the recording
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    to: Option<f64>,
    /// Only every N-th frameset of each camera
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Leave out depth beyond this distance from its camera
    #[arg(long, value_name = "METERS", value_parser = meters)]
    far: Option<f32>,
}

/// Parses `--voxel`, such as `5mm`. Returns millimetres.
fn millimeters(text: &str) -> Result<f32, &'static str> {
    let millimeters = text.strip_suffix("mm").and_then(|number| number.trim_end().parse().ok());
    millimeters
        .filter(|millimeters| (VOXEL_MIN_MILLIMETERS..=VOXEL_MAX_MILLIMETERS).contains(millimeters))
        .ok_or("expected a length of 0.5 to 1000 millimetres, such as 5mm")
}

/// Parses `--far`.
fn meters(text: &str) -> Result<f32, &'static str> {
    text.parse().ok().filter(|meters| *meters > 0.0).ok_or("expected a number of metres, more than 0")
}

/// A camera with depth and a pose.
struct Source {
    cloud: PointCloud,
    lens: Intrinsics,
    depth_unit_meters: f32,
    to_root: Extrinsics,
}

/// The views of a recording that are wanted.
struct Views<'a> {
    args: &'a FuseArgs,
    parts: &'a Parts,
    sources: BTreeMap<String, Source>,
}

pub(super) fn fuse(args: &FuseArgs) -> Result<String, CommandError> {
    fuse_within(args, MAX_BLOCKS)
}

/// Fuses a recording with at most this many blocks of voxels.
fn fuse_within(args: &FuseArgs, max_blocks: usize) -> Result<String, CommandError> {
    let output = args.output.display();
    let fail = |error: io::Error| CommandError::Create(format!("cannot write `{output}`: {error}"));
    let parts = progress::open(&args.file)?;
    let views = Views { args, parts: &parts, sources: sources(args, &parts)? };
    interrupt::receive();
    let mut file = NewFile::creating(&args.output).map_err(fail)?;
    let mut volume = Volume::new(args.voxel / 1000.0, max_blocks);
    let mut problems = Problems::default();
    let Ok(used) = views.each("fusing", &mut problems, |view| volume.integrate(view))? else {
        drop(volume);
        return Err(views.larger_voxels(max_blocks)?);
    };
    problems.extend(parts.problem().map(|problem| format!("the recording continues, but {problem}")));
    let mesh = Mesh::of(&volume);
    drop(volume);
    if mesh.triangles.is_empty() {
        let reason = problems.finish().into_iter().next().map(|problem| format!(": {problem}"));
        let what = format!("shows no surface in the chosen framesets{}", reason.unwrap_or_default());
        return Err(ReadError::new(&args.file, what).into());
    }
    write_ply(&mesh, BufWriter::new(file.file())).and_then(|()| file.keep()).map_err(fail)?;
    let text = format!(
        "{output}: {} of {} of {}\n",
        counted(mesh.triangles.len() as u64, "triangle"),
        counted(used, "frameset"),
        counted(views.sources.len() as u64, "camera"),
    );
    let problems = problems.finish();
    if problems.is_empty() { Ok(text) } else { Err(CommandError::Damaged { text, problems }) }
}

/// Returns the cameras with depth.
///
/// # Errors
/// If there is none, or the place or the lens of one is not known.
fn sources(args: &FuseArgs, parts: &Parts) -> Result<BTreeMap<String, Source>, CommandError> {
    for name in &args.camera {
        check_camera("--camera", parts, name)?;
    }
    let poses = args.calibration.as_deref().map(Poses::read).transpose()?;
    let is_wanted = |name: &String| args.camera.is_empty() || args.camera.contains(name);
    let cameras: Vec<_> = (parts.cameras().into_iter())
        .filter(|camera| is_wanted(&camera.name) && camera.info.stream_of(Role::Depth).is_some())
        .collect();
    let roots = cameras.iter().filter_map(|camera| camera.info.pose.as_ref().map(|pose| &pose.root));
    let mut roots: Vec<_> = roots.collect();
    roots.sort();
    roots.dedup();
    if let ([first, second, ..], None) = (&*roots, &poses) {
        let text = format!(
            "the poses of the cameras are those of two rigs, with the roots `{first}` and `{second}`: choose by `--camera`"
        );
        return Err(CommandError::Usage(text));
    }
    let place = |name: &str, info: &CameraInfo| match (&poses, &info.pose) {
        (Some(poses), _) => poses.of_camera(name, info),
        (None, Some(pose)) => Ok(Extrinsics::from_quaternion(pose.quaternion_xyzw, pose.translation_meters)),
        (None, None) if cameras.len() == 1 => Ok(Extrinsics::IDENTITY),
        (None, None) => Err(
            "its pose is not in the recording: `--calibration` takes the file of `camrig calibrate`, and \
                             `--camera` one of the cameras"
                .to_owned(),
        ),
    };
    let mut sources = BTreeMap::new();
    for camera in &cameras {
        let source = Source::new(&camera.info, |info| place(&camera.name, info));
        let source =
            source.map_err(|error| CommandError::Usage(format!("camera `{}`: {error}", camera.name)))?;
        sources.insert(camera.name.clone(), source);
    }
    if sources.is_empty() {
        return Err(ReadError::new(&args.file, "has no camera with depth").into());
    }
    Ok(sources)
}

impl Source {
    fn new(
        info: &CameraInfo,
        place: impl FnOnce(&CameraInfo) -> Result<Extrinsics, String>,
    ) -> Result<Self, String> {
        let cloud = point_cloud(info).map_err(|error| error.to_string())?;
        let lens = info.stream_of(Role::Depth).and_then(|depth| depth.intrinsics);
        let lens = lens.ok_or("the intrinsics of depth are not known")?;
        Ok(Self { cloud, lens, depth_unit_meters: info.depth_unit_meters, to_root: place(info)? })
    }

    /// Returns the points of a frameset, one for each pixel; `None` without depth.
    fn points(&self, read: &ReadFrameSet) -> Result<Option<Vec<u8>>, Unusable> {
        let frames = Decoded::new(read)?;
        let Some(depth) = frames.depth(self.depth_unit_meters) else { return Ok(None) };
        Ok(Some(frames.points_of(&depth, &self.cloud)?))
    }
}

/// The reason why a frameset is not used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Unusable {
    Read(#[from] FrameSetError),
    Points(#[from] PointsError),
}

impl Views<'_> {
    /// Calls `take` with each view, until it fails. Returns the number of framesets, or its error.
    ///
    /// # Errors
    /// At Ctrl-C, and if the time range is not one of the recording.
    fn each(
        &self,
        what: &'static str,
        problems: &mut Problems,
        mut take: impl FnMut(&FusedView<'_>) -> Result<(), Full>,
    ) -> Result<Result<u64, Full>, CommandError> {
        let Self { args, parts, sources } = self;
        let range = range(&args.file, parts, args.from, args.to)?;
        let mut bar = FilesBar::new(parts, what);
        let (mut found, mut used) = (BTreeMap::new(), 0);
        for recording in parts.files() {
            let mut contents = recording.contents(|camera| sources.contains_key(&camera.name), range.clone());
            while let Some((index, content)) = contents.next(recording) {
                if interrupt::is_requested() {
                    let text = format!("`{}` is not written", args.output.display());
                    return Err(CommandError::Interrupted(text));
                }
                bar.set_position(contents.position_bytes(recording));
                let name = &recording.cameras()[index].name;
                let Some(source) = sources.get(name) else { continue };
                let points = match content {
                    Content::FrameSet(read) => {
                        let number: &mut u64 = found.entry(name).or_default();
                        *number += 1;
                        if !(*number - 1).is_multiple_of(args.every) {
                            continue;
                        }
                        source.points(&read).map_err(|error| error.to_string())
                    }
                    Content::Gap(_) => Ok(None),
                    Content::Unreadable { error, .. } => Err(error.to_string()),
                };
                match points {
                    Ok(Some(points)) => {
                        let (points, _) = points.as_chunks::<{ POINT_BYTES as usize }>();
                        let far_meters = args.far.unwrap_or(f32::INFINITY);
                        let view =
                            FusedView { lens: &source.lens, to_root: source.to_root, points, far_meters };
                        if let Err(full) = take(&view) {
                            return Ok(Err(full));
                        }
                        used += 1;
                    }
                    Ok(None) => {}
                    Err(error) => problems.add(format!("`{name}`: {error}")),
                }
            }
            bar.finish_file(recording);
        }
        bar.finish();
        Ok(Ok(used))
    }

    /// Returns the error that the voxels are too small, with the size that suffices.
    ///
    /// # Errors
    /// At Ctrl-C.
    fn larger_voxels(&self, max_blocks: usize) -> Result<CommandError, CommandError> {
        let voxel = self.args.voxel;
        let doubled = std::iter::successors(Some(voxel * 2.0), |voxel| Some(voxel * 2.0));
        let sizes = doubled.take_while(|voxel| *voxel <= VOXEL_MAX_MILLIMETERS);
        let mut counts: Vec<_> = sizes.map(|voxel| BlockCount::new(voxel / 1000.0, max_blocks)).collect();
        // The problems are those of the first pass over the recording.
        let _ = self.each("measuring", &mut Problems::default(), |view| {
            counts.retain_mut(|count| count.add(view).is_ok());
            Ok(())
        })?;
        let most = (max_blocks * Volume::BLOCK_BYTES) >> 20;
        let larger = match counts.first() {
            Some(count) => format!(
                "take `--voxel {}mm`, or leave out far depth by `--far`",
                count.voxel_meters() * 1000.0
            ),
            None => "leave out far depth by `--far`".to_owned(),
        };
        Ok(CommandError::Usage(format!(
            "the surface needs more than the {most} MiB of voxels that there may be at `--voxel {voxel}mm`: {larger}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use camrig::frame::{PixelFormat, Stream, StreamInfo};

    use super::*;
    use crate::fusion::testing::{Eye, Scene};
    use crate::record::testing::{TestFolder, write_contents};

    /// Maximum of the noise of depth, in millimetres.
    const NOISE: u64 = 2;

    fn args(folder: &TestFolder) -> FuseArgs {
        FuseArgs {
            file: folder.path().join("rig.mcap"),
            output: folder.path().join("mesh.ply"),
            voxel: 5.0,
            calibration: None,
            camera: Vec::new(),
            from: 0.0,
            to: None,
            every: 1,
            far: None,
        }
    }

    /// Returns a camera with depth and color through the lens of this eye.
    fn info(name: &str, eye: &Eye) -> CameraInfo {
        let profile = format!("{}x{}@30", eye.lens.width, eye.lens.height).parse().unwrap();
        let stream = |stream, format| StreamInfo {
            intrinsics: Some(eye.lens),
            to_depth: Some(Extrinsics::IDENTITY),
            ..StreamInfo::image(stream, format, profile)
        };
        CameraInfo {
            name: name.to_owned(),
            streams: vec![stream(Stream::DEPTH, PixelFormat::Z16), stream(Stream::COLOR, PixelFormat::Rgb8)],
            pose: Some(eye.pose.clone()),
            ..CameraInfo::default()
        }
    }

    /// Writes a recording of this many framesets of each camera.
    fn record(folder: &TestFolder, scene: Scene, cameras: &[(CameraInfo, Eye)], framesets: u64) {
        let contents = |(info, eye): &(CameraInfo, Eye)| {
            let images = |seed| Vec::from(eye.images(scene, NOISE, seed));
            (info.clone(), (0..framesets).map(images).collect())
        };
        let contents: Vec<_> = cameras.iter().map(contents).collect();
        write_contents(&folder.path().join("rig.mcap"), &contents);
    }

    /// Returns three cameras in an arc around the ball: in front of it, and 30 degrees to each side.
    fn arc(width: u32, height: u32) -> Vec<(CameraInfo, Eye)> {
        let degrees = [("left", 30.0_f64), ("front", 0.0), ("right", -30.0)];
        let camera = |(name, degrees): (&str, f64)| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let eye = Eye::new(width, height, [-1.2 * sin, 0.0, 1.2 - 1.2 * cos], degrees.to_radians());
            (info(name, &eye), eye)
        };
        degrees.map(camera).into()
    }

    /// The place and the color of a vertex.
    type Vertex = ([f32; 3], [u8; 3]);

    /// Returns the vertices of a mesh, and the number of its triangles.
    fn read_mesh(path: &Path) -> (Vec<Vertex>, usize) {
        let file = fs::read(path).unwrap();
        let end = b"end_header\n";
        let at = file.windows(end.len()).position(|bytes| bytes == end).unwrap() + end.len();
        let header = str::from_utf8(&file[..at]).unwrap();
        let count = |element: &str| -> usize {
            let line = header.lines().find_map(|line| line.strip_prefix(element)).unwrap();
            line.trim().parse().unwrap()
        };
        let (vertices, triangles) = (count("element vertex"), count("element face"));
        let (points, faces) = file[at..].split_at(vertices * 15);
        assert_eq!(faces.len(), triangles * 13);
        let vertex = |bytes: &[u8; 15]| {
            let float = |at: usize| f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            ([float(0), float(4), float(8)], [bytes[12], bytes[13], bytes[14]])
        };
        (points.as_chunks::<15>().0.iter().map(vertex).collect(), triangles)
    }

    #[test]
    fn the_mesh_is_the_surface_that_the_cameras_saw() {
        let folder = TestFolder::new("fuse");
        record(&folder, Scene::BALL_AND_WALL, &arc(640, 480), 2);
        let args = args(&folder);
        let text = fuse(&args).unwrap();
        let (vertices, triangles) = read_mesh(&args.output);
        let expected =
            format!("{}: {triangles} triangles of 6 framesets of 3 cameras\n", args.output.display());
        assert_eq!(text, expected);
        let mut off: Vec<_> = vertices.iter().map(|(at, _)| Scene::BALL_AND_WALL.distance(*at)).collect();
        off.sort_by(f64::total_cmp);
        let [median, most] = [50, 95].map(|percent| off[off.len() * percent / 100]);
        assert!(median < 0.001 && most < 0.003, "{median} {most}");
        // The front of the ball is there, in voxels of 5 mm, and has its color.
        let on_ball = |at: &[f32; 3]| Scene::BALL.distance(*at) < 0.003;
        let ball: Vec<_> = vertices.iter().filter(|(at, _)| on_ball(at) && at[2] < 1.1).collect();
        assert!(ball.len() > 3000, "{}", ball.len());
        let red = ball.iter().filter(|(_, rgb)| rgb[0].abs_diff(Scene::BALL_RGB[0]) <= 1).count();
        assert!(red * 100 >= ball.len() * 99, "{red} of {}", ball.len());
        // Nothing is overwritten, and no part of a file is left.
        let error = fuse(&args).unwrap_err().to_string();
        assert_eq!(error, format!("cannot write `{}`: File exists (os error 17)", args.output.display()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn framesets_and_cameras_can_be_chosen() {
        let folder = TestFolder::new("chosen");
        record(&folder, Scene::WALL, &arc(64, 48), 6);
        let text = |args: &FuseArgs| {
            let _ = fs::remove_file(&args.output);
            let text = fuse(args).unwrap();
            text.rsplit_once(" triangles of ").unwrap().1.to_owned()
        };
        let all = FuseArgs { voxel: 50.0, ..args(&folder) };
        assert_eq!(text(&all), "18 framesets of 3 cameras\n");
        let some = FuseArgs { from: 0.03, to: Some(0.12), every: 2, camera: vec!["left".to_owned()], ..all };
        assert_eq!(text(&some), "2 framesets of 1 camera\n");
        let near = FuseArgs { far: Some(1.0), output: folder.path().join("near.ply"), ..some };
        let error = fuse(&near).unwrap_err().to_string();
        assert!(error.ends_with("rig.mcap` shows no surface in the chosen framesets"), "{error}");
        assert!(!near.output.exists());
        let other = FuseArgs { camera: vec!["top".to_owned()], ..near };
        let error = fuse(&other).unwrap_err().to_string();
        assert!(error.starts_with("`--camera` is `top`: `"), "{error}");
        let wrong: Vec<_> = ["5", "0.1mm", "2000mm", "NaNmm"].map(millimeters).into();
        assert!(wrong.iter().all(Result::is_err), "{wrong:?}");
        assert_eq!((millimeters("7.5mm"), meters("2.5")), (Ok(7.5), Ok(2.5)));
        assert!(["0", "-1", "NaN", "2m"].map(meters).iter().all(Result::is_err));
    }

    #[test]
    fn cameras_without_a_common_place_are_refused() {
        let folder = TestFolder::new("placeless");
        let refused = |change: fn(&mut CameraInfo), expected: &str| {
            let _ = fs::remove_file(folder.path().join("rig.mcap"));
            let mut cameras = arc(64, 48);
            change(&mut cameras[0].0);
            record(&folder, Scene::WALL, &cameras, 1);
            let error = fuse(&args(&folder)).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(matches!(error, CommandError::Usage(_)));
            assert!(!args(&folder).output.exists());
        };
        refused(
            |left| left.pose = None,
            "camera `left`: its pose is not in the recording: `--calibration` takes the file of `camrig calibrate`, and \
             `--camera` one of the cameras",
        );
        refused(
            |left| left.pose.as_mut().unwrap().root = "else".to_owned(),
            "the poses of the cameras are those of two rigs, with the roots `else` and `root`: choose by `--camera`",
        );
        refused(
            |left| left.streams[0].intrinsics = None,
            "camera `left`: the intrinsics of depth are not known",
        );
        // A single camera is at the origin; one without depth is not needed.
        let mut cameras = arc(64, 48);
        for (info, _) in &mut cameras {
            info.pose = None;
        }
        fs::remove_file(folder.path().join("rig.mcap")).unwrap();
        record(&folder, Scene::WALL, &cameras, 1);
        let one = FuseArgs { camera: vec!["front".to_owned()], voxel: 50.0, ..args(&folder) };
        assert!(fuse(&one).unwrap().ends_with("1 frameset of 1 camera\n"));
    }

    #[cfg(feature = "calibration")]
    #[test]
    fn places_can_be_those_of_a_calibration() {
        let folder = TestFolder::new("calibrated");
        // The camera on the right looks to the left, at a wall 1.8 m in front of it.
        let eyes = ["front", "rear"].map(|name| {
            let eye = Eye::new(64, 48, [0.0; 3], 0.0);
            (CameraInfo { pose: None, ..info(name, &eye) }, eye)
        });
        record(&folder, Scene::WALL, &eyes, 1);
        let path = folder.path().join("rig.calib.toml");
        super::super::export::write_calibration(&path, [["front", "", "depth"], ["rear", "", "depth"]]);
        let args = FuseArgs { calibration: Some(path), voxel: 20.0, ..args(&folder) };
        fuse(&args).unwrap();
        let (vertices, _) = read_mesh(&args.output);
        let near = |axis: usize, meters: f32| move |at: &[f32; 3]| (at[axis] - meters).abs() < 0.005;
        let wall = Scene::WALL_METERS as f32;
        let (front, left) = (near(2, wall), near(0, 0.5 - wall));
        assert!(vertices.iter().all(|(at, _)| front(at) || left(at)));
        let on_left = vertices.iter().filter(|(at, _)| left(at)).count();
        let counts = [vertices.len() - on_left, on_left];
        assert!(counts.iter().all(|&count| count > 1000), "{counts:?}");
    }

    #[test]
    fn too_many_voxels_end_with_the_size_that_suffices() {
        let folder = TestFolder::new("full");
        record(&folder, Scene::WALL, &arc(64, 48), 1);
        let args = args(&folder);
        let max_blocks = 100;
        let error = fuse_within(&args, max_blocks).unwrap_err().to_string();
        let size = error.split_once(": take `--voxel ").unwrap().1.split_once('`').unwrap().0;
        let expected = format!(
            "the surface needs more than the 0 MiB of voxels that there may be at `--voxel 5mm`: take `--voxel {size}`, or \
             leave out far depth by `--far`"
        );
        assert_eq!(error, expected);
        assert!(!args.output.exists());
        let voxel = millimeters(size).unwrap();
        let mut args = FuseArgs { voxel: voxel / 2.0, ..args };
        assert!(fuse_within(&args, max_blocks).is_err());
        let error = fuse_within(&args, 1).unwrap_err().to_string();
        assert!(error.ends_with("mm`: leave out far depth by `--far`"), "{error}");
        args.voxel = voxel;
        let text = fuse_within(&args, max_blocks).unwrap();
        assert!(text.ends_with("3 framesets of 3 cameras\n"), "{text}");
    }

    #[test]
    fn damage_affects_only_its_framesets() {
        let folder = TestFolder::new("damaged");
        record(&folder, Scene::WALL, &arc(64, 48), 4);
        let args = FuseArgs { voxel: 20.0, ..args(&folder) };
        let mut bytes = fs::read(&args.file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&args.file, bytes).unwrap();
        let Err(CommandError::Damaged { text, problems }) = fuse(&args) else { panic!("it is not damaged") };
        assert!(text.ends_with(" triangles of 11 framesets of 3 cameras\n"), "{text}");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(read_mesh(&args.output).1 > 1000);
    }
}
