//! The points of a frameset.

use std::sync::{Arc, Mutex, PoisonError};

use camrig::frame::{
    CameraInfo, ColorView, DensePoints, DepthView, Frame, PointCloud, PointsView, Role, Stream,
};
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

use super::source::Source;
use crate::errors::error;

/// Maximum number of cameras whose rays are kept.
const MAX_CLOUDS: usize = 16;

/// Positions of points, 12 bytes each, and their colors, 3 bytes each.
pub(super) type PointArrays<'py> = (Bound<'py, PyByteArray>, Bound<'py, PyByteArray>);

/// Returns the points of a frameset that have depth: of a frame of points, or computed from depth.
pub(super) fn point_arrays<'py>(
    py: Python<'py>,
    source: &Source,
    with_color: bool,
) -> PyResult<PointArrays<'py>> {
    let DensePoints { meters, rgb } = points(py, source, with_color)?;
    let xyz = PyByteArray::new_with(py, meters.len() * size_of::<[f32; 3]>(), |bytes| {
        let numbers = bytes.as_chunks_mut().0.iter_mut().zip(meters.as_flattened());
        numbers.for_each(|(to, from)| *to = from.to_le_bytes());
        Ok(())
    })?;
    Ok((xyz, PyByteArray::new(py, rgb.as_flattened())))
}

fn points(py: Python<'_>, source: &Source, with_color: bool) -> PyResult<DensePoints> {
    let frames = &source.header().frames;
    if let Some(index) = source.of_role(Role::Points) {
        let content = source.content(index);
        let frame = Frame::new(&frames[index], content.bytes(py)?).map_err(error)?;
        let points = PointsView::new(frame).ok_or_else(|| source.missing("points"))?;
        return Ok(py.detach(|| points.to_dense()));
    }
    let index = source.of_role(Role::Depth).ok_or_else(|| source.missing("points and no depth"))?;
    let content = source.content(index);
    let info = source.info();
    let depth = Frame::new(&frames[index], content.bytes(py)?).map_err(error)?;
    let depth = DepthView::new(depth, info.depth_unit_meters, None)
        .ok_or_else(|| source.missing("depth in a known format"))?;
    let color = source.of_stream(Stream::COLOR.name()).filter(|_| with_color);
    let color_content = color.map(|index| source.content(index));
    let color = match (&color_content, color) {
        (Some(content), Some(index)) => {
            ColorView::new(Frame::new(&frames[index], content.bytes(py)?).map_err(error)?)
        }
        _ => None,
    };
    let cloud = cloud(info)?;
    py.detach(|| cloud.dense(&depth, color.as_ref())).map_err(error)
}

/// Returns the converter of a camera's depth to points, which is made once.
fn cloud(info: &Arc<CameraInfo>) -> PyResult<Arc<PointCloud>> {
    type Clouds = Vec<(Arc<CameraInfo>, Arc<PointCloud>)>;
    static CLOUDS: Mutex<Clouds> = Mutex::new(Vec::new());
    let mut clouds = CLOUDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, cloud)) = clouds.iter().find(|(known, _)| Arc::ptr_eq(known, info)) {
        return Ok(Arc::clone(cloud));
    }
    let depth = info.stream_of(Role::Depth);
    let depth = depth.ok_or_else(|| error(format_args!("camera `{}` declares no depth", info.name)))?;
    let color = info.stream(Stream::COLOR);
    let color = color.filter(|color| color.intrinsics.is_some() && color.to_depth.is_some());
    let made = PointCloud::new(depth, color);
    let made = made.map_err(|fault| error(format_args!("camera `{}` has no points: {fault}", info.name)))?;
    let made = Arc::new(made);
    if clouds.len() == MAX_CLOUDS {
        clouds.remove(0);
    }
    clouds.push((Arc::clone(info), Arc::clone(&made)));
    Ok(made)
}
