//! Finds colorful regions of an image: the heat of each cell, the cells above a threshold, and a box around each
//! group of them. It depends on no frameset.

use camrig::frame::ColorView;
use serde::Serialize;

/// The side of a cell, in pixels.
pub(crate) const CELL: u32 = 8;

/// The most boxes of one image; the hottest are kept.
pub(crate) const MAX_BOXES: usize = 32;

/// The longest text of one box in JSON, with the comma after it.
pub(crate) const BOX_BYTES: usize = 96;

/// The heat of each cell, row by row: how colorful it is, 0 for gray and 1 for a pure color.
pub(crate) struct Heat {
    pub(crate) columns: u32,
    pub(crate) rows: u32,
    pub(crate) values: Vec<f32>,
    /// The strongest channel of each cell: 0 for red, 1 for green, 2 for blue.
    strongest: Vec<usize>,
}

/// A region, with its most frequent color as its label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Found {
    pub(crate) label: &'static str,
    /// The mean heat of its cells.
    pub(crate) score: f32,
    /// Column, row, width and height, in pixels.
    #[serde(rename = "box")]
    pub(crate) area: [u32; 4],
}

/// Returns the number of cells side by side and one above the other; pixels that fill no cell are left out.
pub(crate) const fn grid(width: u32, height: u32) -> (u32, u32) {
    (width / CELL, height / CELL)
}

impl Heat {
    /// Computes the heat of an image.
    pub(crate) fn of(color: &ColorView<'_>) -> Self {
        let (width, height) = (color.frame().width(), color.frame().height());
        let (columns, rows) = grid(width, height);
        let rgb = color.to_rgb8();
        let mut sums = vec![[0_u32; 3]; (columns * rows) as usize];
        for (y, row) in (0..rows * CELL).zip(rgb.chunks_exact(3 * width as usize)) {
            for (x, pixel) in (0..columns * CELL).zip(row.as_chunks::<3>().0) {
                let sum = &mut sums[(y / CELL * columns + x / CELL) as usize];
                sum.iter_mut().zip(pixel).for_each(|(sum, &channel)| *sum += u32::from(channel));
            }
        }
        let values = sums.iter().map(saturation).collect();
        let strongest =
            sums.iter().map(|sum| (0..3).max_by_key(|&channel| sum[channel]).unwrap_or(0)).collect();
        Self { columns, rows, values, strongest }
    }

    /// Writes the mask of an image of this width: 255 in cells of at least `threshold`, 0 elsewhere.
    pub(crate) fn write_mask(&self, threshold: f32, width: u32, mask: &mut [u8]) {
        mask.fill(0);
        for (y, row) in (0..self.rows * CELL).zip(mask.chunks_exact_mut(width as usize)) {
            for (x, pixel) in (0..self.columns * CELL).zip(row) {
                let cell = (y / CELL * self.columns + x / CELL) as usize;
                *pixel = if self.values[cell] >= threshold { u8::MAX } else { 0 };
            }
        }
    }

    /// Returns a box around each group of neighbouring cells of at least `threshold`, the hottest first.
    pub(crate) fn boxes(&self, threshold: f32) -> Vec<Found> {
        let mut seen: Vec<bool> = self.values.iter().map(|&value| value < threshold).collect();
        let mut boxes = Vec::new();
        for start in 0..self.values.len() {
            if !seen[start] {
                boxes.push(self.found(&self.group(start, &mut seen)));
            }
        }
        // A stable sort: equal ones stay in the order of their first cells.
        boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
        boxes.truncate(MAX_BOXES);
        boxes
    }

    /// Returns the cells that are connected with `start`, and marks them as seen.
    fn group(&self, start: usize, seen: &mut [bool]) -> Vec<usize> {
        let (columns, mut cells, mut next) = (self.columns as usize, vec![start], 0);
        seen[start] = true;
        while let Some(&cell) = cells.get(next) {
            next += 1;
            let column = cell % columns;
            let left = (column > 0).then(|| cell - 1);
            let right = (column + 1 < columns).then_some(cell + 1);
            for neighbor in
                [left, right, cell.checked_sub(columns), Some(cell + columns)].into_iter().flatten()
            {
                if seen.get(neighbor) == Some(&false) {
                    seen[neighbor] = true;
                    cells.push(neighbor);
                }
            }
        }
        cells
    }

    fn found(&self, cells: &[usize]) -> Found {
        let (mut left, mut top, mut right, mut bottom) = (u32::MAX, u32::MAX, 0, 0);
        let mut votes = [0_usize; 3];
        for &cell in cells {
            let (column, row) = (cell as u32 % self.columns, cell as u32 / self.columns);
            (left, top) = (left.min(column), top.min(row));
            (right, bottom) = (right.max(column + 1), bottom.max(row + 1));
            votes[self.strongest[cell]] += 1;
        }
        let label = (0..3).max_by_key(|&channel| votes[channel]).unwrap_or(0);
        Found {
            label: ["red", "green", "blue"][label],
            score: cells.iter().map(|&cell| self.values[cell]).sum::<f32>() / cells.len() as f32,
            area: [left, top, right - left, bottom - top].map(|cells| cells * CELL),
        }
    }
}

/// Returns the saturation of a color, from 0 (gray) to 1.
fn saturation(sum: &[u32; 3]) -> f32 {
    let (least, most) = (sum.iter().min().copied(), sum.iter().max().copied());
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
    if most == 0 { 0.0 } else { (most - least) as f32 / most as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camrig::frame::{Frame, FrameHeader, PixelFormat, Stream};

    #[test]
    fn a_red_square_before_gray_is_one_box() {
        let header = FrameHeader::image(Stream::COLOR, PixelFormat::Rgb8, 40, 24);
        let red = |x: u32, y: u32| (8..24).contains(&x) && (8..16).contains(&y);
        let pixels: Vec<u8> = (0..24)
            .flat_map(|y| (0..40).flat_map(move |x| if red(x, y) { [200, 0, 0] } else { [90; 3] }))
            .collect();
        let heat = Heat::of(&ColorView::new(Frame::new(&header, &pixels).unwrap()).unwrap());
        assert_eq!((heat.columns, heat.rows), (5, 3));
        assert_eq!(heat.values.iter().filter(|&&value| value > 0.0).count(), 2);
        let expected = Found { label: "red", score: 1.0, area: [8, 8, 16, 8] };
        assert_eq!(heat.boxes(0.5), [expected]);
        let mut mask = vec![7; 40 * 24];
        heat.write_mask(0.5, 40, &mut mask);
        let places = (0..24).flat_map(|y| (0..40).map(move |x| (x, y)));
        assert!(places.zip(&mask).all(|((x, y), &value)| value == if red(x, y) { 255 } else { 0 }));
    }

    #[test]
    fn groups_that_touch_only_across_a_row_end_are_apart() {
        let heat =
            Heat { columns: 3, rows: 2, values: vec![0.0, 0.0, 0.9, 0.8, 0.0, 0.0], strongest: vec![2; 6] };
        let boxes = heat.boxes(0.5);
        assert_eq!(boxes.iter().map(|found| found.area).collect::<Vec<_>>(), [[16, 0, 8, 8], [0, 8, 8, 8]]);
        let longest = Found { label: "green", score: 0.123_456_79, area: [8184; 4] };
        assert!(serde_json::to_string(&longest).unwrap().len() < BOX_BYTES);
    }
}
