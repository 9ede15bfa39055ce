//! A data set with the files of those of TU Munich's RGB-D benchmark: `rgb`, `depth`, lists with a time and a file in each
//! line, `associations.txt` with both, and `accelerometer.txt`. Depth is aligned to color.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use camrig::frame::{CameraInfo, Clock, MotionView, Stream, Timestamp};
use camrig_image::{LightImage, Picture};

use super::decoded::Decoded;
use super::open3d::lens_note;
use super::{ExportTarget, ExportedFrameSet, folder};
use crate::clock::WallClock;

/// Units of depth in a metre. The data sets have 16 bits, so depth beyond 13.1 m is left out.
const UNITS_PER_METER: f32 = 5000.0;

/// The folders of color and depth.
const FOLDERS: [&str; 2] = ["rgb", "depth"];

/// A camera as a data set.
pub(super) struct Tum {
    path: PathBuf,
    /// The lists of the images of color and of depth.
    lists: [File; 2],
    both: File,
    motions: Option<File>,
    clock: WallClock,
    note: Option<String>,
    depth_unit_meters: f32,
    /// The last time of an image of color, and of one of depth, in microseconds.
    last_micros: [u64; 2],
}

impl Tum {
    pub(super) fn create(path: &Path, info: &CameraInfo) -> io::Result<Self> {
        folder::create(&path.join("camera.json"), &serde_json::to_vec_pretty(info)?)?;
        for name in FOLDERS {
            folder::make(&path.join(name))?;
        }
        let list = |name: &str, what: &str| folder::list(&path.join(name), &format!("# {what}\n"));
        let has_motion = info.stream(Stream::ACCEL).is_some();
        let motions = has_motion.then(|| list("accelerometer.txt", "timestamp ax ay az")).transpose()?;
        Ok(Self {
            lists: [list("rgb.txt", "timestamp filename")?, list("depth.txt", "timestamp filename")?],
            both: folder::list(&path.join("associations.txt"), "")?,
            motions,
            clock: WallClock::default(),
            note: lens_note(info),
            depth_unit_meters: info.depth_unit_meters,
            last_micros: [0; 2],
            path: path.to_owned(),
        })
    }

    /// Writes an image of color, which is the first kind, or of depth. Returns the line of its list.
    fn write_picture(
        &mut self,
        kind: usize,
        taken: Timestamp,
        arrived: u64,
        picture: &Picture<'_>,
    ) -> io::Result<String> {
        let micros = self.clock.time(taken.clock, taken.nanos, arrived) / 1000;
        let last = &mut self.last_micros[kind];
        // No two files have one name.
        *last = micros.max(last.saturating_add(1));
        let at = seconds(*last);
        let name = format!("{}/{at}.png", FOLDERS[kind]);
        folder::create(&self.path.join(&name), &picture.to_png()?)?;
        let line = format!("{at} {name}");
        writeln!(self.lists[kind], "{line}")?;
        Ok(line)
    }

    fn write_motion(&mut self, frames: &Decoded, arrived: u64) -> io::Result<()> {
        let Some(list) = &mut self.motions else { return Ok(()) };
        let frame = frames.frame(Stream::ACCEL);
        let clock = frame.map_or(Clock::System, |frame| frame.header().timestamp.clock);
        for sample in frame.and_then(MotionView::new).iter().flat_map(MotionView::iter) {
            let [x, y, z] = sample.xyz;
            let at = seconds(self.clock.time(clock, sample.nanos, arrived) / 1000);
            writeln!(list, "{at} {x} {y} {z}")?;
        }
        Ok(())
    }
}

impl ExportTarget for Tum {
    fn write(&mut self, taken: &ExportedFrameSet) -> io::Result<(bool, Option<String>)> {
        let arrived = taken.read.log_time;
        self.write_motion(&taken.frames, arrived)?;
        let color = match taken.frames.color() {
            Ok(color) => color,
            Err(error) => return Ok((false, Some(error.to_string()))),
        };
        let color = color.as_ref().and_then(LightImage::view);
        let depth = taken.frames.depth(self.depth_unit_meters);
        let pictures = [
            color.map(|color| (color.frame(), Picture::color(&color))),
            depth.map(|depth| (depth.frame(), Picture::depth_scaled(&depth, UNITS_PER_METER))),
        ];
        let mut lines = Vec::new();
        for (kind, picture) in pictures.into_iter().enumerate() {
            if let Some((frame, picture)) = picture {
                lines.push(self.write_picture(kind, frame.header().timestamp, arrived, &picture)?);
            }
        }
        if lines.len() == 2 {
            writeln!(self.both, "{}", lines.join(" "))?;
        }
        Ok((!lines.is_empty(), None))
    }

    fn finish(&mut self) -> io::Result<Option<String>> {
        Ok(self.note.take())
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
