//! The writer thread: takes framesets from the memory and writes each into its file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use camrig::status::ChangeReport;
use camrig::{ProcessorError, spawn_thread};

use super::before::Before;
use super::changes::Changes;
use super::encode::Encoded;
use super::memory::Memory;
use super::options::{Files, RecordOptions};
use super::part::{Next, PartOptions, RecordingPart};
use crate::counted::{counted, megabytes};
use crate::format::{Changed, GapReason, GapRecord, Incomplete};
use crate::write::{WriteError, with_suffix};

/// The facts about a rig that are recorded at the end.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// The missing parts of the sources.
    pub(super) lacks: Vec<Incomplete>,
    /// The newest changes of the rig.
    pub(super) changes: Vec<ChangeReport>,
}

/// The rig that is recorded.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// The name of its status socket. It is set before the first frameset is pushed.
    pub(super) rig: OnceLock<String>,
    /// The remarks of the recording. They are set before the memory is closed.
    pub(super) remarks: OnceLock<Remarks>,
}

/// The counts of a recording.
#[derive(Debug, Default)]
pub(super) struct Written {
    framesets: u64,
    missing: u64,
    cameras: BTreeSet<String>,
    size_bytes: u64,
    /// In the order in which they were created.
    files: Vec<PathBuf>,
}

impl Written {
    fn count(&mut self, encoded: &Encoded) {
        self.framesets += u64::from(encoded.frameset.is_some());
        self.missing += encoded.gaps.iter().map(GapRecord::framesets).sum::<u64>();
        if !self.cameras.contains(&encoded.source.name) {
            self.cameras.insert(encoded.source.name.clone());
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (framesets, cameras) = (counted(self.framesets, "frameset"), self.cameras.len() as u64);
        let (missing, size) = (self.missing, megabytes(self.size_bytes));
        write!(f, "{framesets} of {}, {missing} missing, {size}", counted(cameras, "camera"))?;
        let Some((first, more)) = self.files.split_first() else { return f.write_str(", no file") };
        write!(f, " in {}", first.display())?;
        match more.len() {
            0 => Ok(()),
            more => write!(f, " and {}", counted(more as u64, "more file")),
        }
    }
}

/// Starts the writer. The first file is created before anything is recorded.
pub(super) fn start(
    options: RecordOptions,
    memory: Arc<Memory<Encoded>>,
    recorded: Arc<Recorded>,
    began_unix_nanos: u64,
) -> Result<JoinHandle<Written>, ProcessorError> {
    let mut files = OpenFiles {
        options,
        parts: BTreeMap::new(),
        before: BTreeMap::new(),
        origin: None,
        published: BTreeMap::new(),
        changes: Changes::from(began_unix_nanos),
        written: Written::default(),
    };
    if files.options.files == Files::Rig {
        files.open("", 1)?;
    }
    let run = move || {
        let (mut end, mut in_hand) = (Ok(()), 0);
        while let Some(mut encoded) = memory.pop() {
            end = files.write(&mut encoded);
            in_hand = u64::from(end.is_err() && encoded.frameset.is_some());
            memory.recycle(encoded);
            if let Some(rig) = recorded.rig.get() {
                end = end.and(files.look_for_changes(rig));
            }
            if end.is_err() {
                break;
            }
        }
        end = end.and(files.finish(recorded.remarks.get_or_init(Remarks::default), memory.is_abandoned()));
        if let Err(error) = end {
            memory.fail(error.to_string(), in_hand);
        }
        files.written
    };
    Ok(spawn_thread("recorder", run)?)
}

/// The open files.
struct OpenFiles {
    options: RecordOptions,
    /// By camera; the file of a whole rig has an empty name.
    parts: BTreeMap<String, RecordingPart>,
    /// The files of an earlier instance of the recorder, by the same names; `None` if there is none.
    before: BTreeMap<String, Option<Before>>,
    /// The `log_time` at which the recording began.
    origin: Option<u64>,
    /// The last `publish_time` of each camera: the clock of a camera that is plugged in again may start again.
    published: BTreeMap<String, u64>,
    changes: Changes,
    written: Written,
}

impl OpenFiles {
    /// Creates part `number` of a file.
    fn open(&mut self, camera: &str, number: u32) -> Result<(), WriteError> {
        let path = path_of(&self.options, camera);
        let mut part =
            RecordingPart::create(&path, PartOptions { number, compression: self.options.compression })?;
        let recorder = [
            ("version", format!("camrig {}", env!("CARGO_PKG_VERSION"))),
            ("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
            ("options", self.options.written.clone()),
        ];
        part.describe(&recorder.map(|(key, value)| (key.to_owned(), value)).into())?;
        if number == 1 {
            self.changes.seen().iter().try_for_each(|change| part.note_change(change))?;
        }
        self.written.files.push(part.path().to_owned());
        self.parts.insert(camera.to_owned(), part);
        Ok(())
    }

    /// Writes the changes of the rig since the last read into all open files.
    fn look_for_changes(&mut self, rig: &str) -> Result<(), WriteError> {
        let new = self.changes.look(rig);
        self.note_changes(&new)
    }

    fn note_changes(&mut self, changes: &[Changed]) -> Result<(), WriteError> {
        let mut parts = self.parts.values_mut();
        parts.try_for_each(|part| changes.iter().try_for_each(|change| part.note_change(change)))
    }

    /// Ends all open files, each with the losses of its cameras, and the last changes of the rig.
    fn finish(&mut self, remarks: &Remarks, is_abandoned: bool) -> Result<(), WriteError> {
        let new = self.changes.add(remarks.changes.clone());
        let mut end = self.note_changes(&new);
        let next = if is_abandoned { Next::Unknown } else { Next::End };
        for (camera, mut part) in std::mem::take(&mut self.parts) {
            let mut its_own = remarks.lacks.iter().filter(|lack| camera.is_empty() || lack.camera == camera);
            let noted = its_own.try_for_each(|lack| part.note(lack));
            let finished = part.finish(next).map(|size_bytes| self.written.size_bytes += size_bytes);
            end = end.and(noted).and(finished);
        }
        end
    }

    /// Ensures that the `publish_time` of a camera does not decrease. camrig's readers use the times in the frameset's record.
    fn keep_order(&mut self, encoded: &mut Encoded) {
        let Some(messages) = &mut encoded.frameset else { return };
        let last = self.published.entry(encoded.source.name.clone()).or_default();
        messages.publish_time = messages.publish_time.max(*last);
        *last = messages.publish_time;
    }

    /// Continues the file of an earlier instance, if there is one: in the same recording, with a gap up to this frameset, which
    /// begins at the number `joined` if no file has framesets of the producer.
    fn continue_before(&mut self, camera: &str, encoded: &mut Encoded, joined: u64) {
        let Some(part) = self.parts.get_mut(camera) else { return };
        let base = path_of(&self.options, camera);
        let find = || Before::find(&base, part.path(), &encoded.source.run);
        let before = self.before.entry(camera.to_owned()).or_insert_with(find).as_ref();
        if let Some(before) = before {
            // The first frameset of a file determines its part of the recording.
            if part.began().is_none() {
                self.origin.get_or_insert(before.origin_nanos);
                part.set_number(before.part.saturating_add(1));
            }
            self.changes.begin_at(before.origin_nanos);
            for (name, last) in &before.last {
                let published = self.published.entry(name.clone()).or_default();
                *published = last.publish_time.max(*published);
            }
        }
        let first = encoded.gaps.first().map(|gap| gap.first_sequence);
        let until = first.or(encoded.frameset.as_ref().map(|messages| messages.sequence)).unwrap_or(0);
        let last = before.and_then(|before| before.last_sequence(&encoded.source.producer));
        let first_sequence = last.map_or(joined, |last| last.saturating_add(1));
        if first_sequence < until {
            let gap = GapRecord { first_sequence, last_sequence: until - 1, reason: GapReason::Restart };
            encoded.gaps.insert(0, gap);
        }
    }

    fn write(&mut self, encoded: &mut Encoded) -> Result<(), WriteError> {
        let camera = match self.options.files {
            Files::Rig => String::new(),
            Files::Camera => encoded.source.name.clone(),
        };
        if !self.parts.contains_key(&camera) {
            self.open(&camera, 1)?;
        }
        if let Some(joined) = encoded.continues {
            self.continue_before(&camera, encoded, joined);
        }
        self.keep_order(encoded);
        let time = encoded.frameset.as_ref().map(|messages| messages.log_time);
        let origin = *self.origin.get_or_insert(time.unwrap_or(0));
        let full = |part: &RecordingPart| {
            let lasted = time.unwrap_or(0).saturating_sub(part.began().unwrap_or(u64::MAX));
            part.is_full()
                || self.options.split_bytes.is_some_and(|most| part.size_bytes() >= most)
                || self.options.split_nanos.is_some_and(|most| lasted >= most)
        };
        let number = match self.parts.get(&camera) {
            Some(part) if full(part) => part.number() + 1,
            _ => 0,
        };
        if number > 0 {
            let full = self.parts.remove(&camera);
            let opened = self.open(&camera, number);
            if let Some(full) = full {
                let next = self.parts.get(&camera).map_or(Next::Unknown, |next| Next::File(next.path()));
                self.written.size_bytes += full.finish(next)?;
            }
            opened?;
        }
        let Some(part) = self.parts.get_mut(&camera) else { return Ok(()) };
        part.write(encoded, origin)?;
        self.written.count(encoded);
        Ok(())
    }
}

/// Returns the name of the first file of a camera, or of the whole rig if it is empty.
fn path_of(options: &RecordOptions, camera: &str) -> PathBuf {
    match camera {
        "" => options.file.clone(),
        // A camera whose framesets a processor forwarded has a name of two parts, but no folder of its own.
        camera => with_suffix(&options.file, &camera.replace('/', "-")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::testing::{PERIOD, TestFolder, encoded, source};
    use super::*;
    use crate::read::{Content, Ending, Parts, Recording};
    use crate::write::numbered;

    #[test]
    fn a_file_is_split_after_its_maximum_duration() {
        const FRAMESETS: u64 = 70;
        let folder = TestFolder::new("split-seconds");
        let path = folder.path().join("rig.mcap");
        let options: RecordOptions =
            toml::from_str(&format!("file = '{}'\nsplit_seconds = 1", path.display())).unwrap();
        let memory = Arc::new(Memory::new(options.memory_bytes));
        let writer = start(options, Arc::clone(&memory), Arc::default(), 0).unwrap();
        let source = source("front");
        (0..FRAMESETS).for_each(|sequence| memory.push(encoded(&source, sequence)));
        assert_eq!(memory.close(Duration::from_secs(60)), 0);
        let written = writer.join().unwrap();
        assert_eq!(memory.failure(), None);
        let files = ["rig.mcap", "rig-2.mcap", "rig-3.mcap"].map(|name| folder.path().join(name));
        let bytes: u64 = files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
        let expected = format!(
            "{FRAMESETS} framesets of 1 camera, 0 missing, {} in {} and 2 more files",
            megabytes(bytes),
            path.display()
        );
        assert_eq!(written.to_string(), expected);
        // Each further file begins with the first frameset that is at least a second after the first of the file before.
        let each = 1_000_000_000_u64.div_ceil(PERIOD);
        let mut framesets = Vec::new();
        for (name, part) in ["rig.mcap", "rig-2.mcap", "rig-3.mcap"].into_iter().zip(1..) {
            let recording = Recording::open(&folder.path().join(name), &|_| {}).unwrap();
            let camera = &recording.cameras()[0];
            assert_eq!((recording.index().ending, camera.part), (Ending::Indexed, part), "{name}");
            let counts = &recording.index().messages;
            framesets.push(camera.frameset_channels.iter().filter_map(|id| counts.get(id)).sum::<u64>());
        }
        assert_eq!(framesets, [each, each, FRAMESETS - 2 * each]);
        assert!(!folder.path().join("rig-4.mcap").exists());
    }

    #[test]
    fn publish_time_does_not_go_back_when_a_camera_is_plugged_in_again() {
        let folder = TestFolder::new("replugged");
        let path = folder.path().join("rig.mcap");
        let options: RecordOptions = toml::from_str(&format!("file = '{}'", path.display())).unwrap();
        let memory = Arc::new(Memory::new(options.memory_bytes));
        let writer = start(options, Arc::clone(&memory), Arc::default(), 0).unwrap();
        let source = source("front");
        for (sequence, publish_time) in [50, 60, 3, 70].into_iter().enumerate() {
            let mut encoded = encoded(&source, sequence as u64);
            encoded.frameset.as_mut().unwrap().publish_time = publish_time;
            memory.push(encoded);
        }
        assert_eq!(memory.close(Duration::from_secs(60)), 0);
        writer.join().unwrap();
        let recorded = std::fs::read(&path).unwrap();
        let messages = mcap::MessageStream::new(&recorded).unwrap().map(Result::unwrap);
        let framesets = messages.filter(|message| message.channel.topic == "/front/frameset");
        assert_eq!(framesets.map(|message| message.publish_time).collect::<Vec<_>>(), [50, 60, 60, 70]);
    }

    /// Records framesets as an instance of the recorder in this run of a rig, which then fails, or is killed.
    fn instance(path: &Path, run: &str, framesets: std::ops::Range<u64>, continues: bool, killed: bool) {
        let options: RecordOptions =
            toml::from_str(&format!("file = '{}'\ncompression = 'zstd'", path.display())).unwrap();
        let memory = Arc::new(Memory::new(options.memory_bytes));
        let writer = start(options, Arc::clone(&memory), Arc::default(), 0).unwrap();
        let sources = ["front", "rear"].map(|name| {
            let mut source = Arc::into_inner(source(name)).unwrap();
            source.run = run.into();
            Arc::new(source)
        });
        for sequence in framesets.clone() {
            for source in &sources {
                let continues = (continues && sequence == framesets.start).then_some(0);
                memory.push(Encoded { continues, ..encoded(source, sequence) });
            }
        }
        memory.abandon();
        assert_eq!(memory.close(Duration::from_secs(60)), 0);
        writer.join().unwrap();
        if killed {
            // Neither the index nor the last frameset of `rear` is there.
            let newest = (1..100)
                .map(|number| numbered(path, number))
                .take_while(|path| path.exists())
                .last()
                .unwrap();
            let recording = Recording::open(&newest, &|_| {}).unwrap();
            let last = recording.index().sections.iter().last().unwrap();
            let file = std::fs::File::options().write(true).open(newest).unwrap();
            file.set_len(last.offset + last.size_bytes - 1).unwrap();
        }
    }

    /// Returns the numbers of the framesets of both cameras, present or in a gap of a restart.
    fn numbers(parts: &Parts) -> [Vec<u64>; 2] {
        let mut found = [const { Vec::new() }; 2];
        for recording in parts.files() {
            let mut contents = recording.contents(|_| true, 0..u64::MAX);
            while let Some((index, content)) = contents.next(recording) {
                match content {
                    Content::FrameSet(frameset) => found[index].push(frameset.record.sequence),
                    Content::Gap(gap) => {
                        assert_eq!(gap.reason, GapReason::Restart);
                        found[index].extend(gap.first_sequence..=gap.last_sequence);
                    }
                    Content::Unreadable { error, .. } => panic!("{error}"),
                }
            }
        }
        found
    }

    fn names(parts: &Parts) -> Vec<String> {
        let name = |part: &Recording| part.path().file_name().unwrap().to_string_lossy().into_owned();
        parts.files().iter().map(name).collect()
    }

    #[test]
    fn instances_of_a_recorder_are_one_recording() {
        for killed in [false, true] {
            let folder = TestFolder::new("instances");
            let path = folder.path().join("rig.mcap");
            // The first file names belong to a recording of another run.
            instance(&path, "old", 1..3, false, false);
            let path_of_run = folder.path().join("rig-2.mcap");
            instance(&path, "new", 0..5, false, killed);
            instance(&path, "new", 9..12, true, killed);
            instance(&path, "new", 12..14, true, false);
            let parts = Parts::open(&path_of_run, &|_| {}).unwrap();
            assert_eq!(names(&parts), ["rig-2.mcap", "rig-3.mcap", "rig-4.mcap"]);
            let expected = [const { 14 }; 2].map(|count| (0..count).collect::<Vec<u64>>());
            assert_eq!(numbers(&parts), expected, "{killed}");
            let first = Parts::open(&path, &|_| {}).unwrap();
            assert_eq!(first.files().len(), 1);
        }
    }

    #[test]
    fn an_instance_continues_the_file_of_its_own_run_only() {
        let folder = TestFolder::new("own-run");
        let path = folder.path().join("rig.mcap");
        // The next names belong to a recording of another run, and to an instance that wrote no frameset.
        instance(&folder.path().join("rig-2.mcap"), "old", 0..9, false, true);
        instance(&path, "new", 0..5, false, false);
        instance(&path, "new", 0..0, false, false);
        instance(&path, "new", 8..10, true, false);
        let parts = Parts::open(&path, &|_| {}).unwrap();
        assert_eq!(names(&parts), ["rig.mcap", "rig-4.mcap"]);
        let expected: Vec<u64> = (0..10).collect();
        assert_eq!(numbers(&parts), [expected.clone(), expected]);
        // Without any file of its run, a recording begins with a gap from the first number on.
        instance(&folder.path().join("alone.mcap"), "new", 3..5, true, false);
        let alone = Parts::open(&folder.path().join("alone.mcap"), &|_| {}).unwrap();
        assert_eq!(numbers(&alone), [(0..5).collect::<Vec<u64>>(), (0..5).collect()]);
    }
}
