//! Tests that a worker in uninterruptible sleep, which no signal ends, blocks neither the supervisor nor the end of its rig.
//!
//! The worker looks for a file of a file system that this process serves, by the kernel's FUSE protocol, and does not answer
//! for.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use libtest_mimic::Trial;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::harness::{Placement, Plan, wait_until};
use crate::program::AWAITED;
use crate::test;

/// Two kinds of requests of the kernel.
const LOOKUP: u32 = 1;
const INIT: u32 = 26;

/// The version of the protocol in the answer to [`INIT`].
const VERSION: [u32; 2] = [7, 31];

/// A file system that never answers for its files, until this is dropped.
struct Silent {
    device: File,
    root: File,
    /// The number of the request that has no answer.
    lookup: Option<u64>,
}

impl Silent {
    /// Returns `None`, with a message, where none can be mounted.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let device =
            File::options().read(true).write(true).custom_flags(flags(OFlags::NONBLOCK)).open("/dev/fuse");
        let mounted = device.and_then(|device| {
            let mount = Command::new("mount")
                .args(["--internal-only", "--types", "fuse", "camrig-test"])
                .args(["--options", "fd=0,rootmode=40000,user_id=0,group_id=0"])
                .arg(folder.path())
                .stdin(device.try_clone()?)
                .output()?;
            let refusal = String::from_utf8_lossy(&mount.stderr).into_owned();
            if mount.status.success() { Ok(device) } else { Err(std::io::Error::other(refusal)) }
        });
        let device = match mounted {
            Ok(device) => device,
            Err(error) => {
                println!("skipped, because this test cannot mount a file system: {error}");
                return None;
            }
        };
        // It lasts as long as something refers to it, so nothing of it is left when this process is killed.
        let root = File::options().read(true).custom_flags(flags(OFlags::PATH)).open(folder.path());
        assert!(Command::new("umount").arg("--lazy").arg(folder.path()).status().unwrap().success());
        let mut silent = Self { device, root: root.unwrap(), lookup: None };
        wait_until("a request of the kernel", || silent.has_request(INIT));
        Some(silent)
    }

    /// Returns the path of a file, for any process.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}/file", std::process::id(), self.root.as_raw_fd())
    }

    /// Reads the next request, if there is one, and returns whether it is of this kind.
    fn has_request(&mut self, kind: u32) -> bool {
        let mut request = vec![0; 1 << 17];
        match self.device.read(&mut request) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            read => assert!(read.unwrap() >= 16),
        }
        // After its length: its kind and its number.
        let found = u32::from_le_bytes(request[4..8].try_into().unwrap());
        let number = u64::from_le_bytes(request[8..16].try_into().unwrap());
        match found {
            LOOKUP => self.lookup = Some(number),
            INIT => {
                let mut answer = VERSION.map(u32::to_le_bytes).concat();
                answer.resize(64, 0);
                // The maximum size of a write.
                answer[20..24].copy_from_slice(&4096_u32.to_le_bytes());
                self.answer(number, 0, &answer);
            }
            _ => {}
        }
        found == kind
    }

    fn answer(&mut self, number: u64, error: i32, answer: &[u8]) {
        let length = 16 + answer.len() as u32;
        let head = [&length.to_le_bytes()[..], &error.to_le_bytes(), &number.to_le_bytes()].concat();
        // Fails where nobody waits any more.
        let _ = self.device.write(&[&head, answer].concat());
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        if let Some(lookup) = self.lookup {
            self.answer(lookup, -Errno::NOENT.raw_os_error(), &[]);
        }
    }
}

fn flags(flags: OFlags) -> i32 {
    flags.bits() as i32
}

/// A camera, and a processor that looks for a file.
const LOOKS: &str = "
[camera.front]
driver = 'synthetic'
options = { model = 'any', color = 'off', depth = '32x24@200' }
[processor.reader]
kind = 'faulty'
inputs = ['front']
stall_timeout_millis = 500
options = { at = 'process', how = 'look' }
[processor.verify]
kind = 'verify'
inputs = ['front']
";

/// Returns whether a thread of a process is in uninterruptible sleep.
fn sleeps(pid: Pid) -> bool {
    let threads =
        std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())).into_iter().flatten().flatten();
    let mut stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    stats.any(|stat| stat.rsplit(") ").next().is_some_and(|fields| fields.starts_with('D')))
}

fn never_ends() {
    let Some(mut silent) = Silent::mount() else { return };
    let path = silent.path();
    let plan = Plan::new(LOOKS, Placement::MultiProcess).environment(AWAITED, &path);
    let mut rig = plan.arguments(&["--for", "4s"]).start();
    rig.wait_for("a reader of the file", |_| silent.has_request(LOOKUP).then_some(()));
    let reader = rig.workers().into_iter().find(|worker| worker.process == "reader").unwrap().pid;
    // It does not return from its call, and the supervisor kills it, which has no effect.
    rig.wait_for("its uninterruptible sleep", |_| sleeps(reader).then_some(()));
    assert_eq!(rig.status().actors.len(), 3);
    rig.wait_for_the_end();
    assert!(sleeps(reader));
    drop(silent);
    let ended = rig.finish();
    let fact = "process `reader` was killed and has not ended: it is in uninterruptible sleep in the kernel";
    let named: Vec<_> = ended.stderr.iter().filter_map(|line| line.split_once(fact)).collect();
    let [(_, first), .., (_, last)] = named[..] else { panic!("{:?}", ended.stderr) };
    assert_eq!((first, last), ("; its actors wait for its end", "; the rig ends without it"));
    assert_eq!(ended.code(), Some(70), "{:?}", ended.stderr);
    ended.assert_settled();
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "uninterruptible::a_rig_ends_without_a_worker_that_cannot_be_killed", never_ends);
}
