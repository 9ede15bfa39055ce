//! The validated request of a camera.
//!
//! It does not depend on a device: `camera` finds out whether a camera is connected, and reads the content of a file.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use camrig::frame::{Format, PixelFormat, Stream, StreamProfile};
use camrig::{DeviceProfile, DriverError};
use camrig_usb::UsbDemand;

use crate::options::{MAX_OFFSET_MILLIS, Options};
use crate::processing::Processing;
use crate::settings::{HardwareSync, Settings};
use crate::streams::{ImageFormat, is_motion, usual_format};

/// Validated options.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CameraRequest {
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
    /// Whether it is reset before it is opened for the first time.
    pub(crate) reset: bool,
    pub(crate) settings: Settings,
    pub(crate) record_to: Option<PathBuf>,
}

/// The request of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileRequest {
    pub(crate) path: PathBuf,
    pub(crate) real_time: bool,
    pub(crate) repeat: bool,
    /// The time of its start after the rig's, if it is given.
    pub(crate) start_offset: Option<Duration>,
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
    /// `None` for any format of a recording.
    pub(crate) format: Option<Format>,
}

impl CameraRequest {
    /// Validates options.
    pub(crate) fn new(options: &Options) -> Result<Self, DriverError> {
        let source = match (options.selection()?, &options.file) {
            (Some(_), Some(_)) => {
                return Err(DriverError::new(
                    "a live camera and a `file` exclude each other: a camera is live or recorded",
                )
                .at("file"));
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
        let streams = requested(options, is_live)?;
        // Samples of motion are part of framesets of images.
        let no_images = streams.iter().all(|it| is_motion(it.stream));
        if no_images && (is_live || !streams.is_empty()) {
            return Err(DriverError::new(
                "no stream of images is given; expected one of: `depth`, `color`, `infrared_1`, `infrared_2`, \
                 `confidence`, each such as \"640x480@30\", or `streams`",
            ));
        }
        let processing =
            Processing { filters: options.filters.clone().unwrap_or_default(), align: options.align };
        if !streams.is_empty() {
            // Without a choice, the streams of a file are known only when it is opened.
            let streams: Vec<_> = streams.iter().map(|it| (it.stream, it.format)).collect();
            processing.check_streams(&streams)?;
        }
        processing.check_filters()?;
        Ok(Self { source, streams, processing })
    }
}

impl Options {
    /// Returns the USB demand of a live camera with these options; `None` for a file. Opens no device.
    pub fn usb_demand(&self) -> Option<UsbDemand> {
        let Ok(CameraRequest { source: SourceRequest::Live(live), streams, .. }) = CameraRequest::new(self)
        else {
            return None;
        };
        let stream = |it: &StreamRequest| {
            it.format.map(|format| DeviceProfile { stream: it.stream, format, profile: it.profile })
        };
        let streams = streams.iter().filter_map(stream).collect();
        let demand = UsbDemand { streams, refuses_usb2: !live.allow_usb2, ..UsbDemand::default() };
        Some(match live.selection {
            Selection::Serial(serial) => UsbDemand { serial: Some(serial), ..demand },
            Selection::Port(port) => UsbDemand { port: Some(port), ..demand },
            Selection::Name(name) => UsbDemand { name: name.rsplit(' ').next().map(str::to_owned), ..demand },
            Selection::Any => UsbDemand { name: Some("RealSense".to_owned()), ..demand },
        })
    }

    /// Returns the request for the selected live camera.
    pub(crate) fn live(&self, selection: Selection) -> Result<LiveRequest, DriverError> {
        if self.real_time.is_some() || self.repeat.is_some() {
            let key = if self.real_time.is_some() { "real_time" } else { "repeat" };
            let error = "`real_time` and `repeat` are for a `file`, not for a live camera";
            return Err(DriverError::new(error).at(key));
        }
        if self.start_offset_millis.is_some() {
            let error = "`start_offset_millis` is for a `file`, not for a live camera";
            return Err(DriverError::new(error).at("start_offset_millis"));
        }
        let settings = Settings {
            preset: self.preset.clone(),
            of_depth: self.set.clone().unwrap_or_default(),
            of_color: self.set_color.clone().unwrap_or_default(),
            sync: self.sync,
            region: region("exposure_region", self.exposure_region)?,
            region_of_color: region("exposure_region_color", self.exposure_region_color)?,
        };
        settings.check()?;
        Ok(LiveRequest {
            selection,
            allow_usb2: self.allow_usb2.unwrap_or(false),
            reset: self.reset.unwrap_or(false),
            settings,
            record_to: self.record_to.clone(),
        })
    }

    /// Returns the request for the file at `path`.
    pub(crate) fn recorded(&self, path: &Path) -> Result<FileRequest, DriverError> {
        for (key, is_given) in [
            ("color_format", self.color_format.is_some()),
            ("infrared_format", self.infrared_format.is_some()),
        ] {
            if is_given {
                return Err(DriverError::new(format!(
                    "`{key}` is for a live camera: a `file` has the format that was recorded"
                ))
                .at(key));
            }
        }
        for (key, is_given) in [
            ("reset", self.reset.is_some()),
            ("allow_usb2", self.allow_usb2.is_some()),
            ("set", self.set.is_some()),
            ("set_color", self.set_color.is_some()),
            ("exposure_region", self.exposure_region.is_some()),
            ("exposure_region_color", self.exposure_region_color.is_some()),
            ("preset", self.preset.is_some()),
            ("sync", self.sync.is_some()),
            ("record_to", self.record_to.is_some()),
        ] {
            if is_given {
                let error = DriverError::new(format!("`{key}` is for a live camera, not for a `file`"));
                return Err(error.at(key));
            }
        }
        let real_time = self.real_time.unwrap_or(true);
        match self.start_offset_millis {
            Some(_) if !real_time => {
                return Err(DriverError::new(
                    "`start_offset_millis` and `real_time = false` exclude each other: a file that is not played in \
                     real time cannot begin at a time",
                )
                .at("start_offset_millis"));
            }
            Some(millis) if millis > MAX_OFFSET_MILLIS => {
                return Err(DriverError::new(format!(
                    "`start_offset_millis` is {millis}; it must be 0 to {MAX_OFFSET_MILLIS}"
                ))
                .at("start_offset_millis"));
            }
            _ => {}
        }
        Ok(FileRequest {
            path: path.to_owned(),
            real_time,
            repeat: self.repeat.unwrap_or(false),
            start_offset: self.start_offset_millis.map(Duration::from_millis),
        })
    }

    /// Returns the selection of a live camera, if there is one.
    pub(crate) fn selection(&self) -> Result<Option<Selection>, DriverError> {
        if self.any == Some(false) {
            return Err(DriverError::new("`any` must be true or omitted").at("any"));
        }
        let text =
            |key: &str, text: &Option<String>, selection: fn(String) -> Selection| match text.as_deref() {
                Some(text) if text.trim().is_empty() => {
                    Err(DriverError::new(format!("`{key}` is empty")).at(key))
                }
                Some(text) => Ok(Some((key.to_owned(), selection(text.trim().to_owned())))),
                None => Ok(None),
            };
        let given = [
            text("serial", &self.serial, Selection::Serial)?,
            text("port", &self.port, Selection::Port)?,
            text("name", &self.name, Selection::Name)?,
            self.any.map(|_| ("any".to_owned(), Selection::Any)),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some((first, _)), Some((second, _))) => Err(DriverError::new(format!(
                "`{first}` and `{second}` exclude each other: one of them selects the camera"
            ))
            .at(second)),
            (first, _) => Ok(first.map(|(_, selection)| selection)),
        }
    }

    /// Returns everything that no other camera can claim.
    pub(crate) fn claims(&self) -> Vec<String> {
        let camera = self.selection().ok().flatten().map(|selection| selection.to_string());
        let file = self.record_to.as_ref().map(|path| format!("file {}", plain(path).display()));
        let master = (self.sync == Some(HardwareSync::Master)).then(|| "hardware sync master".to_owned());
        camera.into_iter().chain(file).chain(master).collect()
    }
}

/// Checks a region of auto exposure.
fn region(key: &str, region: Option<[u32; 4]>) -> Result<Option<[u32; 4]>, DriverError> {
    match region {
        Some([left, top, right, bottom]) if left >= right || top >= bottom => Err(DriverError::new(format!(
            "`{key}` is empty: it is left, top, right and bottom, and [{left}, {top}, {right}, {bottom}] has no pixels"
        ))
        .at(key)),
        region => Ok(region),
    }
}

/// Returns `a.bag` for `./a.bag`, and for its absolute path.
fn plain(path: &Path) -> PathBuf {
    let whole = absolute(path).unwrap_or_else(|_| path.to_owned());
    let here = std::env::current_dir().unwrap_or_default();
    whole.strip_prefix(here).map(Path::to_owned).unwrap_or(whole)
}

/// Returns the requested streams, in the order of [`Stream`].
fn requested(options: &Options, live: bool) -> Result<Vec<StreamRequest>, DriverError> {
    for (key, has_format, has_stream, streams) in [
        ("color_format", options.color_format.is_some(), options.color.is_some(), "`color`"),
        (
            "infrared_format",
            options.infrared_format.is_some(),
            options.infrared_1.is_some() || options.infrared_2.is_some(),
            "`infrared_1` or `infrared_2`",
        ),
    ] {
        if live && has_format && !has_stream {
            return Err(DriverError::new(format!("`{key}` needs {streams}")).at(key));
        }
    }
    let motion = |key: &str, rate: Option<u32>| {
        let profile = rate.map(StreamProfile::of_motion).transpose();
        profile.map_err(|error| DriverError::new(format!("`{key}`: {error}")).at(key))
    };
    let color = options.color_format.unwrap_or(ImageFormat::Rgb8).format();
    let infrared = options.infrared_format.unwrap_or(ImageFormat::Y8).format();
    let usual = [
        (Stream::COLOR, options.color, color),
        (Stream::DEPTH, options.depth, PixelFormat::Z16.into()),
        (Stream::INFRARED_1, options.infrared_1, infrared),
        (Stream::INFRARED_2, options.infrared_2, infrared),
        (Stream::CONFIDENCE, options.confidence, PixelFormat::Y8.into()),
        (Stream::ACCEL, motion("accel", options.accel)?, Format::Motion),
        (Stream::GYRO, motion("gyro", options.gyro)?, Format::Motion),
    ];
    let request = |(stream, profile, format): (_, Option<_>, _)| {
        Some(StreamRequest { stream, profile: profile?, format: live.then_some(format) })
    };
    let mut requests: Vec<_> = usual.into_iter().filter_map(request).collect();
    for (name, choice) in options.streams.iter().flatten() {
        let key = format!("streams.{name}");
        let stream = Stream::new(name);
        let stream = stream.map_err(|error| DriverError::new(format!("`streams`: {error}")).at(&*key))?;
        if is_motion(stream) {
            let error = format!("`streams`: `{name}` is an option of its own: its rate");
            return Err(DriverError::new(error).at(key));
        }
        if requests.iter().any(|it| it.stream == stream) {
            return Err(DriverError::new(format!(
                "stream `{name}` is requested twice: by its own option and in `streams`"
            ))
            .at(key));
        }
        let format = choice.format.map(ImageFormat::format).or_else(|| live.then(|| usual_format(stream)));
        requests.push(StreamRequest { stream, profile: choice.profile, format });
    }
    requests.sort_by_key(|it| it.stream);
    Ok(requests)
}
