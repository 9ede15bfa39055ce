//! `recording repair`: copies the intact part of a recording into a new file with an index.
//!
//! The original file is never changed, so that it can be examined again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use mcap::records::MessageHeader;

use super::{CommandError, bar, counted, size_bytes};
use crate::compression::{Output, into_io};
use crate::read::{Channel, Ending, Recording, messages};
use crate::record::with_suffix;

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
    if index.ending != Ending::Open && index.damage.is_empty() {
        return Ok(format!("{}: intact, nothing to repair\n", file.display()));
    }
    let output = output.clone().unwrap_or_else(|| with_suffix(file, "repaired"));
    let fail =
        |error: io::Error| CommandError::Create(format!("cannot write `{}`: {error}", output.display()));
    let created = OpenOptions::new().write(true).create_new(true).open(&output).map_err(fail)?;
    let copied = index.compression().writer(created).and_then(|writer| copy(&recording, writer));
    copied.map_err(|error| {
        // The first error is reported.
        let _ = fs::remove_file(&output);
        fail(error)
    })?;
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
    bar.finish_and_clear();
    writer.finish().map(drop).map_err(into_io)
}
