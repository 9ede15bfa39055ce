//! The stock processor `pointcloud`: converts each depth image to 3D points, published as a frame of points.
//!
//! It publishes one frame of the stream `points`, in rows like the depth image: in metres, in the coordinates of
//! depth, with the colors of the color image. The original images are not forwarded: a processor that needs them
//! reads the camera too.

use std::collections::BTreeMap;
use std::sync::Arc;

use camrig_frame::{CameraInfo, PointCloud, Role, Stream, StreamInfo};
use camrig_image::LightImage;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::frameset::FrameSet;
use crate::output::ProcessorOutput;
use crate::processor::{Declared, Processor, ProcessorError};

/// The options of `pointcloud`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    /// Gives each point its color in the color image.
    color: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { color: true }
    }
}

/// Publishes the points of every frameset that has depth.
pub(crate) struct Pointcloud {
    options: Options,
    /// Converter of each camera, valid while its description is unchanged.
    cameras: BTreeMap<String, (Arc<CameraInfo>, PointCloud)>,
}

impl Pointcloud {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, cameras: BTreeMap::new() }
    }

    /// Returns the converter for the camera's current calibration.
    fn cloud(&mut self, info: &Arc<CameraInfo>) -> Result<&PointCloud, ProcessorError> {
        let known = self.cameras.get(&info.name).is_some_and(|(known, _)| known == info);
        if !known {
            let depth = info.stream_of(Role::Depth).ok_or("it has no depth")?;
            let color = info.stream(Stream::COLOR).filter(|_| self.options.color);
            let cloud = PointCloud::new(depth, color).map_err(|error| {
                let without = PointCloud::new(depth, None).is_ok();
                let hint = if without { "; option `color = false` does without" } else { "" };
                format!("{error}{hint}")
            })?;
            self.cameras.insert(info.name.clone(), (Arc::clone(info), cloud));
        }
        Ok(&self.cameras[&info.name].1)
    }
}

impl Processor for Pointcloud {
    fn declare(input: &[StreamInfo]) -> Declared {
        let depth = input.iter().find(|info| info.role == Role::Depth).ok_or("it has no depth")?;
        Ok(Some(vec![PointCloud::stream(depth)]))
    }

    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let of_camera = |error: ProcessorError| format!("no points of camera `{}`: {error}", frames.camera());
        let with_color = self.options.color;
        let cloud = self.cloud(frames.info()).map_err(of_camera)?;
        // A camera may lose a frame of one stream: without depth there are no points.
        let Some(depth) = frames.depth() else { return Ok(()) };
        let header = PointCloud::header(depth.frame().header());
        if let Some(mut loan) = output.derive(frames, [header].into_iter().collect())? {
            let color = if with_color { super::color_or_warning(frames) } else { None };
            let color = color.as_ref().and_then(LightImage::view);
            cloud
                .write(&depth, color.as_ref(), loan.frame_mut(0))
                .map_err(|error| of_camera(error.into()))?;
            output.publish(loan);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use camrig_frame::{PixelFormat, Point};

    use super::*;
    use crate::synthetic::tests::Rig;
    use crate::testing::{self, TestCamera};

    /// Returns the output of `pointcloud` for a frameset of a synthetic camera.
    fn points(camera: &str, options: &str) -> (FrameSet, Vec<Option<Point>>) {
        let frames = Rig::called("front", camera).frameset();
        let mut pointcloud = Pointcloud::new(toml::from_str(options).unwrap());
        let (mut output, reader) = testing::output_with_reader("points", &[]);
        pointcloud.process(&frames, &mut output).unwrap();
        let made = reader.take().unwrap();
        assert_eq!((made.camera(), made.producer(), made.header().frames.len()), ("front", "points", 1));
        assert_eq!(made.arrival_nanos(), frames.arrival_nanos());
        let points = made.points().unwrap().iter().collect();
        (frames, points)
    }

    #[test]
    fn a_d405_sees_color_with_the_same_eye() {
        let camera = "model = 'd405'\ndepth = '424x240@30'\ncolor = '424x240@30'";
        let (frames, colored) = points(camera, "");
        let (depth, color) = (frames.depth().unwrap(), frames.color().unwrap());
        let pixels = (0..240).flat_map(|y| (0..424).map(move |x| (x, y)));
        for ((x, y), point) in pixels.zip(&colored) {
            assert_eq!(point.map(|point| point.meters[2]), depth.meters(x, y), "column {x}, row {y}");
            // Half a pixel is not exact in an `f32`, but an error of half a thousandth never reaches
            // another pixel.
            if let Some(point) = point {
                assert_eq!(point.rgb, color.rgb(x, y), "column {x}, row {y}");
            }
        }
        let (_, plain) = points(camera, "color = false");
        let without_color = |point: &Option<Point>| point.map(|point| Point { rgb: None, ..point });
        assert_eq!(plain, colored.iter().map(without_color).collect::<Vec<_>>());
    }

    #[test]
    fn a_d435_sees_color_only_in_the_middle() {
        let (frames, points) = points("depth = '640x480@30'\ncolor = '1920x1080@30'", "");
        let depth = frames.depth().unwrap();
        // 69 x 42 degrees through a lens of 87 x 58, cropped to 4:3:
        // 319.5 +- 449.6 * tan 34.5, 239.5 +- 433.0 * tan 21.
        let shown = |x, y| (11..=628).contains(&x) && (74..=405).contains(&y);
        let pixels = (0..480).flat_map(|y| (0..640).map(move |x| (x, y)));
        for ((x, y), point) in pixels.zip(&points) {
            assert_eq!(point.is_some(), depth.units(x, y) != Some(0), "column {x}, row {y}");
            if let Some(point) = point {
                assert_eq!(point.rgb.is_some(), shown(x, y), "column {x}, row {y}");
            }
        }
    }

    #[test]
    fn a_camera_of_which_too_little_is_known_is_an_error() {
        const DEPTH: (Stream, PixelFormat, &str) = (Stream::DEPTH, PixelFormat::Z16, "1x1@30");
        const COLOR: (Stream, PixelFormat, &str) = (Stream::COLOR, PixelFormat::Rgb8, "1x1@30");
        let error = |streams: &[_], pixels: &[&[u8]]| {
            let frames = TestCamera::new("front", streams).frameset(0, pixels);
            let mut pointcloud = Pointcloud::new(Options::default());
            pointcloud.process(&frames, &mut testing::output("points", &[])).unwrap_err().to_string()
        };
        assert_eq!(error(&[COLOR], &[&[0; 3]]), "no points of camera `front`: it has no depth");
        assert_eq!(
            error(&[DEPTH], &[&[0; 2]]),
            "no points of camera `front`: the intrinsics of depth are not known"
        );

        let frames = Rig::called("front", "depth = '424x240@30'").frameset();
        let mut info = CameraInfo::clone(frames.info());
        info.streams[0].to_depth = None;
        let error = Pointcloud::new(Options::default()).cloud(&Arc::new(info)).unwrap_err().to_string();
        let expected = "the transform from color to depth is not known; option `color = false` does without";
        assert_eq!(error, expected);
    }
}
