//! AprilGrids as Kalibr draws them: where their tags are, and what they look like.

use calib_targets_charuco::{Dictionary, resolve_dictionary};
use serde::{Deserialize, Serialize};

use crate::board_error::{BoardError, TAG_MILLIMETERS, TAG_SPACINGS, TAGS};
use crate::drawing::{Rect, draw_marker};

/// The dictionary of the tags.
const TAG_DICTIONARY: &str = "APRILTAG_36h11";
/// The width of the black ring around the bits of a tag, in bits, as Kalibr has it.
pub(crate) const TAG_BORDER: usize = 2;
/// The number of bits along a side of a tag.
pub(crate) const TAG_BITS: usize = 6;

/// An AprilGrid as its file describes it, beside the key `kind`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grid {
    pub(crate) columns: u32,
    pub(crate) rows: u32,
    pub(crate) tag_millimeters: f64,
    pub(crate) tag_spacing: f64,
    #[serde(default)]
    pub(crate) first_tag: u32,
}

impl Grid {
    /// Returns the dictionary of the tags.
    ///
    /// # Errors
    /// If such a grid is impossible.
    pub(crate) fn check(&self) -> Result<Dictionary, BoardError> {
        let Self { columns, rows, tag_millimeters: tag, tag_spacing: spacing, first_tag } = *self;
        if let Some(wrong) = [columns, rows].into_iter().find(|tags| !TAGS.contains(tags)) {
            return Err(BoardError::Tags(wrong));
        }
        if !TAG_MILLIMETERS.contains(&tag) {
            return Err(BoardError::Tag(tag));
        }
        if !TAG_SPACINGS.contains(&spacing) {
            return Err(BoardError::Spacing(spacing));
        }
        let codes = resolve_dictionary(TAG_DICTIONARY)
            .ok_or_else(|| BoardError::Dictionary(TAG_DICTIONARY.to_owned()))?;
        let (needed, all) = (u64::from(first_tag) + u64::from(columns * rows), codes.codes().len());
        if needed > all as u64 {
            return Err(BoardError::Markers(format!("{TAG_DICTIONARY} has {all} tags, not {needed}")));
        }
        Ok(codes)
    }

    /// Returns the distance between two tags, in millimetres.
    pub(crate) fn gap(&self) -> f64 {
        self.tag_millimeters * self.tag_spacing
    }

    /// Returns the position of the upper left corner of a tag, in millimetres. Tags are numbered from the lower left.
    pub(crate) fn tag_place(&self, tag: u32) -> [f64; 2] {
        let at = [tag % self.columns, self.rows - 1 - tag / self.columns];
        at.map(|tags| f64::from(tags) * (self.tag_millimeters + self.gap()) + self.gap())
    }

    pub(crate) fn drawing(&self, codes: &[u64]) -> Vec<Rect> {
        let gap = self.gap();
        let mut drawing = Vec::new();
        for row in 0..=self.rows {
            for column in 0..=self.columns {
                let [x, y] = [column, row].map(|tags| f64::from(tags) * (self.tag_millimeters + gap));
                drawing.push(Rect { x, y, width: gap, height: gap, black: true });
            }
        }
        for (tag, code) in (0..).zip(codes) {
            let is_white = |row: usize, column: usize| !is_black(*code, row, column);
            draw_marker(
                self.tag_place(tag),
                self.tag_millimeters,
                [TAG_BITS, TAG_BORDER],
                is_white,
                &mut drawing,
            );
        }
        drawing
    }
}

/// Returns whether a bit of an upright tag is black. The dictionary has the tags as OpenCV does, upside down.
pub(crate) fn is_black(code: u64, row: usize, column: usize) -> bool {
    (code >> (TAG_BITS * TAG_BITS - 1 - (row * TAG_BITS + column))) & 1 == 1
}
