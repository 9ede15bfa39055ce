//! The channels and the newest framesets of the cameras, from the actor's thread to the server's.
//!
//! A frameset is kept only while a viewer subscribes to its camera. This module does not depend on the WebSocket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use camrig::frame::{Clock, Stream, Timestamp};
use camrig::{FrameSet, ProcessorError, monotonic_nanos};
use tokio::sync::watch;

use crate::record::{ChannelOf, ContentOf, ImuMessage, WrittenCamera, channels_of};

/// The cameras that are shown.
pub(super) struct Cameras {
    jpeg_quality: Option<u8>,
    wall_minus_monotonic_nanos: i64,
    state: Mutex<State>,
    /// Notifies viewers of framesets and of channels.
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// By name.
    cameras: BTreeMap<String, LiveCamera>,
    /// The number of the next channel.
    next_channel: u64,
    /// Number of changes of channels.
    version: u64,
}

/// A camera.
struct LiveCamera {
    shown: Arc<AdvertisedCamera>,
    /// Number of subscriptions to channels of its frames.
    subscriptions: usize,
    /// Number of framesets that were kept.
    count: u64,
    newest: Option<Arc<Newest>>,
}

/// A camera as advertised to viewers. If it was reopened with other streams, it has new channels.
pub(super) struct AdvertisedCamera {
    source: Arc<WrittenCamera>,
    /// By number.
    pub(super) channels: BTreeMap<u64, ChannelOf>,
}

/// The newest frameset of a camera.
pub(super) struct Newest {
    pub(super) count: u64,
    pub(super) log_time: u64,
    shown: Arc<AdvertisedCamera>,
    frames: FrameSet,
    /// The messages of the requested streams, encoded once for all viewers; `None` if that failed.
    messages: Mutex<BTreeMap<Stream, Option<Arc<EncodedFrame>>>>,
}

/// The messages of a frame.
pub(super) struct EncodedFrame {
    pub(super) message: Vec<u8>,
    pub(super) samples: Vec<ImuMessage>,
}

impl Cameras {
    pub(super) fn new(jpeg_quality: Option<u8>) -> Result<Self, ProcessorError> {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as i64;
        Ok(Self {
            jpeg_quality,
            wall_minus_monotonic_nanos: wall - monotonic_nanos() as i64,
            state: Mutex::default(),
            changes: watch::Sender::new(()),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a receiver of changes.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Adds the channels of a camera that is new, and keeps the frameset if a viewer subscribes.
    pub(super) fn show(&self, frames: FrameSet) -> Result<(), ProcessorError> {
        let name = WrittenCamera::name_of(&frames);
        let mut state = self.state();
        if state.cameras.get(&name).is_none_or(|camera| !camera.shown.source.shows(&frames)) {
            self.add(&mut state, &name, &frames)?;
        }
        let Some(camera) = state.cameras.get_mut(&name).filter(|camera| camera.subscriptions > 0) else {
            return Ok(());
        };
        camera.count += 1;
        let log_time = (frames.arrival_nanos() as i64 + self.wall_minus_monotonic_nanos).max(0) as u64;
        let shown = Arc::clone(&camera.shown);
        let newest = Newest { count: camera.count, log_time, shown, frames, messages: Mutex::default() };
        let before = camera.newest.replace(Arc::new(newest));
        drop(state);
        // Outside the lock: the drop may unmap a pool.
        drop(before);
        self.changes.send_replace(());
        Ok(())
    }

    fn add(&self, state: &mut State, name: &str, frames: &FrameSet) -> Result<(), ProcessorError> {
        let jpeg = self.jpeg_quality.is_some();
        let source = WrittenCamera::new(name.to_owned(), frames, jpeg, self.wall_minus_monotonic_nanos);
        let nanos = frames.frames().next().map_or(0, |frame| frame.header().timestamp.nanos);
        let channels = channels_of(&source, Timestamp { clock: Clock::System, nanos })?;
        let numbers = state.next_channel..;
        state.next_channel += channels.len() as u64;
        state.version += 1;
        let channels = numbers.zip(channels).collect();
        let shown = Arc::new(AdvertisedCamera { source: Arc::new(source), channels });
        let count = state.cameras.get(name).map_or(0, |camera| camera.count);
        state.cameras.insert(name.to_owned(), LiveCamera { shown, subscriptions: 0, count, newest: None });
        self.changes.send_replace(());
        Ok(())
    }

    /// Returns all cameras if they have changed since this version, and the version now.
    pub(super) fn shown_since(&self, version: u64) -> Option<(u64, Vec<Arc<AdvertisedCamera>>)> {
        let state = self.state();
        let shown = || state.cameras.values().map(|camera| Arc::clone(&camera.shown)).collect();
        (state.version != version).then(|| (state.version, shown()))
    }

    /// Adds a subscription to the frames of a camera.
    pub(super) fn subscribe(&self, shown: &Arc<AdvertisedCamera>) {
        self.of(shown, |camera| camera.subscriptions += 1);
    }

    /// Removes a subscription. Without any, no frameset is kept.
    pub(super) fn unsubscribe(&self, shown: &Arc<AdvertisedCamera>) {
        let newest = self.of(shown, |camera| {
            camera.subscriptions = camera.subscriptions.saturating_sub(1);
            if camera.subscriptions == 0 { camera.newest.take() } else { None }
        });
        drop(newest);
    }

    /// Returns the newest frameset of a camera, if there is one after this count.
    pub(super) fn newest(&self, shown: &Arc<AdvertisedCamera>, since: u64) -> Option<Arc<Newest>> {
        let newest = self.of(shown, |camera| camera.newest.clone())?;
        newest.filter(|newest| newest.count > since)
    }

    /// Calls `with` for a camera that still has these channels.
    fn of<T>(&self, shown: &Arc<AdvertisedCamera>, with: impl FnOnce(&mut LiveCamera) -> T) -> Option<T> {
        let mut state = self.state();
        let camera = state.cameras.get_mut(&shown.source.name)?;
        Arc::ptr_eq(&camera.shown, shown).then(|| with(camera))
    }

    /// Returns the messages of a stream; `None` if the frameset lacks it.
    pub(super) fn encode(&self, newest: &Newest, stream: Stream) -> Option<Arc<EncodedFrame>> {
        let mut messages = newest.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = messages.get(&stream) {
            return known.clone();
        }
        let index = newest.frames.frames().position(|frame| frame.stream() == stream);
        let encoded = index.and_then(|index| {
            let mut message = Vec::new();
            let encoded = newest.shown.source.encode(&newest.frames, index, self.jpeg_quality, &mut message);
            encoded
                .inspect_err(|error| log::warn!("a {stream} frame is not shown: {error}"))
                .map(|(_, samples)| Arc::new(EncodedFrame { message, samples }))
                .ok()
        });
        messages.insert(stream, encoded.clone());
        encoded
    }

    /// Returns how many framesets are kept, and the streams that were encoded of them.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, Vec<Stream>) {
        let state = self.state();
        let newest: Vec<_> = state.cameras.values().filter_map(|camera| camera.newest.clone()).collect();
        let streams = newest
            .iter()
            .flat_map(|newest| newest.messages.lock().unwrap().keys().copied().collect::<Vec<_>>());
        (newest.len(), streams.collect())
    }
}

impl ChannelOf {
    /// Returns whether its messages come with framesets.
    pub(super) fn is_of_framesets(&self) -> bool {
        !matches!(self.content, ContentOf::Once(_))
    }
}

#[cfg(test)]
mod tests {
    use camrig::frame::PixelFormat;
    use camrig::testing::TestCamera;

    use super::*;

    fn camera(size: &str) -> TestCamera {
        let streams = [(Stream::COLOR, PixelFormat::Rgb8, size), (Stream::DEPTH, PixelFormat::Z16, size)];
        TestCamera::new("front", &streams)
    }

    fn shown(cameras: &Cameras) -> Arc<AdvertisedCamera> {
        let (_, shown) = cameras.shown_since(u64::MAX).unwrap();
        assert_eq!(shown.len(), 1);
        Arc::clone(&shown[0])
    }

    #[test]
    fn nothing_is_kept_or_encoded_without_subscriptions() {
        let cameras = Cameras::new(Some(80)).unwrap();
        let mut front = camera("4x2@30");
        let mut show = || cameras.show(front.frameset(0, &[&[200; 24], &[7; 16]])).unwrap();
        // More framesets than slots: none is held.
        (0..2 * camrig::testing::SLOTS).for_each(|_| show());
        assert_eq!(cameras.kept(), (0, Vec::new()));
        let of_front = shown(&cameras);
        let topics: Vec<_> = of_front.channels.values().map(|channel| channel.topic.as_str()).collect();
        assert_eq!(topics, ["/front/transform", "/front/color/image", "/front/depth/image"]);
        assert!(cameras.newest(&of_front, 0).is_none());

        cameras.subscribe(&of_front);
        (0..2 * camrig::testing::SLOTS).for_each(|_| show());
        assert_eq!(cameras.kept(), (1, Vec::new()));
        let newest = cameras.newest(&of_front, 0).unwrap();
        assert_eq!(newest.count, 2 * camrig::testing::SLOTS as u64);
        assert!(cameras.newest(&of_front, newest.count).is_none(), "it was sent");
        // Once for all viewers, and only requested streams.
        let encoded = cameras.encode(&newest, Stream::DEPTH).unwrap();
        assert!(Arc::ptr_eq(&encoded, &cameras.encode(&newest, Stream::DEPTH).unwrap()));
        assert!(cameras.encode(&newest, Stream::GYRO).is_none());
        assert_eq!(cameras.kept(), (1, vec![Stream::DEPTH, Stream::GYRO]));
        let image = crate::ros::read_image(&encoded.message).unwrap();
        assert_eq!((image.rows.encoding, image.data), ("16UC1", [7; 16].as_slice()));

        cameras.unsubscribe(&of_front);
        drop(newest);
        assert_eq!(cameras.kept(), (0, Vec::new()));
        show();
        assert_eq!(cameras.kept(), (0, Vec::new()));
    }

    #[test]
    fn a_camera_with_other_streams_has_new_channels() {
        let cameras = Cameras::new(None).unwrap();
        let pixels = |size: usize| (vec![1; 3 * size], vec![2; 2 * size]);
        let (color, depth) = pixels(8);
        cameras.show(camera("4x2@30").frameset(0, &[&color, &depth])).unwrap();
        let before = shown(&cameras);
        cameras.subscribe(&before);
        let (version, _) = cameras.shown_since(u64::MAX).unwrap();
        assert!(cameras.shown_since(version).is_none());
        let (color, depth) = pixels(16);
        cameras.show(camera("4x4@30").frameset(0, &[&color, &depth])).unwrap();
        let after = shown(&cameras);
        let numbers = |shown: &AdvertisedCamera| shown.channels.keys().copied().collect::<Vec<_>>();
        assert_eq!((numbers(&before), numbers(&after)), (vec![0, 1, 2], vec![3, 4, 5]));
        // The subscription ended with the channels.
        cameras.unsubscribe(&before);
        assert!(cameras.newest(&before, 0).is_none() && cameras.newest(&after, 0).is_none());
        assert_eq!(cameras.kept(), (0, Vec::new()));
    }
}
