//! Host-wide lock for enumerate, open and reset.
//!
//! librealsense fails if two processes enumerate, open or reset cameras at the same time: "failed to set power state",
//! "device or resource busy". So each of these operations takes this lock first: a lock on a file in a folder that all
//! users of the host share. The kernel releases it when its holder dies. This module does not depend on librealsense or
//! on cameras.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use camrig::DriverError;
use rustix::fs::OFlags;

/// The folders of the file, in order of preference: `/run/lock` is meant for it, but some systems deny users access.
const FOLDERS: [&str; 2] = ["/run/lock", "/tmp"];

const FILE_NAME: &str = "camrig-realsense.lock";

/// Maximum time for which others wait for one holder. A camera takes a second or two, a reset longer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum wait while the lock passes from one holder to the next, in time-outs.
const QUEUE_MAX: u32 = 10;

/// Interval between two attempts, because the kernel's wait for a lock has no time-out.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// How a file in a folder of all users is opened: another user may have put a link or a FIFO there, which are neither
/// followed nor waited for.
pub(crate) const OF_OTHERS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// Maximum length of a holder's name, in bytes.
const HOLDER_BYTES_MAX: u64 = 200;

/// The lock's file.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    files: Vec<PathBuf>,
    timeout: Duration,
}

/// The held lock, which permits to enumerate, open and reset cameras until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: File,
}

impl Turns {
    /// Returns the lock of all processes and users of this host.
    pub(crate) fn of_this_host() -> Self {
        let files = FOLDERS.map(|folder| PathBuf::from(folder).join(FILE_NAME));
        Self { files: files.into(), timeout: TIMEOUT }
    }

    /// Waits for the lock on behalf of `who`, such as ``camera `left` ``.
    pub(crate) fn take(&self, who: &str) -> Result<Turn, DriverError> {
        let since = Instant::now();
        loop {
            if let Some(turn) = self.attempt(who, since)? {
                return Ok(turn);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Takes the lock, or returns `None` while it is held by another. Fails if `who` has waited since `since` for too long.
    pub(crate) fn attempt(&self, who: &str, since: Instant) -> Result<Option<Turn>, DriverError> {
        let file = self.file().map_err(|(file, error)| {
            DriverError::new(format!(
                "{who} cannot lock RealSense cameras: `{}` cannot be opened: {error}",
                file.display()
            ))
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if self.may_wait(&file, since.elapsed()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {
                let (timeout, holder) = (self.timeout.as_millis(), holder(&file));
                return Err(DriverError::unavailable(format!(
                    "{who} timed out after {timeout} ms: RealSense cameras are locked by {holder}"
                )));
            }
            Err(TryLockError::Error(error)) => {
                return Err(DriverError::new(format!("{who} cannot lock RealSense cameras: {error}")));
            }
        }
        #[cfg(test)]
        tests::TAKEN.set(tests::TAKEN.get() + 1);
        // For the messages of waiting processes. Another user's file may be read-only: then they name no holder.
        let holder = format!("{who}, process {}", std::process::id());
        let _ = file.set_len(0).and_then(|()| file.write_all_at(holder.as_bytes(), 0));
        Ok(Some(Turn { _file: file }))
    }

    /// Returns whether to wait longer for the lock of `file` after this time: many cameras of a slow host may be queued.
    /// Each holder writes its name into the file.
    fn may_wait(&self, file: &File, waited: Duration) -> bool {
        let taken = file.metadata().and_then(|metadata| metadata.modified());
        let held = taken.ok().and_then(|taken| taken.elapsed().ok());
        waited < self.timeout
            || (waited < self.timeout * QUEUE_MAX && held.is_some_and(|held| held < self.timeout))
    }

    /// Opens the file in the first folder where it is, or can be created. The file is never removed, because locks on a
    /// removed and on a new file would be two locks, as those in two folders: one that exists and cannot be opened is an error.
    fn file(&self) -> Result<File, (&Path, io::Error)> {
        let mut result = Err((Path::new(""), ErrorKind::NotFound.into()));
        for path in &self.files {
            result = open(path).map_err(|error| (path.as_path(), error));
            if result.is_ok() || path.symlink_metadata().is_ok() {
                break;
            }
        }
        result
    }
}

/// Opens the file of the lock, which is created if it does not exist.
fn open(path: &Path) -> io::Result<File> {
    let options = |write: bool| {
        let mut options = OpenOptions::new();
        options.read(true).write(write).custom_flags(OF_OTHERS);
        options
    };
    // Not with `create` if it exists: in a shared folder the kernel denies that for files of other users.
    let mut result = options(true).open(path);
    if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        result = options(true).create_new(true).open(path);
        match &result {
            Ok(file) => file.set_permissions(Permissions::from_mode(0o666))?,
            // Another process created it in the meantime.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => result = options(true).open(path),
            Err(_) => {}
        }
    }
    if let Err(error) = &result
        && matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
    {
        // A lock needs no permission to write.
        result = options(false).open(path).or(result);
    }
    let file = result?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

/// Returns the name of the lock's holder, if known.
fn holder(mut file: &File) -> String {
    let mut text = Vec::new();
    let read = file.by_ref().take(HOLDER_BYTES_MAX).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    if read.is_err() || text.trim().is_empty() { "another process".to_owned() } else { text }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Command, Stdio};

    thread_local! {
        /// Number of locks that this thread has requested.
        pub(crate) static TAKEN: Cell<usize> = const { Cell::new(0) };
    }

    const WORKERS: usize = 6;
    const COLD_STARTS: usize = 200;
    /// Set for a process of a test: the folder, and its number among the workers.
    pub(crate) const FOLDER: &str = "CAMRIG_TEST_TURN_FOLDER";
    const WORKER: &str = "CAMRIG_TEST_TURN_WORKER";

    fn turns(folder: &Path, timeout: Duration) -> Turns {
        Turns { files: vec![folder.join("lock")], timeout }
    }

    /// Returns a command that runs one test of this module in a process of its own.
    fn process(test: &str, folder: &Path, worker: usize) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = format!("turn::tests::{test}");
        command.args([&*test, "--exact", "--nocapture"]).env(FOLDER, folder).env(WORKER, worker.to_string());
        command
    }

    /// Returns the folder and number of a process that a test started; `None` in the test itself.
    pub(crate) fn worker() -> Option<(PathBuf, usize)> {
        let worker = std::env::var(WORKER).ok()?.parse().unwrap();
        Some((std::env::var_os(FOLDER)?.into(), worker))
    }

    /// Runs one test of this crate in a process for which `folder` is read-only, as /run/lock is for a service. Returns false if
    /// this machine does not let it mount.
    pub(crate) fn runs_with_read_only(folder: &Path, test: &str) -> bool {
        let line = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && exec \"$0\" \"$2\" --exact --nocapture";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", line])
            .args([&std::env::current_exe().unwrap(), folder, Path::new(test)])
            .env(FOLDER, folder)
            .env(WORKER, "0")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        if stderr.contains("unshare:") || stderr.contains("mount:") {
            eprintln!("LEFT OUT: this test cannot mount a folder: {stderr}");
            return false;
        }
        assert!(output.status.success(), "{}{stderr}", String::from_utf8_lossy(&output.stdout));
        true
    }

    /// A stand-in for a camera, which two processes must not open at the same time.
    struct Double;

    impl Double {
        fn open(folder: &Path, number: usize) -> Self {
            let mut trace = OpenOptions::new().append(true).create(true).open(folder.join("trace")).unwrap();
            let busy = folder.join("busy");
            File::create_new(&busy).expect("device or resource busy");
            writeln!(trace, "{number} opens").unwrap();
            // The duration of an operation on a camera.
            std::thread::sleep(Duration::from_millis(1));
            writeln!(trace, "{number} is open").unwrap();
            fs::remove_file(busy).unwrap();
            Self
        }
    }

    #[test]
    fn an_attempt_does_not_wait_and_fails_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let (hasty, turns) = (turns(folder.path(), Duration::ZERO), turns(folder.path(), TIMEOUT));
        let since = Instant::now();
        let held = turns.attempt("camera `left`", since).unwrap();
        assert!(held.is_some());
        assert!(turns.attempt("camera `right`", since).unwrap().is_none());
        let error = hasty.attempt("camera `right`", since).unwrap_err().to_string();
        let holder = format!("camera `left`, process {}", std::process::id());
        let expected =
            format!("camera `right` timed out after 0 ms: RealSense cameras are locked by {holder}");
        assert_eq!(error, expected);
        drop(held);
        assert!(turns.attempt("camera `right`", since).unwrap().is_some());
    }

    #[test]
    fn a_queue_that_moves_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let turns = turns(folder.path(), TIMEOUT);
        let _held = turns.attempt("camera `left`", Instant::now()).unwrap();
        let file = turns.file().unwrap();
        // The lock was taken just now.
        assert!(turns.may_wait(&file, TIMEOUT));
        assert!(!turns.may_wait(&file, TIMEOUT * QUEUE_MAX));
        file.set_modified(std::time::SystemTime::now() - TIMEOUT).unwrap();
        assert!(!turns.may_wait(&file, TIMEOUT));
        assert!(turns.may_wait(&file, TIMEOUT / 2));
    }

    #[test]
    fn six_processes_open_cameras_one_at_a_time() {
        if let Some((folder, worker)) = worker() {
            for number in (worker..COLD_STARTS).step_by(WORKERS) {
                let _turn = turns(&folder, TIMEOUT).take(&format!("camera `{number}`")).unwrap();
                Double::open(&folder, number);
            }
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let start = |worker| {
            let mut command = process("six_processes_open_cameras_one_at_a_time", folder.path(), worker);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for worker in (0..WORKERS).map(start).collect::<Vec<_>>() {
            let output = worker.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let trace = fs::read_to_string(folder.path().join("trace")).unwrap();
        let mut numbers = Vec::new();
        let lines: Vec<_> = trace.lines().collect();
        for pair in lines.chunks(2) {
            let (number, _) = pair[0].split_once(' ').unwrap();
            assert_eq!(pair, [format!("{number} opens"), format!("{number} is open")]);
            numbers.push(number.parse::<usize>().unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..COLD_STARTS).collect::<Vec<_>>());
    }

    #[test]
    fn a_time_out_names_the_holder_and_its_death_releases_the_lock() {
        if let Some((folder, _)) = worker() {
            let _turn = turns(&folder, TIMEOUT).take("camera `left`").unwrap();
            println!("\nholding");
            loop {
                std::thread::park();
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command =
            process("a_time_out_names_the_holder_and_its_death_releases_the_lock", folder.path(), 0);
        let mut holder = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "holding"));

        let error = turns(folder.path(), Duration::from_millis(20)).take("camera `right`").unwrap_err();
        assert!(error.is_unavailable());
        assert_eq!(
            error.to_string(),
            format!(
                "camera `right` timed out after 20 ms: RealSense cameras are locked by camera `left`, process {}",
                holder.id()
            ),
        );
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(turns(folder.path(), TIMEOUT).take("camera `right`").is_ok());
    }

    /// A service sees /run/lock read-only, and has a /tmp of its own.
    #[test]
    fn a_lock_in_a_read_only_folder_is_that_of_the_others() {
        let turns = |folder: &Path| {
            let own = folder.parent().unwrap().join("own");
            Turns { files: vec![folder.join("lock"), own], timeout: Duration::ZERO }
        };
        if let Some((folder, _)) = worker() {
            let error = turns(&folder).take("camera `right`").unwrap_err().to_string();
            assert!(
                error.contains("timed out after 0 ms: RealSense cameras are locked by camera `left`"),
                "{error}"
            );
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("shared");
        fs::create_dir(&folder).unwrap();
        let _held = turns(&folder).take("camera `left`").unwrap();
        runs_with_read_only(&folder, "turn::tests::a_lock_in_a_read_only_folder_is_that_of_the_others");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_or_a_fifo_in_place_of_the_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, other) = (folder.path().join("lock"), folder.path().join("other"));
        let files = vec![lock.clone(), folder.path().join("second")];
        let turns = Turns { files, timeout: Duration::ZERO };
        let error = |reason: &str| {
            let start = "camera `left` cannot lock RealSense cameras: `";
            format!("{start}{}` cannot be opened: {reason}", lock.display())
        };
        fs::write(&other, "of another program").unwrap();
        std::os::unix::fs::symlink(&other, &lock).unwrap();
        let refused = turns.take("camera `left`").unwrap_err().to_string();
        assert_eq!(refused, error("Too many levels of symbolic links (os error 40)"));
        assert_eq!(fs::read_to_string(&other).unwrap(), "of another program");
        fs::remove_file(&lock).unwrap();
        mkfifo(&lock);
        assert_eq!(turns.take("camera `left`").unwrap_err().to_string(), error("it is not a file"));
    }

    /// Creates a FIFO.
    pub(crate) fn mkfifo(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn threads_of_a_process_wait_too() {
        let folder = tempfile::tempdir().unwrap();
        let turn = turns(folder.path(), TIMEOUT).take("camera `left`").unwrap();
        assert!(turns(folder.path(), Duration::ZERO).take("camera `right`").is_err());
        drop(turn);
        assert!(turns(folder.path(), Duration::ZERO).take("camera `right`").is_ok());
    }

    #[test]
    fn the_first_accessible_folder_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let (absent, there) = (folder.path().join("absent/lock"), folder.path().join("lock"));
        let turns = |files| Turns { files, timeout: Duration::ZERO };
        let _turn = turns(vec![absent.clone(), there.clone()]).take("camera `left`").unwrap();
        assert_eq!(fs::metadata(there).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(
            turns(vec![absent.clone()]).take("camera `left`").unwrap_err().to_string(),
            format!(
                "camera `left` cannot lock RealSense cameras: `{}` cannot be opened: No such file or directory (os error 2)",
                absent.display()
            ),
        );
    }
}
