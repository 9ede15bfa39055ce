//! Assembles framesets from the messages of a chunk.

use bytes::Bytes;

use super::error::FrameSetError;
use super::records::{Message, messages};
use super::{RecordedCamera, Recording};
use crate::format::FrameSetRecord;

/// A recorded frameset.
pub(crate) struct ReadFrameSet {
    pub(crate) log_time: u64,
    pub(crate) record: FrameSetRecord,
    /// The message of each frame, in the order of the record.
    pub(crate) images: Vec<Bytes>,
}

/// Returns the framesets of one camera in a chunk, in order. An incomplete or invalid one is an error with a description
/// of the problem.
pub(crate) fn framesets(
    camera: &RecordedCamera,
    records: &Bytes,
) -> Vec<Result<ReadFrameSet, FrameSetError>> {
    let mut found: Vec<Result<Gathering, FrameSetError>> = Vec::new();
    for message in messages(records) {
        if camera.frameset_channels.contains(&message.channel) {
            found.push(Gathering::begin(&message));
            continue;
        }
        let Some(&stream) = camera.image_channels.get(&message.channel) else { continue };
        // Other tools may have sorted the messages: a frame belongs to the frameset with its number and time.
        let mut open = found.iter_mut().rev().filter_map(|found| found.as_mut().ok());
        let Some(frameset) = open.find(|frameset| frameset.key == key(&message)) else { continue };
        let frames = frameset.record.frames.iter().zip(&mut frameset.images);
        for (frame, image) in frames.filter(|(frame, _)| frame.stream == stream) {
            debug_assert_eq!(frame.stream, stream);
            *image = Some(message.data.clone());
        }
    }
    found.into_iter().map(|found| found.and_then(Gathering::end)).collect()
}

/// A frameset whose frames are being collected.
struct Gathering {
    key: (u64, u32),
    record: FrameSetRecord,
    images: Vec<Option<Bytes>>,
}

fn key(message: &Message) -> (u64, u32) {
    (message.log_time, message.sequence)
}

impl Gathering {
    fn begin(message: &Message) -> Result<Self, FrameSetError> {
        let record: FrameSetRecord = serde_json::from_slice(&message.data)
            .map_err(|source| FrameSetError::Invalid { sequence: message.sequence, source })?;
        let images = record.frames.iter().map(|_| None).collect();
        Ok(Self { key: key(message), record, images })
    }

    fn end(self) -> Result<ReadFrameSet, FrameSetError> {
        let Self { key: (log_time, _), record, images } = self;
        let missing = record.frames.iter().zip(&images).find(|(_, image)| image.is_none());
        if let Some((frame, _)) = missing {
            let (sequence, stream) = (record.sequence, frame.stream);
            return Err(FrameSetError::FrameMissing { sequence, stream });
        }
        Ok(ReadFrameSet { log_time, record, images: images.into_iter().flatten().collect() })
    }
}

impl Recording {
    /// Returns the chunks with messages of a camera, in the order of the file.
    pub(crate) fn chunks_of<'a>(
        &'a self,
        camera: &'a RecordedCamera,
    ) -> impl Iterator<Item = &'a super::ChunkPlace> {
        self.index.chunks.iter().filter(|chunk| camera.is_in(chunk))
    }
}
