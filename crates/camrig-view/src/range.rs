//! The range of depth that the colors of a picture cover.

use camrig::frame::DepthView;

/// The approximate number of depths that are sampled to find a range.
const SAMPLES: usize = 2000;

/// The share of depths at either end that is ignored as outliers.
const STRAY: f32 = 0.02;

/// The weight of the newest frameset's range in the shown range. It prevents flickering colors.
const RANGE_SHARE: f32 = 0.1;

/// Returns the range in metres that covers most of a depth frame, smoothed with the range `before`. Returns `None`
/// when there is no depth.
pub(crate) fn range(depth: &DepthView<'_>, before: Option<(f32, f32)>) -> Option<(f32, f32)> {
    let pixels = depth.frame().width() as usize * depth.frame().height() as usize;
    // Odd, so that it rarely divides the width and would sample only a few columns.
    let step = (pixels / SAMPLES).max(1) | 1;
    let width = (depth.frame().width() as usize).max(1);
    let units = |pixel: usize| depth.units((pixel % width) as u32, (pixel / width) as u32);
    let mut samples: Vec<u16> =
        (0..pixels).step_by(step).filter_map(units).filter(|&units| units != 0).collect();
    samples.sort_unstable();
    let last = samples.len().checked_sub(1)?;
    let at = |share: f32| f32::from(samples[(share * last as f32) as usize]) * depth.unit_meters();
    let (near, far) = (at(STRAY), at(1.0 - STRAY));
    let (near, far) = before.map_or((near, far), |before| {
        (before.0 + RANGE_SHARE * (near - before.0), before.1 + RANGE_SHARE * (far - before.1))
    });
    Some((near, far.max(near + depth.unit_meters())))
}

/// Returns the range that covers both.
pub(crate) fn union(one: Option<(f32, f32)>, other: Option<(f32, f32)>) -> Option<(f32, f32)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        _ => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use camrig::frame::{Frame, FrameHeader, PixelFormat, Stream};

    use super::*;

    #[test]
    fn a_union_covers_both_ranges() {
        assert_eq!(union(None, None), None);
        assert_eq!(union(Some((1.0, 2.0)), None), Some((1.0, 2.0)));
        assert_eq!(union(Some((1.0, 2.0)), Some((0.5, 1.5))), Some((0.5, 2.0)));
    }

    #[test]
    fn the_range_ignores_outliers_and_changes_slowly() {
        let header = FrameHeader::image(Stream::DEPTH, PixelFormat::Z16, 100, 10);
        let mut pixels: Vec<u8> = (0..1000_u16).flat_map(|index| (1000 + index).to_le_bytes()).collect();
        pixels[..20].fill(0);
        let depth = DepthView::new(Frame::new(&header, &pixels).unwrap(), 0.001, None).unwrap();
        let (near, far) = range(&depth, None).unwrap();
        assert!((near - 1.03).abs() < 0.01 && (far - 1.98).abs() < 0.01, "{near} {far}");
        let (near, far) = range(&depth, Some((2.0, 3.0))).unwrap();
        assert!((near - 1.903).abs() < 0.01 && (far - 2.898).abs() < 0.01, "{near} {far}");
        let none = vec![0; pixels.len()];
        let depth = DepthView::new(Frame::new(&header, &none).unwrap(), 0.001, None).unwrap();
        assert_eq!(range(&depth, None), None);
    }
}
