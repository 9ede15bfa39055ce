//! The checks of a frameset's headers, pixels and derived streams.

use camrig_frame::{
    Clock, Frame, JSON, MessageView, Metadata, MetadataKey, Payload, PixelFormat, Role, Stream, TensorView,
};
use serde::de::IgnoredAny;

use super::fault::Fault;
use crate::frameset::FrameSet;
use crate::synthetic::{self, Scene, emulated};

/// Checks that there is one frame per stream of the camera, with the declared sizes and a common capture time; frames
/// of motion may be missing or shorter, and have their own numbers. With `partial`, frames of images may be missing as well.
pub(super) fn check_headers(frames: &FrameSet, partial: bool) -> Result<(), Fault> {
    let headers = &frames.header().frames;
    let found = headers.iter().map(|frame| (frame.stream, frame.payload));
    let expected = frames.info().streams.iter().filter_map(|info| {
        let frame = headers.iter().find(|frame| frame.stream == info.stream);
        // A frameset between two samples has no frame of motion.
        if (partial || info.role == Role::Motion) && frame.is_none() {
            return None;
        }
        // Frames of varying length may be smaller than declared.
        let admitted = frame.filter(|frame| info.payload.admits(&frame.payload) && varies(&info.payload));
        Some((info.stream, admitted.map_or(info.payload, |frame| frame.payload)))
    });
    if !found.clone().eq(expected.clone()) {
        return Err(Fault::Streams {
            camera: frames.camera().to_owned(),
            sequence: frames.sequence(),
            found: describe(found),
            expected: describe(expected),
        });
    }
    let first = headers.first().map_or(0, |frame| frame.number);
    match headers.iter().find(|frame| frame.number != first && frame.role != Role::Motion) {
        Some(frame) => Err(Fault::Numbers {
            camera: frames.camera().to_owned(),
            sequence: frames.sequence(),
            first,
            other: frame.number,
        }),
        None => Ok(()),
    }
}

/// Checks the data of an emulated camera beside pixels: the frame counter in the metadata, and the time of its clock.
pub(super) fn check_emulated(frames: &FrameSet) -> Result<(), Fault> {
    for frame in frames.frames() {
        let (header, info) = (frame.header(), frames.info().stream(frame.stream()));
        let fault = |what: String| Fault::Made {
            camera: frames.camera().to_owned(),
            sequence: frames.sequence(),
            stream: frame.stream().name().into(),
            number: header.number,
            what,
        };
        let (clock, counter) = (header.timestamp.clock, header.metadata.get(MetadataKey::FRAME_COUNTER));
        if counter != Some(header.number as i64) {
            let what =
                format!("has frame counter {counter:?} in its metadata, and a time of the {clock:?} clock");
            return Err(fault(what));
        }
        let rate = info.map_or(1, |info| info.frames_per_second);
        let micros = header.timestamp.nanos / 1000;
        let start = micros.checked_sub(emulated::frame_micros(header.number, rate));
        if clock == Clock::Hardware && start.is_none_or(|start| start % emulated::START_STEP_MICROS != 0) {
            return Err(fault(format!("has timestamp {micros} us, which was not sent")));
        }
    }
    Ok(())
}

/// Returns whether frames may be smaller than their stream declares.
fn varies(payload: &Payload) -> bool {
    !matches!(payload, Payload::Image { .. })
}

/// Checks a frame that a processor made: numbers are finite, and JSON is valid. Its expected content is not known here;
/// its digest shows whether it is the same in every placement.
pub(super) fn check_made(frames: &FrameSet, frame: Frame<'_>) -> Result<(), Fault> {
    let fault = |what: &str| Fault::Made {
        camera: frames.camera().to_owned(),
        sequence: frames.sequence(),
        stream: frame.stream().name().into(),
        number: frame.header().number,
        what: what.to_owned(),
    };
    let numbers = TensorView::new(frame).and_then(|tensor| tensor.iter_f32());
    if numbers.is_some_and(|mut numbers| numbers.any(|number| !number.is_finite())) {
        return Err(fault("has an element that is not a finite number"));
    }
    let json = MessageView::new(frame).filter(|message| message.encoding() == JSON.as_str());
    let parses = |message: MessageView<'_>| serde_json::from_slice::<IgnoredAny>(message.bytes()).is_ok();
    if json.is_some_and(|message| !parses(message)) {
        return Err(fault("is not JSON, though it is declared to be"));
    }
    Ok(())
}

/// Describes frames by stream, format, size and bytes per row.
fn describe(frames: impl Iterator<Item = (Stream, Payload)>) -> String {
    let frame = |(stream, payload): (Stream, Payload)| match payload.stride_bytes() {
        Some(stride_bytes) => format!("{stream} {payload} in rows of {stride_bytes} bytes"),
        None => format!("{stream} {payload}"),
    };
    let frames: Vec<_> = frames.map(frame).collect();
    if frames.is_empty() { "no frames".to_owned() } else { frames.join(", ") }
}

/// Renders a frame into `rendered`, and compares it.
pub(super) fn check_pixels(
    frames: &FrameSet,
    frame: &Frame<'_>,
    scene: &Scene,
    rendered: &mut Vec<u8>,
) -> Result<(), Fault> {
    let (header, pixels) = (frame.header(), frame.bytes());
    // The pictures of an emulated camera do not depend on its exposure.
    let is_synthetic = frames.info().driver == synthetic::DRIVER;
    let metadata = if is_synthetic { &header.metadata } else { &Metadata::EMPTY };
    scene.write(header.stream, header.number, metadata, rendered);
    if pixels == rendered {
        return Ok(());
    }
    let differs = |(found, expected)| found != expected;
    let at = pixels.iter().zip(rendered.iter()).position(differs).unwrap_or(pixels.len().min(rendered.len()));
    if let Payload::Encoded { .. } = header.payload {
        return Err(Fault::Encoded {
            camera: frames.camera().to_owned(),
            sequence: frames.sequence(),
            stream: header.stream.name().into(),
            number: header.number,
            at,
            found: pixels.len(),
            expected: rendered.len(),
        });
    }
    let size = header.payload.pixel_format().map_or(1, PixelFormat::bytes_per_pixel) as usize;
    let pixel = at / size;
    let hex = |bytes: &[u8]| {
        let bytes: Vec<_> = bytes[pixel * size..][..size].iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(" ")
    };
    Err(Fault::Pixel {
        camera: frames.camera().to_owned(),
        sequence: frames.sequence(),
        stream: header.stream.name().into(),
        number: header.number,
        x: pixel % frame.width().max(1) as usize,
        y: pixel / frame.width().max(1) as usize,
        found: hex(pixels),
        expected: hex(rendered),
    })
}
