//! The corners of a board in an image.

use calib_targets_charuco::{CharucoDetection, CharucoDetector, CharucoParams, GrayImageView};
use chess_corners::{ImageRefiner, UpscaleConfig};

use crate::board::{board_of, check_boards, number_of};
use crate::tags::TagDetector;
use crate::{Board, BoardError};

/// A corner of a board that was found in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corner {
    /// Its number on the board: [`Board::corner_meters`]. Of several boards that are shown at once, those of each are 4096
    /// more than those of the board before.
    pub id: u32,
    /// Column and row in the image; the center of the upper left pixel is `[0, 0]`.
    pub pixel: [f64; 2],
}

impl Corner {
    /// Returns the index of its board.
    pub fn board(&self) -> usize {
        board_of(self.id).0
    }
}

/// Factor by which an image with few found corners is enlarged: where squares are small, the examined ring around a corner
/// reaches into the markers.
const ENLARGED: u32 = 2;
/// The share of a board's corners from which on an image is not enlarged.
const ENOUGH: f64 = 0.75;

/// Finds the corners of boards in images.
#[derive(Debug)]
pub struct Detector(Vec<OfBoard>);

/// Finds the corners of one board.
#[derive(Debug)]
enum OfBoard {
    Charuco(Box<Charuco>),
    AprilGrid(TagDetector),
}

/// Finds the corners of a ChArUco board.
#[derive(Debug)]
struct Charuco {
    plain: CharucoDetector,
    enlarging: CharucoDetector,
    enough: usize,
}

impl Detector {
    /// Creates a detector for boards that are shown at once.
    ///
    /// # Errors
    /// If the detector does not support such boards, or they share markers.
    pub fn new(boards: &[Board]) -> Result<Self, BoardError> {
        check_boards(boards)?;
        boards.iter().map(OfBoard::new).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the corners in an image of this width, whose rows have no padding; none if no board is in it. A
    /// mirrored board is not found.
    pub fn detect(&self, gray: &[u8], width: usize) -> Vec<Corner> {
        let of_board = |(board, detector): (usize, &OfBoard)| {
            let corners = detector.detect(gray, width).into_iter();
            corners
                .map(move |corner| Corner { id: number_of(board, corner.id), ..corner })
                .collect::<Vec<_>>()
        };
        self.0.iter().enumerate().flat_map(of_board).collect()
    }
}

impl OfBoard {
    fn new(board: &Board) -> Result<Self, BoardError> {
        let Some(spec) = board.spec() else { return Ok(Self::AprilGrid(TagDetector::new(board))) };
        let mut plain = CharucoParams::for_board(spec);
        // The default, the middle of the responses around a corner, is several times less exact.
        plain.chess = plain.chess.with_refiner(ImageRefiner::saddle_point());
        let mut enlarging = plain.clone();
        enlarging.chess = plain.chess.with_upscale(UpscaleConfig::fixed(ENLARGED));
        let detector =
            |params| CharucoDetector::new(params).map_err(|error| BoardError::Markers(error.to_string()));
        let enough = (f64::from(board.corners()) * ENOUGH).ceil() as usize;
        let (plain, enlarging) = (detector(plain)?, detector(enlarging)?);
        Ok(Self::Charuco(Box::new(Charuco { plain, enlarging, enough })))
    }

    fn detect(&self, gray: &[u8], width: usize) -> Vec<Corner> {
        match self {
            Self::Charuco(charuco) => charuco.detect(gray, width),
            Self::AprilGrid(tags) => {
                tags.detect(gray, width).into_iter().map(|(id, pixel)| Corner { id, pixel }).collect()
            }
        }
    }
}

impl Charuco {
    fn detect(&self, gray: &[u8], width: usize) -> Vec<Corner> {
        let height = gray.len().checked_div(width).unwrap_or(0);
        let image = GrayImageView { width, height, data: &gray[..width * height] };
        let found = corners(self.plain.detect(&image).ok());
        if found.len() >= self.enough {
            return found;
        }
        let enlarged = corners(self.enlarging.detect(&image).ok());
        if enlarged.len() > found.len() { enlarged } else { found }
    }
}

fn corners(found: Option<CharucoDetection>) -> Vec<Corner> {
    let found = found.map(|found| found.corners).unwrap_or_default();
    let mut corners: Vec<_> = found
        .into_iter()
        .map(|corner| Corner {
            id: corner.id,
            pixel: [f64::from(corner.position.x), f64::from(corner.position.y)],
        })
        .collect();
    corners.sort_by_key(|corner| corner.id);
    corners.dedup_by_key(|corner| corner.id);
    corners
}
