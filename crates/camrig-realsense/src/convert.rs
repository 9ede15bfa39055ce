//! Converts frames and lenses of librealsense to camrig's.

use camrig::frame::{
    Clock, Distortion, Format, FrameHeader, Intrinsics, Metadata, MetadataKey, Payload, Stream, Timestamp,
};
use num_traits::FromPrimitive;
use realsense_rust::frame::FrameEx;
use realsense_rust::kind::{Rs2FrameMetadata, Rs2StreamKind, Rs2TimestampDomain};
use realsense_sys as rs2;

use crate::motion::Sample;
use crate::profiles::{format_of, stream_numbered};
use crate::sys::{Image, Measured};

pub(crate) fn pinhole(intrinsics: &rs2::rs2_intrinsics) -> Option<Intrinsics> {
    let distortion = match intrinsics.model {
        rs2::rs2_distortion_RS2_DISTORTION_NONE => Distortion::None,
        rs2::rs2_distortion_RS2_DISTORTION_MODIFIED_BROWN_CONRADY => Distortion::ModifiedBrownConrady,
        rs2::rs2_distortion_RS2_DISTORTION_INVERSE_BROWN_CONRADY => Distortion::InverseBrownConrady,
        rs2::rs2_distortion_RS2_DISTORTION_FTHETA => Distortion::Ftheta,
        rs2::rs2_distortion_RS2_DISTORTION_BROWN_CONRADY => Distortion::BrownConrady,
        rs2::rs2_distortion_RS2_DISTORTION_KANNALA_BRANDT4 => Distortion::KannalaBrandt4,
        // A model without a name here cannot be applied either.
        _ => return None,
    };
    Some(Intrinsics {
        width: u32::try_from(intrinsics.width).ok()?,
        height: u32::try_from(intrinsics.height).ok()?,
        ppx: intrinsics.ppx,
        ppy: intrinsics.ppy,
        fx: intrinsics.fx,
        fy: intrinsics.fy,
        distortion,
        coefficients: intrinsics.coeffs,
    })
}

/// Returns the header of a frame; `None` for an unknown stream or format.
pub(crate) fn header(image: &Image) -> Option<FrameHeader> {
    let view = image.view();
    let profile = view.stream_profile();
    let stream = match (profile.kind(), profile.index()) {
        (Rs2StreamKind::Color, _) => Stream::COLOR,
        (Rs2StreamKind::Depth, _) => Stream::DEPTH,
        (Rs2StreamKind::Infrared, 2) => Stream::INFRARED_2,
        (Rs2StreamKind::Infrared, _) => Stream::INFRARED_1,
        (Rs2StreamKind::Confidence, _) => Stream::CONFIDENCE,
        _ => return None,
    };
    let mut metadata = Metadata::EMPTY;
    for key in MetadataKey::all() {
        let value = Rs2FrameMetadata::from_usize(key.number()).and_then(|kind| view.metadata(kind));
        if let Some(value) = value {
            metadata.set(key, value);
        }
    }
    let clock = match view.timestamp_domain() {
        Rs2TimestampDomain::HardwareClock => Clock::Hardware,
        Rs2TimestampDomain::GlobalTime => Clock::Global,
        Rs2TimestampDomain::SystemTime => Clock::System,
    };
    let Format::Image(format) = format_of(profile.format() as rs2::rs2_format)? else { return None };
    let payload = Payload::Image {
        format,
        width: view.width() as u32,
        height: view.height() as u32,
        stride_bytes: view.stride() as u32,
    };
    Some(FrameHeader {
        number: view.frame_number(),
        timestamp: timestamp(clock, view.timestamp()),
        metadata,
        ..FrameHeader::new(stream, payload)
    })
}

/// Returns a sample of motion with its stream; `None` for an unknown stream or clock.
pub(crate) fn sample(measured: &Measured) -> Option<(Stream, Sample)> {
    let Measured { stream, number, millis, domain, xyz } = *measured;
    let clock = match domain {
        rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_HARDWARE_CLOCK => Clock::Hardware,
        rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_GLOBAL_TIME => Clock::Global,
        rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_SYSTEM_TIME => Clock::System,
        _ => return None,
    };
    Some((stream_numbered(stream, 0)?, Sample { number, timestamp: timestamp(clock, millis), xyz }))
}

/// Converts librealsense's milliseconds in a double, which are exact to a microsecond of wall-clock time. The cast
/// saturates.
fn timestamp(clock: Clock, millis: f64) -> Timestamp {
    Timestamp { clock, nanos: (millis * 1e6).round() as u64 }
}
