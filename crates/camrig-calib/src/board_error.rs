//! What boards may be, and the errors of others.

/// The least and the largest number of squares along a side of a board.
pub(crate) const SQUARES: std::ops::RangeInclusive<u32> = 3..=40;
/// The least and the largest side of a square, in millimetres.
pub(crate) const SQUARE_MILLIMETERS: std::ops::RangeInclusive<f64> = 2.0..=500.0;
/// The least and the largest side of a marker, as a share of that of its square: smaller markers cannot be decoded from
/// far, and larger ones leave no white between themselves and the corners.
pub(crate) const MARKER_SHARES: std::ops::RangeInclusive<f64> = 0.4..=0.9;
/// Maximum number of boards that are shown at once.
pub(crate) const BOARDS_MAX: usize = 16;

/// The least and the largest number of tags along a side of an AprilGrid.
pub(crate) const TAGS: std::ops::RangeInclusive<u32> = 1..=24;
/// The least and the largest side of a tag, in millimetres.
pub(crate) const TAG_MILLIMETERS: std::ops::RangeInclusive<f64> = 5.0..=1000.0;
/// The least and the largest distance between tags, as a share of the side of a tag.
pub(crate) const TAG_SPACINGS: std::ops::RangeInclusive<f64> = 0.1..=1.0;

/// The reason why a board is impossible.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// It is not TOML, or has other keys.
    #[error("{0}")]
    Toml(String),
    /// The key `kind` has another value.
    #[error("unknown kind `{0}`; expected one of: `charuco`, `aprilgrid`")]
    Kind(String),
    /// A side of an AprilGrid has too few or too many tags.
    #[error("an AprilGrid has {least} to {most} tags along a side, not {0}", least = TAGS.start(), most = TAGS.end())]
    Tags(u32),
    /// A tag is too small or too large.
    #[error("a tag is {least} to {most} mm wide, not {0}", least = TAG_MILLIMETERS.start(), most = TAG_MILLIMETERS.end())]
    Tag(f64),
    /// The tags of an AprilGrid are too near each other, or too far.
    #[error("the spacing of tags is {least:.1} to {most:.1} of their width, not {0}", least = TAG_SPACINGS.start(), most = TAG_SPACINGS.end())]
    Spacing(f64),
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
    #[error("the boards {} and {} share markers: give each a dictionary with another number of bits, such as `4X4_100` and `5X5_100`, and each AprilGrid other tags", .0 + 1, .1 + 1)]
    Alike(usize, usize),
    /// There are no boards, or too many.
    #[error("a calibration takes 1 to {BOARDS_MAX} boards, not {0}")]
    Count(usize),
}
