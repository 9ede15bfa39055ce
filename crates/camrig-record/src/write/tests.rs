//! Tests of files that are written, read by the mcap crate, and of the memory of long recordings.

use std::io::Cursor;

use mcap::{MessageStream, Summary};

use super::*;
use crate::record::testing::TestFolder;

fn message(channel: u16, time: u64, data: &[u8]) -> Message<'_> {
    Message { channel, sequence: time as u32, log_time: time, publish_time: time + 1, data }
}

#[test]
fn the_mcap_crate_reads_everything_by_the_index() {
    let folder = TestFolder::new("written");
    let noise: Vec<u8> = (0..70_000_u32).map(|index| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let path = folder.path().join(format!("{compression:?}.mcap"));
        let mut output = Output::new(File::create_new(&path).unwrap(), compression).unwrap();
        let schema = output.add_schema("schema", "jsonschema", b"{}").unwrap();
        let entries = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
        let first = output.add_channel(schema, "/first", "json", &entries).unwrap();
        assert_eq!(output.add_channel(schema, "/first", "json", &entries).unwrap(), first);
        output.write_chunk(&[message(first, 9, b"early")]).unwrap();
        let second = output.add_channel(0, "/second", "raw", &BTreeMap::new()).unwrap();
        let chunk = [message(second, 20, &noise), message(first, 10, b"a"), message(second, 30, b"")];
        output.write_chunk(&chunk).unwrap();
        output.write_metadata("about", &entries).unwrap();
        let attachment =
            Attachment { log_time: 1, create_time: 2, name: "n", media_type: "t", data_bytes: 70_000 };
        output.write_attachment(&attachment, &noise[..]).unwrap();
        // An attachment that is shorter than its declared length leaves nothing.
        let short = output.write_attachment(&Attachment { data_bytes: 70_001, ..attachment }, &noise[..]);
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        output.write_chunk(&[message(second, 40, b"late")]).unwrap();
        output.finish().unwrap();

        let file = std::fs::read(&path).unwrap();
        let expected = [("/first", 9, &b"early"[..]), ("/second", 20, &noise), ("/first", 10, b"a")];
        let expected = [&expected[..], &[("/second", 30, b""), ("/second", 40, b"late")]].concat();
        let found: Vec<_> = MessageStream::new(&file).unwrap().map(Result::unwrap).collect();
        let texts = found.iter().map(|it| (it.channel.topic.as_str(), it.log_time, &it.data[..]));
        assert_eq!(texts.collect::<Vec<_>>(), expected);
        assert_eq!(found[0].channel.metadata, entries);
        let summary = Summary::read(&file).unwrap().unwrap();
        let stats = summary.stats.as_ref().unwrap();
        assert_eq!((stats.message_count, stats.chunk_count, stats.schema_count), (5, 3, 1));
        assert_eq!((stats.message_start_time, stats.message_end_time), (9, 40));
        let by_index = summary.chunk_indexes.iter().flat_map(|chunk| {
            let indexes = summary.read_message_indexes(&file, chunk).unwrap();
            assert_eq!(indexes.len(), chunk.message_index_offsets.len());
            let mut seeked = Vec::new();
            for (channel, entries) in indexes {
                for entry in entries {
                    let message = summary.seek_message(&file, chunk, &entry).unwrap();
                    assert_eq!(message.channel, channel);
                    seeked.push((message.log_time, message.data.to_vec()));
                }
            }
            seeked
        });
        let mut by_index: Vec<_> = by_index.collect();
        by_index.sort();
        let mut expected: Vec<_> = expected.iter().map(|(_, time, data)| (*time, data.to_vec())).collect();
        expected.sort();
        assert_eq!(by_index, expected);
        let attached = mcap::read::attachment(&file, &summary.attachment_indexes[0]).unwrap();
        assert_eq!((attached.name.as_str(), &attached.data[..]), ("n", &noise[..]));
        assert_eq!(mcap::read::metadata(&file, &summary.metadata_indexes[0]).unwrap().metadata, entries);
        // Every checksum is right.
        let read = mcap::sans_io::LinearReaderOptions::default()
            .with_validate_chunk_crcs(true)
            .with_validate_data_section_crc(true)
            .with_validate_summary_section_crc(true);
        let mut reader = mcap::sans_io::LinearReader::new_with_options(read);
        let mut bytes = Cursor::new(&file);
        while let Some(event) = reader.next_event() {
            if let mcap::sans_io::LinearReadEvent::ReadRequest(count) = event.unwrap() {
                let count = bytes.read(reader.insert(count)).unwrap();
                reader.notify_read(count);
            }
        }
    }
}

/// The writer of the mcap crate kept 245 to 660 bytes for each chunk.
#[test]
fn the_memory_of_a_long_file_is_bounded() {
    let folder = TestFolder::new("long");
    let path = folder.path().join("long.mcap");
    let mut output = Output::new(File::create_new(&path).unwrap(), Compression::None).unwrap();
    let channels: Vec<_> = (0..24)
        .map(|index| output.add_channel(0, &format!("/{index}"), "", &BTreeMap::new()).unwrap())
        .collect();
    // Six cameras in turn, each with a frameset and three frames of varying sizes.
    let data: Vec<u8> = (0..200).collect();
    for frameset in 0..u64::from(MAX_CHUNKS) {
        assert!(!output.is_full());
        let own = &channels[4 * (frameset % 6) as usize..][..4];
        let sized = |index: usize| (frameset as usize * 31 + index * 17) % 90 + 10;
        let messages = own.iter().enumerate();
        let time = 1_790_000_000_000_000_000 + frameset * 5_555_555 + frameset * frameset % 99_991;
        let messages = messages.map(|(index, &channel)| message(channel, time, &data[..sized(index)]));
        output.write_chunk(&messages.collect::<Vec<_>>()).unwrap();
    }
    assert!(output.is_full());
    let kept = output.chunk_indexes.writer().capacity();
    assert!(kept < 16 << 20, "{kept} bytes are kept");
    output.finish().unwrap();
    let summary = Summary::read(&std::fs::read(&path).unwrap()).unwrap().unwrap();
    assert_eq!(summary.chunk_indexes.len(), MAX_CHUNKS as usize);
}
