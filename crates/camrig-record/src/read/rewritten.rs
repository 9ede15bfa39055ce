//! Tests of recordings that other programs wrote: the same messages, in chunks of other sizes or none, with or without each
//! optional part of MCAP. Also tests of files that are crafted to exhaust memory or time.

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use mcap::WriteOptions;
use mcap::records::MessageHeader;

use super::records::{MAGIC, MessageFields};
use super::*;
use crate::compression::Compression;
use crate::format::{GapReason, GapRecord};
use crate::record::testing::{TestFolder, write};

const CAMERAS: [&str; 2] = ["front", "rear"];

/// One recorded message, with its channel.
type Recorded = (MessageHeader, Channel, Vec<u8>);

/// A recording with a gap, and its messages.
fn recorded(folder: &TestFolder) -> (PathBuf, Vec<Recorded>) {
    let path = folder.path().join("recorded.mcap");
    let gap = GapRecord { first_sequence: 3, last_sequence: 4, reason: GapReason::Link };
    write(&path, &CAMERAS, 30, Compression::None, &[gap]);
    let recording = Recording::open(&path, &|_| {}).unwrap();
    let mut found = Vec::new();
    for section in recording.index().sections.iter() {
        for message in messages(&recording.read_section(section).unwrap()) {
            let MessageFields { channel, sequence, log_time, publish_time } = message.fields;
            let header = MessageHeader { channel_id: channel, sequence, log_time, publish_time };
            found.push((header, recording.index().channels[&channel].clone(), message.data.to_vec()));
        }
    }
    (path, found)
}

/// Writes messages with these options.
fn rewrite(path: &Path, options: WriteOptions, messages: &[Recorded]) {
    let mut writer = options.profile("other").create(Cursor::new(Vec::new())).unwrap();
    for (header, channel, data) in messages {
        let schema = channel.schema.as_ref().unwrap();
        let schema = writer.add_schema(&schema.name, &schema.encoding, &schema.data).unwrap();
        let id = writer.add_channel(schema, &channel.topic, &channel.message_encoding, &channel.metadata);
        let header = MessageHeader { channel_id: id.unwrap(), ..*header };
        writer.write_to_known_channel(&header, data).unwrap();
    }
    writer.finish().unwrap();
    fs::write(path, writer.into_inner().into_inner()).unwrap();
}

/// Returns framesets and gaps by camera, and the number of problems.
fn contents(path: &Path) -> (Vec<(String, String)>, usize) {
    contents_of(&Recording::open(path, &|_| {}).unwrap())
}

fn contents_of(recording: &Recording) -> (Vec<(String, String)>, usize) {
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    let (mut found, mut problems) = (Vec::new(), 0);
    while let Some((index, content)) = contents.next(recording) {
        let text = match content {
            Content::Unreadable { .. } => {
                problems += 1;
                continue;
            }
            Content::Gap(gap) => format!("{gap:?}"),
            Content::FrameSet(ReadFrameSet { log_time, record, images }) => {
                let sums: Vec<_> = images.iter().map(|image| crc32fast::hash(image)).collect();
                format!("{log_time} {record:?} {sums:?}")
            }
        };
        found.push((recording.cameras()[index].name.clone(), text));
    }
    // Between cameras, the order depends on the places of the messages.
    found.sort_by(|(first, _), (second, _)| first.cmp(second));
    (found, problems)
}

/// Opens a recording as one that has far more sections than are kept.
fn open_long(path: &Path) -> [Recording; 2] {
    const SECTIONS: usize = 5;
    let open = |indexed: bool| {
        let recording = Recording::open_with(path, false, |file| {
            let read = if indexed { Index::read(file, Sections::with_limit(SECTIONS))? } else { None };
            match read {
                Some(index) => Ok(index),
                None => Index::scan(file, Sections::with_limit(SECTIONS), &|_| {}),
            }
        });
        let recording = recording.unwrap();
        assert!(recording.index().sections.iter().count() <= SECTIONS);
        recording
    };
    [open(true), open(false)]
}

#[test]
fn every_optional_part_may_be_missing() {
    let folder = TestFolder::new("optional");
    let (path, messages) = recorded(&folder);
    let expected = contents(&path);
    assert_eq!((expected.0.len(), expected.1), (2 * (28 + 1), 0));
    // For the official reader: `tests/readers/conformance.py`.
    let kept = std::env::var_os("CAMRIG_CONFORMANCE_FOLDER").map(PathBuf::from);
    if let Some(kept) = &kept {
        let line = |(header, channel, data): &Recorded| {
            let MessageHeader { sequence, log_time, publish_time, .. } = header;
            format!("{} {sequence} {log_time} {publish_time} {}\n", channel.topic, crc32fast::hash(data))
        };
        fs::write(kept.join("messages.txt"), messages.iter().map(line).collect::<String>()).unwrap();
    }
    let mut numbers = 0..;
    for chunk_size in [None, Some(1), Some(700), Some(5000), Some(1 << 20)] {
        for parts in 0..1_u32 << 7 {
            let has = |part: u32| parts & (1 << part) != 0;
            let options = WriteOptions::new()
                .use_chunks(chunk_size.is_some())
                .chunk_size(chunk_size)
                .compression(Some(mcap::Compression::Zstd))
                .emit_statistics(has(0))
                .emit_chunk_indexes(has(1))
                .emit_message_indexes(has(2))
                .repeat_channels(has(3))
                .repeat_schemas(has(4))
                .emit_summary_offsets(has(5))
                .calculate_chunk_crcs(has(6))
                .calculate_data_section_crc(has(6))
                .calculate_summary_section_crc(has(6));
            let name = format!("{:03}.mcap", numbers.next().unwrap());
            let path = kept.as_deref().unwrap_or(folder.path()).join(name);
            rewrite(&path, options, &messages);
            assert_eq!(contents(&path), expected, "chunks of {chunk_size:?}, parts {parts:b}");
            // The other parts make no difference for its sections.
            for long in open_long(&path).into_iter().filter(|_| parts < 1 << 3) {
                assert_eq!(contents_of(&long), expected, "chunks of {chunk_size:?}, parts {parts:b}");
            }
            let recording = Recording::open(&path, &|_| {}).unwrap();
            assert_ne!(recording.index().ending, Ending::Open, "chunks of {chunk_size:?}, parts {parts:b}");
            let counted: u64 = recording.index().messages.values().sum();
            assert_eq!(counted, messages.len() as u64, "chunks of {chunk_size:?}, parts {parts:b}");
            let read = fs::read(&path).unwrap();
            assert_eq!(mcap::MessageStream::new(&read).unwrap().count(), messages.len());
            if kept.is_none() {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[test]
fn messages_of_a_frameset_may_be_in_any_order() {
    let folder = TestFolder::new("order");
    let (path, mut messages) = recorded(&folder);
    let expected = contents(&path);
    messages.retain(|(_, channel, _)| channel.schema_name() != GAP_SCHEMA);
    let without_gaps: Vec<_> =
        expected.0.into_iter().filter(|(_, text)| !text.contains("GapRecord")).collect();
    let path = folder.path().join("sorted.mcap");
    for round in 0..2 {
        // By time, and for each time the last message first; then each stream after the others.
        messages.sort_by_key(|(header, channel, _)| match round {
            0 => (header.log_time / 200_000_000, channel.topic.clone()),
            _ => (header.log_time, format!("{:?}", std::cmp::Reverse(&channel.topic))),
        });
        messages.reverse();
        messages.sort_by_key(
            |(header, ..)| if round == 0 { header.log_time / 200_000_000 } else { header.log_time },
        );
        rewrite(&path, WriteOptions::new().chunk_size(Some(900)), &messages);
        let (mut found, problems) = contents(&path);
        found.sort();
        let mut expected = without_gaps.clone();
        expected.sort();
        assert_eq!((found, problems), (expected, 0), "round {round}");
    }
}

#[test]
fn missing_frames_affect_only_their_framesets() {
    let folder = TestFolder::new("lacking");
    let (_, mut messages) = recorded(&folder);
    let path = folder.path().join("lacking.mcap");
    let lacks = |(header, channel, _): &Recorded| {
        header.sequence == 7 && channel.topic == "/front/depth/image"
            || header.sequence == 9 && channel.topic == "/rear/frameset"
    };
    messages.retain(|message| !lacks(message));
    rewrite(&path, WriteOptions::new().use_chunks(false), &messages);
    let recording = Recording::open(&path, &|_| {}).unwrap();
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    let (mut problems, mut framesets) = (Vec::new(), Vec::new());
    while let Some((index, content)) = contents.next(&recording) {
        match content {
            Content::FrameSet(frameset) => framesets.push((index, frameset.record.sequence)),
            Content::Unreadable { framesets, error, .. } => {
                problems.push((index, framesets, error.to_string()));
            }
            Content::Gap(_) => {}
        }
    }
    assert_eq!(framesets.len(), 2 * 28 - 2);
    let of_camera = |wanted| framesets.iter().filter(move |(index, _)| *index == wanted);
    assert!((0..2).all(|camera| of_camera(camera).is_sorted()), "{framesets:?}");
    let expected = [
        (0, 1, "frameset 7 lacks its depth frame".to_owned()),
        (1, 0, "frames without a frameset: 2".to_owned()),
    ];
    assert_eq!(problems, expected);
}

#[test]
fn twenty_thousand_unpaired_frames_take_linear_time_and_bounded_memory() {
    let folder = TestFolder::new("lone");
    let (_, messages) = recorded(&folder);
    let lone = messages.iter().find(|(_, channel, _)| channel.topic == "/front/depth/image").unwrap();
    let lone = |sequence| (MessageHeader { sequence, ..lone.0 }, lone.1.clone(), lone.2.clone());
    let all: Vec<_> = (100_000..120_000).map(lone).chain(messages.clone()).collect();
    let path = folder.path().join("lone.mcap");
    rewrite(&path, WriteOptions::new().compression(Some(mcap::Compression::Zstd)), &all);
    let recording = Recording::open(&path, &|_| {}).unwrap();
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    let (mut framesets, mut problems) = (0, Vec::new());
    while let Some((_, content)) = contents.next(&recording) {
        match content {
            Content::FrameSet(_) => framesets += 1,
            Content::Unreadable { error, .. } => problems.push(error.to_string()),
            Content::Gap(_) => {}
        }
        assert!(contents.waiting() <= 2 * 64, "{}", contents.waiting());
    }
    assert_eq!((framesets, problems), (2 * 28, vec!["frames without a frameset: 20000".to_owned()]));
    assert_linear(&recording);
}

/// Checks that a file was read about once for its index, and once for its contents.
fn assert_linear(recording: &Recording) {
    let (read, size) = (recording.file.read_bytes(), recording.size_bytes());
    assert!(read < 4 * size + (4 << 20), "{read} bytes were read of a file of {size}");
}

/// A record with its opcode and length.
fn record(opcode: u8, content: &[u8]) -> Vec<u8> {
    [&[opcode], &(content.len() as u64).to_le_bytes()[..], content].concat()
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text].concat()
}

fn header_record() -> Vec<u8> {
    record(op::HEADER, &[text(b"camrig"), text(b"")].concat())
}

/// A chunk with this content, and a size and checksum that may be wrong.
fn chunk(content: &[u8], content_bytes: u64, crc32: u32, compression: &[u8]) -> Vec<u8> {
    let fields = [&[0; 16][..], &content_bytes.to_le_bytes(), &crc32.to_le_bytes(), &text(compression)];
    let content = [&fields.concat()[..], &(content.len() as u64).to_le_bytes(), content].concat();
    record(op::CHUNK, &content)
}

fn open_bytes(folder: &TestFolder, parts: &[&[u8]]) -> Result<Recording, ReadError> {
    let path = folder.path().join("hostile.mcap");
    fs::write(&path, parts.concat()).unwrap();
    Recording::open(&path, &|_| {})
}

#[test]
fn a_length_in_a_file_allocates_nothing() {
    let folder = TestFolder::new("lengths");
    // A header whose profile has 4,294,967,295 bytes.
    let found = open_bytes(&folder, &[MAGIC, &record(op::HEADER, &[0xff; 4])]);
    assert!(found.err().unwrap().to_string().ends_with("is an MCAP file but not a camrig recording"));
    // A chunk that claims more than any frameset has.
    let bomb = chunk(&[0; 100], 1 << 40, 0, b"zstd");
    let recording = open_bytes(&folder, &[MAGIC, &header_record(), &bomb]).unwrap();
    let problem = recording.index().damage[0].problem.to_string();
    assert_eq!(problem, "it has 1048576 MiB, more than the 512 MiB that this recording's framesets need");
}

#[test]
fn a_schema_is_kept_once() {
    let folder = TestFolder::new("schemas");
    let schema = [&1_u16.to_le_bytes()[..], &text(b"s"), &text(b"e"), &text(&vec![7; 4 << 20])].concat();
    let channel = |id: u16| {
        let fields = [&id.to_le_bytes()[..], &1_u16.to_le_bytes(), &text(b"t"), &text(b""), &text(b"")];
        record(op::CHANNEL, &fields.concat())
    };
    let channels: Vec<_> = (1..60_000).flat_map(channel).collect();
    let definitions = [record(op::SCHEMA, &schema), channels].concat();
    let packed = zstd::encode_all(&definitions[..], 1).unwrap();
    let packed = chunk(&packed, definitions.len() as u64, 0, b"zstd");
    let recording = open_bytes(&folder, &[MAGIC, &header_record(), &packed]).unwrap();
    let channels = &recording.index().channels;
    let schemas: BTreeSet<_> =
        channels.values().map(|channel| std::sync::Arc::as_ptr(channel.schema.as_ref().unwrap())).collect();
    assert_eq!((channels.len(), schemas.len()), (59_999, 1));
    // More of them are refused.
    let schemas = (1..8_u16).map(|id| {
        let fields = [&id.to_le_bytes()[..], &text(b"s"), &text(b"e"), &text(&vec![id as u8; 4 << 20])];
        record(op::SCHEMA, &fields.concat())
    });
    let schemas: Vec<_> = schemas.flatten().collect();
    let packed = zstd::encode_all(&schemas[..], 1).unwrap();
    let packed = chunk(&packed, schemas.len() as u64, 0, b"zstd");
    let error = open_bytes(&folder, &[MAGIC, &header_record(), &packed]).err().unwrap().to_string();
    assert!(error.ends_with("has more than 16 MiB of schemas and channels"), "{error}");
}

#[test]
fn chunks_inside_of_failed_chunks_take_linear_time() {
    let folder = TestFolder::new("nested");
    // Each chunk contains all that follow, and fails at its end.
    let start = chunk(&[], 0, 0, b"").len();
    let count = 20_000;
    let mut nested = Vec::new();
    for index in 0..count {
        let content_bytes = ((count - index - 1) * start) as u64;
        let mut outer = chunk(&[], content_bytes, 1, b"");
        let at = outer.len() - 8;
        outer[at..].copy_from_slice(&content_bytes.to_le_bytes());
        let length = (start - 9) as u64 + content_bytes;
        outer[1..9].copy_from_slice(&length.to_le_bytes());
        nested.extend(outer);
    }
    let recording = open_bytes(&folder, &[MAGIC, &header_record(), &nested]).unwrap();
    assert!(!recording.index().damage.is_empty());
    let read = recording.file.read_bytes();
    assert!(read < 400 << 20, "{read} bytes were read of a file of {}", recording.size_bytes());
}

#[test]
fn metadata_that_cannot_be_read_takes_linear_time() {
    let folder = TestFolder::new("claims");
    // Each metadata record claims all that follows.
    let empty = chunk(&[], 0, 0, b"");
    let count = 20_000;
    let mut claims = Vec::new();
    for index in 0..count {
        let length = ((count - index - 1) * (9 + empty.len()) + empty.len()) as u64;
        claims.push(op::METADATA);
        claims.extend(length.to_le_bytes());
        claims.extend(&empty);
    }
    let recording = open_bytes(&folder, &[MAGIC, &header_record(), &claims]).unwrap();
    assert!(!recording.index().damage.is_empty());
    let read = recording.file.read_bytes();
    assert!(read < 400 << 20, "{read} bytes were read of a file of {}", recording.size_bytes());
}

#[test]
fn special_files_are_refused_without_reading() {
    let folder = TestFolder::new("fifo");
    let path = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    for path in [path.as_path(), Path::new("/dev/zero")] {
        let error = Recording::open(path, &|_| {}).err().unwrap().to_string();
        assert_eq!(error, format!("`{}` is not an MCAP file", path.display()));
    }
}

/// Each section took 48 bytes, and each chunk 350 of them until it was in a list.
#[test]
fn ranges_of_damaged_files_take_the_memory_of_their_sections() {
    let folder = TestFolder::new("ranges");
    let path = folder.path().join("whole.mcap");
    write(&path, &CAMERAS, 40, Compression::Lz4, &[]);
    let whole = fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.mcap");
    let text = |recording: &Recording| {
        let mut contents = recording.contents(|_| true, 0..u64::MAX);
        let mut found = Vec::new();
        while let Some((index, content)) = contents.next(recording) {
            if let Content::FrameSet(frameset) = content {
                found.push((index, frameset.record.sequence));
            }
        }
        found
    };
    for at in (whole.len() / 5..whole.len()).step_by(whole.len() / 97) {
        for length in [whole.len(), whole.len() - 1] {
            let mut bytes = whole[..length].to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 16;
            }
            fs::write(&damaged, bytes).unwrap();
            let expected = [
                text(&Recording::open(&damaged, &|_| {}).unwrap()),
                text(&Recording::scan(&damaged, &|_| {}).unwrap()),
            ];
            assert_eq!(open_long(&damaged).map(|long| text(&long)), expected, "byte {at} of {length}");
        }
    }
}

#[test]
fn a_replay_of_one_camera_reads_little_of_the_others() {
    let folder = TestFolder::new("one");
    let path = folder.path().join("long.mcap");
    write(&path, &["front", "rear", "left", "right", "top", "wrist"], 60, Compression::None, &[]);
    let [recording, _] = open_long(&path);
    let before = recording.file.read_bytes();
    let mut contents = recording.contents(|camera| camera.name == "left", 0..u64::MAX);
    let mut framesets = 0;
    while let Some((_, content)) = contents.next(&recording) {
        framesets += u64::from(matches!(content, Content::FrameSet(_)));
    }
    let read = recording.file.read_bytes() - before;
    assert_eq!(framesets, 60);
    assert!(read < recording.size_bytes() * 7 / 10, "{read} of {}", recording.size_bytes());
    // Each section is found again by its place.
    let mut walk = Walk::default();
    while let Some(section) = walk.next(&recording, |_| true) {
        let mut again = Walk::default();
        let section = section.unwrap();
        again.skip_to(&recording, section.offset);
        assert_eq!(again.next(&recording, |_| true).unwrap().unwrap(), section);
    }
}

/// Returns the bytes of a message.
fn message(channel: u16, sequence: u32, log_time: u64, data: &[u8]) -> Vec<u8> {
    let fields =
        [&channel.to_le_bytes()[..], &sequence.to_le_bytes(), &log_time.to_le_bytes(), &[0; 8], data];
    record(op::MESSAGE, &fields.concat())
}

/// Returns the header and the definitions of a recording of this many cameras. Camera `n` has framesets in channel 2n + 1,
/// and depth in the next one.
fn definitions(cameras: u16) -> Vec<u8> {
    let schema = |id: u16, name: &str| {
        let fields = [&id.to_le_bytes()[..], &text(name.as_bytes()), &text(b""), &text(b"")];
        record(op::SCHEMA, &fields.concat())
    };
    let info = serde_json::to_string(&crate::record::testing::info("c")).unwrap();
    let mut all = [header_record(), schema(1, FRAMESET_SCHEMA), schema(2, RAW_SCHEMA)].concat();
    for camera in 0..cameras {
        let name = format!("c{camera}");
        for (offset, entries) in [
            vec![
                (NAME_KEY, &name[..]),
                (VERSION_KEY, VERSION),
                (CAMERA_KEY, &info),
                (ORIGIN_KEY, "0"),
                (PART_KEY, "1"),
            ],
            vec![(NAME_KEY, &name), (STREAM_KEY, "depth")],
        ]
        .into_iter()
        .enumerate()
        {
            let entries: Vec<u8> = entries
                .into_iter()
                .flat_map(|(key, value)| [text(key.as_bytes()), text(value.as_bytes())].concat())
                .collect();
            let (id, topic) = (2 * camera + 1 + offset as u16, format!("/{name}/{offset}"));
            let schema = offset as u16 + 1;
            let fields =
                [&id.to_le_bytes()[..], &schema.to_le_bytes(), &text(topic.as_bytes()), &text(b"json")];
            all.extend(record(op::CHANNEL, &[&fields.concat()[..], &text(&entries)].concat()));
        }
    }
    all
}

/// It was 16 MiB for each camera: 1.6 GB of this file of 350 kB.
#[test]
fn waiting_parts_are_bounded_for_all_cameras_together() {
    const CAMERAS: u16 = 100;
    let folder = TestFolder::new("cameras");
    let depth = vec![0; 1 << 20];
    let mut file = [MAGIC.to_vec(), definitions(CAMERAS)].concat();
    for round in 0..8 {
        for camera in 0..CAMERAS {
            let lone = message(2 * camera + 2, round, u64::from(round), &depth);
            let packed = zstd::encode_all(&lone[..], 1).unwrap();
            file.extend(chunk(&packed, lone.len() as u64, 0, b"zstd"));
        }
    }
    let recording = open_bytes(&folder, &[&file]).unwrap();
    assert_eq!(recording.cameras().len(), usize::from(CAMERAS));
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    let mut lone = 0;
    while let Some((_, content)) = contents.next(&recording) {
        assert!(contents.waiting_bytes() <= 17 << 20, "{} bytes wait", contents.waiting_bytes());
        let Content::Unreadable { error: FrameSetError::NoFrameSet(count), .. } = content else {
            panic!("{content:?}")
        };
        lone += count;
    }
    assert_eq!(lone, 8 * u64::from(CAMERAS));
}

/// Without bounds, short entries take ten times the size of their text, and those of a complete section are in memory together.
#[test]
fn records_of_framesets_are_bounded() {
    let folder = TestFolder::new("records");
    let entries: Vec<_> = (0..200_000).map(|index| format!("\"{index}\":1")).collect();
    let long = |count: usize| {
        let (frame, entries) = (
            r#""stream":"depth","format":"z16","width":20,"height":10,"stride_bytes":40"#,
            entries[..count].join(","),
        );
        format!(
            "{{\"sequence\":1,\"arrival_nanos\":1,\"frames\":[{{{frame},\"number\":1,\"clock\":\"hardware\",\"timestamp_nanos\":1,\"metadata\":{{{entries}}},\"coding\":\"raw\"}}]}}"
        )
    };
    let mut content = message(1, 1, 1, long(200_000).as_bytes());
    // Each waits for its frame, which is missing.
    for number in 2..60 {
        content.extend(message(1, number, u64::from(number), long(20_000).as_bytes()));
    }
    let packed = zstd::encode_all(&content[..], 1).unwrap();
    let packed = chunk(&packed, content.len() as u64, 0, b"zstd");
    let recording = open_bytes(&folder, &[MAGIC, &definitions(1), &packed]).unwrap();
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    let mut problems = Vec::new();
    while let Some((_, content)) = contents.next(&recording) {
        assert!(contents.waiting_bytes() <= 64 << 20, "{} bytes wait", contents.waiting_bytes());
        let Content::Unreadable { error, .. } = content else { panic!("{content:?}") };
        problems.push(error.to_string());
    }
    assert_eq!(problems.len(), 59);
    assert!(problems[0].starts_with("its record has ") && problems[0].ends_with(" KiB"), "{}", problems[0]);
    assert_eq!(problems[1], "frameset 1 lacks its depth frame");
}

/// Without checks, a program built with overflow checks panics, and another one has wrong sums.
#[test]
fn sums_of_hostile_numbers_do_not_overflow() {
    let folder = TestFolder::new("sums");
    let path = folder.path().join("whole.mcap");
    write(&path, &CAMERAS, 2, Compression::None, &[]);
    let mut bytes = fs::read(&path).unwrap();
    // The number of messages of each channel, in a file without checksums of its summary.
    let footer = bytes.len() - 8 - 20;
    let start = u64::from_le_bytes(bytes[footer..footer + 8].try_into().unwrap()) as usize;
    bytes[footer + 16..footer + 20].fill(0);
    let mut at = start;
    while bytes[at] != op::STATISTICS {
        at += 9 + u64::from_le_bytes(bytes[at + 1..at + 9].try_into().unwrap()) as usize;
    }
    let length = u64::from_le_bytes(bytes[at + 1..at + 9].try_into().unwrap()) as usize;
    let counts = at + 9 + 8 + 2 + 4 + 4 + 4 + 4 + 8 + 8 + 4;
    for entry in (counts..at + 9 + length).step_by(10) {
        bytes[entry + 2..entry + 10].fill(0xff);
    }
    // A chunk with the largest length.
    let recording = Recording::open(&path, &|_| {}).unwrap();
    let last = recording.index().sections.iter().last().unwrap().offset as usize;
    bytes[last + 1..last + 9].fill(0xff);
    let path = folder.path().join("hostile.mcap");
    fs::write(&path, bytes).unwrap();
    let recording = Recording::open(&path, &|_| {}).unwrap();
    assert_eq!(recording.index().ending, Ending::Indexed);
    assert_eq!(recording.framesets_of(&recording.cameras()[0]), u64::MAX);
    assert!(crate::commands::info(&path).contains("18446744073709551615 framesets"));
    assert_eq!(contents(&path).1, 1, "the chunk is unreadable");
}

/// The channels of such a section are unknown, so it was one of the first camera, although there is none.
#[test]
fn a_file_without_cameras_has_no_content() {
    const CHANNELS: u16 = u16::MAX;
    let folder = TestFolder::new("no-cameras");
    let mut parts = vec![MAGIC.to_vec(), header_record()];
    for left_out in 0..18 {
        let messages = (0..CHANNELS).filter(|id| *id != left_out).flat_map(|id| message(id, 0, 1, b""));
        let content: Vec<_> = messages.collect();
        let packed = zstd::encode_all(&content[..], 1).unwrap();
        parts.push(chunk(&packed, content.len() as u64, 0, b"zstd"));
    }
    let small = (0..100).flat_map(|id| message(id, 0, 1, b""));
    let large: Vec<_> = small.chain(message(0, 0, 1, &vec![0; 33 << 20])).collect();
    parts.push(chunk(&zstd::encode_all(&large[..], 1).unwrap(), large.len() as u64, 0, b"zstd"));
    let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
    let recording = open_bytes(&folder, &parts).unwrap();
    assert!(recording.index().sections.iter().any(|section| section.channels.is_none()));
    assert_eq!(contents_of(&recording), (Vec::new(), 0));
}

/// Each took half a gigabyte of decompression.
#[test]
fn failed_chunks_that_no_frameset_needs_are_not_decompressed() {
    let folder = TestFolder::new("failed");
    let zeros = zstd::encode_all(io::repeat(0).take(512 << 20), 1).unwrap();
    let failing = chunk(&zeros, 512 << 20, 7, b"zstd");
    let recording = open_bytes(&folder, &[MAGIC, &header_record(), &failing, &failing, &failing]).unwrap();
    let problems: Vec<_> = recording.index().damage.iter().map(|damage| damage.problem.to_string()).collect();
    let refused = "it has 512 MiB, more than the 32 MiB that this recording's framesets need";
    assert_eq!(problems[1..], [refused, refused]);
}
