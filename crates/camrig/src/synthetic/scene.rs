//! The pixels of a synthetic camera: a pure function of the camera and the frame's number.
//!
//! The driver renders directly into slots, and `verify` renders again to compare, with nothing but the data in
//! framesets. The static background is rendered once; for each frame it is copied and the bodies are painted over it.
//! The only time here is the frame's number, and injected faults have no effect.

use camrig_frame::{
    CameraInfo, Format, Frame, FrameHeader, MJPEG, Metadata, PixelFormat, Stream, StreamInfo,
};

use super::controls::Appearance;
use super::model::Model;
use super::world::{BODIES, Body, Lens, World, shade, unit};
use super::{DRIVER, hash_bytes, mix};

/// Bits of the code in light images: the lower 32 bits of the frame's number, then of the seed.
const CODE_BITS: u32 = 64;

/// The quality of JPEG images, about that of a camera. Recordings hold images of this quality, which `verify` compares.
const JPEG_QUALITY: u8 = 90;

/// The specific force on a camera at rest, in metres per second squared.
const GRAVITY: f64 = 9.80665;

/// Maximum noise of samples of motion, in metres per second squared and in radians per second.
const ACCEL_NOISE: f64 = 0.05;
const GYRO_NOISE: f64 = 0.005;

/// The scene of a synthetic camera.
pub(crate) struct Scene {
    seed: u64,
    world: World,
    frames_per_second: u32,
    /// Depth units in one length unit of the world.
    units_per_length: f64,
    #[cfg(test)]
    world_scale: f64,
    views: Vec<View>,
}

/// The scene through the lens of one stream.
struct View {
    stream: Stream,
    /// The format of the pixels; RGB8 of those that are encoded as a JPEG.
    format: PixelFormat,
    is_encoded: bool,
    lens: Lens,
    /// The image without bodies.
    background: Vec<u8>,
    /// The pixels of each body; empty for depth, which has no brightness.
    ramps: Vec<Ramp>,
}

/// The pixel of a body for each brightness, in even and in odd columns, which differ in YUYV.
type Ramp = [[[u8; 4]; 2]; 256];

impl Scene {
    /// Returns the scene of a camera; `None` if `info` is not of a synthetic camera.
    pub(crate) fn of(info: &CameraInfo) -> Option<Self> {
        let model = Model::named(&info.model).filter(|_| info.driver == DRIVER)?;
        let same_unit = model.depth_unit_meters().to_bits() == info.depth_unit_meters.to_bits();
        // Streams of other names were made of the camera's by a processor.
        let own = info.streams.iter().filter(|info| Model::shows(info.stream)).copied();
        let own: Vec<_> = own.collect();
        (same_unit && own.iter().all(|stream| model.declares(stream)))
            .then(|| Self::new(model, &info.serial, &own))
    }

    pub(super) fn new(model: Model, serial: &str, streams: &[StreamInfo]) -> Self {
        let seed = Self::seed(serial);
        let scale = model.world_scale();
        let mut scene = Self {
            seed,
            world: World::new(seed),
            frames_per_second: streams.first().map_or(1, |info| info.frames_per_second),
            units_per_length: scale / f64::from(model.depth_unit_meters()),
            #[cfg(test)]
            world_scale: scale,
            views: Vec::new(),
        };
        scene.views = streams.iter().filter_map(|info| scene.view(info)).collect();
        scene
    }

    /// Returns the seed of the camera with this serial number.
    pub(super) fn seed(serial: &str) -> u64 {
        hash_bytes(serial.as_bytes())
    }

    /// Writes the content of frame `number` of `stream` with this metadata to `content`: its pixels, or its JPEG.
    ///
    /// # Panics
    /// If the camera has no such stream of images.
    pub(crate) fn write(&self, stream: Stream, number: u64, metadata: &Metadata, content: &mut Vec<u8>) {
        let view = self.view_of(stream);
        if view.is_encoded {
            *content = self.encode(stream, number, metadata);
        } else {
            content.resize(view.background.len(), 0);
            self.render(stream, number, metadata, content);
        }
    }

    /// Renders frame `number` of `stream` as a JPEG. The encoder has no state: the same frame has the same bytes.
    ///
    /// # Panics
    /// If the camera has no such stream of images.
    pub(super) fn encode(&self, stream: Stream, number: u64, metadata: &Metadata) -> Vec<u8> {
        let view = self.view_of(stream);
        let mut pixels = vec![0; view.background.len()];
        self.render(stream, number, metadata, &mut pixels);
        let header = FrameHeader::image(stream, view.format, view.lens.width, view.lens.height);
        let frame = Frame::new(&header, &pixels).ok();
        let jpeg = frame.and_then(|frame| camrig_image::jpeg(frame, JPEG_QUALITY)).and_then(Result::ok);
        // The frame is an image of light of a size that JPEG has.
        jpeg.unwrap_or_default()
    }

    fn view_of(&self, stream: Stream) -> &View {
        let view = self.views.iter().find(|view| view.stream == stream);
        let Some(view) = view else { panic!("the scene has no {stream} stream") };
        view
    }

    /// Renders the pixels of frame `number` of `stream` with this metadata, rows without padding.
    ///
    /// # Panics
    /// If the camera has no such stream, or `pixels` is not exactly as long as its frames.
    pub(crate) fn render(&self, stream: Stream, number: u64, metadata: &Metadata, pixels: &mut [u8]) {
        let view = self.view_of(stream);
        pixels.copy_from_slice(&view.background);
        let bodies = self.bodies(number);
        match view.format.bytes_per_pixel() {
            _ if !view.format.is_light() => self.paint_depth(view, &bodies, pixels),
            1 => view.paint_light::<1>(&bodies, pixels),
            2 => view.paint_light::<2>(&bodies, pixels),
            3 => view.paint_light::<3>(&bodies, pixels),
            _ => view.paint_light::<4>(&bodies, pixels),
        }
        Appearance::of(metadata).apply(view.format, view.lens.width as usize, pixels);
        if view.format.is_light() {
            view.write_code(number << 32 | self.seed & u64::from(u32::MAX), pixels);
        }
    }

    /// Returns sample `number` of a stream of motion: a camera at rest, plus noise that differs for each sample.
    pub(crate) fn motion(&self, stream: Stream, number: u64) -> [f32; 3] {
        let (at_rest, noise) = match stream {
            Stream::ACCEL => (self.world.down().map(|part| -GRAVITY * part), ACCEL_NOISE),
            _ => ([0.0; 3], GYRO_NOISE),
        };
        // Recordings hold samples that were made with these numbers.
        let own: u64 = if stream == Stream::ACCEL { 4 } else { 5 };
        let seed = mix(self.seed ^ mix(own) ^ number);
        std::array::from_fn(|axis| {
            (at_rest[axis] + noise * (2.0 * unit(mix(seed ^ mix(axis as u64))) - 1.0)) as f32
        })
    }

    fn view(&self, info: &StreamInfo) -> Option<View> {
        let lens = Lens::new(info.intrinsics.as_ref()?);
        let (format, is_encoded) = match info.format() {
            Format::Image(format) => (format, false),
            Format::Encoded(MJPEG) => (PixelFormat::Rgb8, true),
            _ => return None,
        };
        let size = format.bytes_per_pixel() as usize;
        let mut background = vec![0; lens.width as usize * lens.height as usize * size];
        let places = (0..lens.height).flat_map(|y| (0..lens.width).map(move |x| (x, y)));
        for (pixel, (x, y)) in background.chunks_exact_mut(size).zip(places) {
            let sight = self.world.look(&lens, x, y, &[]);
            if format.is_light() {
                pixel.copy_from_slice(&format.encode_rgb(x & 1 == 1, sight.rgb)[..size]);
            } else {
                let units = sight.distance.map_or(0, |distance| self.units(distance));
                pixel.copy_from_slice(&units.to_le_bytes());
            }
        }
        let ramp = |body: Body| {
            let pixel = |level: usize, odd| format.encode_rgb(odd, shade(body.rgb, level as u8));
            std::array::from_fn(|level| [pixel(level, false), pixel(level, true)])
        };
        let ramps = if format.is_light() { self.bodies(0).map(ramp).into() } else { Vec::new() };
        Some(View { stream: info.stream, format, is_encoded, lens, background, ramps })
    }

    fn bodies(&self, number: u64) -> [Body; BODIES] {
        self.world.bodies(number as f64 / f64::from(self.frames_per_second))
    }

    fn paint_depth(&self, view: &View, bodies: &[Body; BODIES], pixels: &mut [u8]) {
        let width = view.lens.width as usize;
        for body in bodies {
            body.rasterise(&view.lens, |x, y, distance, _| {
                let at = (y as usize * width + x as usize) * 2;
                pixels[at..at + 2].copy_from_slice(&self.units(distance).to_le_bytes());
            });
        }
    }

    /// Returns the nearest whole number of depth units.
    fn units(&self, distance: f64) -> u16 {
        // Never 0, which means no depth: no object is so near. A cast of a float saturates at the far end.
        (distance * self.units_per_length + 0.5) as u16
    }
}

/// Exact values for tests, computed by ray casting and not read from any image.
#[cfg(test)]
impl Scene {
    /// Returns the object at column `x` and row `y` of frame `number` of `stream`.
    pub(super) fn sight(&self, stream: Stream, number: u64, x: u32, y: u32) -> super::world::Sight {
        let view = self.views.iter().find(|view| view.stream == stream).expect("the scene has the stream");
        self.world.look(&view.lens, x, y, &self.bodies(number))
    }

    /// Returns the depth at column `x` and row `y` of depth frame `number`, in metres; `None` in the sky.
    pub(crate) fn depth_meters_at(&self, number: u64, x: u32, y: u32) -> Option<f64> {
        self.sight(Stream::DEPTH, number, x, y).distance.map(|distance| distance * self.world_scale)
    }

    /// Returns the height of a point above the floor; both in metres.
    pub(super) fn meters_above_floor(&self, point: [f64; 3]) -> f64 {
        self.world.above_floor(point.map(|part| part / self.world_scale)) * self.world_scale
    }
}

impl Scene {
    /// Returns whether it has images of this stream.
    pub(crate) fn shows(&self, stream: Stream) -> bool {
        self.views.iter().any(|view| view.stream == stream)
    }
}

impl View {
    fn paint_light<const BYTES: usize>(&self, bodies: &[Body; BODIES], pixels: &mut [u8]) {
        let width = self.lens.width as usize;
        for (body, ramp) in bodies.iter().zip(&self.ramps) {
            body.rasterise(&self.lens, |x, y, _, level| {
                let at = (y as usize * width + x as usize) * BYTES;
                let pixel = &ramp[usize::from(level)][(x & 1) as usize];
                pixels[at..at + BYTES].copy_from_slice(&pixel[..BYTES]);
            });
        }
    }

    /// Writes a code into the top rows as black and white cells, highest bit first, so that a repeated or swapped frame
    /// is always detected. Images that are too small have no code.
    fn write_code(&self, code: u64, pixels: &mut [u8]) {
        let cell = self.code_cell();
        let size = self.format.bytes_per_pixel() as usize;
        let row_bytes = self.lens.width as usize * size;
        let Some((first, rest)) = pixels.split_at_mut_checked(row_bytes).filter(|_| cell > 0) else { return };
        let strip = CODE_BITS as usize * cell * size;
        for (x, pixel) in first[..strip].chunks_exact_mut(size).enumerate() {
            let white = code >> (CODE_BITS as usize - 1 - x / cell) & 1 == 1;
            pixel.copy_from_slice(
                &self.format.encode_rgb(x & 1 == 1, [if white { 255 } else { 0 }; 3])[..size],
            );
        }
        for row in rest.chunks_exact_mut(row_bytes).take(cell - 1) {
            row[..strip].copy_from_slice(&first[..strip]);
        }
    }

    /// Returns the side of a cell of the code in pixels; 0 if the image is too small for the code.
    fn code_cell(&self) -> usize {
        let cell = self.lens.width / CODE_BITS;
        if self.lens.height >= 2 * cell { cell as usize } else { 0 }
    }
}
