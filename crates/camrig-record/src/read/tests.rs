//! Recordings that are whole, cut anywhere, damaged anywhere, and files that are none.

use std::fs;
use std::path::Path;

use mcap::WriteOptions;

use super::*;
use crate::compression::Compression;
use crate::record::testing::{TestFolder, headers, info, pixels, write};

const CAMERAS: [&str; 2] = ["front", "rear"];
const FRAMESETS: u64 = 12;

/// Every frameset that a recording gives: camera and sequence. Each has to be what was written.
fn read(path: &Path) -> Result<Vec<(String, u64)>, ReadError> {
    let recording = Recording::open(path, &|_| {})?;
    let mut found = Vec::new();
    for chunk in &recording.index().chunks {
        for camera in recording.cameras() {
            let Ok(records) = recording.read_chunk(chunk) else { continue };
            for frameset in framesets(camera, &records).into_iter().flatten() {
                check(camera, &frameset);
                found.push((camera.name.clone(), frameset.record.sequence));
            }
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

/// Numbers that look drawn, the same in every run.
fn draws(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

#[test]
fn everything_comes_back_however_it_is_compressed() {
    let folder = TestFolder::new("round-trip");
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let path = folder.path().join(format!("{compression:?}.mcap"));
        write(&path, &CAMERAS, FRAMESETS, compression, &[]);
        assert_eq!(read(&path).unwrap(), all());
        let recording = Recording::open(&path, &|_| {}).unwrap();
        assert!(recording.index().whole);
        for camera in recording.cameras() {
            assert_eq!(camera.info, info(&camera.name));
        }
        // What a look at everything finds is what the index says.
        let seen = Recording::scan(&path, &|_| {}).unwrap();
        let with_messages = |recording: &Recording| {
            let chunks = recording.index().chunks.iter().filter(|chunk| !chunk.channels.is_empty());
            chunks.cloned().collect::<Vec<_>>()
        };
        assert_eq!(with_messages(&seen), with_messages(&recording));
        assert_eq!(seen.index().channels, recording.index().channels);
        assert_eq!(seen.index().messages, recording.index().messages);
        assert_eq!(seen.index().damage, []);
    }
}

#[test]
fn a_file_that_is_cut_anywhere_holds_what_was_whole() {
    let folder = TestFolder::new("cut");
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let path = folder.path().join("whole.mcap");
        write(&path, &CAMERAS, FRAMESETS, compression, &[]);
        let bytes = fs::read(&path).unwrap();
        let recording = Recording::open(&path, &|_| {}).unwrap();
        let ends: Vec<_> = recording
            .index()
            .chunks
            .iter()
            .filter(|chunk| {
                recording.cameras().iter().any(|c| !c.frameset_channels.is_disjoint(&chunk.channels))
            })
            .map(|chunk| (chunk.offset + chunk.size_bytes) as usize)
            .collect();
        assert_eq!(ends.len(), all().len());
        let mut draw = draws(7);
        let edges = ends.iter().flat_map(|&end| [end - 1, end, end + 1]);
        let cuts = (0..100).map(|_| draw(bytes.len())).chain(edges);
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

#[test]
fn a_flipped_bit_costs_a_frameset_and_no_more() {
    let folder = TestFolder::new("flipped");
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let path = folder.path().join("whole.mcap");
        write(&path, &CAMERAS, FRAMESETS, compression, &[]);
        let bytes = fs::read(&path).unwrap();
        let mut draw = draws(11);
        for indexed in [true, false] {
            // Without its end the file has no index.
            let length = bytes.len() - if indexed { 0 } else { 8 };
            for _ in 0..300 {
                let (at, bit) = (draw(length), draw(8));
                let mut bytes = bytes[..length].to_vec();
                bytes[at] ^= 1 << bit;
                let path = folder.path().join("flipped.mcap");
                fs::write(&path, &bytes).unwrap();
                let found = match read(&path) {
                    Ok(found) => found,
                    Err(error) => {
                        // In the magic, or in the definitions of a file without an index.
                        assert!(at < 8 || !indexed, "bit {bit} of byte {at}: {error}");
                        continue;
                    }
                };
                assert!(found.is_sorted_by_key(|(_, sequence)| *sequence), "bit {bit} of byte {at}");
                let lost = all().len() - found.len();
                // Definitions are a chunk too, which a file without an index cannot do without.
                let bound = if indexed { 1 } else { all().len() };
                assert!(lost <= bound, "bit {bit} of byte {at} of {length} costs {lost} framesets");
            }
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn many_flipped_bits_are_no_harm_either() {
    let folder = TestFolder::new("torn");
    let path = folder.path().join("whole.mcap");
    write(&path, &CAMERAS, FRAMESETS, Compression::Zstd, &[]);
    let bytes = fs::read(&path).unwrap();
    let mut draw = draws(13);
    for round in 0..200 {
        let mut bytes = bytes[..bytes.len() - draw(40)].to_vec();
        for _ in 0..=draw(1 + round) {
            let (at, bit) = (draw(bytes.len()), draw(8));
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
fn other_files_are_told_for_what_they_are() {
    let folder = TestFolder::new("others");
    let path = folder.path().join("other.mcap");
    let told = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = read(&path).map(drop).unwrap_err().to_string();
        error.strip_prefix(&format!("`{}` ", path.display())).unwrap().to_owned()
    };
    assert_eq!(told(b""), "is no recording: it is no MCAP file");
    assert_eq!(told(b"#ROSBAG V2.0\n"), "is no recording: it is no MCAP file");
    assert_eq!(told(&vec![0; 1 << 20]), "is no recording: it is no MCAP file");
    assert_eq!(told(records::MAGIC), "is an MCAP file, but no recording of camrig");
    let mut writer = WriteOptions::new().create(io::Cursor::new(Vec::new())).unwrap();
    let channel = writer.add_channel(0, "/chat", "json", &BTreeMap::new()).unwrap();
    let header =
        mcap::records::MessageHeader { channel_id: channel, sequence: 0, log_time: 0, publish_time: 0 };
    writer.write_to_known_channel(&header, b"{}").unwrap();
    writer.finish().unwrap();
    assert_eq!(told(writer.into_inner().get_ref()), "is an MCAP file, but no recording of camrig");
    assert_eq!(
        read(folder.path()).unwrap_err().to_string(),
        format!("`{}` is no recording: it is no MCAP file", folder.path().display()),
    );
    let none = folder.path().join("none.mcap");
    assert_eq!(
        read(&none).unwrap_err().to_string(),
        format!("`{}` cannot be read: No such file or directory (os error 2)", none.display()),
    );
}

#[test]
fn a_camera_that_is_not_there_is_told_with_those_that_are() {
    let folder = TestFolder::new("cameras");
    let path = folder.path().join("rig.mcap");
    write(&path, &CAMERAS, 1, Compression::None, &[]);
    let recording = Recording::open(&path, &|_| {}).unwrap();
    assert_eq!(
        recording.camera("left").unwrap_err().to_string(),
        format!("`{}` has no camera `left`; there are: `front`, `rear`", path.display()),
    );
}
