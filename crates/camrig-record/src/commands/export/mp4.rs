//! A video for each stream of images of a camera, made by the system's ffmpeg, and a list with the times of its frames.
//! Depth is shown in colors.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use camrig::Colorizer;
use camrig::files::NewFile;
use camrig::frame::{CameraInfo, DepthView, Frame, Stream};
use camrig_image::LightImage;

use super::{ExportTarget, ExportedFrameSet, folder};

/// The program that encodes videos.
const FFMPEG: &str = "ffmpeg";

/// The range of depth in colors, in metres.
const DEPTH_METERS: [f32; 2] = [0.2, 5.0];

/// Maximum length of an error of ffmpeg that is printed.
const MAX_ERROR_BYTES: u64 = 4096;

/// Even sizes, which the usual format of pixels in videos needs.
const EVEN: &str = "pad=ceil(iw/2)*2:ceil(ih/2)*2";

/// The videos of a camera.
pub(super) struct Videos {
    path: PathBuf,
    info: CameraInfo,
    every: u64,
    colors: Option<Colorizer>,
    of_streams: BTreeMap<Stream, Video>,
    /// The streams that are left out, each of which is reported once.
    left_out: HashSet<Stream>,
}

impl Videos {
    pub(super) fn create(path: &Path, info: &CameraInfo, every: u64) -> io::Result<Self> {
        folder::create(&path.join("camera.json"), &serde_json::to_vec_pretty(info)?)?;
        let colors = Colorizer::new(DEPTH_METERS[0], DEPTH_METERS[1]);
        let (path, info, of_streams) = (path.to_owned(), info.clone(), BTreeMap::new());
        Ok(Self { path, info, every, colors, of_streams, left_out: HashSet::new() })
    }

    /// Returns a frame as red, green and blue; `None` if it is not an image.
    fn rgb8(&self, frame: Frame<'_>) -> Result<Option<Vec<u8>>, String> {
        if let Some(depth) = DepthView::new(frame, self.info.depth_unit_meters, None) {
            return Ok(self.colors.as_ref().map(|colors| colors.to_rgb8(&depth)));
        }
        if !LightImage::is_in(frame.payload().format()) {
            return Ok(None);
        }
        let image = LightImage::new(frame).map_err(|error| error.to_string())?;
        Ok(image.as_ref().and_then(LightImage::view).map(|view| view.to_rgb8()))
    }

    /// Writes a frame. Returns whether it is in a video, and a problem if it is left out.
    fn write_frame(
        &mut self,
        frame: Frame<'_>,
        taken: &ExportedFrameSet,
    ) -> io::Result<(bool, Option<String>)> {
        let stream = frame.stream();
        let rgb = match self.rgb8(frame) {
            Ok(Some(rgb)) => rgb,
            Ok(None) => return Ok((false, None)),
            Err(error) => return Ok((false, self.told_once(stream, &error))),
        };
        let Some((width, height)) = frame.payload().size() else { return Ok((false, None)) };
        if !self.of_streams.contains_key(&stream) {
            let rate = self.info.stream(stream).map_or(1, |info| info.frames_per_second).max(1);
            let path = self.path.join(format!("{stream}.mp4"));
            self.of_streams.insert(stream, Video::begin(&path, (width, height), rate, self.every)?);
        }
        let Some(video) = self.of_streams.get_mut(&stream) else { return Ok((false, None)) };
        if video.size != (width, height) {
            return Ok((false, self.told_once(stream, "it has another size than the first one")));
        }
        video.write(frame, &rgb, taken)?;
        Ok((true, None))
    }

    fn told_once(&mut self, stream: Stream, problem: &str) -> Option<String> {
        self.left_out.insert(stream).then(|| format!("a frame of {stream} is left out: {problem}"))
    }
}

impl ExportTarget for Videos {
    fn write(&mut self, taken: &ExportedFrameSet) -> io::Result<(bool, Option<String>)> {
        let (mut is_written, mut problem) = (false, None);
        for frame in taken.frames.frames() {
            let (is_in_video, left_out) = self.write_frame(frame, taken)?;
            is_written |= is_in_video;
            problem = problem.or(left_out);
        }
        Ok((is_written, problem))
    }

    fn finish(&mut self) -> io::Result<Option<String>> {
        for (_, video) in std::mem::take(&mut self.of_streams) {
            video.finish()?;
        }
        Ok(None)
    }
}

/// A video that ffmpeg encodes.
struct Video {
    size: (u32, u32),
    encoder: Child,
    path: PathBuf,
    file: NewFile,
    /// The errors that the encoder prints.
    errors: File,
    list: File,
    frames: u64,
}

impl Video {
    /// Starts the encoder of a video of this many images per second, of which `every` n-th one is written.
    fn begin(path: &Path, size: (u32, u32), rate: u32, every: u64) -> io::Result<Self> {
        let list = path.with_extension("csv");
        let list = folder::list(&list, "frame,sequence,number,clock,timestamp_nanos,arrived_nanos\n")?;
        let file = NewFile::creating(path).map_err(|error| folder::named(path, &error))?;
        let errors = tempfile::tempfile()?;
        let encoder = ffmpeg()
            .args(["-hide_banner", "-loglevel", "error", "-y", "-f", "rawvideo", "-pixel_format", "rgb24"])
            .args([
                "-video_size",
                &format!("{}x{}", size.0, size.1),
                "-framerate",
                &format!("{rate}/{every}"),
            ])
            .args(["-i", "pipe:0", "-vf", EVEN, "-pix_fmt", "yuv420p", "-f", "mp4"])
            .arg(file.beside())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors.try_clone()?)
            .spawn()
            .map_err(|error| no_ffmpeg(&error))?;
        Ok(Self { size, encoder, path: path.to_owned(), file, errors, list, frames: 0 })
    }

    fn write(&mut self, frame: Frame<'_>, rgb: &[u8], taken: &ExportedFrameSet) -> io::Result<()> {
        let written = self.encoder.stdin.as_mut().map_or(Ok(()), |pipe| pipe.write_all(rgb));
        if written.is_err() {
            let _ = self.encoder.wait();
            return Err(self.failure());
        }
        let header = frame.header();
        let (clock, nanos) = (header.timestamp.clock, header.timestamp.nanos);
        let (sequence, arrived) = (taken.read.record.sequence, taken.read.log_time);
        writeln!(self.list, "{},{sequence},{},{clock},{nanos},{arrived}", self.frames, header.number)?;
        self.frames += 1;
        Ok(())
    }

    /// Ends the video, which gets its name.
    fn finish(mut self) -> io::Result<()> {
        drop(self.encoder.stdin.take());
        if !self.encoder.wait()?.success() {
            return Err(self.failure());
        }
        self.file.keep().map_err(|error| folder::named(&self.path, &error))
    }

    /// Returns the text of ffmpeg about its failure.
    fn failure(&mut self) -> io::Error {
        let mut text = String::new();
        let read = self.errors.rewind().and_then(|()| {
            let mut bytes = Vec::new();
            (&self.errors).take(MAX_ERROR_BYTES).read_to_end(&mut bytes)?;
            text = String::from_utf8_lossy(&bytes).trim().escape_debug().to_string();
            Ok(())
        });
        let reason = if read.is_err() || text.is_empty() { "it says nothing" } else { &text };
        io::Error::other(format!("ffmpeg cannot make `{}`: {reason}", self.path.display()))
    }
}

/// Checks that the program exists.
///
/// # Errors
/// If it cannot be started.
pub(super) fn check() -> io::Result<()> {
    ffmpeg().arg("-version").stdout(Stdio::null()).status().map(drop).map_err(|error| no_ffmpeg(&error))
}

/// Returns the program, in a process group of its own: Ctrl-C ends a video after its last complete frame.
fn ffmpeg() -> Command {
    let mut command = Command::new(FFMPEG);
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// Returns the error of a program that cannot be started.
fn no_ffmpeg(error: &io::Error) -> io::Error {
    if error.kind() == ErrorKind::NotFound {
        return io::Error::new(
            error.kind(),
            "`--format mp4` needs the program ffmpeg, which is not in PATH; Debian and Ubuntu have it in the package `ffmpeg`",
        );
    }
    io::Error::new(error.kind(), format!("ffmpeg cannot be started: {error}"))
}
