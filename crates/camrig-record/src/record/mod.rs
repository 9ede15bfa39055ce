//! The processor `record`: framesets into MCAP files.
//!
//! It never keeps a frameset: it copies what it sees into a bounded [`Memory`], from which a [`writer`] of
//! its own takes it to the disk. So a slow disk never holds up a camera and never holds its slots. What does
//! not fit is left out, and the recording says so: see [`crate::format`].
//!
//! A disk that is full, or fails, ends the recording with everything until then readable. The rig goes on;
//! the recorder says so at once, and fails when the rig ends.
//!
//! * `options`: what can be asked for
//! * `memory`: what waits for the disk
//! * `gaps`: what is missing
//! * `encode`: a frameset as messages
//! * `writer`, `part`, `disk`: a thread, its files, their room

mod disk;
mod encode;
mod gaps;
mod memory;
mod options;
mod part;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod throughput;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use camrig::{FrameSet, Processor, ProcessorError, ProcessorOutput, monotonic_nanos};

pub(crate) use self::disk::{numbered, with_suffix};
use self::encode::Encoded;
use self::encode::Source;
use self::gaps::Gaps;
use self::memory::Memory;
pub(crate) use self::options::RecordOptions;
use crate::format::GapReason;

/// How long the end may take: less than what the supervisor gives actors that do not end.
const END_PATIENCE: Duration = Duration::from_secs(8);

/// Writes framesets into files.
pub(crate) struct Record {
    options: RecordOptions,
    memory: Arc<Memory<Encoded>>,
    writer: Option<JoinHandle<()>>,
    /// By name.
    cameras: BTreeMap<String, Arc<Source>>,
    gaps: Gaps,
    /// From the host's monotonic clock to the wall clock, the same for the whole recording.
    wall_minus_monotonic_nanos: i64,
    /// Framesets that did not fit into the memory, or came after the disk was full.
    left_out: u64,
    ended_early: bool,
}

impl Record {
    /// Makes the first file, so that a folder that is not to be written shows before anything starts.
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
            left_out: 0,
            ended_early: false,
        })
    }

    /// The camera of a frameset, as the recording knows it. A camera that was opened anew with other streams
    /// is another one.
    fn source(&mut self, frames: &FrameSet) -> Arc<Source> {
        let name = Source::name_of(frames);
        let known = self.cameras.get(&name);
        if let Some(source) = known.filter(|source| source.shows(frames)) {
            return Arc::clone(source);
        }
        let source = Arc::new(Source::new(
            name.clone(),
            frames,
            self.options.jpeg_quality.is_some(),
            self.wall_minus_monotonic_nanos,
        ));
        self.cameras.insert(name, Arc::clone(&source));
        source
    }

    fn leave_out(&mut self, frames: &FrameSet) {
        self.gaps.leave_out(frames.producer(), frames.sequence(), GapReason::Memory);
        if self.left_out == 0 {
            log::warn!(
                "the disk has been slower than the cameras for longer than {} MiB of memory last: framesets are \
                 left out, and the recording says which",
                self.memory.limit_bytes() >> 20,
            );
        }
        self.left_out += 1;
    }
}

impl Processor for Record {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if self.ended_early {
            self.left_out += 1;
            return Ok(());
        }
        if let Some(failure) = self.memory.failure() {
            log::error!("{failure}; the recording ends here, and the rig goes on without it");
            self.ended_early = true;
            self.left_out += 1;
            return Ok(());
        }
        let source = self.source(frames);
        if !self.gaps.knows(frames.producer()) && is_first(frames, output) {
            self.gaps.begin(frames.producer());
        }
        self.gaps.arrive(frames.producer(), frames.sequence());
        let size_bytes = encode::size_bytes(frames);
        if size_bytes > self.memory.limit_bytes() {
            let mib = size_bytes.div_ceil(1 << 20);
            return Err(format!("a frameset of `{}` takes {mib} MiB; raise `memory_mib`", source.name).into());
        }
        if !self.memory.has_room(size_bytes) {
            self.leave_out(frames);
            return Ok(());
        }
        let encoded = Encoded::new(source, frames, self.options.jpeg_quality, || self.memory.buffer())?;
        let gaps = self.gaps.take(frames.producer());
        self.memory.push(Encoded { gaps, ..encoded });
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        // What is missing at the end has no frameset behind it that would bring the gap.
        for input in output.inputs() {
            self.gaps.end(input.from, input.counts.produced);
        }
        for source in self.cameras.values() {
            let gaps = self.gaps.take(&source.producer);
            if !gaps.is_empty() {
                self.memory.push(Encoded::only_gaps(Arc::clone(source), gaps));
            }
        }
        let thrown_away = self.memory.close(END_PATIENCE);
        if let Some(writer) = self.writer.take() {
            writer.join().map_err(|_| "the writer panicked")?;
        }
        match self.memory.failure() {
            Some(failure) if self.ended_early => {
                Err(format!("{failure}; {} framesets came after the end of the recording", self.left_out)
                    .into())
            }
            Some(failure) => Err(failure.into()),
            None if thrown_away > 0 => {
                let seconds = END_PATIENCE.as_secs();
                Err(format!(
                    "the disk took longer than {seconds} s: the last {thrown_away} framesets are missing"
                )
                .into())
            }
            None => {
                if self.left_out > 0 {
                    log::warn!("{} framesets were left out: the disk was too slow", self.left_out);
                }
                Ok(())
            }
        }
    }
}

/// Whether nobody before this recorder, which may be one that was started again, has read of the frameset's
/// producer.
fn is_first(frames: &FrameSet, output: &ProcessorOutput) -> bool {
    let mut inputs = output.inputs();
    inputs.any(|input| input.from == frames.producer() && input.counts.delivered <= 1)
}
