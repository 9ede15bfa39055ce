//! The stock processor `stats`: count, rate, latency and losses of each camera's framesets, by the actor that publishes them.
//!
//! It counts the framesets that it receives, and reads drops and latencies from the link states of its inputs, and the
//! results of its `match`, if any. It uses no clock: rates and report times are based on the arrival times of the
//! framesets, so that the same framesets always give the same lines. While no framesets arrive, nothing is printed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Stdout, Write};

use camrig_frame::{Stream, StreamInfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::match_lines::match_lines;
use super::sources::{Source, Sources};
use crate::console::Lines;
use crate::frameset::FrameSet;
use crate::output::{InputLinkStatus, ProcessorOutput};
use crate::processor::{Declared, Processor, ProcessorError};

/// The options of `stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// Time between two reports, on the clock of the arrivals; 0 reports at the end only.
    #[schemars(extend("x-unit" = "s"))]
    every_seconds: Interval,
    /// Also prints a line for each stream of a camera.
    streams: bool,
}

/// The time between two reports, on the clock of the arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
#[schemars(with = "f64")]
enum Interval {
    /// Reports at the end only.
    Never,
    /// Reports after this number of nanoseconds, at least [`Interval::SECONDS`]'s lower bound.
    Nanos(u64),
}

impl Interval {
    /// The default, in nanoseconds: a second.
    const DEFAULT: Self = Self::Nanos(1_000_000_000);

    /// From the frame interval of the fastest stream to one day.
    const SECONDS: std::ops::RangeInclusive<f64> = 0.001..=86_400.0;
}

impl Default for Interval {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// In seconds, as in topologies.
impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(match self {
            Self::Never => 0.0,
            Self::Nanos(nanos) => *nanos as f64 / 1e9,
        })
    }
}

impl TryFrom<f64> for Interval {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        if seconds == 0.0 {
            return Ok(Self::Never);
        }
        if !Self::SECONDS.contains(&seconds) {
            let (shortest, longest) = (Self::SECONDS.start(), Self::SECONDS.end());
            return Err(format!(
                "`every_seconds` is {seconds}; choose {shortest} to {longest}, or 0 for the end only"
            ));
        }
        Ok(Self::Nanos((seconds * 1e9) as u64))
    }
}

/// Prints a line per camera at each interval, with the rate since the previous line, and at the end, with the rate of
/// the whole run. All other values are totals of the run.
pub(crate) struct Stats<W = Stdout> {
    interval: Interval,
    /// Arrival time that triggers the next report, after the first arrival.
    due_nanos: Option<u64>,
    sources: Sources<Arrived>,
    prints_streams: bool,
    /// Number and time of the matches of the last report.
    matches_reported: Option<Arrival>,
    lines: Lines<W>,
}

impl Stats {
    pub(crate) fn new(options: Options) -> Self {
        Self::printing_to(Lines::new(), options)
    }
}

impl<W: Write> Stats<W> {
    fn printing_to(lines: Lines<W>, options: Options) -> Self {
        let interval = options.every_seconds;
        Self {
            interval,
            due_nanos: None,
            sources: Sources::new(),
            prints_streams: options.streams,
            matches_reported: None,
            lines,
        }
    }

    /// Counts a frameset. Returns true if a report is due.
    fn count(&mut self, frames: &FrameSet) -> bool {
        let arrival_nanos = frames.arrival_nanos();
        let mut is_first = false;
        let arrived = self.sources.of(frames, || {
            is_first = true;
            Arrived { framesets: Arrivals::new(1, arrival_nanos), streams: BTreeMap::new() }
        });
        if !is_first {
            arrived.framesets.count(1, arrival_nanos);
        }
        if self.prints_streams {
            arrived.count_streams(frames);
        }
        let Interval::Nanos(interval) = self.interval else { return false };
        let due = *self.due_nanos.get_or_insert(arrival_nanos.saturating_add(interval));
        let Some(late) = arrival_nanos.checked_sub(due) else { return false };
        // Aligned with the first arrival, and without a report for each interval of a long pause.
        self.due_nanos = Some((arrival_nanos - late % interval).saturating_add(interval));
        true
    }

    fn print(&mut self, output: &ProcessorOutput, at_end: bool) -> Result<(), ProcessorError> {
        let rate = if at_end { Arrivals::rate_of_run } else { Arrivals::rate_since_report };
        let links: Vec<_> = output.inputs().collect();
        let has_link = |camera: &str| links.iter().any(|link| link.from == camera);
        let named = self.sources.iter().map(|source| {
            let is_shared = has_link(&source.camera) || self.sources.share(&source.camera);
            (source.name(is_shared), source)
        });
        let named: Vec<_> = named.collect();
        let mut report = render(&rows(&named, &links, rate));
        for (name, source) in &named {
            report += &source.value.stream_lines(name, rate);
        }
        if let Some(matching) = output.matching() {
            report += &match_lines(&matching, self.rate_of_matches(matching.counts.matches, at_end));
        }
        Ok(self.lines.print(&report)?)
    }

    /// Returns the matches per second since the last report, or of the whole run.
    fn rate_of_matches(&mut self, matches: u64, at_end: bool) -> Option<f64> {
        let all = || self.sources.iter().map(|source| &source.value.framesets);
        let first = all().map(|arrivals| arrivals.first.nanos).min()?;
        let last = all().map(|arrivals| arrivals.last.nanos).max()?;
        let now = Arrival { number: matches, nanos: last };
        let from_start = Arrival { number: 0, nanos: first };
        let reported = self.matches_reported.replace(now);
        rate_hz(if at_end { from_start } else { reported.unwrap_or(from_start) }, now)
    }
}

impl<W: Write + 'static> Processor for Stats<W> {
    /// Declares no streams: it publishes nothing.
    fn declare(_: &[StreamInfo]) -> Declared {
        Ok(Some(Vec::new()))
    }

    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if self.count(frames) {
            self.print(output, false)?;
            self.sources.values_mut().for_each(Arrived::note_report);
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        self.print(output, true)
    }
}

/// What has arrived of one camera, from one producer.
struct Arrived {
    framesets: Arrivals,
    /// The frames of each stream; empty unless they are printed.
    streams: BTreeMap<Stream, Arrivals>,
}

impl Arrived {
    /// Counts the frames of a frameset.
    fn count_streams(&mut self, frames: &FrameSet) {
        for header in &frames.header().frames {
            let (numbers, nanos) = (header.numbers(), frames.arrival_nanos());
            match self.streams.get_mut(&header.stream) {
                Some(arrivals) => arrivals.count(numbers, nanos),
                None => drop(self.streams.insert(header.stream, Arrivals::new(numbers, nanos))),
            }
        }
        // Streams that have not arrived are shown too.
        for info in &frames.info().streams {
            self.streams.entry(info.stream).or_insert_with(|| Arrivals::new(0, frames.arrival_nanos()));
        }
    }

    fn note_report(&mut self) {
        self.framesets.note_report();
        self.streams.values_mut().for_each(Arrivals::note_report);
    }

    /// Returns the line of each stream: its rate, its frames, and the time from its last frame to the last frameset.
    fn stream_lines(&self, name: &str, rate: fn(&Arrivals) -> Option<f64>) -> String {
        let line = |(stream, arrivals): (&Stream, &Arrivals)| {
            let age = match arrivals.last.number {
                0 => "-".to_owned(),
                _ => format!(
                    "{:.1}",
                    self.framesets.last.nanos.saturating_sub(arrivals.last.nanos) as f64 / 1e6
                ),
            };
            let rate = rate(arrivals).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
            format!("stats: {name}/{stream}  {rate} Hz  {} frames  age {age} ms\n", arrivals.last.number)
        };
        self.streams.iter().map(line).collect()
    }
}

/// Arrival times of framesets, or of frames of a stream.
struct Arrivals {
    first: Arrival,
    /// The last arrival of the last report, if any.
    reported: Option<Arrival>,
    last: Arrival,
}

/// The `number`-th one, from 1.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Arrival {
    number: u64,
    nanos: u64,
}

impl Arrivals {
    fn new(number: u64, nanos: u64) -> Self {
        let first = Arrival { number, nanos };
        Self { first, reported: None, last: first }
    }

    fn count(&mut self, number: u64, nanos: u64) {
        // Two paths from the same camera may deliver its framesets out of order.
        self.last = Arrival { number: self.last.number + number, nanos: nanos.max(self.last.nanos) };
    }

    fn note_report(&mut self) {
        self.reported = Some(self.last);
    }

    /// Returns the framesets per second since the last report; `None` after only one arrival.
    fn rate_since_report(&self) -> Option<f64> {
        match self.reported {
            Some(reported) if reported == self.last => Some(0.0),
            reported => rate_hz(reported.unwrap_or(self.first), self.last),
        }
    }

    /// Returns the framesets per second from the first arrival to the last; `None` after only one arrival.
    fn rate_of_run(&self) -> Option<f64> {
        rate_hz(self.first, self.last)
    }
}

fn rate_hz(from: Arrival, to: Arrival) -> Option<f64> {
    let seconds = (to.nanos - from.nanos) as f64 / 1e9;
    (seconds > 0.0).then(|| (to.number - from.number) as f64 / seconds)
}

/// The values of one line.
struct Row<'a> {
    name: Cow<'a, str>,
    rate_hz: Option<f64>,
    framesets: u64,
    link: Option<&'a InputLinkStatus<'a>>,
}

/// Returns a row for each input link, so that a camera that never delivers is visible, followed by one for each camera
/// that arrives through another processor, whose link states are not available here.
fn rows<'a>(
    sources: &[(Cow<'a, str>, &'a Source<Arrived>)],
    links: &'a [InputLinkStatus<'a>],
    rate: fn(&Arrivals) -> Option<f64>,
) -> Vec<Row<'a>> {
    let is_of = |source: &Source<Arrived>, link: &InputLinkStatus<'_>| {
        source.is_camera() && source.camera == link.from
    };
    let of_link = |link: &'a InputLinkStatus<'a>| {
        let arrivals = sources.iter().find(|(_, source)| is_of(source, link));
        let arrivals = arrivals.map(|(_, source)| &source.value.framesets);
        let framesets = arrivals.map_or(link.counts.delivered, |arrivals| arrivals.last.number);
        Row { name: link.from.into(), rate_hz: arrivals.and_then(rate), framesets, link: Some(link) }
    };
    let passed_on = sources.iter().filter(|(_, source)| !links.iter().any(|link| is_of(source, link)));
    let passed_on = passed_on.map(|(name, source)| {
        let arrivals = &source.value.framesets;
        Row { name: name.clone(), rate_hz: rate(arrivals), framesets: arrivals.last.number, link: None }
    });
    links.iter().map(of_link).chain(passed_on).collect()
}

/// Formats the rows as lines with aligned columns.
fn render(rows: &[Row<'_>]) -> String {
    let latencies: Vec<_> = rows.iter().map(|row| row.link.map_or_else(String::new, latency)).collect();
    let names_width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let latencies_width = latencies.iter().map(String::len).max().unwrap_or(0);
    let line = |(row, latency): (&Row<'_>, &String)| {
        let rate = row.rate_hz.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
        let line = format!(
            "stats: {:<names_width$}  {rate:>5} Hz  {:>7} framesets  {latency:<latencies_width$}  {}",
            row.name,
            row.framesets,
            row.link.map_or_else(String::new, dropped),
        );
        format!("{}\n", line.trim_end())
    };
    rows.iter().zip(&latencies).map(line).collect()
}

fn latency(link: &InputLinkStatus<'_>) -> String {
    if link.counts.delivered == 0 {
        return "latency -".to_owned();
    }
    let [p50, p99, max] =
        [link.latency.p50, link.latency.p99, link.latency.max].map(|micros| micros as f64 / 1e3);
    format!("latency {p50:.2}/{p99:.2}/{max:.2} ms (p50/p99/max)")
}

fn dropped(link: &InputLinkStatus<'_>) -> String {
    let of_reason = crate::DropReason::ALL.iter().zip(link.counts.dropped).filter(|&(_, count)| count > 0);
    let reasons: Vec<_> = of_reason.map(|(reason, count)| format!("{reason} {count}")).collect();
    match link.counts.dropped.iter().sum::<u64>() {
        0 => "dropped 0".to_owned(),
        total => format!("dropped {total} ({})", reasons.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use camrig_frame::PixelFormat;
    use camrig_ipc::{DropReason, LinkState};

    use super::*;
    use crate::matching::{MatchClock, MatchSpec, MatchStats, MatchedCamera, Matching};
    use crate::testing::{self, TestCamera};

    const MILLIS: u64 = 1_000_000;

    fn camera(name: &str) -> TestCamera {
        TestCamera::new(name, &[(Stream::DEPTH, PixelFormat::Z16, "1x1@30")])
    }

    fn stats(options: &str) -> Stats<Vec<u8>> {
        Stats::printing_to(Lines::to(Vec::new()), toml::from_str(options).unwrap())
    }

    /// Returns the output since the previous call.
    fn printed(stats: &mut Stats<Vec<u8>>) -> String {
        String::from_utf8(std::mem::take(&mut stats.lines.out)).unwrap()
    }

    fn deliver(
        stats: &mut Stats<Vec<u8>>,
        output: &mut ProcessorOutput,
        camera: &mut TestCamera,
        arrival_nanos: u64,
    ) {
        let frames = camera.frameset(arrival_nanos, &[&[1, 0]]);
        camera.link_state().count_delivered(Duration::from_micros(250));
        stats.process(&frames, output).unwrap();
    }

    #[test]
    fn streams_have_a_rate_and_an_age() {
        let color = (Stream::COLOR, PixelFormat::Y8, "2x1@30");
        let mut front = TestCamera::new("front", &[(Stream::DEPTH, PixelFormat::Z16, "1x1@30"), color]);
        let mut stats = stats("every_seconds = 0\nstreams = true");
        let mut output = testing::output("stats", &[("front", front.link_state())]);
        for index in 0..11 {
            let frames = front.frameset(5 + index * 100 * MILLIS, &[&[1, 0], &[1, 0]]);
            stats.process(&frames, &mut output).unwrap();
        }
        stats.finish(&mut output).unwrap();
        let lines = printed(&mut stats);
        let streams: Vec<_> = lines.lines().filter(|line| line.starts_with("stats: front/")).collect();
        assert_eq!(
            streams,
            [
                "stats: front/color  10.0 Hz  11 frames  age 0.0 ms",
                "stats: front/depth  10.0 Hz  11 frames  age 0.0 ms",
            ]
        );
    }

    #[test]
    fn the_end_reports_the_complete_run_of_each_camera() {
        let (mut front, mut left) = (camera("front"), camera("left"));
        let silent = Arc::new(LinkState::new().unwrap());
        let inputs = [("front", front.link_state()), ("left", left.link_state()), ("rear-camera", &silent)];
        let mut output = testing::output("stats", &inputs);
        let mut stats = stats("every_seconds = 0");
        for index in 0..301 {
            deliver(&mut stats, &mut output, &mut front, 5 + index * 100_000 * MILLIS / 3000);
        }
        deliver(&mut stats, &mut output, &mut left, 7);
        for reason in [DropReason::NoSlot, DropReason::DropOldest, DropReason::NoSlot] {
            silent.count_produced();
            silent.count_dropped(reason);
        }
        assert_eq!(printed(&mut stats), "");
        stats.finish(&mut output).unwrap();
        let expected = "\
stats: front         30.0 Hz      301 framesets  latency 0.25/0.25/0.25 ms (p50/p99/max)  dropped 0
stats: left             - Hz        1 framesets  latency 0.25/0.25/0.25 ms (p50/p99/max)  dropped 0
stats: rear-camera      - Hz        0 framesets  latency -                                \
       dropped 3 (no-slot 2, drop-oldest 1)
";
        assert_eq!(printed(&mut stats), expected);
    }

    #[test]
    fn a_report_comes_with_the_first_arrival_after_each_interval() {
        let (mut front, mut left) = (camera("front"), camera("left"));
        let mut output =
            testing::output("stats", &[("front", front.link_state()), ("left", left.link_state())]);
        let mut stats = stats("every_seconds = 0.1");
        for millis in [0, 20, 40, 60, 80] {
            deliver(&mut stats, &mut output, &mut front, millis * MILLIS);
            deliver(&mut stats, &mut output, &mut left, millis * MILLIS);
        }
        assert_eq!(printed(&mut stats), "");
        deliver(&mut stats, &mut output, &mut front, 100 * MILLIS);
        let rest = "latency 0.25/0.25/0.25 ms (p50/p99/max)  dropped 0\n";
        let lines =
            |front: &str, left: &str| format!("stats: front  {front}  {rest}stats: left   {left}  {rest}");
        assert_eq!(printed(&mut stats), lines(" 50.0 Hz        6 framesets", " 50.0 Hz        5 framesets"));

        // A stopped camera is at 0 Hz; a pause of several intervals is followed by one report.
        deliver(&mut stats, &mut output, &mut front, 550 * MILLIS);
        deliver(&mut stats, &mut output, &mut front, 599 * MILLIS);
        assert_eq!(printed(&mut stats), lines("  2.2 Hz        7 framesets", "  0.0 Hz        5 framesets"));
        deliver(&mut stats, &mut output, &mut front, 600 * MILLIS);
        assert_eq!(printed(&mut stats), lines(" 40.0 Hz        9 framesets", "  0.0 Hz        5 framesets"));

        stats.finish(&mut output).unwrap();
        assert_eq!(printed(&mut stats), lines(" 13.3 Hz        9 framesets", " 50.0 Hz        5 framesets"));
    }

    #[test]
    fn a_camera_that_another_processor_passes_on_has_a_line_of_its_own() {
        let mut front = camera("front");
        let filter = Arc::new(LinkState::new().unwrap());
        let mut output = testing::output("stats", &[("filter", &filter)]);
        let mut stats = stats("");
        for millis in [0, 500] {
            filter.count_produced();
            filter.count_delivered(Duration::from_millis(10));
            deliver(&mut stats, &mut output, &mut front, millis * MILLIS);
        }
        stats.finish(&mut output).unwrap();
        let expected = "\
stats: filter      - Hz        2 framesets  latency 10.00/10.00/10.00 ms (p50/p99/max)  dropped 0
stats: front     2.0 Hz        2 framesets
";
        assert_eq!(printed(&mut stats), expected);
    }

    #[test]
    fn a_camera_and_a_processor_that_passes_it_on_are_counted_by_themselves() {
        let mut front = camera("front");
        let (mut filter, filtered) = testing::output_with_reader("filter", &[]);
        let link = Arc::new(LinkState::new().unwrap());
        let inputs = [("front", front.link_state()), ("filter", &link)];
        let mut output = testing::output("stats", &inputs);
        let mut stats = stats("every_seconds = 0\nstreams = true");
        for index in 0..5 {
            let frames = front.frameset(index * 500 * MILLIS, &[&[1, 0]]);
            if index % 2 == 0 {
                filter.forward(&frames).unwrap();
                stats.process(&filtered.take().unwrap(), &mut output).unwrap();
            }
            stats.process(&frames, &mut output).unwrap();
        }
        stats.finish(&mut output).unwrap();
        let expected = "\
stats: front           2.0 Hz        5 framesets  latency -  dropped 0
stats: filter            - Hz        0 framesets  latency -  dropped 0
stats: filter/front    1.0 Hz        3 framesets
stats: filter/front/depth  1.0 Hz  3 frames  age 0.0 ms
stats: front/depth  2.0 Hz  5 frames  age 0.0 ms
";
        assert_eq!(printed(&mut stats), expected);
    }

    #[test]
    fn its_own_matching_has_lines_too() {
        let (mut front, mut left) = (camera("front"), camera("left"));
        let inputs = [("front", front.link_state()), ("left", left.link_state())];
        let camera = |name: &str| MatchedCamera {
            name: name.into(),
            input: name.into(),
            awaited: true,
            required: true,
        };
        let spec = MatchSpec {
            window_nanos: 10 * MILLIS,
            partial: false,
            clock: MatchClock::System,
            queue: 2,
            blocks: true,
            cameras: vec![camera("front"), camera("left")],
        };
        let match_stats = Arc::new(MatchStats::new(&spec).unwrap());
        let mut output = testing::output_with_matching("stats", &inputs, &match_stats);
        let mut matching = Matching::new(spec, match_stats);
        let mut stats = stats("every_seconds = 0");
        for millis in [0, 500, 1000] {
            deliver(&mut stats, &mut output, &mut front, millis * MILLIS);
            matching.push(front.frameset(millis * MILLIS, &[&[1, 0]])).unwrap();
            matching.push(left.frameset((millis + 3) * MILLIS, &[&[1, 0]])).unwrap();
            while matching.next().is_some() {}
        }
        stats.finish(&mut output).unwrap();
        let printed = printed(&mut stats);
        let lines: Vec<_> = printed.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "stats:   2.0 Hz        2 matches, 0 partial  spread 3.00/3.00/3.00 ms (p50/p99/max)",
                "stats: front        2 matched  unmatched 0",
                "stats: left         2 matched  unmatched 0",
            ]
        );
    }

    #[test]
    fn a_full_output_is_no_error() {
        let output = testing::output("stats", &[("front", &Arc::new(LinkState::new().unwrap()))]);
        let mut stats = Stats::printing_to(Lines::to(&mut [][..]), Options::default());
        stats.print(&output, true).unwrap();
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let parse = |text: &str| toml::from_str::<Options>(text);
        assert_eq!(parse("").unwrap().every_seconds, Interval::Nanos(1_000_000_000));
        assert_eq!(parse("every_seconds = 2").unwrap().every_seconds, Interval::Nanos(2_000_000_000));
        assert_eq!(parse("every_seconds = 0.0").unwrap().every_seconds, Interval::Never);
        for (value, shown) in [("-1", "-1"), ("nan", "NaN"), ("inf", "inf"), ("0.0001", "0.0001")] {
            assert_eq!(
                parse(&format!("every_seconds = {value}")).unwrap_err().message(),
                format!("`every_seconds` is {shown}; choose 0.001 to 86400, or 0 for the end only"),
            );
        }
        assert!(parse("every = 1").unwrap_err().message().starts_with("unknown field `every`"));
    }
}
