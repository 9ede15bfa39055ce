//! `recording trim`, `merge` and `recompress`: new recordings with the same messages.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::copy::{Copied, Selection, copy};
use super::progress::{self, bar};
use super::{CommandError, counted, interrupt, seconds};
use crate::compression::Compression;
use crate::read::{Parts, ReadError, RecordedCamera, Recording};

/// Copy a time range or some cameras of a recording
#[derive(Debug, clap::Args)]
pub(super) struct TrimArgs {
    /// A recording
    file: PathBuf,
    /// The new recording
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Start at this time of the recording
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value_t = 0.0)]
    from: f64,
    /// End before this time of the recording
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    to: Option<f64>,
    /// Only these cameras
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    cameras: Vec<String>,
}

/// Copy several recordings into one
#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// The recordings
    #[arg(required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// The new recording
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Copy a recording with another compression of its chunks
#[derive(Debug, clap::Args)]
pub(super) struct RecompressArgs {
    /// A recording
    file: PathBuf,
    /// The new recording
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Compression of chunks
    #[arg(long, value_name = "none|lz4|zstd", default_value = "zstd")]
    compression: Compression,
}

pub(super) fn trim(args: &TrimArgs) -> Result<String, CommandError> {
    let TrimArgs { file, output, from, to, cameras } = args;
    let parts = open(file)?;
    for name in cameras {
        check_camera("--cameras", &parts, name)?;
    }
    let range = range(file, &parts, *from, *to)?;
    let began = parts.range().start;
    let origin = if *from > 0.0 { range.start } else { began };
    let selection = Selection { range, cameras, origin: Some(origin) };
    let compression = compression_of(&parts);
    finish(&[parts], &selection, output, compression)
}

pub(super) fn merge(args: &MergeArgs) -> Result<String, CommandError> {
    let inputs = args.files.iter().map(|file| open(file)).collect::<Result<Vec<_>, _>>()?;
    check_apart(&args.files, &inputs)?;
    let origin = inputs.iter().map(|parts| parts.range().start).min();
    let selection = Selection { origin, ..Selection::ALL };
    finish(&inputs, &selection, &args.output, compression_of(&inputs[0]))
}

pub(super) fn recompress(args: &RecompressArgs) -> Result<String, CommandError> {
    let parts = open(&args.file)?;
    let selection = Selection { origin: Some(parts.range().start), ..Selection::ALL };
    finish(&[parts], &selection, &args.output, args.compression)
}

fn open(file: &Path) -> Result<Parts, CommandError> {
    let parts = progress::open(file)?;
    if let Some(live) = parts.files().iter().find(|part| part.is_live()) {
        return Err(ReadError::new(live.path(), "is being recorded").into());
    }
    Ok(parts)
}

fn compression_of(parts: &Parts) -> Compression {
    parts.files()[0].index().sections.compression().unwrap_or(Compression::None)
}

/// Checks that a recording has the camera of an option.
pub(super) fn check_camera(option: &str, parts: &Parts, name: &str) -> Result<(), CommandError> {
    let error = |error| CommandError::Usage(format!("`{option}` is `{name}`: {error}"));
    parts.camera(name).map(drop).map_err(error)
}

/// Returns the times of `--from` and `--to` as times of the recording.
pub(super) fn range(
    file: &Path,
    parts: &Parts,
    from: f64,
    to: Option<f64>,
) -> Result<Range<u64>, CommandError> {
    if let Some(to) = to.filter(|&to| to <= from) {
        return Err(CommandError::Usage(format!(
            "`--to` is {to}; it must be more than `--from`, which is {from}"
        )));
    }
    let (recorded, nanos) = (parts.range(), |seconds: f64| (seconds * 1e9) as u64);
    let start = recorded.start.saturating_add(nanos(from));
    if start > recorded.end {
        let lasts = recorded.end.saturating_sub(recorded.start) as f64 / 1e9;
        let file = file.display();
        return Err(CommandError::Usage(format!("`--from` is {from}, but `{file}` lasts {lasts:.3} s")));
    }
    Ok(start..to.map_or(u64::MAX, |to| recorded.start.saturating_add(nanos(to))))
}

/// Checks that no camera is in two recordings at the same time.
fn check_apart(files: &[PathBuf], inputs: &[Parts]) -> Result<(), CommandError> {
    let mut known: Vec<(&str, Range<u64>, &Path)> = Vec::new();
    for (file, parts) in files.iter().zip(inputs) {
        let cameras =
            parts.files().iter().flat_map(|part| part.cameras().iter().map(move |camera| (part, camera)));
        let times: Vec<_> = cameras
            .filter_map(|(part, camera)| Some((&*camera.name, times(part, camera)?, &**file)))
            .collect();
        for (name, range, _) in &times {
            let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
            if let Some((.., other)) = known.iter().find(|(known, other, _)| known == name && overlaps(other))
            {
                let (file, other) = (file.display(), other.display());
                return Err(CommandError::Usage(format!(
                    "`{other}` and `{file}` both have the camera `{name}` at the same time"
                )));
            }
        }
        known.extend(times);
    }
    Ok(())
}

/// Returns the times of the first and the last frameset of a camera in a file.
fn times(recording: &Recording, camera: &RecordedCamera) -> Option<Range<u64>> {
    let extents = recording.index().sections.extents().filter(|(channels, _)| {
        channels.as_ref().is_none_or(|channels| !camera.frameset_channels.is_disjoint(channels))
    });
    let times = extents.map(|(_, extent)| (extent.start_time, extent.end_time));
    let (start, end) = times.reduce(|first, next| (first.0.min(next.0), first.1.max(next.1)))?;
    Some(start..end.saturating_add(1))
}

fn finish(
    inputs: &[Parts],
    selection: &Selection<'_>,
    output: &Path,
    compression: Compression,
) -> Result<String, CommandError> {
    interrupt::receive();
    let sizes = inputs.iter().flat_map(Parts::files).map(Recording::size_bytes);
    let Copied { framesets, mut problems } =
        copy(inputs, selection, output, compression, &bar(sizes.sum(), "copying"))?;
    let missing = inputs.iter().filter_map(Parts::problem);
    problems.extend(missing.map(|problem| format!("the recording continues, but {problem}")));
    let problems = problems.finish();
    let text = format!("{}: {} copied\n", output.display(), counted(framesets, "frameset"));
    if problems.is_empty() { Ok(text) } else { Err(CommandError::Damaged { text, problems }) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use indicatif::ProgressBar;

    use super::super::copy::copy_in_files;
    use super::*;
    use crate::format::{GapReason, GapRecord, Incomplete};
    use crate::read::{Content, messages};
    use crate::record::testing::{Next, ORIGIN, PERIOD, TestFolder, begin, write, write_parts};
    use crate::write::{Message, Output};

    /// A message with its topic and the checksum of its data.
    type Text = (String, u64, u64, u32, u32);

    /// Returns the messages of all files of a recording, and checks that they are complete.
    fn contents(path: &Path) -> Vec<Text> {
        let verified = super::super::verify::verify(path);
        assert!(verified.is_ok(), "{verified:?}");
        let parts = Parts::open(path, &|_| {}).unwrap();
        let mut found = Vec::new();
        for recording in parts.files() {
            for section in recording.index().sections.iter() {
                for message in messages(&recording.read_section(section).unwrap()) {
                    let fields = message.fields;
                    let topic = recording.index().channels[&fields.channel].topic.clone();
                    let crc32 = crc32fast::hash(&message.data);
                    found.push((topic, fields.log_time, fields.publish_time, fields.sequence, crc32));
                }
            }
        }
        found
    }

    fn is_lasting((topic, ..): &Text) -> bool {
        topic.ends_with("/calibration") || topic.ends_with("/transform")
    }

    fn recorded(folder: &TestFolder) -> PathBuf {
        let path = folder.path().join("rig.mcap");
        let gap = GapRecord { first_sequence: 3, last_sequence: 4, reason: GapReason::Memory };
        write(&path, &["front", "rear"], 12, Compression::Lz4, &[gap]);
        path
    }

    fn trim_args(file: &Path, output: &Path, from: f64, to: Option<f64>, cameras: &[&str]) -> TrimArgs {
        let cameras = cameras.iter().map(|&name| name.to_owned()).collect();
        TrimArgs { file: file.to_owned(), output: output.to_owned(), from, to, cameras }
    }

    #[test]
    fn a_trimmed_recording_has_the_messages_of_its_time() {
        let folder = TestFolder::new("trim");
        let (path, output) = (recorded(&folder), folder.path().join("short.mcap"));
        let text = trim(&trim_args(&path, &output, 0.1, Some(0.3), &[])).unwrap();
        // The numbers 5 to 9 of two cameras; 3 and 4 are a gap.
        assert!(text.ends_with("short.mcap: 10 framesets copied\n"), "{text}");
        let range = ORIGIN + 100_000_000..ORIGIN + 300_000_000;
        let of_time = |message: &Text| !is_lasting(message) && range.contains(&message.1);
        let expected: Vec<_> = contents(&path).into_iter().filter(of_time).collect();
        let (lasting, found): (Vec<_>, Vec<_>) = contents(&output).into_iter().partition(is_lasting);
        assert_eq!(found, expected);
        assert_eq!(found.iter().filter(|(topic, ..)| topic.ends_with("/gaps")).count(), 2);
        // The calibration is the one at the beginning, written at the new beginning.
        let topics: BTreeMap<_, _> =
            contents(&path).into_iter().filter(is_lasting).map(|it| (it.0, it.4)).collect();
        assert_eq!(lasting.iter().map(|it| (it.0.clone(), it.4)).collect::<BTreeMap<_, _>>(), topics);
        assert!(lasting.iter().all(|it| it.1 == range.start), "{lasting:?}");
        // It is played from its new beginning on.
        assert_eq!(Parts::open(&output, &|_| {}).unwrap().range(), range.start..ORIGIN + 9 * PERIOD);
        // Nothing is overwritten.
        let error = trim(&trim_args(&path, &output, 0.1, None, &[])).unwrap_err().to_string();
        assert!(error.ends_with("short.mcap`: File exists (os error 17)"), "{error}");
    }

    #[test]
    fn cameras_are_left_out_by_name() {
        let folder = TestFolder::new("cameras");
        let (path, output) = (recorded(&folder), folder.path().join("rear.mcap"));
        trim(&trim_args(&path, &output, 0.0, None, &["rear"])).unwrap();
        let expected: Vec<_> = contents(&path).into_iter().filter(|it| it.0.starts_with("/rear/")).collect();
        assert_eq!(contents(&output), expected);
        let error = trim(&trim_args(&path, &output, 0.0, None, &["top"])).unwrap_err();
        assert!(matches!(&error, CommandError::Usage(_)), "{error}");
        assert!(error.to_string().starts_with("`--cameras` is `top`: `"), "{error}");
        assert!(
            error.to_string().ends_with("has no camera `top`; expected one of: `front`, `rear`"),
            "{error}"
        );
        for (from, to, message) in [
            (0.2, Some(0.1), "`--to` is 0.1; it must be more than `--from`, which is 0.2".to_owned()),
            (9.0, None, format!("`--from` is 9, but `{}` lasts 0.367 s", path.display())),
        ] {
            let error = trim(&trim_args(&path, &output, from, to, &[])).unwrap_err().to_string();
            assert_eq!(error, message);
        }
    }

    #[test]
    fn recordings_are_merged_and_compressed_without_a_change() {
        let folder = TestFolder::new("merge");
        let path = recorded(&folder);
        let halves = ["front", "rear"].map(|name| {
            let output = folder.path().join(format!("{name}.mcap"));
            trim(&trim_args(&path, &output, 0.0, None, &[name])).unwrap();
            output
        });
        let merged = folder.path().join("both.mcap");
        let args = MergeArgs { files: halves.to_vec(), output: merged.clone() };
        merge(&args).unwrap();
        let sorted = |path: &Path| {
            let mut contents = contents(path);
            contents.sort();
            contents
        };
        assert_eq!(sorted(&merged), sorted(&path));
        let times: Vec<_> =
            contents(&merged).into_iter().filter(|it| !is_lasting(it)).map(|it| it.1).collect();
        assert!(times.is_sorted(), "{times:?}");
        // The same camera at the same time is refused; one that continues is not.
        let args =
            MergeArgs { files: vec![path.clone(), halves[0].clone()], output: folder.path().join("x.mcap") };
        let error = merge(&args).unwrap_err().to_string();
        assert!(error.ends_with("front.mcap` both have the camera `front` at the same time"), "{error}");
        let [first, second] = [(0.0, Some(0.2)), (0.2, None)].map(|(from, to)| {
            let output = folder.path().join(format!("from-{from}.mcap"));
            trim(&trim_args(&path, &output, from, to, &[])).unwrap();
            output
        });
        let output = folder.path().join("again.mcap");
        merge(&MergeArgs { files: vec![second, first], output: output.clone() }).unwrap();
        assert_eq!(sorted(&output), sorted(&path));
        for compression in [Compression::Zstd, Compression::None] {
            let output = folder.path().join(format!("{compression:?}.mcap"));
            recompress(&RecompressArgs { file: path.clone(), output: output.clone(), compression }).unwrap();
            assert_eq!(contents(&output), contents(&path));
            assert_eq!(compression_of(&Parts::open(&output, &|_| {}).unwrap()), compression);
        }
    }

    #[test]
    fn the_files_of_a_recording_become_one() {
        let folder = TestFolder::new("files");
        let (path, output) = (folder.path().join("rig.mcap"), folder.path().join("one.mcap"));
        write_parts(&path, &[&["front"], &["front", "late"], &["late"]]);
        recompress(&RecompressArgs { file: path, output: output.clone(), compression: Compression::Zstd })
            .unwrap();
        let parts = Parts::open(&output, &|_| {}).unwrap();
        assert_eq!((parts.files().len(), parts.problem().is_none()), (1, true));
        let mut contents = parts.files()[0].contents(|_| true, 0..u64::MAX);
        let mut found = Vec::new();
        while let Some((index, content)) = contents.next(&parts.files()[0]) {
            let Content::FrameSet(frameset) = content else { panic!("{content:?}") };
            found.push((index, frameset.record.sequence));
        }
        assert_eq!(found, [(0, 1), (0, 2), (1, 2), (1, 3)]);
    }

    /// Writes the messages of a recording again, so many in each chunk, without those of topics that end like this.
    fn rewrite_without(end: &str, from: &Path, path: &Path, in_chunk: usize) {
        let recording = Recording::open(from, &|_| {}).unwrap();
        let mut output = Output::new(std::fs::File::create_new(path).unwrap(), Compression::Lz4).unwrap();
        let sections = recording.index().sections.iter();
        let found: Vec<_> = sections
            .flat_map(|section| messages(&recording.read_section(section).unwrap()).collect::<Vec<_>>())
            .filter(|message| !recording.index().channels[&message.fields.channel].topic.ends_with(end))
            .collect();
        for found in found.chunks(in_chunk) {
            let chunk = found.iter().map(|message| {
                let channel = &recording.index().channels[&message.fields.channel];
                let schema = channel.schema.as_ref().unwrap();
                let schema = output.add_schema(&schema.name, &schema.encoding, &schema.data).unwrap();
                let id =
                    output.add_channel(schema, &channel.topic, &channel.message_encoding, &channel.metadata);
                let fields = message.fields;
                Message {
                    channel: id.unwrap(),
                    sequence: fields.sequence,
                    log_time: fields.log_time,
                    publish_time: fields.publish_time,
                    data: &message.data,
                }
            });
            let chunk: Vec<_> = chunk.collect();
            output.write_chunk(&chunk).unwrap();
        }
        output.finish().unwrap();
    }

    fn copy_all(from: &Path, output: &Path, most_chunks: u32) -> Result<Copied, CommandError> {
        let parts = Parts::open(from, &|_| {}).unwrap();
        let selection = Selection { origin: Some(parts.range().start), ..Selection::ALL };
        copy_in_files(&[parts], &selection, output, Compression::Lz4, &ProgressBar::hidden(), most_chunks)
    }

    #[test]
    fn a_full_file_ends_between_two_framesets() {
        let folder = TestFolder::new("full");
        let path = recorded(&folder);
        let sorted = |path: &Path| {
            let mut found: Vec<_> = contents(path).into_iter().filter(|it| !is_lasting(it)).collect();
            found.sort();
            found
        };
        let expected = sorted(&path);
        // Two framesets and two gaps, of eight messages, have the same time.
        for (in_chunk, most_chunks) in [(1, 8), (1, 9), (1, 11), (2, 5), (3, 4), (5, 3), (5, 4)] {
            let text = format!("{in_chunk}-{most_chunks}");
            let source = folder.path().join(format!("{text}.mcap"));
            rewrite_without("/none", &path, &source, in_chunk);
            let output = folder.path().join(format!("{text}-copy.mcap"));
            assert_eq!(copy_all(&source, &output, most_chunks).unwrap().framesets, 20);
            assert_eq!(sorted(&output), expected, "{text}");
            let parts = Parts::open(&output, &|_| {}).unwrap();
            assert!(parts.files().len() > 1 && parts.problem().is_none(), "{text}");
            // Its calibration is of the time at which it begins.
            let starts = parts.files().iter().map(|part| {
                part.index().sections.extents().map(|(_, extent)| extent.start_time).min().unwrap()
            });
            let starts: Vec<_> = starts.collect();
            assert!(starts[0] == ORIGIN && starts.is_sorted_by(|a, b| a < b), "{text}: {starts:?}");
        }
    }

    #[test]
    fn files_of_an_unfinished_copy_are_kept_under_other_names() {
        let folder = TestFolder::new("unfinished");
        let path = recorded(&folder);
        let [output, third, partial] =
            ["new.mcap", "new-3.mcap", "new-partial.mcap"].map(|name| folder.path().join(name));
        std::fs::write(&third, "of another").unwrap();
        let error = copy_all(&path, &output, 5).err().unwrap().to_string();
        let parts = Parts::open(&partial, &|_| {}).unwrap();
        assert_eq!((parts.files().len(), parts.problem().is_none()), (2, true));
        let framesets = contents(&partial).iter().filter(|it| it.0.ends_with("/frameset")).count();
        assert!(framesets > 0 && framesets < 20, "{framesets}");
        let expected = format!(
            "cannot write `{}`: File exists (os error 17); `{}` and 1 more file have the copied part, {framesets} \
             framesets, and an index",
            third.display(),
            partial.display(),
        );
        assert_eq!(error, expected);
        assert!(!output.exists() && !folder.path().join("new-2.mcap").exists());
    }

    #[test]
    fn the_time_between_merged_recordings_is_a_gap() {
        let folder = TestFolder::new("between");
        let path = recorded(&folder);
        let [first, second] = [(0.0, Some(0.09)), (0.2, None)].map(|(from, to)| {
            let output = folder.path().join(format!("from-{from}.mcap"));
            trim(&trim_args(&path, &output, from, to, &[])).unwrap();
            output
        });
        let output = folder.path().join("merged.mcap");
        merge(&MergeArgs { files: vec![first, second], output: output.clone() }).unwrap();
        // It has no gap that is not recorded.
        contents(&output);
        let recording = Recording::open(&output, &|_| {}).unwrap();
        let mut gaps = recording.gaps();
        let mut found = Vec::new();
        while let Some((index, content)) = gaps.next(&recording) {
            let Content::Gap(gap) = content else { panic!("{content:?}") };
            found.push((index, gap.first_sequence, gap.last_sequence, gap.reason));
        }
        assert_eq!(found, [(0, 3, 6, GapReason::LeftOut), (1, 3, 6, GapReason::LeftOut)]);
    }

    #[test]
    fn damage_of_another_recording_is_no_reason_of_a_gap() {
        let folder = TestFolder::new("other-damage");
        let path = recorded(&folder);
        // Neither has the gap, in which one of them is damaged.
        let [rear, front] = ["rear", "front"].map(|name| {
            let [own, rewritten] =
                ["own", "rewritten"].map(|kind| folder.path().join(format!("{name}-{kind}.mcap")));
            trim(&trim_args(&path, &own, 0.0, None, &[name])).unwrap();
            rewrite_without("/gaps", &own, &rewritten, 1);
            rewritten
        });
        let recording = Recording::open(&rear, &|_| {}).unwrap();
        let after = ORIGIN + 5 * PERIOD;
        let section = recording.index().sections.iter().find(|section| section.start_time == after).unwrap();
        let mut bytes = std::fs::read(&rear).unwrap();
        bytes[(section.offset + section.size_bytes) as usize - 1] ^= 1;
        std::fs::write(&rear, bytes).unwrap();
        let output = folder.path().join("merged.mcap");
        let merged = merge(&MergeArgs { files: vec![rear, front], output: output.clone() });
        assert!(matches!(&merged, Err(CommandError::Damaged { problems, .. }) if problems.len() == 1));
        let recording = Recording::open(&output, &|_| {}).unwrap();
        let mut gaps = recording.gaps();
        let mut found = BTreeMap::new();
        while let Some((index, content)) = gaps.next(&recording) {
            let Content::Gap(gap) = content else { panic!("{content:?}") };
            let name = recording.cameras()[index].name.clone();
            found.insert(name, (gap.first_sequence, gap.last_sequence, gap.reason));
        }
        assert_eq!(found["front"], (3, 4, GapReason::LeftOut));
        assert_eq!(found["rear"].2, GapReason::Damaged);
    }

    #[test]
    fn missing_parts_of_cameras_that_are_left_out_are_not_copied() {
        let folder = TestFolder::new("incomplete");
        let (path, output) = (folder.path().join("rig.mcap"), folder.path().join("front.mcap"));
        let mut part = begin(&path, "front");
        for camera in ["front", "rear"] {
            part.note(&Incomplete { camera: camera.to_owned(), unreadable: 1, failure: None }).unwrap();
        }
        part.finish(Next::End).unwrap();
        trim(&trim_args(&path, &output, 0.0, None, &["front"])).unwrap();
        let parts = Parts::open(&output, &|_| {}).unwrap();
        let lacks: Vec<_> = parts.incomplete().map(ToString::to_string).collect();
        assert_eq!(lacks, ["`front` is incomplete: its source lacked 1 frameset, which could not be read"]);
    }
}
