//! A link as the supervisor sees it: its counts, its ends, and the parts that their processes get.

use std::io;
use std::sync::Arc;

use camrig_ipc::protocol::{Announcement, LinkStart};
use camrig_ipc::{Absence, Deaths, LinkState, Notifier, Receiver, Sender, channel};

use crate::control::{Part, WorkerCommand};
use crate::ids::LinkId;
use crate::topology::{LinkEnd, LinkSpec};

/// The supervisor's view of a link.
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub(crate) struct RigLink {
    pub(crate) link_state: Arc<LinkState>,
    /// The ends that have died, until the link state is settled.
    deaths: Deaths,
    /// Whether the link had ended when its producer's process died: framesets produced since are on the link that follows.
    ended_before: bool,
    /// Absence of the reader's process that died last.
    absence: Absence,
    /// Whether the running process of the producer, or both actors, have their part.
    producer_sent: bool,
    reader_sent: bool,
    /// The link that ends where this one begins.
    replaces: Option<LinkId>,
    /// Whether a change has ended the link in place of its producer, which continues.
    unlinked: bool,
    /// Whether a change ends the link.
    leaves: bool,
    /// Whether another link between actors with the same names replaces it.
    pub(crate) is_followed: bool,
    /// Whether the link was released: its counts are in a report.
    pub(crate) is_gone: bool,
    /// `None` for a link within one process, and after its release.
    remote: Option<Box<Remote>>,
}

/// Additional state of a link between two processes.
pub(super) struct Remote {
    /// Wakes the reader's process.
    notifier: Arc<Notifier>,
    announcements: Sender<Announcement>,
    /// The reader's end; `None` once it has been sent to the reader's process.
    receiver: Option<Receiver<Announcement>>,
}

impl Remote {
    /// Creates the channel of a link whose reader's process waits on this notifier.
    pub(super) fn new(notifier: Arc<Notifier>) -> io::Result<Self> {
        let (announcements, receiver) = channel()?;
        Ok(Self { notifier, announcements, receiver: Some(receiver) })
    }
}

impl RigLink {
    /// Creates a link whose ends have not got their parts. It begins where `replaces` ends.
    pub(super) fn new(link_state: Arc<LinkState>, replaces: Option<LinkId>, remote: Option<Remote>) -> Self {
        Self {
            link_state,
            deaths: Deaths::default(),
            ended_before: false,
            absence: Absence::default(),
            producer_sent: false,
            reader_sent: false,
            replaces,
            unlinked: false,
            leaves: false,
            is_followed: false,
            is_gone: false,
            remote: remote.map(Box::new),
        }
    }

    /// Marks the end of the link in place of a producer that cannot.
    pub(crate) fn end(&self) {
        self.link_state.end();
        self.remote.iter().for_each(|remote| remote.notifier.notify());
    }

    /// Adds the parts of the ends that a process has not got. Returns the command for the process of a running producer if
    /// the reader was replaced.
    pub(super) fn wire(
        &mut self,
        spec: &LinkSpec,
        ends: &Ends<'_>,
        parts: &mut Vec<Part>,
    ) -> io::Result<Option<WorkerCommand>> {
        if self.remote.is_none() {
            let sent = self.producer_sent || self.unlinked || ends.from == End::Ended;
            if !sent && (ends.from == End::Here || ends.to == End::Here) {
                parts.push(self.local_part(spec, ends)?);
                self.producer_sent = true;
            }
            return Ok(None);
        }
        if ends.from == End::Here && !self.producer_sent && !self.unlinked {
            parts.extend(self.output_part(spec, ends)?);
            self.producer_sent = true;
        }
        if ends.to != End::Here || self.reader_sent {
            return Ok(None);
        }
        // Before the channel is renewed, which would otherwise not be announced to the producer.
        let link_state = self.link_state.share().map_err(io::Error::other)?;
        let relink = self.renew_reader(ends)?;
        let receiver = self.remote.as_mut().and_then(|remote| remote.receiver.take());
        let from = ends.producer.to_owned();
        parts.extend(receiver.map(|announcements| Part::Input {
            from,
            to: spec.to,
            link_state,
            announcements,
        }));
        self.reader_sent = true;
        Ok(relink)
    }

    /// Returns which ends have got their parts: that of the producer, and that of the reader.
    pub(super) fn sent(&self) -> [bool; 2] {
        [self.producer_sent, self.reader_sent]
    }

    /// Notes that the ends have not got the parts that were created since `sent`.
    pub(super) fn take_back(&mut self, [producer_sent, reader_sent]: [bool; 2]) {
        self.producer_sent = producer_sent;
        if self.reader_sent && !reader_sent {
            // Its end of the channel was in its part.
            self.reader_died();
        }
    }

    /// Creates the part of a link within the process. A producer continues to count for a reader that has ended.
    fn local_part(&self, spec: &LinkSpec, ends: &Ends<'_>) -> io::Result<Part> {
        if ends.to != End::Ended {
            self.link_state.set_reader_back(self.absence);
        }
        Ok(Part::Local {
            link: ends.id,
            from: spec.from,
            producer: ends.producer.to_owned(),
            to: (ends.to != End::Ended).then_some(spec.to),
            link_state: self.link_state.share().map_err(io::Error::other)?,
            overflow: spec.overflow,
            queue: spec.queue,
            joining: self.joining(ends),
        })
    }

    fn joining(&self, ends: &Ends<'_>) -> LinkStart {
        LinkStart { replaces: self.replaces, slots: ends.slots }
    }

    /// Creates the part of the producer's process.
    fn output_part(&self, spec: &LinkSpec, ends: &Ends<'_>) -> io::Result<Option<Part>> {
        let Some(remote) = &self.remote else { return Ok(None) };
        let part = Part::Output {
            from: spec.from,
            link: ends.id,
            link_state: self.link_state.share().map_err(io::Error::other)?,
            notifier: remote.notifier.share().map_err(io::Error::other)?,
            announcements: remote.announcements.clone(),
            overflow: spec.overflow,
            queue: spec.queue,
            joining: self.joining(ends),
        };
        // A running reader receives this producer's announcements. Its absence would have ended with the
        // relink of the previous producer, which may have crashed before it.
        if ends.to == End::There {
            self.link_state.set_reader_back(self.absence);
        }
        Ok(Some(part))
    }

    /// Creates another channel if the reader's end of the previous one was lost with its process, and returns the
    /// command that announces it to a running producer.
    fn renew_reader(&mut self, ends: &Ends<'_>) -> io::Result<Option<WorkerCommand>> {
        let Some(remote) = self.remote.as_mut().filter(|remote| remote.receiver.is_none()) else {
            return Ok(None);
        };
        let (announcements, receiver) = channel()?;
        remote.announcements = announcements.clone();
        remote.receiver = Some(receiver);
        if ends.from == End::There {
            return Ok(Some(WorkerCommand::Relink { link: ends.id, announcements, absence: self.absence }));
        }
        // The next instance of the producer announces everything first.
        self.link_state.set_reader_back(self.absence);
        Ok(None)
    }

    /// Notes that a change ends the link, in place of its producer if that continues.
    pub(crate) fn leave(&mut self, end: LinkEnd) {
        self.leaves = true;
        self.unlinked = end.producer_continues;
        if end.reader_goes_on {
            self.link_state.set_continues();
        } else {
            self.link_state.set_reader_leaves();
        }
    }

    /// Returns whether a change ends the link, or has ended it.
    pub(crate) fn leaves(&self) -> bool {
        self.leaves
    }

    /// Returns whether everything on a link that a change ends has been delivered or dropped.
    pub(crate) fn is_over(&self) -> bool {
        self.leaves && !self.is_gone && !self.has_deaths() && self.link_state.ended() && {
            let counts = self.link_state.counts();
            counts.in_flight == 0
        }
    }

    /// Returns whether an end has died and the link state is not settled.
    pub(crate) fn has_deaths(&self) -> bool {
        self.deaths != Deaths::default()
    }

    /// Returns whether the reader has died, or its part was lost, and the link state is not settled: another reader would
    /// lose what it takes.
    pub(super) fn has_lost_reader(&self) -> bool {
        self.deaths.reader
    }

    /// Notes that the producer's process has ended.
    pub(crate) fn producer_died(&mut self) {
        if !self.deaths.producer {
            self.ended_before = self.link_state.ended();
        }
        self.deaths.producer = true;
        self.producer_sent = false;
        if self.unlinked {
            self.end();
        }
    }

    /// Notes that the reader's process has ended: nothing more is queued for it, and its successor uses another
    /// channel.
    pub(crate) fn reader_died(&mut self) {
        self.deaths.reader = true;
        self.reader_sent = false;
        self.absence = self.link_state.set_reader_away();
        if let Some(remote) = &mut self.remote {
            remote.receiver = None;
        }
    }

    /// Releases the memory of a link that is over: `blank` replaces its counts.
    pub(super) fn forget(&mut self, blank: Arc<LinkState>) {
        (self.link_state, self.remote, self.is_gone) = (blank, None, true);
    }

    /// Settles the link state after an end has died, or leaves it for a later attempt. `produced` is the number of
    /// framesets produced.
    pub(crate) fn settle(&mut self, produced: u64) {
        let produced = if self.ended_before { 0 } else { produced };
        if self.link_state.settle(self.deaths, produced) {
            self.deaths = Deaths::default();
        }
    }
}

/// The ends of a link relative to a process.
pub(super) struct Ends<'a> {
    pub(super) id: LinkId,
    /// The producer's name.
    pub(super) producer: &'a str,
    /// The producer's slots.
    pub(super) slots: usize,
    pub(super) from: End,
    pub(super) to: End,
}

/// Location of the actor at the end of a link, relative to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In this process.
    Here,
    /// In another process that accepts commands.
    There,
    /// Not begun, or in a process that does not accept commands.
    Later,
    Ended,
}
