//! Decoding of a frame's message to pixels.

use bytes::Bytes;
use camrig::frame::{FrameHeader, Payload, PixelFormat};
use camrig_image::decode_jpeg;

use super::error::{FrameFault, RecordedFrameError};
use crate::depth::{from_meters, meters_bytes};
use crate::format::{DEPTH, DEPTH_METERS, FrameRecord, JPEG, RAW};
use crate::images::{self, Present};
use crate::{motion, npy, ros};

/// Numbers of the fields with the data of Foxglove's messages.
const RAW_DATA: u64 = 6;
const COMPRESSED_DATA: u64 = 2;
const POINTS_DATA: u64 = 6;

/// Returns a field of bytes of a protobuf message, empty if it is missing; `None` if the message is invalid. Other fields are
/// skipped, so that a message with many fields takes no additional memory.
fn data_of(message: &Bytes, number: u64) -> Option<Bytes> {
    let mut rest = &message[..];
    let mut found = Bytes::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let length = match key & 7 {
            0 => {
                varint(&mut rest)?;
                continue;
            }
            1 => 8,
            2 => varint(&mut rest)?,
            5 => 4,
            _ => return None,
        };
        let (field, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        rest = behind;
        if key == number << 3 | 2 {
            found = message.slice_ref(field);
        }
    }
    Some(found)
}

/// Takes a number of variable length.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Returns the data of a frame's message as stored; it shares the memory of the message.
///
/// # Errors
/// If the message is invalid.
pub(crate) fn image_data(frame: &FrameRecord, message: Bytes) -> Result<Bytes, RecordedFrameError> {
    let invalid = |error: String| RecordedFrameError::new(frame.stream, FrameFault::Message(error));
    let not_protobuf = || invalid("it is not of its schema".to_owned());
    match frame.coding.as_str() {
        RAW => match frame.payload {
            Payload::Image { .. } => data_of(&message, RAW_DATA).ok_or_else(not_protobuf),
            Payload::Encoded { .. } => data_of(&message, COMPRESSED_DATA).ok_or_else(not_protobuf),
            Payload::Points { .. } => {
                let present = <Present as prost::Message>::decode(message.clone());
                let present = present.map_err(|error| invalid(error.to_string()))?;
                let points = data_of(&message, POINTS_DATA).ok_or_else(not_protobuf)?;
                let all = images::all_points(&frame.payload, points, &present);
                all.ok_or_else(|| {
                    invalid("it has another number of points than its fields declare".to_owned())
                })
            }
            Payload::Motion { .. } => motion::decode(&message).map_err(|error| invalid(error.to_string())),
            Payload::Tensor { .. } => {
                npy::elements(&message).ok_or_else(|| invalid("it is not a NumPy file".to_owned()))
            }
            Payload::Message { .. } => Ok(message),
        },
        DEPTH | DEPTH_METERS => {
            let image = ros::read_image(&message);
            let image = image.ok_or_else(|| invalid("it is not an image of ROS".to_owned()))?;
            if image.is_bigendian || frame.payload.size() != Some((image.rows.width, image.rows.height)) {
                return Err(invalid("its image differs from its record".to_owned()));
            }
            Ok(message.slice_ref(image.data))
        }
        JPEG => data_of(&message, COMPRESSED_DATA).ok_or_else(not_protobuf),
        other => Err(RecordedFrameError::new(frame.stream, FrameFault::Coding(other.to_owned()))),
    }
}

/// Checks that a frame has the size given by its header. Its integrity is checked per chunk.
///
/// # Errors
/// If the size does not match.
pub(crate) fn check_image(frame: &FrameRecord, data: &[u8]) -> Result<(), RecordedFrameError> {
    let size_bytes = match frame.coding.as_str() {
        RAW | DEPTH => frame.payload.size_bytes(),
        DEPTH_METERS => meters_bytes(&frame.payload),
        _ => return Ok(()),
    };
    if data.len() as u64 == size_bytes { Ok(()) } else { Err(size_fault(frame, data.len(), size_bytes)) }
}

fn size_fault(frame: &FrameRecord, found: usize, expected: u64) -> RecordedFrameError {
    RecordedFrameError::new(frame.stream, FrameFault::Size { found: found as u64, expected })
}

/// Returns the decoded format of an image stored as JPEG: gray stays gray, everything else becomes RGB.
pub(super) fn decoded_format(recorded: &Payload) -> PixelFormat {
    if recorded.pixel_format() == Some(PixelFormat::Y8) { PixelFormat::Y8 } else { PixelFormat::Rgb8 }
}

/// Returns the header of a frame as seen by a reader.
pub(crate) fn shown_header(frame: &FrameRecord) -> FrameHeader {
    let header = frame.header();
    if frame.coding != JPEG {
        return header;
    }
    let (width, height) = header.payload.size().unwrap_or_default();
    // Invalid sizes are rejected by the layout of the frameset.
    FrameHeader { payload: Payload::image(decoded_format(&header.payload), width, height), ..header }
}

/// Returns whether the data of an image are its pixels: nothing has to be decoded.
pub(crate) fn is_stored(frame: &FrameRecord, data: &[u8]) -> bool {
    let is_image = matches!(frame.payload, Payload::Image { .. });
    is_image
        && matches!(frame.coding.as_str(), RAW | DEPTH)
        && data.len() as u64 == frame.payload.size_bytes()
}

/// Writes the pixels of a frame, as described by [`shown_header`], into `pixels`.
///
/// # Errors
/// If they are invalid.
pub(crate) fn write_pixels(
    frame: &FrameRecord,
    data: &[u8],
    pixels: &mut [u8],
) -> Result<(), RecordedFrameError> {
    if frame.coding == DEPTH_METERS {
        check_image(frame, data)?;
        from_meters(&frame.payload, data, frame.unit_meters.unwrap_or(f32::NAN), pixels);
        return Ok(());
    }
    if frame.coding != JPEG {
        if data.len() != pixels.len() {
            return Err(size_fault(frame, data.len(), pixels.len() as u64));
        }
        pixels.copy_from_slice(data);
        return Ok(());
    }
    let size = frame.payload.size().unwrap_or_default();
    decode_jpeg(data, size, decoded_format(&frame.payload), pixels)
        .map_err(|error| RecordedFrameError::new(frame.stream, FrameFault::Jpeg(error)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use camrig::frame::{Clock, Frame, Stream, Timestamp};

    use super::*;
    use crate::depth::DepthForm;

    /// Returns a frame with a gradient, and no padding.
    fn frame(format: PixelFormat) -> (FrameHeader, Vec<u8>) {
        let header = FrameHeader {
            number: 7,
            timestamp: Timestamp { clock: Clock::Global, nanos: 5 },
            ..FrameHeader::image(Stream::COLOR, format, 32, 24)
        };
        let pixels = (0..header.size_bytes()).map(|index| (index / 24 + 60) as u8).collect();
        (header, pixels)
    }

    fn recorded(format: PixelFormat) -> (FrameRecord, Bytes) {
        let (header, pixels) = frame(format);
        let jpeg = camrig_image::jpeg(Frame::new(&header, &pixels).unwrap(), 95).unwrap().unwrap();
        let record = FrameRecord::new(&header, JPEG);
        let mut message = Vec::new();
        images::jpeg_image("front", &Frame::new(&header, &pixels).unwrap(), jpeg.into(), &mut message);
        (record, message.into())
    }

    #[test]
    fn jpeg_comes_back_as_rgb_or_gray() {
        for (format, shown_format) in [
            (PixelFormat::Rgb8, PixelFormat::Rgb8),
            (PixelFormat::Bgr8, PixelFormat::Rgb8),
            (PixelFormat::Yuyv, PixelFormat::Rgb8),
            (PixelFormat::Y8, PixelFormat::Y8),
        ] {
            let (record, message) = recorded(format);
            let header = shown_header(&record);
            assert_eq!((header.payload, header.number), (Payload::image(shown_format, 32, 24), 7));
            let data = image_data(&record, message).unwrap();
            check_image(&record, &data).unwrap();
            let mut shown = vec![0; header.size_bytes() as usize];
            write_pixels(&record, &data, &mut shown).unwrap();
            let (header, pixels) = frame(format);
            let original =
                camrig::frame::ColorView::new(Frame::new(&header, &pixels).unwrap()).unwrap().to_rgb8();
            let original: Vec<_> = match format {
                PixelFormat::Y8 => original.chunks_exact(3).map(|rgb| rgb[0]).collect(),
                _ => original,
            };
            let difference: u32 = shown.iter().zip(&original).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
            assert!(difference < 3 * shown.len() as u32, "{format}: {difference} over {} bytes", shown.len());
        }
    }

    #[test]
    fn depth_of_other_units_comes_back_from_metres() {
        let header = FrameHeader::image(Stream::DEPTH, PixelFormat::Z16, 32, 24);
        let pixels: Vec<_> = (0..header.size_bytes()).map(|index| (index * 37 / 5) as u8).collect();
        let mut message = Vec::new();
        images::depth_image("front", &header, DepthForm::Meters(0.0001), &pixels, &mut message);
        let image = ros::read_image(&message).unwrap();
        assert_eq!((image.rows.encoding, image.rows.step, image.is_bigendian), ("32FC1", 4 * 32, false));
        let record = FrameRecord { unit_meters: Some(0.0001), ..FrameRecord::new(&header, DEPTH_METERS) };
        let message = Bytes::from(message);
        let data = image_data(&record, message.clone()).unwrap();
        check_image(&record, &data).unwrap();
        let mut back = vec![0; pixels.len()];
        write_pixels(&record, &data, &mut back).unwrap();
        assert_eq!(back, pixels);
        // Through JSON as well.
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<FrameRecord>(&json).unwrap(), record);
        // Another size than that in the record.
        let wider = FrameRecord { payload: Payload::image(PixelFormat::Z16, 64, 24), ..record };
        let error = image_data(&wider, message.clone()).unwrap_err().to_string();
        assert_eq!(error, "its depth message is invalid: its image differs from its record");
        let error = write_pixels(&wider, &data, &mut vec![0; 64 * 24 * 2]).unwrap_err().to_string();
        assert_eq!(error, "its depth frame has 3072 bytes, not 6144");
    }

    #[test]
    fn descriptions_of_frames_are_not_trusted() {
        let (record, message) = recorded(PixelFormat::Rgb8);
        let data = image_data(&record, message.clone()).unwrap();
        let fault = |record: &FrameRecord, data: &[u8], size: usize| {
            write_pixels(record, data, &mut vec![0; size]).unwrap_err().to_string()
        };
        let wider = FrameRecord { payload: Payload::image(PixelFormat::Rgb8, 64, 24), ..record.clone() };
        assert_eq!(fault(&wider, &data, 64 * 24 * 3), "its color frame does not decode: it has another size");
        assert!(fault(&record, &data[..30], 32 * 24 * 3).starts_with("its color frame does not decode: "));
        let raw = FrameRecord { coding: RAW.to_owned(), ..record.clone() };
        let size = data.len();
        assert_eq!(fault(&raw, &data, 9), format!("its color frame has {size} bytes, not 9"));
        let other = FrameRecord { coding: "webp".to_owned(), ..record.clone() };
        assert_eq!(
            image_data(&other, message).unwrap_err().to_string(),
            "its color frame is coded as `webp`; known: `raw`, `jpeg`, `depth`, `depth-meters`"
        );
        check_image(&record, &data).unwrap();
        let expected = format!("its color frame has {size} bytes, not {}", 32 * 24 * 3);
        assert_eq!(check_image(&raw, &data).unwrap_err().to_string(), expected);
    }

    #[test]
    fn fields_of_messages_take_no_memory_and_lengths_are_checked() {
        // Two numbers, an empty text, and data.
        let message = Bytes::from_static(&[8, 0x96, 1, 0x15, 1, 2, 3, 4, 0x22, 0, 0x32, 3, 7, 8, 9]);
        assert_eq!(data_of(&message, 6).unwrap(), [7, 8, 9].as_slice());
        assert_eq!(data_of(&message, 7).unwrap(), [0; 0].as_slice());
        for length in [1, 2, 4, 9, 11, 13, 14] {
            assert_eq!(data_of(&message.slice(..length), 6), None, "{length} bytes");
        }
        // A million empty fields, and a length of 2^63.
        let fields = Bytes::from([0x2a, 0].repeat(1 << 20));
        assert_eq!(data_of(&fields, 6).unwrap().len(), 0);
        let huge = [0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(data_of(&Bytes::copy_from_slice(&huge), 6), None);
        assert_eq!(data_of(&Bytes::from_static(&[0xff; 12]), 6), None, "a number of more than 64 bits");
        assert_eq!(data_of(&Bytes::from_static(&[0x33]), 6), None, "a group");
    }
}
