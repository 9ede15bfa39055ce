//! Host-wide lock for enumerate, open and reset.
//!
//! librealsense fails if two processes enumerate, open or reset cameras at the same time: "failed to set power state",
//! "device or resource busy". So each of these operations takes this lock first: a lock on a file in a folder that all
//! users of the host share. The kernel releases it when its holder dies. This module does not depend on librealsense or
//! on cameras.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use camrig::DriverError;

/// The folders of the file, in order of preference: `/run/lock` is meant for it, but some systems deny users access.
const FOLDERS: [&str; 2] = ["/run/lock", "/tmp"];

const FILE_NAME: &str = "camrig-realsense.lock";

/// Maximum time for which others wait for one holder. A camera takes a second or two, a reset longer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum wait while the lock passes from one holder to the next, in time-outs.
const QUEUE_MAX: u32 = 10;

/// Interval between two attempts, because the kernel's wait for a lock has no time-out.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

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
        let file = self.file().map_err(|error| {
            let file = self.files.last().map(|file| file.display().to_string()).unwrap_or_default();
            DriverError::new(format!(
                "{who} cannot lock RealSense cameras: `{file}` cannot be opened: {error}"
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

    /// Opens the file in the first accessible folder. The file is never removed, because locks on a removed and on a new
    /// file would be two locks.
    fn file(&self) -> io::Result<File> {
        let mut result = Err(ErrorKind::NotFound.into());
        for path in &self.files {
            // Not with `create` if it exists: in a shared folder the kernel denies that for files of other users.
            result = OpenOptions::new().read(true).write(true).open(path);
            if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                result = OpenOptions::new().read(true).write(true).create_new(true).open(path);
                match &result {
                    Ok(file) => file.set_permissions(Permissions::from_mode(0o666))?,
                    // Another process created it in the meantime.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        result = OpenOptions::new().read(true).write(true).open(path);
                    }
                    Err(_) => {}
                }
            }
            if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
                // A lock needs no permission to write.
                result = File::open(path);
            }
            if result.is_ok() {
                break;
            }
        }
        result
    }
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
    const FOLDER: &str = "CAMRIG_TEST_TURN_FOLDER";
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

    /// Returns the folder and number of a process that [`process`] started; `None` in the test itself.
    fn worker() -> Option<(PathBuf, usize)> {
        let worker = std::env::var(WORKER).ok()?.parse().unwrap();
        Some((std::env::var_os(FOLDER)?.into(), worker))
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
