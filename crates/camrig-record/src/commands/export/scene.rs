//! A scene that all cameras see, for programs that reconstruct it: the color images of a camera in a folder of its name below
//! `images`, and a list of them with intrinsics and poses, as a model of COLMAP or as the `transforms.json` of `NeRF` programs.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use camrig::frame::{CameraInfo, Distortion, Extrinsics, Intrinsics, Stream};
use camrig_image::{LightImage, Picture};
use serde_json::{Value, json};

use super::decoded::aligned;
use super::poses::{self, Poses};
use super::{CommandError, ExportArgs, ExportTarget, ExportedFrameSet, Format, NotExported, folder};
use crate::images::quaternion;
use crate::read::RecordedCamera;

/// Units of depth in a metre.
const UNITS_PER_METER: f32 = 1000.0;

/// The folder of the images.
const IMAGES: &str = "images";

/// The end of a `transforms.json`, which the next image replaces. So the file is complete whenever the program ends.
const TRANSFORMS_END: &str = "\n]}\n";

/// The images of several cameras and their lists.
pub(super) struct Scene {
    output: PathBuf,
    /// Those of a calibration, which are used instead of those in the recording.
    poses: Option<Poses>,
    /// Whether every camera has depth that can be aligned: programs accept depth of all images or of none.
    has_depth: bool,
    lists: RefCell<Lists>,
    cameras: Cell<u32>,
    images: Cell<u32>,
}

/// The lists of a scene.
enum Lists {
    Colmap { cameras: File, images: File },
    Transforms(File),
}

/// Checks that a calibration is given only for a scene.
pub(in super::super) fn check_calibration(args: &ExportArgs) -> Result<(), CommandError> {
    match args.calibration {
        Some(_) if !args.format.is_scene() => {
            Err(CommandError::Usage("`--calibration` is of `colmap` and `nerf`".to_owned()))
        }
        _ => Ok(()),
    }
}

impl Scene {
    /// Creates the lists, if the format is that of a scene.
    pub(super) fn create(
        args: &ExportArgs,
        cameras: &[&RecordedCamera],
        fail: impl Fn(io::Error) -> CommandError,
    ) -> Result<Option<Rc<Self>>, CommandError> {
        check_calibration(args)?;
        if !args.format.is_scene() {
            return Ok(None);
        }
        let poses = args.calibration.as_deref().map(Poses::read).transpose()?;
        let are_known = poses.is_some() || poses::are_recorded(cameras.iter().map(|camera| &camera.info));
        if !are_known && cameras.len() > 1 {
            let text = "the poses of several cameras are not in this recording: `--calibration` takes the file of \
                        `camrig calibrate`, and `--camera` one of the cameras";
            return Err(CommandError::Usage(text.to_owned()));
        }
        let has_depth =
            args.format == Format::Nerf && cameras.iter().all(|camera| aligned(&camera.info).is_ok());
        folder::make_output(&args.output).map_err(&fail)?;
        let lists = RefCell::new(Lists::create(&args.output, args.format).map_err(fail)?);
        let (output, cameras, images) = (args.output.clone(), Cell::new(0), Cell::new(0));
        Ok(Some(Rc::new(Self { output, poses, has_depth, lists, cameras, images })))
    }

    /// Returns whether depth is written, aligned to color.
    pub(super) fn has_depth(&self) -> bool {
        self.has_depth
    }

    /// Adds a camera, which the recording calls `recorded`. Returns the folder of its images and their writer.
    pub(super) fn add(
        self: &Rc<Self>,
        recorded: &str,
        name: &str,
        info: &CameraInfo,
    ) -> Result<(PathBuf, Box<dyn ExportTarget>), NotExported> {
        if name.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(NotExported::LeftOut(
                "a list cannot contain names with spaces: see `--rename`".to_owned(),
            ));
        }
        let color = info.stream(Stream::COLOR).ok_or("it has no color")?;
        let lens = color.intrinsics.ok_or("the calibration of color is not known")?;
        let pose = match (&self.poses, &info.pose) {
            (Some(poses), _) => Some(poses.of_color(recorded, info).map_err(NotExported::LeftOut)?),
            (None, Some(pose)) => Some(poses::recorded(pose, info).map_err(NotExported::LeftOut)?),
            (None, None) => None,
        };
        let path = folder::of_camera(&self.output.join(IMAGES), name)?;
        let id = self.cameras.get() + 1;
        self.lists.borrow_mut().add_camera(id, &lens)?;
        self.cameras.set(id);
        let (scene, name, depth_unit_meters) = (Rc::clone(self), name.to_owned(), info.depth_unit_meters);
        let (is_at_origin, pose) = (pose.is_none(), pose.unwrap_or(Extrinsics::IDENTITY));
        Ok((path, Box::new(SceneView { scene, id, name, lens, pose, is_at_origin, depth_unit_meters })))
    }
}

impl From<&str> for NotExported {
    fn from(reason: &str) -> Self {
        Self::LeftOut(reason.to_owned())
    }
}

impl Lists {
    fn create(output: &Path, format: Format) -> io::Result<Self> {
        if format == Format::Nerf {
            let list = folder::list(
                &output.join("transforms.json"),
                &format!("{{\"camera_model\": \"OPENCV\", \"frames\": [{TRANSFORMS_END}"),
            )?;
            return Ok(Self::Transforms(list));
        }
        let model = output.join("sparse/0");
        folder::make(&model)?;
        let list = |name: &str, what: &str| folder::list(&model.join(name), &format!("# {what}\n"));
        list("points3D.txt", "POINT3D_ID X Y Z R G B ERROR TRACK[]; there are none")?;
        Ok(Self::Colmap {
            cameras: list("cameras.txt", "CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]")?,
            images: list(
                "images.txt",
                "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, and a line of points, which is empty",
            )?,
        })
    }

    fn add_camera(&mut self, id: u32, lens: &Intrinsics) -> io::Result<()> {
        let Self::Colmap { cameras, .. } = self else { return Ok(()) };
        let (model, parameters) = colmap_lens(lens);
        let parameters: Vec<_> = parameters.iter().map(ToString::to_string).collect();
        writeln!(cameras, "{id} {model} {} {} {}", lens.width, lens.height, parameters.join(" "))
    }

    fn add_image(&mut self, id: u32, view: &SceneView, name: &str) -> io::Result<()> {
        match self {
            Self::Colmap { images, .. } => images.write_all(colmap_image(id, view, name).as_bytes()),
            Self::Transforms(list) => {
                let separator = if id == 1 { "\n" } else { ",\n" };
                list.seek(SeekFrom::End(-(TRANSFORMS_END.len() as i64)))?;
                let text = format!("{separator}{}{TRANSFORMS_END}", nerf_image(view, name));
                list.write_all(text.as_bytes())
            }
        }
    }
}

/// A camera of a scene.
struct SceneView {
    scene: Rc<Scene>,
    id: u32,
    name: String,
    /// That of color.
    lens: Intrinsics,
    /// From the coordinates of color to those of the scene.
    pose: Extrinsics,
    /// Whether its pose is unknown.
    is_at_origin: bool,
    depth_unit_meters: f32,
}

impl SceneView {
    fn write_picture(&self, kind: &str, taken: &ExportedFrameSet, picture: &Picture<'_>) -> io::Result<()> {
        let folder = self.scene.output.join(kind).join(&self.name);
        folder::make(&folder)?;
        folder::create(&folder.join(format!("{}.png", taken.name)), &picture.to_png()?)
    }
}

impl ExportTarget for SceneView {
    fn write(&mut self, taken: &ExportedFrameSet) -> io::Result<(bool, Option<String>)> {
        let color = match taken.frames.color() {
            Ok(color) => color,
            Err(error) => return Ok((false, Some(error.to_string()))),
        };
        let number = taken.read.record.sequence;
        let lacks = |what| Ok((false, Some(format!("frameset {number} lacks {what}"))));
        let Some(color) = color.as_ref().and_then(LightImage::view) else { return lacks("color") };
        if self.scene.has_depth {
            let Some(depth) = taken.frames.depth(self.depth_unit_meters) else { return lacks("depth") };
            self.write_picture("depth", taken, &Picture::depth_scaled(&depth, UNITS_PER_METER))?;
        }
        self.write_picture(IMAGES, taken, &Picture::color(&color))?;
        let id = self.scene.images.get() + 1;
        self.scene.lists.borrow_mut().add_image(id, self, &format!("{}/{}.png", self.name, taken.name))?;
        self.scene.images.set(id);
        Ok((true, None))
    }

    fn finish(&mut self) -> io::Result<Option<String>> {
        let distortion = (is_left_out(&self.lens))
            .then(|| format!("the distortion of color ({}) is left out", self.lens.distortion));
        let pose = self
            .is_at_origin
            .then(|| "its pose is unknown, so it is at the origin: `--calibration` gives another".to_owned());
        let notes: Vec<_> = distortion.into_iter().chain(pose).collect();
        Ok(Some(notes.join("; ")).filter(|notes| !notes.is_empty()))
    }
}

fn is_straight(lens: &Intrinsics) -> bool {
    lens.distortion == Distortion::None || lens.coefficients.iter().all(|&coefficient| coefficient == 0.0)
}

/// Returns whether the programs have no model of the distortion.
fn is_left_out(lens: &Intrinsics) -> bool {
    !is_straight(lens) && matches!(lens.distortion, Distortion::Ftheta | Distortion::KannalaBrandt4)
}

/// Returns the coefficients of OpenCV's model: k1, k2, p1, p2, k3.
fn distortion(lens: &Intrinsics) -> [f32; 5] {
    if is_straight(lens) || is_left_out(lens) { [0.0; 5] } else { lens.coefficients }
}

/// Returns the center of a lens. That of the upper left pixel is at half a pixel in these programs.
fn center(lens: &Intrinsics) -> [f32; 2] {
    [lens.ppx + 0.5, lens.ppy + 0.5]
}

/// Returns the name of a camera's model in COLMAP and its parameters.
fn colmap_lens(lens: &Intrinsics) -> (&'static str, Vec<f32>) {
    let [cx, cy] = center(lens);
    let mut parameters = vec![lens.fx, lens.fy, cx, cy];
    if is_straight(lens) || is_left_out(lens) {
        return ("PINHOLE", parameters);
    }
    let [k1, k2, p1, p2, k3] = lens.coefficients;
    parameters.extend([k1, k2, p1, p2]);
    if k3 == 0.0 {
        return ("OPENCV", parameters);
    }
    // The coefficients of the denominator are zero.
    parameters.extend([k3, 0.0, 0.0, 0.0]);
    ("FULL_OPENCV", parameters)
}

/// Returns the lines of an image in COLMAP, whose poses lead from the coordinates of the scene to those of the camera.
fn colmap_image(id: u32, view: &SceneView, name: &str) -> String {
    let pose = view.pose.inverse();
    let turn = quaternion(pose.rotation.map(f64::from));
    let [x, y, z] = pose.translation_meters;
    format!("{id} {} {} {} {} {x} {y} {z} {} {name}\n\n", turn.w, turn.x, turn.y, turn.z, view.id)
}

/// Returns an image of a `transforms.json`, whose cameras look along -Z with Y up.
fn nerf_image(view: &SceneView, name: &str) -> Value {
    let (lens, pose) = (&view.lens, &view.pose);
    let ([cx, cy], [k1, k2, p1, p2, k3]) = (center(lens), distortion(lens));
    let row = |row: usize| {
        let [x, y, z] = [0, 3, 6].map(|column| pose.rotation[column + row]);
        [x, -y, -z, pose.translation_meters[row]].map(|number| number + 0.0)
    };
    let mut image = json!({
        "file_path": format!("{IMAGES}/{name}"),
        "w": lens.width, "h": lens.height, "fl_x": lens.fx, "fl_y": lens.fy, "cx": cx, "cy": cy,
        "k1": k1, "k2": k2, "p1": p1, "p2": p2, "k3": k3,
        "transform_matrix": [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]],
    });
    if view.scene.has_depth {
        image["depth_file_path"] = format!("depth/{name}").into();
    }
    image
}

#[cfg(test)]
mod tests {
    use camrig::frame::CameraPose;

    use super::super::export;
    use super::*;
    use crate::compression::Compression;
    use crate::record::testing::{TestFolder, write, write_posed};

    /// Returns the arguments of an export of a recording of these cameras.
    fn args(folder: &TestFolder, cameras: &[&str], format: Format) -> ExportArgs {
        let file = folder.path().join("rig.mcap");
        write(&file, cameras, 2, Compression::None, &[]);
        ExportArgs::all(&file, &folder.path().join("out"), format)
    }

    #[test]
    fn places_of_several_cameras_come_from_a_calibration() {
        let folder = TestFolder::new("places");
        let args = args(&folder, &["front", "rear"], Format::Colmap);
        let error = export(&args).unwrap_err().to_string();
        assert!(error.starts_with("the poses of several cameras are not in this recording: "), "{error}");
        let one = ExportArgs { camera: vec!["front".to_owned()], ..args };
        let text = export(&one).unwrap();
        let note = "its pose is unknown, so it is at the origin: `--calibration` gives another\n";
        assert!(text.starts_with("front: 2 framesets in ") && text.ends_with(note), "{text}");
        let calibration = Some(folder.path().join("rig.calib.toml"));
        let (output, format) = (folder.path().join("png"), Format::Png);
        let error = export(&ExportArgs { output, format, calibration, ..one }).unwrap_err().to_string();
        assert_eq!(error, "`--calibration` is of `colmap` and `nerf`");
    }

    #[test]
    fn places_of_a_calibrated_rig_are_in_its_recording() {
        let folder = TestFolder::new("posed");
        let file = folder.path().join("rig.mcap");
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let pose = |root: &str, right_meters, quaternion_xyzw| CameraPose {
            root: root.to_owned(),
            translation_meters: [right_meters, 0.0, 0.0],
            quaternion_xyzw,
        };
        let front = ("front", Some(pose("front", 0.0, [0.0, 0.0, 0.0, 1.0])));
        // It looks to the left.
        let rear = |root| ("rear", Some(pose(root, 0.5, [0.0, -half, 0.0, half])));
        write_posed(&file, &[front.clone(), rear("front")]);
        let args = ExportArgs::all(&file, &folder.path().join("out"), Format::Colmap);
        let text = export(&args).unwrap();
        assert!(!text.contains("origin"), "{text}");
        let images = std::fs::read_to_string(args.output.join("sparse/0/images.txt")).unwrap();
        let second: Vec<_> = images.lines().nth(3).unwrap().split(' ').collect();
        assert_eq!(second[9], "rear/000000.png");
        let found: Vec<f64> = second[1..8].iter().map(|number| number.parse().unwrap()).collect();
        let expected = [half, 0.0, half, 0.0, -0.015, 0.0, 0.5];
        assert!(found.iter().zip(expected).all(|(is, must)| (is - must).abs() < 1e-5), "{found:?}");
        // Another root, or a camera without a pose.
        for (number, other) in [rear("rear"), ("rear", None)].into_iter().enumerate() {
            write_posed(&file, &[front.clone(), other]);
            let output = folder.path().join(format!("other-{number}"));
            let error = export(&ExportArgs::all(&file, &output, Format::Nerf)).unwrap_err().to_string();
            assert!(error.starts_with("the poses of several cameras are not in this recording: "), "{error}");
        }
    }

    #[test]
    fn a_lens_has_the_least_model_of_colmap() {
        let mut lens = crate::record::testing::info("front").streams[0].intrinsics.unwrap();
        let shown = |lens: &Intrinsics| {
            let (model, parameters) = colmap_lens(lens);
            format!("{model} {parameters:?}")
        };
        assert_eq!(
            shown(&lens),
            "FULL_OPENCV [12.5, 12.75, 9.0, 6.75, 0.1, -0.2, 0.001, 0.002, 0.03, 0.0, 0.0, 0.0]"
        );
        lens.coefficients[4] = 0.0;
        assert_eq!(shown(&lens), "OPENCV [12.5, 12.75, 9.0, 6.75, 0.1, -0.2, 0.001, 0.002]");
        lens.distortion = Distortion::Ftheta;
        assert_eq!(shown(&lens), "PINHOLE [12.5, 12.75, 9.0, 6.75]");
        assert!(is_left_out(&lens));
    }

    #[cfg(feature = "calibration")]
    #[test]
    fn a_scene_has_all_images_in_one_list() {
        use std::fs;

        use super::super::poses::tests::write_calibration;

        let folder = TestFolder::new("scene");
        let mut args = args(&folder, &["front", "rear"], Format::Colmap);
        let path = folder.path().join("rig.calib.toml");
        let devices = [["a", "serial of front", "depth"], ["b", "serial of rear", "depth"]];
        write_calibration(&path, devices);
        args.calibration = Some(path);
        let text = export(&args).unwrap();
        let out = args.output.display();
        let expected =
            format!("front: 2 framesets in {out}/images/front\nrear: 2 framesets in {out}/images/rear\n");
        assert_eq!(text, expected);
        let list = |name: &str| fs::read_to_string(args.output.join("sparse/0").join(name)).unwrap();
        let images = list("images.txt");
        let images: Vec<_> = images.lines().skip(1).map(|line| line.split(' ').collect::<Vec<_>>()).collect();
        let names: Vec<_> = images.iter().step_by(2).map(|image| (image[0], image[8], image[9])).collect();
        let expected = [("1", "1", "front/000000.png"), ("2", "2", "rear/000000.png")];
        assert_eq!(names[..2], expected);
        assert_eq!((names.len(), images.len()), (4, 8));
        assert_eq!(images[1], [""], "there are no points");
        // The second camera sees the root 0.5 m to ... of it.
        let pose: Vec<f32> = images[2][1..8].iter().map(|number| number.parse().unwrap()).collect();
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let expected = [half, 0.0, half, 0.0, -0.015, 0.0, 0.5];
        assert!(pose.iter().zip(expected).all(|(is, must)| (is - must).abs() < 1e-5), "{pose:?}");
        assert_eq!(list("cameras.txt").lines().count(), 3);

        (args.format, args.output) = (Format::Nerf, folder.path().join("nerf"));
        export(&args).unwrap();
        let text = fs::read(args.output.join("transforms.json")).unwrap();
        let scene: Value = serde_json::from_slice(&text).unwrap();
        let frames = scene["frames"].as_array().unwrap();
        assert_eq!((frames.len(), &frames[1]["file_path"]), (4, &json!("images/rear/000000.png")));
        assert_eq!(frames[3]["depth_file_path"], "depth/rear/000001.png");
        for frame in frames {
            for key in ["file_path", "depth_file_path"] {
                assert!(args.output.join(frame[key].as_str().unwrap()).exists(), "{frame}");
            }
        }
        assert!(export(&args).unwrap_err().to_string().ends_with("File exists (os error 17)"));
    }
}
