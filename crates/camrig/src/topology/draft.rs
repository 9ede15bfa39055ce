//! The tables of actors as the file has them, before their names are resolved.

use std::time::Duration;

use camrig_ipc::Overflow;
use toml::Spanned;

use super::section::Options;
use super::{RestartPolicy, Role, Span};
use crate::matching::MatchClock;

/// The table of one actor.
pub(super) struct Draft {
    pub(super) name: String,
    /// The location of its name in the file.
    pub(super) span: Span,
    pub(super) role: Role,
    pub(super) process: Option<String>,
    /// The host that it is on; `None` for that where the rig is started.
    pub(super) host: Option<Spanned<String>>,
    pub(super) thread: Option<String>,
    pub(super) slots: Option<usize>,
    pub(super) restart: RestartPolicy,
    pub(super) stall_timeout: Option<Duration>,
    pub(super) start_timeout: Option<Duration>,
    pub(super) inputs: Vec<Spanned<String>>,
    /// The streams whose codec between hosts it sets.
    pub(super) wire: Vec<Spanned<String>>,
    pub(super) overflow: Overflow,
    /// Its place in the file.
    pub(super) queue: Option<usize>,
    pub(super) matching: Option<MatchDraft>,
    /// Number of framesets of each input that it may keep.
    pub(super) keeps: usize,
    pub(super) options: Options,
}

impl Draft {
    pub(super) fn host_name(&self) -> Option<&str> {
        self.host.as_ref().map(|host| host.get_ref().as_str())
    }
}

/// The key `match` of a processor.
pub(super) struct MatchDraft {
    pub(super) span: Span,
    pub(super) window_millis: usize,
    /// `None` for all cameras.
    pub(super) wait: Option<Vec<Spanned<String>>>,
    pub(super) partial: bool,
    /// `None` if the file does not set it.
    pub(super) clock: Option<MatchClock>,
    pub(super) queue: usize,
}
