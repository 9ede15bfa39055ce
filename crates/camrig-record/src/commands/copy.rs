//! Copies messages of recordings into a new one, chunk by chunk.
//!
//! The new file gets its name when it is complete. When the disk is full, or at Ctrl-C, the copied part is kept under another
//! name, with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use camrig::files::NewFile;
use indicatif::ProgressBar;

use super::problems::Problems;
use super::{CommandError, counted, interrupt};
use crate::compression::Compression;
use crate::format::{FRAMESET_SCHEMA, NAME_KEY, NEXT_KEY, ORIGIN_KEY, PART_KEY, PART_METADATA};
use crate::read::{AttachmentRecord, Channel, ChunkError, Extra, Parts, Recording, Section, Walk, messages};
use crate::write::{Attachment, Message, Output, numbered, with_suffix};

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
    let fail =
        |error: io::Error| CommandError::Create(format!("cannot write `{}`: {error}", output.display()));
    let mut copy = Copy {
        target: CopyTarget::create(output, compression).map_err(fail)?,
        base: output,
        compression,
        number: 1,
        selection,
        ids: BTreeMap::new(),
        lasting: BTreeMap::new(),
        copied: Copied::default(),
    };
    match copy.run(inputs, bar) {
        Ok(()) => {}
        Err(End::Interrupted) => return Err(CommandError::Interrupted(copy.keep_part())),
        Err(End::Failed(error)) => {
            let (error, kept) = (fail(error), copy.keep_part());
            return Err(CommandError::Create(format!("{error}; {kept}")));
        }
    }
    let Copy { target, copied, .. } = copy;
    target.keep().map_err(fail)?;
    bar.finish_and_clear();
    Ok(copied)
}

/// The reason why a copy ends early.
enum End {
    Interrupted,
    Failed(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// The file that is written.
struct CopyTarget {
    path: PathBuf,
    file: NewFile,
    output: Output,
}

impl CopyTarget {
    fn create(path: &Path, compression: Compression) -> io::Result<Self> {
        let file = NewFile::creating(path)?;
        let output = Output::new(file.try_clone()?, compression)?;
        Ok(Self { path: path.to_owned(), file, output })
    }

    /// Writes the index and gives the file its name.
    fn keep(self) -> io::Result<()> {
        self.output.finish()?;
        self.file.keep()
    }
}

/// A channel of an input: the number of the input, of its file, and of the channel.
type InputChannel = (usize, usize, u16);

/// A message that is valid from its time on, and whether this file has it.
struct Lasting {
    place: InputChannel,
    data: Vec<u8>,
    publish_time: u64,
    is_written: bool,
}

struct Copy<'a> {
    target: CopyTarget,
    base: &'a Path,
    compression: Compression,
    /// The number of the file that is written, from 1 on.
    number: u32,
    selection: &'a Selection<'a>,
    /// The channels in the new file; `None` if a channel is left out.
    ids: BTreeMap<InputChannel, Option<u16>>,
    /// By topic.
    lasting: BTreeMap<String, Lasting>,
    copied: Copied,
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
        let mut rests: Vec<_> =
            inputs.iter().map(|parts| Rest { parts, part: 0, walk: Walk::default(), next: None }).collect();
        for rest in &mut rests {
            self.advance(rest);
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
            self.advance(rest);
        }
        self.copy_extras(inputs)
    }

    /// Finds the next section of an input that has something to copy.
    fn advance(&mut self, rest: &mut Rest<'_>) {
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
                Some(Err((at, problem))) => self.add_problem(recording, at, &problem),
                None => (rest.part, rest.walk) = (rest.part + 1, Walk::default()),
            }
        }
    }

    fn add_problem(&mut self, recording: &Recording, at: u64, problem: &ChunkError) {
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
                self.add_problem(recording, section.offset, &problem);
                return Ok(());
            }
        };
        if self.selection.origin.is_some() && self.target.output.is_full() {
            self.begin_next_file(inputs)?;
        }
        let found: Vec<_> = messages(&records).collect();
        let (mut chunk, mut framesets) = (Vec::new(), 0);
        for message in &found {
            let fields = message.fields;
            let place = (input, part, fields.channel);
            let (Some(channel), Some(id)) = (channel_of(recording, fields.channel), self.id(inputs, place)?)
            else {
                continue;
            };
            let mut log_time = fields.log_time;
            if self.selection.origin.is_some() && lasts(channel) {
                let (data, publish_time) = (&message.data[..], fields.publish_time);
                let known = self.lasting.get(&channel.topic).filter(|known| known.data == data);
                if known.is_some_and(|known| known.is_written) || log_time >= self.selection.range.end {
                    continue;
                }
                let lasting = Lasting { place, data: data.to_vec(), publish_time, is_written: true };
                self.lasting.insert(channel.topic.clone(), lasting);
                log_time = log_time.max(self.selection.range.start);
            }
            if !self.selection.range.contains(&log_time) {
                continue;
            }
            framesets += u64::from(channel.schema_name() == FRAMESET_SCHEMA);
            let (sequence, publish_time) = (fields.sequence, fields.publish_time);
            chunk.push(Message { channel: id, sequence, log_time, publish_time, data: &message.data });
        }
        if !chunk.is_empty() {
            self.target.output.write_chunk(&chunk)?;
        }
        self.copied.framesets += framesets;
        Ok(())
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
            metadata.insert(PART_KEY.to_owned(), self.number.to_string());
        }
        output.add_channel(schema, topic, message_encoding, &metadata)
    }

    /// Ends a full file, which names the next one, and begins that.
    fn begin_next_file(&mut self, inputs: &[Parts]) -> Result<(), End> {
        let path = numbered(self.base, self.number + 1);
        let next = CopyTarget::create(&path, self.compression)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut full = std::mem::replace(&mut self.target, next);
        full.output.write_metadata(PART_METADATA, &BTreeMap::from([(NEXT_KEY.to_owned(), name)]))?;
        full.keep()?;
        self.number += 1;
        self.ids.clear();
        // Each file has calibration and transforms.
        let lasting = std::mem::take(&mut self.lasting);
        let mut channels = Vec::new();
        for Lasting { place, .. } in lasting.values() {
            channels.push(self.id(inputs, *place)?);
        }
        let log_time = self.selection.range.start;
        let chunk =
            lasting.values().zip(channels).filter_map(|(Lasting { data, publish_time, .. }, channel)| {
                Some(Message { channel: channel?, sequence: 0, log_time, publish_time: *publish_time, data })
            });
        self.target.output.write_chunk(&chunk.collect::<Vec<_>>())?;
        self.lasting = lasting;
        Ok(())
    }

    /// Copies attachments and metadata, the same metadata once.
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
                    Extra::Metadata(name, _) if is_new && name == PART_METADATA => {}
                    Extra::Metadata(name, entries) => {
                        if !is_new || known.insert((name.clone(), entries.clone())) {
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
        if is_new {
            // The recording ends with this file.
            self.target.output.write_metadata(PART_METADATA, &BTreeMap::new())?;
        }
        Ok(())
    }

    /// Keeps an unfinished file under another name. Returns a sentence that names it.
    fn keep_part(self) -> String {
        let CopyTarget { path, file, output } = self.target;
        let has_index = output.finish().is_ok();
        keep_part(&path, file, Some(self.copied.framesets), has_index)
    }
}

/// Keeps an unfinished file, which would have been called `path`, under another name. Returns a sentence that names it, with
/// the number of its framesets if it is known.
pub(super) fn keep_part(path: &Path, file: NewFile, framesets: Option<u64>, has_index: bool) -> String {
    let partial = with_suffix(path, "partial");
    let names = (1..100).map(|number| numbered(&partial, number));
    let Some(path) = names.into_iter().find(|path| !path.exists()) else {
        return "nothing of it is kept, because too many partial files exist".to_owned();
    };
    let framesets = framesets.map(|framesets| counted(framesets, "frameset") + ", ").unwrap_or_default();
    let index = if has_index { "an index" } else { "no index" };
    match file.keep_as(&path) {
        Ok(()) => format!("`{}` has the copied part, {framesets}and {index}", path.display()),
        Err(error) => format!("nothing of it is kept: `{}`: {error}", path.display()),
    }
}

impl Selection<'_> {
    /// Returns whether a channel is copied. Channels of no camera are.
    fn has(&self, recording: &Recording, channel: &Channel) -> bool {
        let name = channel.metadata.get(NAME_KEY);
        let of_camera = name.filter(|name| recording.cameras().iter().any(|camera| camera.name == **name));
        self.cameras.is_empty() || of_camera.is_none_or(|name| self.cameras.contains(name))
    }
}

fn channel_of(recording: &Recording, id: u16) -> Option<&Channel> {
    recording.index().channels.get(&id)
}

fn lasts(channel: &Channel) -> bool {
    LASTING.iter().any(|end| channel.topic.ends_with(end))
}

fn is_lasting(recording: &Recording, id: u16) -> bool {
    channel_of(recording, id).is_some_and(lasts)
}
