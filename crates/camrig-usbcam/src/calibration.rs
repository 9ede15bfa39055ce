//! Calibration tables as D400 firmware stores them: a header with a checksum, and a body.
//!
//! The layouts are those that librealsense 2.56 reads (`src/ds/d400/d400-private.h`): header of 16 bytes with big
//! endian version, then type, length, parameter and CRC-32 of the body in little endian.

use crate::models::Model;

/// Number of the table with the intrinsics of the depth imagers.
pub const COEFFICIENTS: u32 = 25;
/// Number of the table with the intrinsics of the color imager.
pub const COLOR: u32 = 32;

/// Size of a table's header, in bytes.
const HEADER_BYTES: usize = 16;

/// Sizes for which the coefficients table holds rectified intrinsics, in the order of its entries.
const RECTIFIED_SIZES: [(u16, u16); 16] = [
    (1920, 1080),
    (1280, 720),
    (640, 480),
    (848, 480),
    (640, 360),
    (424, 240),
    (320, 240),
    (480, 270),
    (1280, 800),
    (960, 540),
    (0, 0),
    (0, 0),
    (640, 400),
    (576, 576),
    (720, 720),
    (1152, 1152),
];

/// Sizes of [`rectified_parameters`].
const PARAMETER_SIZES: [(u16, u16); 6] =
    [(1280, 720), (848, 480), (640, 480), (640, 360), (480, 270), (424, 240)];

/// Focal length as a share of the image's width.
const FOCAL_SHARE: f32 = 0.75;

/// Row-major 3x3 identity.
const IDENTITY: [f32; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];

/// Returns the table with this number; `None` if the device has no such table.
pub fn table(model: &Model, number: u32) -> Option<Vec<u8>> {
    match number {
        COEFFICIENTS | 31 => Some(with_header(COEFFICIENTS as u16, &coefficients(model))),
        COLOR => Some(with_header(COLOR as u16, &color())),
        _ => None,
    }
}

/// Flips a bit of a table's body, so that its checksum is wrong.
pub fn damage(table: &mut [u8]) {
    if let Some(byte) = table.get_mut(HEADER_BYTES + 4) {
        *byte ^= 1;
    }
}

/// Returns the answer to `RECPARAMSGET`: size, focal lengths and principal point for each size.
pub fn rectified_parameters() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (width, height) in PARAMETER_SIZES {
        let (w, h) = (f32::from(width), f32::from(height));
        bytes.extend([width, height].map(u16::to_le_bytes).as_flattened());
        push_floats(&mut bytes, &[w * FOCAL_SHARE, w * FOCAL_SHARE, w / 2.0, h / 2.0]);
    }
    bytes
}

fn with_header(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = 0x0100_u16.to_be_bytes().to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(crc32fast::hash(body).to_le_bytes());
    bytes.extend(body);
    bytes
}

fn coefficients(model: &Model) -> Vec<u8> {
    let imager = [1.5, 0.0, 0.0, 0.0, 2.6, 0.0, 0.0, 0.0, 1.0];
    let mut bytes = Vec::new();
    for matrix in [imager, imager, IDENTITY, IDENTITY] {
        push_floats(&mut bytes, &matrix);
    }
    // The right imager is at a negative x of the left one.
    push_floats(&mut bytes, &[-model.baseline_mm]);
    bytes.extend([0; 4 + 88]);
    for (width, height) in RECTIFIED_SIZES {
        let (w, h) = (f32::from(width), f32::from(height));
        push_floats(&mut bytes, &[w * FOCAL_SHARE, w * FOCAL_SHARE, w / 2.0 + 1.0, h / 2.0 + 0.5]);
    }
    bytes.extend([0; 64]);
    bytes
}

fn color() -> Vec<u8> {
    let intrinsics = [1.5, 0.0, 0.0, 0.0, 2.6, 0.0, 0.01, 0.02, 1.0];
    // Translation from depth to color, in millimetres.
    let translation = [15.0, 0.0, 0.0];
    let mut bytes = Vec::new();
    push_floats(&mut bytes, &intrinsics);
    push_floats(&mut bytes, &[0.0; 5 + 3]);
    push_floats(&mut bytes, &translation);
    push_floats(&mut bytes, &[0.0; 12]);
    bytes.extend([1280_u16, 720].map(u16::to_le_bytes).as_flattened());
    push_floats(&mut bytes, &intrinsics);
    push_floats(&mut bytes, &IDENTITY);
    push_floats(&mut bytes, &translation);
    bytes.extend([0; 24]);
    bytes
}

fn push_floats(bytes: &mut Vec<u8>, floats: &[f32]) {
    bytes.extend(floats.iter().flat_map(|float| float.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_sizes_and_checksums_that_librealsense_checks() {
        let model = Model::by_name("d405").unwrap();
        for (number, body_bytes) in [(COEFFICIENTS, 560), (COLOR, 240)] {
            let table = table(model, number).unwrap();
            assert_eq!(table.len(), HEADER_BYTES + body_bytes, "table {number}");
            let crc = u32::from_le_bytes(table[12..16].try_into().unwrap());
            assert_eq!(crc, crc32fast::hash(&table[HEADER_BYTES..]));
            let mut damaged = table.clone();
            damage(&mut damaged);
            assert_ne!(crc, crc32fast::hash(&damaged[HEADER_BYTES..]));
        }
        assert_eq!(table(model, 26), None);
    }

    #[test]
    fn the_baseline_is_the_models() {
        let model = Model::by_name("d435").unwrap();
        let table = table(model, COEFFICIENTS).unwrap();
        let start = HEADER_BYTES + 4 * 36;
        let baseline = f32::from_le_bytes(table[start..start + 4].try_into().unwrap());
        assert!((baseline + 50.0).abs() < f32::EPSILON);
    }
}
