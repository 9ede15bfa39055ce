//! The corners of a board in an image.

use calib_targets_charuco::{CharucoDetector, CharucoParams, GrayImageView};

use crate::{Board, BoardError};

/// A corner of a board that was found in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corner {
    /// Its number on the board: [`Board::corner_meters`].
    pub id: u32,
    /// Column and row in the image; the centre of the upper left pixel is `[0, 0]`.
    pub pixel: [f64; 2],
}

/// Finds the corners of one board in images.
#[derive(Debug)]
pub struct Detector(CharucoDetector);

impl Detector {
    /// Creates a detector for a board.
    ///
    /// # Errors
    /// If the detector does not support such boards.
    pub fn new(board: &Board) -> Result<Self, BoardError> {
        let params = CharucoParams::for_board(board.spec());
        CharucoDetector::new(params).map(Self).map_err(|error| BoardError::Markers(error.to_string()))
    }

    /// Returns the corners in an image of this width, whose rows have no padding; none if the board is not in it. A
    /// mirrored board is not found.
    pub fn detect(&self, gray: &[u8], width: usize) -> Vec<Corner> {
        let height = gray.len().checked_div(width).unwrap_or(0);
        let image = GrayImageView { width, height, data: &gray[..width * height] };
        let Ok(found) = self.0.detect(&image) else { return Vec::new() };
        let mut corners: Vec<_> = found
            .corners
            .iter()
            .map(|corner| Corner {
                id: corner.id,
                pixel: [f64::from(corner.position.x), f64::from(corner.position.y)],
            })
            .collect();
        corners.sort_by_key(|corner| corner.id);
        corners.dedup_by_key(|corner| corner.id);
        corners
    }
}
