//! A room with furniture, as depth cameras see it, and people who walk through it.
//!
//! Depth is drawn by casting rays at boxes: it shares no code with the search for motions.

use camrig_frame::{Distortion, PixelFormat, Stream};

use super::camera_watch::{LEARN_LOOKS, motion};
use super::*;
use crate::testing::{TestCamera, TestFolder, TestOutput};

type Place = [f64; 3];

fn dot(a: Place, b: Place) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: Place, b: Place) -> Place {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn unit(a: Place) -> Place {
    let length = dot(a, a).sqrt();
    a.map(|part| part / length)
}

/// A box with these corners, in metres. Y points down.
type Cuboid = [Place; 2];

const ROOM: Cuboid = [[-2.5, -1.6, -2.5], [2.5, 1.0, 2.5]];

const FURNITURE: [Cuboid; 6] = [
    [[-0.8, 0.2, -0.5], [0.6, 0.25, 0.5]],
    [[-0.3, -0.1, -0.2], [0.0, 0.2, 0.1]],
    [[0.2, 0.0, 0.1], [0.4, 0.2, 0.3]],
    [[-2.4, -0.5, 1.5], [-1.8, 1.0, 2.4]],
    [[1.4, 0.3, 1.0], [2.2, 1.0, 1.8]],
    [[1.5, 0.1, -2.3], [2.2, 1.0, -1.6]],
];

/// The distances at which a ray enters and leaves a box.
fn through(from: Place, ray: Place, [low, high]: &Cuboid) -> Option<[f64; 2]> {
    let (mut enters, mut leaves) = (0.0_f64, f64::MAX);
    for axis in 0..3 {
        let ends = [low[axis], high[axis]].map(|end| (end - from[axis]) / ray[axis]);
        enters = enters.max(ends[0].min(ends[1]));
        leaves = leaves.min(ends[0].max(ends[1]));
    }
    (enters <= leaves && enters > 0.0 || leaves > enters && enters == 0.0).then_some([enters, leaves])
}

/// A camera in the room: its place, and the directions of X, Y and Z.
#[derive(Clone, Copy)]
struct Stand {
    at: Place,
    axes: [Place; 3],
}

impl Stand {
    fn looking(at: Place, target: Place) -> Self {
        let z = unit(std::array::from_fn(|axis| target[axis] - at[axis]));
        let x = unit(cross([0.0, 1.0, 0.0], z));
        Self { at, axes: [x, cross(z, x), z] }
    }

    fn out(&self, inside: Place) -> Place {
        std::array::from_fn(|axis| (0..3).map(|part| self.axes[part][axis] * inside[part]).sum())
    }

    /// Returns it after a motion in its own coordinates: millimetres, and degrees about its axes.
    fn bumped(&self, millimeters: Place, degrees: Place) -> Self {
        let step = self.out(millimeters.map(|part| part / 1000.0));
        let at = std::array::from_fn(|axis| self.at[axis] + step[axis]);
        let turned = |column: Place| {
            let by = degrees.map(f64::to_radians);
            let angle = dot(by, by).sqrt();
            if angle == 0.0 {
                return column;
            }
            let axis = by.map(|part| part / angle);
            let (sine, cosine) = angle.sin_cos();
            let (along, across) = (dot(axis, column) * (1.0 - cosine), cross(axis, column));
            std::array::from_fn(|part| column[part] * cosine + across[part] * sine + axis[part] * along)
        };
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Self { at, axes: axes.map(|axis| self.out(turned(axis))) }
    }

    fn pose(&self) -> CameraPose {
        let [x, y, z] = self.axes;
        let w = (1.0 + x[0] + y[1] + z[2]).sqrt() / 2.0;
        let quaternion_xyzw =
            [(y[2] - z[1]) / (4.0 * w), (z[0] - x[2]) / (4.0 * w), (x[1] - y[0]) / (4.0 * w), w];
        CameraPose { root: "room".to_owned(), translation_meters: self.at, quaternion_xyzw }
    }
}

/// Looks at the room, with noise that grows with the square of distance.
struct Room {
    furniture: Vec<Cuboid>,
    people: Vec<Cuboid>,
    lens: Intrinsics,
    /// Metres of noise at one metre.
    noise: f64,
    random: u64,
}

impl Room {
    fn new(width: u32, height: u32) -> Self {
        let (focal, middle) = (width as f32 * 0.5, [width, height].map(|side| side as f32 / 2.0 - 0.5));
        let lens = Intrinsics {
            width,
            height,
            ppx: middle[0],
            ppy: middle[1],
            fx: focal,
            fy: focal,
            distortion: Distortion::None,
            coefficients: [0.0; 5],
        };
        Self {
            furniture: FURNITURE.to_vec(),
            people: Vec::new(),
            lens,
            noise: 0.0004,
            random: 88_172_645_463_325_252,
        }
    }

    fn noise(&mut self) -> f64 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            sum += (self.random >> 11) as f64 / (1_u64 << 53) as f64;
        }
        (sum - 2.0) * 3_f64.sqrt()
    }

    fn ray(&self, stand: &Stand, x: u32, y: u32) -> Place {
        let Intrinsics { ppx, ppy, fx, fy, .. } = self.lens;
        stand.out([f64::from((x as f32 - ppx) / fx), f64::from((y as f32 - ppy) / fy), 1.0])
    }

    /// Returns the distance along Z of what is at each pixel, without people and noise.
    fn still(&self, stand: &Stand) -> Vec<f64> {
        let pixels = (0..self.lens.height).flat_map(|y| (0..self.lens.width).map(move |x| (x, y)));
        let distance = |(x, y)| {
            let ray = self.ray(stand, x, y);
            let wall = through(stand.at, ray, &ROOM).map_or(0.0, |[_, leaves]| leaves);
            self.furniture
                .iter()
                .filter_map(|it| through(stand.at, ray, it))
                .fold(wall, |near, it| near.min(it[0]))
        };
        pixels.map(distance).collect()
    }

    /// Returns a look: what stands still, behind people, in metres.
    fn with_people(&mut self, stand: &Stand, still: &[f64]) -> Vec<f32> {
        let mut look = Vec::with_capacity(still.len());
        for (pixel, still) in still.iter().enumerate() {
            let (x, y) = (pixel as u32 % self.lens.width, pixel as u32 / self.lens.width);
            let mut near = *still;
            if !self.people.is_empty() {
                let ray = self.ray(stand, x, y);
                let hits = self.people.iter().filter_map(|person| through(stand.at, ray, person));
                near = hits.fold(near, |near, [enters, _]| near.min(enters));
            }
            let seen = near + self.noise * near * near * self.noise();
            look.push(((seen * 1000.0).round() / 1000.0) as f32);
        }
        look
    }

    fn look(&mut self, stand: &Stand) -> Vec<f32> {
        let still = self.still(stand);
        self.with_people(stand, &still)
    }
}

fn stands() -> [Stand; 3] {
    [[0.0, -1.2, -2.2], [2.2, -1.2, -0.5], [-2.0, -1.0, -1.0]].map(|at| Stand::looking(at, [0.0, 0.2, 0.0]))
}

const LIMITS: Limits = Limits { meters: 0.003, radians: 0.0035 };

/// Returns a watch that knows the room from this stand.
fn learned(room: &mut Room, stand: &Stand) -> CameraWatch {
    let mut watch = CameraWatch::new(&room.lens, LIMITS).unwrap();
    let still = room.still(stand);
    for _ in 0..LEARN_LOOKS {
        assert!(watch.known().is_none());
        watch.look(room.with_people(stand, &still));
    }
    assert!(watch.known().is_some());
    watch
}

/// Returns the first event of up to this many looks, and its number.
fn event_in(looks: usize, room: &mut Room, watch: &mut CameraWatch, stand: &Stand) -> Option<(usize, Event)> {
    let still = room.still(stand);
    (1..=looks).find_map(|number| {
        let look = watch.look(room.with_people(stand, &still)).unwrap();
        watch.judge.take(&look).map(|event| (number, event))
    })
}

#[test]
fn a_camera_that_was_bumped_is_named_within_ten_looks_and_when_it_is_back() {
    let mut room = Room::new(106, 60);
    let [none, small, angle] = [0.0, 5.0, 0.3];
    for (at, stand) in stands().into_iter().enumerate() {
        for (millimeters, degrees) in [
            ([small, none, none], [none; 3]),
            ([none, small, none], [none; 3]),
            ([none, none, small], [none; 3]),
            ([none; 3], [angle, none, none]),
            ([none; 3], [none, angle, none]),
            ([none; 3], [none, none, angle]),
            ([30.0, -20.0, 10.0], [1.0, 2.0, -1.0]),
            // Nothing is behind the surface then.
            ([none, none, 30.0], [none; 3]),
        ] {
            let mut watch = learned(&mut room, &stand);
            assert_eq!(event_in(5, &mut room, &mut watch, &stand), None, "{at}");
            let bumped = stand.bumped(millimeters, degrees);
            let (looks, event) = event_in(10, &mut room, &mut watch, &bumped).unwrap_or_else(|| {
                panic!("{at}: {millimeters:?} {degrees:?}: {:?}", Extent::of(&watch.motion()))
            });
            let Event::Moved(Extent { meters, radians }) = event else { panic!("{event:?}") };
            let (far, turned) = (dot(millimeters, millimeters).sqrt(), dot(degrees, degrees).sqrt());
            assert!((meters * 1000.0 - far).abs() < 3.0, "{at}: {looks} {meters} m of {far} mm");
            assert!((radians.to_degrees() - turned).abs() < 0.1, "{at}: {looks} {radians} of {turned}");
            // Said once, until it moves again.
            assert_eq!(event_in(10, &mut room, &mut watch, &bumped), None);
            assert_eq!(event_in(10, &mut room, &mut watch, &stand).map(|it| it.1), Some(Event::Back));
        }
        let mut watch = learned(&mut room, &stand);
        let far = stand.bumped([300.0, 200.0, 0.0], [0.0, 25.0, 0.0]);
        assert_eq!(event_in(10, &mut room, &mut watch, &far).map(|it| it.1), Some(Event::Lost), "{at}");
        assert_eq!(event_in(10, &mut room, &mut watch, &stand).map(|it| it.1), Some(Event::Back), "{at}");
    }
}

/// Returns where people are in this second: each walks back and forth between two places, at about a metre a second, and
/// stands at the ends.
fn people(second: u32) -> Vec<Cuboid> {
    let ways =
        [([-1.9, -1.4], [1.8, -1.2], 9.0), ([1.2, 1.9], [1.3, -1.4], 7.0), ([-1.2, 0.9], [-1.4, -2.0], 11.0)];
    let person = |(from, to, seconds): ([f64; 2], [f64; 2], f64)| {
        let phase = (f64::from(second) / seconds + seconds).fract() * 2.0;
        let part = (1.0 - (phase - 1.0).abs()).mul_add(1.4, -0.2).clamp(0.0, 1.0);
        let [x, z]: [f64; 2] = std::array::from_fn(|axis| from[axis] + (to[axis] - from[axis]) * part);
        [[x - 0.25, -0.75, z - 0.2], [x + 0.25, 1.0, z + 0.2]]
    };
    ways.map(person).to_vec()
}

#[test]
fn an_hour_of_people_is_no_motion() {
    let mut room = Room::new(53, 30);
    for stand in &stands()[..2] {
        let still = room.still(stand);
        let mut watch = CameraWatch::new(&room.lens, LIMITS).unwrap();
        let (mut hidden, mut most) = (0, 0.0_f64);
        for second in 0..3600 {
            room.people = people(second);
            let seen = room.with_people(stand, &still);
            let Some(look) = watch.look(seen) else { continue };
            if let Look::Explained { motion, .. } = &look {
                most = most.max(Extent::of(motion).meters);
            } else {
                hidden += 1;
            }
            assert_eq!(watch.judge.take(&look), None, "after {second} s: {look:?}");
        }
        assert!(hidden < 360, "{hidden} of 3600 looks are without an answer; the longest motion is {most} m");
    }
}

#[test]
fn noise_is_no_motion() {
    for noise in [0.0, 0.0004, 0.0015] {
        for stand in stands() {
            let mut room = Room { noise, ..Room::new(53, 30) };
            let mut watch = learned(&mut room, &stand);
            assert_eq!(event_in(600, &mut room, &mut watch, &stand), None, "{noise}");
        }
    }
}

#[test]
fn someone_who_hides_most_of_the_view_is_no_motion() {
    let mut room = Room::new(106, 60);
    let [stand, ..] = stands();
    let mut watch = learned(&mut room, &stand);
    // A hand's width before the camera, and then half of the view.
    for wide in [1.0, 0.0] {
        room.people = vec![[[-wide, -2.0, -2.0], [1.0, 1.0, -1.9]]];
        assert_eq!(event_in(20, &mut room, &mut watch, &stand), None);
    }
    room.people.clear();
    assert_eq!(event_in(5, &mut room, &mut watch, &stand), None);
    assert!(watch.judge.rests());
}

#[test]
fn furniture_that_was_moved_becomes_part_of_the_surface() {
    let mut room = Room::new(106, 60);
    let [stand, ..] = stands();
    let mut watch = learned(&mut room, &stand);
    // Piece by piece, half of the room changes.
    for piece in [3, 4, 5, 1] {
        for corner in &mut room.furniture[piece] {
            corner[0] *= 0.6;
            corner[2] -= 0.3;
        }
        assert_eq!(event_in(80, &mut room, &mut watch, &stand), None, "{piece}");
    }
    let bumped = stand.bumped([0.0, 5.0, 0.0], [0.0; 3]);
    assert!(matches!(event_in(10, &mut room, &mut watch, &bumped), Some((_, Event::Moved(_)))));
}

#[test]
fn another_camera_says_whether_the_scene_has_moved() {
    let mut room = Room::new(106, 60);
    // The first one sees nearly nothing but the table.
    let near = Stand::looking([0.05, -0.55, -0.45], [-0.1, 0.2, 0.0]);
    let [far, ..] = stands();
    let way = |one: &Stand, other: &Stand| {
        let to_root = |stand: &Stand| {
            let CameraPose { translation_meters, quaternion_xyzw, .. } = stand.pose();
            Extrinsics::from_quaternion(quaternion_xyzw, translation_meters)
        };
        to_root(other).inverse().after(&to_root(one))
    };
    let to_far = way(&near, &far);
    for scene in [true, false] {
        let mut room = Room { furniture: FURNITURE.to_vec(), people: Vec::new(), ..Room::new(106, 60) };
        let (mut one, mut other) = (learned(&mut room, &near), learned(&mut room, &far));
        let bumped = if scene { near } else { near.bumped([0.0, 0.0, 12.0], [0.0; 3]) };
        if scene {
            // The table and what is on it sink.
            room.furniture[..3].iter_mut().flatten().for_each(|corner| corner[1] += 0.012);
        }
        let moved = event_in(10, &mut room, &mut one, &bumped);
        assert!(matches!(moved, Some((_, Event::Moved(_)))), "{scene}: {moved:?}");
        assert_eq!(event_in(3, &mut room, &mut other, &far), None);
        assert_eq!(overlap::scene_moved(&one, &other, &to_far), scene);
    }
    // Where their poses have them, they fit each other; a pose that is off is found.
    let (one, other) = (learned(&mut room, &near), learned(&mut room, &far));
    let right = overlap::offset(&one, &other, &to_far).unwrap();
    assert!(right.meters < 0.01 && right.radians < 0.01, "{right:?}");
    let wrong = to_far.after(&motion([0.0, 0.0, 0.05, 0.0, 0.0, 0.0]));
    let wrong = overlap::offset(&one, &other, &wrong).unwrap();
    assert!((wrong.meters - 0.05).abs() < 0.015, "{wrong:?}");
}

/// Cameras in the room, as the processor has them.
struct Rig {
    room: Room,
    stands: Vec<Stand>,
    cameras: Vec<TestCamera>,
    watch: WatchPoses,
    output: TestOutput,
    number: u64,
}

impl Rig {
    fn new(options: &str) -> Self {
        Self::of(options, Room::new(106, 60), &["front", "side", "other"])
    }

    fn of(options: &str, room: Room, names: &[&str]) -> Self {
        let stands: Vec<_> = stands().into_iter().cycle().take(names.len()).collect();
        let info = |(name, stand): (&&str, &Stand)| {
            let profile = format!("{}x{}@30", room.lens.width, room.lens.height).parse().unwrap();
            let depth = StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, profile);
            CameraInfo {
                name: (*name).to_owned(),
                serial: name.len().to_string(),
                depth_unit_meters: 0.001,
                streams: vec![StreamInfo { intrinsics: Some(room.lens), ..depth }],
                pose: Some(stand.pose()),
                ..CameraInfo::default()
            }
        };
        let cameras = names.iter().zip(&stands).map(info).map(TestCamera::of).collect();
        let watch = WatchPoses::new(toml::from_str(options).unwrap()).unwrap();
        Self { room, stands, cameras, watch, output: TestOutput::new("watch"), number: 0 }
    }

    /// Lets cameras capture for this time at 10 Hz; returns the warnings.
    fn run(&mut self, seconds: u64) -> Vec<String> {
        let stills: Vec<_> = self.stands.iter().map(|stand| self.room.still(stand)).collect();
        for _ in 0..10 * seconds {
            self.number += 1;
            let mut framesets = Vec::new();
            for ((camera, stand), still) in self.cameras.iter_mut().zip(&self.stands).zip(&stills) {
                let look = self.room.with_people(stand, still);
                let units = look.iter().flat_map(|meters| ((meters * 1000.0).round() as u16).to_le_bytes());
                framesets.push(camera.frameset(self.number * 100_000_000, &[&units.collect::<Vec<_>>()]));
            }
            self.watch.process(&Match::of(self.number, framesets, true), self.output.output()).unwrap();
        }
        self.output.warnings()
    }
}

#[test]
fn a_warning_names_the_camera_and_how_far_it_has_moved() {
    let mut rig = Rig::new("");
    assert!(rig.run(20).is_empty());
    rig.stands[1] = rig.stands[1].bumped([0.0, 8.0, 0.0], [0.0; 3]);
    let said = rig.run(10);
    let [only] = said.as_slice() else { panic!("{said:?}") };
    let start = "camera `side` has moved by ";
    assert!(only.starts_with(start) && only.ends_with(" degrees: calibrate again"), "{only}");
    let millimeters: f64 = only[start.len()..].split(' ').next().unwrap().parse().unwrap();
    assert!((millimeters - 8.0).abs() < 2.0, "{only}");
    rig.stands[1] = stands()[1];
    assert_eq!(rig.run(10), ["camera `side` is back where it was"]);
}

#[test]
fn a_camera_that_moved_between_two_runs_is_named() {
    let folder = TestFolder::new("watch");
    std::fs::create_dir(folder.path()).unwrap();
    let file = folder.path().join("rig.background");
    let options = format!("background = '{}'", file.display());
    let run = |bump: Place| {
        let mut rig = Rig::new(&options);
        rig.stands[2] = rig.stands[2].bumped(bump, [0.0; 3]);
        rig.run(16)
    };
    assert!(run([0.0; 3]).is_empty() && file.exists());
    assert!(run([0.0; 3]).is_empty());
    let said = run([0.0, 10.0, 0.0]);
    assert!(said.len() == 1 && said[0].starts_with("camera `other` has moved by "), "{said:?}");
    // The file stays as it was, and is of these devices.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"serial\":\"5\"", "\"serial\":\"8\"", 2)).unwrap();
    let mut rig = Rig::new(&options);
    let stand = rig.stands[0];
    let units: Vec<u8> = rig.room.look(&stand).iter().flat_map(|_| [1, 0]).collect();
    let frames = rig.cameras[0].frameset(1, &[&units]);
    let error = rig.watch.process(&Match::of(1, vec![frames], true), rig.output.output()).unwrap_err();
    let fact = format!(
        "camera `front` cannot be watched: `{}` has camera `front` with serial number `8`, not `5`; remove it, or name \
         another one",
        file.display()
    );
    assert_eq!(error.to_string(), fact);
    std::fs::write(&file, "{}").unwrap();
    let error = WatchPoses::new(toml::from_str(&options).unwrap()).map(drop).unwrap_err().to_string();
    assert!(error.contains("is not a file of backgrounds: missing field `version`"), "{error}");
}

#[test]
fn a_camera_that_its_calibration_has_elsewhere_is_named() {
    let mut rig = Rig::new("");
    // Its pose is of before it was moved.
    rig.stands[1] = rig.stands[1].bumped([0.0, 0.0, 60.0], [0.0; 3]);
    let said = rig.run(16);
    let start = "camera `side` is not where its calibration has it: it is off by ";
    assert!(said.len() == 1 && said[0].starts_with(start), "{said:?}");
}

/// Measures the processor time of six cameras: see `just bench-watch`.
#[test]
#[ignore = "measures"]
fn processor_time() {
    let mut rig = Rig::of("", Room::new(848, 480), &["a", "bb", "ccc", "dddd", "eeeee", "ffffff"]);
    let pictures: Vec<Vec<u8>> = (0..6)
        .map(|camera| {
            let look = rig.room.look(&rig.stands[camera]);
            look.iter().flat_map(|meters| ((meters * 1000.0).round() as u16).to_le_bytes()).collect()
        })
        .collect();
    let mut millis = Vec::new();
    for second in 0..40 {
        let mut spent = std::time::Duration::ZERO;
        for frame in 0..30 {
            let nanos = (second * 30 + frame) * 1_000_000_000 / 30 + 1;
            let framesets = rig
                .cameras
                .iter_mut()
                .zip(&pictures)
                .map(|(camera, picture)| camera.frameset(nanos, &[picture]));
            let matched = Match::of(nanos, framesets.collect(), true);
            let start = std::time::Instant::now();
            rig.watch.process(&matched, rig.output.output()).unwrap();
            spent += start.elapsed();
        }
        millis.push(spent.as_secs_f64() * 1000.0);
    }
    // The first looks are learned.
    let mut known = millis.split_off(20);
    known.sort_by(f64::total_cmp);
    let (usual, most) = (known[known.len() / 2], known[known.len() - 1]);
    println!(
        "six cameras of 848x480 at 30 Hz, a look a second: {usual:.1} ms of a core per second, at most {most:.1}"
    );
}

#[test]
fn wrong_options_are_named() {
    let options: Options = toml::from_str("every_seconds = 0\nmillimeters = 0.5\ndegrees = 90").unwrap();
    let said = options.check().unwrap_err().to_string();
    for fact in [
        "`every_seconds` is 0; it is 0.1 to 3600",
        "`millimeters` is 0.5; it is 1 to 1000",
        "`degrees` is 90; it is 0.05 to 45",
    ] {
        assert!(said.contains(fact), "{said}");
    }
    let options: Options = toml::from_str("background = '/no/such/folder/file'").unwrap();
    assert!(options.probe().is_err());
}
