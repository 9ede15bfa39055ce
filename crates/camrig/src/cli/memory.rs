//! The upper bound of the shared memory of a rig's framesets, computed from its topology.
//!
//! Every producer has a fixed number of slots, created once. Queued framesets stay in slots; each link state is one page.
//! Memory that processors allocate themselves is not included.

use camrig_frame::{Layout, StreamInfo};
use camrig_ipc::SlotPool;

use crate::driver::DeviceProfile;
use crate::output::largest_frames;
use crate::topology::{ActorSpec, Role, Topology};

/// Size of a link state, of counters, or of a notifier.
const PAGE_BYTES: usize = 4096;

/// Returns the upper bound of a rig's shared memory, in words.
pub(super) fn describe(topology: &Topology) -> String {
    let reads = |id: usize| topology.links().iter().any(|link| link.from.index() == id);
    let is_camera = |actor: &ActorSpec| matches!(actor.role, Role::Camera { .. });
    let actors = topology.actors().iter().enumerate();
    let producers = actors.filter(|&(id, actor)| is_camera(actor) || reads(id));
    let pages = topology.links().len() + topology.actors().len() + topology.processes().len();
    let (mut bytes, mut unknown) = (pages * PAGE_BYTES, Vec::new());
    for (_, actor) in producers {
        match frameset_bytes(actor) {
            Some(frameset) => bytes += SlotPool::size_bytes(actor.slots, frameset),
            None => unknown.push(format!("{} slots of `{}`", actor.slots, actor.name)),
        }
    }
    let known = format!("slots and queues take at most {} KiB of memory", bytes.div_ceil(1024));
    if unknown.is_empty() {
        return known;
    }
    format!("{known}, plus {} whose size depends on the first frameset", unknown.join(", "))
}

/// Returns the maximum size of this actor's framesets; `None` if it depends on the first one.
fn frameset_bytes(actor: &ActorSpec) -> Option<usize> {
    let streams = actor.camera_options.as_ref()?.streams();
    if streams.is_empty() {
        return None;
    }
    let info = |it: DeviceProfile| StreamInfo::with_profile(it.stream, it.format, it.profile);
    let streams: Vec<_> = streams.into_iter().filter_map(info).collect();
    Some(Layout::of(&largest_frames(&streams)).ok()?.size_bytes())
}
