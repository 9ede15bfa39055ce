//! Tests of a frameset's cost between processes in steady state: page faults, mappings, allocations, system calls and
//! bytes on a channel. All of it is counted, none of it timed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use camrig::frame::{CameraInfo, Clock, PixelFormat, Stream, StreamInfo, StreamProfile, Timestamp};
use camrig::{FrameHeaders, HeldFrames, monotonic_nanos, prelude::*};
use libtest_mimic::Trial;
use rustix::process::Signal;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::harness::{Placement, Plan, Worker};
use crate::{ALLOCATOR, test};

/// Framesets before the measurement.
const WARM: u64 = 200;

/// Measured framesets.
const MEASURED: u64 = 1000;

/// The slots of the camera.
const SLOTS: u64 = 3;

/// Resources that this process has used so far.
#[derive(Clone, Copy)]
struct Used {
    faults: u64,
    mappings: u64,
    allocations: u64,
    bytes: u64,
}

impl Used {
    fn now() -> Self {
        // First, because the following reads allocate: always the same amount.
        let heap = ALLOCATOR.stats();
        let process = procfs::process::Process::myself().unwrap();
        Self {
            faults: process.stat().unwrap().minflt,
            mappings: process.maps().unwrap().len() as u64,
            allocations: (heap.allocations + heap.reallocations) as u64,
            bytes: heap.bytes_allocated as u64,
        }
    }
}

/// Counts framesets, and prints the cost of those after the first [`WARM`] ones to this process.
struct Meter {
    framesets: u64,
    warm: Option<Used>,
}

impl Meter {
    const NEW: Self = Self { framesets: 0, warm: None };

    fn count(&mut self, side: &str) {
        self.framesets += 1;
        if self.framesets == WARM - 1 {
            // The first reading allocates more than the later ones, and framesets should not be charged for it.
            Used::now();
        } else if self.framesets == WARM {
            println!("{side} is warm");
            self.warm = Some(Used::now());
        } else if self.framesets == WARM + MEASURED
            && let Some(warm) = self.warm
        {
            let used = Used::now();
            let again = Used::now();
            // The second reading measures the allocations of a reading itself.
            println!(
                "{side} {} faults {} mappings {} allocations {} bytes",
                used.faults - warm.faults,
                used.mappings.abs_diff(warm.mappings),
                used.allocations - warm.allocations - (again.allocations - used.allocations),
                used.bytes - warm.bytes - (again.bytes - used.bytes),
            );
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeteredOptions {
    depth: StreamProfile,
    /// Whether the driver owns the pixels, as librealsense does, or writes them into the slot.
    held: bool,
}

/// A camera that measures its process.
pub(crate) struct Metered {
    options: MeteredOptions,
    number: u64,
    meter: Meter,
}

impl Metered {
    fn stream(&self) -> StreamInfo {
        StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, self.options.depth)
    }

    fn headers(&mut self) -> FrameHeaders {
        let timestamp = Timestamp { clock: Clock::System, nanos: self.number };
        self.number += 1;
        FrameHeaders::from_iter([self.stream().header(self.number - 1, timestamp)])
    }

    /// Publishes from every slot: the first use of each costs page faults, at either end.
    fn use_all_slots(&mut self, output: &mut CameraOutput) -> Result<(), DriverError> {
        let loans: Vec<_> =
            (0..SLOTS).map(|_| output.loan(monotonic_nanos(), self.headers())).collect::<Result<_, _>>()?;
        for mut loan in loans.into_iter().flatten() {
            loan.frame_mut(0).fill(0);
            output.publish(loan);
        }
        Ok(())
    }
}

/// The same pixels for every frame, so that only the output's cost is measured.
struct Zeros;

static ZEROS: [u8; 640 * 480 * 2] = [0; 640 * 480 * 2];

struct ZeroFrame(usize);

impl HeldFrames for ZeroFrame {
    fn pixels(&self, _: usize) -> &[u8] {
        Zeros::of(self.0)
    }
}

impl Zeros {
    fn of(bytes: usize) -> &'static [u8] {
        &ZEROS[..bytes]
    }
}

impl Driver for Metered {
    type Options = MeteredOptions;

    fn open(_: &str, options: MeteredOptions) -> Result<Self, DriverError> {
        Ok(Self { options, number: 0, meter: Meter::NEW })
    }

    fn info(&self) -> CameraInfo {
        CameraInfo { streams: vec![self.stream()], ..CameraInfo::default() }
    }

    fn capture(&mut self, output: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        // Slower than any reader, so that each frameset has to wake it: the most expensive case.
        std::thread::sleep(Duration::from_millis(2));
        if self.number == 0 {
            self.use_all_slots(output)?;
        }
        let headers = self.headers();
        if self.options.held {
            let frame = Box::new(ZeroFrame(headers[0].size_bytes() as usize));
            output.publish_held(monotonic_nanos(), headers, frame)?;
        } else if let Some(mut loan) = output.loan(monotonic_nanos(), headers)? {
            loan.frame_mut(0).fill(0);
            output.publish(loan);
        }
        self.meter.count("producer");
        Ok(Captured::FrameSet)
    }
}

/// A processor that measures its process, and reads every byte.
pub(crate) struct MeterProcessor(Meter);

impl MeterProcessor {
    pub(crate) const NEW: Self = Self(Meter::NEW);
}

impl Processor for MeterProcessor {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if frames.frames().any(|frame| frame.bytes().iter().any(|&byte| byte != 0)) {
            return Err("the pixels are not zero".into());
        }
        self.0.count("reader");
        Ok(())
    }
}

fn topology(size: &str, held: bool) -> String {
    format!(
        "[camera.camera]\ndriver = 'metered'\nslots = {SLOTS}\noptions = {{ depth = '{size}@500', held = {held} }}\n\
         [processor.reader]\nkind = 'meter'\ninputs = ['camera']\noverflow = 'block'\n"
    )
}

const FRAMESETS: &str = "1300";

/// Returns the numbers in the line that one side printed.
fn said(stdout: &str, side: &str) -> [u64; 4] {
    let line = stdout.lines().find(|line| line.starts_with(side) && line.ends_with("bytes")).unwrap();
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().unwrap()
}

fn memory(held: bool) {
    let mut bytes = Vec::new();
    for size in ["160x120", "640x480"] {
        let topology = topology(size, held);
        let ended =
            Plan::new(&topology, Placement::MultiProcess).arguments(&["--framesets", FRAMESETS]).run();
        ended.assert_said(0, &[]);
        for side in ["producer", "reader"] {
            let [faults, mappings, allocations, heap] = said(&ended.stdout, side);
            let what = format!("{side}, {size}: {faults} faults, {allocations} allocations, {heap} bytes");
            assert!(faults < MEASURED / 100, "{what}");
            assert_eq!(mappings, 0, "{what}");
            // Two small allocations each, of a header, and of a held frame or a handle; and a few others.
            assert!(allocations <= 2 * MEASURED + MEASURED / 10, "{what}");
            bytes.push(heap);
        }
    }
    // A frame of 640x480 is 16 times one of 160x120, but the allocated bytes are about equal.
    let same = MEASURED * 100;
    let [small_producer, small_reader, large_producer, large_reader] = bytes[..] else { panic!("{bytes:?}") };
    assert!(small_producer.abs_diff(large_producer) < same, "{bytes:?}");
    assert!(small_reader.abs_diff(large_reader) < same, "{bytes:?}");
}

/// System calls that only wait, for example in a producer that waits for its reader on a loaded machine.
const REST: [&str; 4] = ["clock_nanosleep", "nanosleep", "restart_syscall", "sched_yield"];

/// Maximum number of system calls for attaching, printing and ending, which are not a frameset's.
const OTHER_CALLS: usize = 150;

/// Returns the system calls of both workers from their warm state to their end, without [`REST`], as strace saw them.
fn calls() -> Option<[Vec<String>; 2]> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        // To stderr, because the harness does not capture it.
        eprintln!("SKIPPED: system calls cannot be counted without strace");
        return None;
    }
    let topology = topology("160x120", true);
    let mut rig =
        Plan::new(&topology, Placement::MultiProcess).arguments(&["--framesets", FRAMESETS]).start();
    rig.wait_for_stdout("warm workers", |lines| {
        lines.contains(&"producer is warm") && lines.contains(&"reader is warm")
    });
    let folder = tempfile::tempdir().unwrap();
    let files = ["camera", "reader"].map(|process| folder.path().join(process));
    let tracers = ["camera", "reader"].map(|process| {
        let worker = rig.workers().into_iter().find(|worker| worker.process == process).unwrap();
        let pid = worker.pid.as_raw_nonzero().to_string();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o"]).arg(folder.path().join(process)).args(["-p", &pid]).spawn().unwrap()
    });
    let ended = rig.finish();
    ended.assert_said(0, &[]);
    // Each tracer ends with its worker.
    for mut tracer in tracers {
        tracer.wait().unwrap();
    }
    let calls = files.map(|file| {
        let text = fs::read_to_string(file).unwrap();
        let call = |line: &str| Some(line.split_once(' ')?.1.trim_start().to_owned());
        let calls = text.lines().filter_map(call);
        // A call that another thread interrupted is shown in two lines.
        let rest = |call: &String| REST.iter().any(|rest| call.contains(rest)) || call.contains("resumed>");
        calls.filter(|call| !rest(call)).collect()
    });
    Some(calls)
}

fn system_calls() {
    let Some([producer, reader]) = calls() else { return };
    let count = |calls: &[String], name: &str| calls.iter().filter(|call| call.starts_with(name)).count();
    let (woken, slept) = (count(&producer, "futex"), count(&reader, "futex"));
    // Strace was attached in time to see most of it.
    assert!(woken > MEASURED as usize / 10, "{woken} wake-ups were seen");
    assert!(slept > MEASURED as usize / 10, "{slept} sleeps were seen");
    let framesets = WARM as usize + MEASURED as usize;
    assert!(woken <= framesets + OTHER_CALLS, "{woken} wake-ups for {framesets} framesets");
    assert!(producer.len() <= woken + OTHER_CALLS, "{} calls for {woken} wake-ups", producer.len());
    assert!(slept <= framesets + OTHER_CALLS, "{slept} sleeps for {framesets} framesets");
    assert!(reader.len() <= slept + OTHER_CALLS, "{} calls for {slept} sleeps", reader.len());
    // Only commands and events are sent over channels, and they are few.
    let sent = count(&producer, "sendmsg") + count(&reader, "sendmsg");
    assert!(sent <= 10, "{sent} messages were sent");
}

/// A camera with far more slots than its readers hold: three of each reader, one to write into and one that was just
/// written.
const MANY_SLOTS: &str = "[camera.camera]\ndriver = 'synthetic'\nslots = 40\n\
     options = { model = 'any', color = '640x480@300', depth = 'off' }\n\
     [processor.reader]\nkind = 'count'\nqueue = 2\ninputs = ['camera']\noptions = { beat = 50 }\n";

/// The pixels of a slot of [`MANY_SLOTS`].
const SLOT_BYTES: u64 = 640 * 480 * 3;

/// Memory for all slots is reserved at the start, but only those that were used are present in a process.
fn memory_of_unused_slots() {
    let mut rig = Plan::new(MANY_SLOTS, Placement::MultiProcess).start();
    rig.wait_for_stdout("framesets", |lines| lines.contains(&"reader camera 200"));
    for Worker { process, pid } in rig.workers() {
        let pid = pid.as_raw_nonzero().get();
        let present = procfs::process::Process::new(pid).unwrap().status().unwrap().rssshmem.unwrap() << 10;
        assert!(present < 20 * SLOT_BYTES, "{process} has {present} bytes");
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let sizes = files.filter_map(|file| fs::metadata(file.path()).ok());
        let reserved = sizes.map(|file| file.blocks() * 512).max();
        assert!(reserved.is_some_and(|bytes| bytes >= 40 * SLOT_BYTES), "{process} reserved {reserved:?}");
    }
    rig.signal(Signal::TERM);
    rig.finish().assert_said(0, &[]);
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "costs::memory_of_a_driver_that_writes_into_the_slot", || memory(false));
    test(trials, "costs::memory_of_a_driver_that_is_copied_from", || memory(true));
    test(trials, "costs::memory_of_unused_slots", memory_of_unused_slots);
    test(trials, "costs::system_calls", system_calls);
}
