//! `recording repair`: what is whole of a recording in a new one, which has an index.
//!
//! A copy, not a change in place: whatever is left of the original stays as it is, and can be looked at
//! again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use mcap::records::MessageHeader;

use super::{CommandError, bar, counted, size_bytes};
use crate::compression::{Compression, Output, into_io};
use crate::read::{Channel, Recording, messages};
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
    let looking = bar(size_bytes(file), "reading");
    let recording = Recording::scan(file, &|at| looking.set_position(at))?;
    looking.finish_and_clear();
    let index = recording.index();
    if index.whole && index.damage.is_empty() {
        return Ok(format!("{} is whole: there is nothing to repair\n", file.display()));
    }
    let output = output.clone().unwrap_or_else(|| with_suffix(file, "repaired"));
    let fail =
        |error: io::Error| CommandError::Create(format!("cannot write `{}`: {error}", output.display()));
    let made = OpenOptions::new().write(true).create_new(true).open(&output).map_err(fail)?;
    let compression = index.chunks.first().map_or(Compression::None, |chunk| chunk.compression);
    let copied = compression.writer(made).and_then(|writer| copy(&recording, writer));
    copied.map_err(|error| {
        // The error to tell is the first one.
        let _ = fs::remove_file(&output);
        fail(error)
    })?;
    let framesets = |camera: &crate::read::RecordedCamera| {
        camera.frameset_channels.iter().filter_map(|id| index.messages.get(id)).sum::<u64>()
    };
    let framesets = recording.cameras().iter().map(framesets).sum::<u64>();
    let left_out = index.damage.iter().map(|damage| damage.bytes.end - damage.bytes.start).sum::<u64>();
    Ok(format!(
        "{}: {} copied, {left_out} damaged bytes left out\n",
        Path::display(&output),
        counted(framesets, "frameset"),
    ))
}

/// Copies every chunk that is whole, message by message.
fn copy(recording: &Recording, mut writer: Output) -> io::Result<()> {
    let bar = bar(recording.size_bytes(), "copying");
    let mut ids = BTreeMap::new();
    for (&id, channel) in &recording.index().channels {
        let Channel { topic, schema, schema_encoding, schema_data, message_encoding, metadata } = channel;
        let schema = writer.add_schema(schema, schema_encoding, schema_data).map_err(into_io)?;
        ids.insert(id, writer.add_channel(schema, topic, message_encoding, metadata).map_err(into_io)?);
    }
    writer.flush().map_err(into_io)?;
    for chunk in &recording.index().chunks {
        bar.set_position(chunk.offset);
        let records = recording.read_chunk(chunk).map_err(io::Error::other)?;
        for message in messages(&records) {
            let Some(&channel_id) = ids.get(&message.channel) else { continue };
            let (sequence, log_time) = (message.sequence, message.log_time);
            let header = MessageHeader { channel_id, sequence, log_time, publish_time: message.publish_time };
            writer.write_to_known_channel(&header, &message.data).map_err(into_io)?;
        }
        writer.flush().map_err(into_io)?;
    }
    bar.finish_and_clear();
    writer.finish().map(drop).map_err(into_io)
}
