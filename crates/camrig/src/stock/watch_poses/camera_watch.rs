//! One camera: the surface that it sees at rest, and the decision whether it has moved.
//!
//! What it sees is compared with that surface by the motion that would explain it. People and things only hide a part of the
//! surface, or add to it: no single motion explains them. A camera has moved when one motion explains most of what it sees
//! in several looks in a row.

use std::mem;

use camrig_frame::{Extrinsics, Intrinsics};

use super::align::{Aligned, align};
use super::cells::{Cells, Surface};

/// Looks from which the surface at rest is learned, and the motion that later looks seem to have there.
pub(super) const LEARN_LOOKS: usize = 12;

/// Those of the surface. The others know nothing of its errors.
const SURFACE_LOOKS: usize = 8;

/// Looks in a row that must agree before a motion is reported.
const AGREED_LOOKS: usize = 4;

/// The share of a limit from which a look may belong to a motion: the mean of several must exceed the limit.
const DOUBTFUL: f64 = 0.6;

/// Looks in a row without an explanation before that is reported.
const LOST_LOOKS: u32 = 6;

/// Looks in a row at another depth, after which a cell belongs to the surface with that depth.
const ADOPT_LOOKS: u8 = 60;

/// The least share of compared cells that a motion must explain.
const EXPLAINED: f64 = 0.55;

/// The share of cells behind the surface at rest that people cannot cause: they are in front of it.
const BEHIND: f64 = 0.1;

/// The share of cells behind the surface from which turns are searched for too.
const BEHIND_SEARCHED: f64 = 0.03;

/// The share of cells that are explained from which no other motion is searched for.
const CLEAR: f64 = 0.85;

/// Distances at which a point belongs to a plane, and at which a search for a motion begins, in metres.
const TOLERANCE: f32 = 0.012;
const REACH: f32 = 0.2;

/// Angles by which the searches for a large motion differ.
const TURN: f64 = 0.04;

/// A motion is certain if it is so many standard deviations long.
const CERTAIN: f64 = 3.0;

/// The least motions that are reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) meters: f64,
    pub(super) radians: f64,
}

/// How far a motion moves and turns a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    pub(super) meters: f64,
    pub(super) radians: f64,
}

impl Extent {
    pub(super) fn of(motion: &Extrinsics) -> Self {
        let [x, y, z, turn_x, turn_y, turn_z] = twist(motion);
        let length = |x: f64, y: f64, z: f64| (x * x + y * y + z * z).sqrt();
        Self { meters: length(x, y, z), radians: length(turn_x, turn_y, turn_z) }
    }

    fn exceeds(self, limits: Limits, share: f64) -> bool {
        self.meters >= share * limits.meters || self.radians >= share * limits.radians
    }
}

/// A translation in metres, and an axis of rotation as long as its angle in radians.
pub(super) type Twist = [f64; 6];

pub(super) fn twist(motion: &Extrinsics) -> Twist {
    let turn = motion.rotation.map(f64::from);
    let [x, y, z] = motion.translation_meters.map(f64::from);
    // Twice the sine of the angle along the axis: exact for small angles, of which the cosine is not.
    let axis = [turn[5] - turn[7], turn[6] - turn[2], turn[1] - turn[3]];
    let sine = axis.iter().map(|part| part * part).sum::<f64>().sqrt();
    let angle = sine.atan2(turn[0] + turn[4] + turn[8] - 1.0);
    let factor = if sine > 0.0 { angle / sine } else { 0.0 };
    [x, y, z, axis[0] * factor, axis[1] * factor, axis[2] * factor]
}

pub(super) fn motion([x, y, z, turns @ ..]: Twist) -> Extrinsics {
    let angle = turns.iter().map(|part| part * part).sum::<f64>().sqrt();
    let factor = if angle > 0.0 { (angle / 2.0).sin() / angle } else { 0.0 };
    let [turn_x, turn_y, turn_z] = turns.map(|part| part * factor);
    Extrinsics::from_quaternion([turn_x, turn_y, turn_z, (angle / 2.0).cos()], [x, y, z])
}

/// Returns the mean of motions that differ little.
fn mean(motions: &[Extrinsics]) -> Extrinsics {
    let mut sum = [0.0; 6];
    for each in motions {
        sum.iter_mut().zip(twist(each)).for_each(|(sum, part)| *sum += part);
    }
    motion(sum.map(|sum| sum / motions.len().max(1) as f64))
}

/// What happened to a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    /// It is so far from where its surface was learned.
    Moved(Extent),
    /// It is there again.
    Back,
    /// Most of what it sees is another scene, which no motion within reach explains.
    Lost,
}

/// A look of one camera.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    /// Most of it is explained by this motion, from the camera's coordinates to those at rest, of which the standard
    /// deviations are these metres and radians; so many of six directions are determined.
    Explained { motion: Extrinsics, deviation: [f64; 2], directions: usize },
    /// Much is in front of the surface.
    Hidden,
    /// Much is behind the surface, and not explained.
    Unexplained,
}

/// The decision on one camera: from looks to events.
#[derive(Clone, Debug)]
pub(super) struct Judge {
    limits: Limits,
    /// The motion that was reported last.
    pub(super) reported: Extrinsics,
    /// The last motions that differ from it.
    recent: Vec<Extrinsics>,
    /// Looks in a row without an explanation.
    unexplained: u32,
    is_lost: bool,
}

impl Judge {
    pub(super) fn new(limits: Limits) -> Self {
        let reported = Extrinsics::IDENTITY;
        Self { limits, reported, recent: Vec::new(), unexplained: 0, is_lost: false }
    }

    /// Returns whether the camera is where it was at rest.
    pub(super) fn rests(&self) -> bool {
        self.recent.is_empty()
            && self.unexplained == 0
            && !self.is_lost
            && self.reported == Extrinsics::IDENTITY
    }

    /// Takes a look, and returns what happened.
    pub(super) fn take(&mut self, look: &Look) -> Option<Event> {
        match look {
            Look::Explained { motion, deviation, .. } => {
                self.unexplained = 0;
                self.take_motion(motion, *deviation)
            }
            Look::Hidden => {
                self.recent.clear();
                self.unexplained = 0;
                None
            }
            Look::Unexplained => {
                self.recent.clear();
                self.unexplained += 1;
                let is_new = self.unexplained == LOST_LOOKS && !mem::replace(&mut self.is_lost, true);
                is_new.then_some(Event::Lost)
            }
        }
    }

    fn take_motion(&mut self, motion: &Extrinsics, deviation: [f64; 2]) -> Option<Event> {
        let limits = Limits {
            meters: self.limits.meters.max(CERTAIN * deviation[0]),
            radians: self.limits.radians.max(CERTAIN * deviation[1]),
        };
        let since_reported = |motion: &Extrinsics| Extent::of(&self.reported.inverse().after(motion));
        if !since_reported(motion).exceeds(limits, DOUBTFUL) && !self.is_lost {
            self.recent.clear();
            return None;
        }
        self.recent.push(*motion);
        if self.recent.len() < AGREED_LOOKS {
            return None;
        }
        let motion = mean(&self.recent);
        let agrees = |each: &Extrinsics| !Extent::of(&motion.inverse().after(each)).exceeds(limits, 1.0);
        if !self.recent.iter().all(agrees) || !(self.is_lost || since_reported(&motion).exceeds(limits, 1.0))
        {
            self.recent.remove(0);
            return None;
        }
        self.recent.clear();
        self.is_lost = false;
        let extent = Extent::of(&motion);
        let moved = extent.exceeds(limits, 1.0);
        self.reported = if moved { motion } else { Extrinsics::IDENTITY };
        Some(if moved { Event::Moved(extent) } else { Event::Back })
    }
}

/// The surface of a camera, or the looks from which it is learned.
#[derive(Debug)]
enum Rest {
    Learning(Vec<Vec<f32>>),
    Known(Known),
}

/// A surface, and depths that may become part of it.
#[derive(Debug)]
struct Known {
    surface: Surface,
    /// The depth of each cell that differs from the surface, and in how many looks it was the same.
    others: Vec<(f32, u8)>,
    /// The motion that looks of the camera at rest seem to have, since the surface has errors of its own.
    zero: Extrinsics,
}

/// A watched camera.
#[derive(Debug)]
pub(super) struct CameraWatch {
    pub(super) cells: Cells,
    rest: Rest,
    pub(super) judge: Judge,
    limits: Limits,
    /// The motion of the last look that was explained.
    motion: Extrinsics,
    /// The last look.
    now: Vec<f32>,
}

impl CameraWatch {
    /// Creates the watch of a camera with these intrinsics; `None` if their model is not supported.
    pub(super) fn new(lens: &Intrinsics, limits: Limits) -> Option<Self> {
        Some(Self {
            cells: Cells::new(lens)?,
            rest: Rest::Learning(Vec::new()),
            judge: Judge::new(limits),
            limits,
            motion: Extrinsics::IDENTITY,
            now: Vec::new(),
        })
    }

    /// Returns the surface at rest, and the motion that the camera seems to have there, once they are known.
    pub(super) fn known(&self) -> Option<(&Surface, &Extrinsics)> {
        match &self.rest {
            Rest::Known(known) => Some((&known.surface, &known.zero)),
            Rest::Learning(_) => None,
        }
    }

    /// Returns the depths of the last look.
    pub(super) fn now(&self) -> &[f32] {
        &self.now
    }

    /// Returns the motion of the last look that was explained, from the camera's coordinates to those at rest.
    pub(super) fn motion(&self) -> Extrinsics {
        self.motion
    }

    /// Compares with this surface from now on.
    pub(super) fn know(&mut self, surface: Surface, zero: Extrinsics) {
        let others = vec![(0.0, 0); self.cells.len()];
        self.motion = zero;
        self.rest = Rest::Known(Known { surface, others, zero });
    }

    /// Learns the surface anew: the scene has changed.
    pub(super) fn forget(&mut self) {
        self.rest = Rest::Learning(Vec::new());
        self.judge = Judge::new(self.limits);
        self.motion = Extrinsics::IDENTITY;
    }

    /// Takes the depths of a look, in metres by cell; returns what it shows once the surface is known.
    pub(super) fn look(&mut self, depths: Vec<f32>) -> Option<Look> {
        self.now = depths;
        let points = self.cells.points(&self.now);
        let known = match &mut self.rest {
            Rest::Learning(looks) => {
                looks.push(self.now.clone());
                if looks.len() == LEARN_LOOKS {
                    let (of_surface, others) = looks.split_at(SURFACE_LOOKS);
                    let surface = Surface::learn(&self.cells, of_surface);
                    let zeros: Vec<_> = others
                        .iter()
                        .filter_map(|look| {
                            let points = self.cells.points(look);
                            align(&points, &self.cells, &surface, &Extrinsics::IDENTITY, TOLERANCE, TOLERANCE)
                        })
                        .map(|found| found.motion)
                        .collect();
                    self.know(surface, mean(&zeros));
                }
                return None;
            }
            Rest::Known(known) => known,
        };
        let surface = &known.surface;
        let to = |start: &Extrinsics, reach| align(&points, &self.cells, surface, start, reach, TOLERANCE);
        let behind = known.behind(&self.now);
        // Near its last place and its first one; then farther; then turned, unless all that differs is in front. Each look
        // begins at a place that was reported: a direction that it does not determine has no error of the look before.
        let near = [known.zero.after(&self.judge.reported), known.zero];
        let turns = [[TURN, 0.0], [-TURN, 0.0], [0.0, TURN], [0.0, -TURN]];
        let turned = turns.into_iter().filter(|_| behind >= BEHIND_SEARCHED);
        let turned = turned.map(|[x, y]| motion([0.0, 0.0, 0.0, x, y, 0.0]));
        let starts = near.map(|start| (start, TOLERANCE)).into_iter();
        let starts = starts.chain(near.into_iter().chain(turned).map(|start| (start, REACH)));
        let mut found: Option<Aligned> = None;
        for (start, reach) in starts {
            let share = found.as_ref().map_or(0.0, Aligned::share);
            if share >= CLEAR {
                break;
            }
            found = to(&start, reach).filter(|other| other.share() > share).or(found);
        }
        let found = found.filter(|found| found.share() >= EXPLAINED);
        if let Some(Aligned { motion, deviation, determined: directions, .. }) = found {
            self.motion = motion;
            let motion = known.zero.inverse().after(&motion);
            if self.judge.rests() {
                known.adopt(&self.cells, &self.now);
            }
            return Some(Look::Explained { motion, deviation, directions });
        }
        Some(if behind >= BEHIND { Look::Unexplained } else { Look::Hidden })
    }
}

impl Known {
    /// Returns the share of cells that see something behind the surface.
    fn behind(&self, now: &[f32]) -> f64 {
        let Surface { depths, spreads, .. } = &self.surface;
        let (mut compared, mut behind) = (0, 0);
        for ((now, rest), spread) in now.iter().zip(depths).zip(spreads) {
            if *now > 0.0 && *rest > 0.0 {
                compared += 1;
                behind += usize::from(*now > rest + 0.03 * rest + 6.0 * spread);
            }
        }
        f64::from(behind as u32) / f64::from((compared as u32).max(1))
    }

    /// Makes depths that stayed the same for long a part of the surface: something was put there, or taken away.
    fn adopt(&mut self, cells: &Cells, now: &[f32]) {
        let Surface { depths, spreads, .. } = &self.surface;
        let mut adopted = false;
        for (cell, (other, count)) in self.others.iter_mut().enumerate() {
            let (now, rest, spread) = (now[cell], depths[cell], spreads[cell]);
            let near = |depth: f32| (now - depth).abs() <= 0.01 * now + 6.0 * spread;
            if now <= 0.0 || near(rest) {
                *count = 0;
            } else if near(*other) {
                *count += 1;
                adopted |= *count == ADOPT_LOOKS;
            } else {
                (*other, *count) = (now, 1);
            }
        }
        if !adopted {
            return;
        }
        let mut depths = depths.clone();
        for (depth, (other, count)) in depths.iter_mut().zip(&mut self.others) {
            // Neighbours that have stayed nearly as long come along, so that their planes are whole.
            if *count >= ADOPT_LOOKS - ADOPT_LOOKS / 4 {
                (*depth, *count) = (*other, 0);
            }
        }
        self.surface = Surface::new(cells, depths, spreads.clone());
    }
}
