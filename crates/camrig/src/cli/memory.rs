//! The upper bound of the shared memory of a rig's framesets, computed from its topology.
//!
//! Every producer has a fixed number of slots, created once. Queued framesets stay in slots; each link state is one page.
//! Memory that processors allocate themselves is not included.

use std::collections::BTreeSet;

use camrig_frame::{DeviceProfile, Layout, StreamInfo};
use camrig_ipc::SlotPool;

use crate::output::largest_frames;
use crate::registry::{KindEntry, Registry};
use crate::topology::{ActorSpec, Role, Topology};

/// Size of a link state, of counters, or of a notifier.
const PAGE_BYTES: usize = 4096;

/// Returns the upper bound of a rig's shared memory, in words.
///
/// # Errors
/// When an input lacks a stream that its reader needs.
pub(super) fn describe(topology: &Topology, registry: &Registry) -> Result<String, String> {
    let reads = |id: usize| topology.links().iter().any(|link| link.from.index() == id);
    let is_camera = |actor: &ActorSpec| matches!(actor.role, Role::Camera { .. });
    let pages = topology.links().len() + topology.actors().len() + topology.processes().len();
    let (mut bytes, mut unknown) = (pages * PAGE_BYTES, Vec::new());
    let declared = declarations(topology, registry)?;
    for (id, (actor, declared)) in topology.actors().iter().zip(&declared).enumerate() {
        if !is_camera(actor) && !reads(id) {
            continue;
        }
        match declared.as_deref().and_then(pool_sizes) {
            Some(sizes) => {
                bytes += sizes.into_iter().map(|size| SlotPool::size_bytes(actor.slots, size)).sum::<usize>();
            }
            None => unknown.push(format!("{} slots of `{}`", actor.slots, actor.name)),
        }
    }
    let known = format!("slots and queues take at most {} KiB of memory", bytes.div_ceil(1024));
    if unknown.is_empty() {
        return Ok(known);
    }
    Ok(format!("{known}, plus {} whose size depends on the first frameset", unknown.join(", ")))
}

/// The streams of each camera whose framesets an actor publishes; `None` when they depend on the first frameset.
type Cameras = Option<Vec<Vec<StreamInfo>>>;

/// Returns what each actor declares, in the order of the actors.
///
/// # Errors
/// When an input lacks a stream that its reader needs.
fn declarations(topology: &Topology, registry: &Registry) -> Result<Vec<Cameras>, String> {
    let actors = topology.actors();
    let mut declared: Vec<Option<Cameras>> = vec![None; actors.len()];
    // A topology has no cycle: each round completes at least one actor.
    while declared.iter().any(Option::is_none) {
        for (id, actor) in actors.iter().enumerate() {
            let inputs = topology.links().iter().filter(|link| link.to.index() == id);
            let inputs: Option<Vec<_>> = inputs.map(|link| declared[link.from.index()].clone()).collect();
            let (None, Some(inputs)) = (&declared[id], inputs) else { continue };
            declared[id] = Some(match &actor.role {
                Role::Camera { .. } => camera_streams(actor).map(|streams| vec![streams]),
                Role::Processor { kind } => {
                    let names = topology.links().iter().filter(|link| link.to.index() == id);
                    let names = names.map(|link| actors[link.from.index()].name.as_str());
                    match registry.kind(kind) {
                        Some(kind) => derived(&actor.name, kind.as_ref(), names.zip(inputs))?,
                        None => None,
                    }
                }
            });
        }
    }
    Ok(declared.into_iter().map(Option::flatten).collect())
}

/// Returns the streams of a camera; `None` if they depend on the first frameset.
fn camera_streams(actor: &ActorSpec) -> Option<Vec<StreamInfo>> {
    let streams = actor.camera_options.as_ref()?.streams();
    let info = |it: DeviceProfile| StreamInfo::with_profile(it.stream, it.format, it.profile);
    streams.into_iter().map(info).collect::<Option<Vec<_>>>().filter(|streams| !streams.is_empty())
}

/// Returns what a processor declares for its inputs.
fn derived<'t>(
    name: &str,
    kind: &dyn KindEntry,
    inputs: impl Iterator<Item = (&'t str, Cameras)>,
) -> Result<Cameras, String> {
    let mut all = Some(Vec::new());
    for (input, cameras) in inputs {
        let Some(cameras) = cameras else {
            all = None;
            continue;
        };
        for streams in cameras {
            let declared = kind.declare(&streams);
            let declared = declared.map_err(|what| format!("`{name}` cannot read `{input}`: {what}"))?;
            all = all.zip(declared).map(|(mut all, declared)| {
                all.push(declared);
                all
            });
        }
    }
    Ok(all)
}

/// Returns the sizes of the pools that an actor may have at once: a larger frameset needs a new one.
fn pool_sizes(cameras: &[Vec<StreamInfo>]) -> Option<BTreeSet<usize>> {
    let size = |streams: &Vec<StreamInfo>| Some(Layout::of(&largest_frames(streams)).ok()?.size_bytes());
    cameras.iter().map(size).collect()
}
