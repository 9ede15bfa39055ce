//! Tests of intact, truncated and damaged recordings, and of other files.

use std::fs;
use std::path::Path;

use camrig::frame::{CameraInfo, MetadataKey, PixelFormat, Stream, StreamInfo};
use mcap::WriteOptions;

use super::*;
use crate::compression::Compression;
use crate::record::testing::{TestFolder, headers, info, pixels, write, write_contents};

const CAMERAS: [&str; 2] = ["front", "rear"];
const FRAMESETS: u64 = 12;
const MAGIC_BYTES: usize = records::MAGIC.len();

/// Reads every frameset of a recording and checks its content; returns camera and sequence of each.
fn read(path: &Path) -> Result<Vec<(String, u64)>, ReadError> {
    let recording = Recording::open(path, &|_| {})?;
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    let mut found = Vec::new();
    while let Some((index, content)) = contents.next(&recording) {
        let camera = &recording.cameras()[index];
        if let Content::FrameSet(frameset) = content {
            check(camera, &frameset);
            found.push((camera.name.clone(), frameset.record.sequence));
        }
    }
    Ok(found)
}

fn check(camera: &RecordedCamera, frameset: &ReadFrameSet) {
    let expected = headers(&info(&camera.name), frameset.record.sequence);
    assert_eq!(frameset.record.frames.len(), expected.len());
    for ((frame, message), header) in frameset.record.frames.iter().zip(&frameset.images).zip(&expected) {
        assert_eq!(shown_header(frame), *header);
        let data = image_data(frame, message.clone()).unwrap();
        check_image(frame, &data).unwrap();
        let mut shown = vec![0; header.size_bytes() as usize];
        write_pixels(frame, &data, &mut shown).unwrap();
        assert_eq!(shown, pixels(&camera.name, header));
    }
}

fn all() -> Vec<(String, u64)> {
    let one = |sequence| CAMERAS.map(|camera| (camera.to_owned(), sequence));
    (0..FRAMESETS).flat_map(one).collect()
}

/// Returns a generator of pseudo-random numbers, the same in every run.
fn random_numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

#[test]
fn every_frameset_is_read_with_each_compression() {
    let folder = TestFolder::new("round-trip");
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let path = folder.path().join(format!("{compression:?}.mcap"));
        write(&path, &CAMERAS, FRAMESETS, compression, &[]);
        assert_eq!(read(&path).unwrap(), all());
        let recording = Recording::open(&path, &|_| {}).unwrap();
        assert_eq!(recording.index().ending, Ending::Indexed);
        for camera in recording.cameras() {
            assert_eq!(camera.info, info(&camera.name));
        }
        // A scan finds the same as the index.
        let seen = Recording::scan(&path, &|_| {}).unwrap();
        let sections = |recording: &Recording| recording.index().sections.iter().cloned().collect::<Vec<_>>();
        assert_eq!(sections(&seen), sections(&recording));
        assert_eq!(seen.index().channels, recording.index().channels);
        assert_eq!(seen.index().messages, recording.index().messages);
        assert!(seen.index().damage.is_empty(), "{:?}", seen.index().damage);
    }
}

#[test]
fn a_truncated_file_has_all_complete_framesets() {
    let folder = TestFolder::new("cut");
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let path = folder.path().join("whole.mcap");
        write(&path, &CAMERAS, FRAMESETS, compression, &[]);
        let bytes = fs::read(&path).unwrap();
        let recording = Recording::open(&path, &|_| {}).unwrap();
        let framesets = |section: &&Section| {
            let cameras = recording.cameras();
            cameras.iter().any(|camera| section.has(|id| camera.frameset_channels.contains(&id)))
        };
        let ends = recording.index().sections.iter().filter(framesets);
        let ends: Vec<_> = ends.map(|section| (section.offset + section.size_bytes) as usize).collect();
        assert_eq!(ends.len(), all().len());
        let mut random = random_numbers(7);
        let edges = ends.iter().flat_map(|&end| [end - 1, end, end + 1]);
        let cuts = (0..100).map(|_| random(bytes.len())).chain(edges);
        for cut in cuts.collect::<Vec<_>>() {
            let path = folder.path().join("cut.mcap");
            fs::write(&path, &bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            match read(&path) {
                Ok(found) => assert_eq!(found, all()[..whole], "cut at {cut} of {}", bytes.len()),
                Err(error) => assert!(whole == 0 && cut < 200, "cut at {cut}: {error}"),
            }
        }
        fs::remove_file(&path).unwrap();
    }
}

/// Returns the number of parts of a recording that cannot be read.
fn problems(path: &Path) -> usize {
    let recording = Recording::open(path, &|_| {}).unwrap();
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    let contents = std::iter::from_fn(|| contents.next(&recording));
    let unreadable = contents.filter(|(_, content)| matches!(content, Content::Unreadable { .. }));
    recording.index().damage.len() + unreadable.count()
}

#[test]
fn a_flipped_bit_damages_at_most_one_frameset() {
    let folder = TestFolder::new("flipped");
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let path = folder.path().join("whole.mcap");
        write(&path, &CAMERAS, FRAMESETS, compression, &[]);
        let bytes = fs::read(&path).unwrap();
        let recording = Recording::open(&path, &|_| {}).unwrap();
        let has_framesets = |section: &Section| {
            let cameras = recording.cameras();
            cameras.iter().any(|camera| section.has(|id| camera.frameset_channels.contains(&id)))
        };
        // The definitions are a chunk too, which a file without an index needs.
        let definitions = recording.index().sections.iter().filter(|section| !has_framesets(section));
        let definitions: Vec<_> = definitions.map(Section::bytes).collect();
        assert_eq!(definitions.len(), CAMERAS.len());
        // Each bit of the opcodes and the lengths of the first and the last record and of a frameset's, and some of the rest.
        let mut records = vec![MAGIC_BYTES];
        while let Some(&at) = records.last()
            && bytes[at] != op::DATA_END
        {
            let length = u64::from_le_bytes(bytes[at + 1..at + 9].try_into().unwrap()) as usize;
            records.push(at + 9 + length);
        }
        let middle = records.len() / 2;
        let some =
            [records[0], records[records.len() - 1]].into_iter().chain(records[middle..middle + 4].to_vec());
        let of_headers = some.flat_map(|at| (0..72).map(move |bit| (at + bit / 8, bit % 8)));
        let of_headers: Vec<_> = of_headers.collect();
        let mut random = random_numbers(11);
        for indexed in [true, false] {
            // A file without its end has no index.
            let length = bytes.len() - if indexed { 0 } else { 8 };
            let others = (0..300).map(|_| (random(length), random(8)));
            for (at, bit) in of_headers.iter().copied().chain(others) {
                let mut bytes = bytes[..length].to_vec();
                bytes[at] ^= 1 << bit;
                let path = folder.path().join("flipped.mcap");
                fs::write(&path, &bytes).unwrap();
                let is_of_definitions = definitions.iter().any(|place| place.contains(&(at as u64)));
                let found = match read(&path) {
                    Ok(found) => found,
                    Err(error) => {
                        // In the magic, or in the definitions of a file without an index.
                        assert!(at < 8 || !indexed && is_of_definitions, "bit {bit} of byte {at}: {error}");
                        continue;
                    }
                };
                // A camera waits for the rest of a frameset that a damaged record began; the others do not.
                for name in CAMERAS {
                    let of_one = found.iter().filter(|(camera, _)| camera == name);
                    assert!(of_one.is_sorted_by_key(|(_, sequence)| *sequence), "bit {bit} of byte {at}");
                }
                let lost = all().len() - found.len();
                let bound = if !indexed && is_of_definitions { all().len() } else { 1 };
                assert!(lost <= bound, "bit {bit} of byte {at} of {length} costs {lost} framesets");
                assert!(
                    lost == 0 || problems(&path) > 0,
                    "bit {bit} of byte {at} of {length} is not reported"
                );
            }
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn depth_that_is_stored_in_metres_fits_what_is_read() {
    let folder = TestFolder::new("metres");
    let path = folder.path().join("rig.mcap");
    let profile = "3072x3072@30".parse().unwrap();
    let streams = vec![StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, profile)];
    let info = CameraInfo { streams, depth_unit_meters: 0.0001, ..info("front") };
    write_contents(&path, &[(info, vec![vec![vec![1; 2 * 3072 * 3072]]])]);
    assert_eq!(problems(&path), 0);
}

#[test]
fn many_flipped_bits_cause_no_panic() {
    let folder = TestFolder::new("torn");
    let path = folder.path().join("whole.mcap");
    write(&path, &CAMERAS, FRAMESETS, Compression::Zstd, &[]);
    let bytes = fs::read(&path).unwrap();
    let mut random = random_numbers(13);
    for round in 0..200 {
        let mut bytes = bytes[..bytes.len() - random(40)].to_vec();
        for _ in 0..=random(1 + round) {
            let (at, bit) = (random(bytes.len()), random(8));
            bytes[at] ^= 1 << bit;
        }
        let path = folder.path().join("torn.mcap");
        fs::write(&path, &bytes).unwrap();
        if let Ok(found) = read(&path) {
            assert!(found.len() <= all().len());
        }
    }
}

#[test]
fn other_files_are_refused_with_their_problem() {
    let folder = TestFolder::new("others");
    let path = folder.path().join("other.mcap");
    let error_of = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = read(&path).map(drop).unwrap_err().to_string();
        error.strip_prefix(&format!("`{}` ", path.display())).unwrap().to_owned()
    };
    assert_eq!(error_of(b""), "is not an MCAP file");
    let bag = "is a .bag, which the driver `realsense` plays: name it in its option `file`";
    assert_eq!(error_of(b"#ROSBAG V2.0\n"), bag);
    let does = if cfg!(feature = "sqlite") {
        "`camrig recording import` makes a recording of it"
    } else {
        "`ros2 bag convert` and `rosbags-convert` make MCAP of it"
    };
    assert_eq!(error_of(b"SQLite format 3\0and more"), format!("is a bag of ROS 2 in SQLite; {does}"));
    assert_eq!(error_of(&vec![0; 1 << 20]), "is not an MCAP file");
    assert_eq!(error_of(records::MAGIC), "is an MCAP file but not a camrig recording");
    let mut writer = WriteOptions::new().create(io::Cursor::new(Vec::new())).unwrap();
    let channel = writer.add_channel(0, "/chat", "json", &BTreeMap::new()).unwrap();
    let header =
        mcap::records::MessageHeader { channel_id: channel, sequence: 0, log_time: 0, publish_time: 0 };
    writer.write_to_known_channel(&header, b"{}").unwrap();
    writer.finish().unwrap();
    assert_eq!(error_of(writer.into_inner().get_ref()), "is an MCAP file but not a camrig recording");
    assert_eq!(
        read(folder.path()).unwrap_err().to_string(),
        format!("`{}` is not an MCAP file", folder.path().display()),
    );
    let none = folder.path().join("none.mcap");
    assert_eq!(
        read(&none).unwrap_err().to_string(),
        format!("`{}` cannot be read: No such file or directory (os error 2)", none.display()),
    );
}

#[test]
fn an_unknown_camera_is_refused_with_the_known_ones() {
    let folder = TestFolder::new("cameras");
    let path = folder.path().join("rig.mcap");
    write(&path, &CAMERAS, 1, Compression::None, &[]);
    let recording = Parts::open(&path, &|_| {}).unwrap();
    assert_eq!(
        recording.camera("left").unwrap_err().to_string(),
        format!("`{}` has no camera `left`; expected one of: `front`, `rear`", path.display()),
    );
}

/// Returns a weighted sum of bytes, which depends on their order.
fn sum(bytes: &[u8]) -> u64 {
    (0..).zip(bytes).map(|(index, &byte): (u64, _)| (index % 251 + 1) * u64::from(byte)).sum()
}

/// `before/rig.mcap` was written by the program at 1af0345, before streams and payloads were open. Its content was
/// exported by the same program, and the sums of depth computed from that.
#[test]
fn an_earlier_recording_reads_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/before/rig.mcap");
    let recording = Recording::open(&path, &|_| {}).unwrap();
    assert_eq!((recording.index().ending, recording.index().damage.len()), (Ending::Indexed, 0));
    let cameras: Vec<_> = recording
        .cameras()
        .iter()
        .map(|camera| {
            let info = &camera.info;
            let streams: Vec<_> =
                info.streams.iter().map(|it| format!("{} {} {}", it.stream, it.role, it.format())).collect();
            (&*camera.name, &*info.driver, &*info.model, &*info.serial, streams.join(", "))
        })
        .collect();
    let expected = [
        (
            "together/left",
            "synthetic",
            "Synthetic",
            "000000000001",
            "color light rgb8, depth depth z16, accel motion motion, gyro motion motion".to_owned(),
        ),
        ("together/right", "synthetic", "Synthetic", "000000000002", "depth depth z16".to_owned()),
    ];
    assert_eq!(cameras, expected);

    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    let mut found = Vec::new();
    while let Some((_, content)) = contents.next(&recording) {
        let Content::FrameSet(frameset) = content else { panic!("{content:?}") };
        let mut depth = 0;
        for (frame, message) in frameset.record.frames.iter().zip(&frameset.images) {
            let header = shown_header(frame);
            let data = image_data(frame, message.clone()).unwrap();
            check_image(frame, &data).unwrap();
            let mut shown = vec![0; header.size_bytes() as usize];
            write_pixels(frame, &data, &mut shown).unwrap();
            if header.stream == Stream::DEPTH {
                depth = sum(&shown);
                assert_eq!(header.timestamp.nanos, 60_000_000_000 + header.number * 1_000_000_000 / 30);
                assert_eq!(header.metadata.get(MetadataKey::FRAME_COUNTER), Some(header.number as i64));
            }
        }
        let counts: Vec<_> = frameset.record.frames.iter().map(|it| it.header().numbers()).collect();
        found.push((frameset.record.sequence, frameset.record.matched, counts, depth));
    }
    let expected = [
        (0, Some(0), vec![1; 4], 11_657_335),
        (1, Some(0), vec![1], 10_788_659),
        (2, Some(1), vec![1, 1, 3, 6], 11_796_452),
        (3, Some(1), vec![1], 10_700_654),
        (4, Some(2), vec![1, 1, 3, 7], 11_766_881),
        (5, Some(2), vec![1], 10_786_107),
    ];
    assert_eq!(found, expected);
}
