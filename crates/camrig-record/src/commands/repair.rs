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
    let is_intact = index.ending != Ending::Open && index.damage.is_empty();
    if is_intact && recording.data_problem()?.is_none() {
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
    use std::io::Write;

    use super::super::verify::verify;
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

    /// A file with a wrong opcode of a chunk, or a wrong byte in the index of its messages, closed or not.
    #[test]
    fn a_repaired_file_verifies() {
        let folder = TestFolder::new("verifies");
        let path = folder.path().join("rig.mcap");
        write(&path, &["front", "rear"], 6, Compression::Lz4, &[]);
        let whole = fs::read(&path).unwrap();
        let recording = Recording::open(&path, &|_| {}).unwrap();
        let sections: Vec<_> = recording.index().sections.iter().cloned().collect();
        let sixth = &sections[sections.len() - 7];
        let (chunk, index) = (sixth.offset as usize, (sixth.offset + sixth.size_bytes) as usize + 20);
        for (name, at, missing) in [("opcode", chunk, 1), ("content", chunk + 60, 1), ("index", index, 0)] {
            for is_closed in [true, false] {
                let damaged = folder.path().join(format!("{name}-{is_closed}.mcap"));
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                bytes.truncate(whole.len() - if is_closed { 0 } else { 30 });
                fs::write(&damaged, bytes).unwrap();
                assert!(verify(&damaged).is_err(), "{name}");
                let text = repair(&args(&damaged)).unwrap();
                assert!(text.contains(&format!(": {} framesets copied, ", 12 - missing)), "{name}: {text}");
                let repaired = folder.path().join(format!("{name}-{is_closed}-repaired.mcap"));
                let verified = verify(&repaired).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(verified.contains(&format!("intact framesets, {missing} missing\n")), "{verified}");
                let shown = crate::commands::info(&repaired);
                assert_eq!(shown.contains("  missing: 2 to 2, damaged\n"), missing == 1, "{shown}");
                let again = folder.path().join(format!("{name}-{is_closed}-again.mcap"));
                let again = RepairArgs { file: repaired, output: Some(again) };
                assert!(repair(&again).unwrap().ends_with("intact, nothing to repair\n"));
            }
        }
    }

    #[test]
    fn what_a_recorder_is_just_writing_is_not_damaged() {
        let folder = TestFolder::new("torn");
        let path = folder.path().join("rig.mcap");
        let part = begin(&path, "front");
        let bytes = fs::read(&path).unwrap();
        let recording = Recording::scan(&path, &|_| {}).unwrap();
        let last = recording.index().sections.iter().last().unwrap().clone();
        let torn = &bytes[last.offset as usize..][..last.size_bytes as usize - 100];
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(torn).unwrap();
        let damages = || Recording::open(&path, &|_| {}).unwrap().index().damage.len();
        assert_eq!(damages(), 0);
        drop(part);
        assert_eq!(damages(), 1);
    }
}
