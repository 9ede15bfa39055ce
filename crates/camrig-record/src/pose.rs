//! Rotations and transforms in other forms.

use camrig::frame::Extrinsics;

/// Returns the rotation matrix of a quaternion `x, y, z, w`, column-major.
pub(crate) fn matrix([x, y, z, w]: [f64; 4]) -> [f32; 9] {
    let norm = x * x + y * y + z * z + w * w;
    let scale = if norm > 0.0 { 2.0 / norm } else { 0.0 };
    [
        1.0 - scale * (y * y + z * z),
        scale * (x * y + z * w),
        scale * (x * z - y * w),
        scale * (x * y - z * w),
        1.0 - scale * (x * x + z * z),
        scale * (y * z + x * w),
        scale * (x * z + y * w),
        scale * (y * z - x * w),
        1.0 - scale * (x * x + y * y),
    ]
    .map(|number| number as f32)
}

/// Returns the transform `second` after `first`.
pub(crate) fn after(second: &Extrinsics, first: &Extrinsics) -> Extrinsics {
    let turn = Extrinsics { translation_meters: [0.0; 3], ..*second };
    let (columns, _) = first.rotation.as_chunks::<3>();
    let mut rotation = [0.0; 9];
    for (into, &column) in rotation.as_chunks_mut::<3>().0.iter_mut().zip(columns) {
        *into = turn.apply(column);
    }
    Extrinsics { rotation, translation_meters: second.apply(first.translation_meters) }
}
