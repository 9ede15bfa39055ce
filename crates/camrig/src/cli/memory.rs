//! The upper bound of the shared memory of a rig's framesets, computed from its topology.
//!
//! Every producer has a fixed number of slots, created once. Queued framesets stay in slots; each link state is one page.
//! Memory that processors allocate themselves is not included.

use std::collections::BTreeSet;

use camrig_frame::{Layout, StreamInfo};
use camrig_ipc::{SlotPool, page_bytes};

use crate::output::largest_frames;
use crate::topology::{ActorSpec, PublishedStreams, Role, Topology};

/// Returns the upper bound of a rig's shared memory, as text.
pub(super) fn describe(topology: &Topology) -> String {
    let Bound { bytes, unknown } = bound(topology);
    let known = format!("slots and queues take at most {} KiB of memory", bytes.div_ceil(1024));
    if unknown.is_empty() {
        return known;
    }
    format!("{known}, plus {} whose size depends on the first frameset", unknown.join(", "))
}

/// The upper bound of a rig's shared memory.
pub(super) struct Bound {
    pub(super) bytes: usize,
    /// Slots whose size depends on the first frameset, as text; they are not included.
    pub(super) unknown: Vec<String>,
}

/// Returns the upper bound of a rig's shared memory.
pub(super) fn bound(topology: &Topology) -> Bound {
    let reads = |id: usize| topology.links().iter().any(|link| link.from.index() == id);
    let is_camera = |actor: &ActorSpec| matches!(actor.role, Role::Camera { .. });
    let pages = topology.links().len() + topology.actors().len() + topology.processes().len();
    // A page for each link state, for the counters of each actor, and for each notifier.
    let (mut bytes, mut unknown) = (pages * page_bytes(), Vec::new());
    for (id, actor) in topology.actors().iter().enumerate() {
        if !is_camera(actor) && !reads(id) {
            continue;
        }
        let sizes = match &actor.streams {
            PublishedStreams::Unknown => None,
            PublishedStreams::Nothing => Some(BTreeSet::new()),
            PublishedStreams::Cameras(cameras) => pool_sizes(cameras),
        };
        match sizes {
            Some(sizes) => {
                bytes += sizes.into_iter().map(|size| SlotPool::size_bytes(actor.slots, size)).sum::<usize>();
            }
            None => unknown.push(format!("{} slots of `{}`", actor.slots, actor.name)),
        }
    }
    Bound { bytes, unknown }
}

/// Returns the bytes that the cameras of a rig send in a second, as far as their streams are known.
pub(super) fn bytes_per_second(topology: &Topology) -> u64 {
    let of_stream = |stream: &StreamInfo| stream.payload.size_bytes() * u64::from(stream.frames_per_second);
    let of_actor = |actor: &ActorSpec| match (&actor.role, &actor.streams) {
        (Role::Camera { .. }, PublishedStreams::Cameras(cameras)) => {
            cameras.iter().flatten().map(of_stream).sum()
        }
        _ => 0,
    };
    topology.actors().iter().map(of_actor).sum()
}

/// Returns the sizes of the pools that an actor may have at the same time: a larger frameset needs a new one.
fn pool_sizes(cameras: &[Vec<StreamInfo>]) -> Option<BTreeSet<usize>> {
    let size = |streams: &Vec<StreamInfo>| Some(Layout::of(&largest_frames(streams)).ok()?.size_bytes());
    cameras.iter().map(size).collect()
}
