//! Boards as rectangles to draw.

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

/// Draws a marker of this width: black, and on it the white bits, with as few rectangles as possible in each row. `border` is
/// the width of the black ring around the bits.
pub(crate) fn draw_marker(
    [left, top]: [f64; 2],
    width: f64,
    [bits, border]: [usize; 2],
    is_white: impl Fn(usize, usize) -> bool,
    drawing: &mut Vec<Rect>,
) {
    drawing.push(Rect { x: left, y: top, width, height: width, black: true });
    let cell = width / (bits + 2 * border) as f64;
    for row in 0..bits {
        let mut column = 0;
        while column < bits {
            let run = (column..bits).take_while(|&column| is_white(row, column)).count();
            if run > 0 {
                drawing.push(Rect {
                    x: left + (column + border) as f64 * cell,
                    y: top + (row + border) as f64 * cell,
                    width: run as f64 * cell,
                    height: cell,
                    black: false,
                });
            }
            column += run + 1;
        }
    }
}
