//! The tags of an AprilGrid in an image.
//!
//! At each corner of a tag two black and two white parts meet, as on a chessboard. Four such corners that are linked by edges
//! are a tag if their inside has the code of one.

use std::collections::BTreeMap;

use chess_corners::{Detector, DetectorConfig, ImageRefiner, UpscaleConfig};

use crate::Board;
use crate::april_grid::{TAG_BITS, TAG_BORDER, is_black};

/// Column and row in an image.
pub(crate) type Pixel = [f64; 2];

/// The largest angle between an edge and the line to the corner at its other end, in radians (9 degrees).
const MAX_ANGLE: f64 = 0.157;
/// Number of corners along an edge that may be its end, nearest first: that of the tag and some of the tags behind it.
const ENDS: usize = 4;
/// The least length of an edge, in pixels: bits must be told apart.
const MIN_EDGE: f64 = 10.0;
/// The largest distance of the fourth corner from where the others have it, as a share of the shortest edge.
const MAX_SKEW: f64 = 0.35;
/// Number of bits of a tag, with its border, along a side.
const CELLS: usize = TAG_BITS + 2 * TAG_BORDER;
/// The least difference in brightness between white and black.
const MIN_CONTRAST: f64 = 25.0;
/// The largest number of wrong bits; codes differ from each other in 11 bits.
const MAX_WRONG: u32 = 2;
/// The largest number of bits of the border that are not black.
const MAX_WRONG_BORDER: usize = 4;
/// The largest distance of a tag's middle from where an adjacent tag has it, in tags.
const MAX_DISTANCE: f64 = 0.4;
/// The least side of an image, in pixels: that of the ring which is examined around a corner.
const SIDE_MIN: usize = 32;
/// Maximum number of corners that are examined, of those that are clearest.
const SADDLES_MAX: usize = 3000;
/// Factor by which an image with few found tags is enlarged.
const ENLARGED: u32 = 2;
/// The share of a board's corners from which on an image is not enlarged.
const ENOUGH: f64 = 0.75;

/// Finds the corners of the tags of one AprilGrid.
#[derive(Debug)]
pub(crate) struct TagDetector {
    codes: &'static [u64],
    columns: u32,
    spacing: f64,
}

/// A point where two black and two white parts meet.
#[derive(Clone, Copy, Debug)]
struct Saddle {
    at: Pixel,
    /// The directions of the edges; from the first to the second, clockwise on the image, it is black.
    edges: [f64; 2],
}

/// A tag in an image.
#[derive(Clone, Copy, Debug)]
struct Tag {
    /// From the upper left one, clockwise.
    corners: [Pixel; 4],
    wrong_bits: u32,
}

impl TagDetector {
    /// Creates a detector for an AprilGrid.
    pub(crate) fn new(board: &Board) -> Self {
        let (_, tag) = board.measured_millimeters();
        let spacing = board.pitch_millimeters() / tag - 1.0;
        Self { codes: board.codes(), columns: board.columns(), spacing }
    }

    /// Returns the numbers and the positions of the corners in an image of this width, sorted by their numbers.
    pub(crate) fn detect(&self, gray: &[u8], width: usize) -> Vec<(u32, Pixel)> {
        let config = DetectorConfig::chess().with_refiner(ImageRefiner::saddle_point());
        let found = self.tags(gray, width, config);
        let enough = (self.codes.len() as f64 * ENOUGH).ceil() as usize;
        let enlarged = (found.len() < enough)
            .then(|| self.tags(gray, width, config.with_upscale(UpscaleConfig::fixed(ENLARGED))));
        let best = enlarged.filter(|enlarged| enlarged.len() > found.len()).unwrap_or(found);
        let corners = |(number, tag): (u32, Tag)| {
            (0..).zip(tag.corners).map(move |(corner, pixel)| (4 * number + corner, pixel))
        };
        best.into_iter().flat_map(corners).collect()
    }

    fn tags(&self, gray: &[u8], width: usize, config: DetectorConfig) -> BTreeMap<u32, Tag> {
        let image = Image { gray, width };
        if width < SIDE_MIN || image.height() < SIDE_MIN {
            return BTreeMap::new();
        }
        let saddles = saddles(&image, config);
        let mut tags = BTreeMap::new();
        for quad in saddles.iter().flat_map(|saddle| quads(saddle, &saddles)) {
            let Some((number, tag)) = self.read(&image, quad) else { continue };
            let best = tags.entry(number).or_insert(tag);
            if tag.wrong_bits < best.wrong_bits {
                *best = tag;
            }
        }
        self.drop_stray(&mut tags);
        tags
    }

    /// Returns the tag with these corners, which may begin with any of them.
    fn read(&self, image: &Image<'_>, quad: [Pixel; 4]) -> Option<(u32, Tag)> {
        let black = black_cells(image, &Projection::new(quad)?)?;
        let is_border = |at: usize| !(TAG_BORDER..CELLS - TAG_BORDER).contains(&at);
        let all = || (0..CELLS).flat_map(|row| (0..CELLS).map(move |column| (row, column)));
        let border = || all().filter(|&(row, column)| is_border(row) || is_border(column));
        if border().filter(|&(row, column)| !black[row][column]).count() > MAX_WRONG_BORDER {
            return None;
        }
        let bits = || (0..TAG_BITS).flat_map(|row| (0..TAG_BITS).map(move |column| (row, column)));
        let wrong = |code: u64, turns: usize| {
            let differs = |&(row, column): &(usize, usize)| {
                // Where the bit of the upright tag is, if its upper left corner is the one with this index.
                let (mut at, last) = ((row, column), TAG_BITS - 1);
                for _ in 0..turns {
                    at = (at.1, last - at.0);
                }
                black[at.0 + TAG_BORDER][at.1 + TAG_BORDER] != is_black(code, row, column)
            };
            bits().filter(differs).count() as u32
        };
        let turned = (0..)
            .zip(self.codes)
            .flat_map(|(number, code)| (0..4).map(move |turns| (wrong(*code, turns), number, turns)));
        let (wrong_bits, number, turns) = turned.min()?;
        let corners = std::array::from_fn(|corner| quad[(corner + turns) % 4]);
        (wrong_bits <= MAX_WRONG).then_some((number, Tag { corners, wrong_bits }))
    }

    /// Removes tags that are not where most adjacent ones have them.
    fn drop_stray(&self, tags: &mut BTreeMap<u32, Tag>) {
        let fits = |number: u32, tag: &Tag| {
            let place = |number: u32| [number % self.columns, number / self.columns].map(i64::from);
            let [column, row] = place(number);
            let (mut near, mut far) = (0, 0);
            for (other, neighbor) in tags.iter().filter(|(other, _)| **other != number) {
                let [right, up] = [place(*other)[0] - column, place(*other)[1] - row];
                if right.abs() > 1 || up.abs() > 1 {
                    continue;
                }
                let Some(projection) = Projection::new(tag.corners) else { return false };
                let steps = 1.0 + self.spacing;
                let expected = projection.pixel([0.5 + right as f64 * steps, 0.5 - up as f64 * steps]);
                let middle = [0, 1].map(|axis| neighbor.corners.map(|at| at[axis]).iter().sum::<f64>() / 4.0);
                let side = distance(tag.corners[0], tag.corners[2]) / std::f64::consts::SQRT_2;
                let is_near = distance(expected, middle) < MAX_DISTANCE * side;
                *(if is_near { &mut near } else { &mut far }) += 1;
            }
            near >= far
        };
        let stray: Vec<_> =
            tags.iter().filter(|(number, tag)| !fits(**number, tag)).map(|(number, _)| *number).collect();
        tags.retain(|number, _| !stray.contains(number));
    }
}

struct Image<'a> {
    gray: &'a [u8],
    width: usize,
}

impl Image<'_> {
    fn height(&self) -> usize {
        self.gray.len().checked_div(self.width).unwrap_or(0)
    }

    /// Returns the brightness at a position between pixels; `None` outside of the image.
    fn at(&self, [x, y]: Pixel) -> Option<f64> {
        let (column, row) = (x.floor(), y.floor());
        let is_inside = column >= 0.0
            && row >= 0.0
            && column + 1.0 < self.width as f64
            && row + 1.0 < self.height() as f64;
        if !is_inside {
            return None;
        }
        let start = row as usize * self.width + column as usize;
        let [right, down] = [x - column, y - row];
        let along = |start: usize| {
            f64::from(self.gray[start]) * (1.0 - right) + f64::from(self.gray[start + 1]) * right
        };
        Some(along(start) * (1.0 - down) + along(start + self.width) * down)
    }
}

/// Returns the clearest points where two black and two white parts meet.
fn saddles(image: &Image<'_>, config: DetectorConfig) -> Vec<Saddle> {
    let Ok(mut detector) = Detector::new(config) else { return Vec::new() };
    let pixels = &image.gray[..image.width * image.height()];
    let mut found = detector.detect_u8(pixels, image.width as u32, image.height() as u32).unwrap_or_default();
    found.sort_by(|a, b| b.response.total_cmp(&a.response));
    found.truncate(SADDLES_MAX);
    let saddle = |corner: &chess_corners::CornerDescriptor| {
        let edges = corner.axes?.map(|axis| f64::from(axis.angle));
        Some(Saddle { at: [f64::from(corner.x), f64::from(corner.y)], edges })
    };
    found.iter().filter_map(saddle).collect()
}

/// Returns the quadrangles that may be a tag with this corner, clockwise from it.
fn quads(first: &Saddle, saddles: &[Saddle]) -> Vec<[Pixel; 4]> {
    let mut quads = Vec::new();
    // The tag is in one of the two black parts.
    for half in [0.0, std::f64::consts::PI] {
        let [along, down] = first.edges.map(|angle| ends(first, angle + half, saddles));
        for second in &along {
            for fourth in &down {
                quads.extend(closed([first.at, second.at, fourth.at], saddles));
            }
        }
    }
    quads
}

/// Returns the corners that may be at the other end of an edge, nearest first.
fn ends(from: &Saddle, angle: f64, saddles: &[Saddle]) -> Vec<Saddle> {
    let direction = [angle.cos(), angle.sin()];
    let limit = MAX_ANGLE.tan();
    let end = |saddle: &Saddle| {
        let between = [saddle.at[0] - from.at[0], saddle.at[1] - from.at[1]];
        let along = between[0] * direction[0] + between[1] * direction[1];
        let aside = between[0] * direction[1] - between[1] * direction[0];
        if along < MIN_EDGE || aside.abs() > limit * along {
            return None;
        }
        // One of its own edges is the same line.
        let line = between[1].atan2(between[0]);
        let is_edge = saddle.edges.iter().any(|edge| (edge - line).sin().abs() < MAX_ANGLE.sin());
        is_edge.then_some((along, *saddle))
    };
    let mut ends: Vec<_> = saddles.iter().filter_map(end).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    ends.into_iter().take(ENDS).map(|(_, saddle)| saddle).collect()
}

/// Returns the quadrangle of three corners and the fourth one, opposite to the first.
fn closed([first, second, fourth]: [Pixel; 3], saddles: &[Saddle]) -> Option<[Pixel; 4]> {
    let (along, down) = (distance(first, second), distance(first, fourth));
    let shortest = along.min(down);
    if shortest * 3.0 < along.max(down) {
        return None;
    }
    let expected = [0, 1].map(|axis| second[axis] + fourth[axis] - first[axis]);
    let third = saddles
        .iter()
        .map(|saddle| (distance(saddle.at, expected), saddle.at))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(distance, _)| *distance < MAX_SKEW * shortest)?;
    let quad = [first, second, third.1, fourth];
    let is_convex = (0..4).all(|at| {
        let [before, here, after] = [quad[(at + 3) % 4], quad[at], quad[(at + 1) % 4]];
        let [a, b] = [[here, before], [after, here]].map(|[to, from]| [to[0] - from[0], to[1] - from[1]]);
        a[0] * b[1] - a[1] * b[0] > 0.0
    });
    is_convex.then_some(quad)
}

/// Returns which cells of a tag, with its border, are black; `None` without black and white ones.
fn black_cells(image: &Image<'_>, projection: &Projection) -> Option<[[bool; CELLS]; CELLS]> {
    let mut light = [[0.0; CELLS]; CELLS];
    for (row, cells) in light.iter_mut().enumerate() {
        for (column, cell) in cells.iter_mut().enumerate() {
            let middle = [column, row].map(|at| (at as f64 + 0.5) / CELLS as f64);
            *cell = image.at(projection.pixel(middle))?;
        }
    }
    let (mut dark, mut bright) = (f64::INFINITY, f64::NEG_INFINITY);
    for cell in light.as_flattened() {
        (dark, bright) = (dark.min(*cell), bright.max(*cell));
    }
    let middle = f64::midpoint(dark, bright);
    (bright - dark >= MIN_CONTRAST).then(|| light.map(|cells| cells.map(|cell| cell < middle)))
}

fn distance(a: Pixel, b: Pixel) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// The projection of a square of side 1 into an image.
#[derive(Clone, Copy, Debug)]
struct Projection {
    origin: Pixel,
    right: Pixel,
    down: Pixel,
    /// By how much the divisor rises along both sides.
    slope: [f64; 2],
}

impl Projection {
    /// Creates the projection for the images of the corners, clockwise from the upper left one; `None` if the last three
    /// are on a line.
    fn new([first, second, third, fourth]: [Pixel; 4]) -> Option<Self> {
        let minus = |a: Pixel, b: Pixel| [a[0] - b[0], a[1] - b[1]];
        let cross = |a: Pixel, b: Pixel| a[0] * b[1] - a[1] * b[0];
        let (a, b) = (minus(second, third), minus(fourth, third));
        let rest = [0, 1].map(|axis| first[axis] - second[axis] + third[axis] - fourth[axis]);
        let area = cross(a, b);
        if area.abs() < 1.0 {
            return None;
        }
        let slope = [cross(rest, b) / area, cross(a, rest) / area];
        let side = |end: Pixel, slope: f64| [0, 1].map(|axis| end[axis] - first[axis] + slope * end[axis]);
        Some(Self { origin: first, right: side(second, slope[0]), down: side(fourth, slope[1]), slope })
    }

    fn pixel(&self, [right, down]: [f64; 2]) -> Pixel {
        let divisor = 1.0 + self.slope[0] * right + self.slope[1] * down;
        [0, 1].map(|axis| (self.origin[axis] + right * self.right[axis] + down * self.down[axis]) / divisor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_leads_to_the_corners() {
        let quad = [[10.0, 20.0], [70.0, 24.0], [64.0, 80.0], [5.0, 90.0]];
        let projection = Projection::new(quad).unwrap();
        for (corner, pixel) in [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]].into_iter().zip(quad) {
            let found = projection.pixel(corner);
            assert!(distance(found, pixel) < 1e-9, "{found:?} {pixel:?}");
        }
        assert!(Projection::new([[0.0, 9.0], [0.0, 0.0], [9.0, 0.0], [18.0, 0.0]]).is_none());
    }

    #[test]
    fn an_image_without_tags_and_an_empty_one_have_none() {
        let detector = TagDetector::new(&Board::april_grid(2, 2, 30.0, 0.3).unwrap());
        let mut random = fastrand::Rng::with_seed(4);
        let noise: Vec<_> = (0..160 * 120).map(|_| random.u8(..)).collect();
        assert!(detector.detect(&noise, 160).is_empty());
        assert!(detector.detect(&[], 0).is_empty());
    }
}
