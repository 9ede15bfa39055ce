//! The bars: the ratios within one run that camrig has to reach, and whether it reaches them.
//!
//! The limits are those of the issue that asked for them and must not be relaxed here: a missed bar is reported as
//! missed.

use std::fmt::Write;

use serde::Serialize;

use crate::candidate::Candidate;
use crate::load::{Load, Pace, Size};
use crate::results::{
    Entry, Metric, Results, cpu_micros, fairness, framesets_per_second, hop_p50_micros, hop_p99_micros,
    memory_bytes, private_bytes, producers_cpu_micros, startup_seconds,
};

/// One bar and its measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) load: Load,
    pub(crate) what: String,
    /// The limit as text.
    pub(crate) limit: String,
    /// `None` when it was not measured.
    pub(crate) measured: Option<f64>,
    pub(crate) met: Option<bool>,
    /// Context for the figure; it does not change `met`.
    pub(crate) note: Option<String>,
}

const MAIN: Load = Load::new(6, Size::LARGE, Pace::Paced);

/// The limit of a figure.
#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

/// Compares one candidate with another under one load, or one load with another of the same candidate.
struct Comparison<'a> {
    load: Load,
    what: &'a str,
    ours: Candidate,
    theirs: Candidate,
    their_load: Load,
    metric: Metric,
    limit: Limit,
}

/// Evaluates all bars.
pub(crate) fn evaluate(results: &Results) -> Vec<Bar> {
    let mut bars: Vec<Bar> = ratios().iter().map(|comparison| comparison.evaluate_ratio(results)).collect();
    bars.extend(scale().iter().map(|comparison| comparison.evaluate_ratio(results)));
    bars.push(drops(results, MAIN));
    bars.push(drops(results, Load::new(1, Size::HUGE, Pace::Paced)));
    bars.extend(hops().iter().map(|comparison| comparison.evaluate_difference(results)));
    bars.push(private(results));
    bars
}

fn ratios() -> Vec<Comparison<'static>> {
    use Candidate::{
        CamrigCopies, CamrigInProcess, CamrigInProcessHeld, CamrigInSlot, CamrigOneThread, Floor, Iceoryx2,
        Iceoryx2InSlot, Memcpy, Naive,
    };
    let compare = |load, what, ours, theirs, metric: Metric, limit| Comparison {
        load,
        what,
        ours,
        theirs,
        their_load: load,
        metric,
        limit,
    };
    let one = |size| Load::new(1, size, Pace::Unpaced);
    let rate: Metric = framesets_per_second;
    let mut comparisons = vec![
        compare(MAIN, "CPU", CamrigCopies, Floor, cpu_micros, AtMost(1.10)),
        compare(MAIN, "CPU", CamrigCopies, Naive, cpu_micros, AtMost(0.27)),
        compare(MAIN, "CPU", CamrigInProcess, Floor, cpu_micros, AtMost(1.03)),
        compare(one(Size::LARGE), "framesets/s", CamrigCopies, Memcpy, rate, AtLeast(0.90)),
        compare(one(Size::MEDIUM), "framesets/s", CamrigCopies, Memcpy, rate, AtLeast(0.78)),
        compare(one(Size::SMALL), "framesets/s", CamrigCopies, Memcpy, rate, AtLeast(0.67)),
        compare(one(Size::LARGE), "framesets/s", CamrigInSlot, Memcpy, rate, AtLeast(1.45)),
    ];
    for load in Load::with_bars() {
        for (ours, theirs) in [
            (CamrigCopies, Iceoryx2),
            (CamrigInSlot, Iceoryx2InSlot),
            (CamrigInProcess, Iceoryx2),
            (CamrigInProcessHeld, Iceoryx2),
        ] {
            comparisons.push(compare(load, "CPU", ours, theirs, cpu_micros, AtMost(0.97)));
            if !load.is_paced() {
                comparisons.push(compare(load, "framesets/s", ours, theirs, rate, AtLeast(1.00)));
            }
        }
        comparisons.push(compare(load, "CPU", CamrigOneThread, Floor, cpu_micros, AtMost(1.02)));
        if load.is_paced() {
            for (what, metric) in [
                ("hop p50", hop_p50_micros as Metric),
                ("hop p99", hop_p99_micros),
                ("memory", memory_bytes),
                ("start-up", startup_seconds),
            ] {
                comparisons.push(compare(load, what, CamrigCopies, Iceoryx2, metric, AtMost(1.00)));
            }
        } else {
            comparisons.push(compare(load, "framesets/s", CamrigOneThread, Floor, rate, AtLeast(0.98)));
        }
    }
    comparisons
}

/// Compares many cameras with few, and many readers with one.
fn scale() -> Vec<Comparison<'static>> {
    use Candidate::{CamrigCopies, CamrigInProcess};
    let compare = |(load, their_load), what, candidate, metric: Metric, limit| Comparison {
        load,
        what,
        ours: candidate,
        theirs: candidate,
        their_load,
        metric,
        limit: AtMost(limit),
    };
    let cameras = |count| Load::new(count, Size::TINY, Pace::Paced);
    let read_by = |readers| Load::new(1, Size::LARGE, Pace::Paced).read_by(readers);
    let mut comparisons = Vec::new();
    for (count, candidate) in
        [24, 64].into_iter().flat_map(|count| [(count, CamrigInProcess), (count, CamrigCopies)])
    {
        comparisons.push(compare((cameras(count), cameras(8)), "CPU", candidate, cpu_micros, 1.20));
    }
    for readers in [8, 16] {
        // 5 % for each reader beside the first.
        let limit = 1.0 + 0.05 * (readers - 1) as f64;
        let loads = (read_by(readers), read_by(1));
        comparisons.push(compare(loads, "producer's CPU", CamrigCopies, producers_cpu_micros, limit));
    }
    comparisons
}

fn hops() -> Vec<Comparison<'static>> {
    use Candidate::{CamrigInProcess, Crossbeam};
    let compare = |what, ours, theirs, metric: Metric, limit| Comparison {
        load: MAIN,
        what,
        ours,
        theirs,
        their_load: MAIN,
        metric,
        limit: AtMost(limit),
    };
    vec![compare("hop p50", CamrigInProcess, Crossbeam, hop_p50_micros, 30.0)]
}

impl Comparison<'_> {
    fn evaluate_ratio(&self, results: &Results) -> Bar {
        let theirs =
            if self.their_load == self.load { self.theirs.to_string() } else { self.their_load.to_string() };
        let words = match self.limit {
            AtMost(limit) => format!("<= {limit:.2} x {theirs}"),
            AtLeast(limit) => format!(">= {limit:.2} x {theirs}"),
        };
        let note = self.fairness_note(results);
        Bar { note, ..self.evaluate(results, words, |ours, theirs| ours / theirs) }
    }

    /// Describes how evenly both serve several cameras where each may choose, and the comparison with iceoryx2 where that
    /// serves all cameras in turn.
    fn fairness_note(&self, results: &Results) -> Option<String> {
        if self.load.is_paced() || self.load.cameras == 1 {
            return None;
        }
        let ours = results.entry(self.load, self.ours)?;
        let theirs = results.entry(self.load, self.theirs)?;
        let in_turn = results.entry(self.load, Candidate::Iceoryx2InTurn)?;
        let [of_ours, of_theirs, of_in_turn] = [ours, theirs, in_turn].map(|entry| entry.median(fairness));
        let ratio = ours.ratio(in_turn, self.metric)?;
        Some(format!(
            "least/most {of_ours:.2} against {of_theirs:.2}; {ratio:.2} x {}, least/most {of_in_turn:.2}",
            Candidate::Iceoryx2InTurn
        ))
    }

    fn evaluate_difference(&self, results: &Results) -> Bar {
        let (AtMost(limit) | AtLeast(limit)) = self.limit;
        let words = format!("at most {limit:.0} us above {}", self.theirs);
        self.evaluate(results, words, |ours, theirs| ours - theirs)
    }

    fn evaluate(&self, results: &Results, words: String, combine: fn(f64, f64) -> f64) -> Bar {
        let ours = results.entry(self.load, self.ours);
        let theirs = results.entry(self.their_load, self.theirs);
        let measured = ours.zip(theirs).and_then(|(ours, theirs)| ours.against(theirs, self.metric, combine));
        let met = measured.map(|measured| match self.limit {
            AtMost(limit) => measured <= limit,
            AtLeast(limit) => measured >= limit,
        });
        let what = format!("{} of {}", self.what, self.ours);
        Bar { load: self.load, what, limit: words, measured, met, note: None }
    }
}

fn drops(results: &Results, load: Load) -> Bar {
    let entry = results.entry(load, Candidate::CamrigCopies);
    let dropped = entry.map(Entry::dropped);
    Bar {
        load,
        what: format!("drops of {}", Candidate::CamrigCopies),
        limit: "0".to_owned(),
        measured: dropped.map(|dropped| dropped as f64),
        met: dropped.map(|dropped| dropped == 0),
        note: None,
    }
}

fn private(results: &Results) -> Bar {
    const LIMIT_MIB: f64 = 6.0;
    let entry = results.entry(MAIN, Candidate::CamrigCopies);
    let mib = entry.map(|entry| entry.median(private_bytes) / f64::from(1 << 20));
    Bar {
        load: MAIN,
        what: format!("private memory of a worker of {}", Candidate::CamrigCopies),
        limit: format!("<= {LIMIT_MIB:.0} MiB"),
        measured: mib,
        met: mib.map(|mib| mib <= LIMIT_MIB),
        note: None,
    }
}

/// Returns one line per bar: met or missed, with the measurement.
pub(crate) fn render(bars: &[Bar]) -> String {
    let mut text = "\nBars\n".to_owned();
    let width = |cell: fn(&Bar) -> usize| bars.iter().map(cell).max().unwrap_or(0);
    let (what_width, limit_width) = (width(|bar| bar.what.len()), width(|bar| bar.limit.len()));
    for Bar { load, what, limit, measured, met, note } in bars {
        let word = match met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not measured",
        };
        let measured = measured.map(|measured| format!("{measured:.2}")).unwrap_or_default();
        let note = note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{load:<16}  {what:<what_width$}  {limit:<limit_width$}  {measured:>8}  {word}{note}"
        );
    }
    text
}
