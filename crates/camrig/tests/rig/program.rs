//! The camrig program that these tests run: drivers and processors that measure, hold framesets, fail or never return.
//!
//! They print their observations as one line each; a violated condition is an error, which fails the rig.

mod fault;
mod mosaic;
mod pattern;
mod room;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::costs::{MeterProcessor, Metered};
use crate::devices::Shelf;
use actix::{Actor, AsyncContext, Context, Handler, Message};
use camrig::frame::{FrameHeader, Payload, PixelFormat, Stream};
use camrig::prelude::*;
use camrig::{DropReason, FrameHeaders, InputLinkStatus};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::fault::{AWAITED, FILE};
use self::fault::{At, Fault};
use self::mosaic::{CheckMosaic, Mosaic};
use self::pattern::{ADDRESS_BYTES, HEIGHT, Pattern, WIDTH, pattern};
use self::room::Room;

/// The environment variable with the name of a process whose worker exits before it connects.
pub(crate) const EXITS_EARLY: &str = "CAMRIG_TEST_DIES";

/// The environment variable with which a rig has no kinds of this program; its workers have them.
pub(crate) const PLAIN: &str = "CAMRIG_TEST_PLAIN";

/// The exit code of such a worker.
pub(crate) const EARLY_EXIT_CODE: u8 = 3;

pub(crate) fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let (Ok(exits), [word, process]) = (std::env::var(EXITS_EARLY), words.as_slice())
        && word == "worker"
        && exits == *process
    {
        return ExitCode::from(EARLY_EXIT_CODE);
    }
    if std::env::var_os(PLAIN).is_some() && words.first().is_some_and(|word| word == "run") {
        return App::new().main();
    }
    App::new()
        .driver::<Pattern>("pattern")
        .driver::<Metered>("metered")
        .driver::<Room>("room")
        .driver::<Shelf>("shelf")
        .processor("meter", |_: NoOptions| Ok(MeterProcessor::NEW))
        .processor("addresses", |options| {
            Ok(Addresses { options, framesets: 0, mapped: Vec::new(), last: None })
        })
        .processor("count", |options| {
            Ok(Count { options, cameras: BTreeMap::new(), kept: Vec::new(), delivered: 0 })
        })
        .processor("observer", |_: NoOptions| Ok(Observer(BTreeMap::new())))
        .processor("keep", |options: KeepOptions| Ok(Keep { options, kept: Vec::new(), checks: 0 }))
        .processor("halve", |_: NoOptions| Ok(Halve))
        .processor("check-half", |_: NoOptions| Ok(CheckHalf(0)))
        .processor("mosaic", |_: NoOptions| Ok(Mosaic::new()))
        .processor("check-mosaic", |_: NoOptions| Ok(CheckMosaic::default()))
        .processor("pass-on", |_: NoOptions| Ok(Forward))
        .processor("fuse", |_: NoOptions| Ok(Fuse::default()))
        .actor("fuse-actor", |_: NoOptions, output| Ok(FuseActor { fuse: Fuse::default(), output }))
        .processor("faulty", |fault: Fault| {
            fault.occur(At::Constructor)?;
            Ok(Faulty { fault, framesets: 0, is_called: false })
        })
        .actor("relay", |options, output| Ok(Relay { options, output, framesets: 0, ticks: 0, messages: 0 }))
        .main()
}

/// Options of `addresses`: which memory its pixels have to be in.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddressesOptions {
    expect: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Expected {
    /// The driver's own memory.
    Same,
    /// Memory that processes share.
    Shared,
}

struct Addresses {
    options: AddressesOptions,
    framesets: u64,
    /// The shared mappings when they were last read.
    mapped: Vec<Range<usize>>,
    /// Held, so that the next frameset has another address.
    last: Option<FrameSet>,
}

impl Addresses {
    fn is_shared(&mut self, pixels: &Range<usize>) -> bool {
        let within = |range: &Range<usize>| range.start <= pixels.start && pixels.end <= range.end;
        if !self.mapped.iter().any(within) {
            self.mapped = shared_mappings();
        }
        self.mapped.iter().any(within)
    }
}

/// Returns the mappings of this process that are shared with other processes.
fn shared_mappings() -> Vec<Range<usize>> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let shared = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let address = |digits| usize::from_str_radix(digits, 16).ok();
        (rest.as_bytes()[3] == b's').then_some(address(start)?..address(end)?)
    };
    maps.lines().filter_map(shared).collect()
}

impl Processor for Addresses {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let depth = frames.frame(Stream::DEPTH).ok_or("no depth")?;
        let bytes = depth.bytes();
        let written = usize::from_le_bytes(bytes[..ADDRESS_BYTES].try_into()?);
        let range = bytes.as_ptr() as usize..bytes.as_ptr() as usize + bytes.len();
        let found = if self.is_shared(&range) { Expected::Shared } else { Expected::Same };
        if found != self.options.expect || (found == Expected::Same) != (written == range.start) {
            return Err(
                format!("the driver wrote {written:#x}, the pixels are at {range:x?}: {found:?}").into()
            );
        }
        check_pattern(frames, 1)?;
        self.framesets += 1;
        self.last = Some(frames.clone());
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        println!("{}: {} framesets, {:?} memory", output.name(), self.framesets, self.options.expect);
        Ok(())
    }
}

/// Checks that the depth is every `step`th pixel of every `step`th row of the pattern.
fn check_pattern(frames: &FrameSet, step: u32) -> Result<(), ProcessorError> {
    let depth = frames.frame(Stream::DEPTH).ok_or("no depth")?;
    let header = depth.header();
    if (depth.width() * step, depth.height() * step) != (WIDTH, HEIGHT) {
        return Err(format!("{}x{} pixels", depth.width(), depth.height()).into());
    }
    for (y, row) in (0..).zip(depth.rows()) {
        for (x, pixel) in (0..).zip(row.as_chunks::<2>().0) {
            let (x, y) = (x * step, y * step);
            let is_address = y == 0 && x < ADDRESS_BYTES as u32 / 2;
            if !is_address && u16::from_le_bytes(*pixel) != pattern(header.number, x, y) {
                return Err(format!("frame {} is wrong at column {x}, row {y}", header.number).into());
            }
        }
    }
    Ok(())
}

/// Options of `count`, which counts framesets as slowly as requested.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct CountOptions {
    /// Sleep in each call.
    pause_millis: u64,
    /// Waits in each call until this many framesets were produced for each one received, but at most `total`.
    lag: u64,
    total: u64,
    /// Holds this many framesets, and prints a line when no slot is left.
    keep: usize,
    /// Prints each camera's count at every multiple of this.
    beat: u64,
    /// Prints the sequence number of each frameset.
    sequences: bool,
}

struct Count {
    options: CountOptions,
    cameras: BTreeMap<String, Seen>,
    kept: Vec<FrameSet>,
    delivered: u64,
}

#[derive(Default)]
struct Seen {
    framesets: u64,
    gaps: u64,
    next: u64,
}

impl Processor for Count {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        self.delivered += 1;
        let delivered = check_inputs(output)?;
        if delivered != self.delivered {
            return Err(
                format!("{delivered} framesets are counted as delivered at call {}", self.delivered).into()
            );
        }
        let seen = self.cameras.entry(frames.camera().to_owned()).or_default();
        let gap = frames.sequence().checked_sub(seen.next);
        seen.gaps += gap.ok_or_else(|| format!("{frames:?} came after {}", seen.next))?;
        seen.next = frames.sequence() + 1;
        seen.framesets += 1;
        if self.options.beat > 0 && seen.framesets.is_multiple_of(self.options.beat) {
            println!("{} {} {}", output.name(), frames.camera(), seen.framesets);
        }
        if self.options.sequences {
            println!("{} {} sequence {}", output.name(), frames.camera(), frames.sequence());
        }
        if self.kept.len() < self.options.keep {
            self.kept.push(frames.clone());
            if self.kept.len() == self.options.keep {
                wait_until_no_slot_is_left(output)?;
                println!("{}: no slot is left", output.name());
            }
        }
        let wanted = (self.options.lag * seen.framesets).min(self.options.total);
        while output.inputs().map(|input| input.counts.produced).sum::<u64>() < wanted {
            check_inputs(output)?;
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(Duration::from_millis(self.options.pause_millis));
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        check_inputs(output)?;
        for (camera, Seen { framesets, gaps, next }) in &self.cameras {
            println!("{} of {camera}: {framesets} framesets, {gaps} missing, next {next}", output.name());
        }
        Ok(())
    }
}

/// Checks that the accounting adds up and that sequence numbers increase, also across restarts of its producers;
/// prints a line after every ten framesets of a producer.
struct Observer(BTreeMap<String, Seen>);

impl Processor for Observer {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        check_inputs(output)?;
        let seen = self.0.entry(frames.producer().to_owned()).or_default();
        if frames.sequence() < seen.next {
            return Err(format!("{frames:?} came after {}", seen.next).into());
        }
        seen.next = frames.sequence() + 1;
        seen.framesets += 1;
        if seen.framesets.is_multiple_of(10) {
            println!("{} goes on with {}", output.name(), frames.producer());
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeepOptions {
    /// Number of framesets to hold, from the first on.
    keep: usize,
}

/// A processor that holds framesets until its end, and checks them again with each new one.
struct Keep {
    options: KeepOptions,
    kept: Vec<FrameSet>,
    checks: u64,
}

impl Processor for Keep {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        check_pattern(frames, 1)?;
        self.kept.iter().try_for_each(|kept| check_pattern(kept, 1))?;
        if self.kept.len() < self.options.keep {
            self.kept.push(frames.clone());
            if self.kept.len() == self.options.keep {
                println!("{}: keeps {}", output.name(), self.options.keep);
            }
            return Ok(());
        }
        self.checks += 1;
        println!("{}: looked at all {}", output.name(), self.checks);
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        self.kept.iter().try_for_each(|kept| check_pattern(kept, 1))?;
        println!("{}: kept {} to the end", output.name(), self.kept.len());
        Ok(())
    }
}

/// Waits until a frameset is dropped because all slots are held.
fn wait_until_no_slot_is_left(output: &ProcessorOutput) -> Result<(), ProcessorError> {
    let dropped = |input: InputLinkStatus<'_>| input.counts.dropped[DropReason::NoSlot as usize];
    while output.inputs().map(dropped).sum::<u64>() == 0 {
        check_inputs(output)?;
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// Checks that the accounting of every input adds up, and returns the number of delivered framesets.
fn check_inputs(output: &ProcessorOutput) -> Result<u64, ProcessorError> {
    let mut delivered = 0;
    for input in output.inputs() {
        let counts = input.counts;
        let sum = counts.delivered + counts.dropped.iter().sum::<u64>() + counts.in_flight;
        if counts.produced != sum {
            return Err(format!("the accounting of `{}` does not add up: {counts:?}", input.from).into());
        }
        delivered += counts.delivered;
    }
    Ok(delivered)
}

/// Derives depth of half the width and height.
struct Halve;

impl Processor for Halve {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let depth = frames.frame(Stream::DEPTH).ok_or("no depth")?;
        let header = depth.header();
        let half = FrameHeader {
            payload: Payload::image(PixelFormat::Z16, depth.width() / 2, depth.height() / 2),
            ..*header
        };
        let Some(mut loan) = output.derive(frames, FrameHeaders::from_iter([half]))? else { return Ok(()) };
        let pixels = depth.rows().step_by(2).flat_map(|row| row.as_chunks::<2>().0.iter().step_by(2));
        for (to, from) in loan.frame_mut(0).as_chunks_mut::<2>().0.iter_mut().zip(pixels) {
            *to = *from;
        }
        output.publish(loan);
        Ok(())
    }
}

/// Checks the framesets of [`Halve`].
struct CheckHalf(u64);

impl Processor for CheckHalf {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        check_pattern(frames, 2)?;
        if self.0 == 0 {
            println!("{}: halves of {}", output.name(), frames.camera());
        }
        self.0 += 1;
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        println!("{}: {} halves", output.name(), self.0);
        Ok(())
    }
}

/// Forwards its framesets.
struct Forward;

impl Processor for Forward {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(output.forward(frames)?)
    }
}

/// Number of matches after which `fuse` prints a line.
pub(crate) const FEW_MATCHES: u64 = 40;

/// Prints the number of its matches and a digest of their contents.
#[derive(Default)]
struct Fuse {
    matches: u64,
    complete: u64,
    digest: u64,
}

impl Processor<Match> for Fuse {
    fn process(&mut self, matched: &Match, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if matched.number() != self.matches {
            return Err(format!("match {} comes after {} matches", matched.number(), self.matches).into());
        }
        self.matches += 1;
        self.complete += u64::from(matched.is_complete());
        if self.matches.is_multiple_of(FEW_MATCHES) {
            println!("{} so far: {}", output.name(), self.matches);
        }
        for frames in matched.framesets() {
            if matched.get(frames.camera()).map(FrameSet::sequence) != Some(frames.sequence()) {
                return Err(format!("two framesets of {} in one match", frames.camera()).into());
            }
            let number = frames.depth().map_or(0, |depth| depth.frame().header().number);
            let bytes = frames.camera().bytes().chain(number.to_le_bytes()).chain(self.matches.to_le_bytes());
            for byte in bytes {
                self.digest =
                    (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
            }
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let (name, matches, complete) = (output.name(), self.matches, self.complete);
        println!("{name}: {matches} matches, {complete} complete, digest {:016x}", self.digest);
        Ok(())
    }
}

/// [`Fuse`] as an actix actor.
struct FuseActor {
    fuse: Fuse,
    output: ProcessorOutput,
}

impl Actor for FuseActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.fuse.finish(&mut self.output).unwrap();
    }
}

impl Handler<Match> for FuseActor {
    type Result = Result<(), ProcessorError>;

    fn handle(&mut self, matched: Match, _: &mut Self::Context) -> Self::Result {
        self.fuse.process(&matched, &mut self.output)
    }
}

/// A processor with a fault.
struct Faulty {
    fault: Fault,
    framesets: u64,
    /// Whether it is in a call, or was until that failed.
    is_called: bool,
}

impl Processor for Faulty {
    fn process(&mut self, _: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if self.framesets == self.fault.after {
            println!("{}: here it comes", output.name());
            self.is_called = true;
            self.fault.occur(At::Process)?;
            self.is_called = false;
        }
        self.framesets += 1;
        Ok(())
    }

    fn finish(&mut self, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        assert!(!self.is_called, "a processor is finished after a call that failed");
        Ok(self.fault.occur(At::Finish)?)
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RelayOptions {
    /// Whether it has a timer that never stops by itself.
    timer: bool,
}

/// An actix actor that forwards its framesets, and sends itself a message about each.
struct Relay {
    options: RelayOptions,
    output: ProcessorOutput,
    framesets: u64,
    ticks: u64,
    messages: u64,
}

/// A frameset was forwarded.
struct Forwarded;

impl Message for Forwarded {
    type Result = ();
}

impl Actor for Relay {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if self.options.timer {
            context.run_interval(Duration::from_millis(1), |relay, _| relay.ticks += 1);
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        let ticked = if self.ticks > 0 { "ticked" } else { "never ticked" };
        println!(
            "{}: {} framesets, {} messages, {ticked}",
            self.output.name(),
            self.framesets,
            self.messages
        );
    }
}

impl Handler<FrameSet> for Relay {
    type Result = Result<(), ProcessorError>;

    fn handle(&mut self, frames: FrameSet, context: &mut Self::Context) -> Self::Result {
        self.output.forward(&frames)?;
        self.framesets += 1;
        context.notify(Forwarded);
        Ok(())
    }
}

impl Handler<Forwarded> for Relay {
    type Result = ();

    fn handle(&mut self, _: Forwarded, _: &mut Self::Context) {
        self.messages += 1;
    }
}
