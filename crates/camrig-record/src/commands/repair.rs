//! `recording repair`: copies the intact part of a recording into a new file with an index.
//!
//! The original file is never changed, so that it can be examined again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use camrig::files::NewFile;
use mcap::records::{AttachmentHeader, MessageHeader, Metadata};

use super::{CommandError, bar, counted, size_bytes};
use crate::compression::{Output, into_io};
use crate::read::{AttachmentRecord, Channel, Ending, Extra, ReadError, Recording, messages};
use crate::record::with_suffix;

/// Size of a piece of an attachment.
const COPY_BYTES: usize = 64 << 10;

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
    let copied = created.try_clone().and_then(|file| index.compression().writer(file));
    copied.and_then(|writer| copy(&recording, writer)).and_then(|()| created.keep()).map_err(fail)?;
    let framesets = |camera: &crate::read::RecordedCamera| {
        camera.frameset_channels.iter().filter_map(|id| index.messages.get(id)).sum::<u64>()
    };
    let framesets = recording.cameras().iter().map(framesets).sum::<u64>();
    let omitted = index.damage.iter().map(|damage| damage.bytes.end - damage.bytes.start).sum::<u64>();
    Ok(format!(
        "{}: {} copied, {omitted} damaged bytes omitted\n",
        Path::display(&output),
        counted(framesets, "frameset"),
    ))
}

/// Copies every intact chunk, message by message.
fn copy(recording: &Recording, mut writer: Output) -> io::Result<()> {
    let bar = bar(recording.size_bytes(), "copying");
    let mut ids = BTreeMap::new();
    for (&id, channel) in &recording.index().channels {
        let Channel { topic, schema, message_encoding, metadata } = channel;
        // 0 stands for no schema.
        let schema = match schema {
            Some(schema) => {
                writer.add_schema(&schema.name, &schema.encoding, &schema.data).map_err(into_io)?
            }
            None => 0,
        };
        ids.insert(id, writer.add_channel(schema, topic, message_encoding, metadata).map_err(into_io)?);
    }
    writer.flush().map_err(into_io)?;
    for section in recording.index().sections.iter() {
        bar.set_position(section.offset);
        let records = recording.read_section(section).map_err(io::Error::other)?;
        for message in messages(&records) {
            let fields = message.fields;
            let Some(&channel_id) = ids.get(&fields.channel) else { continue };
            let (sequence, log_time) = (fields.sequence, fields.log_time);
            let header = MessageHeader { channel_id, sequence, log_time, publish_time: fields.publish_time };
            writer.write_to_known_channel(&header, &message.data).map_err(into_io)?;
        }
        writer.flush().map_err(into_io)?;
    }
    for extra in recording.extras() {
        match extra? {
            Extra::Metadata(name, metadata) => {
                writer.write_metadata(&Metadata { name, metadata }).map_err(into_io)?;
            }
            Extra::Attachment(attachment, data) => copy_attachment(&mut writer, attachment, data)?,
        }
    }
    bar.finish_and_clear();
    writer.finish().map(drop).map_err(into_io)
}

/// Copies an attachment, piece by piece.
fn copy_attachment(
    writer: &mut Output,
    attachment: AttachmentRecord,
    mut data: impl io::Read,
) -> io::Result<()> {
    let AttachmentRecord { log_time, create_time, name, media_type, data_bytes } = attachment;
    let header = AttachmentHeader { log_time, create_time, name, media_type };
    writer.start_attachment(data_bytes, header).map_err(into_io)?;
    let mut bytes = vec![0; COPY_BYTES];
    loop {
        match data.read(&mut bytes)? {
            0 => break,
            count => writer.put_attachment_bytes(&bytes[..count]).map_err(into_io)?,
        }
    }
    writer.finish_attachment().map_err(into_io)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fs;

    use mcap::Attachment;

    use super::*;
    use crate::compression::Compression;
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
        let mut writer = Compression::Lz4.writer(created.try_clone().unwrap()).unwrap();
        let chat = writer.add_channel(0, "/chat", "json", &BTreeMap::new()).unwrap();
        let header = MessageHeader { channel_id: chat, sequence: 1, log_time: 2, publish_time: 3 };
        writer.write_to_known_channel(&header, b"hello").unwrap();
        let data = Cow::from(vec![7; 3 * COPY_BYTES + 1]);
        let (name, media_type) = ("notes".to_owned(), "text/plain".to_owned());
        let attachment = Attachment { log_time: 4, create_time: 5, name, media_type, data };
        writer.attach(&attachment).unwrap();
        copy(&recording, writer).unwrap();
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
        assert_eq!(attachments, [attachment]);
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
