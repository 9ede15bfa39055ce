//! The description of a board: its squares and markers, and the positions of its corners.

use std::fmt;

use calib_targets_charuco::{CharucoBoard, CharucoBoardSpec, Dictionary, resolve_dictionary};
use camrig_frame::one_line;
use serde::{Deserialize, Serialize};

use crate::april_grid::Grid;
use crate::board_error::{BOARDS_MAX, BoardError, MARKER_SHARES, SQUARE_MILLIMETERS, SQUARES};
use crate::drawing::{Rect, draw_marker};

/// Default side of a marker, as a share of that of its square.
const MARKER_SHARE: f64 = 0.75;
/// The default dictionaries, those with the largest bits: the first with enough markers is used.
const USUAL_DICTIONARIES: [&str; 4] = ["4X4_50", "4X4_100", "4X4_250", "4X4_1000"];

/// The numbers that the corners of each board have when several are shown at once: more than a board has corners.
const NUMBERS: u32 = 4096;

/// A board to show to cameras.
///
/// * A ChArUco board, as OpenCV draws it: the square at the upper left is black, the white squares have markers, numbered
///   row by row.
/// * An AprilGrid, as Kalibr draws it: tags of the family 36h11 with a border of two bits, numbered row by row from the lower
///   left, and a black square at each corner of each tag.
///
/// Its coordinates have their origin at the upper left corner of the board; X points right, Y down, and Z into the
/// board.
///
/// ```
/// use camrig_calib::Board;
///
/// let board = Board::new(9, 12, 30.0)?;
/// assert_eq!(board.to_string(), "9x12 squares of 30 mm, markers of 22.5 mm from 4X4_100");
/// assert_eq!(board.corner_meters(0), Some([0.03, 0.03]));
/// assert_eq!(Board::from_toml(&board.to_toml())?, board);
///
/// let grid = Board::april_grid(6, 6, 30.0, 0.3)?;
/// assert_eq!(grid.to_string(), "AprilGrid of 6x6 tags of 30 mm with a spacing of 0.3, from tag 0");
/// # Ok::<(), camrig_calib::BoardError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Board(Layout);

#[derive(Clone, Debug, PartialEq)]
enum Layout {
    Charuco(Written, Codes),
    AprilGrid(Grid, Codes),
}

/// A ChArUco board as its file describes it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    columns: u32,
    rows: u32,
    square_millimeters: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marker_millimeters: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dictionary: Option<String>,
}

/// A dictionary, which equals another one of its name.
#[derive(Clone, Copy, Debug)]
struct Codes(Dictionary);

impl PartialEq for Codes {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Board {
    /// Creates a board of `columns` x `rows` squares of this width, with markers of three quarters of that, from the
    /// smallest dictionary of 4x4 bits that has enough.
    ///
    /// # Errors
    /// If such a board is impossible.
    pub fn new(columns: u32, rows: u32, square_millimeters: f64) -> Result<Self, BoardError> {
        Self::checked(Written {
            columns,
            rows,
            square_millimeters,
            marker_millimeters: None,
            dictionary: None,
        })
    }

    /// Creates an AprilGrid of `columns` x `rows` tags of this width; the distance between adjacent tags is the share
    /// `spacing` of it, as Kalibr's `tagSpacing`. The first tag has the number 0.
    ///
    /// # Errors
    /// If such a board is impossible.
    pub fn april_grid(
        columns: u32,
        rows: u32,
        tag_millimeters: f64,
        spacing: f64,
    ) -> Result<Self, BoardError> {
        Self::checked_grid(Grid { columns, rows, tag_millimeters, tag_spacing: spacing, first_tag: 0 })
    }

    /// Returns this AprilGrid with another number of its first tag; a ChArUco board has none, and stays as it is.
    ///
    /// # Errors
    /// If there are too few tags.
    pub fn with_first_tag(self, first_tag: u32) -> Result<Self, BoardError> {
        match self.0 {
            Layout::AprilGrid(grid, _) => Self::checked_grid(Grid { first_tag, ..grid }),
            Layout::Charuco(..) => Ok(self),
        }
    }

    /// Returns this board with markers of another width, in millimetres; an AprilGrid stays as it is.
    ///
    /// # Errors
    /// If such markers do not fit.
    pub fn with_markers(self, millimeters: f64) -> Result<Self, BoardError> {
        match self.0 {
            Layout::Charuco(written, _) => {
                Self::checked(Written { marker_millimeters: Some(millimeters), ..written })
            }
            Layout::AprilGrid(..) => Ok(self),
        }
    }

    /// Returns this board with the markers of another dictionary, such as `4X4_50` or `APRILTAG_36h11`; an AprilGrid stays
    /// as it is.
    ///
    /// # Errors
    /// If there is no such dictionary, or it has too few markers.
    pub fn with_dictionary(self, name: &str) -> Result<Self, BoardError> {
        match self.0 {
            Layout::Charuco(written, _) => {
                Self::checked(Written { dictionary: Some(name.to_owned()), ..written })
            }
            Layout::AprilGrid(..) => Ok(self),
        }
    }

    /// Reads the description of a board. A ChArUco board has the keys `columns`, `rows`, `square_millimeters`,
    /// `marker_millimeters` and `dictionary`; the last two may be missing. An AprilGrid has `kind = "aprilgrid"`, `columns`,
    /// `rows`, `tag_millimeters`, `tag_spacing` and `first_tag`; the last one may be missing.
    ///
    /// # Errors
    /// If the text is not such a description.
    pub fn from_toml(text: &str) -> Result<Self, BoardError> {
        // The error itself would show an excerpt of the file, on several lines.
        let wrong = |error: toml::de::Error| BoardError::Toml(one_line(error.message()));
        let mut table: toml::Table = toml::from_str(text).map_err(wrong)?;
        let kind = table.remove("kind");
        match kind.as_ref().map(|kind| kind.as_str().unwrap_or_default()) {
            None | Some("charuco") => Self::checked(table.try_into().map_err(wrong)?),
            Some("aprilgrid") => Self::checked_grid(table.try_into().map_err(wrong)?),
            Some(other) => Err(BoardError::Kind(other.to_owned())),
        }
    }

    /// Writes the description of a board, with every key.
    pub fn to_toml(&self) -> String {
        match &self.0 {
            Layout::Charuco(written, _) => toml::to_string(written).unwrap_or_default(),
            Layout::AprilGrid(grid, _) => {
                format!("kind = \"aprilgrid\"\n{}", toml::to_string(grid).unwrap_or_default())
            }
        }
    }

    fn checked(written: Written) -> Result<Self, BoardError> {
        let Written { columns, rows, square_millimeters: square, marker_millimeters, dictionary } = written;
        if let Some(wrong) = [columns, rows].into_iter().find(|squares| !SQUARES.contains(squares)) {
            return Err(BoardError::Squares(wrong));
        }
        if !SQUARE_MILLIMETERS.contains(&square) {
            return Err(BoardError::Square(square));
        }
        let marker = marker_millimeters.unwrap_or(square * MARKER_SHARE);
        if !MARKER_SHARES.contains(&(marker / square)) {
            return Err(BoardError::Marker { marker, square });
        }
        let codes = match dictionary {
            Some(name) => resolve_dictionary(&name).ok_or(BoardError::Dictionary(name))?,
            None => usual_dictionary(columns * rows / 2).ok_or_else(|| {
                BoardError::Markers(format!("no dictionary has {} markers", columns * rows / 2))
            })?,
        };
        let written = Written {
            marker_millimeters: Some(marker),
            dictionary: Some(codes.name().trim_start_matches("DICT_").to_owned()),
            columns,
            rows,
            square_millimeters: square,
        };
        CharucoBoard::new(written.spec(codes)).map_err(|error| BoardError::Markers(error.to_string()))?;
        Ok(Self(Layout::Charuco(written, Codes(codes))))
    }

    fn checked_grid(grid: Grid) -> Result<Self, BoardError> {
        let codes = grid.check()?;
        Ok(Self(Layout::AprilGrid(grid, Codes(codes))))
    }

    /// Returns the board for the detector of ChArUco boards, in millimetres; `None` for an AprilGrid.
    pub(crate) fn spec(&self) -> Option<CharucoBoardSpec> {
        match &self.0 {
            Layout::Charuco(written, dictionary) => Some(written.spec(dictionary.0)),
            Layout::AprilGrid(..) => None,
        }
    }

    /// Returns the codes of its markers, in their order, with bits as in the dictionary.
    pub(crate) fn codes(&self) -> &'static [u64] {
        let (codes, first, count) = match &self.0 {
            Layout::Charuco(_, Codes(dictionary)) => {
                (dictionary.codes(), 0, self.columns() * self.rows() / 2)
            }
            Layout::AprilGrid(grid, Codes(dictionary)) => {
                (dictionary.codes(), grid.first_tag, self.columns() * self.rows())
            }
        };
        let (first, count) = (first as usize, count as usize);
        &codes[first.min(codes.len())..(first + count).min(codes.len())]
    }

    fn dictionary(&self) -> Dictionary {
        match self.0 {
            Layout::Charuco(_, Codes(dictionary)) | Layout::AprilGrid(_, Codes(dictionary)) => dictionary,
        }
    }

    /// Returns whether some markers of both boards are the same.
    fn looks_like(&self, other: &Self) -> bool {
        self.dictionary().marker_size() == other.dictionary().marker_size()
            && self.codes().iter().any(|code| other.codes().contains(code))
    }

    /// Returns the number of squares, or tags, in a row.
    pub fn columns(&self) -> u32 {
        match &self.0 {
            Layout::Charuco(written, _) => written.columns,
            Layout::AprilGrid(grid, _) => grid.columns,
        }
    }

    /// Returns the number of squares, or tags, in a column.
    pub fn rows(&self) -> u32 {
        match &self.0 {
            Layout::Charuco(written, _) => written.rows,
            Layout::AprilGrid(grid, _) => grid.rows,
        }
    }

    /// Returns the distance from a square to the next, or from a tag to the next, in millimetres.
    pub fn pitch_millimeters(&self) -> f64 {
        match &self.0 {
            Layout::Charuco(written, _) => written.square_millimeters,
            Layout::AprilGrid(grid, _) => grid.tag_millimeters + grid.gap(),
        }
    }

    /// Returns the parts whose width is measured to check the scale, and that width in millimetres.
    pub fn measured_millimeters(&self) -> (&'static str, f64) {
        match &self.0 {
            Layout::Charuco(written, _) => ("squares", written.square_millimeters),
            Layout::AprilGrid(grid, _) => ("tags", grid.tag_millimeters),
        }
    }

    /// Returns width and height of the board, in millimetres; an AprilGrid ends with the squares at the corners of its tags.
    pub fn size_millimeters(&self) -> [f64; 2] {
        let gap = match &self.0 {
            Layout::Charuco(..) => 0.0,
            Layout::AprilGrid(grid, _) => grid.gap(),
        };
        [self.columns(), self.rows()].map(|parts| f64::from(parts) * self.pitch_millimeters() + gap)
    }

    /// Returns the number of corners: the points inside a ChArUco board where four squares meet, or the corners of tags.
    pub fn corners(&self) -> u32 {
        match &self.0 {
            Layout::Charuco(written, _) => (written.columns - 1) * (written.rows - 1),
            Layout::AprilGrid(grid, _) => 4 * grid.columns * grid.rows,
        }
    }

    /// Returns the position of the corner with this number on the board, in metres; `None` if there is no such corner.
    ///
    /// Corners are numbered row by row from 0; those of an AprilGrid tag by tag, each from the upper left one clockwise.
    pub fn corner_meters(&self, id: u32) -> Option<[f64; 2]> {
        if id >= self.corners() {
            return None;
        }
        let millimeters = match &self.0 {
            Layout::Charuco(written, _) => {
                let across = written.columns - 1;
                [id % across + 1, id / across + 1]
                    .map(|squares| f64::from(squares) * written.square_millimeters)
            }
            Layout::AprilGrid(grid, _) => {
                let [left, top] = grid.tag_place(id / 4);
                let [right, down] = [matches!(id % 4, 1 | 2), id % 4 >= 2];
                let side = |is_far| if is_far { grid.tag_millimeters } else { 0.0 };
                [left + side(right), top + side(down)]
            }
        };
        Some(millimeters.map(|at| at / 1000.0))
    }

    /// Returns the rectangles to draw, in this order, on white ground of the board's size.
    pub fn drawing(&self) -> Vec<Rect> {
        match &self.0 {
            Layout::Charuco(written, dictionary) => written.drawing(dictionary.0),
            Layout::AprilGrid(grid, _) => grid.drawing(self.codes()),
        }
    }
}

impl Written {
    fn spec(&self, dictionary: Dictionary) -> CharucoBoardSpec {
        let square = self.square_millimeters;
        let share = (self.marker() / square) as f32;
        CharucoBoardSpec::new(self.rows, self.columns, square as f32, share, dictionary)
    }

    /// Returns the width of a marker, in millimetres.
    fn marker(&self) -> f64 {
        self.marker_millimeters.unwrap_or(self.square_millimeters * MARKER_SHARE)
    }

    fn drawing(&self, dictionary: Dictionary) -> Vec<Rect> {
        let square = self.square_millimeters;
        let squares = (0..self.rows).flat_map(|row| (0..self.columns).map(move |column| (column, row)));
        let (black, white): (Vec<_>, Vec<_>) = squares.partition(|(column, row)| (column + row) % 2 == 0);
        let mut drawing: Vec<_> = black
            .into_iter()
            .map(|(column, row)| [column, row].map(|squares| f64::from(squares) * square))
            .map(|[x, y]| Rect { x, y, width: square, height: square, black: true })
            .collect();
        let (width, bits) = (self.marker(), dictionary.marker_size());
        for ((column, row), code) in white.into_iter().zip(dictionary.codes()) {
            let inset = (square - width) / 2.0;
            let at = [column, row].map(|squares| f64::from(squares) * square + inset);
            let is_white = |row: usize, column: usize| (code >> (row * bits + column)) & 1 == 0;
            draw_marker(at, width, [bits, 1], is_white, &mut drawing);
        }
        drawing
    }
}

/// Checks that boards can be told apart when they are shown at once.
pub(crate) fn check_boards(boards: &[Board]) -> Result<(), BoardError> {
    if !(1..=BOARDS_MAX).contains(&boards.len()) {
        return Err(BoardError::Count(boards.len()));
    }
    for (second, other) in boards.iter().enumerate() {
        if let Some(first) = boards[..second].iter().position(|board| board.looks_like(other)) {
            return Err(BoardError::Alike(first, second));
        }
    }
    Ok(())
}

/// Returns the number of a corner among those of several boards.
pub(crate) fn number_of(board: usize, corner: u32) -> u32 {
    board as u32 * NUMBERS + corner
}

/// Returns the index of the board of a corner with this number, and the corner's number on that board.
pub(crate) fn board_of(number: u32) -> (usize, u32) {
    ((number / NUMBERS) as usize, number % NUMBERS)
}

fn usual_dictionary(markers: u32) -> Option<Dictionary> {
    let known = USUAL_DICTIONARIES.into_iter().filter_map(resolve_dictionary);
    known.into_iter().find(|dictionary| dictionary.codes().len() >= markers as usize)
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (columns, rows) = (self.columns(), self.rows());
        match &self.0 {
            Layout::Charuco(written, _) => {
                let (square, marker) = (written.square_millimeters, written.marker());
                let dictionary = written.dictionary.as_deref().unwrap_or_default();
                write!(f, "{columns}x{rows} squares of {square} mm, markers of {marker} mm from {dictionary}")
            }
            Layout::AprilGrid(grid, _) => {
                let Grid { tag_millimeters: tag, tag_spacing: spacing, first_tag: first, .. } = grid;
                write!(
                    f,
                    "AprilGrid of {columns}x{rows} tags of {tag} mm with a spacing of {spacing}, from tag {first}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::april_grid::is_black;

    #[test]
    fn a_board_that_cannot_be_is_refused() {
        let refused = |text: &str| Board::from_toml(text).unwrap_err().to_string();
        let size = "columns = 9\nrows = 12\nsquare_millimeters = 30\n";
        assert_eq!(
            refused("columns = 2\nrows = 12\nsquare_millimeters = 30"),
            "a board has 3 to 40 squares along a side, not 2"
        );
        assert_eq!(
            refused("columns = 9\nrows = 12\nsquare_millimeters = 0.03"),
            "a square is 2 to 500 mm wide, not 0.03"
        );
        assert_eq!(
            refused(&format!("{size}marker_millimeters = 29")),
            "a marker is 12.0 to 27.0 mm wide in a square of 30 mm, not 29"
        );
        assert_eq!(
            refused(&format!("{size}dictionary = '3X3_9'")),
            "unknown dictionary `3X3_9`; expected one such as `4X4_50`, `5X5_100`, `6X6_250`, `APRILTAG_36h11`"
        );
        assert_eq!(
            refused(&format!("{size}dictionary = '4X4_50'")),
            "board needs 54 markers, dictionary has 50"
        );
        assert!(refused("columns = 9").contains("missing field `rows`"));
        assert!(refused(&format!("{size}color = 'red'")).starts_with("unknown field `color`"));
    }

    #[test]
    fn boards_that_are_shown_at_once_have_markers_of_their_own() {
        let board = |dictionary: &str| Board::new(5, 4, 20.0).unwrap().with_dictionary(dictionary).unwrap();
        let four = board("4X4_50");
        assert!(check_boards(&[four.clone(), board("5X5_50"), board("6X6_50")]).is_ok());
        let error = check_boards(&[board("5X5_50"), four.clone(), board("4X4_100")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the boards 2 and 3 share markers: give each a dictionary with another number of bits, such as `4X4_100` and \
             `5X5_100`, and each AprilGrid other tags"
        );
        assert!(check_boards(&[]).is_err() && check_boards(&vec![four; 17]).is_err());
        let largest = Board::new(40, 40, 20.0).unwrap();
        assert!(largest.corners() <= NUMBERS);
        assert_eq!(board_of(number_of(3, largest.corners() - 1)), (3, largest.corners() - 1));
    }

    #[test]
    fn corners_are_inside_and_black_squares_meet_there() {
        let board = Board::new(5, 4, 20.0).unwrap();
        assert_eq!(board.corners(), 12);
        assert_eq!(board.corner_meters(4), Some([0.02, 0.04]));
        assert_eq!(board.corner_meters(12), None);
        let drawing = board.drawing();
        let squares = drawing.iter().filter(|rect| rect.black && (rect.width - 20.0).abs() < 1e-9);
        assert_eq!(squares.count(), 10);
        let markers = drawing.iter().filter(|rect| rect.black && (rect.width - 15.0).abs() < 1e-9);
        assert_eq!(markers.count(), 10);
        let [width, height] = board.size_millimeters();
        for rect in &drawing {
            assert!(rect.x >= 0.0 && rect.x + rect.width < width + 1e-9, "{rect:?}");
            assert!(rect.y >= 0.0 && rect.y + rect.height < height + 1e-9, "{rect:?}");
        }
    }

    #[test]
    fn an_april_grid_has_the_tags_of_kalibr() {
        let grid = Board::april_grid(3, 2, 50.0, 0.3).unwrap();
        assert_eq!(grid.to_toml().lines().next(), Some("kind = \"aprilgrid\""));
        assert_eq!(Board::from_toml(&grid.to_toml()).unwrap(), grid);
        assert_eq!((grid.size_millimeters(), grid.corners()), ([210.0, 145.0], 24));
        // Tag 0 is at the lower left, tag 3 above it; corners are clockwise from the upper left.
        let near = |id: u32, millimeters: [f64; 2]| {
            let found = grid.corner_meters(id).unwrap();
            assert!(
                found.iter().zip(millimeters).all(|(at, expected)| (at * 1000.0 - expected).abs() < 1e-9)
            );
        };
        near(0, [15.0, 80.0]);
        near(2, [65.0, 130.0]);
        near(4 * 3 + 1, [65.0, 15.0]);
        assert_eq!(grid.corner_meters(24), None);
        // The code of the first tag of the family is d5d628584, from the upper left, row by row, 1 for white.
        let published = 0x000d_5d62_8584_u64;
        for (row, column) in (0..6).flat_map(|row| (0..6).map(move |column| (row, column))) {
            let white = (published >> (35 - (row * 6 + column))) & 1 == 1;
            assert_eq!(is_black(grid.codes()[0], row, column), !white, "{row} {column}");
        }
        let squares =
            grid.drawing().into_iter().filter(|rect| rect.black && (rect.width - 15.0).abs() < 1e-9);
        assert_eq!(squares.count(), 12);
    }

    #[test]
    fn impossible_april_grids_are_refused_and_those_with_other_tags_are_told_apart() {
        let refused =
            |text: &str| Board::from_toml(&format!("kind = \"aprilgrid\"\n{text}")).unwrap_err().to_string();
        let size = "columns = 6\nrows = 6\n";
        assert_eq!(
            refused(&format!("{size}tag_millimeters = 2\ntag_spacing = 0.3")),
            "a tag is 5 to 1000 mm wide, not 2"
        );
        assert_eq!(
            refused(&format!("{size}tag_millimeters = 30\ntag_spacing = 3")),
            "the spacing of tags is 0.1 to 1.0 of their width, not 3"
        );
        assert_eq!(
            refused("columns = 25\nrows = 6\ntag_millimeters = 30\ntag_spacing = 0.3"),
            "an AprilGrid has 1 to 24 tags along a side, not 25"
        );
        assert_eq!(
            refused(&format!("{size}tag_millimeters = 30\ntag_spacing = 0.3\nfirst_tag = 552")),
            "APRILTAG_36h11 has 587 tags, not 588"
        );
        assert!(refused(size).contains("missing field `tag_millimeters`"));
        let other = Board::from_toml("kind = \"circles\"").unwrap_err().to_string();
        assert_eq!(other, "unknown kind `circles`; expected one of: `charuco`, `aprilgrid`");
        let grid = |first| Board::april_grid(6, 6, 30.0, 0.3).unwrap().with_first_tag(first).unwrap();
        assert!(check_boards(&[grid(0), grid(36)]).is_ok());
        assert!(check_boards(&[grid(0), grid(35)]).is_err());
    }
}
