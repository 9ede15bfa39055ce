//! The operations on pixels that `just bench-pixels` measures: a process that performs the requested ones.
//!
//! usage: pixels FOLDER
//!
//! The folder has images without headers: `WxH.yuyv`, `WxH.rgb8`, `WxH.z16`, and `WxH.jpeg`. A line of the standard input
//! requests an operation, a size and a number of calls, such as `yuyv-to-rgb8 848x480 20`. The answer is a line with the
//! microseconds of a call; the result of the last one is in the folder, as `WxH.OPERATION`.

use std::cell::RefCell;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use camrig_frame::{
    AlignDepth, ColorView, DepthView, Distortion, Extrinsics, Frame, FrameHeader, Intrinsics, PixelFormat,
    PointCloud, Stream, StreamInfo,
};
use camrig_image::{Colorizer, decode_jpeg, jpeg, small_depth_jpeg, small_jpeg, small_rgb8};

/// Metres in a depth unit, and the range of the colors of depth.
const UNIT_METERS: f32 = 0.001;
const RANGE_METERS: (f32, f32) = (0.3, 4.0);

/// The color sensor is this far to the right of depth, in metres.
const BASELINE_METERS: f32 = 0.015;

/// The quality of JPEGs, and the width of small pictures.
const QUALITY: u8 = 80;
const SMALL_WIDTH: u32 = 424;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// The images of one size.
struct Images {
    size: (u32, u32),
    yuyv: Vec<u8>,
    rgb8: Vec<u8>,
    z16: Vec<u8>,
    jpeg: Vec<u8>,
    cloud: PointCloud,
    colored: PointCloud,
    align: AlignDepth,
    colors: Colorizer,
    /// The result that is not bytes.
    meters: RefCell<Vec<[f32; 3]>>,
}

impl Images {
    fn read(folder: &Path, size: &str) -> Fallible<Self> {
        let file = |format: &str| std::fs::read(folder.join(format!("{size}.{format}")));
        let profile = format!("{size}@30").parse()?;
        let depth = StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, profile);
        let (width, height) = depth.payload.size().ok_or("depth has a size")?;
        let lens = Intrinsics {
            width,
            height,
            ppx: width as f32 / 2.0,
            ppy: height as f32 / 2.0,
            fx: width as f32 / 2.0,
            fy: width as f32 / 2.0,
            distortion: Distortion::None,
            coefficients: [0.0; 5],
        };
        let depth = StreamInfo { intrinsics: Some(lens), to_depth: Some(Extrinsics::IDENTITY), ..depth };
        let beside = Extrinsics { translation_meters: [BASELINE_METERS, 0.0, 0.0], ..Extrinsics::IDENTITY };
        let color = StreamInfo::image(Stream::COLOR, PixelFormat::Rgb8, profile);
        let color = StreamInfo { intrinsics: Some(lens), to_depth: Some(beside), ..color };
        Ok(Self {
            size: (width, height),
            yuyv: file("yuyv")?,
            rgb8: file("rgb8")?,
            z16: file("z16")?,
            jpeg: file("jpeg")?,
            cloud: PointCloud::new(&depth, None)?,
            colored: PointCloud::new(&depth, Some(&color))?,
            align: AlignDepth::new(&depth, &color)?,
            colors: Colorizer::new(RANGE_METERS.0, RANGE_METERS.1).ok_or("the range is empty")?,
            meters: RefCell::default(),
        })
    }

    /// Makes an operation once; where it writes into memory that it is given, into `result`.
    fn make(&self, operation: &str, mut result: Vec<u8>) -> Fallible<Vec<u8>> {
        let (width, height) = self.size;
        let header = |format| FrameHeader::image(Stream::COLOR, format, width, height);
        let (yuyv, rgb8) = (header(PixelFormat::Yuyv), header(PixelFormat::Rgb8));
        let (yuyv, rgb8) = (Frame::new(&yuyv, &self.yuyv)?, Frame::new(&rgb8, &self.rgb8)?);
        let yuyv = ColorView::new(yuyv).ok_or("yuyv is light")?;
        let depth = FrameHeader::image(Stream::DEPTH, PixelFormat::Z16, width, height);
        let depth =
            DepthView::new(Frame::new(&depth, &self.z16)?, UNIT_METERS, None).ok_or("z16 is depth")?;
        match operation {
            "yuyv-to-rgb8" => return Ok(yuyv.to_rgb8()),
            "yuyv-to-rgb8-by-pixel" => {
                result.clear();
                let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
                result.extend(places.filter_map(|(x, y)| yuyv.rgb(x, y)).flatten());
            }
            "jpeg" => return Ok(jpeg(rgb8, QUALITY).ok_or("rgb8 is light")??),
            "decode-jpeg" => {
                result.resize(self.rgb8.len(), 0);
                decode_jpeg(&self.jpeg, self.size, PixelFormat::Rgb8, &mut result)?;
            }
            "small-jpeg" => {
                result.clear();
                small_jpeg(rgb8, SMALL_WIDTH, QUALITY, &mut result)?;
            }
            "small-depth-jpeg" => {
                result.clear();
                small_depth_jpeg(&depth, &self.colors, SMALL_WIDTH, QUALITY, &mut result)?;
            }
            "depth-to-colors" => return Ok(self.colors.to_rgb8(&depth)),
            "depth-to-metres" => drop(std::hint::black_box(depth.to_meters())),
            "depth-to-points" => {
                result.resize(self.cloud.len() * camrig_frame::POINT_BYTES as usize, 0);
                self.cloud.write(&depth, None, &mut result)?;
            }
            "depth-to-positions" => {
                let mut meters = self.meters.borrow_mut();
                meters.resize(self.cloud.len(), [0.0; 3]);
                self.cloud.write_meters(&depth, &mut meters)?;
            }
            "depth-to-colored-points" => {
                result.resize(self.colored.len() * camrig_frame::POINT_BYTES as usize, 0);
                self.colored.write(&depth, ColorView::new(rgb8).as_ref(), &mut result)?;
            }
            "depth-to-color" => return Ok(self.align.align(&depth)?),
            "color-to-depth" => {
                return Ok(self.align.align_color(&depth, &ColorView::new(rgb8).ok_or("rgb8 is light")?)?);
            }
            "half-size" => return Ok(small_rgb8(&ColorView::new(rgb8).ok_or("rgb8 is light")?, 2)),
            "sum" => {
                result.clear();
                result.extend(rgb8.sum().to_le_bytes());
            }
            _ => return Err(format!("`{operation}` is unknown").into()),
        }
        Ok(result)
    }
}

fn main() -> Fallible<()> {
    let folder = std::env::args_os().nth(1).ok_or("usage: pixels FOLDER")?;
    let folder = Path::new(&folder);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let [operation, size, calls] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err("an operation, a size and a number of calls are expected".into());
        };
        let (images, calls) = (Images::read(folder, size)?, calls.parse::<u32>()?.max(1));
        let mut result = images.make(operation, Vec::new())?;
        let began = Instant::now();
        for _ in 0..calls {
            result = images.make(operation, result)?;
        }
        let micros = began.elapsed().as_secs_f64() * 1e6 / f64::from(calls);
        let meters = images.meters.take();
        result.extend(meters.as_flattened().iter().copied().flat_map(f32::to_le_bytes));
        std::fs::write(folder.join(format!("{size}.{operation}")), result)?;
        writeln!(std::io::stdout(), "{micros:.1}")?;
    }
    Ok(())
}
