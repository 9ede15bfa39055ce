//! Detects a stream that is silent while other streams of its camera continue.
//!
//! Times are those of the frames: without frames of any stream nothing is decided, since a camera that delivers nothing at
//! all is the supervisor's concern. This module depends on no output and no counters.

use std::time::Duration;

use camrig_frame::{Stream, StreamInfo};

/// Number of intervals of a slow stream after which it counts as silent at the earliest.
const INTERVALS: u64 = 3;

/// The times of a camera's streams.
#[derive(Debug)]
pub(crate) struct Silence {
    streams: Vec<WatchedStream>,
    /// When the first frame of any stream arrived.
    began_nanos: Option<u64>,
}

/// A stream with the time of its last frame.
#[derive(Debug)]
struct WatchedStream {
    stream: Stream,
    limit_nanos: u64,
    last_nanos: Option<u64>,
}

impl Silence {
    /// Watches `streams`: each may be silent for `timeout`, or for three intervals of its rate if that is longer.
    pub(crate) fn new(streams: &[StreamInfo], timeout: Duration) -> Self {
        let watched = |info: &StreamInfo| {
            let intervals = INTERVALS * 1_000_000_000 / u64::from(info.frames_per_second.max(1));
            let limit_nanos = (timeout.as_nanos() as u64).max(intervals);
            WatchedStream { stream: info.stream, limit_nanos, last_nanos: None }
        };
        Self { streams: streams.iter().map(watched).collect(), began_nanos: None }
    }

    /// Forgets all times.
    pub(crate) fn begin_again(&mut self) {
        self.began_nanos = None;
        self.streams.iter_mut().for_each(|watched| watched.last_nanos = None);
    }

    /// Notes a frame of the stream at `index`.
    pub(crate) fn note(&mut self, index: usize, now_nanos: u64) {
        self.began_nanos.get_or_insert(now_nanos);
        if let Some(watched) = self.streams.get_mut(index) {
            watched.last_nanos = Some(now_nanos);
        }
    }

    /// Returns the first stream, and its index, that has been silent for its limit while another one delivered frames.
    pub(crate) fn silent(&self) -> Option<(usize, Stream)> {
        let newest = self.streams.iter().filter_map(|watched| watched.last_nanos).max()?;
        let since = |watched: &WatchedStream| watched.last_nanos.or(self.began_nanos).unwrap_or(newest);
        let is_silent =
            |watched: &WatchedStream| newest.saturating_sub(since(watched)) >= watched.limit_nanos;
        let index = self.streams.iter().position(is_silent)?;
        Some((index, self.streams[index].stream))
    }
}

#[cfg(test)]
mod tests {
    use camrig_frame::PixelFormat;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Watches depth at 30 Hz and color at one frame a second.
    fn silence() -> Silence {
        let info =
            |stream, format, profile: &str| StreamInfo::image(stream, format, profile.parse().unwrap());
        let depth = info(Stream::DEPTH, PixelFormat::Z16, "4x4@30");
        let color = info(Stream::COLOR, PixelFormat::Rgb8, "4x4@1");
        Silence::new(&[depth, color], Duration::from_secs(2))
    }

    #[test]
    fn a_stream_that_never_comes_is_silent_since_the_first_frame() {
        let mut silence = silence();
        assert_eq!(silence.silent(), None);
        silence.note(0, 10 * SECOND);
        silence.note(0, 13 * SECOND - 1);
        // Three intervals of color are longer than the time-out.
        assert_eq!(silence.silent(), None);
        silence.note(0, 13 * SECOND);
        assert_eq!(silence.silent(), Some((1, Stream::COLOR)));
    }

    #[test]
    fn a_stream_that_stops_is_silent_since_its_last_frame() {
        let mut silence = silence();
        silence.note(0, 10 * SECOND);
        silence.note(1, 11 * SECOND);
        assert_eq!(silence.silent(), None);
        silence.note(1, 12 * SECOND);
        assert_eq!(silence.silent(), Some((0, Stream::DEPTH)));
        silence.note(0, 12 * SECOND);
        assert_eq!(silence.silent(), None);
    }

    #[test]
    fn streams_that_start_again_have_not_been_silent_before() {
        let mut silence = silence();
        silence.note(0, 10 * SECOND);
        silence.note(1, 10 * SECOND);
        silence.begin_again();
        silence.note(1, 60 * SECOND);
        assert_eq!(silence.silent(), None);
        silence.note(1, 62 * SECOND);
        assert_eq!(silence.silent(), Some((0, Stream::DEPTH)));
    }

    #[test]
    fn a_camera_of_which_nothing_comes_has_no_silent_stream() {
        let mut silence = silence();
        silence.note(0, SECOND);
        silence.note(1, SECOND);
        assert_eq!(silence.silent(), None);
    }
}
