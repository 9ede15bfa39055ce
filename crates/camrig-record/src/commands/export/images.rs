//! Frames as files: a folder per camera, with `camera.json`, which contains calibration and depth unit, `framesets.jsonl`,
//! which has one line per frameset, and a folder per stream. Motion is exported as CSV files, independent of the format.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camrig::encode_csv;
use camrig::frame::{
    CameraInfo, ColorView, DType, Frame, MJPEG, MessageView, MotionView, Payload, PointCloud, PointsView,
    Stream, TensorView,
};
use camrig_image::Picture;

use super::decoded::{Decoded, PointsError, PointsFormat, point_cloud};
use super::{Encode, EncodedFile, ExportTarget, ExportedFrameSet, Format, folder};
use crate::npy;

/// Frames of one camera as files.
pub(super) struct Images {
    path: PathBuf,
    list: File,
    format: Format,
    depth_unit_meters: f32,
    points: Option<Arc<Points>>,
    /// The streams that are left out, each of which is reported once.
    left_out: HashSet<Stream>,
}

/// Points instead of images.
struct Points {
    /// The converter from depth, or the reason why there is none.
    cloud: Result<PointCloud, PointsError>,
    format: PointsFormat,
}

impl Images {
    pub(super) fn create(path: &Path, info: &CameraInfo, format: Format) -> io::Result<Self> {
        folder::create(&path.join("camera.json"), &serde_json::to_vec_pretty(info)?)?;
        let list = folder::list(&path.join("framesets.jsonl"), "")?;
        let points = format.points().map(|format| Arc::new(Points { cloud: point_cloud(info), format }));
        let (path, depth_unit_meters) = (path.to_owned(), info.depth_unit_meters);
        Ok(Self { path, list, format, depth_unit_meters, points, left_out: HashSet::new() })
    }

    /// Writes images, or points instead. Returns the first problem of a stream that is left out.
    fn write_images(&mut self, taken: &ExportedFrameSet) -> io::Result<Option<String>> {
        let mut problem = None;
        for EncodedFile { folder, extension, bytes } in &taken.encoded {
            match bytes {
                Ok(bytes) => self.write_file(folder, extension, taken, bytes)?,
                Err(error) if self.points.is_none() => return Err(folder::named(Path::new(folder), error)),
                Err(error) if self.left_out.insert(Stream::DEPTH) => {
                    problem = Some(format!("depth has no points: {error}"));
                }
                Err(_) => {}
            }
        }
        for frame in taken.frames.frames().filter(|_| self.points.is_none()) {
            if PointsView::new(frame).is_some() && self.left_out.insert(frame.stream()) {
                problem = Some(format!(
                    "{} is not an image: `--format ply` or `pcd` writes points",
                    frame.stream()
                ));
            }
        }
        Ok(problem)
    }

    fn write_file(
        &self,
        stream: &str,
        extension: &str,
        taken: &ExportedFrameSet,
        bytes: &[u8],
    ) -> io::Result<()> {
        let folder = self.path.join(stream);
        folder::make(&folder)?;
        folder::create(&folder.join(format!("{}.{extension}", taken.name)), bytes)
    }
}

impl ExportTarget for Images {
    fn encode(&self) -> Option<Encode> {
        let (format, depth_unit_meters) = (self.format, self.depth_unit_meters);
        Some(match self.points.clone() {
            Some(points) => Arc::new(move |frames| points.encode(frames, depth_unit_meters)),
            None => Arc::new(move |frames| {
                frames.frames().filter_map(|frame| image_file(frame, format)).collect()
            }),
        })
    }

    fn write(&mut self, taken: &ExportedFrameSet) -> io::Result<(bool, Option<String>)> {
        let problem = self.write_images(taken)?;
        for frame in taken.frames.frames() {
            let name = frame.stream();
            let stream = name.name();
            if let Some(motion) = MotionView::new(frame) {
                self.write_file(stream, "csv", taken, &encode_csv(&motion))?;
            } else if let Some(tensor) = TensorView::new(frame) {
                let file = npy::file(tensor.dtype(), tensor.shape(), tensor.bytes());
                self.write_file(stream, "npy", taken, &file)?;
            } else if let Some(message) = MessageView::new(frame) {
                self.write_file(stream, extension_of(message.encoding()), taken, message.bytes())?;
            } else if let Payload::Encoded { codec, .. } = frame.payload() {
                let extension = if *codec == MJPEG { "jpg" } else { extension_of(codec.as_str()) };
                self.write_file(stream, extension, taken, frame.bytes())?;
            }
        }
        let mut line = serde_json::to_vec(&taken.read.record)?;
        line.push(b'\n');
        self.list.write_all(&line)?;
        let is_written = self.points.is_none() || taken.encoded.iter().any(|file| file.bytes.is_ok());
        Ok((is_written, problem))
    }
}

/// Returns the file extension for this encoding. The encoding comes from a file and must not affect the rest of the
/// path.
fn extension_of(encoding: &str) -> &str {
    let plain = encoding.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain && !encoding.is_empty() { encoding } else { "bin" }
}

impl Points {
    /// Returns the points of a frameset as a file, or the reason why it has none; nothing without points and depth.
    fn encode(&self, frames: &Decoded, depth_unit_meters: f32) -> Vec<EncodedFile> {
        let points = frames.points(&self.cloud, depth_unit_meters, self.format).transpose();
        let file = |points: Result<_, PointsError>| EncodedFile {
            folder: "points".to_owned(),
            extension: self.format.extension(),
            bytes: points.map_err(io::Error::other),
        };
        points.map(file).into_iter().collect()
    }
}

/// Returns an image as a PNG file, or as a `NumPy` file where PNG does not have its numbers; `None` when the frame is not an
/// image.
fn image_file(frame: Frame<'_>, format: Format) -> Option<EncodedFile> {
    let folder = frame.stream().name().to_owned();
    let picture = if format == Format::Png { Picture::plain(frame) } else { None };
    Some(match picture {
        Some(picture) => EncodedFile { folder, extension: "png", bytes: picture.to_png() },
        None => EncodedFile { folder, extension: "npy", bytes: Ok(image_npy(frame)?) },
    })
}

/// Returns an image as an array of its numbers, color as red, green and blue; `None` when the frame is not an image.
fn image_npy(frame: Frame<'_>) -> Option<Vec<u8>> {
    let format = frame.payload().pixel_format()?;
    let color = ColorView::new(frame).filter(|_| format.is_colored());
    let (element, channels, pixels) = match color {
        Some(color) => (DType::U8, 3, color.to_rgb8()),
        None => (format.element(), format.channels(), frame.rows().flatten().copied().collect()),
    };
    let shape = [frame.height(), frame.width(), channels];
    let dimensions = if channels == 1 { 2 } else { 3 };
    Some(npy::file(element, &shape[..dimensions], &pixels))
}
