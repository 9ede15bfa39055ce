//! Converts frames and intrinsics of librealsense to camrig's.

use camrig::frame::{
    Clock, Distortion, Format, FrameHeader, Intrinsics, Metadata, MetadataKey, Payload, Stream, Timestamp,
};
use num_traits::FromPrimitive;
use realsense_rust::frame::FrameEx;
use realsense_rust::kind::{Rs2FrameMetadata, Rs2TimestampDomain};
use realsense_sys as rs2;

use crate::motion::Sample;
use crate::profiles::{image_format, role};
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

/// Returns the header of a frame of `stream`; `None` if its format is unknown.
pub(crate) fn header(image: &Image, stream: Stream) -> Option<FrameHeader> {
    let view = image.view();
    let profile = view.stream_profile();
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
    let format = image_format(profile.format() as rs2::rs2_format)?;
    let (width, height) = (view.width() as u32, view.height() as u32);
    let payload = match format {
        Format::Image(format) => Payload::Image { format, width, height, stride_bytes: view.stride() as u32 },
        Format::Encoded(codec) => {
            Payload::Encoded { codec, width, height, size_bytes: u32::try_from(image.size_bytes()).ok()? }
        }
        _ => return None,
    };
    Some(FrameHeader {
        number: view.frame_number(),
        timestamp: timestamp(clock, view.timestamp()),
        metadata,
        role: role(stream, format),
        ..FrameHeader::new(stream, payload)
    })
}

/// Returns a sample of motion; `None` for an unknown clock.
pub(crate) fn sample(measured: &Measured) -> Option<Sample> {
    let Measured { number, millis, domain, xyz } = *measured;
    let clock = match domain {
        rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_HARDWARE_CLOCK => Clock::Hardware,
        rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_GLOBAL_TIME => Clock::Global,
        rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_SYSTEM_TIME => Clock::System,
        _ => return None,
    };
    Some(Sample { number, timestamp: timestamp(clock, millis), xyz })
}

/// Converts librealsense's milliseconds in a double, which are exact to a microsecond of wall-clock time. The cast
/// saturates.
fn timestamp(clock: Clock, millis: f64) -> Timestamp {
    Timestamp { clock, nanos: (millis * 1e6).round() as u64 }
}
