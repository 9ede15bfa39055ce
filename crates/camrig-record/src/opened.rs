//! Reading a recording frameset by frameset, in any order, for other programs.

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use camrig::frame::{CameraInfo, FrameSetHeader, Layout, Origins};
use camrig::status::ChangeReport;

use crate::format::{Changed, DEPTH, FrameSetRecord, RAW};
use crate::places::{FrameSetPlace, IndexPart, Places, PlacesError};
use crate::read::{
    Buffers, Content, FrameSetError, IndexEntry, Parts, ReadError, ReadFrameSet, Recording, check_image,
    image_data, shown_header, write_pixels,
};

/// An open recording: its framesets by number, in the order of their arrival. Several threads may read it at the same time.
///
/// ```no_run
/// use camrig_record::OpenRecording;
///
/// let recording = OpenRecording::open("rig.mcap".as_ref()).map_err(|error| error.to_string())?;
/// for number in 0..recording.count() {
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
    places: Places,
    /// The windows that were read last, each with its index.
    kept: Mutex<VecDeque<(usize, WindowPlaces)>>,
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

/// Number of windows that are kept.
const KEPT_WINDOWS: usize = 4;

/// The framesets of a window, in the order of their arrival.
type WindowPlaces = Arc<[FrameSetPlace]>;

/// A frameset of a recording. Its frames are decoded when they are requested, each once.
pub struct RecordedFrameSet {
    info: Arc<CameraInfo>,
    camera: usize,
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
        let mut places = Places::new(cameras.len());
        for (file, recording) in (0..).zip(parts.files()) {
            let owners = Owners::new(recording, file, &cameras);
            let fail = |error: PlacesError| ReadError::new(recording.path(), error);
            if is_by_index(recording, &owners) {
                by_index(recording, &owners, &mut places).map_err(fail)?;
            } else {
                by_reading(recording, &owners, &mut places, &mut damage).map_err(fail)?;
            }
        }
        places.finish();
        let range = parts.range();
        let buffers = parts.files()[0].buffers().clone();
        let (path, kept) = (path.to_owned(), Mutex::default());
        Ok(Self { parts, path, range, cameras, places, kept, damage, buffers })
    }

    /// Returns the cameras, by name.
    pub fn cameras(&self) -> &[OpenCamera] {
        &self.cameras
    }

    /// Returns the number of framesets.
    pub fn count(&self) -> usize {
        self.places.count()
    }

    /// Returns the place of the frameset with this number.
    ///
    /// # Errors
    /// If there is no such frameset, or the index cannot be read.
    pub fn place(&self, number: usize) -> Result<FrameSetPlace, ReadError> {
        let window = self.places.window_of(number).ok_or_else(|| self.no_number(self.count(), number))?;
        Ok(self.window(window)?[number - self.places.numbers(window).start])
    }

    pub(crate) fn no_number(&self, count: usize, number: usize) -> ReadError {
        self.failed(format_args!("has {count} framesets, so no number {number}"))
    }

    pub(crate) fn failed(&self, fact: impl Display) -> ReadError {
        ReadError::new(&self.path, fact)
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Returns the framesets of a window, in the order of their arrival.
    pub(crate) fn window(&self, window: usize) -> Result<WindowPlaces, ReadError> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, places)) = kept().iter().find(|(known, _)| *known == window) {
            return Ok(Arc::clone(places));
        }
        let places = self.read_window(window)?;
        let mut kept = kept();
        kept.truncate(KEPT_WINDOWS - 1);
        kept.push_front((window, Arc::clone(&places)));
        Ok(places)
    }

    fn read_window(&self, window: usize) -> Result<WindowPlaces, ReadError> {
        let count = self.places.numbers(window).len();
        let mut found = Vec::with_capacity(count);
        found.extend(self.places.listed(window));
        for IndexPart { file, index, .. } in self.places.parts(window) {
            let recording = &self.parts.files()[*file as usize];
            let owners = Owners::new(recording, *file, &self.cameras);
            let mut entries = recording.entries(Some(index.clone()));
            let changed = |fact: &dyn Display| {
                ReadError::new(recording.path(), format_args!("has changed since it was opened: {fact}"))
            };
            while let Some(entry) = entries.next().map_err(|error| changed(&error))? {
                let place = owners.place(&entry).map_err(|()| changed(&"its index is another one"))?;
                found.extend(place.filter(|place| self.places.has(window, place.arrived_nanos)));
            }
        }
        if found.len() != count {
            let fact = format_args!(
                "has changed since it was opened: its index has {} framesets instead of {count}",
                found.len()
            );
            return Err(self.failed(fact));
        }
        // Framesets of the same time and file stay in the order of the file.
        found.sort_by_key(|place| (place.arrived_nanos, place.file));
        Ok(found.into())
    }

    /// Returns the problems of the recording, as far as they are known without reading every frameset.
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// Returns the changes of the rig during the recording, in their order, with seconds since its start.
    pub fn changes(&self) -> Vec<ChangeReport> {
        let report = |change: &Changed| change.report(self.range.start);
        self.parts.changes().into_iter().map(report).collect()
    }

    /// Returns the start and the end of the recording by the wall clock, in nanoseconds since 1970.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Reads the frameset with this number, from 0 on in the order of their arrival.
    ///
    /// # Errors
    /// If there is no such frameset, or it is damaged.
    pub fn read(&self, number: usize) -> Result<RecordedFrameSet, ReadError> {
        let place = self.place(number)?;
        let recording = &self.parts.files()[place.file as usize];
        let name = &self.cameras[place.camera()].name;
        let range = place.arrived_nanos..place.arrived_nanos.saturating_add(1);
        let mut contents = recording.contents(|camera| camera.name == *name, range);
        contents.skip_to(recording, place.at);
        let mut earlier = place.earlier;
        let damaged = |error: &dyn Display| {
            let fact = format_args!("is damaged in frameset {number}: {error}");
            ReadError::new(recording.path(), fact)
        };
        while let Some((_, content)) = contents.next(recording) {
            match content {
                Content::FrameSet(found) if earlier == 0 => {
                    let info = Arc::clone(&self.cameras[place.camera()].info);
                    let buffers = self.buffers.clone();
                    let read = RecordedFrameSet::new(info, place.camera(), found, buffers);
                    return read.map_err(|error| damaged(&error));
                }
                Content::FrameSet(_) => earlier -= 1,
                Content::Gap(_) => {}
                Content::Unreadable { error, .. } => return Err(damaged(&error)),
            }
        }
        Err(damaged(&"it is not at its position in the index"))
    }
}

impl RecordedFrameSet {
    fn new(
        info: Arc<CameraInfo>,
        camera: usize,
        read: ReadFrameSet,
        buffers: Buffers,
    ) -> Result<Self, FrameSetError> {
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
        Ok(Self {
            info,
            camera,
            arrived_nanos: log_time,
            header,
            record,
            messages,
            decoded,
            requested,
            buffers,
        })
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

    /// Returns the index of its camera in [`OpenRecording::cameras`].
    pub fn camera(&self) -> usize {
        self.camera
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

/// The cameras of a file by its channels.
struct Owners {
    file: u32,
    /// For each channel the index of its camera in the recording, and whether it has the camera's framesets.
    channels: HashMap<u16, (u16, bool)>,
    /// The index in the recording of each camera of the file.
    cameras: Vec<u16>,
}

impl Owners {
    fn new(recording: &Recording, file: u32, cameras: &[OpenCamera]) -> Self {
        let (mut channels, mut numbers) = (HashMap::new(), Vec::new());
        for camera in recording.cameras() {
            // Every camera of a file is one of the recording.
            let number =
                cameras.iter().position(|known| known.name == camera.name).unwrap_or_default() as u16;
            numbers.push(number);
            let others = camera.gap_channels.iter().chain(camera.image_channels.keys());
            channels.extend(others.map(|&id| (id, (number, false))));
            channels.extend(camera.frameset_channels.iter().map(|&id| (id, (number, true))));
        }
        Self { file, channels, cameras: numbers }
    }

    /// Returns the frameset that a section is, as a recorder writes it; `None` if it has none.
    ///
    /// # Errors
    /// If another program wrote it.
    fn place(&self, entry: &IndexEntry) -> Result<Option<FrameSetPlace>, ()> {
        let mut found = None;
        for id in entry.channels.as_ref().ok_or(())? {
            match self.channels.get(id) {
                Some((camera, true)) if found.is_none_or(|known| known == *camera) => found = Some(*camera),
                Some((_, true)) => return Err(()),
                Some((_, false)) | None => {}
            }
        }
        let Some(camera) = found else { return Ok(None) };
        let is_own = |id| self.channels.get(id).is_some_and(|(owner, _)| *owner == camera);
        // Samples for viewers are before their frameset, and in channels of their own.
        let has_samples = !entry.channels.iter().flatten().all(is_own);
        let (arrived_nanos, at) = (entry.end_time, entry.offset);
        let place = FrameSetPlace { arrived_nanos, at, file: self.file, camera, earlier: 0 };
        (entry.start_time == entry.end_time || has_samples).then_some(Some(place)).ok_or(())
    }
}

/// Returns whether the sections of a file are one frameset each, as a recorder writes them.
fn is_by_index(recording: &Recording, owners: &Owners) -> bool {
    let (mut entries, mut found) = (recording.entries(None), 0);
    loop {
        match entries.next().map(|entry| entry.map(|entry| owners.place(&entry))) {
            Ok(Some(Ok(place))) => found += u64::from(place.is_some()),
            Ok(None) => break,
            Ok(Some(Err(()))) | Err(_) => return false,
        }
    }
    let counts = recording.cameras().iter().map(|camera| recording.framesets_of(camera));
    counts.fold(0, u64::saturating_add) == found
}

/// Adds the framesets of a file by its index.
fn by_index(recording: &Recording, owners: &Owners, places: &mut Places) -> Result<(), PlacesError> {
    let mut entries = recording.entries(None);
    // It was read before.
    while let Ok(Some(entry)) = entries.next() {
        if let Ok(Some(place)) = owners.place(&entry) {
            places.add(place, entry.index)?;
        }
    }
    Ok(())
}

/// Adds the framesets of any file by reading it completely.
fn by_reading(
    recording: &Recording,
    owners: &Owners,
    places: &mut Places,
    damage: &mut Vec<String>,
) -> Result<(), PlacesError> {
    let mut last = VecDeque::new();
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    while let Some((camera, content)) = contents.next(recording) {
        match content {
            Content::FrameSet(frameset) => {
                let key = (owners.cameras[camera], frameset.log_time);
                let earlier = last.iter().filter(|known| **known == key).count() as u16;
                last.truncate(MAX_SAME - 1);
                last.push_front(key);
                let (camera, arrived_nanos) = key;
                // Its messages may be in several sections.
                let at = 0;
                places.list(FrameSetPlace { arrived_nanos, at, file: owners.file, camera, earlier })?;
            }
            Content::Unreadable { at, error, .. } if damage.len() < MAX_DAMAGE => {
                damage.push(format!("`{}` is damaged at byte {at}: {error}", recording.path().display()));
            }
            Content::Gap(_) | Content::Unreadable { .. } => {}
        }
    }
    Ok(())
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
        let numbers = 0..recording.count();
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
    fn frames_that_are_not_compressed_are_used_where_they_were_read() {
        let folder = TestFolder::new("in-place");
        for compression in [Compression::None, Compression::Zstd] {
            let path = folder.path().join(format!("{compression:?}.mcap"));
            write(&path, &["front", "rear"], 120, compression, &[]);
            let recording = OpenRecording::open(&path).unwrap();
            for number in 0..recording.count() {
                let frames = recording.read(number).unwrap();
                for (index, message) in frames.messages.iter().enumerate() {
                    let place = frames.decode(index).unwrap().as_ptr();
                    assert!(message.as_ptr_range().contains(&place), "frame {index} of frameset {number}");
                }
            }
        }
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
            assert_eq!(recording.place(4).unwrap().arrived_nanos, ORIGIN + 2 * PERIOD);
            // The index gives the same as the whole file.
            let file = &recording.parts.files()[0];
            let owners = Owners::new(file, 0, recording.cameras());
            assert!(is_by_index(file, &owners) && recording.places.listed(0).is_empty());
            let mut read = Places::new(2);
            by_reading(file, &owners, &mut read, &mut Vec::new()).unwrap();
            read.finish();
            let places = |places: &[FrameSetPlace]| {
                places.iter().map(|it| (it.camera, it.arrived_nanos)).collect::<Vec<_>>()
            };
            assert_eq!(places(&recording.window(0).unwrap()), places(read.listed(0)));
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
        assert!(recording.places.listed(0).is_empty());
        assert_eq!(recording.place(0).unwrap().arrived_nanos, ORIGIN + PERIOD);
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
            for number in 0..recording.count() {
                recording.read(number).unwrap();
            }
            let forwards = count() - opened;
            for number in (0..recording.count()).rev() {
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
