//! Reading a recording frameset by frameset, in any order, for other programs.

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use camrig::frame::{CameraInfo, FrameSetHeader, Layout, Origins};

use crate::format::{DEPTH, FrameSetRecord, RAW};
use crate::read::{
    Buffers, Content, FrameSetError, Parts, ReadError, ReadFrameSet, Recording, Walk, check_image,
    image_data, shown_header, write_pixels,
};

/// An open recording: its framesets by number, in the order of their arrival. Several threads may read it at the same time.
///
/// ```no_run
/// use camrig_record::OpenRecording;
///
/// let recording = OpenRecording::open("rig.mcap".as_ref()).map_err(|error| error.to_string())?;
/// for number in 0..recording.places().len() {
///     let frames = recording.read(number).map_err(|error| error.to_string())?;
///     println!("{} #{}", frames.info().name, frames.header().sequence);
/// }
/// # Ok::<(), String>(())
/// ```
pub struct OpenRecording {
    parts: Parts,
    path: PathBuf,
    range: Range<u64>,
    cameras: Vec<OpenCamera>,
    places: Vec<FrameSetPlace>,
    damage: Vec<String>,
    /// Memory of decoded frames.
    buffers: Buffers,
}

/// A camera of an open recording.
#[derive(Clone, Debug)]
pub struct OpenCamera {
    /// `front`, or `mask/front` if the processor `mask` published the framesets.
    pub name: String,
    /// Its description: identity, calibration, depth unit, streams.
    pub info: Arc<CameraInfo>,
}

/// The place of one frameset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSetPlace {
    /// Time of its arrival by the wall clock, in nanoseconds since 1970.
    pub arrived_nanos: u64,
    /// Offset of its section in the file, in bytes.
    at: u64,
    file: u32,
    camera: u16,
    /// Number of framesets of the same camera with the same time before it.
    earlier: u16,
}

// A recording of a day has millions of them.
const _: () = assert!(size_of::<FrameSetPlace>() == 24);

impl FrameSetPlace {
    /// Returns the index of its camera in [`OpenRecording::cameras`].
    pub fn camera(&self) -> usize {
        self.camera.into()
    }
}

/// A frameset of a recording. Its frames are decoded when they are requested, each once.
pub struct RecordedFrameSet {
    info: Arc<CameraInfo>,
    arrived_nanos: u64,
    header: FrameSetHeader,
    record: FrameSetRecord,
    messages: Vec<Bytes>,
    /// The frames that were decoded so far.
    decoded: Vec<OnceLock<Bytes>>,
    requested: Option<Arc<Requested>>,
    buffers: Buffers,
}

/// The frames of a camera's framesets that were requested: a bit for each index.
#[derive(Default)]
pub(crate) struct Requested(AtomicU64);

impl Requested {
    fn insert(&self, index: usize) {
        self.0.fetch_or(1 << index, Ordering::Relaxed);
    }

    fn contains(&self, index: usize) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << index) != 0
    }
}

// The bits suffice.
const _: () = assert!(camrig::frame::MAX_FRAMES <= 64);

impl OpenRecording {
    /// Opens the file at `path`, and the files that continue it. A file without an index is read completely.
    ///
    /// # Errors
    /// If it cannot be read as a recording.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let parts = Parts::open(path, &|_| {})?;
        let described = parts.cameras().into_iter();
        let cameras: Vec<_> = described
            .map(|camera| OpenCamera { name: camera.name.clone(), info: Arc::new(camera.info.clone()) })
            .collect();
        let mut damage: Vec<_> = parts
            .problem()
            .map(|problem| format!("the recording continues, but {problem}"))
            .into_iter()
            .collect();
        let mut places = Vec::new();
        for (file, recording) in parts.files().iter().enumerate() {
            let of_names = recording.cameras().iter();
            let numbers: Vec<_> =
                of_names.map(|camera| cameras.iter().position(|known| known.name == camera.name)).collect();
            let first = places.len();
            if !by_index(recording, &mut places) {
                places.truncate(first);
                by_reading(recording, &mut places, &mut damage);
            }
            for place in &mut places[first..] {
                place.file = file as u32;
                // Every camera of a file is one of the recording.
                place.camera = numbers[place.camera()].unwrap_or_default() as u16;
            }
        }
        places.shrink_to_fit();
        places.sort_by_key(|place| place.arrived_nanos);
        let range = parts.range();
        let buffers = Buffers::default();
        Ok(Self { parts, path: path.to_owned(), range, cameras, places, damage, buffers })
    }

    /// Returns the cameras, by name.
    pub fn cameras(&self) -> &[OpenCamera] {
        &self.cameras
    }

    /// Returns the place of each frameset, in the order of their arrival.
    pub fn places(&self) -> &[FrameSetPlace] {
        &self.places
    }

    /// Returns the problems of the recording, as far as they are known without reading every frameset.
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// Returns the start and the end of the recording by the wall clock, in nanoseconds since 1970.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Reads the frameset with this number, an index in [`Self::places`].
    ///
    /// # Errors
    /// If there is no such frameset, or it is damaged.
    pub fn read(&self, number: usize) -> Result<RecordedFrameSet, ReadError> {
        let place = self.places.get(number).ok_or_else(|| {
            ReadError::new(
                &self.path,
                format_args!("has {} framesets, so no number {number}", self.places.len()),
            )
        })?;
        let recording = &self.parts.files()[place.file as usize];
        let name = &self.cameras[place.camera()].name;
        let range = place.arrived_nanos..place.arrived_nanos.saturating_add(1);
        let mut contents = recording.contents(|camera| camera.name == *name, range);
        contents.skip_to(recording, place.at);
        let mut earlier = place.earlier;
        let damaged = |error: &dyn Display| self.damaged(number, error);
        while let Some((_, content)) = contents.next(recording) {
            match content {
                Content::FrameSet(found) if earlier == 0 => {
                    let info = Arc::clone(&self.cameras[place.camera()].info);
                    let buffers = self.buffers.clone();
                    return RecordedFrameSet::new(info, found, buffers).map_err(|error| damaged(&error));
                }
                Content::FrameSet(_) => earlier -= 1,
                Content::Gap(_) => {}
                Content::Unreadable { error, .. } => return Err(damaged(&error)),
            }
        }
        Err(damaged(&"it is not at its position in the index"))
    }

    /// Creates the error of a frameset that cannot be read. There is one with this number.
    pub(crate) fn damaged(&self, number: usize, error: &dyn Display) -> ReadError {
        let recording = &self.parts.files()[self.places[number].file as usize];
        ReadError::new(recording.path(), format_args!("is damaged in frameset {number}: {error}"))
    }
}

impl RecordedFrameSet {
    fn new(info: Arc<CameraInfo>, read: ReadFrameSet, buffers: Buffers) -> Result<Self, FrameSetError> {
        let ReadFrameSet { log_time, record, images } = read;
        let headers: Vec<_> = record.frames.iter().map(shown_header).collect();
        // The sizes come from a file and are unverified; it checks the number of frames as well.
        Layout::of(&headers)?;
        let origins =
            Origins::new(&record.origins).ok_or(FrameSetError::TooManyOrigins(record.origins.len()))?;
        let header = FrameSetHeader {
            sequence: record.sequence,
            matched: record.matched,
            origins,
            ..FrameSetHeader::new(record.arrival_nanos, headers.into_iter().collect())
        };
        let decoded = images.iter().map(|_| OnceLock::new()).collect();
        let (messages, requested) = (images, None);
        Ok(Self { info, arrived_nanos: log_time, header, record, messages, decoded, requested, buffers })
    }

    /// Decodes the frames that were requested of earlier framesets of the camera, and adds those that are requested of
    /// this one. A frame that cannot be decoded is left out: the error is that of its request.
    pub(crate) fn prepare(&mut self, requested: &Arc<Requested>) {
        for index in (0..self.messages.len()).filter(|&index| requested.contains(index)) {
            let _left_for_its_request = self.decode(index);
        }
        self.requested = Some(Arc::clone(requested));
    }

    /// Returns the memory of its messages and of its decoded frames, in bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        let decoded = self.decoded.iter().filter_map(OnceLock::get);
        self.messages.iter().chain(decoded).map(|bytes| bytes.len() as u64).sum()
    }

    /// Returns the description of its camera.
    pub fn info(&self) -> &Arc<CameraInfo> {
        &self.info
    }

    /// Returns the time of its arrival by the wall clock, in nanoseconds since 1970.
    pub fn arrived_nanos(&self) -> u64 {
        self.arrived_nanos
    }

    /// Returns everything except the content.
    pub fn header(&self) -> &FrameSetHeader {
        &self.header
    }

    /// Returns the content of the frame at `index` of the header, as many bytes as its header declares. Content stored without
    /// compression is not copied, other content is decoded once.
    ///
    /// # Errors
    /// A description of the damage, or that there is no such frame.
    pub fn decode(&self, index: usize) -> Result<&Bytes, String> {
        if let Some(requested) = self.requested.as_ref().filter(|_| index < self.messages.len()) {
            requested.insert(index);
        }
        if let Some(decoded) = self.decoded.get(index).and_then(OnceLock::get) {
            return Ok(decoded);
        }
        let decoded = self.decode_once(index)?;
        Ok(self.decoded[index].get_or_init(|| decoded))
    }

    /// Returns whether a frame was decoded.
    #[cfg(test)]
    pub(crate) fn is_decoded(&self, index: usize) -> bool {
        self.decoded[index].get().is_some()
    }

    fn decode_once(&self, index: usize) -> Result<Bytes, String> {
        let (Some(frame), Some(message), Some(header)) =
            (self.record.frames.get(index), self.messages.get(index), self.header.frames.get(index))
        else {
            return Err(format!("a frameset of {} frames has no frame {index}", self.messages.len()));
        };
        let data = image_data(frame, message.clone()).map_err(|error| error.to_string())?;
        check_image(frame, &data).map_err(|error| error.to_string())?;
        if data.len() as u64 == header.size_bytes()
            && (frame.coding == RAW
                || frame.coding == DEPTH && data.as_ptr().addr().is_multiple_of(DEPTH_BYTES))
        {
            return Ok(data);
        }
        let mut pixels = self.buffers.take(header.size_bytes() as usize);
        if header.payload.row_bytes() != header.payload.stride_bytes() {
            // The padding of rows is not written.
            pixels.bytes_mut().fill(0);
        }
        write_pixels(frame, &data, pixels.bytes_mut()).map_err(|error| error.to_string())?;
        Ok(pixels.share())
    }
}

/// Size of a number of depth, which programs expect at a multiple of it.
const DEPTH_BYTES: usize = 2;

/// Adds the framesets of a file whose sections are one frameset each, as a recorder writes them. Their cameras are indices in
/// [`Recording::cameras`]. Returns whether it is such a file.
fn by_index(recording: &Recording, found: &mut Vec<FrameSetPlace>) -> bool {
    let before = found.len();
    let mut walk = Walk::default();
    while let Some(place) = walk.next(recording, |_| true) {
        let Ok(place) = place else { return false };
        let Some(channels) = place.channels.as_ref() else { return false };
        let mut cameras = (0..)
            .zip(recording.cameras())
            .filter(|(_, camera)| !camera.frameset_channels.is_disjoint(channels));
        let Some((number, camera)) = cameras.next() else { continue };
        // Samples for viewers are before their frameset, and in channels of their own.
        let has_samples = || !channels.iter().all(|&id| camera.has(id));
        if cameras.next().is_some() || (place.start_time != place.end_time && !has_samples()) {
            return false;
        }
        let (arrived_nanos, at) = (place.end_time, place.offset);
        found.push(FrameSetPlace { arrived_nanos, at, file: 0, camera: number, earlier: 0 });
    }
    let counts = recording.cameras().iter().map(|camera| recording.framesets_of(camera));
    counts.fold(0, u64::saturating_add) == (found.len() - before) as u64
}

/// Adds the framesets of any file, as [`by_index`] does, by reading it completely.
fn by_reading(recording: &Recording, found: &mut Vec<FrameSetPlace>, damage: &mut Vec<String>) {
    let before = found.len();
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    while let Some((camera, content)) = contents.next(recording) {
        match content {
            Content::FrameSet(frameset) => {
                let (camera, arrived_nanos) = (camera as u16, frameset.log_time);
                let same =
                    |known: &&FrameSetPlace| known.camera == camera && known.arrived_nanos == arrived_nanos;
                let earlier = found[before..].iter().rev().take(MAX_SAME).filter(same).count() as u16;
                // Its messages may be in several sections.
                found.push(FrameSetPlace { arrived_nanos, at: 0, file: 0, camera, earlier });
            }
            Content::Unreadable { at, error, .. } if damage.len() < MAX_DAMAGE => {
                damage.push(format!("`{}` is damaged at byte {at}: {error}", recording.path().display()));
            }
            Content::Gap(_) | Content::Unreadable { .. } => {}
        }
    }
}

/// Maximum number of framesets among which those of the same camera and time are searched.
const MAX_SAME: usize = 64;

/// Maximum number of damaged places that are described.
const MAX_DAMAGE: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::record::testing::{ORIGIN, PERIOD, TestFolder, write, write_late_samples, write_parts};

    fn read(path: &Path) -> (Vec<(String, u64)>, OpenRecording) {
        let recording = OpenRecording::open(path).unwrap();
        let numbers = 0..recording.places().len();
        let found = numbers.map(|number| {
            let frames = recording.read(number).unwrap();
            for (index, header) in frames.header().frames.iter().enumerate() {
                assert_eq!(frames.decode(index).unwrap().len() as u64, header.size_bytes());
            }
            (frames.info().name.clone(), frames.header().sequence)
        });
        (found.collect(), recording)
    }

    #[test]
    fn framesets_have_numbers_in_the_order_of_their_arrival() {
        let folder = TestFolder::new("numbers");
        for compression in [Compression::None, Compression::Lz4] {
            let path = folder.path().join(format!("{compression:?}.mcap"));
            write(&path, &["front", "rear"], 3, compression, &[]);
            let (found, recording) = read(&path);
            let expected = [("front", 0), ("rear", 0), ("front", 1), ("rear", 1), ("front", 2), ("rear", 2)];
            assert_eq!(found, expected.map(|(name, number)| (name.to_owned(), number)));
            assert_eq!(recording.range(), ORIGIN..ORIGIN + 2 * PERIOD);
            assert_eq!(recording.places()[4].arrived_nanos, ORIGIN + 2 * PERIOD);
            // The index gives the same as the whole file.
            let file = &recording.parts.files()[0];
            let (mut found, mut read) = (Vec::new(), Vec::new());
            assert!(by_index(file, &mut found));
            by_reading(file, &mut read, &mut Vec::new());
            let places = |found: &[FrameSetPlace]| {
                found.iter().map(|it| (it.camera, it.arrived_nanos)).collect::<Vec<_>>()
            };
            assert_eq!(places(&found), places(&read));
            let error = recording.read(6).err().unwrap().to_string();
            assert!(error.ends_with("has 6 framesets, so no number 6"), "{error}");
        }
    }

    #[test]
    fn a_frameset_with_samples_may_follow_one_that_arrived_later() {
        let folder = TestFolder::new("late-samples");
        let path = folder.path().join("rig.mcap");
        write_late_samples(&path);
        let (found, recording) = read(&path);
        assert_eq!(found, [("left", 1), ("right", 2)].map(|(name, number)| (name.to_owned(), number)));
        assert!(by_index(&recording.parts.files()[0], &mut Vec::new()));
        assert_eq!(recording.places()[0].arrived_nanos, ORIGIN + PERIOD);
    }

    /// Framesets in their order, and backwards.
    #[test]
    fn each_byte_is_read_about_once() {
        let folder = TestFolder::new("reads");
        for (framesets, compression) in
            [(20, Compression::None), (200, Compression::None), (200, Compression::Zstd)]
        {
            let path = folder.path().join(format!("{framesets}-{compression:?}.mcap"));
            write(&path, &["front", "rear"], framesets, compression, &[]);
            let size_bytes = path.metadata().unwrap().len();
            let recording = OpenRecording::open(&path).unwrap();
            let count = || recording.parts.files()[0].read_bytes();
            let opened = count();
            // The index, and the buffers of small reads.
            assert!(opened <= size_bytes / 2 + (1 << 20), "{opened} of {size_bytes}");
            for number in 0..recording.places().len() {
                recording.read(number).unwrap();
            }
            let forwards = count() - opened;
            for number in (0..recording.places().len()).rev() {
                recording.read(number).unwrap();
            }
            let backwards = count() - opened - forwards;
            for read in [forwards, backwards] {
                assert!(
                    read <= size_bytes + size_bytes / 2,
                    "{read} of {size_bytes} by {framesets}, {compression:?}"
                );
            }
        }
    }

    #[test]
    fn a_recording_of_several_files_is_one() {
        let folder = TestFolder::new("several");
        let path = folder.path().join("rig.mcap");
        write_parts(&path, &[&["front"], &["late", "front"], &["late"]]);
        let (found, recording) = read(&path);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(recording.damage().is_empty());
        std::fs::remove_file(folder.path().join("rig-3.mcap")).unwrap();
        let (found, recording) = read(&path);
        assert_eq!((found.len(), recording.damage().len()), (3, 1), "{found:?}");
    }
}
