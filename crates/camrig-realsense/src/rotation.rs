//! Rotation of depth by quarter turns: its pixels, its intrinsics, and its pose.
//!
//! librealsense's own filter cannot be created through its C interface: that takes a C++ object.

use std::collections::BTreeMap;

use camrig::frame::{Extrinsics, FrameHeader, Intrinsics, Payload, StreamInfo};

use crate::settings::Setting;
use crate::sys::Pixels;

/// A clockwise rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rotation {
    #[default]
    None,
    /// 90 degrees.
    Quarter,
    /// 180 degrees.
    Half,
    /// -90 degrees.
    ThreeQuarters,
}

impl Rotation {
    /// Returns the rotation of a filter with these checked options. Like librealsense's filter, it does nothing by default.
    pub(crate) fn of(settings: &BTreeMap<String, Setting>) -> Self {
        match settings.get("rotation") {
            Some(Setting::Number(degrees)) if *degrees > 90.0 => Self::Half,
            Some(Setting::Number(degrees)) if *degrees > 0.0 => Self::Quarter,
            Some(Setting::Number(degrees)) if *degrees < 0.0 => Self::ThreeQuarters,
            _ => Self::None,
        }
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::None
    }

    /// Rotates a frame. Other frames are unchanged.
    pub(crate) fn apply(self, (header, pixels): (FrameHeader, Pixels)) -> (FrameHeader, Pixels) {
        let Payload::Image { format, width, height, stride_bytes } = header.payload else {
            return (header, pixels);
        };
        if self.is_none() {
            return (header, pixels);
        }
        let (out_width, out_height) = self.size((width, height));
        let size = format.bytes_per_pixel() as usize;
        let bytes = pixels.bytes();
        let mut rotated = Vec::with_capacity(bytes.len());
        for y in 0..out_height {
            for x in 0..out_width {
                let (x, y) = match self {
                    Self::None => (x, y),
                    Self::Quarter => (y, height - 1 - x),
                    Self::Half => (width - 1 - x, height - 1 - y),
                    Self::ThreeQuarters => (width - 1 - y, x),
                };
                let at = y as usize * stride_bytes as usize + x as usize * size;
                rotated.extend_from_slice(&bytes[at..at + size]);
            }
        }
        let payload = Payload::image(format, out_width, out_height);
        (FrameHeader { payload, ..header }, Pixels::from(rotated))
    }

    /// Updates the declaration of the stream at `depth`, and the poses of the others relative to it.
    pub(crate) fn update(self, streams: &mut [StreamInfo], depth: usize) {
        if self.is_none() {
            return;
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            if index != depth {
                stream.to_depth = stream.to_depth.map(|place| self.turn(&place));
            }
        }
        let info = &mut streams[depth];
        if let Payload::Image { format, width, height, .. } = info.payload {
            let (width, height) = self.size((width, height));
            info.payload = Payload::image(format, width, height);
        }
        info.intrinsics = info.intrinsics.map(|lens| self.lens(lens));
    }

    fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        match self {
            Self::None | Self::Half => (width, height),
            Self::Quarter | Self::ThreeQuarters => (height, width),
        }
    }

    fn lens(self, lens: Intrinsics) -> Intrinsics {
        let (width, height) = self.size((lens.width, lens.height));
        let (right, bottom) = ((lens.width - 1) as f32, (lens.height - 1) as f32);
        let (fx, fy) = match self {
            Self::None | Self::Half => (lens.fx, lens.fy),
            Self::Quarter | Self::ThreeQuarters => (lens.fy, lens.fx),
        };
        let (ppx, ppy) = match self {
            Self::None => (lens.ppx, lens.ppy),
            Self::Quarter => (bottom - lens.ppy, lens.ppx),
            Self::Half => (right - lens.ppx, bottom - lens.ppy),
            Self::ThreeQuarters => (lens.ppy, right - lens.ppx),
        };
        Intrinsics { width, height, ppx, ppy, fx, fy, ..lens }
    }

    /// Returns x and y of a point in the rotated coordinates.
    fn point(self, [x, y, z]: [f32; 3]) -> [f32; 3] {
        match self {
            Self::None => [x, y, z],
            Self::Quarter => [-y, x, z],
            Self::Half => [-x, -y, z],
            Self::ThreeQuarters => [y, -x, z],
        }
    }

    /// Returns a pose in rotated coordinates: that of another stream relative to depth.
    fn turn(self, place: &Extrinsics) -> Extrinsics {
        let [xx, xy, xz, yx, yy, yz, zx, zy, zz] = place.rotation;
        let columns = [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]].map(|column| self.point(column));
        let mut rotation = [0.0; 9];
        rotation.iter_mut().zip(columns.as_flattened()).for_each(|(own, &value)| *own = value);
        Extrinsics { rotation, translation_meters: self.point(place.translation_meters) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camrig::frame::{Distortion, PixelFormat, Stream};

    const TURNS: [(f64, Rotation, [u8; 6]); 4] = [
        (0.0, Rotation::None, [1, 2, 3, 4, 5, 6]),
        (90.0, Rotation::Quarter, [4, 1, 5, 2, 6, 3]),
        (180.0, Rotation::Half, [6, 5, 4, 3, 2, 1]),
        (-90.0, Rotation::ThreeQuarters, [3, 6, 2, 5, 1, 4]),
    ];

    #[test]
    fn pixels_are_turned_clockwise() {
        for (degrees, rotation, expected) in TURNS {
            let settings = BTreeMap::from([("rotation".to_owned(), Setting::Number(degrees))]);
            assert_eq!(Rotation::of(&settings), rotation);
            let (width, height) = if [-90.0, 90.0].contains(&degrees) { (2, 3) } else { (3, 2) };
            let header = FrameHeader::image(Stream::DEPTH, PixelFormat::Y8, 3, 2);
            let (header, pixels) = rotation.apply((header, Pixels::from(vec![1, 2, 3, 4, 5, 6])));
            assert_eq!(pixels.bytes(), expected);
            assert_eq!(header.payload, Payload::image(PixelFormat::Y8, width, height));
        }
    }

    /// A point that the lens shows at a pixel is the rotated point that the rotated lens shows at the rotated pixel.
    #[test]
    fn the_lens_is_turned_with_the_pixels() {
        let lens = Intrinsics {
            width: 3,
            height: 2,
            ppx: 1.25,
            ppy: 0.75,
            fx: 2.0,
            fy: 3.0,
            distortion: Distortion::None,
            coefficients: [0.0; 5],
        };
        for (_, rotation, pixels) in TURNS {
            let turned = rotation.lens(lens);
            let (width, _) = rotation.size((3, 2));
            for (index, pixel) in pixels.into_iter().enumerate() {
                let project = |lens: &Intrinsics, x: u32, y: u32| {
                    [(x as f32 - lens.ppx) / lens.fx, (y as f32 - lens.ppy) / lens.fy, 1.0]
                };
                let from = u32::from(pixel - 1);
                let point = rotation.point(project(&lens, from % 3, from / 3));
                let seen = project(&turned, index as u32 % width, index as u32 / width);
                let off = point.iter().zip(seen).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 1e-6, "{rotation:?}: {point:?} is seen at {seen:?}");
            }
        }
    }

    #[test]
    fn the_places_of_other_streams_are_turned() {
        let color = Extrinsics { translation_meters: [0.015, 0.0, 0.0], ..Extrinsics::IDENTITY };
        let turned = Rotation::Quarter.turn(&color);
        assert_eq!(turned.translation_meters.map(f32::to_bits), [-0.0, 0.015, 0.0].map(f32::to_bits));
        assert_eq!(turned.rotation.map(|it| it as i32), [0, 1, 0, -1, 0, 0, 0, 0, 1]);
    }
}
