//! `recording repair`: copies the intact part of a recording into a new file with an index.
//!
//! The original file is never changed, so that it can be examined again.

use std::path::{Path, PathBuf};

use super::copy::{Selection, copy};
use super::progress::{bar, size_bytes};
use super::{CommandError, counted, interrupt};
use crate::compression::Compression;
use crate::read::{Ending, Parts, ReadError, Recording};
use crate::write::with_suffix;

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
    let (omitted, size_bytes) = (index.damaged_bytes, recording.size_bytes());
    let compression = index.sections.compression().unwrap_or(Compression::None);
    interrupt::receive();
    let parts = [Parts::of(recording)];
    let copied = copy(&parts, &Selection::ALL, &output, compression, &bar(size_bytes, "copying"))?;
    let problems = copied.problems.finish();
    if !problems.is_empty() {
        return Err(CommandError::Damaged { text: String::new(), problems });
    }
    let framesets = copied.framesets;
    Ok(format!(
        "{}: {} copied, {omitted} damaged bytes omitted\n",
        Path::display(&output),
        counted(framesets, "frameset"),
    ))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::read::messages;
    use crate::record::testing::{TestFolder, begin, write};
    use crate::write::{Attachment, Message, Output};

    fn args(file: &Path) -> RepairArgs {
        RepairArgs { file: file.to_owned(), output: None }
    }

    #[test]
    fn everything_but_the_damage_is_kept() {
        let folder = TestFolder::new("keep");
        let path = folder.path().join("rig.mcap");
        write(&path, &["front"], 3, Compression::Lz4, &[]);
        // Another program adds other records, and does not close the file.
        let recording = Recording::open(&path, &|_| {}).unwrap();
        let added = folder.path().join("added.mcap");
        let file = fs::File::create_new(&added).unwrap();
        let mut output = Output::new(file, Compression::Lz4).unwrap();
        for section in recording.index().sections.iter() {
            let records = recording.read_section(section).unwrap();
            let found: Vec<_> = messages(&records).collect();
            let chunk = found.iter().map(|message| {
                let (channel, data) = (&recording.index().channels[&message.fields.channel], &message.data);
                let schema = channel.schema.as_ref().unwrap();
                let schema = output.add_schema(&schema.name, &schema.encoding, &schema.data).unwrap();
                let id =
                    output.add_channel(schema, &channel.topic, &channel.message_encoding, &channel.metadata);
                let (log_time, publish_time) = (message.fields.log_time, message.fields.publish_time);
                Message {
                    channel: id.unwrap(),
                    sequence: message.fields.sequence,
                    log_time,
                    publish_time,
                    data,
                }
            });
            let chunk: Vec<_> = chunk.collect();
            output.write_chunk(&chunk).unwrap();
        }
        output.write_metadata("camrig.part", &BTreeMap::new()).unwrap();
        let channel = output.add_channel(0, "/chat", "json", &BTreeMap::new()).unwrap();
        let chat = Message { channel, sequence: 1, log_time: 2, publish_time: 3, data: b"hello" };
        output.write_chunk(&[chat]).unwrap();
        let data = vec![7; 200_001];
        let (name, media_type, data_bytes) = ("notes", "text/plain", data.len() as u64);
        let attachment = Attachment { log_time: 4, create_time: 5, name, media_type, data_bytes };
        output.write_attachment(&attachment, &data[..]).unwrap();
        output.finish().unwrap();
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
        part.finish(crate::record::testing::Next::End).unwrap();
        assert!(repair(&args(&path)).unwrap().ends_with("intact, nothing to repair\n"));
    }
}
