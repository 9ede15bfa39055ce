//! Copies messages of recordings into a new one, chunk by chunk.
//!
//! The new files get their names when the last one is complete. When the disk is full, or at Ctrl-C, the copied part is kept
//! under other names, with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use camrig::files::NewFile;
use indicatif::ProgressBar;
use serde::Deserialize;

use super::problems::Problems;
use super::{CommandError, counted, interrupt};
use crate::compression::Compression;
use crate::format::{
    FRAMESET_SCHEMA, GAP_JSON_SCHEMA, GAP_SCHEMA, GapReason, GapRecord, INCOMPLETE_METADATA, NAME_KEY,
    NEXT_KEY, ORIGIN_KEY, PART_KEY, PART_METADATA,
};
use crate::read::{
    self, AttachmentRecord, Channel, ChunkError, Extra, Parts, Recording, Section, Walk, messages,
};
use crate::write::{Attachment, MAX_CHUNKS, Message, Output, numbered, with_suffix};

/// Maximum size of attachments that are compared, so that equal ones are copied once.
const MAX_COMPARED_BYTES: u64 = 1 << 20;

/// Ends of the topics of messages that each file has once, and that are valid from then on.
const LASTING: [&str; 2] = ["/calibration", "/transform"];

/// The selection to copy.
pub(super) struct Selection<'a> {
    /// By `log_time`.
    pub(super) range: Range<u64>,
    /// The cameras; all if there are none.
    pub(super) cameras: &'a [String],
    /// The `log_time` at which the new recording begins; `None` copies that of the channels and metadata.
    pub(super) origin: Option<u64>,
}

impl Selection<'_> {
    /// Everything, unchanged.
    pub(super) const ALL: Self = Self { range: 0..u64::MAX, cameras: &[], origin: None };
}

/// The result of a copy.
#[derive(Default)]
pub(super) struct Copied {
    pub(super) framesets: u64,
    /// The problems of the source.
    pub(super) problems: Problems,
}

/// Copies recordings into one file, or more where one is full. Those of several inputs are in the order of their times.
///
/// # Errors
/// If the file exists, cannot be written, or at Ctrl-C: then with the name of the part that was kept.
pub(super) fn copy(
    inputs: &[Parts],
    selection: &Selection<'_>,
    output: &Path,
    compression: Compression,
    bar: &ProgressBar,
) -> Result<Copied, CommandError> {
    copy_in_files(inputs, selection, output, compression, bar, MAX_CHUNKS)
}

/// As [`copy`], with another file after this number of chunks, or up to twice as many.
pub(super) fn copy_in_files(
    inputs: &[Parts],
    selection: &Selection<'_>,
    output: &Path,
    compression: Compression,
    bar: &ProgressBar,
    most_chunks: u32,
) -> Result<Copied, CommandError> {
    let fail = |path: &Path, error: io::Error| {
        CommandError::Create(format!("cannot write `{}`: {error}", path.display()))
    };
    let mut copy = Copy {
        target: CopyTarget::create(output, compression).map_err(|error| fail(output, error))?,
        full: Vec::new(),
        base: output,
        compression,
        most_chunks,
        until: 0,
        selection,
        ids: BTreeMap::new(),
        lasting: BTreeMap::new(),
        last: BTreeMap::new(),
        found: vec![0; inputs.len()],
        copied: Copied::default(),
    };
    let run = copy.run(inputs, bar);
    let Copy { target: CopyTarget { file, output: last }, full: mut files, copied, .. } = copy;
    let finished = last.finish();
    files.push(file);
    let has_index = finished.is_ok();
    if let Err(end) = run.and_then(|()| finished.map(drop).map_err(End::Failed)) {
        let kept = keep_part(output, files, Some(copied.framesets), has_index);
        return Err(match end {
            End::Interrupted => CommandError::Interrupted(kept),
            End::Failed(error) => CommandError::Create(format!("{}; {kept}", fail(output, error))),
            End::NotCreated(path, error) => CommandError::Create(format!("{}; {kept}", fail(&path, error))),
        });
    }
    keep_all(output, files, Some(copied.framesets))?;
    bar.finish_and_clear();
    Ok(copied)
}

/// Gives the complete files of a recording their names, the first one last: then the recording is complete.
///
/// # Errors
/// If a file of such a name exists meanwhile; then they are kept as a part, with this number of framesets.
pub(super) fn keep_all(base: &Path, files: Vec<NewFile>, framesets: Option<u64>) -> Result<(), CommandError> {
    let mut names = (1..=files.len() as u32).map(|number| numbered(base, number));
    if let Some(taken) = names.find(|path| path.symlink_metadata().is_ok()) {
        let kept = keep_part(base, files, framesets, true);
        return Err(CommandError::Create(format!("cannot write `{}`: it exists; {kept}", taken.display())));
    }
    for (number, file) in (1..).zip(files).collect::<Vec<_>>().into_iter().rev() {
        let path = numbered(base, number);
        file.keep()
            .map_err(|error| CommandError::Create(format!("cannot write `{}`: {error}", path.display())))?;
    }
    Ok(())
}

/// The reason why a copy ends early.
enum End {
    Interrupted,
    Failed(io::Error),
    /// The next file cannot be created.
    NotCreated(PathBuf, io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// The file that is written.
struct CopyTarget {
    file: NewFile,
    output: Output,
}

impl CopyTarget {
    fn create(path: &Path, compression: Compression) -> io::Result<Self> {
        let file = NewFile::creating(path)?;
        let output = Output::new(file.try_clone()?, compression)?;
        Ok(Self { file, output })
    }
}

/// A channel of an input: the number of the input, of its file, and of the channel.
type InputChannel = (usize, usize, u16);

/// A message that is valid from its time on, which the file has.
struct Lasting {
    place: InputChannel,
    data: Vec<u8>,
    publish_time: u64,
}

struct Copy<'a> {
    target: CopyTarget,
    /// The full files, which get their names when the last one is complete.
    full: Vec<NewFile>,
    base: &'a Path,
    compression: Compression,
    /// Number of chunks after which another file begins.
    most_chunks: u32,
    /// The largest `log_time` of a camera's messages so far.
    until: u64,
    selection: &'a Selection<'a>,
    /// The channels in the new file; `None` if a channel is left out.
    ids: BTreeMap<InputChannel, Option<u16>>,
    /// By topic.
    lasting: BTreeMap<String, Lasting>,
    /// The last frameset of each producer.
    last: BTreeMap<String, LastNumber>,
    /// The number of damaged parts that were found in each input.
    found: Vec<u64>,
    copied: Copied,
}

/// The last frameset of a producer that was copied, or the end of a gap after it.
#[derive(Clone, Copy)]
struct LastNumber {
    sequence: u64,
    /// The input of it, and the number of damaged parts of that before it.
    input: usize,
    damages: u64,
}

/// The number of a frameset, of its record.
#[derive(Deserialize)]
struct Numbered {
    sequence: u64,
}

/// The rest of an input.
struct Rest<'a> {
    parts: &'a Parts,
    part: usize,
    walk: Walk,
    next: Option<Section>,
}

impl Copy<'_> {
    fn run(&mut self, inputs: &[Parts], bar: &ProgressBar) -> Result<(), End> {
        // First, so that a part that is kept has them.
        self.copy_extras(inputs)?;
        let mut rests: Vec<_> =
            inputs.iter().map(|parts| Rest { parts, part: 0, walk: Walk::default(), next: None }).collect();
        for (input, rest) in rests.iter_mut().enumerate() {
            self.advance(input, rest);
        }
        loop {
            let times = rests
                .iter()
                .enumerate()
                .filter_map(|(input, rest)| Some((rest.next.as_ref()?.start_time, input)));
            let Some((_, input)) = times.min() else { break };
            if interrupt::is_requested() {
                return Err(End::Interrupted);
            }
            let rest = &mut rests[input];
            if let Some(section) = rest.next.take() {
                bar.inc(section.size_bytes);
                self.copy_section(inputs, (input, rest.part), &section)?;
            }
            self.advance(input, rest);
        }
        self.end(inputs)
    }

    /// Finds the next section of an input that has something to copy.
    fn advance(&mut self, input: usize, rest: &mut Rest<'_>) {
        while let Some(recording) = rest.parts.files().get(rest.part) {
            let range = &self.selection.range;
            let found = rest.walk.next(recording, |section| {
                let overlaps = section.start_time < range.end && range.start <= section.end_time;
                overlaps || section.start_time < range.end && section.has(|id| is_lasting(recording, id))
            });
            match found {
                Some(Ok(section)) => {
                    rest.next = Some(section);
                    return;
                }
                Some(Err((at, problem))) => self.add_problem(input, recording, at, &problem),
                None => (rest.part, rest.walk) = (rest.part + 1, Walk::default()),
            }
        }
    }

    fn add_problem(&mut self, input: usize, recording: &Recording, at: u64, problem: &ChunkError) {
        self.found[input] += 1;
        let path = recording.path().display();
        self.copied.problems.add(format!("`{path}` is damaged at byte {at}: {problem}"));
    }

    fn copy_section(
        &mut self,
        inputs: &[Parts],
        (input, part): (usize, usize),
        section: &Section,
    ) -> Result<(), End> {
        let recording = &inputs[input].files()[part];
        let records = match recording.read_section(section) {
            Ok(records) => records,
            Err(problem) => {
                self.add_problem(input, recording, section.offset, &problem);
                return Ok(());
            }
        };
        let found: Vec<_> = messages(&records).collect();
        let (own, next) = self.divide(recording, found);
        self.copy_messages(inputs, (input, part), section.offset, &own)?;
        if let Some(time) = next.iter().map(|message| message.fields.log_time).min() {
            self.begin_next_file(inputs, time)?;
            self.copy_messages(inputs, (input, part), section.offset, &next)?;
        }
        Ok(())
    }

    /// Divides the messages of a section into those of this file and those of the next one. A full file ends between two
    /// framesets, whose messages have one time each: a frameset may be in several sections. If none ends, two are cut.
    fn divide(
        &self,
        recording: &Recording,
        found: Vec<read::Message>,
    ) -> (Vec<read::Message>, Vec<read::Message>) {
        let chunks = self.target.output.chunks();
        if self.selection.origin.is_none() || chunks < self.most_chunks {
            return (found, Vec::new());
        }
        if chunks >= self.most_chunks.saturating_mul(2) {
            return (Vec::new(), found);
        }
        let is_of_camera =
            |message: &read::Message| channel_of(recording, message.fields.channel).is_some_and(is_timed);
        let is_new = |message: &read::Message| is_of_camera(message) && message.fields.log_time > self.until;
        if !found.iter().any(is_new) {
            return (found, Vec::new());
        }
        found.into_iter().partition(|message| is_of_camera(message) && !is_new(message))
    }

    fn copy_messages(
        &mut self,
        inputs: &[Parts],
        (input, part): (usize, usize),
        offset: u64,
        found: &[read::Message],
    ) -> Result<(), End> {
        let recording = &inputs[input].files()[part];
        let (mut chunk, mut framesets) = (Vec::new(), 0);
        for message in found {
            let fields = message.fields;
            let place = (input, part, fields.channel);
            let (Some(channel), Some(id)) = (channel_of(recording, fields.channel), self.id(inputs, place)?)
            else {
                continue;
            };
            let mut log_time = fields.log_time;
            if self.selection.origin.is_some() && lasts(channel) {
                let (data, publish_time) = (&message.data[..], fields.publish_time);
                let is_known = self.lasting.get(&channel.topic).is_some_and(|known| known.data == data);
                if is_known || log_time >= self.selection.range.end {
                    continue;
                }
                let lasting = Lasting { place, data: data.to_vec(), publish_time };
                self.lasting.insert(channel.topic.clone(), lasting);
                log_time = log_time.max(self.selection.range.start);
            }
            if !self.selection.range.contains(&log_time) {
                continue;
            }
            if is_timed(channel) {
                self.until = self.until.max(log_time);
            }
            let (sequence, publish_time) = (fields.sequence, fields.publish_time);
            if let Some(gap) = self.gap_before(inputs, (input, part), offset, channel, &message.data) {
                // The gap follows the messages before it.
                if !chunk.is_empty() {
                    self.target.output.write_chunk(&std::mem::take(&mut chunk))?;
                }
                let data = serde_json::to_vec(&gap).map_err(io::Error::from)?;
                let channel = self.gap_channel(inputs, place)?;
                let gap = Message { channel, sequence, log_time, publish_time, data: &data };
                self.target.output.write_chunk(&[gap])?;
            }
            framesets += u64::from(channel.schema_name() == FRAMESET_SCHEMA);
            chunk.push(Message { channel: id, sequence, log_time, publish_time, data: &message.data });
        }
        if !chunk.is_empty() {
            self.target.output.write_chunk(&chunk)?;
        }
        self.copied.framesets += framesets;
        Ok(())
    }

    /// Takes the number of a frameset or of a gap in the section at `offset`. Returns the framesets before it that are missing
    /// without a gap: those that could not be read, and those between two recordings.
    fn gap_before(
        &mut self,
        inputs: &[Parts],
        (input, part): (usize, usize),
        offset: u64,
        channel: &Channel,
        data: &[u8],
    ) -> Option<GapRecord> {
        let name = channel.metadata.get(NAME_KEY)?;
        let (first, last) = match channel.schema_name() {
            FRAMESET_SCHEMA => {
                let Numbered { sequence } = serde_json::from_slice(data).ok()?;
                (sequence, sequence)
            }
            GAP_SCHEMA => {
                let gap: GapRecord = serde_json::from_slice(data).ok()?;
                (gap.first_sequence, gap.last_sequence)
            }
            _ => return None,
        };
        let (before, own) = (&inputs[input].files()[..part], &inputs[input].files()[part]);
        let of_files = before.iter().map(|file| file.index().damage.len()).sum::<usize>();
        let known_damages = of_files + own.index().damages_before(offset);
        let damages = self.found[input] + known_damages as u64;
        // A processor numbers the framesets of all its cameras together.
        let forwarded = name.split_once('/');
        let producer = forwarded.map_or(&name[..], |(producer, _)| producer);
        let now = LastNumber { sequence: last, input, damages };
        let Some(known) = self.last.get_mut(producer) else {
            self.last.insert(producer.to_owned(), now);
            return None;
        };
        let before = std::mem::replace(known, now);
        let first_sequence = before.sequence.checked_add(1).filter(|&next| next < first)?;
        let is_damaged = input == before.input && damages > before.damages;
        let reason = if is_damaged { GapReason::Damaged } else { GapReason::LeftOut };
        // Another camera of a processor may have the numbers between.
        let is_missing = is_damaged || forwarded.is_none();
        is_missing.then_some(GapRecord { first_sequence, last_sequence: first - 1, reason })
    }

    /// Returns the channel of gaps of the camera whose framesets are in this channel.
    fn gap_channel(&mut self, inputs: &[Parts], place: InputChannel) -> io::Result<u16> {
        let recording = &inputs[place.0].files()[place.1];
        let name = channel_of(recording, place.2).and_then(|channel| channel.metadata.get(NAME_KEY));
        let is_wanted =
            |channel: &Channel| channel.schema_name() == GAP_SCHEMA && channel.metadata.get(NAME_KEY) == name;
        let known = recording.index().channels.iter().find(|(_, channel)| is_wanted(channel));
        if let Some(&id) = known.map(|(id, _)| id)
            && let Some(id) = self.id(inputs, (place.0, place.1, id))?
        {
            return Ok(id);
        }
        let name = name.cloned().unwrap_or_default();
        let output = &mut self.target.output;
        let schema = output.add_schema(GAP_SCHEMA, "jsonschema", GAP_JSON_SCHEMA.as_bytes())?;
        let topic = format!("/{name}/gaps");
        output.add_channel(schema, &topic, "json", &BTreeMap::from([(NAME_KEY.to_owned(), name)]))
    }

    /// Returns the number of a channel in the new file, where it is defined if it is new; `None` if it is left out.
    fn id(&mut self, inputs: &[Parts], place: InputChannel) -> io::Result<Option<u16>> {
        if let Some(&id) = self.ids.get(&place) {
            return Ok(id);
        }
        let recording = &inputs[place.0].files()[place.1];
        let channel = channel_of(recording, place.2).filter(|channel| self.selection.has(recording, channel));
        let id = channel.map(|channel| self.define(channel)).transpose()?;
        self.ids.insert(place, id);
        Ok(id)
    }

    fn define(&mut self, channel: &Channel) -> io::Result<u16> {
        let Channel { topic, schema, message_encoding, metadata } = channel;
        let output = &mut self.target.output;
        // 0 means no schema.
        let schema = match schema {
            Some(schema) => output.add_schema(&schema.name, &schema.encoding, &schema.data)?,
            None => 0,
        };
        let mut metadata = metadata.clone();
        if let Some(origin) = self.selection.origin.filter(|_| channel.schema_name() == FRAMESET_SCHEMA) {
            metadata.insert(ORIGIN_KEY.to_owned(), origin.to_string());
            metadata.insert(PART_KEY.to_owned(), (self.full.len() + 1).to_string());
        }
        output.add_channel(schema, topic, message_encoding, &metadata)
    }

    /// Ends a full file, which names the next one, and begins that at this time.
    fn begin_next_file(&mut self, inputs: &[Parts], time: u64) -> Result<(), End> {
        let path = numbered(self.base, self.full.len() as u32 + 2);
        let next = match CopyTarget::create(&path, self.compression) {
            Ok(next) => next,
            Err(error) => return Err(End::NotCreated(path, error)),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let CopyTarget { file, mut output } = std::mem::replace(&mut self.target, next);
        self.full.push(file);
        output.write_metadata(PART_METADATA, &BTreeMap::from([(NEXT_KEY.to_owned(), name)]))?;
        output.finish()?;
        self.ids.clear();
        // Each file has calibration and transforms.
        let lasting = std::mem::take(&mut self.lasting);
        let mut channels = Vec::new();
        for Lasting { place, .. } in lasting.values() {
            channels.push(self.id(inputs, *place)?);
        }
        let log_time = time.max(self.selection.range.start);
        let chunk =
            lasting.values().zip(channels).filter_map(|(Lasting { data, publish_time, .. }, channel)| {
                Some(Message { channel: channel?, sequence: 0, log_time, publish_time: *publish_time, data })
            });
        self.target.output.write_chunk(&chunk.collect::<Vec<_>>())?;
        self.lasting = lasting;
        Ok(())
    }

    /// Copies attachments and metadata, except the name of the next file, the same ones once.
    fn copy_extras(&mut self, inputs: &[Parts]) -> Result<(), End> {
        let is_new = self.selection.origin.is_some();
        let (mut known, mut attached) = (BTreeSet::new(), BTreeSet::new());
        for recording in inputs.iter().flat_map(Parts::files) {
            if !is_new {
                // Channels without messages, too.
                let ids: Vec<_> = recording.index().channels.keys().copied().collect();
                for id in ids {
                    self.id(inputs, (0, 0, id))?;
                }
            }
            for extra in recording.extras() {
                match extra? {
                    Extra::Metadata(name, _) if name == PART_METADATA => {}
                    Extra::Metadata(name, entries) => {
                        let of_camera = entries.get(NAME_KEY).filter(|_| name == INCOMPLETE_METADATA);
                        let is_left_out = of_camera.is_some_and(|camera| !self.selection.has_camera(camera));
                        if is_left_out {
                            continue;
                        }
                        let mut hasher = DefaultHasher::new();
                        (&name, &entries).hash(&mut hasher);
                        if !is_new || known.insert(hasher.finish()) {
                            self.target.output.write_metadata(&name, &entries)?;
                        }
                    }
                    Extra::Attachment(attachment, mut data) => {
                        let AttachmentRecord { log_time, create_time, name, media_type, data_bytes } =
                            attachment;
                        let mut content = Vec::new();
                        if is_new && data_bytes <= MAX_COMPARED_BYTES {
                            data.read_to_end(&mut content)?;
                            // Each file of a recording has its topology.
                            if !attached.insert((name.clone(), data_bytes, crc32fast::hash(&content))) {
                                continue;
                            }
                        }
                        let (name, media_type) = (&name[..], &media_type[..]);
                        let attachment = Attachment { log_time, create_time, name, media_type, data_bytes };
                        self.target.output.write_attachment(&attachment, (&content[..]).chain(data))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes that the recording ends with this file; in a copy of a single file, the name of the next one that it has.
    fn end(&mut self, inputs: &[Parts]) -> Result<(), End> {
        if self.selection.origin.is_some() {
            self.target.output.write_metadata(PART_METADATA, &BTreeMap::new())?;
            return Ok(());
        }
        for extra in inputs.iter().flat_map(Parts::files).flat_map(Recording::extras) {
            if let Extra::Metadata(name, entries) = extra?
                && name == PART_METADATA
            {
                self.target.output.write_metadata(&name, &entries)?;
            }
        }
        Ok(())
    }
}

/// Keeps the files of an unfinished recording, which would have been called `path`, under other names. Returns a sentence that
/// names them, with the number of framesets if it is known; `has_index` is that of the last file.
pub(super) fn keep_part(path: &Path, files: Vec<NewFile>, framesets: Option<u64>, has_index: bool) -> String {
    let partial = with_suffix(path, "partial");
    let count = files.len() as u32;
    let is_free = |base: &PathBuf| (1..=count).all(|number| !numbered(base, number).exists());
    let Some(base) = (1..100).map(|number| numbered(&partial, number)).find(is_free) else {
        return "nothing of it is kept, because too many partial files exist".to_owned();
    };
    for (number, file) in (1..).zip(files) {
        let path = numbered(&base, number);
        if let Err(error) = file.keep_as(&path) {
            return format!("a part of it is not kept: `{}`: {error}", path.display());
        }
    }
    let framesets = framesets.map(|framesets| counted(framesets, "frameset") + ", ").unwrap_or_default();
    let index = if has_index { "an index" } else { "no index" };
    if count == 1 {
        return format!("`{}` has the copied part, {framesets}and {index}", base.display());
    }
    let more = counted(u64::from(count - 1), "more file");
    format!("`{}` and {more} have the copied part, {framesets}and {index}", base.display())
}

impl Selection<'_> {
    /// Returns whether a channel is copied. Channels of no camera are.
    fn has(&self, recording: &Recording, channel: &Channel) -> bool {
        let name = channel.metadata.get(NAME_KEY);
        let of_camera = name.filter(|name| recording.cameras().iter().any(|camera| camera.name == **name));
        of_camera.is_none_or(|name| self.has_camera(name))
    }

    /// Returns whether a camera is copied.
    fn has_camera(&self, name: &String) -> bool {
        self.cameras.is_empty() || self.cameras.contains(name)
    }
}

fn channel_of(recording: &Recording, id: u16) -> Option<&Channel> {
    recording.index().channels.get(&id)
}

/// Returns whether the messages of a channel are parts of framesets, with their times.
fn is_timed(channel: &Channel) -> bool {
    channel.metadata.contains_key(NAME_KEY) && !lasts(channel)
}

fn lasts(channel: &Channel) -> bool {
    LASTING.iter().any(|end| channel.topic.ends_with(end))
}

fn is_lasting(recording: &Recording, id: u16) -> bool {
    channel_of(recording, id).is_some_and(lasts)
}
