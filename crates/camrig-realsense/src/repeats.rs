//! Decides which messages are logged: each once, and again after a time with the number of repetitions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Interval at which a repeated message is logged.
const INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of different messages that are distinguished.
const MESSAGES_MAX: usize = 256;

/// The messages that were logged.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    seen: BTreeMap<String, Repetition>,
}

#[derive(Debug)]
struct Repetition {
    logged: Instant,
    /// Number of times that it was repeated since.
    times: u64,
}

impl Repeats {
    /// Returns the text to log at `now` for `message` about `subject`; `None` if it was logged shortly before. Messages
    /// that differ in their numbers only are the same.
    pub(crate) fn text(&mut self, subject: &str, message: &str, now: Instant) -> Option<String> {
        let without_numbers = message.replace(|it: char| it.is_ascii_digit(), "0");
        let key = format!("{subject}\n{without_numbers}");
        if self.seen.len() >= MESSAGES_MAX && !self.seen.contains_key(&key) {
            self.seen.clear();
        }
        let text = format!("{subject}: {message}");
        match self.seen.get_mut(&key) {
            None => {
                self.seen.insert(key, Repetition { logged: now, times: 0 });
                Some(text)
            }
            Some(seen) if now.saturating_duration_since(seen.logged) < INTERVAL => {
                seen.times += 1;
                None
            }
            Some(seen) => {
                let times = std::mem::take(&mut seen.times) + 1;
                seen.logged = now;
                Some(if times == 1 { text } else { format!("{text} ({times} times)") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_logged_once_and_then_with_its_number() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        let mut at = |seconds: u64, subject: &str, message: &str| {
            repeats.text(subject, message, start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, "camera `1`", "frame 17 late").as_deref(), Some("camera `1`: frame 17 late"));
        assert_eq!(at(1, "camera `1`", "frame 18 late"), None);
        assert_eq!(at(1, "camera `2`", "frame 18 late").as_deref(), Some("camera `2`: frame 18 late"));
        assert_eq!(at(2, "camera `1`", "another").as_deref(), Some("camera `1`: another"));
        assert_eq!(at(59, "camera `1`", "frame 19 late"), None);
        assert_eq!(
            at(60, "camera `1`", "frame 15 late").as_deref(),
            Some("camera `1`: frame 15 late (3 times)")
        );
        assert_eq!(at(300, "camera `1`", "frame 15 late").as_deref(), Some("camera `1`: frame 15 late"));
    }

    #[test]
    fn the_number_of_messages_is_bounded() {
        let mut repeats = Repeats::default();
        let now = Instant::now();
        let word = |number: usize| "x".repeat(number + 1);
        for number in 0..2 * MESSAGES_MAX {
            assert!(repeats.text("camera", &word(number), now).is_some());
            assert!(repeats.seen.len() <= MESSAGES_MAX);
        }
    }
}
