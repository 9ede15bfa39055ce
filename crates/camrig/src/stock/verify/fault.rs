//! The faults that `verify` finds.

/// A frameset that differs from the expectation.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "the content of `{camera}` is unknown: driver `{driver}` with model `{model}` is not synthetic; \
         `content = false` only digests"
    )]
    NotSynthetic { camera: String, driver: String, model: String },
    #[error(
        "the content of `{camera}` is unknown: `{model}` with these streams is not emulated; color has to be `yuyv`"
    )]
    NotEmulated { camera: String, model: String },
    #[error("`{camera}` has serial {serial}, but so has `{other}`")]
    SerialTwice { camera: String, serial: String, other: String },
    #[error("`{camera}` had serial {before}, and now has {now}")]
    SerialChanged { camera: String, before: String, now: String },
    #[error("frameset {sequence} of `{camera}` came after frameset {last}")]
    Order { camera: String, sequence: u64, last: u64 },
    #[error("frameset {sequence} of `{camera}` has {found}, but the camera has {expected}")]
    Streams { camera: String, sequence: u64, found: String, expected: String },
    #[error("frameset {sequence} of `{camera}` mixes frames {first} and {other}")]
    Numbers { camera: String, sequence: u64, first: u64, other: u64 },
    #[error("frameset {sequence} of `{camera}`: {stream} sample {number} {what}")]
    Sample { camera: String, sequence: u64, stream: Box<str>, number: u64, what: String },
    #[error("frameset {sequence} of `{camera}`: {stream} frame {number} {what}")]
    Made { camera: String, sequence: u64, stream: Box<str>, number: u64, what: String },
    #[error(
        "frameset {sequence} of `{camera}`: {stream} frame {number} of {found} bytes differs from byte {at} on from \
         the expected JPEG of {expected} bytes"
    )]
    Encoded {
        camera: String,
        sequence: u64,
        stream: Box<str>,
        number: u64,
        at: usize,
        found: usize,
        expected: usize,
    },
    #[error(
        "frameset {sequence} of `{camera}`: in {stream} frame {number} the pixel at column {x}, row {y} is \
         {found}, not {expected}"
    )]
    Pixel {
        camera: String,
        sequence: u64,
        stream: Box<str>,
        number: u64,
        x: usize,
        y: usize,
        found: String,
        expected: String,
    },
}
