//! Serves one page over its WebSocket.
//!
//! Sessions run on the server's only thread. A page gets nothing that it did not request, and requests a camera's next frameset
//! after it has shown the previous one. So at most one message per camera is in flight, and none to a frozen page.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message as Packet, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use camrig::FrameSet;
use camrig::frame::{
    DType, DepthView, Frame, MotionSample, PixelFormat, PointsView, Role, Stream, TensorView,
};
use camrig_image::{Colorizer, LightImage, Picture, small_depth_jpeg, small_jpeg};
use camrig_status::{ActorRole, ActorStatus, RigStatus};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use crate::cameras::{Cameras, Tile, Viewer};
use crate::options::ViewOptions;
use crate::pages::{Page, Pages};
use crate::protocol::{
    ActorProgress, ActorWarning, CameraStatus, Form, FramesetRequest, MessageHead, PageMessage, PartKind,
    Question, ShownFrame, StreamStatus, ViewStatus, checked,
};
use crate::range;
use crate::recordings::Recordings;

/// The approximate maximum width of the picture of a mask, in pixels: it is drawn translucent, so it needs no more.
const MASK_WIDTH_MAX: u32 = 640;

/// The maximum number of different values of an image of classes.
const CLASSES_MAX: usize = 32;

/// The maximum number of points that a page gets of a frame: 16 bytes each.
const POINTS_MAX: usize = 60_000;

/// The maximum size of a message of a frameset that a page gets, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The maximum size of a request, in bytes.
const QUESTION_BYTES_MAX: usize = 4096;

/// Time without a request, or for sending an answer, after which a page is considered closed. A hidden page still requests the
/// status at intervals, and a page that becomes visible connects again.
const SILENCE: Duration = Duration::from_secs(120);

/// The maximum age of a status of the rig, which all pages share.
const STATUS_AGE: Duration = Duration::from_millis(300);

/// The stream of `merge` that has the number of the camera of each point.
const ORIGIN: &str = "origin";

/// Maximum number of warnings on a page.
const WARNINGS_SHOWN: usize = 4;

/// The time after its last picture in which a camera counts for the common range of depth.
const RANGE_AGE: Duration = Duration::from_secs(3);

/// The data that all pages of a view share.
#[derive(Clone)]
pub(crate) struct Sessions(Arc<Shared>);

struct Shared {
    cameras: Arc<Cameras>,
    pages: Arc<Pages>,
    rig: String,
    view: String,
    options: ViewOptions,
    status: Mutex<LastStatus>,
}

/// The last status of the rig.
#[derive(Default)]
struct LastStatus {
    read_at: Option<Instant>,
    /// `None` while the supervisor does not answer.
    rig: Option<RigStatus>,
    recordings: Recordings,
}

impl Sessions {
    /// Creates the data for pages of `cameras`, in the rig whose status socket is `rig`, for the actor `view`.
    pub(crate) fn new(cameras: Arc<Cameras>, options: ViewOptions, rig: &str, view: &str) -> Self {
        Self(Arc::new(Shared {
            cameras,
            pages: Arc::default(),
            rig: rig.to_owned(),
            view: view.to_owned(),
            options,
            status: Mutex::default(),
        }))
    }
}

/// Returns the route of the WebSocket.
pub(crate) fn route(sessions: Sessions) -> Router {
    Router::new().route("/socket", get(open)).with_state(sessions)
}

async fn open(State(Sessions(shared)): State<Sessions>, upgrade: WebSocketUpgrade) -> Response {
    let Some(page) = shared.pages.open(Instant::now()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let upgrade = upgrade.max_message_size(QUESTION_BYTES_MAX).max_frame_size(QUESTION_BYTES_MAX);
    upgrade.on_upgrade(|socket| async move {
        let viewer = shared.cameras.add_viewer();
        let session = Session { shared, viewer, wanted: BTreeMap::new(), shown: BTreeMap::new() };
        tokio::select! {
            // The page is closed, with or without an error.
            _ = session.run(socket, &page) => {}
            () = page.closed() => {}
        }
    })
}

struct Session {
    shared: Arc<Shared>,
    viewer: Viewer,
    /// At most one request per camera.
    wanted: BTreeMap<usize, FramesetRequest>,
    /// By camera.
    shown: BTreeMap<usize, Before>,
}

/// The state that a camera's last picture leaves for the next one.
#[derive(Default)]
struct Before {
    at: Option<Instant>,
    range_meters: BTreeMap<Stream, (f32, f32)>,
    /// The number of samples of each stream of motion that the page has got.
    samples: BTreeMap<Stream, u64>,
}

impl Session {
    /// Answers requests until the page is closed.
    async fn run(mut self, mut socket: WebSocket, page: &Page) -> Option<()> {
        let mut silent_at = Instant::now() + SILENCE;
        // Read in a task of its own: a supervisor that does not answer delays no picture.
        let mut status: Option<JoinHandle<ViewStatus>> = None;
        loop {
            let mut wake_at = silent_at;
            for camera in self.wanted.keys().copied().collect::<Vec<_>>() {
                let due = self.due(camera);
                if due > Instant::now() {
                    wake_at = wake_at.min(due);
                } else if let Some(message) = self.answer(camera) {
                    timeout(SILENCE, socket.send(Packet::binary(message))).await.ok()?.ok()?;
                }
            }
            tokio::select! {
                packet = socket.recv() => {
                    silent_at = Instant::now() + SILENCE;
                    page.asked(Instant::now());
                    match packet?.ok()? {
                        Packet::Text(text) => self.handle(&text, &mut status)?,
                        Packet::Close(_) => return None,
                        _ => {}
                    }
                }
                read = async { status.as_mut()?.await.ok() }, if status.is_some() => {
                    status = None;
                    let text = serde_json::to_string(&read?).ok()?;
                    timeout(SILENCE, socket.send(Packet::text(text))).await.ok()?.ok()?;
                }
                () = self.viewer.arrival(), if !self.wanted.is_empty() => {}
                () = sleep_until(wake_at.into()) => {
                    if Instant::now() >= silent_at {
                        return None;
                    }
                }
            }
        }
    }

    /// Handles a request. An invalid one ends the session: this program's page does not send it.
    fn handle(&mut self, text: &str, status: &mut Option<JoinHandle<ViewStatus>>) -> Option<()> {
        match serde_json::from_str(text).ok()? {
            Question::Frames(wanted) => {
                if wanted.camera < self.shared.cameras.count() {
                    self.wanted.insert(wanted.camera, wanted);
                }
            }
            // One answer is enough for requests that come before it.
            Question::Status if status.is_some() => {}
            Question::Status => {
                let shared = Arc::clone(&self.shared);
                *status = Some(tokio::spawn(async move { shared.status().await }));
            }
        }
        Some(())
    }

    /// Returns the earliest time for the camera's next picture.
    fn due(&self, camera: usize) -> Instant {
        let last = self.shown.get(&camera).and_then(|before| before.at);
        last.map_or_else(Instant::now, |last| last + self.shared.options.frame_time)
    }

    /// Returns the range of depth of all pictures that were sent lately: one scale holds for all of them.
    fn common_range(&self) -> Option<(f32, f32)> {
        let is_recent = |at: &Instant| at.elapsed() < RANGE_AGE;
        let recent = self.shown.values().filter(|before| before.at.as_ref().is_some_and(is_recent));
        recent
            .flat_map(|before| before.range_meters.values())
            .copied()
            .fold(None, |all, range| range::union(all, Some(range)))
    }

    /// Returns the requested frameset as a message, if there is one.
    fn answer(&mut self, camera: usize) -> Option<Vec<u8>> {
        let after = self.wanted.get(&camera)?.after;
        let (count, frames) = self.viewer.newest(camera, after)?;
        let wanted = self.wanted.remove(&camera)?;
        let common = self.common_range();
        let viewer = &self.viewer;
        let samples = |stream, seen| viewer.samples(camera, stream, seen);
        let before = self.shown.entry(camera).or_default();
        // Counts from the due time, not from now: otherwise the rate would stay below the requested one.
        let now = Instant::now();
        let due = before
            .at
            .map(|at| at + self.shared.options.frame_time)
            .filter(|due| now - *due < self.shared.options.frame_time);
        before.at = Some(due.unwrap_or(now));
        let source = AnswerContent { frames: &frames, count, samples: &samples, common };
        message(&source, &wanted, before, self.shared.options.quality)
            .inspect_err(|error| log::warn!("no picture of `{}`: {error}", frames.camera()))
            .ok()
    }
}

/// The content of an answer.
struct AnswerContent<'a> {
    frames: &'a FrameSet,
    count: u64,
    /// Returns the samples of a stream of motion behind the first ones, and the number of all so far.
    samples: &'a dyn Fn(Stream, u64) -> (Vec<MotionSample>, u64),
    /// The range of depth of the other pictures of the page.
    common: Option<(f32, f32)>,
}

/// Encodes the answer to one request.
fn message(
    source: &AnswerContent<'_>,
    wanted: &FramesetRequest,
    before: &mut Before,
    quality: u8,
) -> std::io::Result<Vec<u8>> {
    let AnswerContent { frames, count, samples, common } = *source;
    let mut message = PageMessage::default();
    let mut shown = MessageHead::new(wanted.camera, count, frames.sequence(), frames.info());
    shown.files = wanted.files;
    shown.origins = frames.origins().iter().map(|origin| origin.camera.to_string()).collect();
    shown.frames = frames.frames().map(|frame| ShownFrame::of(frame.header())).collect();
    let color = frames.frame(Stream::COLOR).map(|frame| *frame.payload());
    for frame in frames.frames().filter(|frame| wanted.streams.contains(&frame.stream())) {
        match Form::of(frame.role(), frame.payload(), color.as_ref()) {
            Form::Picture => match depth_of(frames, frame) {
                Some(depth) => add_depth(&mut message, &depth, wanted, before, common, quality),
                None => add_picture(&mut message, frame, wanted.width, quality)?,
            },
            Form::Mask => add_mask(&mut message, frame, wanted.width, quality)?,
            Form::Points => add_points(&mut message, frame, &camera_numbers(frames), wanted.width),
            Form::Message => {
                if !add_message(&mut message, frame) {
                    shown.too_large.push(frame.stream());
                }
            }
            Form::Plot => add_samples(&mut message, frame, before, samples),
            Form::Listed => {}
        }
    }
    for depth in frames.frames().filter_map(|frame| depth_of(frames, frame)) {
        let what = size_of(depth.frame());
        if wanted.depth {
            message.add(PartKind::Units, what, |bytes| {
                bytes.extend(depth.iter_units().flat_map(u16::to_le_bytes));
            });
        }
        if wanted.files {
            let file = Picture::depth16(&depth).to_png()?;
            message.add(PartKind::File, what, |bytes| bytes.extend(file));
        }
    }
    if wanted.files {
        add_color_file(&mut message, frames)?;
    }
    Ok(message.finish(shown)?)
}

fn size_of(frame: Frame<'_>) -> (Stream, u32, u32) {
    (frame.stream(), frame.width(), frame.height())
}

/// Returns the depths of a frame, if they are its role. A camera may have several streams of depth, of one unit.
fn depth_of<'a>(frames: &'a FrameSet, frame: Frame<'a>) -> Option<DepthView<'a>> {
    if frame.role() != Role::Depth {
        return None;
    }
    DepthView::new(frame, frames.info().depth_unit_meters, None)
}

/// Adds a picture of depth in colors.
fn add_depth(
    message: &mut PageMessage,
    depth: &DepthView<'_>,
    wanted: &FramesetRequest,
    before: &mut Before,
    common: Option<(f32, f32)>,
    quality: u8,
) {
    let frame = depth.frame();
    let given = wanted.range_meters.and_then(checked).map(|range| (range.start, range.end));
    let last = before.range_meters.get(&frame.stream()).copied();
    let found = range::range(depth, last).or(last);
    before.range_meters.extend(found.map(|range| (frame.stream(), range)));
    let range = given.or_else(|| range::union(common, found)).unwrap_or((0.0, 1.0));
    let Some(colors) = Colorizer::new(range.0, range.1) else { return };
    message.add(PartKind::Picture, size_of(frame), |jpeg| {
        warn_of(frame, small_depth_jpeg(depth, &colors, wanted.width, quality, jpeg));
    });
    message.set_range(range);
}

/// Adds the color image as a PNG file, unless it cannot be decoded.
fn add_color_file(message: &mut PageMessage, frames: &FrameSet) -> std::io::Result<()> {
    let image = frames.color_image().inspect_err(|error| warn(Stream::COLOR, error)).ok().flatten();
    if let Some(color) = image.as_ref().and_then(LightImage::view) {
        let file = Picture::color(&color).to_png()?;
        message.add(PartKind::File, size_of(color.frame()), |bytes| bytes.extend(file));
    }
    Ok(())
}

/// Adds a picture of an image: of its classes if it has some, otherwise of its light.
fn add_picture(message: &mut PageMessage, frame: Frame<'_>, width: u32, quality: u8) -> std::io::Result<()> {
    if frame.role() == Role::Other && add_classes(message, frame, width)? {
        return Ok(());
    }
    message.add(PartKind::Picture, size_of(frame), |jpeg| {
        warn_of(frame, small_jpeg(frame, width, quality, jpeg));
    });
    Ok(())
}

/// Adds a picture of the classes of a mask, or a gray picture of the mask.
fn add_mask(message: &mut PageMessage, frame: Frame<'_>, width: u32, quality: u8) -> std::io::Result<()> {
    let width = width.min(MASK_WIDTH_MAX);
    if !add_classes(message, frame, width)? {
        message.add(PartKind::Mask, size_of(frame), |jpeg| {
            warn_of(frame, small_jpeg(frame, width, quality, jpeg));
        });
    }
    Ok(())
}

/// Adds the numbers of an image of classes. Returns false if it is not one.
fn add_classes(message: &mut PageMessage, frame: Frame<'_>, width: u32) -> std::io::Result<bool> {
    if !has_classes(frame) {
        return Ok(false);
    }
    let Some(picture) = Picture::small_classes(frame, width) else { return Ok(false) };
    let file = picture.to_png()?;
    message.add(PartKind::Classes, size_of(frame), |bytes| bytes.extend(file));
    Ok(true)
}

/// Returns whether the values of an 8-bit image are numbers of classes: they are few, and not only 0 and 255, which
/// are those of a mask.
fn has_classes(frame: Frame<'_>) -> bool {
    if frame.payload().pixel_format() != Some(PixelFormat::Y8) {
        return false;
    }
    let mut seen = [false; 256];
    let mut count = 0;
    for &value in frame.rows().flatten() {
        if !std::mem::replace(&mut seen[usize::from(value)], true) {
            count += 1;
            if count > CLASSES_MAX {
                return false;
            }
        }
    }
    seen[1..255].contains(&true)
}

/// Returns the number of the camera of each point of a frameset whose points are of several cameras; otherwise nothing.
fn camera_numbers(frames: &FrameSet) -> Vec<u8> {
    let frame = ORIGIN.parse().ok().and_then(|stream| frames.frame(stream));
    let of_several = frame.filter(|_| !frames.origins().is_empty()).and_then(TensorView::new);
    let bytes = of_several.filter(|tensor| tensor.dtype() == DType::U8);
    bytes.map(|tensor| tensor.bytes().to_vec()).unwrap_or_default()
}

/// Adds points, fewer for a smaller picture; `numbers` are those of their cameras, or nothing.
fn add_points(message: &mut PageMessage, frame: Frame<'_>, numbers: &[u8], width: u32) {
    let Some(points) = PointsView::new(frame) else { return };
    let columns = (frame.width() as usize).max(1);
    let max = (width as usize).pow(2).clamp(1, POINTS_MAX);
    // Of this many rows and columns, one each is sent.
    let all_by_max = (columns * frame.height() as usize).div_ceil(max);
    let step = all_by_max.saturating_sub(1).isqrt() + 1;
    let is_sent =
        |index: usize| (index % columns).is_multiple_of(step) && (index / columns).is_multiple_of(step);
    message.add(PartKind::Points, size_of(frame), |bytes| {
        let sent = points.iter().enumerate().filter(|(index, _)| is_sent(*index));
        for (index, point) in sent.filter_map(|(index, point)| Some((index, point?))) {
            bytes.extend(point.meters.iter().flat_map(|meters| meters.to_le_bytes()));
            let [red, green, blue] = point.rgb.unwrap_or_default();
            // There are at most 64 cameras.
            let number = numbers.get(index).copied().unwrap_or(0) & 0x7f;
            bytes.extend([red, green, blue, number << 1 | u8::from(point.rgb.is_some())]);
        }
    });
}

/// Adds the samples of motion that the page does not have yet.
fn add_samples(
    message: &mut PageMessage,
    frame: Frame<'_>,
    before: &mut Before,
    samples: &dyn Fn(Stream, u64) -> (Vec<MotionSample>, u64),
) {
    let seen = before.samples.entry(frame.stream()).or_default();
    let (samples, count) = samples(frame.stream(), *seen);
    *seen = count;
    message.add(PartKind::Samples, (frame.stream(), samples.len() as u32, 1), |bytes| {
        for MotionSample { nanos, xyz } in &samples {
            bytes.extend((*nanos as f64 / 1e6).to_le_bytes());
            bytes.extend(xyz.iter().flat_map(|value| value.to_le_bytes()));
        }
    });
}

/// Adds the bytes of a message. Returns `false` if there are too many.
fn add_message(message: &mut PageMessage, frame: Frame<'_>) -> bool {
    let fits = frame.bytes().len() <= MESSAGE_BYTES_MAX;
    if fits {
        message.add(PartKind::Message, (frame.stream(), 0, 0), |bytes| bytes.extend(frame.bytes()));
    }
    fits
}

/// Logs a frame that cannot be encoded: its part of the message is missing.
fn warn_of<E: Display>(frame: Frame<'_>, encoded: Result<(), E>) {
    if let Err(error) = encoded {
        warn(frame.stream(), &error);
    }
}

fn warn(stream: Stream, error: &impl Display) {
    log::warn!("no picture of a {stream} frame: {error}");
}

impl Shared {
    async fn status(&self) -> ViewStatus {
        let mut status = self.status.lock().await;
        if status.read_at.is_none_or(|read| read.elapsed() >= STATUS_AGE) {
            status.read_at = Some(Instant::now());
            status.rig = camrig_http::status_of(&self.rig).await.ok();
            if self.options.control
                && let Some(rig) = status.rig.clone()
            {
                let recordings = std::mem::take(&mut status.recordings);
                status.recordings = recordings.updated(&self.rig, rig).await;
            }
        }
        let rig = status.rig.as_ref();
        ViewStatus {
            control: self.options.control,
            recordings: status.recordings.all(),
            topology: rig.map(|rig| rig.topology.clone()).unwrap_or_default(),
            matching: rig.map(|rig| rig.matching.clone()).unwrap_or_default(),
            warnings: rig.map(warnings).unwrap_or_default(),
            progress: rig.map(progress).unwrap_or_default(),
            cameras: self.cameras.all().iter().map(|camera| self.camera_status(camera, rig)).collect(),
        }
    }

    fn camera_status(&self, camera: &Tile, rig: Option<&RigStatus>) -> CameraStatus {
        let input = &*camera.input;
        let actor = actor_of(rig, input);
        // The camera whose framesets a processor forwards counts their streams.
        let source = camera.info.as_ref().and_then(|info| actor_of(rig, &info.name)).or(actor);
        let link =
            rig.and_then(|rig| rig.links.iter().find(|link| link.from == input && link.to == self.view));
        let info = camera.info.as_ref();
        let label = info.map_or(input, |info| &info.name);
        let silent = camera.last.elapsed();
        let is_live = camera.count > 0 && silent < self.options.signal_timeout;
        CameraStatus {
            label: if label == input { label.to_owned() } else { format!("{input} · {label}") },
            input: input.to_owned(),
            actor: source.filter(|source| source.role == ActorRole::Camera).map(|source| source.name.clone()),
            model: info.map(|info| info.model.clone()).unwrap_or_default(),
            serial: info.map(|info| info.serial.clone()).unwrap_or_default(),
            pose: info.and_then(|info| info.pose.clone()),
            lens: info.and_then(|info| info.stream_of(Role::Depth)?.intrinsics),
            streams: StreamStatus::of(&camera.streams, source.map_or(&[], |source| &source.streams)),
            live: is_live,
            silent_millis: silent.as_millis() as u64,
            latency_millis: is_live.then_some(camera.latency_micros / 1e3),
            state: actor.map(|actor| actor.state),
            error: actor.map(|actor| actor.error.clone()),
            rate_hz: link.map(|link| link.rate_hz),
            dropped: link.map(camrig_status::LinkStatus::dropped_sum),
            lost: actor.map(|actor| actor.lost),
            restarts: actor.map(|actor| actor.restarts),
        }
    }
}

/// Returns what the processors say that have not ended.
fn progress(rig: &RigStatus) -> Vec<ActorProgress> {
    let says = |actor: &&ActorStatus| !actor.progress.is_empty() && !actor.state.has_ended();
    let said =
        |actor: &ActorStatus| ActorProgress { actor: actor.name.clone(), text: actor.progress.clone() };
    rig.actors.iter().filter(says).map(said).collect()
}

/// Returns the newest warnings of all processors, in order of time.
fn warnings(rig: &RigStatus) -> Vec<ActorWarning> {
    let of_actor = |actor: &ActorStatus| {
        let name = actor.name.clone();
        actor.warnings.clone().into_iter().map(move |warning| ActorWarning { actor: name.clone(), warning })
    };
    let mut all: Vec<_> = rig.actors.iter().flat_map(of_actor).collect();
    all.sort_by(|a, b| a.warning.seconds.total_cmp(&b.warning.seconds));
    all.split_off(all.len().saturating_sub(WARNINGS_SHOWN))
}

/// Returns the status of the actor with this name.
fn actor_of<'a>(rig: Option<&'a RigStatus>, name: &str) -> Option<&'a ActorStatus> {
    rig.and_then(|rig| rig.actors.iter().find(|actor| actor.name == name))
}

#[cfg(test)]
mod tests {
    use camrig::frame::{CameraInfo, FrameHeader, JSON, Name, Payload, PixelFormat, Role};

    use super::*;

    /// Returns the text in front of the parts, and the bytes of the parts.
    fn sent(message: PageMessage) -> (serde_json::Value, Vec<u8>) {
        let info = CameraInfo::default();
        let bytes = message.finish(MessageHead::new(0, 7, 3, &info)).unwrap();
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (text, parts) = rest.split_at(u32::from_le_bytes(*length) as usize);
        (serde_json::from_slice(text).unwrap(), parts.to_vec())
    }

    fn boxes(size_bytes: usize) -> FrameHeader {
        let schema = Name::constant("camrig.Boxes");
        let payload = Payload::Message { schema, encoding: JSON, size_bytes: size_bytes as u32 };
        FrameHeader { role: Role::Other, ..FrameHeader::new(Stream::new("boxes").unwrap(), payload) }
    }

    #[test]
    fn a_message_is_sent_byte_for_byte_unless_it_is_too_large() {
        let text = br#"[{"label":"red","score":0.5,"box":[8,8,16,8]}]"#;
        let mut message = PageMessage::default();
        assert!(add_message(&mut message, Frame::new(&boxes(text.len()), text.as_slice()).unwrap()));
        let large = vec![b' '; MESSAGE_BYTES_MAX + 1];
        assert!(!add_message(&mut message, Frame::new(&boxes(large.len()), large.as_slice()).unwrap()));
        let (shown, bytes) = sent(message);
        let part = serde_json::json!(
            [{ "kind": "message", "stream": "boxes", "width": 0, "height": 0, "bytes": text.len() }]
        );
        assert_eq!((&shown["parts"], bytes.as_slice()), (&part, text.as_slice()));
    }

    #[test]
    fn a_mask_is_a_small_picture_at_any_requested_size() {
        let header = FrameHeader::image(Stream::new("mask").unwrap(), PixelFormat::Y8, 1280, 720);
        let pixels = vec![255; 1280 * 720];
        let mut message = PageMessage::default();
        add_mask(&mut message, Frame::new(&header, pixels.as_slice()).unwrap(), u32::MAX, 80).unwrap();
        let (shown, bytes) = sent(message);
        let part = serde_json::json!(
            [{ "kind": "mask", "stream": "mask", "width": 1280, "height": 720, "bytes": bytes.len() }]
        );
        assert_eq!(shown["parts"], part);
        // The sides of the picture, from the frame header of the JPEG: height, then width.
        let at = bytes.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        assert_eq!(bytes[at + 5..at + 9], [360_u16.to_be_bytes(), 640_u16.to_be_bytes()].concat());
    }

    #[test]
    fn few_values_are_classes_and_sent_as_they_are() {
        let header = FrameHeader::image(Stream::new("classes").unwrap(), PixelFormat::Y8, 64, 2);
        let header = FrameHeader { role: Role::Other, ..header };
        let kind = |pixels: &[u8]| {
            let mut message = PageMessage::default();
            add_picture(&mut message, Frame::new(&header, pixels).unwrap(), 64, 80).unwrap();
            let (shown, bytes) = sent(message);
            (shown["parts"][0]["kind"].as_str().unwrap().to_owned(), bytes)
        };
        let mut pixels = vec![0; 128];
        assert_eq!(kind(&pixels).0, "picture");
        pixels[..9].copy_from_slice(&[0, 1, 2, 3, 2, 1, 0, 255, 255]);
        let (classes, png) = kind(&pixels);
        assert_eq!((classes.as_str(), &png[1..4]), ("classes", b"PNG".as_slice()));
        let gradient: Vec<u8> = (0..128).collect();
        assert_eq!(kind(&gradient).0, "picture");
        let mask = [vec![0; 64], vec![255; 64]].concat();
        assert_eq!(kind(&mask).0, "picture");
    }

    #[test]
    fn points_without_depth_are_left_out_and_a_small_picture_gets_fewer() {
        let payload = Payload::Points { width: 64, height: 32 };
        let header = FrameHeader { role: Role::Points, ..FrameHeader::new(Stream::POINTS, payload) };
        let point = |z: f32, rgb: [u8; 4]| {
            [[0.5_f32, -0.25, z].map(f32::to_le_bytes).concat(), rgb.to_vec()].concat()
        };
        let none = [0; 16];
        let bytes = [point(2.0, [7, 8, 9, 255]), none.repeat(1023), point(3.0, [0; 4]).repeat(1024)].concat();
        let points = |width| {
            let mut message = PageMessage::default();
            let numbers = [[0; 1024], [5; 1024]].concat();
            add_points(&mut message, Frame::new(&header, bytes.as_slice()).unwrap(), &numbers, width);
            sent(message)
        };
        let (shown, all) = points(300);
        let part = serde_json::json!(
            [{ "kind": "points", "stream": "points", "width": 64, "height": 32, "bytes": 16 * 1025 }]
        );
        assert_eq!(shown["parts"], part);
        assert_eq!(all[..32], [point(2.0, [7, 8, 9, 1]), point(3.0, [0, 0, 0, 10])].concat());
        // Every third row and column of those with depth: rows 18 to 30, 22 columns; and the first point.
        assert_eq!(points(16).1.len(), 16 * (1 + 5 * 22));
    }
}
