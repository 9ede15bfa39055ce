//! Codecs of frames that cross hosts: pure functions over bytes.
//!
//! A frame is decoded into memory whose size its header declares: an input that needs more is an error.

use std::fmt;
use std::str::FromStr;

use camrig::hosts::StreamNeed;
use camrig_frame::{Frame, FrameHeader, Payload, PixelFormat, Role, StreamInfo};
use camrig_image::{decode_jpeg, jpeg};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zstd::bulk::{Compressor, Decompressor};

/// Level of zstd: the fastest of its ordinary ones.
const ZSTD_LEVEL: i32 = 1;

/// The formats of images that are coded as JPEG where that is their codec; others as `delta`.
const JPEG_FORMATS: [PixelFormat; 3] = [PixelFormat::Rgb8, PixelFormat::Bgr8, PixelFormat::Y8];

/// Quality of JPEGs where the codec follows from the link's rate.
const DEFAULT_QUALITY: u8 = 85;

/// From this rate on frames cross as `raw`, in Mb/s: twice that of six RGB-D cameras of 848x480 at 30 framesets per second.
const RAW_MBPS: u32 = 5000;

/// The assumed rate of a link without `rate_megabits`, in Mb/s.
pub const DEFAULT_MBPS: u32 = 1000;

/// Estimated size of depth as [`WireCodec::Delta`], in percent: 14 for frames of a D435.
const DELTA_DEPTH_PERCENT: u64 = 16;

/// Estimated size of depth as [`WireCodec::Zstd`], in percent.
const ZSTD_DEPTH_PERCENT: u64 = 45;

/// Estimated size of anything else as [`WireCodec::Delta`], in percent.
const DELTA_PERCENT: u64 = 60;

/// Estimated size of anything else as [`WireCodec::Zstd`], in percent.
const ZSTD_PERCENT: u64 = 80;

/// Returns the estimated size of 1000 pixels as JPEG of this quality, in bits.
fn jpeg_bits_per_1000(quality: u8) -> u64 {
    match quality {
        0..=75 => 1000,
        76..=85 => 1400,
        86..=90 => 2000,
        91..=95 => 3200,
        _ => 6000,
    }
}

/// Size of an element whose bytes are split into planes, in bytes.
const WORD_BYTES: usize = 2;

/// The form in which the frames of a stream cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum WireCodec {
    /// As they are.
    Raw,
    /// Compressed by zstd, without loss.
    Zstd,
    /// Differences of pixels, then zstd. Without loss. For images; other frames by zstd alone. Pixels of 16 bits are replaced by
    /// their place among the values of the frame, of which depth has few, and compared with the pixel above; others with the
    /// previous one in their row.
    Delta,
    /// JPEG of this quality, 1 to 100. For color and infrared images with 8 bits per channel; other frames as
    /// [`WireCodec::Delta`].
    Jpeg(u8),
}

/// A text that names no codec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a codec; expected one of: `raw`, `zstd`, `delta`, `jpeg:1` to `jpeg:100`")]
pub struct ParseCodecError(String);

/// Maximum length of a text that an error repeats, in characters.
const SHOWN_CHARS: usize = 40;

impl FromStr for WireCodec {
    type Err = ParseCodecError;

    fn from_str(text: &str) -> Result<Self, ParseCodecError> {
        let quality = |digits: &str| digits.parse().ok().filter(|quality| (1..=100).contains(quality));
        let codec = match text {
            "raw" => Some(Self::Raw),
            "zstd" => Some(Self::Zstd),
            "delta" => Some(Self::Delta),
            _ => text.strip_prefix("jpeg:").and_then(quality).map(Self::Jpeg),
        };
        codec.ok_or_else(|| ParseCodecError(text.chars().take(SHOWN_CHARS).collect()))
    }
}

impl fmt::Display for WireCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => f.write_str("raw"),
            Self::Zstd => f.write_str("zstd"),
            Self::Delta => f.write_str("delta"),
            Self::Jpeg(quality) => write!(f, "jpeg:{quality}"),
        }
    }
}

impl TryFrom<String> for WireCodec {
    type Error = ParseCodecError;

    fn try_from(text: String) -> Result<Self, ParseCodecError> {
        text.parse()
    }
}

impl From<WireCodec> for String {
    fn from(codec: WireCodec) -> Self {
        codec.to_string()
    }
}

impl WireCodec {
    /// Returns the codec of a stream if the topology names none: `raw` on a link of at least 5 Gb/s; otherwise color and
    /// infrared images as JPEG, other images as `delta`, and the rest as `raw`.
    pub fn by_rate(stream: &StreamInfo, mbps: u32) -> Self {
        Self::of_payload(stream.role, &stream.payload, mbps)
    }

    /// As [`Self::by_rate`], of a camera's stream of which only this is known.
    pub fn of_need(need: &StreamNeed, mbps: u32) -> Self {
        match need.role {
            _ if mbps >= RAW_MBPS => Self::Raw,
            Role::Light => Self::Jpeg(DEFAULT_QUALITY),
            Role::Points => Self::Zstd,
            Role::Motion | Role::Other => Self::Raw,
            Role::Depth => Self::Delta,
        }
    }

    /// As [`Self::by_rate`], of a frame.
    pub fn of_payload(role: Role, payload: &Payload, mbps: u32) -> Self {
        match payload {
            Payload::Image { .. } if mbps >= RAW_MBPS => Self::Raw,
            Payload::Image { .. } if role == Role::Light => Self::Jpeg(DEFAULT_QUALITY),
            Payload::Image { .. } => Self::Delta,
            Payload::Points { .. } | Payload::Tensor { .. } if mbps < RAW_MBPS => Self::Zstd,
            _ => Self::Raw,
        }
    }

    /// Estimates the data rate of a stream in bits per second: less than a dark or noisy scene needs, more than most indoor
    /// scenes need.
    pub fn estimated_bits(self, need: &StreamNeed) -> u64 {
        let raw = need.bytes_per_second * 8;
        let percent = |percent: u64| raw * percent / 100;
        let is_jpeg = need.format.is_some_and(|format| JPEG_FORMATS.contains(&format));
        match (self, need.role) {
            (Self::Jpeg(quality), _) if is_jpeg => {
                need.pixels_per_second * jpeg_bits_per_1000(quality) / 1000
            }
            (Self::Delta | Self::Jpeg(_), Role::Depth) => percent(DELTA_DEPTH_PERCENT),
            (Self::Zstd, Role::Depth) => percent(ZSTD_DEPTH_PERCENT),
            (Self::Delta | Self::Jpeg(_), _) => percent(DELTA_PERCENT),
            (Self::Zstd, _) => percent(ZSTD_PERCENT),
            (Self::Raw, _) => raw,
        }
    }

    /// Returns whether decoded frames are equal to the original ones.
    pub fn is_lossless(self) -> bool {
        !matches!(self, Self::Jpeg(_))
    }

    /// Returns the codec that is used for frames of this payload instead of this one, which may not fit them.
    fn fitting(self, payload: &Payload) -> Self {
        match self {
            Self::Jpeg(_) if !fits_jpeg(payload) => Self::Delta.fitting(payload),
            Self::Delta if !matches!(payload, Payload::Image { .. }) => Self::Zstd,
            codec => codec,
        }
    }
}

/// The form in which a frame was encoded, as it is in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Coding {
    /// As it was.
    Raw = 0,
    /// By zstd.
    Zstd = 1,
    /// By differences and zstd.
    Delta = 2,
    /// As JPEG.
    Jpeg = 3,
}

impl Coding {
    /// Returns the form with this number, if there is one.
    pub fn of_number(number: u8) -> Option<Self> {
        [Self::Raw, Self::Zstd, Self::Delta, Self::Jpeg].into_iter().find(|coding| *coding as u8 == number)
    }
}

/// An encoded frame that cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// It decodes to another number of bytes.
    #[error("it does not decode to {0} bytes")]
    Size(usize),
    /// Its form does not fit its payload.
    #[error("a frame of {0} cannot be in this form")]
    Form(Payload),
    /// zstd refuses it.
    #[error("zstd: {0}")]
    Zstd(#[source] std::io::Error),
    /// It is not a JPEG of its size.
    #[error("JPEG: {0}")]
    Jpeg(#[source] camrig_image::DecodeError),
}

/// Encodes frames; keeps its memory between frames.
pub struct Encoder {
    zstd: Compressor<'static>,
    planes: Vec<u8>,
}

impl Encoder {
    /// Creates an encoder.
    ///
    /// # Errors
    /// If zstd has no memory.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: Compressor::new(ZSTD_LEVEL)?, planes: Vec::new() })
    }

    /// Encodes a frame by `codec`, or by a lossless one if that does not fit. Returns `None` if the frame should be sent as
    /// `raw`: because the codec says so, or because encoding would not make it smaller.
    pub fn encode(&mut self, codec: WireCodec, frame: Frame<'_>) -> Option<(Coding, Vec<u8>)> {
        let (payload, bytes) = (*frame.payload(), frame.bytes());
        let (coding, coded) = match codec.fitting(&payload) {
            WireCodec::Raw => return None,
            WireCodec::Zstd => (Coding::Zstd, self.zstd.compress(bytes).ok()?),
            WireCodec::Delta => {
                differences(&payload, bytes, &mut self.planes);
                (Coding::Delta, self.zstd.compress(&self.planes).ok()?)
            }
            WireCodec::Jpeg(quality) => (Coding::Jpeg, jpeg(frame, quality)?.ok()?),
        };
        (coded.len() < bytes.len()).then_some((coding, coded))
    }
}

/// Decodes frames; keeps its memory between frames.
pub struct Decoder {
    zstd: Decompressor<'static>,
    planes: Vec<u8>,
}

impl Decoder {
    /// Creates a decoder.
    ///
    /// # Errors
    /// If zstd has no memory.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: Decompressor::new()?, planes: Vec::new() })
    }

    /// Decodes a frame into `pixels`, which has the size that its header declares.
    ///
    /// # Errors
    /// If it is not a frame of this header in this form. The pixels are arbitrary then.
    pub fn decode(
        &mut self,
        coding: Coding,
        coded: &[u8],
        header: &FrameHeader,
        pixels: &mut [u8],
    ) -> Result<(), CodecError> {
        let payload = &header.payload;
        match coding {
            Coding::Raw if coded.len() == pixels.len() => pixels.copy_from_slice(coded),
            Coding::Raw => return Err(CodecError::Size(pixels.len())),
            Coding::Zstd => self.decompress(coded, pixels)?,
            Coding::Delta => {
                let Payload::Image { .. } = payload else { return Err(CodecError::Form(*payload)) };
                let mut planes = std::mem::take(&mut self.planes);
                planes.resize(differences_bytes(payload, pixels.len()), 0);
                let decompressed = self.decompress(coded, &mut planes);
                self.planes = planes;
                decompressed?;
                sums(payload, &self.planes, pixels);
            }
            Coding::Jpeg => from_jpeg(coded, payload, pixels)?,
        }
        Ok(())
    }

    fn decompress(&mut self, coded: &[u8], whole: &mut [u8]) -> Result<(), CodecError> {
        let size = self.zstd.decompress_to_buffer(coded, whole).map_err(CodecError::Zstd)?;
        if size == whole.len() { Ok(()) } else { Err(CodecError::Size(whole.len())) }
    }
}

fn fits_jpeg(payload: &Payload) -> bool {
    payload.pixel_format().is_some_and(|format| JPEG_FORMATS.contains(&format))
        && payload.row_bytes() == payload.stride_bytes()
}

fn from_jpeg(coded: &[u8], payload: &Payload, pixels: &mut [u8]) -> Result<(), CodecError> {
    let (Payload::Image { format, width, height, .. }, true) = (*payload, fits_jpeg(payload)) else {
        return Err(CodecError::Form(*payload));
    };
    decode_jpeg(coded, (width, height), format, pixels).map_err(CodecError::Jpeg)?;
    if format == PixelFormat::Bgr8 {
        pixels.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
    }
    Ok(())
}

/// The rows of an image for differences.
struct Rows {
    stride: usize,
    /// Bytes of a pixel.
    pixel: usize,
    /// Whether pixels are 16-bit numbers.
    wide: bool,
}

impl Rows {
    fn of(payload: &Payload) -> Self {
        let stride = payload.stride_bytes().unwrap_or(0).max(1) as usize;
        let format = payload.pixel_format();
        let numbers = [PixelFormat::Z16, PixelFormat::Y16];
        let wide =
            format.is_some_and(|format| numbers.contains(&format)) && stride.is_multiple_of(WORD_BYTES);
        Self { stride, pixel: format.map_or(1, PixelFormat::bytes_per_pixel).max(1) as usize, wide }
    }
}

/// Number of values that a 16-bit number can have.
const VALUES: usize = 1 << 16;

/// Size of the set of values of a frame, a bit for each, in bytes.
const SET_BYTES: usize = VALUES / 8;

/// Replaces each element by a difference. Of 16-bit numbers, [`wide_differences`]; of other pixels, the difference of each
/// byte from that of the pixel before it in its row.
fn differences(payload: &Payload, pixels: &[u8], planes: &mut Vec<u8>) {
    let rows = Rows::of(payload);
    if rows.wide {
        return wide_differences(&rows, pixels, planes);
    }
    planes.resize(pixels.len(), 0);
    for (row, line) in pixels.chunks(rows.stride).zip(planes.chunks_mut(rows.stride)) {
        let first = rows.pixel.min(row.len());
        line[..first].copy_from_slice(&row[..first]);
        let pairs = row[first..].iter().zip(row);
        line[first..].iter_mut().zip(pairs).for_each(|(to, (now, before))| *to = now.wrapping_sub(*before));
    }
}

/// Returns the size of what [`differences`] makes of an image, in bytes.
fn differences_bytes(payload: &Payload, pixels: usize) -> usize {
    if Rows::of(payload).wide { SET_BYTES + pixels } else { pixels }
}

/// The inverse of [`differences`], for images of the same size.
fn sums(payload: &Payload, planes: &[u8], pixels: &mut [u8]) {
    let rows = Rows::of(payload);
    if rows.wide {
        return wide_sums(&rows, planes, pixels);
    }
    for (row, line) in pixels.chunks_mut(rows.stride).zip(planes.chunks(rows.stride)) {
        row.copy_from_slice(line);
        for index in rows.pixel..row.len() {
            row[index] = row[index].wrapping_add(row[index - rows.pixel]);
        }
    }
}

/// Writes the set of the values of the pixels, then the low bytes of all [steps](step), then their high bytes.
///
/// Depth is computed from disparity, so a frame has few different values, which are far apart where they are large: their ranks
/// have smaller differences than they have themselves.
fn wide_differences(rows: &Rows, pixels: &[u8], planes: &mut Vec<u8>) {
    planes.clear();
    planes.resize(SET_BYTES + pixels.len(), 0);
    let (set, steps) = planes.split_at_mut(SET_BYTES);
    let mut ranks = vec![0_u16; VALUES];
    let numbers = || pixels.as_chunks().0.iter().map(|number| u16::from_le_bytes(*number));
    numbers().for_each(|number| ranks[usize::from(number)] = 1);
    // 0 has rank 0 in any frame.
    ranks[0] = 1;
    let mut next = 0_u16;
    for (value, rank) in ranks.iter_mut().enumerate().filter(|(_, rank)| **rank > 0) {
        set[value / 8] |= 1 << (value % 8);
        *rank = next;
        next = next.wrapping_add(1);
    }
    let columns = rows.stride / WORD_BYTES;
    let mut above = vec![0_u16; columns];
    let (low, high) = steps.split_at_mut(pixels.len() / WORD_BYTES);
    let places = low.chunks_mut(columns).zip(high.chunks_mut(columns));
    for (row, (low, high)) in pixels.chunks(rows.stride).zip(places) {
        let row = row.as_chunks().0.iter().zip(&mut above);
        for ((number, above), (low, high)) in row.zip(low.iter_mut().zip(high)) {
            let rank = ranks[usize::from(u16::from_le_bytes(*number))];
            [*low, *high] = step(rank, *above).to_le_bytes();
            *above = if rank == 0 { *above } else { rank };
        }
    }
}

/// The inverse of [`wide_differences`].
fn wide_sums(rows: &Rows, planes: &[u8], pixels: &mut [u8]) {
    let (set, steps) = planes.split_at(SET_BYTES.min(planes.len()));
    // A rank that no value has is one of a damaged frame.
    let mut values = vec![0_u16; VALUES];
    let is_in_set =
        |value: &u16| set.get(usize::from(*value) / 8).is_some_and(|byte| byte >> (value % 8) & 1 == 1);
    values.iter_mut().zip((0..=u16::MAX).filter(is_in_set)).for_each(|(place, value)| *place = value);
    let columns = rows.stride / WORD_BYTES;
    let mut above = vec![0_u16; columns];
    let (low, high) = steps.split_at(steps.len() / WORD_BYTES);
    let places = low.chunks(columns).zip(high.chunks(columns));
    for (row, (low, high)) in pixels.chunks_mut(rows.stride).zip(places) {
        let row = row.as_chunks_mut().0.iter_mut().zip(&mut above);
        for ((number, above), (low, high)) in row.zip(low.iter().zip(high)) {
            let rank = stepped(u16::from_le_bytes([*low, *high]), *above);
            *number = values[usize::from(rank)].to_le_bytes();
            *above = if rank == 0 { *above } else { rank };
        }
    }
}

/// Returns the step from the last rank above that is not 0: 0 for rank 0, which is a hole of depth; otherwise the difference as
/// a small number, with that for rank 0 left out.
fn step(rank: u16, above: u16) -> u16 {
    let (difference, of_hole) = (fold(rank.wrapping_sub(above)), fold(above.wrapping_neg()));
    match rank {
        0 => 0,
        _ => difference + u16::from(difference < of_hole),
    }
}

/// The inverse of [`step`].
fn stepped(step: u16, above: u16) -> u16 {
    let of_hole = fold(above.wrapping_neg());
    match step {
        0 => 0,
        _ => above.wrapping_add(unfold(step - u16::from(step <= of_hole))),
    }
}

/// Maps 0, -1, 1, -2, ... to 0, 1, 2, 3, ...
fn fold(difference: u16) -> u16 {
    (difference << 1) ^ (((difference as i16) >> 15) as u16)
}

fn unfold(number: u16) -> u16 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use camrig_frame::{DType, Shape, Stream, StreamProfile};
    use proptest::prelude::*;

    use super::*;

    fn image(format: PixelFormat, width: u32, height: u32, padding: u32) -> Payload {
        let stride_bytes = width * format.bytes_per_pixel() + padding;
        Payload::Image { format, width, height, stride_bytes }
    }

    fn header(payload: Payload) -> FrameHeader {
        FrameHeader::new(Stream::DEPTH, payload)
    }

    /// Encodes and decodes; returns the form, the encoded size, and the decoded frame.
    fn there_and_back(codec: WireCodec, payload: Payload, pixels: &[u8]) -> (Coding, usize, Vec<u8>) {
        let header = header(payload);
        let frame = Frame::new(&header, pixels).unwrap();
        let coded = Encoder::new().unwrap().encode(codec, frame);
        let (coding, coded) = coded.unwrap_or((Coding::Raw, pixels.to_vec()));
        let mut back = vec![0xaa; pixels.len()];
        Decoder::new().unwrap().decode(coding, &coded, &header, &mut back).unwrap();
        (coding, coded.len(), back)
    }

    fn payloads() -> impl Strategy<Value = Payload> {
        let images = (prop::sample::select(&PixelFormat::ALL[..]), 1..40_u32, 1..12_u32, 0..3_u32)
            .prop_map(|(format, width, height, padding)| image(format, width, height, padding.min(width)));
        let tensor = (1..60_u32).prop_map(|length| Payload::Tensor {
            dtype: DType::F32,
            shape: Shape::new(&[length, 3]).unwrap(),
        });
        prop_oneof![
            4 => images,
            1 => tensor,
            1 => (1..50_u32).prop_map(|samples| Payload::Motion { samples }),
            1 => (1..20_u32).prop_map(|width| Payload::Points { width, height: 3 }),
        ]
    }

    proptest! {
        #[test]
        fn every_frame_comes_back_as_it_was(payload in payloads(), step in 0..5_u8, noise in any::<u64>()) {
            let random = &mut fastrand::Rng::with_seed(noise);
            let mut value = 0_u8;
            let pixels: Vec<u8> = (0..payload.size_bytes())
                .map(|_| { value = value.wrapping_add(random.u8(0..=step)); value })
                .collect();
            for codec in [WireCodec::Raw, WireCodec::Zstd, WireCodec::Delta] {
                prop_assert_eq!(&there_and_back(codec, payload, &pixels).2, &pixels, "{}", codec);
            }
            let codec = WireCodec::Jpeg(80).fitting(&payload);
            if codec.is_lossless() {
                prop_assert_eq!(&there_and_back(WireCodec::Jpeg(80), payload, &pixels).2, &pixels);
            }
        }

        #[test]
        fn hostile_bytes_are_errors(
            payload in payloads(),
            coding in 0..4_u8,
            mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            begins in any::<bool>(),
        ) {
            if begins {
                // As a frame of zstd begins.
                bytes.splice(0..0, [0x28, 0xb5, 0x2f, 0xfd]);
            }
            let header = header(payload);
            let mut pixels = vec![0; payload.size_bytes() as usize];
            let coding = Coding::of_number(coding).unwrap();
            let read = Decoder::new().unwrap().decode(coding, &bytes, &header, &mut pixels);
            // As many bytes as the payload has are a raw one, whatever they are.
            prop_assert_eq!(read.is_ok(), coding == Coding::Raw && bytes.len() == pixels.len());
        }

        #[test]
        fn a_damaged_frame_is_an_error_or_of_its_size(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let payload = image(PixelFormat::Z16, 24, 20, 0);
            let header = header(payload);
            let pixels: Vec<u8> = (0..payload.size_bytes()).map(|at| (at / 7) as u8).collect();
            for codec in [WireCodec::Zstd, WireCodec::Delta] {
                let frame = Frame::new(&header, &pixels).unwrap();
                let (coding, mut coded) = Encoder::new().unwrap().encode(codec, frame).unwrap();
                let place = at.index(coded.len());
                coded[place] ^= 1 << bit;
                let mut back = vec![0; pixels.len()];
                let _ = Decoder::new().unwrap().decode(coding, &coded, &header, &mut back);
                coded.truncate(place);
                prop_assert!(Decoder::new().unwrap().decode(coding, &coded, &header, &mut back).is_err());
            }
        }
    }

    /// A slope of depth with holes and noise of some units.
    fn depth() -> (Payload, Vec<u8>) {
        let payload = image(PixelFormat::Z16, 160, 120, 0);
        let random = &mut fastrand::Rng::with_seed(7);
        let number = |at: u32| match (at % 160, at / 160) {
            (0..8, _) => 0,
            (column, row) => 900 + (column + 2 * row) as u16 + random.u16(0..3),
        };
        (payload, (0..160 * 120).map(number).flat_map(u16::to_le_bytes).collect())
    }

    #[test]
    fn depth_becomes_smaller_by_differences_than_by_zstd_alone() {
        let (payload, pixels) = depth();
        let (coding, delta, back) = there_and_back(WireCodec::Delta, payload, &pixels);
        assert!(coding == Coding::Delta && back == pixels);
        let (_, zstd, _) = there_and_back(WireCodec::Zstd, payload, &pixels);
        assert!(delta * 4 < pixels.len() && delta * 2 < zstd, "{delta}, {zstd} of {}", pixels.len());
    }

    #[test]
    fn every_step_has_an_inverse() {
        for above in (0..=u16::MAX).step_by(257).chain([1, 2, 0x7fff, 0x8000, 0x8001, 0xfffe]) {
            let mut seen = vec![false; VALUES];
            for rank in 0..=u16::MAX {
                let step = step(rank, above);
                assert_eq!((stepped(step, above), step == 0), (rank, rank == 0), "{rank} {above}");
                assert!(!std::mem::replace(&mut seen[usize::from(step)], true), "{rank} {above}");
            }
        }
    }

    #[test]
    fn images_with_all_values_come_back() {
        let payload = image(PixelFormat::Y16, 256, 256, 0);
        let pixels: Vec<u8> = (0..=u16::MAX).flat_map(|at| (at.wrapping_mul(40503)).to_le_bytes()).collect();
        let mut planes = Vec::new();
        differences(&payload, &pixels, &mut planes);
        let mut back = vec![0; pixels.len()];
        sums(&payload, &planes, &mut back);
        assert!(back == pixels && planes.len() == differences_bytes(&payload, pixels.len()));
    }

    /// As those of a stereo camera are at some metres.
    #[test]
    fn values_that_are_far_apart_cost_as_little_as_those_that_are_not() {
        let payload = image(PixelFormat::Z16, 160, 120, 0);
        let random = &mut fastrand::Rng::with_seed(7);
        let number = |at: u32| 900 + (at % 160 / 4 + random.u32(0..3)) as u16;
        let near: Vec<u16> = (0..160 * 120).map(number).collect();
        let bytes =
            |factor: u16| near.iter().flat_map(|number| (number * factor).to_le_bytes()).collect::<Vec<_>>();
        let [(_, near, _), (_, far, _)] =
            [1, 16].map(|factor| there_and_back(WireCodec::Delta, payload, &bytes(factor)));
        assert!(far < near + near / 10, "{near}, {far}");
    }

    #[test]
    fn a_frame_that_does_not_become_smaller_crosses_raw() {
        let payload = image(PixelFormat::Y8, 64, 64, 0);
        let random = &mut fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = (0..payload.size_bytes()).map(|_| random.u8(..)).collect();
        for codec in [WireCodec::Raw, WireCodec::Zstd, WireCodec::Delta] {
            assert_eq!(there_and_back(codec, payload, &noise), (Coding::Raw, noise.len(), noise.clone()));
        }
    }

    #[test]
    fn a_jpeg_comes_back_in_its_format() {
        for format in [PixelFormat::Rgb8, PixelFormat::Bgr8, PixelFormat::Y8] {
            let payload = image(format, 64, 48, 0);
            let channels = format.bytes_per_pixel() as usize;
            // Blue and red differ, so that swapped ones would show.
            let pixels: Vec<u8> =
                (0..64 * 48).flat_map(|_| [200_u8, 100, 20].into_iter().take(channels)).collect();
            let (coding, size, back) = there_and_back(WireCodec::Jpeg(90), payload, &pixels);
            let far = back.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(coding == Coding::Jpeg && size < pixels.len() && far < Some(8), "{format}: {far:?}");
        }
    }

    #[test]
    fn codecs_are_named_in_topologies() {
        for codec in
            [WireCodec::Raw, WireCodec::Zstd, WireCodec::Delta, WireCodec::Jpeg(1), WireCodec::Jpeg(100)]
        {
            assert_eq!(codec.to_string().parse(), Ok(codec));
            assert!(camrig::hosts::is_codec(&codec.to_string()), "{codec}");
        }
        for text in ["", "jpeg", "jpeg:0", "jpeg:101", "jpeg:-1", "JPEG:90", "lz4"] {
            assert_eq!(text.parse::<WireCodec>(), Err(ParseCodecError(text.to_owned())));
            assert!(!camrig::hosts::is_codec(text), "{text}");
        }
        assert_eq!(Coding::of_number(4), None);
    }

    #[test]
    fn the_rate_of_the_link_chooses() {
        let profile: StreamProfile = "848x480@30".parse().unwrap();
        let stream = |stream, format| StreamInfo::image(stream, format, profile);
        let color = stream(Stream::COLOR, PixelFormat::Rgb8);
        let depth = stream(Stream::DEPTH, PixelFormat::Z16);
        let motion = StreamInfo::motion(Stream::GYRO, 200);
        for (mbps, codecs) in [
            (1000, [WireCodec::Jpeg(85), WireCodec::Delta, WireCodec::Raw]),
            (2500, [WireCodec::Jpeg(85), WireCodec::Delta, WireCodec::Raw]),
            (10_000, [WireCodec::Raw; 3]),
        ] {
            assert_eq!([color, depth, motion].map(|stream| WireCodec::by_rate(&stream, mbps)), codecs);
        }
    }
}
