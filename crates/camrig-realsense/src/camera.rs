//! A device with its streams chosen: what it says of itself, and its frames as they come.
//!
//! It turns librealsense's numbers and names into camrig's. A live camera and a file differ only in how the
//! device is found, in how its streams are chosen and in who waits for whom. It knows no framesets.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use camrig::frame::{
    CameraInfo, Clock, Distortion, Extrinsics, FrameHeader, Intrinsics, Metadata, MetadataKey, PixelFormat,
    Stream, StreamInfo, StreamProfile, Timestamp,
};
use camrig::{Device, DriverError};
use num_traits::FromPrimitive;
use realsense_rust::context::Context as ViewContext;
use realsense_rust::device::Device as DeviceView;
use realsense_rust::frame::FrameEx;
use realsense_rust::kind::{Rs2CameraInfo, Rs2FrameMetadata, Rs2Option, Rs2StreamKind, Rs2TimestampDomain};
use realsense_sys as rs2;

use crate::options::{Request, StreamRequest};
use crate::sys::{
    Arrived, Context, Fault, Image, OpenDevice, OpenSensor, Pixels, ProfileData, Sink, format_name,
};

/// Frames of each stream that may wait for the capture thread.
const QUEUED_FRAMES_PER_STREAM: usize = 8;

/// The depth unit of all D400 cameras but the D405, which says its own.
const USUAL_DEPTH_UNIT_METERS: f32 = 0.001;

/// The pixel formats that camrig knows, with librealsense's number.
const FORMATS: [(PixelFormat, rs2::rs2_format); 5] = [
    (PixelFormat::Z16, rs2::rs2_format_RS2_FORMAT_Z16),
    (PixelFormat::Rgb8, rs2::rs2_format_RS2_FORMAT_RGB8),
    (PixelFormat::Bgr8, rs2::rs2_format_RS2_FORMAT_BGR8),
    (PixelFormat::Yuyv, rs2::rs2_format_RS2_FORMAT_YUYV),
    (PixelFormat::Y8, rs2::rs2_format_RS2_FORMAT_Y8),
];

/// An open device. It sends nothing before [`Camera::start`].
pub(crate) struct Camera {
    // Dropped in this order: without its receiver no callback waits for room, so that sensors can stop.
    receiver: Option<Receiver<Arrived>>,
    sensors: Vec<OpenSensor>,
    device: OpenDevice,
    _context: Context,
    subject: Subject,
    chosen: Vec<Candidate>,
    /// None for a live camera.
    playback: Option<Playback>,
    /// Number and timestamp of each stream's newest frame since the start.
    newest: [Option<(u64, Timestamp)>; Stream::ALL.len()],
}

/// How a file plays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Playback {
    real_time: bool,
    pub(crate) repeat: bool,
}

/// How errors call the device.
#[derive(Clone, Debug)]
enum Subject {
    Live(String),
    File(String),
}

/// A stream that a device can give, and where.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    stream: Stream,
    format: PixelFormat,
    profile: StreamProfile,
    sensor: usize,
    index: usize,
}

/// What came of waiting for a frame.
#[allow(clippy::large_enum_variant, reason = "it is nearly always a frame, and taken apart at once")]
pub(crate) enum Event {
    Frame(FrameHeader, Pixels, u64),
    Nothing,
    /// A file has come to its end; nothing comes before the next [`Camera::start`].
    End,
}

impl Camera {
    /// Finds the device and chooses its streams.
    pub(crate) fn open(request: &Request) -> Result<Self, DriverError> {
        let context = Context::new()
            .map_err(|fault| DriverError::new(format!("librealsense cannot be used: {fault}")))?;
        Self::open_in(context, request)
    }

    /// As [`Self::open`], among the devices of `context`.
    pub(crate) fn open_in(context: Context, request: &Request) -> Result<Self, DriverError> {
        let (subject, device, playback) = match request {
            Request::Live { serial, .. } => (Subject::Live(serial.clone()), find(&context, serial)?, None),
            Request::File { path, real_time, repeat, .. } => {
                let playback = Playback { real_time: *real_time, repeat: *repeat };
                (Subject::File(path.display().to_string()), open_file(&context, path)?, Some(playback))
            }
        };
        let sensors = device.sensors().map_err(|fault| subject.refuses(&fault))?;
        let (candidates, left_out) = candidates(&sensors);
        let chosen = match request {
            Request::Live { streams, .. } => choose_live(&subject, &candidates, streams)?,
            Request::File { streams, .. } => {
                for what in &left_out {
                    log::warn!("{subject}: {what} is left out: its format or size is unknown");
                }
                choose_recorded(&subject, &candidates, &left_out, streams)?
            }
        };
        let newest = [None; Stream::ALL.len()];
        Ok(Self { receiver: None, sensors, device, _context: context, subject, chosen, playback, newest })
    }

    /// How the file plays; none for a live camera.
    pub(crate) fn playback(&self) -> Option<Playback> {
        self.playback
    }

    /// The streams and their rates.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (Stream, StreamProfile)> + '_ {
        self.chosen.iter().map(|chosen| (chosen.stream, chosen.profile))
    }

    /// Starts the sensors. A file plays from its beginning.
    pub(crate) fn start(&mut self) -> Result<(), DriverError> {
        let (sender, receiver) = sync_channel(QUEUED_FRAMES_PER_STREAM * self.chosen.len());
        self.receiver = Some(receiver);
        self.newest = [None; Stream::ALL.len()];
        // Sensors start one after another, and a player starts with the first of them: it has to be held
        // until the last is there, or the first frames of the others are lost.
        if let Some(playback) = self.playback {
            let held = self.device.set_real_time(playback.real_time).and_then(|()| self.device.pause());
            held.map_err(|fault| self.subject.refuses(&fault))?;
        }
        // Even a held player reads one frame when its first sensor starts. A stream that is opened after that
        // is left out for good if its frames all lie before the next one, so every sensor opens first.
        for (number, sensor) in self.sensors.iter_mut().enumerate() {
            let indices: Vec<_> =
                self.chosen.iter().filter(|it| it.sensor == number).map(|it| it.index).collect();
            if !indices.is_empty() {
                sensor.open(&indices).map_err(|fault| self.subject.refuses(&fault))?;
            }
        }
        // Only a player that plays as fast as its frames are taken may be held up by its callbacks: a live
        // camera, or a recording at its own pace, would lose frames unseen instead of with a gap in numbers.
        let wait = self.playback.is_some_and(|playback| !playback.real_time);
        for sensor in self.sensors.iter_mut().filter(|sensor| sensor.is_open()) {
            let started = sensor.start(Sink { sender: sender.clone(), wait });
            started.map_err(|fault| self.subject.refuses(&fault))?;
        }
        if self.playback.is_some() {
            self.device.resume().map_err(|fault| self.subject.refuses(&fault))?;
        }
        Ok(())
    }

    /// Waits at most `timeout` for the next frame.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Event, DriverError> {
        let Some(receiver) = &self.receiver else { return Ok(Event::End) };
        let arrived = match receiver.recv_timeout(timeout) {
            Ok(arrived) => arrived,
            // The sensors hold the other end until they are silent, which only the end of a file makes them.
            Err(RecvTimeoutError::Disconnected) => {
                self.receiver = None;
                return Ok(Event::End);
            }
            Err(RecvTimeoutError::Timeout) => {
                if self.playback.is_some() && self.device.is_stopped().unwrap_or(true) {
                    // The queue has been seen empty, so there is room for what callbacks still bring.
                    self.sensors.iter_mut().for_each(OpenSensor::silence);
                }
                return Ok(Event::Nothing);
            }
        };
        let image = arrived.frame.into_image().map_err(|fault| self.subject.refuses(&fault))?;
        let Some(header) = header(&image) else {
            log::warn!("{} sent a frame of an unknown stream", self.subject);
            return Ok(Event::Nothing);
        };
        // What a held player has read may slip through when it is let go, and then comes again.
        let newest = self.newest[header.stream as usize].replace((header.number, header.timestamp));
        if newest == Some((header.number, header.timestamp)) {
            return Ok(Event::Nothing);
        }
        Ok(Event::Frame(header, image.into_pixels(), arrived.arrival_nanos))
    }

    /// Everything that stays the same.
    pub(crate) fn info(&self) -> CameraInfo {
        let Device { model, serial, firmware, usb_type, .. } = describe(self.device.device());
        let streams = self.chosen.iter().map(|chosen| self.stream_info(chosen)).collect();
        let depth_unit_meters = self.depth_unit_meters().unwrap_or_else(|| {
            if self.chosen.iter().any(|chosen| chosen.stream == Stream::Depth) {
                log::warn!(
                    "{} does not say its depth unit; {USUAL_DEPTH_UNIT_METERS} m is assumed",
                    self.subject
                );
            }
            USUAL_DEPTH_UNIT_METERS
        });
        CameraInfo {
            name: String::new(),
            driver: String::new(),
            serial,
            model,
            firmware,
            usb_type,
            depth_unit_meters,
            streams,
        }
    }

    fn stream_info(&self, chosen: &Candidate) -> StreamInfo {
        let profile = self.sensors[chosen.sensor].profile(chosen.index);
        let depth = self.chosen.iter().find(|it| it.stream == Stream::Depth);
        // Where no depth is chosen, any profile of depth is in the same place.
        let depth = depth.map(|it| (it.sensor, it.index)).or_else(|| self.any_depth());
        let depth = depth.and_then(|(sensor, index)| self.sensors[sensor].profile(index));
        let intrinsics = profile.as_ref().and_then(|profile| profile.get().intrinsics().ok());
        let to_depth = match (&profile, &depth) {
            _ if chosen.stream == Stream::Depth => Some(Extrinsics::IDENTITY),
            (Some(own), Some(depth)) => own.get().extrinsics(depth.get()).ok().map(|extrinsics| Extrinsics {
                rotation: extrinsics.rotation(),
                translation_meters: extrinsics.translation(),
            }),
            _ => None,
        };
        StreamInfo {
            stream: chosen.stream,
            format: chosen.format,
            profile: chosen.profile,
            intrinsics: intrinsics.and_then(|intrinsics| pinhole(&intrinsics.0)),
            to_depth,
        }
    }

    fn any_depth(&self) -> Option<(usize, usize)> {
        self.sensors.iter().enumerate().find_map(|(number, sensor)| {
            let index = sensor.profiles().position(|data| stream_of(&data) == Some(Stream::Depth))?;
            Some((number, index))
        })
    }

    fn depth_unit_meters(&self) -> Option<f32> {
        let units = |sensor: &OpenSensor| sensor.with_view(|view| view.get_option(Rs2Option::DepthUnits));
        self.sensors.iter().find_map(units).filter(|unit| unit.is_finite() && *unit > 0.0)
    }
}

impl Subject {
    /// librealsense fails where it should not: a camera that is used by someone else, or a broken file.
    fn refuses(&self, fault: &Fault) -> DriverError {
        match self {
            Self::Live(_) => DriverError::unavailable(format!("{self} cannot be used: {fault}")),
            Self::File(_) => DriverError::new(format!("{self} cannot be played: {fault}")),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Live(serial) => write!(f, "camera `{serial}`"),
            Self::File(path) => write!(f, "file `{path}`"),
        }
    }
}

/// The attached cameras.
pub(crate) fn devices() -> Result<Vec<Device>, DriverError> {
    let context = ViewContext::new()
        .map_err(|error| DriverError::new(format!("librealsense cannot be used: {}", error.1)))?;
    Ok(context.query_devices([].into()).iter().map(describe).collect())
}

fn describe(device: &DeviceView) -> Device {
    let info = |kind| device.info(kind).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    Device {
        model: info(Rs2CameraInfo::Name),
        serial: info(Rs2CameraInfo::SerialNumber),
        firmware: info(Rs2CameraInfo::FirmwareVersion),
        usb_type: info(Rs2CameraInfo::UsbTypeDescriptor),
        usb_port: String::new(),
        profiles: Vec::new(),
    }
}

/// The connected camera with this serial number. It does not wait for one, as librealsense's own search does.
fn find(context: &Context, serial: &str) -> Result<OpenDevice, DriverError> {
    let devices = context
        .devices()
        .map_err(|fault| DriverError::unavailable(format!("RealSense cameras cannot be listed: {fault}")))?;
    let mut others = Vec::new();
    for device in devices {
        match device.map(|device| (describe(device.device()).serial, device)) {
            Ok((own, device)) if own == serial => return Ok(device),
            Ok((own, _)) => others.push(format!("`{own}`")),
            Err(fault) => others.push(format!("one that cannot be opened ({fault})")),
        }
    }
    let connected = list(others.into_iter());
    Err(DriverError::unavailable(format!(
        "no RealSense camera with serial `{serial}` is connected; connected: {connected}"
    )))
}

fn open_file(context: &Context, path: &Path) -> Result<OpenDevice, DriverError> {
    let name = path.display();
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(DriverError::new(format!("file `{name}` does not exist")));
        }
        Err(error) => return Err(DriverError::new(format!("file `{name}` cannot be read: {error}"))),
        Ok(metadata) if metadata.is_dir() => {
            return Err(DriverError::new(format!("file `{name}` is a directory")));
        }
        Ok(_) => {}
    }
    context.open_file(path).map_err(|fault| {
        let told = fault.to_string();
        let reason = if told.contains("unindexed") {
            // The recorder writes the index last, and was killed before.
            "is not closed properly (bag unindexed)"
        } else if told.contains("Error reading from file") {
            // It begins as a recording and ends too soon: it was not copied to its end.
            "is cut off"
        } else {
            "is not a recording that librealsense can play"
        };
        DriverError::new(format!("file `{name}` {reason}: {fault}"))
    })
}

/// The streams that a device can give and camrig knows; and those in a format or size that it does not.
fn candidates(sensors: &[OpenSensor]) -> (Vec<Candidate>, Vec<String>) {
    let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
    for (sensor, open) in sensors.iter().enumerate() {
        for (index, data) in open.profiles().enumerate() {
            let Some(stream) = stream_of(&data) else { continue };
            let side = |pixels: i32| u32::try_from(pixels).unwrap_or(0);
            let profile =
                StreamProfile::new(side(data.width), side(data.height), side(data.frames_per_second));
            if let (Some(format), Ok(profile)) = (format_of(data.format), profile) {
                candidates.push(Candidate { stream, format, profile, sensor, index });
            } else {
                let ProfileData { width, height, frames_per_second, format, .. } = data;
                let format = format_name(format);
                left_out.push(format!("{stream} {width}x{height}@{frames_per_second} {format}"));
            }
        }
    }
    (candidates, left_out)
}

fn choose_live(
    subject: &Subject,
    candidates: &[Candidate],
    requests: &[StreamRequest],
) -> Result<Vec<Candidate>, DriverError> {
    let choose = |request: &StreamRequest| {
        let same = |it: &&Candidate| it.stream == request.stream && Some(it.format) == request.format;
        candidates.iter().filter(same).find(|it| it.profile == request.profile).copied().ok_or_else(|| {
            let mut profiles: Vec<_> = candidates.iter().filter(same).map(|it| it.profile).collect();
            profiles.sort_by_key(|it| (it.width(), it.height(), it.frames_per_second()));
            profiles.dedup();
            let there_are = list(profiles.iter().map(StreamProfile::to_string));
            let format = request.format.map(|format| format!(" in {format}")).unwrap_or_default();
            let StreamRequest { stream, profile, .. } = request;
            DriverError::new(format!(
                "{subject} has no {stream} stream {profile}{format}; there are: {there_are}"
            ))
        })
    };
    requests.iter().map(choose).collect()
}

/// All recorded streams, or those that are asked for.
fn choose_recorded(
    subject: &Subject,
    candidates: &[Candidate],
    left_out: &[String],
    requests: &[StreamRequest],
) -> Result<Vec<Candidate>, DriverError> {
    let recorded: Vec<_> = Stream::ALL
        .iter()
        .filter_map(|stream| candidates.iter().find(|it| it.stream == *stream))
        .copied()
        .collect();
    if recorded.is_empty() {
        // A recorder notes a stream with its first frame.
        if left_out.is_empty() {
            return Err(DriverError::new(format!("{subject} holds no color, depth or infrared frames")));
        }
        let (known, it_has) = (FORMATS.map(|(format, _)| format!("`{format}`")), left_out.iter().cloned());
        return Err(DriverError::new(format!(
            "{subject} has no stream in a known format; it has: {}; known: {}",
            list(it_has),
            list(known.into_iter()),
        )));
    }
    if requests.is_empty() {
        return Ok(recorded);
    }
    let choose = |request: &StreamRequest| {
        let same = |it: &&Candidate| it.stream == request.stream && it.profile == request.profile;
        recorded.iter().find(same).copied().ok_or_else(|| {
            let it_has =
                list(recorded.iter().map(|it| format!("{} {} {}", it.stream, it.profile, it.format)));
            let StreamRequest { stream, profile, .. } = request;
            DriverError::new(format!("{subject} has no {stream} stream {profile}; it has: {it_has}"))
        })
    };
    requests.iter().map(choose).collect()
}

fn list(choices: impl Iterator<Item = String>) -> String {
    let choices: Vec<_> = choices.collect();
    if choices.is_empty() { "none".to_owned() } else { choices.join(", ") }
}

fn stream_of(data: &ProfileData) -> Option<Stream> {
    match (data.stream, data.index) {
        (rs2::rs2_stream_RS2_STREAM_COLOR, _) => Some(Stream::Color),
        (rs2::rs2_stream_RS2_STREAM_DEPTH, _) => Some(Stream::Depth),
        (rs2::rs2_stream_RS2_STREAM_INFRARED, 2) => Some(Stream::Infrared2),
        // Cameras with a single infrared imager do not number it.
        (rs2::rs2_stream_RS2_STREAM_INFRARED, _) => Some(Stream::Infrared1),
        _ => None,
    }
}

fn format_of(number: rs2::rs2_format) -> Option<PixelFormat> {
    FORMATS.iter().find(|(_, own)| *own == number).map(|(format, _)| *format)
}

fn pinhole(intrinsics: &rs2::rs2_intrinsics) -> Option<Intrinsics> {
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

/// What librealsense says of a frame, if it is of a stream and format that were chosen.
fn header(image: &Image) -> Option<FrameHeader> {
    let view = image.view();
    let profile = view.stream_profile();
    let stream = match (profile.kind(), profile.index()) {
        (Rs2StreamKind::Color, _) => Stream::Color,
        (Rs2StreamKind::Depth, _) => Stream::Depth,
        (Rs2StreamKind::Infrared, 2) => Stream::Infrared2,
        (Rs2StreamKind::Infrared, _) => Stream::Infrared1,
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
    Some(FrameHeader {
        stream,
        format: format_of(profile.format() as rs2::rs2_format)?,
        width: view.width() as u32,
        height: view.height() as u32,
        stride_bytes: view.stride() as u32,
        number: view.frame_number(),
        // librealsense counts milliseconds in a double: exact to a microsecond of wall-clock time. The cast
        // saturates.
        timestamp: Timestamp { clock, nanos: (view.timestamp() * 1e6).round() as u64 },
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_known_format_says_what_it_has() {
        let subject = Subject::File("x.bag".into());
        let left_out = ["infrared-1 640x480@30 y16".to_owned(), "color 640x480@30 uyvy".to_owned()];
        assert_eq!(
            choose_recorded(&subject, &[], &left_out, &[]).unwrap_err().to_string(),
            "file `x.bag` has no stream in a known format; it has: infrared-1 640x480@30 y16, \
             color 640x480@30 uyvy; known: `z16`, `rgb8`, `bgr8`, `yuyv`, `y8`",
        );
    }
}
