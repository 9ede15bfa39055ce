//! The processor `record`: writes framesets into MCAP files.
//!
//! It never holds a frameset: it copies each into a bounded [`Memory`], from which a [`writer`] thread writes it to the
//! disk. So a slow disk delays no camera and holds no slots. Framesets that do not fit are dropped, and the recording
//! contains the gaps: see [`crate::format`].
//!
//! A full or failed disk ends the recording; everything before that stays readable. The rig continues; the recorder
//! logs the error at once, and fails when the rig ends.
//!
//! * `options`: the options
//! * `memory`: the queue in front of the disk
//! * `gaps`: the missing framesets
//! * `encode`: the messages of a frameset
//! * `secrets`: what a recording must not tell of a topology
//! * `writer`, `part`: the writer thread, its files

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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use camrig::frame::StreamInfo;
use camrig::{Declared, FrameSet, Processor, ProcessorError, ProcessorOutput, monotonic_nanos};

use self::encode::Encoded;
use self::encode::Source;
use self::gaps::Gaps;
use self::memory::Memory;
pub(crate) use self::options::{OptionsAsWritten, RecordOptions};
use crate::format::GapReason;

/// Maximum duration of the end: less than the supervisor's time-out for actors that do not end.
const END_TIMEOUT: Duration = Duration::from_secs(8);

/// The processor `record`.
pub(crate) struct Record {
    options: RecordOptions,
    memory: Arc<Memory<Encoded>>,
    writer: Option<JoinHandle<()>>,
    /// The cameras by name.
    cameras: BTreeMap<String, Arc<Source>>,
    gaps: Gaps,
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
        let writer = writer::start(options.clone(), Arc::clone(&memory))?;
        Ok(Self {
            options,
            memory,
            writer: Some(writer),
            cameras: BTreeMap::new(),
            gaps: Gaps::default(),
            wall_minus_monotonic_nanos: wall - monotonic_nanos() as i64,
            dropped: 0,
            ended_early: false,
        })
    }

    /// Returns the recorded camera of a frameset. A camera that was reopened with other streams is a new one.
    fn source(&mut self, frames: &FrameSet, topology: &str) -> Arc<Source> {
        let name = Source::name_of(frames);
        let known = self.cameras.get(&name);
        if let Some(source) = known.filter(|source| source.shows(frames)) {
            return Arc::clone(source);
        }
        let jpeg = self.options.jpeg_quality.is_some();
        let mut source = Source::new(name.clone(), frames, jpeg, self.wall_minus_monotonic_nanos);
        source.topology = topology.into();
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
    /// It publishes nothing.
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
        let source = self.source(frames, output.topology());
        if !self.gaps.knows(frames.producer()) && is_first(frames, output) {
            self.gaps.begin(frames.producer());
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
        self.memory.push(Encoded { gaps, ..encoded });
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        // No frameset follows the gaps at the end, so they are written without one.
        for input in output.inputs() {
            self.gaps.end(input.from, input.counts.produced);
        }
        for source in self.cameras.values() {
            let gaps = self.gaps.take(&source.producer);
            if !gaps.is_empty() {
                self.memory.push(Encoded::only_gaps(Arc::clone(source), gaps));
            }
        }
        let discarded = self.memory.close(END_TIMEOUT);
        if let Some(writer) = self.writer.take() {
            writer.join().map_err(|_| "the writer panicked")?;
        }
        match self.memory.failure() {
            Some(failure) if self.ended_early => {
                Err(format!("{failure}; {} framesets were not recorded", self.dropped).into())
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

/// Returns whether this is the first frameset of its producer on this link, also before a restart of this recorder.
fn is_first(frames: &FrameSet, output: &ProcessorOutput) -> bool {
    let mut inputs = output.inputs();
    inputs.any(|input| input.from == frames.producer() && input.counts.delivered <= 1)
}
