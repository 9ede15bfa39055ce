//! One opens at a time: the turn that every process of this host waits for.
//!
//! librealsense collides with itself where two processes look for cameras, open or reset them at once: "failed
//! to set power state", "device or resource busy". So whoever does any of that takes the turn first: a lock on
//! a file in a place that all users of the host share. The kernel gives it back when its holder dies. It
//! deliberately knows no librealsense and no camera, only who waits.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use camrig::DriverError;

/// Where the file may be, the best place first: `/run/lock` is for this, but not every system lets users in.
const FOLDERS: [&str; 2] = ["/run/lock", "/tmp"];

const FILE_NAME: &str = "camrig-realsense.lock";

/// The longest wait. A camera takes a second or two, and a reset some more: many may be before us.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a taken lock is looked at: the kernel has no wait with an end.
const LOOK: Duration = Duration::from_millis(2);

/// The longest name of a holder that is read, in bytes.
const HOLDER_BYTES_MAX: u64 = 200;

/// Where turns are taken.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    files: Vec<PathBuf>,
    patience: Duration,
}

/// The right to look for cameras, to open and to reset them, until it drops.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: File,
}

impl Turns {
    /// Those of all processes and users of this host.
    pub(crate) fn of_this_host() -> Self {
        let files = FOLDERS.map(|folder| PathBuf::from(folder).join(FILE_NAME));
        Self { files: files.into(), patience: PATIENCE }
    }

    /// Waits until it is the turn of `who`, such as ``camera `left` ``.
    pub(crate) fn take(&self, who: &str) -> Result<Turn, DriverError> {
        let file = self.file().map_err(|error| {
            let file = self.files.last().map(|file| file.display().to_string()).unwrap_or_default();
            DriverError::new(format!("{who} cannot wait for its turn: `{file}` cannot be opened: {error}"))
        })?;
        #[cfg(test)]
        tests::TAKEN.set(tests::TAKEN.get() + 1);
        let deadline = Instant::now() + self.patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => {
                    let (patience, holder) = (self.patience.as_millis(), holder(&file));
                    return Err(DriverError::unavailable(format!(
                        "{who} waited {patience} ms for its turn: {holder} looks for RealSense cameras or opens one"
                    )));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(DriverError::new(format!("{who} cannot wait for its turn: {error}")));
                }
            }
        }
        // For the messages of those who wait. Another user's file may be read-only: then they name nobody.
        let holder = format!("{who}, process {}", std::process::id());
        let _ = file.set_len(0).and_then(|()| file.write_all_at(holder.as_bytes(), 0));
        Ok(Turn { _file: file })
    }

    /// The file in the first place that lets us in. It stays there: a lock on a file that is removed and made
    /// again would be two locks.
    fn file(&self) -> io::Result<File> {
        let mut result = Err(ErrorKind::NotFound.into());
        for path in &self.files {
            // Not to be created where it exists: the kernel refuses that for files of others in a folder for all.
            result = OpenOptions::new().read(true).write(true).open(path);
            if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                result = OpenOptions::new().read(true).write(true).create_new(true).open(path);
                match &result {
                    Ok(file) => file.set_permissions(Permissions::from_mode(0o666))?,
                    // Someone else was faster.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        result = OpenOptions::new().read(true).write(true).open(path);
                    }
                    Err(_) => {}
                }
            }
            if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
                // A lock needs no right to write.
                result = File::open(path);
            }
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// Who has the lock, as far as it is known.
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
        /// How many turns this thread has asked for.
        pub(crate) static TAKEN: Cell<usize> = const { Cell::new(0) };
    }

    const WORKERS: usize = 6;
    const COLD_STARTS: usize = 200;
    /// Tells a process of this test what it is to do: the folder, and which of the workers it is.
    const FOLDER: &str = "CAMRIG_TEST_TURN_FOLDER";
    const WORKER: &str = "CAMRIG_TEST_TURN_WORKER";

    /// A folder of this test's own, gone when it is dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("camrig-turn-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn turns(folder: &Path, patience: Duration) -> Turns {
        Turns { files: vec![folder.join("lock")], patience }
    }

    /// This test program again, to run one test of this module in a process of its own.
    fn process(test: &str, folder: &Path, worker: usize) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = format!("turn::tests::{test}");
        command.args([&*test, "--exact", "--nocapture"]).env(FOLDER, folder).env(WORKER, worker.to_string());
        command
    }

    /// What this process is told to do, if it is one that [`process`] started.
    fn told() -> Option<(PathBuf, usize)> {
        let worker = std::env::var(WORKER).ok()?.parse().unwrap();
        Some((std::env::var_os(FOLDER)?.into(), worker))
    }

    /// A camera whose openings must not overlap, as those of librealsense must not.
    struct Double;

    impl Double {
        fn open(folder: &Path, number: usize) -> Self {
            let mut trace = OpenOptions::new().append(true).create(true).open(folder.join("trace")).unwrap();
            let busy = folder.join("busy");
            File::create_new(&busy).expect("device or resource busy");
            writeln!(trace, "{number} opens").unwrap();
            // What a camera does in this time.
            std::thread::sleep(Duration::from_millis(1));
            writeln!(trace, "{number} is open").unwrap();
            fs::remove_file(busy).unwrap();
            Self
        }
    }

    #[test]
    fn six_processes_open_one_at_a_time() {
        if let Some((folder, worker)) = told() {
            for number in (worker..COLD_STARTS).step_by(WORKERS) {
                let _turn = turns(&folder, PATIENCE).take(&format!("camera `{number}`")).unwrap();
                Double::open(&folder, number);
            }
            return;
        }
        let folder = Scratch::new("cold");
        let start = |worker| {
            let mut command = process("six_processes_open_one_at_a_time", &folder.0, worker);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for worker in (0..WORKERS).map(start).collect::<Vec<_>>() {
            let output = worker.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let trace = fs::read_to_string(folder.0.join("trace")).unwrap();
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
    fn a_wait_that_ends_names_the_holder_and_a_death_ends_it() {
        if let Some((folder, _)) = told() {
            let _turn = turns(&folder, PATIENCE).take("camera `left`").unwrap();
            println!("\nholding");
            loop {
                std::thread::park();
            }
        }
        let folder = Scratch::new("holder");
        let mut command = process("a_wait_that_ends_names_the_holder_and_a_death_ends_it", &folder.0, 0);
        let mut holder = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "holding"));

        let error = turns(&folder.0, Duration::from_millis(20)).take("camera `right`").unwrap_err();
        assert!(error.is_unavailable());
        assert_eq!(
            error.to_string(),
            format!(
                "camera `right` waited 20 ms for its turn: camera `left`, process {} looks for RealSense cameras or \
                 opens one",
                holder.id()
            ),
        );
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(turns(&folder.0, PATIENCE).take("camera `right`").is_ok());
    }

    #[test]
    fn threads_of_a_process_wait_too() {
        let folder = Scratch::new("threads");
        let turn = turns(&folder.0, PATIENCE).take("camera `left`").unwrap();
        assert!(turns(&folder.0, Duration::ZERO).take("camera `right`").is_err());
        drop(turn);
        assert!(turns(&folder.0, Duration::ZERO).take("camera `right`").is_ok());
    }

    #[test]
    fn the_first_place_that_lets_us_in_is_taken() {
        let folder = Scratch::new("places");
        let (absent, there) = (folder.0.join("absent/lock"), folder.0.join("lock"));
        let turns = |files| Turns { files, patience: Duration::ZERO };
        let _turn = turns(vec![absent.clone(), there.clone()]).take("camera `left`").unwrap();
        assert_eq!(fs::metadata(there).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(
            turns(vec![absent.clone()]).take("camera `left`").unwrap_err().to_string(),
            format!(
                "camera `left` cannot wait for its turn: `{}` cannot be opened: No such file or directory (os error 2)",
                absent.display()
            ),
        );
    }
}
