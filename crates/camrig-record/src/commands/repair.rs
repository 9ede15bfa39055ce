//! `recording repair`: copies the intact part of a recording into a new file with an index.
//!
//! The original file is never changed, so that it can be examined again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{CommandError, bar, counted, size_bytes};
use crate::compression::Compression;
use crate::read::{AttachmentRecord, Channel, Ending, Extra, ReadError, Recording, Walk, messages};
use crate::write::{Attachment, Message, Output, with_suffix};
use camrig::files::NewFile;

#[derive(Debug, clap::Args)]
pub(super) struct RepairArgs {
    /// A recording
    file: PathBuf,
    /// The new recording; by default FILE with `-repaired` before its extension
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn repair(args: &RepairArgs) -> Result<String, CommandError> {
    let RepairArgs { file, output } = args;
    let scan_bar = bar(size_bytes(file), "reading");
    let recording = Recording::scan(file, &|at| scan_bar.set_position(at))?;
    scan_bar.finish_and_clear();
    let index = recording.index();
    if recording.is_live() {
        return Err(
            ReadError::new(file, "is being recorded; repair it if its recorder does not close it").into()
        );
    }
    if index.ending != Ending::Open && index.damage.is_empty() {
        return Ok(format!("{}: intact, nothing to repair\n", file.display()));
    }
    let output = output.clone().unwrap_or_else(|| with_suffix(file, "repaired"));
    let fail =
        |error: io::Error| CommandError::Create(format!("cannot write `{}`: {error}", output.display()));
    let created = NewFile::creating(&output).map_err(fail)?;
    let copied = created
        .try_clone()
        .and_then(|file| Output::new(file, index.sections.compression().unwrap_or(Compression::None)));
    copied.and_then(|writer| copy(&recording, writer)).and_then(|()| created.keep()).map_err(fail)?;
    let framesets = |camera: &crate::read::RecordedCamera| {
        camera.frameset_channels.iter().filter_map(|id| index.messages.get(id)).sum::<u64>()
    };
    let framesets = recording.cameras().iter().map(framesets).sum::<u64>();
    let omitted = index.damaged_bytes;
    Ok(format!(
        "{}: {} copied, {omitted} damaged bytes omitted\n",
        Path::display(&output),
        counted(framesets, "frameset"),
    ))
}

/// Copies every intact chunk, message by message.
fn copy(recording: &Recording, mut output: Output) -> io::Result<()> {
    let bar = bar(recording.size_bytes(), "copying");
    let mut ids = BTreeMap::new();
    for (&id, channel) in &recording.index().channels {
        let Channel { topic, schema, message_encoding, metadata } = channel;
        // 0 stands for no schema.
        let schema = match schema {
            Some(schema) => output.add_schema(&schema.name, &schema.encoding, &schema.data)?,
            None => 0,
        };
        ids.insert(id, output.add_channel(schema, topic, message_encoding, metadata)?);
    }
    let mut walk = Walk::default();
    while let Some(section) = walk.next(recording, |_| true) {
        bar.set_position(walk.position_bytes(recording));
        let section = section.map_err(|(_, problem)| io::Error::other(problem))?;
        let records = recording.read_section(&section).map_err(io::Error::other)?;
        let found: Vec<_> = messages(&records).collect();
        let chunk = found.iter().filter_map(|message| {
            let fields = message.fields;
            Some(Message {
                channel: *ids.get(&fields.channel)?,
                sequence: fields.sequence,
                log_time: fields.log_time,
                publish_time: fields.publish_time,
                data: &message.data,
            })
        });
        output.write_chunk(&chunk.collect::<Vec<_>>())?;
    }
    for extra in recording.extras() {
        match extra? {
            Extra::Metadata(name, entries) => output.write_metadata(&name, &entries)?,
            Extra::Attachment(attachment, data) => {
                let AttachmentRecord { log_time, create_time, name, media_type, data_bytes } = attachment;
                let (name, media_type) = (&name[..], &media_type[..]);
                let attachment = Attachment { log_time, create_time, name, media_type, data_bytes };
                output.write_attachment(&attachment, data)?;
            }
        }
    }
    bar.finish_and_clear();
    output.finish().map(drop)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fs;

    use super::*;
    use crate::record::testing::{TestFolder, begin, write};

    fn args(file: &Path) -> RepairArgs {
        RepairArgs { file: file.to_owned(), output: None }
    }

    #[test]
    fn everything_but_the_damage_is_kept() {
        let folder = TestFolder::new("keep");
        let path = folder.path().join("rig.mcap");
        write(&path, &["front"], 3, Compression::Lz4, &[]);
        // Another program adds what camrig does not write, and does not close the file.
        let recording = Recording::open(&path, &|_| {}).unwrap();
        let added = folder.path().join("added.mcap");
        let created = NewFile::creating(&added).unwrap();
        let mut output = Output::new(created.try_clone().unwrap(), Compression::Lz4).unwrap();
        let channel = output.add_channel(0, "/chat", "json", &BTreeMap::new()).unwrap();
        let chat = Message { channel, sequence: 1, log_time: 2, publish_time: 3, data: b"hello" };
        output.write_chunk(&[chat]).unwrap();
        let data = vec![7; 200_001];
        let (name, media_type, data_bytes) = ("notes", "text/plain", data.len() as u64);
        let attachment = Attachment { log_time: 4, create_time: 5, name, media_type, data_bytes };
        output.write_attachment(&attachment, &data[..]).unwrap();
        copy(&recording, output).unwrap();
        created.keep().unwrap();
        let whole = fs::read(&added).unwrap();
        fs::write(&added, &whole[..whole.len() - 30]).unwrap();

        let text = repair(&args(&added)).unwrap();
        assert!(
            text.ends_with("added-repaired.mcap: 3 framesets copied, 0 damaged bytes omitted\n"),
            "{text}"
        );
        let repaired = fs::read(folder.path().join("added-repaired.mcap")).unwrap();
        let summary = mcap::Summary::read(&repaired).unwrap().unwrap();
        let attachments: Vec<_> = summary
            .attachment_indexes
            .iter()
            .map(|index| mcap::read::attachment(&repaired, index).unwrap())
            .collect();
        let data = Cow::from(data);
        let (name, media_type) = ("notes".to_owned(), "text/plain".to_owned());
        assert_eq!(attachments, [mcap::Attachment { log_time: 4, create_time: 5, name, media_type, data }]);
        assert_eq!(summary.metadata_indexes.len(), 1, "the name of the next file, or that there is none");
        let chat = mcap::MessageStream::new(&repaired).unwrap().map(Result::unwrap);
        let chat: Vec<_> = chat.filter(|message| message.channel.topic == "/chat").collect();
        assert_eq!((chat.len(), chat[0].data.as_ref()), (1, b"hello".as_slice()));
        assert!(chat[0].channel.schema.is_none());
        // A second repair does not overwrite the first.
        let error = repair(&args(&added)).unwrap_err().to_string();
        assert!(error.ends_with("added-repaired.mcap`: File exists (os error 17)"), "{error}");
    }

    #[test]
    fn a_file_that_is_being_recorded_is_left_alone() {
        let folder = TestFolder::new("live");
        let path = folder.path().join("rig.mcap");
        let part = begin(&path, "front");
        let error = repair(&args(&path)).unwrap_err().to_string();
        assert!(error.ends_with("is being recorded; repair it if its recorder does not close it"), "{error}");
        part.finish(None).unwrap();
        assert!(repair(&args(&path)).unwrap().ends_with("intact, nothing to repair\n"));
    }
}
