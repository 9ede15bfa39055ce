//! Measures the cost of a crossing, compared with a bare put and subscribe of Zenoh: six cameras of two hosts, read on a
//! third. `just bench-hosts`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use camrig::frame::{
    CameraInfo, Clock, DeviceProfile, FrameHeader, PixelFormat, Stream, StreamInfo, StreamProfile,
};
use camrig::prelude::*;
use camrig::{FrameHeaders, monotonic_nanos};
use camrig_hosts::session::{self, SessionOptions};
use libtest_mimic::Trial;
use rustix::process::Signal;
use serde::Deserialize;
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::qos::CongestionControl;

use crate::agents::{Crossing, Program, agent_by, children, ends_with_parent, report, wait};
use crate::harness::MARK;
use crate::namespaces::{Network, inside};
use crate::test;

/// The streams of each camera: depth and color.
const PROFILE: (u32, u32, u32) = (848, 480, 30);

/// Cameras of each host.
const CAMERAS: usize = 3;

const HOSTS: [&str; 2] = ["arm", "base"];

/// Time that is measured, and that before it.
const SECONDS: u64 = 10;
const BEFORE: Duration = Duration::from_secs(3);

/// The beginning of the line of a bare receiver.
const BARE: &str = "bare: ";

/// Rounds of the raw measurement: 2 if it is not set.
const ROUNDS: &str = "CAMRIG_BENCH_ROUNDS";

/// The interpreter of Python with dora, for [`with_dora`]; optional.
const DORA: &str = "CAMRIG_BENCH_DORA";

/// The program that measures dora on the same work.
const WITH_DORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hosts/with_dora.py");

/// The folder of `depth.raw` and `color.raw`, frames of 848x480 one after the other, for the default codecs; optional.
const FRAMES: &str = "CAMRIG_BENCH_FRAMES";

/// The time between two framesets of a camera.
const PERIOD_NANOS: u64 = 1_000_000_000 / PROFILE.2 as u64;

/// When the cameras of all hosts capture: one after the other at equal intervals, or at the same time.
#[derive(Clone, Copy, Debug)]
enum Phases {
    Spread,
    Together,
}

impl Phases {
    /// Returns the time of a camera within each period, in nanoseconds.
    fn of(self, host: usize, camera: usize) -> u64 {
        match self {
            Self::Spread => {
                PERIOD_NANOS / (CAMERAS * HOSTS.len()) as u64 * (camera * HOSTS.len() + host) as u64
            }
            Self::Together => 0,
        }
    }
}

/// The time after which the end of a rig is reported with what its programs have said.
const END_SECONDS: f64 = 5.0;

/// Waits for the next time with this phase, by the monotonic clock.
fn wait_for_phase(phase_nanos: u64) {
    let now = monotonic_nanos();
    let passed = (now + PERIOD_NANOS - phase_nanos) % PERIOD_NANOS;
    std::thread::sleep(Duration::from_nanos(PERIOD_NANOS - passed));
}

/// A camera whose frames are made once, so that only the stages after it cost time.
pub(crate) struct Still {
    phase_nanos: u64,
    number: u64,
    /// Of depth and of color: one or several, which repeat.
    frames: [Vec<Vec<u8>>; 2],
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StillOptions {
    /// The folder of its frames; without one they are a pattern.
    folder: Option<PathBuf>,
    /// Its time within each period.
    #[serde(default)]
    phase_nanos: u64,
}

fn profile() -> StreamProfile {
    StreamProfile::new(PROFILE.0, PROFILE.1, PROFILE.2).unwrap()
}

const STREAMS: [(Stream, PixelFormat); 2] =
    [(Stream::DEPTH, PixelFormat::Z16), (Stream::COLOR, PixelFormat::Rgb8)];

/// Returns frames of these sizes.
fn still_frames() -> [Vec<u8>; 2] {
    STREAMS.map(|(_, format)| {
        let bytes = PROFILE.0 * PROFILE.1 * format.bytes_per_pixel();
        (0..bytes).map(|index| ((index / 7) ^ (index >> 9)) as u8).collect()
    })
}

/// Reads the frames of a folder.
fn read_frames(folder: &Path) -> std::io::Result<[Vec<Vec<u8>>; 2]> {
    let read = |index: usize| {
        let (stream, format) = STREAMS[index];
        let bytes = std::fs::read(folder.join(format!("{stream}.raw")))?;
        let size = (PROFILE.0 * PROFILE.1 * format.bytes_per_pixel()) as usize;
        Ok::<_, std::io::Error>(bytes.chunks_exact(size).map(<[u8]>::to_vec).collect())
    };
    Ok([read(0)?, read(1)?])
}

impl Driver for Still {
    type Options = StillOptions;

    fn streams(_: &StillOptions) -> Vec<DeviceProfile> {
        let of = |(stream, format): (Stream, PixelFormat)| DeviceProfile {
            stream,
            format: format.into(),
            profile: profile(),
        };
        STREAMS.map(of).to_vec()
    }

    fn clock(_: &StillOptions) -> Option<Clock> {
        Some(Clock::Hardware)
    }

    fn open(_: &str, options: StillOptions) -> Result<Self, DriverError> {
        let frames = match options.folder {
            Some(folder) => read_frames(&folder).map_err(|error| DriverError::new(error.to_string()))?,
            None => still_frames().map(|frame| vec![frame]),
        };
        Ok(Self { phase_nanos: options.phase_nanos, number: 0, frames })
    }

    fn info(&self) -> CameraInfo {
        let streams = STREAMS.map(|(stream, format)| StreamInfo::image(stream, format, profile()));
        CameraInfo { model: "still".to_owned(), streams: streams.to_vec(), ..CameraInfo::default() }
    }

    fn capture(&mut self, output: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        wait_for_phase(self.phase_nanos);
        self.number += 1;
        let header = |(stream, format)| FrameHeader {
            number: self.number,
            ..FrameHeader::image(stream, format, PROFILE.0, PROFILE.1)
        };
        let headers = FrameHeaders::from_iter(STREAMS.map(header));
        if let Some(mut loan) = output.loan(monotonic_nanos(), headers)? {
            for (index, frames) in self.frames.iter().enumerate() {
                let frame = &frames[self.number as usize % frames.len()];
                loan.frame_mut(index).copy_from_slice(frame);
            }
            output.publish(loan);
        }
        Ok(Captured::FrameSet)
    }
}

/// The bare programs: `bare-send BATCHES ADDRESS PHASE...`, and `bare-receive BATCHES ADDRESS ADDRESS`. Returns whether the words
/// are those of one.
pub(crate) fn bare(words: &[String]) -> bool {
    match words {
        [word, batches, address, phases @ ..] if word == "bare-send" => send(batches, address, phases),
        [word, batches, addresses @ ..] if word == "bare-receive" => receive(batches, addresses),
        _ => return false,
    }
    true
}

/// The number of batches of a connection that Zenoh has by default.
const ZENOH_BATCHES: &str = "2";

/// That of camrig.
const CAMRIG_BATCHES: &str = "16";

fn open_bare(options: &SessionOptions, batches: &str) -> zenoh::Session {
    let mut config = session::config(options).unwrap();
    config.insert_json5("transport/link/tx/queue/size/data", batches).unwrap();
    zenoh::open(config).wait().unwrap()
}

/// Puts the bytes of each camera, which is a thread, until it is killed.
fn send(batches: &str, address: &str, phases: &[String]) {
    let options =
        SessionOptions { listen: vec![address.to_owned()], insecure: true, ..SessionOptions::default() };
    let session = open_bare(&options, batches);
    let frames = still_frames().map(Bytes::from);
    let cameras = phases.iter().enumerate().map(|(camera, phase)| {
        let publisher = session.declare_publisher(format!("bare/{address}/{camera}"));
        let publisher = publisher.congestion_control(CongestionControl::Block).express(true).wait().unwrap();
        let (frames, phase_nanos) = (frames.clone(), phase.parse().unwrap());
        std::thread::spawn(move || {
            loop {
                wait_for_phase(phase_nanos);
                let mut writer = ZBytes::writer();
                writer.append(monotonic_nanos().to_le_bytes().to_vec().into());
                for frame in &frames {
                    writer.append(frame.clone().into());
                }
                publisher.put(writer.finish()).wait().unwrap();
            }
        })
    });
    let _cameras: Vec<_> = cameras.collect();
    println!("agent: listens at {address}");
    loop {
        std::thread::park();
    }
}

/// The latencies of each camera in microseconds, by its key.
type Latencies = BTreeMap<String, Vec<u64>>;

/// Copies messages as they arrive, as a receiver does into its slots; in the end prints the number of messages, and the latency
/// at the 99th percentile of each camera.
fn receive(batches: &str, addresses: &[String]) {
    let options = SessionOptions { connect: addresses.to_vec(), insecure: true, ..SessionOptions::default() };
    let session = open_bare(&options, batches);
    let latencies = Arc::new(Mutex::new((Latencies::new(), Vec::<u8>::new())));
    let noted = Arc::clone(&latencies);
    let begin = Instant::now();
    let note = move |sample: zenoh::sample::Sample| {
        let (latencies, slot) = &mut *noted.lock().unwrap();
        slot.resize(sample.payload().len(), 0);
        std::io::Read::read_exact(&mut sample.payload().reader(), slot).unwrap();
        let sent = u64::from_le_bytes(*slot.first_chunk().unwrap());
        if begin.elapsed() >= BEFORE {
            let of_camera = latencies.entry(sample.key_expr().to_string()).or_default();
            of_camera.push((monotonic_nanos() - sent) / 1000);
        }
    };
    session.declare_subscriber("bare/**").callback(note).background().wait().unwrap();
    std::thread::sleep(BEFORE + Duration::from_secs(SECONDS));
    let mut latencies = latencies.lock().unwrap().0.clone();
    let p99 = |of_camera: &mut Vec<u64>| {
        of_camera.sort_unstable();
        of_camera[of_camera.len() * 99 / 100]
    };
    let count: usize = latencies.values().map(Vec::len).sum();
    let p99: Vec<_> = latencies.values_mut().map(|of_camera| p99(of_camera).to_string()).collect();
    println!("{BARE}{count} {}", p99.join(" "));
}

/// Returns the processor time of a process in seconds.
fn cpu_seconds(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64
}

/// The cost of one way of crossing.
#[allow(dead_code)] // It is printed.
#[derive(Debug)]
struct Cost {
    framesets: u64,
    /// The processor time per frameset, without cameras and reader.
    micros_each: f64,
    /// The same of all processes; for the bare programs, whose cameras and readers do nothing else, as before.
    all_micros_each: f64,
    /// The latency at the 99th percentile: of the cameras' the median, and the largest.
    p99_micros: [u64; 2],
    megabits: f64,
}

/// Returns the median and the largest of the cameras' values.
fn median_and_largest(mut of_cameras: Vec<u64>) -> [u64; 2] {
    of_cameras.sort_unstable();
    [of_cameras[of_cameras.len() / 2], of_cameras[of_cameras.len() - 1]]
}

fn carried_bits(network: &Network) -> f64 {
    let bytes = |host: &str| network.received_bytes(host);
    HOSTS.iter().map(|host| bytes(host)).sum::<u64>() as f64 * 8.0
}

fn through_bare(network: &Network, folder: &Path, phases: Phases, batches: &str) -> Cost {
    let addresses = HOSTS.map(|host| format!("tcp/{}:7500", network.address(host)));
    let senders: Vec<_> = HOSTS
        .iter()
        .enumerate()
        .map(|(number, host)| {
            let phases = (0..CAMERAS).map(|camera| phases.of(number, camera).to_string());
            let words: Vec<_> = ["bare-send".to_owned(), batches.to_owned(), addresses[number].clone()]
                .into_iter()
                .chain(phases)
                .collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            Program::start_by(inside(&network.of(host)), folder, &format!("bare-{host}"), &words)
        })
        .collect();
    let words = ["bare-receive", batches, &addresses[0], &addresses[1]];
    let mut receiver = Program::start_by(inside(&network.of("first")), folder, "bare", &words);
    std::thread::sleep(BEFORE);
    let all = || senders.iter().chain([&receiver]).map(|program| cpu_seconds(program.child.id() as i32));
    let (begin, before, bits) = (Instant::now(), all().sum::<f64>(), carried_bits(network));
    std::thread::sleep(Duration::from_secs(SECONDS - 2));
    let (used, seconds) = (all().sum::<f64>() - before, begin.elapsed().as_secs_f64());
    let megabits = (carried_bits(network) - bits) / seconds / 1e6;
    let (code, stdout) = receiver.finish();
    assert_eq!(code, Some(0), "{}", receiver.stderr());
    let line = stdout.lines().find_map(|line| line.strip_prefix(BARE)).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let rate = numbers[0] as f64 / SECONDS as f64;
    let p99_micros = median_and_largest(numbers[1..].to_vec());
    let micros_each = used / seconds / rate * 1e6;
    Cost { framesets: numbers[0], micros_each, all_micros_each: micros_each, p99_micros, megabits }
}

/// Returns the number of framesets that these cameras of a rig on `first` have published. Status sockets belong to a namespace.
fn published(network: &Network, run: &Program, cameras: &[String]) -> u64 {
    let mut top = inside(&network.of("first"));
    let rig = run.id().to_string();
    let output = top.args(["top", &rig, "--once", "--json"]).env(MARK, "hosts").output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let actors = status["actors"].as_array().unwrap().iter();
    let own = actors.filter(|actor| cameras.iter().any(|camera| actor["name"] == **camera));
    own.map(|actor| actor["produced"].as_u64().unwrap()).sum()
}

fn through_camrig(
    network: &Network,
    folder: &Path,
    driver: impl Fn(usize, usize) -> String,
    wire: &str,
    rate: u32,
) -> Cost {
    let mut agents = Vec::new();
    let mut tables = Vec::new();
    let mut inputs = Vec::new();
    for (number, host) in HOSTS.into_iter().enumerate() {
        let listen = format!("tcp/{}:7447", network.address(host));
        agents.push(agent_by(inside(&network.of(host)), folder, host, &["--listen", &listen, "--insecure"]));
        tables.push(format!(
            "[host.{host}]\naddress = \"{listen}\"\ninsecure = true\nrate_megabits = {rate}\n"
        ));
        for camera in 0..CAMERAS {
            let driver = driver(number, camera);
            tables.push(format!("[camera.{host}{camera}]\nslots = 12\nhost = \"{host}\"\n{driver}\n"));
            inputs.push(format!("{host}{camera}"));
        }
    }
    tables.push(format!("[processor.reader]\nkind = \"stats\"\ninputs = {inputs:?}\nqueue = 4\n{wire}\n"));
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, tables.concat()).unwrap();
    let report_file = folder.join("report.json").display().to_string();
    let mut run = Program::start_by(
        inside(&network.of("first")),
        folder,
        "run",
        &["run", &path, "--report", &report_file],
    );
    let lines = run.lines();
    wait("framesets", || lines.lock().unwrap().len() > CAMERAS * 4, || run.stderr());
    std::thread::sleep(BEFORE);
    // The processes that carry frames: the agents, and the first host without its reader.
    let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let receivers: Vec<_> = children(&run).into_iter().filter(|&pid| !name(pid).contains("reader")).collect();
    let mains = agents.iter().chain([&run]).map(|program| program.child.id() as i32);
    let pids: Vec<_> = mains.chain(receivers).collect();
    let others: Vec<_> =
        agents.iter().chain([&run]).flat_map(children).filter(|pid| !pids.contains(pid)).collect();
    let used_by = |pids: &[i32]| pids.iter().map(|&pid| cpu_seconds(pid)).sum::<f64>();
    let all = || [used_by(&pids), used_by(&others)];
    let had = published(network, &run, &inputs);
    let (begin, before, bits) = (Instant::now(), all(), carried_bits(network));
    std::thread::sleep(Duration::from_secs(SECONDS));
    let (after, seconds) = (all(), begin.elapsed().as_secs_f64());
    let measured = published(network, &run, &inputs) - had;
    let megabits = (carried_bits(network) - bits) / seconds / 1e6;
    run.signal(Signal::INT);
    let asked = Instant::now();
    assert_eq!(run.finish().0, Some(0), "{}", run.stderr());
    let end_seconds = asked.elapsed().as_secs_f64();
    let report = report(folder);
    let rows = |key: &str| report[key].as_array().unwrap().clone();
    for input in &inputs {
        let host = input.trim_end_matches(char::is_numeric);
        let crossing = Crossing::of(&report, &format!("{host}/{input}"), input);
        println!("bench: {input} {crossing:?}");
    }
    let mut has_drops = false;
    for link in rows("links") {
        for (reason, count) in link["dropped"].as_object().unwrap() {
            if count.as_u64() != Some(0) {
                has_drops = true;
                println!(
                    "bench: {} to {}: {count} dropped in the whole run: {reason}",
                    link["from"], link["to"]
                );
            }
        }
    }
    println!("bench: it ended {end_seconds:.1} s after it was asked to; problems: {}", report["problems"]);
    if has_drops || end_seconds > END_SECONDS {
        agents.iter().chain([&run]).for_each(|program| println!("bench: {}", program.stderr()));
    }
    let links = rows("links").into_iter().filter(|link| link["to"] == "reader");
    let p99 = links.filter_map(|link| link["latency_us"]["p99"].as_u64()).collect();
    Cost {
        framesets: measured,
        micros_each: (after[0] - before[0]) / measured.max(1) as f64 * 1e6,
        all_micros_each: (after[0] - before[0] + after[1] - before[1]) / measured.max(1) as f64 * 1e6,
        p99_micros: median_and_largest(p99),
        megabits,
    }
}

fn with_dora(python: &str) {
    let output = ends_with_parent().args([python, WITH_DORA]).output().unwrap();
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

/// The options of a camera of [`Still`].
fn still(phases: Phases, more: String) -> impl Fn(usize, usize) -> String {
    move |host, camera| {
        format!("driver = \"still\"\noptions = {{ phase_nanos = {}{more} }}", phases.of(host, camera))
    }
}

/// Returns the middle value; of an even number, the upper one.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The ways whose costs are compared.
const WAYS: [&str; 3] = ["bare zenoh, 2 batches", "bare zenoh, 16 batches", "camrig"];

fn bench_raw() {
    let network = Network::new(&HOSTS);
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path();
    let raw = "wire = { depth = \"raw\", color = \"raw\" }";
    let rounds = std::env::var(ROUNDS).map_or(2, |rounds| rounds.parse().unwrap());
    let both = [Phases::Spread, Phases::Together];
    let mut costs = both.map(|_| WAYS.map(|_| Vec::new()));
    for round in 0..rounds {
        for (phases, costs) in both.into_iter().zip(&mut costs) {
            // Each way is first, second and last as often: a machine is not the same all the time.
            for way in (0..WAYS.len()).map(|way| (way + round) % WAYS.len()) {
                let cost = match way {
                    0 => through_bare(&network, own, phases, ZENOH_BATCHES),
                    1 => through_bare(&network, own, phases, CAMRIG_BATCHES),
                    _ => through_camrig(&network, own, still(phases, String::new()), raw, 10_000),
                };
                println!("bench: {phases:?}: {}, raw: {cost:?}", WAYS[way]);
                costs[way].push(cost);
            }
        }
    }
    for (phases, costs) in both.into_iter().zip(&costs) {
        for (way, costs) in WAYS.iter().zip(costs) {
            let micros = median(costs.iter().map(|cost| cost.micros_each));
            let [middle, largest] =
                [0, 1].map(|at| median(costs.iter().map(|cost| cost.p99_micros[at] as f64 / 1e3)));
            println!(
                "bench: {phases:?}: {way}: medians of {rounds} rounds: {micros:.0} us each, p99 {middle:.1} ms, largest of the \
                 cameras {largest:.1} ms"
            );
        }
    }
    if let Ok(python) = std::env::var(DORA) {
        with_dora(&python);
    }
}

fn bench_coded() {
    let network = Network::new(&HOSTS);
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path();
    let (width, height, fps) = PROFILE;
    let scene = format!(
        "driver = \"synthetic\"\noptions = {{ model = \"any\", depth = \"{width}x{height}@{fps}\", color = \"{width}x{height}@{fps}\" }}"
    );
    let coded = through_camrig(&network, own, |_, _| scene.clone(), "", 1000);
    println!("bench: camrig, default codecs at 1000 Mb/s: {coded:?}");
    if let Ok(folder) = std::env::var(FRAMES) {
        let taken = still(Phases::Spread, format!(", folder = {folder:?}"));
        let coded = through_camrig(&network, own, taken, "", 1000);
        println!("bench: camrig, default codecs at 1000 Mb/s, frames of {FRAMES}: {coded:?}");
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    let mut own = Vec::new();
    test(&mut own, "bench::raw_framesets_beside_a_bare_put_and_subscribe", bench_raw);
    test(&mut own, "bench::framesets_with_the_default_codecs", bench_coded);
    trials.extend(own.into_iter().map(|trial| trial.with_ignored_flag(true)));
}
