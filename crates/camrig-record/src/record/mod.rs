//! The processor `record`: writes framesets into MCAP files.
//!
//! It never holds a frameset: it copies each into a bounded [`Memory`], from which a [`writer`] thread writes it to the
//! disk. So a slow disk delays no camera and holds no slots. Framesets that do not fit are dropped, and the recording
//! contains the gaps: see [`crate::format`].
//!
//! A full or failed disk ends the recording; everything before that stays readable. The rig continues; the recorder logs the
//! error immediately, and fails when the rig ends.
//!
//! A recorder that is restarted continues in another file of the same recording; framesets between the two files are a gap.
//!
//! * `options`: the options
//! * `memory`: the queue in front of the disk
//! * `gaps`: the missing framesets
//! * `encode`, `channels`: the messages of a frameset, and the channels that they are in
//! * `secrets`: removes tokens from the recorded topology
//! * `writer`, `part`: the writer thread, its files
//! * `before`: the file of an earlier instance
//! * `changes`: the changes of the rig during the recording

mod before;
mod changes;
mod channels;
#[cfg(test)]
mod codecs;
mod encode;
mod gaps;
#[cfg(test)]
mod long;
mod memory;
mod options;
mod part;
mod secrets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod throughput;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use camrig::console::print_note;
use camrig::frame::StreamInfo;
use camrig::status::{self, ActorRole, ActorState, ActorStatus};
use camrig::{Declared, FrameSet, LostReason, Processor, ProcessorError, ProcessorOutput, monotonic_nanos};

pub(crate) use self::channels::{ChannelOf, ContentOf, of as channels_of};
pub(crate) use self::encode::{Encoded, ImuMessage, WrittenCamera};
use self::gaps::Gaps;
use self::memory::Memory;
pub(crate) use self::options::{OptionsAsWritten, RecordOptions};
pub(crate) use self::part::{Next, PartOptions, RecordingPart};
use self::writer::{Recorded, Remarks, Written};
use crate::format::{GapReason, Incomplete};

/// Maximum duration of the end: less than the supervisor's time-out for actors that do not end.
const END_TIMEOUT: Duration = Duration::from_secs(8);

/// The processor `record`.
pub(crate) struct Record {
    options: RecordOptions,
    memory: Arc<Memory<Encoded>>,
    writer: Option<JoinHandle<Written>>,
    recorded: Arc<Recorded>,
    /// The cameras by name.
    cameras: BTreeMap<String, Arc<WrittenCamera>>,
    gaps: Gaps,
    /// The producers of which an earlier instance had framesets, and this one has written none, each with the number of the
    /// first frameset on its link.
    continued: BTreeMap<String, u64>,
    /// The offset from the host's monotonic clock to the wall clock, constant for the whole recording.
    wall_minus_monotonic_nanos: i64,
    /// Number of framesets that did not fit into the memory, or arrived after the recording had ended.
    dropped: u64,
    ended_early: bool,
}

impl Record {
    /// Creates the first file, so that an unwritable folder is reported before anything starts.
    pub(crate) fn new(options: RecordOptions) -> Result<Self, ProcessorError> {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as i64;
        let memory = Arc::new(Memory::new(options.memory_bytes));
        let recorded = Arc::<Recorded>::default();
        let writer = writer::start(options.clone(), Arc::clone(&memory), Arc::clone(&recorded), wall as u64)?;
        Ok(Self {
            options,
            memory,
            writer: Some(writer),
            recorded,
            cameras: BTreeMap::new(),
            gaps: Gaps::default(),
            continued: BTreeMap::new(),
            wall_minus_monotonic_nanos: wall - monotonic_nanos() as i64,
            dropped: 0,
            ended_early: false,
        })
    }

    /// Returns the recorded camera of a frameset. A camera that was reopened with other streams is a new one.
    fn source(&mut self, frames: &FrameSet, output: &ProcessorOutput) -> Arc<WrittenCamera> {
        let name = WrittenCamera::name_of(frames);
        let known = self.cameras.get(&name);
        if let Some(source) = known.filter(|source| source.shows(frames)) {
            return Arc::clone(source);
        }
        let jpeg = self.options.jpeg_quality.is_some();
        let mut source = WrittenCamera::new(name.clone(), frames, jpeg, self.wall_minus_monotonic_nanos);
        source.topology = output.topology().into();
        source.run = output.rig().into();
        let source = Arc::new(source);
        self.cameras.insert(name, Arc::clone(&source));
        source
    }

    fn drop_frameset(&mut self, frames: &FrameSet) {
        self.gaps.drop_frameset(frames.producer(), frames.sequence(), GapReason::Memory);
        if self.dropped == 0 {
            log::warn!(
                "disk too slow: {} MiB buffer full, dropping framesets (gaps are recorded)",
                self.memory.limit_bytes() >> 20,
            );
        }
        self.dropped += 1;
    }
}

impl Processor for Record {
    /// Declares no streams: it publishes nothing.
    fn declare(_: &[StreamInfo]) -> Declared {
        Ok(Some(Vec::new()))
    }

    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if self.ended_early {
            self.dropped += 1;
            return Ok(());
        }
        if let Some(failure) = self.memory.failure() {
            log::error!("{failure}; recording stopped, the rig continues");
            self.ended_early = true;
            self.dropped += 1;
            return Ok(());
        }
        self.recorded.rig.get_or_init(|| output.rig().to_owned());
        let source = self.source(frames, output);
        if !self.gaps.knows(frames.producer()) {
            match first_number(frames, output) {
                Some((first, true)) => self.gaps.begin(frames.producer(), first),
                Some((first, false)) => _ = self.continued.insert(frames.producer().to_owned(), first),
                None => {}
            }
        }
        self.gaps.arrive(frames.producer(), frames.sequence());
        let size_bytes = encode::size_bytes(frames);
        if size_bytes > self.memory.limit_bytes() {
            let mib = size_bytes.div_ceil(1 << 20);
            return Err(
                format!("a frameset of `{}` needs {mib} MiB; increase `memory_mib`", source.name).into()
            );
        }
        if !self.memory.has_room(size_bytes) {
            self.drop_frameset(frames);
            return Ok(());
        }
        let encoded = Encoded::new(source, frames, self.options.jpeg_quality, || self.memory.buffer())?;
        let gaps = self.gaps.take(frames.producer());
        let continues = self.continued.remove(frames.producer());
        self.memory.push(Encoded { gaps, continues, ..encoded });
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        // No frameset follows the gaps at the end, so they are written without one.
        for input in output.inputs() {
            self.gaps.end(input.from, input.joined.saturating_add(input.counts.produced));
        }
        for source in self.cameras.values() {
            let gaps = self.gaps.take(&source.producer);
            if !gaps.is_empty() {
                self.memory.push(Encoded::only_gaps(Arc::clone(source), gaps));
            }
        }
        // Set once: a processor finishes once.
        let cameras = self.cameras.keys().map(String::as_str);
        let cameras = cameras.chain(output.inputs().map(|input| input.from)).collect();
        let _ = self.recorded.remarks.set(remarks(output.rig(), &cameras));
        let discarded = self.memory.close(END_TIMEOUT);
        if let Some(writer) = self.writer.take() {
            let written = writer.join().map_err(|_| "the writer panicked")?;
            print_note(format_args!("record: {written}"));
        }
        let not_recorded = self.dropped + self.memory.lost();
        match self.memory.failure() {
            Some(failure) if not_recorded == 1 => {
                Err(format!("{failure}; 1 frameset was not recorded").into())
            }
            Some(failure) if not_recorded > 0 => {
                Err(format!("{failure}; {not_recorded} framesets were not recorded").into())
            }
            Some(failure) => Err(failure.into()),
            None if discarded > 0 => {
                let seconds = END_TIMEOUT.as_secs();
                Err(format!(
                    "the disk took longer than {seconds} s to finish: the last {discarded} framesets are missing"
                )
                .into())
            }
            None => {
                if self.dropped > 0 {
                    log::warn!("{} framesets were dropped because the disk was too slow", self.dropped);
                }
                Ok(())
            }
        }
    }
}

impl Drop for Record {
    /// Closes the file of an instance that failed, so that the next one can continue it.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.memory.abandon();
            self.memory.close(END_TIMEOUT);
            let _ = writer.join();
        }
    }
}

/// Returns the facts in the status of the rig that concern a recording: the losses of the recorded cameras' sources, and the
/// newest changes; nothing if the status cannot be read.
fn remarks(rig: &str, recorded: &BTreeSet<&str>) -> Remarks {
    let status = match status::socket::read(rig) {
        Ok(status) => status,
        Err(error) => {
            log::debug!("the status of the rig cannot be read: {error}");
            return Remarks::default();
        }
    };
    Remarks { lacks: lacks_of(&status.actors, recorded), changes: status.changes }
}

/// Returns the parts that the sources of the recorded cameras lack, by the state of the rig's actors.
fn lacks_of(actors: &[ActorStatus], recorded: &BTreeSet<&str>) -> Vec<Incomplete> {
    let lack = |name: &str, actor: &ActorStatus| {
        let unreadable = actor.lost_by_reason.get(&LostReason::Unreadable).copied().unwrap_or(0);
        let failure = (actor.state == ActorState::Failed).then(|| actor.error.clone());
        let incomplete = unreadable > 0 || failure.is_some();
        incomplete.then(|| Incomplete { camera: name.to_owned(), unreadable, failure })
    };
    let cameras = actors.iter().filter(|actor| actor.role == ActorRole::Camera);
    let lacks = cameras.flat_map(|camera| {
        let its_own = recorded.iter().filter(|name| name.rsplit('/').next() == Some(&camera.name));
        its_own.filter_map(|name| lack(name, camera)).collect::<Vec<_>>()
    });
    lacks.collect()
}

/// Returns the number of the first frameset on the link of this one, and whether this one is the first that arrived on it:
/// others may have arrived before a restart of this recorder. A recorder that joins a running rig does not miss earlier
/// framesets.
fn first_number(frames: &FrameSet, output: &ProcessorOutput) -> Option<(u64, bool)> {
    let mut inputs = output.inputs();
    let input = inputs.find(|input| input.from == frames.producer())?;
    Some((input.joined, input.counts.delivered <= 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_lacks_unreadable_framesets_and_those_after_a_failure() {
        let actor = |name: &str, role, state, reason, lost| ActorStatus {
            name: name.to_owned(),
            role,
            state,
            error: "it is damaged".to_owned(),
            lost_by_reason: [(reason, lost)].into(),
            ..ActorStatus::default()
        };
        let (camera, finished) = (ActorRole::Camera, ActorState::Finished);
        let actors = [
            actor("damaged", camera, finished, LostReason::Unreadable, 3),
            actor("failed", camera, ActorState::Failed, LostReason::Device, 5),
            actor("intact", camera, finished, LostReason::Device, 5),
            actor("mask", ActorRole::Processor, ActorState::Failed, LostReason::Device, 0),
            actor("of-another", camera, finished, LostReason::Unreadable, 3),
        ];
        let recorded = ["damaged", "mask/damaged", "failed", "intact", "mask", "mask/intact"];
        let lacks = lacks_of(&actors, &recorded.into());
        let lacks: Vec<_> = lacks.iter().map(ToString::to_string).collect();
        assert_eq!(
            lacks,
            [
                "`damaged` is incomplete: its source lacked 3 framesets, which could not be read",
                "`mask/damaged` is incomplete: its source lacked 3 framesets, which could not be read",
                "`failed` is incomplete: its camera failed: it is damaged",
            ]
        );
        assert!(remarks("no-rig", &["front"].into()).lacks.is_empty());
    }

    #[test]
    fn missing_parts_of_a_recording_come_back_from_its_metadata() {
        let lacks = Incomplete {
            camera: "front".to_owned(),
            unreadable: 3,
            failure: Some("`a.bag` is damaged".to_owned()),
        };
        assert_eq!(Incomplete::from_entries(&lacks.entries()), Some(lacks.clone()));
        let intact = Incomplete { unreadable: 0, failure: None, ..lacks };
        assert_eq!(Incomplete::from_entries(&intact.entries()), Some(intact));
        assert_eq!(Incomplete::from_entries(&BTreeMap::new()), None);
    }
}
