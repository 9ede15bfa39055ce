//! The framesets of a bag's camera, as messages of a recording.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use camrig::frame::{CameraInfo, Clock, FrameHeader, MotionSample, Payload, Stream, StreamInfo, Timestamp};

use super::gather::{Frame, Gather};
use super::survey::{BagCamera, frame_of};
use super::topics::TopicRole;
use crate::record::{Encoded, WrittenCamera};
use crate::ros;

/// Makes the framesets of a camera from its messages, one by one.
pub(crate) struct Framesets {
    of: BagCamera,
    gather: Gather,
    /// By the streams of images of a frameset.
    sources: BTreeMap<Vec<Stream>, Arc<WrittenCamera>>,
    count: u64,
    /// The number of frames of each stream.
    numbers: BTreeMap<Stream, u64>,
}

impl Framesets {
    pub(crate) fn new(of: BagCamera) -> Self {
        let gather = Gather::new(&of.images, &of.motions);
        Self { of, gather, sources: BTreeMap::new(), count: 0, numbers: BTreeMap::new() }
    }

    pub(crate) fn info(&self) -> &Arc<CameraInfo> {
        &self.of.info
    }

    /// Returns whether a topic is one of the camera's frames.
    pub(crate) fn has(&self, topic: u16) -> bool {
        self.of.topics.contains_key(&topic)
    }

    /// Returns the number of framesets so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the number of samples of motion that were left out, since no image followed them for too long.
    pub(crate) fn early_samples(&self) -> u64 {
        self.gather.left_out()
    }

    /// Returns the number of samples of motion that are in no frameset.
    pub(crate) fn late_samples(&mut self) -> u64 {
        self.gather.take_samples(u64::MAX).iter().map(|(_, samples)| samples.len() as u64).sum()
    }

    /// Adds a message of one of its topics, and returns the framesets that are then complete.
    ///
    /// # Errors
    /// The fault of the message.
    pub(crate) fn add(&mut self, topic: u16, data: &Bytes, log_time: u64) -> Result<Vec<Encoded>, String> {
        let Some(&role) = self.of.topics.get(&topic) else { return Ok(Vec::new()) };
        let mut framesets = Vec::new();
        match role {
            TopicRole::Image(stream) | TopicRole::Compressed(stream) => {
                let (mut frame, _) = frame_of(role, stream, data, log_time)?;
                let declared = self.of.info.stream(stream).map(|info| info.payload);
                let is_same = declared.is_some_and(|declared| {
                    declared.format() == frame.payload.format() && declared.size() == frame.payload.size()
                });
                if !is_same {
                    return Err(format!("a frame of {stream} is {}, unlike the first one", frame.payload));
                }
                // A frame that waits does not keep the memory of its chunk.
                frame.data = Bytes::copy_from_slice(&frame.data);
                self.gather.add(frame, &mut |frameset| framesets.push(frameset));
            }
            TopicRole::Motion(_) | TopicRole::BothMotions => {
                let read = ros::read_imu(data).ok_or("a sample of motion cannot be read")?;
                let nanos = read.header.nanos;
                for (stream, xyz) in
                    [(Stream::GYRO, read.angular_velocity), (Stream::ACCEL, read.linear_acceleration)]
                {
                    let is_wanted =
                        matches!(role, TopicRole::BothMotions) || role == TopicRole::Motion(stream);
                    if let Some(xyz) = xyz.filter(|_| is_wanted) {
                        self.gather
                            .add_sample(stream, MotionSample { nanos, xyz: xyz.map(|part| part as f32) });
                    }
                }
            }
            TopicRole::Calibration(_) | TopicRole::Transforms => {}
        }
        self.encode(framesets)
    }

    /// Returns the framesets of all frames that are left.
    ///
    /// # Errors
    /// The fault of one.
    pub(crate) fn finish(&mut self) -> Result<Vec<Encoded>, String> {
        let mut framesets = Vec::new();
        self.gather.finish(&mut |frameset| framesets.push(frameset));
        self.encode(framesets)
    }

    fn encode(&mut self, framesets: Vec<Vec<Frame>>) -> Result<Vec<Encoded>, String> {
        let mut all = Vec::new();
        for frameset in framesets {
            let Some(first) = frameset.first() else { continue };
            let log_time = first.log_time;
            let samples = self.gather.take_samples(first.nanos);
            let streams: Vec<_> = frameset.iter().map(|frame| frame.stream).collect();
            let mut frames = Vec::new();
            for Frame { stream, nanos, payload, data, .. } in frameset {
                frames.push((self.header(stream, payload, nanos, 1), data));
            }
            for (stream, samples) in samples {
                let payload = Payload::Motion { samples: samples.len() as u32 };
                let last = samples.last().map_or(0, |sample| sample.nanos);
                let data = samples.iter().flat_map(|sample| sample.to_bytes()).collect();
                frames.push((self.header(stream, payload, last, samples.len() as u64), data));
            }
            let source = self.source(streams);
            let encoded = Encoded::of_frames(source, self.count, log_time, &frames);
            all.push(encoded.map_err(|error| error.to_string())?);
            self.count += 1;
        }
        Ok(all)
    }

    fn header(&mut self, stream: Stream, payload: Payload, nanos: u64, frames: u64) -> FrameHeader {
        let next = self.numbers.entry(stream).or_default();
        *next += frames;
        let timestamp = Timestamp { clock: Clock::System, nanos };
        FrameHeader { number: *next - 1, timestamp, ..FrameHeader::new(stream, payload) }
    }

    /// Returns the camera with these streams of images, and all of motion.
    fn source(&mut self, images: Vec<Stream>) -> Arc<WrittenCamera> {
        let info = &self.of.info;
        let make = |images: &Vec<Stream>| {
            let is_in =
                |it: &&StreamInfo| images.contains(&it.stream) || self.of.motions.contains(&it.stream);
            let streams: Vec<_> = info.streams.iter().filter(is_in).copied().collect();
            Arc::new(WrittenCamera::given(info.name.clone(), &info.name, info, &streams, false, 0))
        };
        let source = self.sources.get(&images).cloned();
        let source = source.unwrap_or_else(|| make(&images));
        self.sources.insert(images, Arc::clone(&source));
        source
    }
}
