//! A data set as `Open3D`'s reconstruction system takes it: `color`, `depth` and `camera_intrinsic.json`. Depth is aligned to
//! color and keeps its unit; `config.json` contains it.

use std::io;
use std::path::{Path, PathBuf};

use camrig::frame::{CameraInfo, Distortion, Stream};
use camrig_image::{LightImage, Picture};
use serde_json::json;

use super::{ExportTarget, ExportedFrameSet, folder};

/// A camera as a data set.
pub(super) struct Open3d {
    path: PathBuf,
    depth_unit_meters: f32,
    note: Option<String>,
}

impl Open3d {
    pub(super) fn create(path: &Path, info: &CameraInfo) -> io::Result<Self> {
        let lens = info.stream(Stream::COLOR).and_then(|color| color.intrinsics);
        let lens = lens.ok_or_else(|| io::Error::other("the calibration of color is not known"))?;
        // Column by column.
        let matrix = [lens.fx, 0.0, 0.0, 0.0, lens.fy, 0.0, lens.ppx, lens.ppy, 1.0].map(f64::from);
        let intrinsic = json!({ "width": lens.width, "height": lens.height, "intrinsic_matrix": matrix });
        let config = json!({
            "name": info.name,
            "path_dataset": ".",
            "path_intrinsic": "camera_intrinsic.json",
            "depth_scale": (1.0 / f64::from(info.depth_unit_meters) * 1e3).round() / 1e3,
        });
        for (name, json) in [("camera_intrinsic.json", intrinsic), ("config.json", config)] {
            folder::create(&path.join(name), &serde_json::to_vec_pretty(&json)?)?;
        }
        let (path, depth_unit_meters) = (path.to_owned(), info.depth_unit_meters);
        Ok(Self { path, depth_unit_meters, note: lens_note(info) })
    }

    fn write_picture(&self, stream: &str, taken: &ExportedFrameSet, picture: &Picture<'_>) -> io::Result<()> {
        let folder = self.path.join(stream);
        folder::make(&folder)?;
        folder::create(&folder.join(format!("{}.png", taken.name)), &picture.to_png()?)
    }
}

impl ExportTarget for Open3d {
    /// Writes the files of a frameset. `Open3D` pairs files by their order, so a frameset without color or depth is
    /// left out.
    fn write(&mut self, taken: &ExportedFrameSet) -> io::Result<(bool, Option<String>)> {
        let color = match taken.frames.color() {
            Ok(color) => color,
            Err(error) => return Ok((false, Some(error.to_string()))),
        };
        let color = color.as_ref().and_then(LightImage::view);
        let depth = taken.frames.depth(self.depth_unit_meters);
        let (Some(color), Some(depth)) = (color, depth) else {
            let problem = format!("frameset {} lacks color or depth", taken.read.record.sequence);
            return Ok((false, Some(problem)));
        };
        self.write_picture("color", taken, &Picture::color(&color))?;
        self.write_picture("depth", taken, &Picture::depth16(&depth))?;
        Ok((true, None))
    }

    fn finish(&mut self) -> io::Result<Option<String>> {
        Ok(self.note.take())
    }
}

/// Returns a note about a lens that is not a pinhole, which the data set cannot describe.
pub(super) fn lens_note(info: &CameraInfo) -> Option<String> {
    let lens = info.stream(Stream::COLOR).and_then(|color| color.intrinsics)?;
    let is_straight = lens.distortion == Distortion::None
        || lens.coefficients.iter().all(|&coefficient| coefficient == 0.0);
    (!is_straight).then(|| format!("the distortion of color ({}) is not corrected", lens.distortion))
}
