//! The validated request of a camera.
//!
//! It does not depend on a device: `camera` finds out whether a camera is connected, and reads the content of a file.

use std::fmt;
use std::path::PathBuf;

use camrig::DriverError;
use camrig::frame::{Format, Stream, StreamProfile};

use crate::filters::{Chain, Processing};
use crate::options::Options;
use crate::profiles::is_motion;
use crate::settings::Settings;

/// Validated options.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) source: SourceRequest,
    pub(crate) streams: Vec<StreamRequest>,
    pub(crate) processing: Processing,
}

/// The source of the frames.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SourceRequest {
    Live(LiveRequest),
    File(FileRequest),
}

/// The request of a live camera.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LiveRequest {
    pub(crate) selection: Selection,
    pub(crate) allow_usb2: bool,
    pub(crate) settings: Settings,
    pub(crate) record_to: Option<PathBuf>,
}

/// The request of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileRequest {
    pub(crate) path: PathBuf,
    pub(crate) real_time: bool,
    pub(crate) repeat: bool,
}

/// Selects one of the live cameras.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    Serial(String),
    Port(String),
    Name(String),
    Any,
}

/// Formats as in errors and claims: `serial 123`.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(serial) => write!(f, "serial {serial}"),
            Self::Port(port) => write!(f, "USB port {port}"),
            Self::Name(name) => write!(f, "name {name}"),
            Self::Any => f.write_str("any RealSense camera"),
        }
    }
}

/// A requested stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamRequest {
    pub(crate) stream: Stream,
    pub(crate) profile: StreamProfile,
    /// `None` for any format: that of the recording.
    pub(crate) format: Option<Format>,
}

impl Request {
    /// Validates options.
    pub(crate) fn new(options: &Options) -> Result<Self, DriverError> {
        let source = match (options.selection()?, &options.file) {
            (Some(_), Some(_)) => {
                return Err(DriverError::new(
                    "a live camera and a `file` exclude each other: a camera is live or recorded",
                ));
            }
            (None, None) => {
                return Err(DriverError::new(
                    "no camera is given: a live one by `serial`, `port`, `name` or `any = true`, or a recorded one \
                     by `file`",
                ));
            }
            (Some(selection), None) => SourceRequest::Live(options.live(selection)?),
            (None, Some(path)) => SourceRequest::File(options.recorded(path)?),
        };
        let is_live = matches!(source, SourceRequest::Live(_));
        let streams = options.streams(is_live)?;
        // Samples of motion are part of framesets of images.
        let no_images = streams.iter().all(|it| is_motion(it.stream));
        if no_images && (is_live || !streams.is_empty()) {
            return Err(DriverError::new(
                "no stream of images is given; expected one of: `depth`, `color`, `infrared_1`, `infrared_2`, each such as \
                 \"640x480@30\"",
            ));
        }
        let processing =
            Processing { filters: options.filters.clone().unwrap_or_default(), align: options.align };
        if !streams.is_empty() {
            // Without a choice, the streams of a file are known only when it is opened.
            let streams: Vec<_> = streams.iter().map(|it| (it.stream, it.format)).collect();
            processing.check_streams(&streams)?;
        }
        Chain::new(&processing)?;
        Ok(Self { source, streams, processing })
    }
}
