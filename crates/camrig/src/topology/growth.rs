//! A topology that grows: actors, links and processes of a rig that changes while it runs.
//!
//! Replaced and removed entries stay in the lists, so that an identifier never changes its meaning: a late message about an
//! actor is not mistaken for one about its successor.

use super::{ActorSpec, Diff, LinkSpec, Topology};
use crate::ids::{ActorId, LinkId, ProcessId};

/// The additions of a change to a topology, and the parts that end with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Growth {
    /// New actors: each with its ID in the other topology, and the actor that it replaces.
    pub(crate) joins: Vec<(ActorId, ActorId, Option<ActorId>)>,
    /// Actors that end.
    pub(crate) leaves: Vec<ActorId>,
    /// Actors that the rig has after the change, in the order of the other topology.
    pub(crate) order: Vec<ActorId>,
    /// Links that end.
    pub(crate) ends: Vec<LinkEnd>,
    /// Links that end where another one of the same producer begins.
    pub(crate) replaced: Vec<(LinkId, LinkId)>,
}

/// The end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkEnd {
    pub(crate) link: LinkId,
    /// Whether the producer continues without it.
    pub(crate) producer_continues: bool,
    /// Whether its reader continues with another link.
    pub(crate) reader_goes_on: bool,
}

impl Topology {
    /// Adds everything by which `new` differs. `live` has the actors of this topology that have not left, `is_live` whether
    /// a link has not.
    pub(crate) fn grow(
        &mut self,
        new: &Self,
        diff: &Diff,
        live: &[ActorId],
        is_live: impl Fn(LinkId) -> bool,
    ) -> Growth {
        // Actors that begin from now on get the new text and the new poses. Every field is named, so that none is forgotten.
        let Self {
            source,
            calibration,
            actors: _,
            links: _,
            processes: _,
            commands: _,
            schedulings: _,
            usb: _,
            metrics: _,
            hosts: _,
            probed: _,
            placement: _,
        } = &mut *self;
        source.clone_from(&new.source);
        calibration.clone_from(&new.calibration);
        let mut growth = Growth::default();
        let before: Vec<_> = live.iter().map(|&id| (self.actor(id).name.clone(), id)).collect();
        let live = |name: &str| before.iter().find(|(known, _)| known == name).map(|(_, id)| *id);
        // The actors of `new` in this topology.
        let mut ids = Vec::new();
        for (index, spec) in new.actors.iter().enumerate() {
            let goes_on = diff.unchanged.iter().any(|(_, after)| after.index() == index);
            let known = live(&spec.name);
            if let Some(id) = known.filter(|_| goes_on) {
                let known = &mut self.actors[id.index()];
                known.slots = known.slots.max(spec.slots);
                known.streams.clone_from(&spec.streams);
                known.options.clone_from(&spec.options);
                ids.push(id);
                continue;
            }
            let process = self.add_process(new, spec.process);
            let id = ActorId::new(self.actors.len());
            self.actors.push(ActorSpec { process, ..spec.clone() });
            growth.joins.push((id, ActorId::new(index), known));
            growth.leaves.extend(known);
            ids.push(id);
        }
        let is_removed = |name: &str| new.find(name).is_none();
        growth.leaves.extend(before.iter().filter(|(name, _)| is_removed(name)).map(|(_, id)| *id));
        self.relink(new, &ids, &mut growth, is_live);
        growth.order = ids;
        growth
    }

    /// Releases the options and streams of an actor that has ended: its entry stays.
    pub(crate) fn forget(&mut self, id: ActorId) {
        let ActorSpec { options, streams, matching, .. } = &mut self.actors[id.index()];
        (*options, *streams, *matching) = Default::default();
    }

    /// Returns the process of `new`, which has the same name, command and scheduling here.
    fn add_process(&mut self, new: &Self, process: ProcessId) -> ProcessId {
        let name = new.process(process);
        let (command, scheduling) = (new.command(process), new.scheduling(process));
        // The newest one with this name: another command or scheduling makes another process.
        let known = self.processes.iter().rposition(|known| known == name);
        if let Some(known) =
            known.filter(|_| self.commands.get(name) == command && self.schedulings.get(name) == scheduling)
        {
            return ProcessId::new(known);
        }
        match command {
            Some(command) => self.commands.insert(name.to_owned(), command.clone()),
            None => self.commands.remove(name),
        };
        match scheduling {
            Some(scheduling) => self.schedulings.insert(name.to_owned(), scheduling.clone()),
            None => self.schedulings.remove(name),
        };
        self.processes.push(name.to_owned());
        ProcessId::new(self.processes.len() - 1)
    }

    /// Adds the links of new actors, and ends those of actors that leave. `ids` has the actors of `new` in this topology.
    fn relink(&mut self, new: &Self, ids: &[ActorId], growth: &mut Growth, is_live: impl Fn(LinkId) -> bool) {
        let leaves = |id: ActorId| growth.leaves.contains(&id);
        let successor = |id: ActorId| {
            let joined = growth.joins.iter().find(|(.., before)| *before == Some(id));
            joined.map_or(id, |(joined, ..)| *joined)
        };
        let mut added = Vec::new();
        for link in &new.links {
            let (from, to) = (ids[link.from.index()], ids[link.to.index()]);
            let joins = |id: ActorId| growth.joins.iter().any(|(joined, ..)| *joined == id);
            if joins(from) || joins(to) {
                added.push((LinkId::new(self.links.len() + added.len()), LinkSpec { from, to, ..*link }));
            }
        }
        let (mut ends, mut replaced) = (Vec::new(), Vec::new());
        for (index, spec) in self.links.iter().enumerate() {
            let link = LinkId::new(index);
            if !is_live(link) || !leaves(spec.from) && !leaves(spec.to) {
                continue;
            }
            let follows = |(_, other): &&(LinkId, LinkSpec)| {
                other.from == successor(spec.from) && other.to == successor(spec.to)
            };
            let follower = added.iter().find(follows).map(|(follower, _)| *follower);
            let end = LinkEnd {
                link,
                producer_continues: !leaves(spec.from),
                reader_goes_on: !leaves(spec.to) && follower.is_some(),
            };
            replaced.extend(follower.filter(|_| end.producer_continues).map(|follower| (link, follower)));
            ends.push(end);
        }
        self.links.extend(added.into_iter().map(|(_, spec)| spec));
        (growth.ends, growth.replaced) = (ends, replaced);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    const OLD: &str = "\
        [camera.c]\ndriver = 'synthetic'\n\
        [processor.m]\nkind = 'match'\ninputs = ['c']\nmatch = { window_millis = 9 }\n\
        [processor.v]\nkind = 'verify'\ninputs = ['m']\n";

    const C: ActorId = ActorId(0);
    const M: ActorId = ActorId(1);
    const V: ActorId = ActorId(2);

    fn parse(text: &str) -> Topology {
        Topology::parse("t.toml", text, None, &Registry::new()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn grow(new: &str) -> (Topology, Growth) {
        let (mut grown, new) = (parse(OLD), parse(new));
        let diff = Diff::of(&grown, &new, &[], &[]).unwrap();
        let growth = grown.grow(&new, &diff, &[C, M, V], |_| true);
        (grown, growth)
    }

    fn end(link: u32, producer_continues: bool, reader_goes_on: bool) -> LinkEnd {
        LinkEnd { link: LinkId(link), producer_continues, reader_goes_on }
    }

    #[test]
    fn a_moved_actor_has_a_successor_whose_links_replace_its_own() {
        let (grown, growth) = grow(&OLD.replace("kind = 'match'", "kind = 'match'\nprocess = 'eye'"));
        let moved = ActorId(3);
        assert_eq!(
            growth,
            Growth {
                joins: vec![(moved, M, Some(M))],
                leaves: vec![M],
                order: vec![C, moved, V],
                ends: vec![end(0, true, false), end(1, false, true)],
                replaced: vec![(LinkId(0), LinkId(2))],
            }
        );
        let links: Vec<_> = grown.links()[2..].iter().map(|link| (link.from, link.to)).collect();
        assert_eq!(links, [(C, moved), (moved, V)]);
        assert_eq!(grown.processes(), ["main", "c", "m", "v", "eye"]);
    }

    #[test]
    fn a_new_reader_gets_a_link_and_slots() {
        let more = "[processor.more]\nkind = 'stats'\nprocess = 'v'\ninputs = ['c']\n";
        let slots = parse(OLD).actor(C).slots;
        let (grown, growth) = grow(&format!("{OLD}{more}"));
        assert_eq!((growth.ends.len(), growth.leaves.len()), (0, 0));
        assert_eq!((grown.links().len(), grown.processes().len()), (3, 4));
        assert!(grown.actor(C).slots > slots);
    }

    #[test]
    fn the_links_of_a_removed_actor_end() {
        let (start, _) = OLD.split_once("[processor.v]").unwrap();
        let (grown, growth) = grow(start);
        assert_eq!((growth.leaves, growth.ends), (vec![V], vec![end(1, true, false)]));
        assert_eq!((growth.order, grown.links().len()), (vec![C, M], 2));
    }

    #[test]
    fn a_restarted_camera_gets_its_new_pose() {
        let folder = tempfile::tempdir().unwrap();
        let calibrated = |name: &str, x: f64| {
            let file = folder.path().join(name);
            let text = "version = 1\nroot = 'c'\n[camera.c]\nserial = '1'\nquaternion_xyzw = [0, 0, 0, 1]\n";
            std::fs::write(&file, format!("{text}translation_meters = [{x}, 0, 0]\n")).unwrap();
            parse(&format!("calibration = '{}'\n{OLD}", file.display()))
        };
        let x = |topology: &Topology, id| Some(topology.calibrated(id)?.pose.translation_meters[0]);
        // One that is added, and one in place of another.
        for (mut grown, before) in [(parse(OLD), None), (calibrated("old", 1.0), Some(1.0))] {
            assert_eq!(x(&grown, C), before);
            let new = calibrated("new", 2.0);
            let diff = Diff::of(&grown, &new, &[], &[]).unwrap();
            let growth = grown.grow(&new, &diff, &[C, M, V], |_| true);
            assert_eq!(growth.joins, [(ActorId(3), C, Some(C))]);
            assert_eq!(x(&grown, ActorId(3)), Some(2.0));
        }
    }

    #[test]
    fn another_command_is_another_process() {
        let (grown, growth) = grow(&format!("{OLD}[process.v]\ncommand = ['worker']\n"));
        assert_eq!(growth.joins, [(ActorId(3), V, Some(V))]);
        assert_eq!(grown.processes(), ["main", "c", "m", "v", "v"]);
        assert_eq!(grown.actor(ActorId(3)).process, ProcessId(4));
    }
}
