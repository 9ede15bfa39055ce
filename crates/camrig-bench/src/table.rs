//! The table on the terminal: a block per load, a line per candidate, medians over rounds.

use std::fmt::Write;

use crate::candidate::Candidate;
use crate::measure::Sample;
use crate::processes::Sides;
use crate::results::{
    Entry, Metric, Results, cpu_micros, fairness, framesets_per_second, hop_p50_micros, hop_p99_micros,
    memory_bytes, startup_seconds,
};

const MIB: f64 = (1 << 20) as f64;

const LEGEND: &str = "
Medians over rounds; drops are the sum. Least/most: framesets of the least served camera, as a share of those of the
most served one. CPU: microseconds per frameset over all processes. Hop: latency from publishing a frameset until the
reader has it. Private: the largest private memory of a process, without slots and the driver's own data; memory: that
of all processes, each page counted once, without the driver's own data. a / b: producers / readers, per frameset; in
one process there is only one figure. Allocations of producers include the driver's own. System calls include the
driver's one that keeps its pace.
";

/// A column: its heading, and the function for its cells.
type Column = (&'static str, fn(&Results, &Entry) -> String);

const COLUMNS: [Column; 14] = [
    ("framesets/s", |_, entry| format!("{:.1}", entry.median(framesets_per_second))),
    ("least/most", |_, entry| format!("{:.2}", entry.median(fairness))),
    ("drops", |_, entry| entry.dropped().to_string()),
    ("CPU us", |_, entry| format!("{:.0}", entry.median(cpu_micros))),
    ("x floor", |results, entry| ratio(results, entry, Candidate::Floor)),
    ("x iceoryx2", |results, entry| ratio(results, entry, Candidate::Iceoryx2)),
    ("hop p50/p99/max us", hop),
    ("start ms", |_, entry| format!("{:.0}", entry.median(startup_seconds) * 1e3)),
    ("private MiB", |_, entry| {
        sides(entry, 1, |sample| Sides {
            producers: sample.private_bytes.producers as f64 / MIB,
            reader: sample.private_bytes.reader as f64 / MIB,
            supervisor: 0.0,
        })
    }),
    ("shared MiB", |_, entry| format!("{:.0}", entry.median(|sample| sample.shared_bytes as f64 / MIB))),
    ("memory MiB", |_, entry| format!("{:.0}", entry.median(memory_bytes) / MIB)),
    ("faults", |_, entry| sides(entry, 2, |sample| sample.page_faults)),
    ("allocations", |_, entry| sides(entry, 2, |sample| sample.allocations)),
    ("syscalls", |_, entry| match entry.counted.as_ref().and_then(|sample| sample.syscalls) {
        Some(syscalls) => formatted(entry, syscalls.producers, syscalls.reader, 1),
        None => "-".to_owned(),
    }),
];

/// Returns the complete table with its legend.
pub(crate) fn render(results: &Results) -> String {
    let mut text = String::new();
    for &load in &results.loads {
        let mut rows = vec![
            std::iter::once(load.to_string())
                .chain(COLUMNS.map(|(heading, _)| heading.to_owned()))
                .collect::<Vec<_>>(),
        ];
        for entry in results.under(load) {
            let cells = COLUMNS.iter().map(|(_, cell)| cell(results, entry));
            rows.push(std::iter::once(entry.candidate.to_string()).chain(cells).collect());
        }
        text.push('\n');
        text.push_str(&aligned(&rows));
        let busy = crate::results::median(
            results.under(load).map(|entry| entry.median(|sample| sample.others_busy)).collect(),
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "(other work kept {busy:.2} processors busy)");
    }
    text.push_str(LEGEND);
    for what in &results.left_out {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Skipped: {what}");
    }
    text
}

fn ratio(results: &Results, entry: &Entry, other: Candidate) -> String {
    let other = results.entry(entry.load, other);
    let ratio = other.and_then(|other| entry.ratio(other, cpu_micros as Metric));
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn hop(_: &Results, entry: &Entry) -> String {
    if !entry.candidate.has_hop() {
        return "-".to_owned();
    }
    let max = entry.median(|sample| sample.window.hop.max_micros);
    format!("{:.0} / {:.0} / {max:.0}", entry.median(hop_p50_micros), entry.median(hop_p99_micros))
}

fn sides(entry: &Entry, digits: usize, figure: fn(&Sample) -> Sides<f64>) -> String {
    let median = |side: fn(Sides<f64>) -> f64| {
        crate::results::median(entry.samples.iter().map(|sample| side(figure(sample))).collect())
    };
    formatted(entry, median(|sides| sides.producers), median(|sides| sides.reader), digits)
}

fn formatted(entry: &Entry, producers: f64, reader: f64, digits: usize) -> String {
    if entry.candidate.is_one_process() {
        format!("{reader:.digits$}")
    } else {
        format!("{producers:.digits$} / {reader:.digits$}")
    }
}

/// Aligns the columns: names to the left, figures to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}
