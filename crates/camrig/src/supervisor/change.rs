//! A change of a running rig: the request, its errors, and the links and actors that changes have ended.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;

use camrig_status::{ChangeReport, MatchingStatus};

use crate::ids::{ActorId, LinkId};
use crate::report::{ActorReport, LinkReport};
use crate::topology::{Problems, Topology};

/// A topology for a running rig.
pub(crate) struct ChangeRequest {
    pub(crate) topology: Topology,
    /// Names of actors to restart although nothing differs.
    pub(crate) restarts: Vec<String>,
    /// Names of cameras whose devices have the options by which they differ.
    pub(crate) sets: Vec<String>,
    /// Lines about changes that the topologies do not show.
    pub(crate) notes: Vec<String>,
    /// Origin of the request.
    pub(crate) by: String,
    /// Takes the answer: immediately if nothing changes, otherwise when the change has been carried out.
    pub(crate) answer: SyncSender<Result<Vec<String>, ChangeError>>,
}

/// An error of changing a running rig.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Problems of the topology; the rig was not changed.
    #[error("{0}")]
    Problems(Problems),
    /// The rig was not changed.
    #[error("{0}")]
    Refused(String),
    /// The rig was changed, but an actor that began does not work.
    #[error("the rig was changed, but {0}")]
    Failed(String),
    /// The rig has ended.
    #[error("the rig has ended")]
    Over,
}

/// A change that is being carried out.
pub(super) struct Pending {
    pub(super) leaves: Vec<ActorId>,
    pub(super) joins: Vec<ActorId>,
    pub(super) changes: Vec<String>,
    pub(super) answer: SyncSender<Result<Vec<String>, ChangeError>>,
}

/// The links and actors that changes have ended.
#[derive(Default)]
pub(super) struct Left {
    pub(super) changes: Vec<ChangeReport>,
    pub(super) actors: Vec<ActorReport>,
    pub(super) links: Vec<LinkReport>,
    pub(super) matching: Vec<MatchingStatus>,
    /// Actors without a successor that have not been released.
    pub(super) leaving: Vec<ActorId>,
    /// Actors with a successor that have not been released.
    pub(super) replaced: Vec<ActorId>,
    /// When links began that were not there from the start.
    pub(super) began: BTreeMap<LinkId, f64>,
    pub(super) pending: Option<Pending>,
    /// Whether running actors have not got all parts of their links.
    pub(super) unsent: bool,
    /// Whether it was logged that these cannot be sent.
    pub(super) unsent_logged: bool,
}

impl Left {
    /// Returns the second of the run in which a change began the link.
    pub(super) fn began_seconds(&self, link: LinkId) -> Option<f64> {
        self.began.get(&link).copied()
    }
}
