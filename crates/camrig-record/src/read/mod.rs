//! Reads recordings, intact or damaged. Nothing in a file is trusted.
//!
//! * `error`: the errors of reading
//! * `file`: bytes of a file
//! * `fields`, `records`: the bytes of MCAP
//! * `sections`, `index`: the contents of a file and their positions
//! * `parts`: the files of a split recording
//! * `framesets`: framesets from messages
//! * `pixels`: pixels from a frame's message
//!
//! Reading takes at most 64 MiB beside the largest frameset, and time in proportion to the contents of the file.

mod buffers;
mod error;
mod fields;
mod file;
mod framesets;
mod index;
mod parts;
mod pixels;
mod records;
#[cfg(test)]
mod rewritten;
mod sections;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use camrig::frame::{CameraInfo, MAX_FRAMESET_BYTES, Payload, Stream};
use mcap::records::op;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

pub(crate) use self::buffers::Buffers;
pub use self::error::ReadError;
pub(crate) use self::error::{ChunkError, FrameSetError, RecordedFrameError};
use self::error::{IndexError, MetadataError};
pub(crate) use self::fields::AttachmentRecord;
use self::file::RecordedFile;
pub(crate) use self::framesets::{Content, Contents, ReadFrameSet};
pub(crate) use self::index::{Channel, Damage, Ending, Index, IndexEntry};
use self::index::{Continuation, SummaryEntries};
pub(crate) use self::parts::Parts;
pub(crate) use self::pixels::{check_image, image_data, is_stored, shown_header, write_pixels};
pub(crate) use self::records::{Message, Messages, messages};
use self::sections::Sections;
pub(crate) use self::sections::{Section, SectionKind};
use crate::depth::{DepthForm, meters_bytes};
use crate::format::{
    CAMERA_KEY, COMPRESSED_SCHEMA, FRAMESET_SCHEMA, FrameSetRecord, GAP_SCHEMA, GapRecord, MOTION_SCHEMA,
    NAME_KEY, ORIGIN_KEY, PART_KEY, POINTS_SCHEMA, RAW_SCHEMA, RUN_KEY, STREAM_KEY, VERSION, VERSION_KEY,
};
use crate::motion::MAX_SAMPLES;
use crate::ros;

/// Maximum number of cameras in a recording, and of framesets of processors.
const MAX_CAMERAS: usize = 1024;

/// Maximum size of a metadata record that is read.
const MAX_EXTRA_BYTES: u64 = 16 << 20;

/// Maximum size of a chunk of several framesets, as other programs write them.
const MAX_CHUNK_BYTES: u64 = 32 << 20;

/// Upper bound for the size of a chunk of one frameset beside its pixels.
const CHUNK_OVERHEAD_BYTES: u64 = 1 << 20;

/// Upper bound for the size of a sample of motion: in the message of its frame, and as a message of ROS.
const STORED_SAMPLE_BYTES: u64 = 640;

/// An open recording.
pub(crate) struct Recording {
    path: PathBuf,
    file: RecordedFile,
    index: Index,
    cameras: Vec<RecordedCamera>,
    /// Size of the largest frameset that a camera describes.
    largest_bytes: u64,
    is_live: bool,
    /// Memory of the records that are read.
    buffers: Buffers,
}

/// The last frameset of a camera.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Last {
    pub(crate) sequence: u64,
    pub(crate) publish_time: u64,
}

/// A camera of a recording.
#[derive(Clone, Debug)]
pub(crate) struct RecordedCamera {
    /// `front`, or `mask/front` if the processor `mask` published the framesets.
    pub(crate) name: String,
    /// Its description when it is replayed: color in JPEG becomes RGB.
    pub(crate) info: CameraInfo,
    /// Channels of framesets: several if the camera was reopened with other streams.
    pub(crate) frameset_channels: BTreeSet<u16>,
    pub(crate) gap_channels: BTreeSet<u16>,
    pub(crate) image_channels: BTreeMap<u16, Stream>,
    /// The `log_time` at which the recording began.
    pub(crate) origin_nanos: u64,
    /// 1 for the first file of the recording.
    pub(crate) part: u32,
    /// Identifies the run of the rig; empty if it is not known.
    pub(crate) run: String,
}

impl RecordedCamera {
    /// Returns whether a channel is one of its own.
    pub(crate) fn has(&self, id: u16) -> bool {
        self.frameset_channels.contains(&id)
            || self.gap_channels.contains(&id)
            || self.image_channels.contains_key(&id)
    }
}

impl Recording {
    /// Opens a recording by its index, or, without an index, by scanning the file, with calls of `progress`.
    ///
    /// # Errors
    /// If it cannot be read, with the name of the file.
    pub(crate) fn open(path: &Path, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
        Self::open_any(path, false, progress)
    }

    /// As [`Self::open`], also for MCAP files of other programs.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_other(path: &Path, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
        Self::open_any(path, true, progress)
    }

    fn open_any(path: &Path, takes_others: bool, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
        Self::open_with(path, takes_others, |file| match Index::read(file, Sections::default())? {
            Some(index) => Ok(index),
            None => Index::scan(file, Sections::default(), progress),
        })
    }

    /// Opens a recording by scanning the file, even if it has an index.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn scan(path: &Path, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
        Self::open_with(path, false, |file| {
            let indexed = Index::read(file, Sections::default())?.is_some();
            let mut scanned = Index::scan(file, Sections::default(), progress)?;
            if indexed {
                scanned.ending = Ending::Indexed;
            }
            Ok(scanned)
        })
    }

    /// Opens a file of this program that may not be closed, in a short time: see [`Index::skim`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn skim(path: &Path) -> Result<Self, ReadError> {
        Self::open_with(path, false, Index::skim)
    }

    fn open_with(
        path: &Path,
        takes_others: bool,
        index: impl FnOnce(&RecordedFile) -> Result<Index, IndexError>,
    ) -> Result<Self, ReadError> {
        let fail = |error: io::Error| ReadError::new(path, format_args!("cannot be read: {error}"));
        // Opening a FIFO must not wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map(File::from);
        let file = file.map_err(|error| fail(error.into()))?;
        // A recorder holds a lock until it closes the file. On file systems without locks, no file counts as live.
        let is_live = flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
        let _ = flock(&file, FlockOperation::Unlock);
        // Afterwards: a file that is closed by then has its final size.
        let metadata = file.metadata().map_err(fail)?;
        let file = RecordedFile::new(file, path, &metadata);
        // Devices are not read.
        let is_mcap = || file.look(0, records::MAGIC.len(), |bytes| bytes.starts_with(records::MAGIC));
        if !metadata.is_file() {
            return Err(ReadError::new(path, "is not an MCAP file"));
        }
        if !is_mcap().map_err(fail)? {
            let kind = file.look(0, OTHERS_BYTES, other_kind).map_err(fail)?;
            return Err(kind.map_or_else(|| ReadError::new(path, "is not an MCAP file"), |kind| kind(path)));
        }
        let mut index = index(&file).map_err(|error| ReadError::new(path, error))?;
        if is_live {
            index.leave_out_end(metadata.len());
        }
        // There may be hundreds of open files.
        file.release();
        let cameras = cameras(&index).map_err(|what| ReadError::new(path, what))?;
        if cameras.is_empty() && index.profile != "camrig" && !takes_others {
            return Err(match index.profile.as_str() {
                "ros2" => ReadError::bag(path),
                _ => ReadError::new(path, "is an MCAP file but not a camrig recording"),
            });
        }
        let size_bytes = |camera: &RecordedCamera| {
            let unit_meters = camera.info.depth_unit_meters;
            let sizes = camera.info.streams.iter().map(|info| stored_bytes(&info.payload, unit_meters));
            sizes.fold(0, u64::saturating_add)
        };
        let largest_bytes = cameras.iter().map(size_bytes).max().unwrap_or(0).min(MAX_FRAMESET_BYTES as u64);
        let buffers = Buffers::default();
        Ok(Self { path: path.to_owned(), file, index, cameras, largest_bytes, is_live, buffers })
    }

    /// Returns how many bytes were read of the file.
    #[cfg(test)]
    pub(crate) fn read_bytes(&self) -> u64 {
        self.file.read_bytes()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.file.size_bytes()
    }

    /// Returns whether a recorder was still writing the file when it was opened.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Returns the cameras, sorted by name.
    pub(crate) fn cameras(&self) -> &[RecordedCamera] {
        &self.cameras
    }

    /// Returns the number of a camera's framesets. The numbers come from the file and are unverified.
    pub(crate) fn framesets_of(&self, camera: &RecordedCamera) -> u64 {
        let counts = camera.frameset_channels.iter().filter_map(|id| self.index.messages.get(id));
        counts.fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// Returns the `log_time` that counts as the start of the file: for the first file that of the recording, so that files of
    /// several cameras keep their relative times; for another one that of its first frameset.
    pub(crate) fn began_nanos(&self) -> u64 {
        let first = self.index.sections.extents().map(|(_, extent)| extent.start_time).min().unwrap_or(0);
        match self.cameras.first() {
            Some(camera) if camera.part == 1 => camera.origin_nanos.min(first),
            _ => first,
        }
    }

    /// Returns whether the recording may continue in a file that this one does not name.
    pub(crate) fn may_continue(&self) -> bool {
        self.index.continuation == Continuation::Unknown
    }

    /// Returns the last frameset of each camera, or the end of a gap after it, of a file that was opened by [`Self::skim`].
    pub(crate) fn last_framesets(&self) -> BTreeMap<String, Last> {
        let mut found = BTreeMap::new();
        for (index, camera) in self.cameras.iter().enumerate() {
            let ids = camera.frameset_channels.iter().chain(&camera.gap_channels);
            for section in ids.filter_map(|id| self.index.last_chunks.get(id)) {
                let Ok(records) = self.read_section(section) else { continue };
                for message in messages(&records).filter(|message| camera.has(message.fields.channel)) {
                    let channel = message.fields.channel;
                    let sequence = if camera.frameset_channels.contains(&channel) {
                        serde_json::from_slice(&message.data).ok().map(|it: FrameSetRecord| it.sequence)
                    } else if camera.gap_channels.contains(&channel) {
                        serde_json::from_slice(&message.data).ok().map(|it: GapRecord| it.last_sequence)
                    } else {
                        None
                    };
                    let Some(sequence) = sequence else { continue };
                    let last: &mut Last = found.entry(index).or_default();
                    last.sequence = last.sequence.max(sequence);
                    last.publish_time = last.publish_time.max(message.fields.publish_time);
                }
            }
        }
        found.into_iter().map(|(index, last)| (self.cameras[index].name.clone(), last)).collect()
    }

    /// Returns the sections in a part of the file's index, in the order of the file; by default all.
    pub(crate) fn entries(&self, within: Option<Range<u64>>) -> Entries<'_> {
        if let Some(entries) = self.index.entries(&self.file, within.clone()) {
            return Entries::Summary(entries);
        }
        let mut walk = Walk::default();
        if let Some(range) = &within {
            walk.skip_to(self, range.start);
        }
        Entries::Walk { recording: self, walk, end: within.map_or(u64::MAX, |range| range.end) }
    }

    /// Returns the memory of the records that are read.
    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Returns the maximum size of the records that are read together.
    fn read_bytes_at_most(&self) -> u64 {
        MAX_CHUNK_BYTES.max(self.largest_bytes + CHUNK_OVERHEAD_BYTES)
    }

    /// Returns the records of a section.
    ///
    /// # Errors
    /// A description of the problem.
    pub(crate) fn read_section(&self, section: &Section) -> Result<Bytes, ChunkError> {
        let most = self.read_bytes_at_most();
        match section.kind {
            SectionKind::Chunk(_) => {
                records::open_chunk(&self.file, section.bytes(), most)?.read_all(&self.buffers)
            }
            SectionKind::Messages | SectionKind::Range if section.size_bytes > most => {
                Err(ChunkError::TooLarge { bytes: section.size_bytes, most })
            }
            SectionKind::Messages | SectionKind::Range => {
                self.file.read(section.bytes()).map(Bytes::from).map_err(ChunkError::Io)
            }
        }
    }
}

/// The sections of a recording, in the order of the file.
pub(crate) enum Entries<'a> {
    /// From the file's own index.
    Summary(SummaryEntries<'a>),
    /// From the file as a whole.
    Walk { recording: &'a Recording, walk: Walk, end: u64 },
}

impl Entries<'_> {
    /// Returns the next one; `None` at the end.
    ///
    /// # Errors
    /// If the index, or the file, is damaged there.
    pub(crate) fn next(&mut self) -> Result<Option<IndexEntry>, ChunkError> {
        match self {
            Self::Summary(entries) => entries.next().map_err(ChunkError::Io),
            Self::Walk { recording, walk, end } => {
                let section = walk.next(recording, |_| true).transpose().map_err(|(_, error)| error)?;
                Ok(section.filter(|section| section.offset < *end).map(|section| IndexEntry {
                    index: section.bytes(),
                    offset: section.offset,
                    start_time: section.start_time,
                    end_time: section.end_time,
                    channels: section.channels.map(|channels| channels.iter().copied().collect()),
                }))
            }
        }
    }
}

/// An iterator over the sections of a recording, in the order of the file.
#[derive(Default)]
pub(crate) struct Walk {
    next_section: usize,
    /// The rest of a range of several sections.
    inside: Option<Range<u64>>,
}

impl Walk {
    /// Returns the next section of the same recording for which `wanted` is true, never a range; `None` at the end. Bytes that
    /// are not a record are an error with their position; the next section follows them.
    pub(crate) fn next(
        &mut self,
        recording: &Recording,
        wanted: impl Fn(&Section) -> bool,
    ) -> Option<Result<Section, (u64, ChunkError)>> {
        loop {
            if let Some(range) = self.inside.take_if(|range| !range.is_empty()) {
                let (found, next) = recording.index.section_at(&recording.file, range.clone());
                self.inside = Some(next..range.end);
                match found {
                    Ok(Some(section)) if wanted(&section) => return Some(Ok(section)),
                    Ok(_) => continue,
                    Err(problem) => return Some(Err((range.start, problem))),
                }
            }
            let section = recording.index.sections.get(self.next_section)?;
            self.next_section += 1;
            match section.kind {
                _ if !wanted(section) => {}
                SectionKind::Range => self.inside = Some(section.bytes()),
                SectionKind::Chunk(_) | SectionKind::Messages => return Some(Ok(section.clone())),
            }
        }
    }

    /// Continues with the section that begins at this position of the file.
    pub(crate) fn skip_to(&mut self, recording: &Recording, at: u64) {
        let sections = &recording.index.sections;
        let last = sections.behind(at).saturating_sub(1);
        let range = sections.get(last).filter(|section| section.kind == SectionKind::Range);
        self.inside = range.map(|section| at.max(section.offset)..section.bytes().end);
        self.next_section = last + usize::from(range.is_some());
    }

    /// Returns the position in the file, in bytes.
    pub(crate) fn position_bytes(&self, recording: &Recording) -> u64 {
        let inside = self.inside.as_ref().filter(|range| !range.is_empty()).map(|range| range.start);
        let next = || recording.index.sections.get(self.next_section).map(|section| section.offset);
        inside.or_else(next).unwrap_or(recording.size_bytes())
    }
}

/// Size of the magic of files of other kinds.
const OTHERS_BYTES: usize = 16;

/// Returns the error for a file that begins with these bytes, if it is another kind of recording.
fn other_kind(start: &[u8]) -> Option<fn(&Path) -> ReadError> {
    if start.starts_with(b"#ROSBAG V") {
        return Some(|path| {
            let what = "is a .bag, which the driver `realsense` plays: name it in its option `file`";
            ReadError::new(path, what)
        });
    }
    start.starts_with(b"SQLite format 3\0").then_some(ReadError::sqlite)
}

/// A record that is neither a message nor part of an index.
pub(crate) enum Extra<'a> {
    Metadata(String, BTreeMap<String, String>),
    /// An attachment, and a reader of its data.
    Attachment(AttachmentRecord, Box<dyn io::Read + 'a>),
}

impl Recording {
    /// Returns the attachments and the metadata of the file. Invalid ones are left out.
    pub(crate) fn extras(&self) -> impl Iterator<Item = io::Result<Extra<'_>>> {
        self.index.extras.iter().filter_map(|(opcode, place)| self.extra(*opcode, place.clone()).transpose())
    }

    fn extra(&self, opcode: u8, place: Range<u64>) -> io::Result<Option<Extra<'_>>> {
        if opcode == op::METADATA {
            let record = self.file.read(place.start..place.end.min(place.start + MAX_EXTRA_BYTES))?;
            return Ok(fields::metadata(&record).map(|(name, entries)| Extra::Metadata(name, entries)));
        }
        let least = (place.end - place.start).min(file::WINDOW_BYTES) as usize;
        let parsed = self.file.look(place.start, least, AttachmentRecord::parse)?;
        let Some((attachment, fields_bytes)) = parsed else { return Ok(None) };
        let data = place.start + fields_bytes as u64;
        let Some(end) = data.checked_add(attachment.data_bytes).filter(|&end| end <= place.end) else {
            return Ok(None);
        };
        Ok(Some(Extra::Attachment(attachment, Box::new(self.file.range(data..end)))))
    }

    /// Checks all data against their checksum, if the file has one; returns the problem.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn data_problem(&self) -> Result<Option<ChunkError>, ReadError> {
        let fail = |error| ReadError::new(&self.path, format_args!("cannot be read: {error}"));
        index::data_problem(&self.file).map_err(fail)
    }
}

/// Returns the size of the largest frame of a payload in a recording.
fn stored_bytes(payload: &Payload, depth_unit_meters: f32) -> u64 {
    match payload {
        Payload::Image { format, .. } => match DepthForm::of(*format, depth_unit_meters) {
            Some(DepthForm::Meters(_)) => meters_bytes(payload).max(payload.size_bytes()),
            _ => payload.size_bytes(),
        },
        Payload::Motion { samples } => u64::from(*samples).max(MAX_SAMPLES as u64) * STORED_SAMPLE_BYTES,
        _ => payload.size_bytes(),
    }
}

fn no_camera<'a>(path: &Path, name: &str, cameras: impl Iterator<Item = &'a RecordedCamera>) -> ReadError {
    let names: Vec<_> = cameras.map(|camera| format!("`{}`", camera.name)).collect();
    let choices = if names.is_empty() {
        "it has no cameras".to_owned()
    } else {
        format!("expected one of: {}", names.join(", "))
    };
    ReadError::new(path, format_args!("has no camera `{name}`; {choices}"))
}

/// Returns whether a channel holds the frames of a stream, or gaps. Messages may have any schema: the topic identifies them.
fn has_frames(channel: &Channel) -> bool {
    let schemas = [GAP_SCHEMA, RAW_SCHEMA, ros::IMAGE, COMPRESSED_SCHEMA, POINTS_SCHEMA, MOTION_SCHEMA];
    let topics = ["/tensor", "/message"];
    schemas.contains(&channel.schema_name()) || topics.iter().any(|end| channel.topic.ends_with(end))
}

/// Returns the cameras that the channels describe.
fn cameras(index: &Index) -> Result<Vec<RecordedCamera>, MetadataError> {
    let mut cameras: BTreeMap<&str, RecordedCamera> = BTreeMap::new();
    let of_schema = |wanted: &'static [&'static str]| {
        let is = move |(_, channel): &(&u16, &Channel)| wanted.contains(&channel.schema_name());
        index.channels.iter().filter(is)
    };
    for (&id, Channel { metadata, topic, .. }) in of_schema(&[FRAMESET_SCHEMA]) {
        let topic = || topic.escape_debug().to_string();
        let get = |key| metadata.get(key).ok_or_else(|| MetadataError::Missing { key, topic: topic() });
        let number = |key| get(key)?.parse().map_err(|_| MetadataError::NotANumber { key, topic: topic() });
        let version = get(VERSION_KEY)?;
        if version != VERSION {
            return Err(MetadataError::Version(version.escape_debug().to_string()));
        }
        let name = get(NAME_KEY)?;
        if name.contains(char::is_control) {
            return Err(MetadataError::Name { name: name.escape_debug().to_string(), topic: topic() });
        }
        let mut info: CameraInfo = serde_json::from_str(get(CAMERA_KEY)?)
            .map_err(|source| MetadataError::Camera { key: CAMERA_KEY, topic: topic(), source })?;
        // These texts are shown on terminals.
        for text in [&mut info.model, &mut info.serial] {
            if text.contains(char::is_control) {
                *text = text.escape_debug().to_string();
            }
        }
        let camera = RecordedCamera {
            name: name.clone(),
            info,
            frameset_channels: BTreeSet::new(),
            gap_channels: BTreeSet::new(),
            image_channels: BTreeMap::new(),
            origin_nanos: number(ORIGIN_KEY)?,
            part: u32::try_from(number(PART_KEY)?).unwrap_or(u32::MAX),
            run: metadata.get(RUN_KEY).cloned().unwrap_or_default(),
        };
        cameras.entry(name).or_insert(camera).frameset_channels.insert(id);
    }
    if cameras.len() > MAX_CAMERAS {
        return Err(MetadataError::TooManyCameras(cameras.len()));
    }
    for (&id, channel) in index.channels.iter().filter(|(_, channel)| has_frames(channel)) {
        let (metadata, schema) = (&channel.metadata, channel.schema_name());
        let name = metadata.get(NAME_KEY).map(String::as_str);
        let Some(camera) = name.and_then(|name| cameras.get_mut(name)) else { continue };
        if schema == GAP_SCHEMA {
            camera.gap_channels.insert(id);
            continue;
        }
        let stream = metadata.get(STREAM_KEY).map(String::as_str);
        let Some(stream) = stream.and_then(|stream| Stream::new(stream).ok()) else { continue };
        camera.image_channels.insert(id, stream);
        let shown = camera.info.streams.iter_mut().find(|info| info.stream == stream);
        if let Some(info) = shown.filter(|_| schema == COMPRESSED_SCHEMA)
            && let Payload::Image { width, height, .. } = info.payload
        {
            info.payload = Payload::image(pixels::decoded_format(&info.payload), width, height);
        }
    }
    Ok(cameras.into_values().collect())
}
