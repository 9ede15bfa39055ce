//! `recording export`: frames as image files, for programs that know no recordings.
//!
//! A folder for each camera, with `camera.json`, which is calibration and depth unit, `framesets.jsonl`,
//! which has a line for each frameset, and a folder for each stream, whose files are named by the frameset's
//! number. Motion is in CSV files, whatever the format of images is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use camrig::frame::{
    CameraInfo, ColorView, DepthView, Frame, Intrinsics, MotionView, PixelFormat, PointCloud, PointsView,
    Stream,
};
use camrig::{encode_csv, encode_ply};
use png::{BitDepth, ColorType};

use super::{CommandError, bar, counted, size_bytes};
use crate::read::{
    ReadFrameSet, RecordedCamera, Recording, framesets, image_data, shown_header, write_pixels,
};

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// A recording
    file: PathBuf,
    /// The folder to write into
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// How frames are written
    #[arg(long, value_name = "FORMAT", default_value = "png")]
    format: Format,
    /// Only this camera; may be given again
    #[arg(long, value_name = "NAME")]
    camera: Vec<String>,
    /// Only every N-th frameset of each camera
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// 8 bits a channel; depth with 16 bits, in its own unit
    Png,
    /// Arrays of `NumPy`, as they would be read from PNG
    Npy,
    /// Points, colored where color is known, instead of images
    Ply,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Npy => "npy",
            Self::Ply => "ply",
        }
    }
}

pub(super) fn export(args: &ExportArgs) -> Result<String, CommandError> {
    let looking = bar(size_bytes(&args.file), "reading");
    let recording = Recording::open(&args.file, &|at| looking.set_position(at))?;
    looking.finish_and_clear();
    for name in &args.camera {
        recording.camera(name)?;
    }
    let fail = |error: io::Error| {
        CommandError::Create(format!("cannot write into `{}`: {error}", args.output.display()))
    };
    let wanted = |camera: &&RecordedCamera| args.camera.is_empty() || args.camera.contains(&camera.name);
    let mut folders = BTreeMap::new();
    for camera in recording.cameras().iter().filter(wanted) {
        folders.insert(&camera.name, CameraFolder::make(&args.output, camera, args).map_err(fail)?);
    }
    let bar = bar(recording.size_bytes(), "writing");
    let mut problems = Vec::new();
    for chunk in &recording.index().chunks {
        bar.set_position(chunk.offset);
        let cameras = recording.cameras().iter().filter(|camera| camera.is_in(chunk));
        for camera in cameras {
            let Some(folder) = folders.get_mut(&camera.name) else { continue };
            let found = match recording.read_chunk(chunk) {
                Ok(records) => framesets(camera, &records),
                Err(what) => vec![Err(what)],
            };
            for frameset in found {
                match frameset.and_then(|frameset| Shown::new(&frameset).map(|shown| (frameset, shown))) {
                    Ok((frameset, shown)) => folder.write(&frameset, &shown).map_err(fail)?,
                    Err(what) => problems.push(format!("`{}`: {what}", camera.name)),
                }
            }
        }
    }
    bar.finish_and_clear();
    let mut text = String::new();
    for (name, folder) in folders {
        let CameraFolder { path, written, .. } = folder.finish().map_err(fail)?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {} in {}", counted(written, "frameset"), path.display());
    }
    if problems.is_empty() { Ok(text) } else { Err(CommandError::Damaged { text, problems }) }
}

/// The decoded frames of a frameset.
struct Shown(Vec<(camrig::frame::FrameHeader, Vec<u8>)>);

impl Shown {
    fn new(frameset: &ReadFrameSet) -> Result<Self, String> {
        let headers: Vec<_> = frameset.record.frames.iter().map(shown_header).collect();
        // The sizes are what a file says.
        camrig::frame::Layout::of(&headers).map_err(|error| error.to_string())?;
        let frames = frameset.record.frames.iter().zip(&frameset.images).zip(headers);
        let frames = frames.map(|((frame, message), header)| {
            let mut pixels = vec![0; header.size_bytes() as usize];
            write_pixels(frame, &image_data(frame, message.clone())?, &mut pixels)?;
            Ok((header, pixels))
        });
        frames.collect::<Result<_, String>>().map(Self)
    }
}

impl Shown {
    /// The frameset's points as a file: those that were recorded, or made from its depth. None without either.
    fn ply(
        &self,
        cloud: &Result<PointCloud, String>,
        depth_unit_meters: f32,
    ) -> Result<Option<Vec<u8>>, String> {
        let frame = |stream| {
            let found = self.0.iter().find(|(header, _)| header.stream == stream);
            found.map(|(header, pixels)| Frame::new(header, pixels))
        };
        let Some(frame_of_depth) = frame(Stream::Depth) else { return Ok(None) };
        if let Some(points) = PointsView::new(frame_of_depth) {
            return Ok(Some(encode_ply(&points)));
        }
        let Some(depth) = DepthView::new(frame_of_depth, depth_unit_meters, None) else { return Ok(None) };
        let cloud = cloud.as_ref().map_err(String::clone)?;
        let header = PointCloud::header(frame_of_depth.header());
        let mut points = vec![0; header.size_bytes() as usize];
        let color = frame(Stream::Color).and_then(ColorView::new);
        cloud.write(&depth, color.as_ref(), &mut points).map_err(|error| error.to_string())?;
        Ok(PointsView::new(Frame::new(&header, &points)).map(|points| encode_ply(&points)))
    }
}

/// What makes points of a camera's depth.
fn point_cloud(info: &CameraInfo) -> Result<PointCloud, String> {
    let depth = info.stream(Stream::Depth).ok_or("the camera has no depth")?;
    // What a file says is not trusted with an amount of memory.
    let fits =
        |lens: &Intrinsics| (lens.width, lens.height) == (depth.profile.width(), depth.profile.height());
    if !depth.intrinsics.as_ref().is_some_and(fits) {
        return Err("the calibration of depth is not known, or of another size".to_owned());
    }
    let color =
        info.stream(Stream::Color).filter(|color| color.intrinsics.is_some() && color.to_depth.is_some());
    PointCloud::new(depth, color).map_err(|error| error.to_string())
}

/// Where the frames of a camera go.
struct CameraFolder {
    path: PathBuf,
    list: BufWriter<File>,
    format: Format,
    depth_unit_meters: f32,
    /// What makes points of depth; none where it is not asked for, and why it cannot be where it is.
    points: Option<Result<PointCloud, String>>,
    every: u64,
    seen: u64,
    written: u64,
}

impl CameraFolder {
    fn make(output: &Path, camera: &RecordedCamera, args: &ExportArgs) -> io::Result<Self> {
        // A name comes from a file, and is not trusted with the choice of a folder.
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if !camera.name.split('/').all(plain) {
            return Err(io::Error::other(format!("`{}` is not the name of a folder", camera.name)));
        }
        let path = output.join(&camera.name);
        fs::create_dir_all(&path)?;
        let info = File::create(path.join("camera.json"))?;
        serde_json::to_writer_pretty(info, &camera.info)?;
        let list = BufWriter::new(File::create(path.join("framesets.jsonl"))?);
        let points = (args.format == Format::Ply).then(|| point_cloud(&camera.info));
        let depth_unit_meters = camera.info.depth_unit_meters;
        let (format, every) = (args.format, args.every);
        Ok(Self { path, list, format, depth_unit_meters, points, every, seen: 0, written: 0 })
    }

    fn write(&mut self, frameset: &ReadFrameSet, shown: &Shown) -> io::Result<()> {
        let wanted = self.seen.is_multiple_of(self.every);
        self.seen += 1;
        if !wanted {
            return Ok(());
        }
        let write = |folder: &str, extension: &str, bytes: Vec<u8>| {
            let folder = self.path.join(folder);
            fs::create_dir_all(&folder)?;
            let name = format!("{:06}.{}", frameset.record.sequence, extension);
            fs::write(folder.join(name), bytes)
        };
        let extension = self.format.extension();
        if let Some(points) = &self.points {
            if let Some(ply) = shown.ply(points, self.depth_unit_meters).map_err(io::Error::other)? {
                write("points", extension, ply)?;
            }
        } else {
            for (header, pixels) in &shown.0 {
                let Some(image) = Image::new(&Frame::new(header, pixels)) else { continue };
                let bytes = if self.format == Format::Png { image.png()? } else { image.npy() };
                write(header.stream.name(), extension, bytes)?;
            }
        }
        for (header, pixels) in &shown.0 {
            if let Some(motion) = MotionView::new(Frame::new(header, pixels)) {
                write(header.stream.name(), "csv", encode_csv(&motion))?;
            }
        }
        serde_json::to_writer(&mut self.list, &frameset.record)?;
        writeln!(self.list)?;
        self.written += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Self> {
        self.list.flush()?;
        Ok(self)
    }
}

/// A frame as files show it: gray, RGB, or depth units.
struct Image {
    width: u32,
    height: u32,
    format: PixelFormat,
    /// Rows without padding; depth with its low byte first.
    pixels: Vec<u8>,
}

impl Image {
    /// None for points and for motion, which are no images.
    fn new(frame: &Frame<'_>) -> Option<Self> {
        let (width, height) = (frame.width(), frame.height());
        let rows = || frame.rows().flatten().copied().collect();
        let (format, pixels) = match (frame.header().format, ColorView::new(*frame)) {
            (PixelFormat::Xyzrgb | PixelFormat::Motion, _) => return None,
            (PixelFormat::Z16, _) => (PixelFormat::Z16, rows()),
            (PixelFormat::Rgb8 | PixelFormat::Bgr8 | PixelFormat::Yuyv, Some(color)) => {
                (PixelFormat::Rgb8, color.to_rgb8())
            }
            _ => (PixelFormat::Y8, rows()),
        };
        Some(Self { width, height, format, pixels })
    }

    fn png(mut self) -> io::Result<Vec<u8>> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        let (color, depth) = match self.format {
            PixelFormat::Z16 => (ColorType::Grayscale, BitDepth::Sixteen),
            PixelFormat::Y8 => (ColorType::Grayscale, BitDepth::Eight),
            _ => (ColorType::Rgb, BitDepth::Eight),
        };
        if self.format == PixelFormat::Z16 {
            // PNG stores the high byte first.
            self.pixels.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
        }
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(file)
    }

    /// The format of `NumPy`, version 1.0: a magic, the length of a header that ends at a multiple of 64, the
    /// array.
    fn npy(&self) -> Vec<u8> {
        let (width, height) = (self.width, self.height);
        let (kind, shape) = match self.format {
            PixelFormat::Z16 => ("<u2", format!("({height}, {width})")),
            PixelFormat::Y8 => ("|u1", format!("({height}, {width})")),
            _ => ("|u1", format!("({height}, {width}, 3)")),
        };
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        let padding = (header.len() + 11).next_multiple_of(64) - (header.len() + 11);
        let length = (header.len() + padding + 1) as u16;
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend(length.to_le_bytes());
        file.extend(header.bytes().chain(std::iter::repeat_n(b' ', padding)).chain([b'\n']));
        file.extend(&self.pixels);
        file
    }
}
