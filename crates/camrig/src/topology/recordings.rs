//! The timelines of a topology's recordings: framesets that were recorded together play together.
//!
//! This module does not depend on files; times are nanoseconds since 1970.

use std::ops::Range;

/// Returns the timeline of each recording: from the begin of the first to the end of the last of all recordings that
/// overlap each other, directly or by others. `None` for a camera that plays no recording, or one without such times.
pub(super) fn timelines(recordings: &[Option<Range<u64>>]) -> Vec<Option<Range<u64>>> {
    let mut sorted: Vec<_> = recordings.iter().flatten().cloned().collect();
    sorted.sort_by_key(|range| range.start);
    let mut timelines: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match timelines.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => timelines.push(range),
        }
    }
    let timeline_of =
        |range: &Range<u64>| timelines.iter().rfind(|timeline| timeline.start <= range.start).cloned();
    recordings.iter().map(|range| range.as_ref().and_then(timeline_of)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_that_overlap_share_a_timeline() {
        let recordings =
            [Some(100..200), None, Some(20..30), Some(190..400), Some(10..15), Some(5..40), Some(400..400)];
        let expected =
            [Some(100..400), None, Some(5..40), Some(100..400), Some(5..40), Some(5..40), Some(100..400)];
        assert_eq!(timelines(&recordings), expected);
        assert_eq!(timelines(&[None]), [None]);
        // Of another day.
        let apart = [Some(1_000..2_000), Some(86_400_000..86_401_000)];
        assert_eq!(timelines(&apart), apart);
    }
}
