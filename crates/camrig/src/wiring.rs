//! From a topology to the parts of each process: ledgers, channels and bells are made here, once.
//!
//! It deliberately starts nothing: parts go to hosts, and what the supervisor keeps sees every count.

use std::sync::Arc;

use camrig_ipc::{Bell, Ledger, Tally};
use ipc_channel::ipc::channel;

use crate::control::{ActorPart, Part};
use crate::topology::{LinkSpec, Topology};

/// What the supervisor keeps of a rig: every count, whoever lives or dies.
pub(crate) struct Rig {
    /// By actor.
    pub(crate) tallies: Vec<Tally>,
    /// By link.
    pub(crate) links: Vec<RigLink>,
}

/// A link as the supervisor sees it.
pub(crate) struct RigLink {
    pub(crate) ledger: Ledger,
    /// Wakes the reader when it is in another process than the producer.
    bell: Option<Arc<Bell>>,
}

impl RigLink {
    /// In the place of a producer that died: nothing more will come.
    pub(crate) fn end(&self) {
        self.ledger.end();
        self.bell.iter().for_each(|bell| bell.ring());
    }
}

/// A rig and the parts of each of its processes, by process.
pub(crate) struct Wiring {
    pub(crate) rig: Rig,
    pub(crate) parts: Vec<Vec<Part>>,
}

/// Makes everything that the actors of a topology are connected with.
///
/// # Errors
/// When the system has no descriptors left.
pub(crate) fn wire(topology: &Topology, framesets: Option<u64>) -> std::io::Result<Wiring> {
    let mut parts: Vec<Vec<Part>> = topology.processes().iter().map(|_| Vec::new()).collect();
    let mut rig = Rig { tallies: Vec::new(), links: Vec::new() };
    for (id, actor) in topology.actors().iter().enumerate() {
        let tally = Tally::new();
        parts[actor.process].push(Part::Actor(ActorPart {
            id: id as u32,
            name: actor.name.clone(),
            role: actor.role.clone(),
            options: actor.options.clone(),
            slots: actor.slots,
            framesets,
            tally: tally.share(),
        }));
        rig.tallies.push(tally);
    }
    let mut bells: Vec<Option<Arc<Bell>>> = topology.processes().iter().map(|_| None).collect();
    for link in topology.links() {
        let (from, to) = (topology.actor(link.from), topology.actor(link.to));
        let ledger = Ledger::new();
        let bell = if from.process == to.process {
            parts[to.process].push(local(link, &ledger));
            None
        } else {
            let bell = bells[to.process].get_or_insert_with(|| {
                let bell = Bell::new();
                parts[to.process].push(Part::Inbox(bell.share()));
                Arc::new(bell)
            });
            let (announcements, heard) = channel()?;
            parts[from.process].push(Part::Output {
                from: link.from.0 as u32,
                ledger: ledger.share(),
                bell: bell.share(),
                announcements,
                overflow: link.overflow,
                queue: link.queue,
            });
            parts[to.process].push(Part::Input {
                from: from.name.clone(),
                to: link.to.0 as u32,
                ledger: ledger.share(),
                announcements: heard,
            });
            Some(Arc::clone(bell))
        };
        rig.links.push(RigLink { ledger, bell });
    }
    Ok(Wiring { rig, parts })
}

fn local(link: &LinkSpec, ledger: &Ledger) -> Part {
    Part::Local {
        from: link.from.0 as u32,
        to: link.to.0 as u32,
        ledger: ledger.share(),
        overflow: link.overflow,
        queue: link.queue,
    }
}
