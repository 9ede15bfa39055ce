//! Corrupt shared memory in a running rig: the test writes invalid values into the memory that a producer shares. Its
//! reader refuses them, counts them and closes this link; no other link is affected. At the end the reader has failed.
//!
//! `camrig-ipc/src/reader/invalid.rs` tests every kind of invalid value on a single reader.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal};

use crate::harness::{Placement, Plan, Rig};
use crate::test;

/// Slots of `front`: so many that no word of its link states is reused for a later frameset.
const SLOTS: usize = 16;

/// Maximum number of framesets queued for `victim`.
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

/// The value that is corrupted.
#[derive(Clone, Copy, Debug)]
enum Corruption {
    Index,
    Generation,
    Sequence,
    Header,
    Height,
    Format,
}

/// Offset of a link state's slot words. Each has 2 bits of state (1 is queued), 16 bits of the pool's generation, and
/// the sequence number.
const WORDS_AT: u64 = 64 + 192;

/// Offset of a link state's count of delivered framesets.
const DELIVERED_AT: u64 = 64 + 128;

/// Size of a slot's header, before its pixels.
const HEADER_BYTES: u64 = 12288;

/// Width, height and bytes of a row of a frame in its header; the byte before them is its format.
const SIZES: [u8; 3] = [64, 48, 128];

/// Returns the shared memory that a process has descriptors of, by inode: its size and a file of it.
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
    rig.children().into_iter().find(|worker| worker.process == process).expect("the worker runs").pid
}

/// Returns the link state of the link from `front` to `victim`, and the pool of `front`: apart from the notifier, all
/// memory that the two processes share.
fn link_state_and_pool(rig: &Rig) -> ((u64, File), (u64, File)) {
    let victim = memories(worker(rig, "victim"));
    let shared = memories(worker(rig, "front")).into_iter().filter(|(inode, _)| victim.contains_key(inode));
    let mut shared: Vec<(u64, File)> = shared.map(|(_, memory)| memory).collect();
    shared.sort_by_key(|(bytes, _)| *bytes);
    let (pool, link_state) = (shared.pop().expect("a pool"), shared.pop().expect("a link state"));
    assert_eq!(
        shared.len(),
        1,
        "a notifier, beside a link state of {} bytes and a pool of {}",
        link_state.0,
        pool.0
    );
    (link_state, pool)
}

/// Returns the queued framesets of a link state, the oldest first: the index of their words, and the words.
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

impl Corruption {
    /// Corrupts the oldest frameset queued for `victim`; returns the reason with which it will be refused.
    fn write(self, rig: &mut Rig) -> String {
        let ((_, link_state), (pool_bytes, pool)) = link_state_and_pool(rig);
        // They do not change: the reader is stopped, and the producer drops new framesets.
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

fn start() -> Rig {
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

fn refused(corruption: Corruption) {
    let mut rig = start();
    rig.signal_worker("victim", Signal::STOP);
    rig.wait_for_stderr("process `victim` is stopped by signal 19 (SIGSTOP)");
    let reason = corruption.write(&mut rig);
    rig.signal_worker("victim", Signal::CONT);
    let closed = format!("victim/victim: the link from `front` is closed: {reason}");
    rig.wait_for_stderr(&closed);
    for (reader, camera) in [("victim", "rear"), ("pulse", "front"), ("pulse", "rear")].repeat(2) {
        wait_for_more(&mut rig, reader, camera);
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(70), "{:?}", ended.stderr);
    let errors: Vec<&String> = ended.stderr.iter().filter(|line| line.starts_with("ERROR")).collect();
    let failed = format!("the link from `front` is closed: {reason}");
    assert_eq!(errors[0], &format!("ERROR {closed}"));
    assert!(errors.len() == 2 && errors[1].contains("processor `victim`"), "{errors:?}");
    assert_eq!(ended.report().actor("victim").errors, [failed]);
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

/// Returns the permissions of each of a process's mappings of some memory.
fn permissions(pid: Pid, inode: u64) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", pid.as_raw_nonzero())).unwrap();
    let words = maps.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = words.filter(|words| words.get(4) == Some(&inode.to_string().as_str()));
    ours.map(|words| words[1].to_owned()).collect()
}

/// Checks that no reader can write to pixels, in a worker and in the supervisor.
fn read_only() {
    let rig = start();
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

/// Checks that a process cannot shrink memory that others read: that would end them, the supervisor included.
fn sealed() {
    let mut rig = start();
    let memories = memories(worker(&rig, "victim"));
    assert!(memories.len() > 4, "{memories:?}");
    for (bytes, memory) in memories.values() {
        for size in [0, bytes / 2, bytes * 2] {
            assert_eq!(memory.set_len(size).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        }
    }
    for (reader, camera) in [("victim", "front"), ("victim", "rear"), ("pulse", "front")].repeat(2) {
        wait_for_more(&mut rig, reader, camera);
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    ended.assert_said(0, &[]);
    ended.assert_settled();
}

/// Checks that a report lists counts that do not add up under `problems`.
fn wrong_counts() {
    let rig = start();
    let ((_, link_state), _) = link_state_and_pool(&rig);
    // The reader continues counting.
    link_state.write_all_at(&(1_u64 << 40).to_le_bytes(), DELIVERED_AT).unwrap();
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    // This processor compares the counts too, and fails.
    assert_eq!(ended.code(), Some(70), "{:?}", ended.stderr);
    let [problem] = ended.report().problems.as_slice() else { panic!("{:?}", ended.report().problems) };
    let start = "the counts of the link from `front` to `victim` do not add up: ";
    assert!(problem.starts_with(start) && problem.ends_with("; a process wrote wrong ones"), "{problem}");
    assert_eq!(ended.stderr.last(), Some(&format!("ERROR main: {problem}")));
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    for (name, corruption) in [
        ("index", Corruption::Index),
        ("generation", Corruption::Generation),
        ("sequence", Corruption::Sequence),
        ("header", Corruption::Header),
        ("height", Corruption::Height),
        ("format", Corruption::Format),
    ] {
        test(trials, format!("corrupt_memory::an_invalid_{name}_is_refused"), move || refused(corruption));
    }
    test(trials, "corrupt_memory::no_process_can_shrink_what_others_read", sealed);
    test(trials, "corrupt_memory::a_report_whose_counts_do_not_add_up_says_so", wrong_counts);
    test(trials, "corrupt_memory::readers_map_pixels_read_only", read_only);
}
