//! The lines of `stats` about its own matching, where its table has `match`.

use camrig_ipc::{ClockEstimate, MatchCamera, Unmatched};

use crate::matching::MatchStatus;

/// Returns a line for the matches, and one for each camera.
pub(super) fn match_lines(status: &MatchStatus<'_>, rate_hz: Option<f64>) -> String {
    let counts = status.counts;
    let width = status.cameras.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let rate = rate_hz.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let [p50, p99, max] =
        [counts.spread.p50, counts.spread.p99, counts.spread.max].map(|micros| micros as f64 / 1e3);
    let matches = format!(
        "stats: {rate:>5} Hz  {:>7} matches, {} partial  spread {p50:.2}/{p99:.2}/{max:.2} ms (p50/p99/max)\n",
        counts.matches, counts.partial,
    );
    let of_camera = |(name, camera): &(&str, MatchCamera)| {
        let line = format!("stats: {name:<width$}  {:>7} matched  {}", camera.matched, unmatched(camera));
        let epochs = if camera.epochs > 0 { format!("  {} epochs", camera.epochs) } else { String::new() };
        let clock = camera.clock.map(clock).unwrap_or_default();
        format!("{line}{epochs}{clock}\n")
    };
    std::iter::once(matches).chain(status.cameras.iter().map(of_camera)).collect()
}

fn unmatched(camera: &MatchCamera) -> String {
    let of_reason = Unmatched::ALL.iter().zip(camera.unmatched).filter(|&(_, count)| count > 0);
    let reasons: Vec<_> = of_reason.map(|(reason, count)| format!("{reason} {count}")).collect();
    match camera.unmatched.iter().sum::<u64>() {
        0 => "unmatched 0".to_owned(),
        total => format!("unmatched {total} ({})", reasons.join(", ")),
    }
}

fn clock(clock: ClockEstimate) -> String {
    format!(
        "  clock {:.3} ms +- {:.3} behind the host's, {:.1} ppm too fast",
        clock.offset_nanos as f64 / 1e6,
        clock.uncertainty_nanos as f64 / 1e6,
        clock.drift_ppb as f64 / 1e3,
    )
}

#[cfg(test)]
mod tests {
    use camrig_ipc::{Latency, MatchCounts};

    use super::*;

    #[test]
    fn every_count_has_its_place() {
        let clock = ClockEstimate { offset_nanos: 1_234_567, drift_ppb: -40_200, uncertainty_nanos: 12_000 };
        let left = MatchCamera { matched: 300, epochs: 1, clock: Some(clock), ..MatchCamera::default() };
        let right =
            MatchCamera { matched: 299, unmatched: [3, 0, 0, 1, 0, 0, 0, 0], ..MatchCamera::default() };
        let spread = Latency { p50: 4010, p99: 4100, max: 5000 };
        let status = MatchStatus {
            counts: MatchCounts { matches: 300, partial: 1, spread },
            cameras: vec![("left", left), ("right", right)],
        };
        let expected = "\
stats:  29.9 Hz      300 matches, 1 partial  spread 4.01/4.10/5.00 ms (p50/p99/max)
stats: left       300 matched  unmatched 0  1 epochs  clock 1.235 ms +- 0.012 behind the host's, -40.2 ppm too fast
stats: right      299 matched  unmatched 4 (missing 3, late 1)
";
        assert_eq!(match_lines(&status, Some(29.94)), expected);
    }
}
