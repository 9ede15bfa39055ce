//! The cameras that can be emulated: one file a model, plain data.

mod d405;
mod d435;
mod d455;

/// Every model, by name.
pub const MODELS: [&Model; 3] = [&d405::D405, &d435::D435, &d455::D455];

/// The properties that distinguish one model from another.
#[derive(Debug)]
pub struct Model {
    /// Name on the command line, such as `d405`.
    pub name: &'static str,
    /// USB product string.
    pub product: &'static str,
    /// USB product id, below Intel's vendor id.
    pub product_id: u16,
    /// Video functions: each has a control interface and its streaming interfaces.
    pub functions: &'static [Function],
    /// Number of the HID interface with the motion sensors, if there are any.
    pub motion_interface: Option<u8>,
    /// Image sizes of every stream, in pixels.
    pub sizes: &'static [(u16, u16)],
    /// Frame rates of every stream, in frames per second, ascending.
    pub rates: &'static [u32],
    /// Whether the depth imagers have a global shutter.
    pub global_shutter: bool,
    /// Whether there is an infrared projector.
    pub projector: bool,
    /// Distance between the depth imagers, in millimetres.
    pub baseline_mm: f32,
    /// Depth unit after power-on, in micrometres.
    pub depth_unit_um: u32,
    /// Its firmware where no other one is given, the most significant part first.
    pub firmware: [u8; 4],
}

/// A video function: a VideoControl interface with its VideoStreaming interfaces.
#[derive(Debug)]
pub struct Function {
    /// Number of the control interface.
    pub control_interface: u8,
    /// Whether librealsense's extension unit belongs to it: that of the depth imagers.
    pub extension_unit: bool,
    /// The streams.
    pub streams: &'static [VideoStream],
}

/// A VideoStreaming interface with one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoStream {
    /// Number of the interface.
    pub interface: u8,
    /// Format of its frames.
    pub format: Format,
}

/// Pixel format of a stream, by its FOURCC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Depth, 16 bits a pixel.
    Z16,
    /// Infrared, 8 bits a pixel.
    Y8,
    /// Color, 16 bits a pixel.
    Yuy2,
}

impl Format {
    /// Returns the FOURCC as in the first four bytes of a UVC format GUID.
    pub const fn fourcc(self) -> [u8; 4] {
        match self {
            Self::Z16 => *b"Z16 ",
            Self::Y8 => *b"Y8  ",
            Self::Yuy2 => *b"YUY2",
        }
    }

    /// Bits of one pixel.
    pub const fn bits_per_pixel(self) -> u8 {
        match self {
            Self::Z16 | Self::Yuy2 => 16,
            Self::Y8 => 8,
        }
    }

    /// Bytes of one frame.
    pub const fn frame_bytes(self, (width, height): (u16, u16)) -> u32 {
        width as u32 * height as u32 * self.bits_per_pixel() as u32 / 8
    }
}

impl Model {
    /// Returns the model of this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        MODELS.into_iter().find(|model| model.name == name)
    }

    /// Returns every stream of every function.
    pub fn streams(&self) -> impl Iterator<Item = VideoStream> + '_ {
        self.functions.iter().flat_map(|function| function.streams).copied()
    }

    /// Rates that an image of this size has: 1280x720 is limited to 30 frames per second.
    pub fn rates_of(&self, (width, _): (u16, u16)) -> impl DoubleEndedIterator<Item = u32> + '_ {
        let limit = if width >= 1280 { 30 } else { u32::MAX };
        self.rates.iter().copied().filter(move |&rate| rate <= limit)
    }
}

/// Sizes that all D400 models here have.
const D400_SIZES: &[(u16, u16)] = &[(424, 240), (480, 270), (640, 480), (848, 480), (1280, 720)];

/// Rates that all D400 models here have.
const D400_RATES: &[u32] = &[5, 15, 30, 60, 90];
