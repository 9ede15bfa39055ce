//! The description of a board: its squares and markers, and the positions of its corners.

use std::fmt;

use calib_targets_charuco::{CharucoBoard, CharucoBoardSpec, Dictionary, resolve_dictionary};
use camrig_frame::one_line;
use serde::{Deserialize, Serialize};

/// The least and the largest number of squares along a side of a board.
const SQUARES: std::ops::RangeInclusive<u32> = 3..=40;
/// The least and the largest side of a square, in millimetres.
const SQUARE_MILLIMETERS: std::ops::RangeInclusive<f64> = 2.0..=500.0;
/// Default side of a marker, as a share of that of its square.
const MARKER_SHARE: f64 = 0.75;
/// The least and the largest side of a marker, as a share of that of its square: smaller markers cannot be decoded from
/// far, and larger ones leave no white between themselves and the corners.
const MARKER_SHARES: std::ops::RangeInclusive<f64> = 0.4..=0.9;
/// The default dictionaries, those with the largest bits: the first with enough markers is used.
const USUAL_DICTIONARIES: [&str; 4] = ["4X4_50", "4X4_100", "4X4_250", "4X4_1000"];

/// The numbers that the corners of each board have when several are shown at once: more than a board has corners.
const NUMBERS: u32 = 4096;
/// Maximum number of boards that are shown at once.
const BOARDS_MAX: usize = 16;

/// A ChArUco board, as OpenCV draws it: the square at the upper left is black, the white squares have markers, numbered
/// row by row.
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
/// # Ok::<(), camrig_calib::BoardError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    written: Written,
    dictionary: Codes,
}

/// A board as its file describes it.
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

/// The reason why a board is impossible.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// It is not TOML, or has other keys.
    #[error("{0}")]
    Toml(String),
    /// A side has too few or too many squares.
    #[error("a board has {least} to {most} squares along a side, not {0}", least = SQUARES.start(), most = SQUARES.end())]
    Squares(u32),
    /// A square is too small or too large.
    #[error("a square is {least} to {most} mm wide, not {0}", least = SQUARE_MILLIMETERS.start(), most = SQUARE_MILLIMETERS.end())]
    Square(f64),
    /// A marker is too small or too large for its square.
    #[error("a marker is {least:.1} to {most:.1} mm wide in a square of {square} mm, not {marker}", least = MARKER_SHARES.start() * square, most = MARKER_SHARES.end() * square)]
    Marker {
        /// Width of a marker, in millimetres.
        marker: f64,
        /// Width of a square, in millimetres.
        square: f64,
    },
    /// No dictionary has this name.
    #[error(
        "unknown dictionary `{0}`; expected one such as `4X4_50`, `5X5_100`, `6X6_250`, `APRILTAG_36h11`"
    )]
    Dictionary(String),
    /// The dictionary has too few markers.
    #[error("{0}")]
    Markers(String),
    /// Two boards have markers that look alike.
    #[error("the boards {} and {} share markers: give each a dictionary with another number of bits, such as `4X4_100` and `5X5_100`", .0 + 1, .1 + 1)]
    Alike(usize, usize),
    /// There are no boards, or too many.
    #[error("a calibration takes 1 to {BOARDS_MAX} boards, not {0}")]
    Count(usize),
}

/// A rectangle on a board, in millimetres from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Distance of the left edge.
    pub x: f64,
    /// Distance of the upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Whether it is black; otherwise it is white.
    pub black: bool,
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

    /// Returns this board with markers of another width, in millimetres.
    ///
    /// # Errors
    /// If such markers do not fit.
    pub fn with_markers(self, millimeters: f64) -> Result<Self, BoardError> {
        Self::checked(Written { marker_millimeters: Some(millimeters), ..self.written })
    }

    /// Returns this board with the markers of another dictionary, such as `4X4_50` or `APRILTAG_36h11`.
    ///
    /// # Errors
    /// If there is no such dictionary, or it has too few markers.
    pub fn with_dictionary(self, name: &str) -> Result<Self, BoardError> {
        Self::checked(Written { dictionary: Some(name.to_owned()), ..self.written })
    }

    /// Reads the description of a board: the keys `columns`, `rows`, `square_millimeters`, `marker_millimeters` and
    /// `dictionary`; the last two may be missing.
    ///
    /// # Errors
    /// If the text is not such a description.
    pub fn from_toml(text: &str) -> Result<Self, BoardError> {
        // The error itself would show an excerpt of the file, on several lines.
        let written = toml::from_str(text)
            .map_err(|error: toml::de::Error| BoardError::Toml(one_line(error.message())))?;
        Self::checked(written)
    }

    /// Writes the description of a board, with every key.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.written).unwrap_or_default()
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
        let board = Self { written, dictionary: Codes(codes) };
        CharucoBoard::new(board.spec()).map_err(|error| BoardError::Markers(error.to_string()))?;
        Ok(board)
    }

    /// Returns the board for the detector, in millimetres.
    pub(crate) fn spec(&self) -> CharucoBoardSpec {
        let (square, marker) = (self.written.square_millimeters, self.marker_millimeters());
        let share = (marker / square) as f32;
        CharucoBoardSpec::new(
            self.written.rows,
            self.written.columns,
            square as f32,
            share,
            self.dictionary.0,
        )
    }

    /// Returns whether some markers of both boards are the same.
    fn looks_like(&self, other: &Self) -> bool {
        let markers = |board: &Self| {
            let all = board.dictionary.0.codes();
            all[..all.len().min((board.columns() * board.rows() / 2) as usize)].to_vec()
        };
        let (own, theirs) = (markers(self), markers(other));
        self.dictionary.0.marker_size() == other.dictionary.0.marker_size()
            && own.iter().any(|code| theirs.contains(code))
    }

    /// Returns the number of squares in a row.
    pub fn columns(&self) -> u32 {
        self.written.columns
    }

    /// Returns the number of squares in a column.
    pub fn rows(&self) -> u32 {
        self.written.rows
    }

    /// Returns the width of a square, in millimetres.
    pub fn square_millimeters(&self) -> f64 {
        self.written.square_millimeters
    }

    /// Returns the width of a marker, in millimetres.
    pub fn marker_millimeters(&self) -> f64 {
        self.written.marker_millimeters.unwrap_or(self.written.square_millimeters * MARKER_SHARE)
    }

    /// Returns width and height of the board, in millimetres.
    pub fn size_millimeters(&self) -> [f64; 2] {
        [self.columns(), self.rows()].map(|squares| f64::from(squares) * self.written.square_millimeters)
    }

    /// Returns the number of corners: the points inside the board where four squares meet.
    pub fn corners(&self) -> u32 {
        (self.columns() - 1) * (self.rows() - 1)
    }

    /// Returns the position of the corner with this number on the board, in metres; `None` if there is no such corner. Corners
    /// are numbered row by row from 0.
    pub fn corner_meters(&self, id: u32) -> Option<[f64; 2]> {
        let across = self.columns() - 1;
        let square = self.written.square_millimeters / 1000.0;
        let at = [id % across + 1, id / across + 1].map(|squares| f64::from(squares) * square);
        (id < self.corners()).then_some(at)
    }

    /// Returns the rectangles to draw, in this order, on white ground of the board's size.
    pub fn drawing(&self) -> Vec<Rect> {
        let square = self.written.square_millimeters;
        let squares = (0..self.rows()).flat_map(|row| (0..self.columns()).map(move |column| (column, row)));
        let (black, white): (Vec<_>, Vec<_>) = squares.partition(|(column, row)| (column + row) % 2 == 0);
        let mut drawing: Vec<_> = black
            .into_iter()
            .map(|(column, row)| [column, row].map(|squares| f64::from(squares) * square))
            .map(|[x, y]| Rect { x, y, width: square, height: square, black: true })
            .collect();
        for ((column, row), code) in white.into_iter().zip(self.dictionary.0.codes()) {
            let inset = (square - self.marker_millimeters()) / 2.0;
            let at = [column, row].map(|squares| f64::from(squares) * square + inset);
            self.draw_marker(at, *code, &mut drawing);
        }
        drawing
    }

    /// Draws a marker: black, and on it the white bits, with as few rectangles as possible in each row.
    fn draw_marker(&self, [left, top]: [f64; 2], code: u64, drawing: &mut Vec<Rect>) {
        let width = self.marker_millimeters();
        drawing.push(Rect { x: left, y: top, width, height: width, black: true });
        let bits = self.dictionary.0.marker_size();
        // A ring of one cell around the bits is black.
        let cell = width / (bits + 2) as f64;
        let is_white = |row: usize, column: usize| (code >> (row * bits + column)) & 1 == 0;
        for row in 0..bits {
            let mut column = 0;
            while column < bits {
                let run = (column..bits).take_while(|&column| is_white(row, column)).count();
                if run > 0 {
                    drawing.push(Rect {
                        x: left + (column + 1) as f64 * cell,
                        y: top + (row + 1) as f64 * cell,
                        width: run as f64 * cell,
                        height: cell,
                        black: false,
                    });
                }
                column += run + 1;
            }
        }
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
        let (columns, rows, square) = (self.columns(), self.rows(), self.written.square_millimeters);
        let dictionary = self.written.dictionary.as_deref().unwrap_or_default();
        let marker = self.marker_millimeters();
        write!(f, "{columns}x{rows} squares of {square} mm, markers of {marker} mm from {dictionary}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
             `5X5_100`"
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
}
