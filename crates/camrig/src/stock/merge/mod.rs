//! The stock processor `merge`: one cloud of points of all cameras of a match, in the coordinates of the rig's root.
//!
//! It publishes two frames: the stream `points`, in rows of [`ROW_POINTS`] whose last one is filled up with zeros; and the
//! stream `origin`, a tensor with the number of the camera of each point, an index of the frameset's origins.

mod voxels;

use std::collections::BTreeMap;
use std::sync::Arc;

use camrig_frame::{
    CameraInfo, CameraPose, Clock, DType, Extrinsics, FrameHeader, POINT_BYTES, Payload, PointCloud, Role,
    Shape, Stream, StreamInfo, Timestamp,
};
use camrig_image::LightImage;
use schemars::JsonSchema;
use serde::Deserialize;

use self::voxels::{Crop, Merged};
use crate::error::WrongOptions;
use crate::matching::Match;
use crate::output::ProcessorOutput;
use crate::processor::{Declared, Processor, ProcessorError, ProcessorOptions};

/// Number of points in a row of the published frame.
const ROW_POINTS: u32 = 1024;

/// The largest edge of a voxel, in millimetres.
const VOXEL_MILLIMETERS_MAX: f32 = 1000.0;

/// The largest coordinate of the crop box, in metres.
const CROP_METERS_MAX: f32 = 1000.0;

/// The options of `merge`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    /// Edge length of the voxels; each keeps the point nearest to its camera. 0 keeps all points.
    #[schemars(range(min = 0.0, max = VOXEL_MILLIMETERS_MAX), extend("x-unit" = "mm"))]
    voxel_millimeters: f32,
    /// Takes every N-th column and row of depth.
    #[schemars(range(min = 1, max = 16))]
    decimation: u32,
    /// The corner with the least coordinates of the box of points to keep, in the root's coordinates.
    #[schemars(extend("x-unit" = "m"))]
    crop_min: Option<[f32; 3]>,
    /// The corner with the largest coordinates of the box of points to keep.
    #[schemars(extend("x-unit" = "m"))]
    crop_max: Option<[f32; 3]>,
    /// Gives each point its color in the color image.
    color: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { voxel_millimeters: 10.0, decimation: 2, crop_min: None, crop_max: None, color: true }
    }
}

impl ProcessorOptions for Options {
    fn check(&self) -> Result<(), WrongOptions> {
        let Self { voxel_millimeters, decimation, crop_min, crop_max, .. } = self;
        let mut wrong = WrongOptions::default();
        if !(0.0..=VOXEL_MILLIMETERS_MAX).contains(voxel_millimeters) {
            let fact = format!(
                "`voxel_millimeters` is {voxel_millimeters}; it must be 0 to {VOXEL_MILLIMETERS_MAX}"
            );
            wrong.add(["voxel_millimeters"], fact);
        }
        if !(1..=16).contains(decimation) {
            wrong.add(["decimation"], format!("`decimation` is {decimation}; it must be 1 to 16"));
        }
        for (key, corner) in [("crop_min", crop_min), ("crop_max", crop_max)] {
            let is_valid = |meters: &f32| meters.abs() <= CROP_METERS_MAX;
            if corner.is_some_and(|corner| !corner.iter().all(is_valid)) {
                let fact = format!(
                    "`{key}` is out of range; coordinates must be -{CROP_METERS_MAX} to {CROP_METERS_MAX}"
                );
                wrong.add([key], fact);
            }
        }
        let (least, most) = (self.crop().min, self.crop().max);
        if least.iter().zip(most).any(|(least, most)| *least >= most) {
            wrong.add(["crop_max", "crop_min"], "`crop_max` is not above `crop_min`");
        }
        wrong.or_ok()
    }
}

impl Options {
    fn crop(&self) -> Crop {
        let [min, max] = [f32::NEG_INFINITY, f32::INFINITY].map(|bound| [bound; 3]);
        Crop { min: self.crop_min.unwrap_or(min), max: self.crop_max.unwrap_or(max) }
    }
}

/// The converter of one camera's depth.
struct Converter {
    info: Arc<CameraInfo>,
    cloud: PointCloud,
    root: String,
    to_root: Extrinsics,
}

/// Publishes the merged points of every match.
pub(crate) struct Merge {
    options: Options,
    /// By name, each valid while its camera's description is unchanged.
    cameras: BTreeMap<String, Converter>,
    merged: Merged,
    /// The points of one camera, in its own coordinates.
    own: Vec<u8>,
    source: Option<Arc<CameraInfo>>,
}

impl Merge {
    pub(crate) fn new(options: Options) -> Self {
        let merged = Merged::new(options.voxel_millimeters / 1000.0, options.crop());
        Self { options, cameras: BTreeMap::new(), merged, own: Vec::new(), source: None }
    }

    /// Creates the converter of a camera, if it is new or has another description.
    fn know(&mut self, info: &Arc<CameraInfo>) -> Result<(), ProcessorError> {
        if self.cameras.get(&info.name).is_some_and(|known| known.info == *info) {
            return Ok(());
        }
        let depth = info.stream_of(Role::Depth).ok_or("it has no depth")?;
        let pose = info.pose.as_ref().ok_or(
            "it has no pose; name a calibration that has it by the key `calibration` of the topology",
        )?;
        let other =
            self.cameras.values().find(|known| known.info.name != info.name && known.root != pose.root);
        if let Some(Converter { root, info, .. }) = other {
            return Err(format!("its root is `{}`, that of `{}` is `{root}`", pose.root, info.name).into());
        }
        let color = info.stream(Stream::COLOR).filter(|_| self.options.color);
        let cloud = PointCloud::decimated(depth, color, self.options.decimation)?;
        let root = pose.root.clone();
        let to_root = Extrinsics::from_quaternion(pose.quaternion_xyzw, pose.translation_meters);
        self.cameras.insert(info.name.clone(), Converter { info: Arc::clone(info), cloud, root, to_root });
        self.source = None;
        Ok(())
    }

    /// Returns the description of the merged framesets.
    fn source(&mut self, name: &str) -> Result<Arc<CameraInfo>, ProcessorError> {
        if let Some(source) = &self.source {
            return Ok(Arc::clone(source));
        }
        let points: usize = self.cameras.values().map(|camera| camera.cloud.len()).sum();
        let first = self.cameras.values().next().ok_or("a match without cameras")?;
        let rate = first.info.stream_of(Role::Depth).map_or(0, |depth| depth.frames_per_second);
        let [cloud, origin] =
            payloads(points).ok_or("the cameras have too many pixels: raise `decimation`")?;
        let pose = CameraPose {
            root: first.root.clone(),
            translation_meters: [0.0; 3],
            quaternion_xyzw: [0.0, 0.0, 0.0, 1.0],
        };
        let source = Arc::new(CameraInfo {
            name: name.to_owned(),
            driver: "merge".to_owned(),
            streams: vec![
                StreamInfo::new(Stream::POINTS, cloud, rate),
                StreamInfo { role: Role::Other, ..StreamInfo::new(origin_stream()?, origin, rate) },
            ],
            pose: Some(pose),
            ..CameraInfo::default()
        });
        self.source = Some(Arc::clone(&source));
        Ok(source)
    }
}

/// Returns the payloads of this many points, and of the numbers of their cameras.
fn payloads(points: usize) -> Option<[Payload; 2]> {
    let points = u32::try_from(points.max(1)).ok()?;
    let (width, height) = (ROW_POINTS, points.div_ceil(ROW_POINTS));
    let origin = Payload::Tensor { dtype: DType::U8, shape: Shape::new(&[points])? };
    Some([Payload::Points { width, height }, origin])
}

fn origin_stream() -> Result<Stream, ProcessorError> {
    Ok(Stream::new("origin")?)
}

impl Processor<Match> for Merge {
    fn declare(input: &[StreamInfo]) -> Declared {
        match input.iter().find(|info| info.role == Role::Depth) {
            Some(_) => Ok(None),
            None => Err("it has no depth".to_owned()),
        }
    }

    fn process(&mut self, matched: &Match, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        self.merged.clear();
        for (number, frames) in matched.framesets().iter().enumerate() {
            let of_camera =
                |error: ProcessorError| format!("no points of camera `{}`: {error}", frames.camera());
            self.know(frames.info()).map_err(of_camera)?;
            // A camera may lose a frame of one stream: without depth it has no points.
            let (Some(camera), Some(depth)) = (self.cameras.get(frames.camera()), frames.depth()) else {
                continue;
            };
            let color = if self.options.color { super::color_or_warning(frames) } else { None };
            let color = color.as_ref().and_then(LightImage::view);
            self.own.resize(camera.cloud.len() * POINT_BYTES as usize, 0);
            camera
                .cloud
                .write(&depth, color.as_ref(), &mut self.own)
                .map_err(|error| of_camera(error.into()))?;
            self.merged.add(number as u8, &self.own, &camera.to_root);
        }
        let source = self.source(output.name())?;
        let (points, origins) = self.merged.points();
        let [cloud, origin] = payloads(points.len()).ok_or("too many points")?;
        let taken = matched.framesets().iter().find_map(crate::FrameSet::timestamp);
        let timestamp = taken.unwrap_or(Timestamp { clock: Clock::System, nanos: 0 });
        let header = |stream, role, payload| FrameHeader {
            role,
            number: matched.number(),
            timestamp,
            ..FrameHeader::new(stream, payload)
        };
        let headers =
            [header(Stream::POINTS, Role::Points, cloud), header(origin_stream()?, Role::Other, origin)];
        if let Some(mut loan) = output.derive_match(&source, matched, headers.into_iter().collect())? {
            let (filled, rest) = loan.frame_mut(0).split_at_mut(size_of_val(points));
            filled.copy_from_slice(points.as_flattened());
            rest.fill(0);
            let (filled, rest) = loan.frame_mut(1).split_at_mut(origins.len());
            filled.copy_from_slice(origins);
            rest.fill(0);
            output.publish(loan);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use camrig_frame::{Distortion, Intrinsics, PixelFormat, TensorView};

    use super::*;
    use crate::testing::{self, TestCamera};

    /// A camera of 4x2 pixels with a field of view of 90 degrees, at this pose.
    fn camera(name: &str, translation_meters: [f64; 3], quaternion_xyzw: [f64; 4]) -> TestCamera {
        let lens = Intrinsics {
            width: 4,
            height: 2,
            ppx: 1.5,
            ppy: 0.5,
            fx: 2.0,
            fy: 2.0,
            distortion: Distortion::None,
            coefficients: [0.0; 5],
        };
        let depth = StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, "4x2@30".parse().unwrap());
        TestCamera::of(CameraInfo {
            name: name.to_owned(),
            depth_unit_meters: 1.0 / 1024.0,
            streams: vec![StreamInfo { intrinsics: Some(lens), ..depth }],
            pose: Some(CameraPose { root: "left".to_owned(), translation_meters, quaternion_xyzw }),
            ..CameraInfo::default()
        })
    }

    fn depth(units: [u16; 8]) -> Vec<u8> {
        units.iter().flat_map(|units| units.to_le_bytes()).collect()
    }

    /// Returns the points of a match of two cameras that face each other at a distance of two metres, with the numbers of
    /// their cameras.
    fn merged(options: &str, seen: [[u16; 8]; 2]) -> Vec<(u8, [f32; 3])> {
        let mut left = camera("left", [0.0; 3], [0.0, 0.0, 0.0, 1.0]);
        // Turned by half a turn about Y.
        let mut right = camera("right", [0.0, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0]);
        let framesets = vec![left.frameset(1, &[&depth(seen[0])]), right.frameset(2, &[&depth(seen[1])])];
        let options: Options = toml::from_str(options).unwrap();
        options.check().unwrap();
        let (mut output, reader) = testing::output_with_reader("merge", &[]);
        Merge::new(options).process(&Match::of(7, framesets, true), &mut output).unwrap();
        let made = reader.take().unwrap();
        assert_eq!((made.camera(), made.header().matched), ("merge", Some(7)));
        assert_eq!(made.info().pose.as_ref().unwrap().root, "left");
        let origins: Vec<_> = made.origins().iter().map(|origin| origin.camera.to_string()).collect();
        assert_eq!(origins, ["left", "right"]);
        let numbers = TensorView::new(made.frame(Stream::new("origin").unwrap()).unwrap()).unwrap();
        let points = made.points().unwrap();
        let points: Vec<_> = points.iter().flatten().map(|point| point.meters).collect();
        let numbers = if points.is_empty() { &[] } else { numbers.bytes() };
        assert_eq!(points.len(), numbers.len());
        numbers.iter().copied().zip(points).collect()
    }

    const ALL: &str = "decimation = 1\nvoxel_millimeters = 0\n";

    #[test]
    fn points_are_in_the_coordinates_of_the_root() {
        let nothing = [0; 8];
        let one = [0, 1024, 0, 0, 0, 0, 0, 0];
        // Column 1 of 4, row 0 of 2: a quarter to the left, a quarter up.
        assert_eq!(merged(ALL, [one, nothing]), [(0, [-0.25, -0.25, 1.0])]);
        // A point on the left of a camera that faces back is on the right of the root.
        assert_eq!(merged(ALL, [nothing, one]), [(1, [0.25, -0.25, 1.0])]);
        // Behind the root.
        let far = [0, 3072, 0, 0, 0, 0, 0, 0];
        assert_eq!(merged(ALL, [nothing, far]), [(1, [0.75, -0.75, -1.0])]);
        assert_eq!(merged(ALL, [nothing, nothing]), []);
    }

    #[test]
    fn a_voxel_keeps_the_point_that_is_nearest_to_its_camera() {
        // All pixels of both cameras: 16 points around one metre.
        let seen = [[900; 8], [1000; 8]];
        assert_eq!(merged(ALL, seen).len(), 16);
        let large = merged("decimation = 1\nvoxel_millimeters = 1000\n", seen);
        // Voxels of a metre begin at the root: those of the left camera are in front of z = 1 m, and so nearer.
        assert!(large.iter().all(|(number, point)| (*number == 0) == (point[2] < 1.0)), "{large:?}");
        let same = merged("decimation = 1\nvoxel_millimeters = 1000\n", [[1024; 8], [1014; 8]]);
        assert!(same.len() < 16 && same.iter().any(|(number, _)| *number == 1), "{same:?}");
        assert_eq!(merged("decimation = 2\nvoxel_millimeters = 0\n", seen).len(), 4);
    }

    #[test]
    fn points_outside_the_box_are_left_out() {
        let seen = [[512; 8], [512; 8]];
        let near = format!("{ALL}crop_max = [10, 10, 1]\n");
        let found = merged(&near, seen);
        assert!(found.len() == 8 && found.iter().all(|(number, _)| *number == 0), "{found:?}");
        let far = format!("{ALL}crop_min = [-10, -10, 1]\n");
        let found = merged(&far, seen);
        assert!(found.len() == 8 && found.iter().all(|(number, _)| *number == 1), "{found:?}");
    }

    /// The distance of the middle of a ball from each camera, and its radius, in metres.
    const AWAY: f64 = 1.2;
    const RADIUS: f64 = 0.4;

    /// Returns one of six cameras around a ball, and what its depth shows of the ball, and of a wall behind it at this
    /// distance. Noise is a millimetre at one metre, as a D435 has it, and grows with the square of distance.
    fn of_ball(number: usize, [width, height]: [u32; 2], behind: f64) -> (TestCamera, Vec<u8>) {
        let angle = std::f64::consts::TAU * number as f64 / 6.0;
        let focal = f64::from(width) * 0.72;
        let lens = Intrinsics {
            width,
            height,
            ppx: (width - 1) as f32 / 2.0,
            ppy: (height - 1) as f32 / 2.0,
            fx: focal as f32,
            fy: focal as f32,
            distortion: Distortion::None,
            coefficients: [0.0; 5],
        };
        let profile = format!("{width}x{height}@30").parse().unwrap();
        let depth = StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, profile);
        let color = StreamInfo::image(Stream::COLOR, PixelFormat::Rgb8, profile);
        let color = StreamInfo { to_depth: Some(Extrinsics::IDENTITY), ..color };
        let (sine, cosine) = angle.sin_cos();
        let camera = TestCamera::of(CameraInfo {
            name: format!("c{number}"),
            depth_unit_meters: 0.001,
            streams: [depth, color].map(|stream| StreamInfo { intrinsics: Some(lens), ..stream }).to_vec(),
            pose: Some(CameraPose {
                root: "c0".to_owned(),
                translation_meters: [-AWAY * sine, 0.0, AWAY - AWAY * cosine],
                quaternion_xyzw: [0.0, (angle / 2.0).sin(), 0.0, (angle / 2.0).cos()],
            }),
            ..CameraInfo::default()
        });
        let mut random = fastrand::Rng::with_seed(number as u64);
        let mut units = Vec::new();
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            let [x, y] = [(column, lens.ppx), (row, lens.ppy)]
                .map(|(at, middle)| (f64::from(at) - f64::from(middle)) / focal);
            // The nearer of the places where the ray meets the ball.
            let square = x * x + y * y + 1.0;
            let inside = AWAY * AWAY - square * (AWAY * AWAY - RADIUS * RADIUS);
            let meters = if inside > 0.0 { (AWAY - inside.sqrt()) / square } else { behind };
            let normal =
                (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
            let seen = meters + 0.001 * meters * meters * normal;
            units.extend(((seen * 1000.0).round() as u16).to_le_bytes());
        }
        (camera, units)
    }

    #[test]
    fn merged_points_are_on_the_surface() {
        let mut cameras: Vec<_> = (0..6).map(|number| of_ball(number, [212, 120], 0.0)).collect();
        let color = vec![99; 212 * 120 * 3];
        let framesets = cameras.iter_mut().map(|(camera, depth)| camera.frameset(1, &[depth, &color]));
        let matched = Match::of(1, framesets.collect(), true);
        let (mut output, reader) = testing::output_with_reader("merge", &[]);
        let options = Options { decimation: 1, voxel_millimeters: 10.0, ..Options::default() };
        Merge::new(options).process(&matched, &mut output).unwrap();
        let made = reader.take().unwrap();
        let points: Vec<_> = made.points().unwrap().iter().flatten().map(|point| point.meters).collect();
        let off = |point: &&[f32; 3]| {
            let [x, y, z] = point.map(f64::from);
            ((x * x + y * y + (z - AWAY).powi(2)).sqrt() - RADIUS).abs() > 0.003
        };
        let far = points.iter().filter(off).count();
        assert!(points.len() > 10_000 && far * 20 < points.len(), "{far} of {}", points.len());
        // All around.
        for axis in [0, 2] {
            let middle = [0.0, 0.0, AWAY as f32][axis];
            for side in [-1.0, 1.0] {
                assert!(points.iter().any(|point| (point[axis] - middle) * side > 0.35), "{axis} {side}");
            }
        }
    }

    #[test]
    fn memory_does_not_grow() {
        let mut cameras: Vec<_> = (0..6).map(|number| of_ball(number, [106, 60], 2.5)).collect();
        let color = vec![99; 106 * 60 * 3];
        for voxel_millimeters in [0.0, 10.0] {
            let options = Options { decimation: 1, voxel_millimeters, ..Options::default() };
            let mut merge = Merge::new(options);
            let (mut output, reader) = testing::output_with_reader("merge", &[]);
            let (mut capacity, mut counts) = (Vec::new(), Vec::new());
            for number in 0..100_usize {
                // The first match has the most points; the others have from none to all of them.
                let kept = if number == 0 { 100 } else { number * 37 % 101 };
                let framesets = cameras.iter_mut().map(|(camera, depth)| {
                    let mut depth = depth.clone();
                    let gone = depth.len() - depth.len() * kept / 200 * 2;
                    depth[..gone].fill(0);
                    camera.frameset(number as u64, &[&depth, &color])
                });
                let matched = Match::of(number as u64, framesets.collect(), true);
                merge.process(&matched, &mut output).unwrap();
                counts.push(reader.take().unwrap().points().unwrap().iter().flatten().count());
                capacity.push(merge.merged.capacity() + merge.own.capacity());
            }
            assert!(capacity.iter().all(|bytes| *bytes == capacity[0]), "memory grows: {capacity:?}");
            assert!(counts.iter().min() < Some(&1000) && counts[0] > 8000, "{counts:?}");
            // Room for all points, and for twice as many where vectors have grown by doubling.
            let most = 6 * 106 * 60 * 2 * (16 + 16 + 16 + 1 + 1) + merge.own.capacity();
            assert!(capacity[0] <= most, "{} of {most}", capacity[0]);
        }
    }

    /// Measures the processor time of a match: see `just bench-merge`.
    #[test]
    #[ignore = "measures"]
    fn processor_time() {
        println!("six cameras of 848x480 with color, one thread; medians of 60 matches");
        for (voxel_millimeters, decimation) in [(10.0, 2), (5.0, 2), (0.0, 2), (10.0, 1), (5.0, 1)] {
            let options = Options { voxel_millimeters, decimation, ..Options::default() };
            let mut cameras: Vec<_> = (0..6).map(|number| of_ball(number, [848, 480], 2.5)).collect();
            let color = vec![99; 848 * 480 * 3];
            let mut merge = Merge::new(options);
            let (mut output, reader) = testing::output_with_reader("merge", &[]);
            let (mut millis, mut points, mut capacity) = (Vec::new(), 0, Vec::new());
            for number in 0..60 {
                let framesets =
                    cameras.iter_mut().map(|(camera, depth)| camera.frameset(number, &[depth, &color]));
                let matched = Match::of(number, framesets.collect(), true);
                let start = std::time::Instant::now();
                merge.process(&matched, &mut output).unwrap();
                millis.push(start.elapsed().as_secs_f64() * 1000.0);
                points = reader.take().unwrap().points().unwrap().iter().flatten().count();
                capacity.push(merge.merged.capacity());
            }
            millis.sort_by(f64::total_cmp);
            assert!(capacity[2..].iter().all(|bytes| *bytes == capacity[2]), "memory grows: {capacity:?}");
            println!(
                "decimation {decimation}, voxels of {voxel_millimeters} mm: {:.1} ms, {points} points, {:.1} MB",
                millis[millis.len() / 2],
                capacity[2] as f64 / 1e6,
            );
        }
    }

    #[test]
    fn wrong_options_and_cameras_without_pose_are_named() {
        let wrong = "voxel_millimeters = -1\ndecimation = 0\ncrop_min = [0, 0, 0]\ncrop_max = [1, 0, 1]";
        let wrong = toml::from_str::<Options>(wrong).unwrap().check().unwrap_err().to_string();
        for fact in [
            "`voxel_millimeters` is -1; it must be 0 to 1000",
            "`decimation` is 0; it must be 1 to 16",
            "`crop_max` is not above `crop_min`",
        ] {
            assert!(wrong.contains(fact), "{wrong}");
        }
        let mut plain = TestCamera::new("top", &[(Stream::DEPTH, PixelFormat::Z16, "4x2@30")]);
        let framesets = vec![plain.frameset(1, &[&depth([1; 8])])];
        let mut output = testing::output("merge", &[]);
        let error = Merge::new(Options::default()).process(&Match::of(0, framesets, true), &mut output);
        assert_eq!(
            error.unwrap_err().to_string(),
            "no points of camera `top`: it has no pose; name a calibration that has it by the key `calibration` of \
             the topology"
        );
    }
}
