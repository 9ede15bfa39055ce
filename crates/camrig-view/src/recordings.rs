//! The recordings of the rig: those that run, and those that have ended since the server started.
//!
//! The status of a rig has no sizes of recordings. So this reads the names of their files from the topology, and reads their
//! sizes: the recorders are on this machine.

use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, SystemTime};

use camrig::toml;
use camrig_status::control::{self, Answer, Request};
use camrig_status::{ActorStatus, ChangeReport, RigStatus};
use serde::Serialize;

/// The kind of the processors that record.
const KIND: &str = "record";

/// The maximum number of recordings shown; the oldest ones that have ended are left out.
const RECORDINGS_MAX: usize = 16;

/// The maximum number of files of a recording whose sizes are read.
const FILES_MAX: u32 = 1000;

/// A recording, as a page shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RecordingStatus {
    /// Its number among those of the page: a recorder's name may be used again.
    pub(crate) number: u64,
    /// The recorder.
    pub(crate) actor: String,
    pub(crate) inputs: Vec<String>,
    /// The path of the first file; of a recording without a file yet, the path that it will have.
    pub(crate) file: String,
    /// The size of all its files, in bytes; `None` before there is one.
    pub(crate) bytes: Option<u64>,
    /// The time from the creation of the first file to the last change of the last one.
    pub(crate) seconds: Option<f64>,
    /// Framesets that reached it.
    pub(crate) delivered: u64,
    /// Framesets that were dropped on their way to it.
    pub(crate) dropped: u64,
    /// Whether the recorder has left the rig, or has ended.
    pub(crate) ended: bool,
    /// Its last error; empty without one.
    pub(crate) error: String,
}

/// The recordings known, oldest first.
#[derive(Default)]
pub(crate) struct Recordings {
    known: Vec<Known>,
    next_number: u64,
    /// Whether a status was seen: recorders of later ones are new.
    looked: bool,
    /// The newest change of the rig whose recorders are known.
    last_change: Option<ChangeReport>,
}

struct Known {
    /// The file that the topology names; a recorder never overwrites one, so its own may have a number.
    named: PathBuf,
    /// Its files changed after this time.
    since: SystemTime,
    /// Whether a later recorder has its name.
    closed: bool,
    status: RecordingStatus,
}

impl Recordings {
    pub(crate) fn all(&self) -> Vec<RecordingStatus> {
        self.known.iter().map(|known| known.status.clone()).collect()
    }

    /// Returns the recordings by a newer status of the rig whose status socket is `rig`, without blocking the caller's
    /// thread.
    pub(crate) async fn updated(mut self, rig: &str, status: RigStatus) -> Self {
        let rig = rig.to_owned();
        let task = tokio::task::spawn_blocking(move || {
            self.update(&status, || topology_of(&rig));
            self
        });
        task.await.unwrap_or_default()
    }

    fn update(&mut self, status: &RigStatus, topology: impl FnOnce() -> Option<String>) {
        let is_recorder = |actor: &&ActorStatus| actor.kind == KIND;
        let is_last = |change: &&ChangeReport| Some(*change) == self.last_change.as_ref();
        let later = status.changes.iter().rev().take_while(|change| self.looked && !is_last(change));
        let later: Vec<_> = later.collect();
        // An ended recording stays as it is: a recorder of the same name makes another one, also in place of one that ran
        // at the last status.
        let is_new = |actor: &&ActorStatus| {
            let mut own = self.known.iter().filter(|known| known.status.actor == actor.name).peekable();
            own.peek().is_none()
                || !actor.state.has_ended() && own.all(|known| known.status.ended)
                || later.iter().any(|change| change.begins(&actor.name))
        };
        let added: Vec<_> = status.actors.iter().filter(is_recorder).filter(is_new).collect();
        let topology = if added.is_empty() { Some(String::new()) } else { topology() };
        if let Some(topology) = topology {
            let age = if self.looked { 0.0 } else { status.seconds };
            let since = SystemTime::now() - Duration::try_from_secs_f64(age).unwrap_or_default();
            for actor in added {
                let new = Known::of(&actor.name, self.next_number, &topology, since);
                let before = self.known.iter_mut().filter(|known| known.status.actor == actor.name);
                before.for_each(|known| known.close(new.as_ref()));
                self.known.extend(new);
                self.next_number += 1;
            }
            self.last_change = status.changes.last().cloned();
        }
        self.looked = true;
        self.known.iter_mut().for_each(|known| known.update(status));
        while self.known.len() > RECORDINGS_MAX
            && let Some(oldest) = self.known.iter().position(|known| known.status.ended)
        {
            self.known.remove(oldest);
        }
    }
}

impl Known {
    /// Returns the recording of an actor of this topology.
    fn of(actor: &str, number: u64, topology: &str, since: SystemTime) -> Option<Self> {
        let topology: toml::Table = topology.parse().ok()?;
        let table = topology.get("processor")?.get(actor)?;
        let named = absolute(table.get("options")?.get("file")?.as_str()?).ok()?;
        let inputs = table.get("inputs").and_then(toml::Value::as_array).into_iter().flatten();
        let status = RecordingStatus {
            number,
            actor: actor.to_owned(),
            inputs: inputs.filter_map(|input| Some(input.as_str()?.to_owned())).collect(),
            file: named.display().to_string(),
            bytes: None,
            seconds: None,
            delivered: 0,
            dropped: 0,
            ended: false,
            error: String::new(),
        };
        Some(Self { named, since, closed: false, status })
    }

    fn update(&mut self, rig: &RigStatus) {
        let status = &mut self.status;
        let actor = rig.actors.iter().find(|actor| actor.name == status.actor);
        let has_left = actor.is_none_or(|actor| !actor.state.has_ended());
        if self.closed || status.ended && has_left {
            return;
        }
        status.ended = actor.is_none_or(|actor| actor.state.has_ended());
        if let Some(actor) = actor {
            status.error.clone_from(&actor.error);
            let links = rig.links.iter().filter(|link| link.to == status.actor);
            (status.delivered, status.dropped) = links
                .map(|link| (link.delivered, link.dropped_sum()))
                .fold((0, 0), |sum, link| (sum.0 + link.0, sum.1 + link.1));
        }
        self.look_at_files();
    }

    /// Notes that `later` has the name of its recorder, which may have run until now.
    fn close(&mut self, later: Option<&Self>) {
        // The next file of the same name is that of the later one.
        if !self.status.ended && later.is_none_or(|later| later.named != self.named) {
            self.look_at_files();
        }
        (self.closed, self.status.ended) = (true, true);
    }

    fn look_at_files(&mut self) {
        let status = &mut self.status;
        let files = files_of(&self.named, self.since);
        if let Some(first) = files.first() {
            status.file = first.path.display().to_string();
            status.bytes = Some(files.iter().map(|file| file.bytes).sum());
            let end = files.iter().map(|file| file.changed).max();
            status.seconds = end.and_then(|end| Some(end.duration_since(first.created).ok()?.as_secs_f64()));
        }
    }
}

struct File {
    path: PathBuf,
    bytes: u64,
    created: SystemTime,
    changed: SystemTime,
}

/// Returns the files of a recording: `NAME.mcap`, `NAME-2.mcap` and so on, without those that did not change
/// after a time.
fn files_of(named: &Path, since: SystemTime) -> Vec<File> {
    let stem = named.with_extension("").display().to_string();
    let path = |number| match number {
        1 => named.to_owned(),
        number => PathBuf::from(format!("{stem}-{number}.mcap")),
    };
    let look = |path: PathBuf| {
        let data = path.metadata().ok()?;
        let changed = data.modified().ok()?;
        Some(File { bytes: data.len(), created: data.created().unwrap_or(since), changed, path })
    };
    (1..=FILES_MAX).map_while(|number| look(path(number))).filter(|file| file.changed >= since).collect()
}

/// Returns the topology that runs, if the rig whose status socket is `rig` answers.
fn topology_of(rig: &str) -> Option<String> {
    match control::ask(rig, &Request::Topology) {
        Ok(Answer::Topology { text, .. }) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use camrig_status::{ActorState, DropReason, LinkStatus};

    use super::*;

    fn rig(recorder: bool) -> RigStatus {
        let actor = ActorStatus {
            name: "rec".to_owned(),
            kind: KIND.to_owned(),
            state: ActorState::Running,
            ..ActorStatus::default()
        };
        let link = LinkStatus {
            to: "rec".to_owned(),
            delivered: 7,
            dropped: [(DropReason::DropOldest, 2)].into(),
            ..LinkStatus::default()
        };
        RigStatus {
            actors: if recorder { vec![actor] } else { Vec::new() },
            links: if recorder { vec![link.clone(), link] } else { Vec::new() },
            ..RigStatus::default()
        }
    }

    #[test]
    fn a_recording_is_followed_to_its_end_in_its_own_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let topology = format!(
            "[processor.rec]\nkind = \"record\"\ninputs = [\"left\", \"right\"]\noptions = {{ file = \"{}\" }}\n",
            file("x.mcap").display()
        );
        let mut recordings = Recordings::default();
        // The rig does not answer at first.
        recordings.update(&rig(true), || None);
        assert!(recordings.all().is_empty());
        // An older recording has the name: the recorder takes the next one.
        fs::write(file("x.mcap"), "older").unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(file("x.mcap")).unwrap().set_modified(old).unwrap();
        recordings.update(&rig(true), || Some(topology));
        let mut expected = RecordingStatus {
            number: 0,
            actor: "rec".to_owned(),
            inputs: vec!["left".to_owned(), "right".to_owned()],
            file: file("x.mcap").display().to_string(),
            bytes: None,
            seconds: None,
            delivered: 14,
            dropped: 4,
            ended: false,
            error: String::new(),
        };
        assert_eq!(recordings.all(), [expected.clone()]);
        let later = SystemTime::now() + Duration::from_secs(10);
        for (name, content) in [("x-2.mcap", "new"), ("x-3.mcap", "newer")] {
            fs::write(file(name), content).unwrap();
            fs::File::options().write(true).open(file(name)).unwrap().set_modified(later).unwrap();
        }
        recordings.update(&rig(false), || panic!("no recorder is new"));
        let mut all = recordings.all();
        let seconds = all[0].seconds.take().unwrap();
        assert!((9.0..20.0).contains(&seconds), "{seconds} s");
        (expected.file, expected.bytes, expected.ended) =
            (file("x-2.mcap").display().to_string(), Some(8), true);
        assert_eq!(all, [expected]);
    }

    #[test]
    fn a_recorder_whose_name_is_used_again_makes_another_recording() {
        let topology = |file: &str| format!("[processor.rec]\noptions = {{ file = \"/nowhere/{file}\" }}\n");
        let mut recordings = Recordings::default();
        for file in ["one.mcap", "two.mcap"] {
            recordings.update(&rig(true), || Some(topology(file)));
            recordings.update(&rig(true), || panic!("no recorder is new"));
            recordings.update(&rig(false), || panic!("no recorder is new"));
        }
        let found: Vec<_> =
            recordings.all().into_iter().map(|it| (it.number, it.file, it.delivered, it.ended)).collect();
        let expected = |number, file: &str| (number, format!("/nowhere/{file}"), 14, true);
        assert_eq!(found, [expected(0, "one.mcap"), expected(1, "two.mcap")]);
        // One that has ended in its place is not another one; its file may still get its end.
        let mut finished = rig(true);
        finished.actors[0].state = ActorState::Finished;
        finished.links[0].delivered = 8;
        recordings.update(&finished, || panic!("no recorder is new"));
        assert_eq!(recordings.all().iter().map(|it| it.delivered).collect::<Vec<_>>(), [14, 15]);
    }

    #[test]
    fn a_recorder_that_was_replaced_between_two_statuses_makes_another_recording() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let topology =
            |name: &str| format!("[processor.rec]\noptions = {{ file = \"{}\" }}\n", file(name).display());
        let change = |seconds: f64, line: &str| ChangeReport {
            seconds,
            changes: vec!["add processor `other` in process `main`".to_owned(), line.to_owned()],
            ..ChangeReport::default()
        };
        let restart = "restart processor `rec`: option `file` \"one.mcap\" -> \"two.mcap\"";
        let mut recordings = Recordings::default();
        let mut status = rig(true);
        // Changes before the first status are those of earlier recorders.
        status.changes.push(change(1.0, restart));
        recordings.update(&status, || Some(topology("one.mcap")));
        status.changes.push(change(2.0, "restart processor `recorder`: as requested"));
        recordings.update(&status, || panic!("no recorder is new"));
        fs::write(file("one.mcap"), "older").unwrap();
        let later = SystemTime::now() + Duration::from_secs(10);
        fs::File::options().write(true).open(file("one.mcap")).unwrap().set_modified(later).unwrap();
        status.changes.push(change(3.0, restart));
        // The rig does not answer at first.
        recordings.update(&status, || None);
        recordings.update(&status, || Some(topology("two.mcap")));
        recordings.update(&status, || panic!("no recorder is new"));
        let found = recordings.all().into_iter().map(|it| (it.number, it.file, it.bytes, it.ended));
        let path = |name: &str| file(name).display().to_string();
        let expected = [(0, path("one.mcap"), Some(5), true), (1, path("two.mcap"), None, false)];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        // It may have ended before it is seen.
        status.changes.push(change(4.0, restart));
        status.actors[0].state = ActorState::Finished;
        recordings.update(&status, || Some(topology("three.mcap")));
        assert_eq!(recordings.all().iter().filter(|it| it.ended).count(), 3);
    }
}
