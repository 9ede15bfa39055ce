//! Depth in the two forms that viewers show as depth: whole millimetres with 16 bits, and metres in floating point.
//!
//! Of Rerun and Foxglove, the first takes only ROS's images for depth, and both take 16 bits as millimetres. So depth in
//! another unit, such as a D405's 0.1 mm, is recorded in metres, from which its numbers are restored exactly.
//!
//! This module has no knowledge of files and of messages.

use camrig::frame::{Payload, PixelFormat, Role};

/// The unit of 16-bit depth in viewers, in metres.
const VIEWERS_UNIT_METERS: f32 = 0.001;

/// Units for which every depth in metres is a normal number: wide bounds around those of cameras.
const UNITS_METERS: std::ops::RangeInclusive<f32> = 1e-12..=1e6;

/// Size of a depth in metres, in bytes.
const METERS_BYTES: usize = size_of::<f32>();

/// A form of depth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DepthForm {
    /// The unchanged pixels, with this name of their format.
    AsIs(&'static str),
    /// Converted to metres from this unit.
    Meters(f32),
}

/// Name of the format of depth in metres.
pub(crate) const METERS_NAME: &str = "32FC1";

impl DepthForm {
    /// Returns the form of depth of this format and unit; `None` for other images, and if the unit is impossible.
    pub(crate) fn of(format: PixelFormat, unit_meters: f32) -> Option<Self> {
        match format {
            PixelFormat::Z16 if unit_meters == VIEWERS_UNIT_METERS => Some(Self::AsIs(format.ros_name())),
            PixelFormat::Z16 if UNITS_METERS.contains(&unit_meters) => Some(Self::Meters(unit_meters)),
            PixelFormat::Z16 => None,
            _ if format.role() == Role::Depth => Some(Self::AsIs(format.ros_name())),
            _ => None,
        }
    }
}

/// Returns the size of an image in metres, in bytes. Saturates.
pub(crate) fn meters_bytes(payload: &Payload) -> u64 {
    let (width, height) = payload.size().unwrap_or_default();
    (u64::from(width) * u64::from(height)).saturating_mul(METERS_BYTES as u64)
}

/// Returns the rows of an image without their padding.
fn rows_of<'a>(payload: &Payload, pixels: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let [row, stride] =
        [payload.row_bytes(), payload.stride_bytes()].map(|bytes| bytes.unwrap_or(0) as usize);
    pixels.chunks(stride.max(1)).map(move |line| &line[..row.min(line.len())])
}

/// Converts the pixels of a 16-bit image to metres, without the padding of its rows.
pub(crate) fn to_meters(payload: &Payload, pixels: &[u8], unit_meters: f32) -> Vec<u8> {
    let mut meters = Vec::with_capacity(pixels.len() * 2);
    for row in rows_of(payload, pixels) {
        let numbers = row.chunks_exact(2).map(|pixel| u16::from_le_bytes([pixel[0], pixel[1]]));
        meters.extend(numbers.flat_map(|number| (f32::from(number) * unit_meters).to_le_bytes()));
    }
    meters
}

/// Converts metres to the pixels of a 16-bit image: the numbers from which [`to_meters`] made them. The padding of rows
/// stays as it is. Both have the sizes of the payload.
pub(crate) fn from_meters(payload: &Payload, meters: &[u8], unit_meters: f32, pixels: &mut [u8]) {
    let [row, stride] =
        [payload.row_bytes(), payload.stride_bytes()].map(|bytes| bytes.unwrap_or(0) as usize);
    if row == 0 {
        return;
    }
    for (line, meters) in pixels.chunks_mut(stride.max(1)).zip(meters.chunks(row * 2)) {
        for (pixel, meters) in line.chunks_exact_mut(2).zip(meters.chunks_exact(METERS_BYTES)) {
            let meters = f32::from_le_bytes([meters[0], meters[1], meters[2], meters[3]]);
            // A number of a damaged file becomes the nearest one, and NaN 0.
            pixel.copy_from_slice(&((meters / unit_meters).round() as u16).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_from_metres() {
        let payload = Payload::Image { format: PixelFormat::Z16, width: 256, height: 256, stride_bytes: 518 };
        let line =
            |row: u16| (0..256).flat_map(move |column| (row * 256 + column).to_le_bytes()).chain([7; 6]);
        let pixels: Vec<u8> = (0..256).flat_map(line).collect();
        for unit_meters in [0.0001, 0.000_1_f32.next_up(), 0.001, 0.000_25, 0.002, 1.0 / 3.0, 1e-12, 1e6] {
            let meters = to_meters(&payload, &pixels, unit_meters);
            assert_eq!(meters.len() as u64, meters_bytes(&payload));
            let mut back = vec![7; pixels.len()];
            from_meters(&payload, &meters, unit_meters, &mut back);
            assert!(back == pixels, "{unit_meters}");
        }
    }

    #[test]
    fn only_millimetres_stay_as_they_are() {
        let as_is = DepthForm::AsIs;
        assert_eq!(DepthForm::of(PixelFormat::Z16, 0.001), Some(as_is("16UC1")));
        assert_eq!(DepthForm::of(PixelFormat::Z16, 0.0001), Some(DepthForm::Meters(0.0001)));
        assert_eq!(DepthForm::of(PixelFormat::Distance, 0.0001), Some(as_is("32FC1")));
        for (format, unit) in
            [(PixelFormat::Z16, 0.0), (PixelFormat::Z16, f32::NAN), (PixelFormat::Y16, 0.001)]
        {
            assert_eq!(DepthForm::of(format, unit), None);
        }
    }
}
