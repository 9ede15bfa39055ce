//! A producer gone wild in a running rig: somebody writes nonsense into the memory that its process shares. Its
//! reader refuses it, counts it and closes this link; nobody else notices.
//!
//! `camrig-ipc/src/reader/wild.rs` has every kind of nonsense, for a reader alone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal};

use crate::harness::{Placement, Plan, Rig};
use crate::test;

/// Of `front`; no word of its link states stands for a later one.
const SLOTS: usize = 16;

/// Framesets that wait for `victim`.
const QUEUE: usize = 2;

fn topology() -> String {
    format!(
        "[camera.front]\ndriver = 'pattern'\nslots = {SLOTS}\noptions = {{ pause_millis = 1 }}\n\
         [camera.rear]\ndriver = 'pattern'\noptions = {{ pause_millis = 1 }}\n\
         [processor.victim]\nkind = 'count'\ninputs = ['front', 'rear']\noverflow = 'drop-newest'\n\
         queue = {QUEUE}\noptions = {{ beat = 10 }}\n\
         [processor.pulse]\nkind = 'count'\nprocess = 'main'\ninputs = ['front', 'rear']\noverflow = 'block'\n\
         options = {{ beat = 10 }}\n"
    )
}

/// What is written where it should not be.
#[derive(Clone, Copy, Debug)]
enum Nonsense {
    Index,
    Generation,
    Sequence,
    Header,
    Height,
    Format,
}

/// Where a link state has its words, one for each slot: 2 bits of state, of which 1 is queued, 16 of the pool's
/// generation, and the sequence number.
const WORDS_AT: u64 = 192;

/// What a slot has before its pixels.
const HEADER_BYTES: u64 = 4096;

/// Width, height and bytes of a row of a frame in its header; the byte before them is its format.
const SIZES: [u8; 3] = [64, 48, 128];

/// The shared memory that a process has a descriptor of, by its inode: its size and that descriptor.
fn memories(pid: Pid) -> BTreeMap<u64, (u64, File)> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap().flatten();
    let memories = descriptors.map(|descriptor| descriptor.path()).filter_map(|path| {
        let target = fs::read_link(&path).ok()?;
        target.to_string_lossy().starts_with("/memfd:").then_some(())?;
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        let metadata = file.metadata().ok()?;
        Some((metadata.ino(), (metadata.len(), file)))
    });
    memories.collect()
}

fn worker(rig: &Rig, process: &str) -> Pid {
    rig.children().into_iter().find(|worker| worker.process == process).expect("it is there").pid
}

/// The link state of the link from `front` to `victim`, and the pool of `front`: beside the notifier, all the memory that
/// the two share.
fn link_state_and_pool(rig: &Rig) -> ((u64, File), (u64, File)) {
    let victim = memories(worker(rig, "victim"));
    let shared = memories(worker(rig, "front")).into_iter().filter(|(inode, _)| victim.contains_key(inode));
    let mut shared: Vec<(u64, File)> = shared.map(|(_, memory)| memory).collect();
    shared.sort_by_key(|(bytes, _)| *bytes);
    let (pool, link_state) = (shared.pop().expect("a pool"), shared.pop().expect("a link_state"));
    assert_eq!(
        shared.len(),
        1,
        "a notifier, beside a link_state of {} bytes and a pool of {}",
        link_state.0,
        pool.0
    );
    (link_state, pool)
}

/// The queued framesets of a link state, the oldest first: where their words are, and the words.
fn queued(link_state: &File) -> Vec<(u64, u64)> {
    let mut bytes = [0; SLOTS * 8];
    link_state.read_exact_at(&mut bytes, WORDS_AT).unwrap();
    let words = bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word));
    let mut queued: Vec<(u64, u64)> = (0..).zip(words).filter(|(_, word)| word & 3 == 1).collect();
    queued.sort_by_key(|(_, word)| word >> 18);
    queued
}

fn write_word(link_state: &File, slot: u64, word: u64) {
    link_state.write_all_at(&word.to_le_bytes(), WORDS_AT + slot * 8).unwrap();
}

impl Nonsense {
    /// Writes it in the place of the oldest frameset that waits for `victim`; why that will be refused.
    fn write(self, rig: &mut Rig) -> String {
        let ((_, link_state), (pool_bytes, pool)) = link_state_and_pool(rig);
        // They stay as they are: the reader is stopped, and the producer drops what comes.
        let queued =
            rig.wait_for("a full queue", |_| Some(queued(&link_state)).filter(|all| all.len() == QUEUE));
        let (slot, word) = queued[0];
        let header_at = slot * (pool_bytes / SLOTS as u64);
        let mut header = [0; HEADER_BYTES as usize];
        pool.read_exact_at(&mut header, header_at).unwrap();
        let sizes_at =
            header.windows(SIZES.len()).position(|bytes| bytes == SIZES).expect("a frame's header");
        match self {
            Self::Index => {
                write_word(&link_state, slot, 0);
                write_word(&link_state, 40, word);
                return format!("slot 40 of a pool of {SLOTS} slots was queued");
            }
            Self::Generation => {
                write_word(&link_state, slot, word ^ 1 << 17);
                return "a frameset came without an announcement of its pool".to_owned();
            }
            Self::Sequence => write_word(&link_state, slot, word & 0x3_ffff),
            Self::Header => header.fill(0xff),
            Self::Height => header[sizes_at + 1] = 250,
            Self::Format => header[sizes_at - 1] = 250,
        }
        pool.write_all_at(&header, header_at).unwrap();
        format!("the header in slot {slot} is not that of a frameset")
    }
}

fn begun() -> Rig {
    let mut rig = Plan::new(&topology(), Placement::Mixed).start();
    for reader in ["victim", "pulse"] {
        for camera in ["front", "rear"] {
            wait_for_more(&mut rig, reader, camera);
        }
    }
    rig
}

fn wait_for_more(rig: &mut Rig, reader: &str, camera: &str) {
    let start = format!("{reader} {camera} ");
    let until_now = rig.highest(&start);
    rig.wait_for(&start, |rig| (rig.highest(&start) > until_now).then_some(()));
}

fn refused(nonsense: Nonsense) {
    let mut rig = begun();
    rig.signal_worker("victim", Signal::STOP);
    rig.wait_for_stderr("process `victim` is stopped by signal 19 (SIGSTOP)");
    let reason = nonsense.write(&mut rig);
    rig.signal_worker("victim", Signal::CONT);
    let closed = format!("victim/victim: the link from `front` is closed: {reason}");
    rig.wait_for_stderr(&closed);
    for (reader, camera) in [("victim", "rear"), ("pulse", "front"), ("pulse", "rear")].repeat(2) {
        wait_for_more(&mut rig, reader, camera);
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    let errors: Vec<&String> = ended.stderr.iter().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(errors, [&format!("ERROR {closed}")]);
    ended.assert_settled();
    for link in &ended.report().links {
        let allowed: &[&str] = match (link.from.as_str(), link.to.as_str()) {
            ("front", "victim") => {
                assert_eq!(link.dropped["refused"], 1, "{link:?}");
                &["drop-newest", "reader-gone", "refused"]
            }
            ("rear", "victim") => &["drop-newest"],
            _ => &[],
        };
        assert!(link.dropped.keys().all(|reason| allowed.contains(&reason.as_str())), "{link:?}");
        assert_eq!(link.produced, ended.report().actor(&link.from).produced, "{link:?}");
    }
}

/// How a process has mapped some memory: the permissions of each mapping.
fn permissions(pid: Pid, inode: u64) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", pid.as_raw_nonzero())).unwrap();
    let words = maps.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = words.filter(|words| words.get(4) == Some(&inode.to_string().as_str()));
    ours.map(|words| words[1].to_owned()).collect()
}

/// Every reader's mapping of pixels cannot be written, in a worker and in the supervisor.
fn read_only() {
    let rig = begun();
    let (_, (_, pool)) = link_state_and_pool(&rig);
    let inode = pool.metadata().unwrap().ino();
    assert_eq!(permissions(worker(&rig, "front"), inode), ["rw-s"]);
    for reader in [worker(&rig, "victim"), rig.supervisor()] {
        assert_eq!(permissions(reader, inode), ["r--s"]);
    }
    assert_eq!(permissions(worker(&rig, "rear"), inode), [""; 0]);
    rig.signal(Signal::TERM);
    assert_eq!(rig.finish().code(), Some(0));
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    for (name, nonsense) in [
        ("index", Nonsense::Index),
        ("generation", Nonsense::Generation),
        ("sequence", Nonsense::Sequence),
        ("header", Nonsense::Header),
        ("height", Nonsense::Height),
        ("format", Nonsense::Format),
    ] {
        test(trials, format!("wild::a_wild_{name}_is_refused"), move || refused(nonsense));
    }
    test(trials, "wild::readers_map_pixels_read_only", read_only);
}
