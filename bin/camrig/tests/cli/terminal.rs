//! Tests of job control, on a pseudo-terminal with a shell: Ctrl-Z, `fg`, `stty tostop`, Ctrl-C.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{ENDS_WITH_PARENT, Test, wait_for};

/// A camera and a processor that prints, each in its own process. A camera that is silent for two seconds is stalled.
const RIG: &str = r#"
placement = "multi-process"
[camera.front]
driver = "synthetic"
stall_timeout_millis = 2000
options = { depth = "64x48@100", color = "off", model = "any" }

[processor.stats]
kind = "stats"
inputs = ["front"]
stall_timeout_millis = 2000
options = { every_seconds = 0.1 }
"#;

/// Time for which a rig stays stopped: longer than the stall time-outs.
const STOPPED: Duration = Duration::from_secs(6);

/// An interactive shell on a terminal of its own.
struct Shell {
    script: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<String>>,
}

impl Shell {
    fn start(folder: &Path) -> Self {
        let mut script = Command::new("setpriv")
            .args(ENDS_WITH_PARENT)
            // A test runner in the background ignores signals of the keyboard, and the shell would inherit that.
            .args(["env", "--default-signal", "script", "-qfec", "bash --norc --noprofile -i", "/dev/null"])
            .current_dir(folder)
            .env("PS1", "$ ")
            .env("TERM", "dumb")
            .env("CAMRIG", env!("CARGO_BIN_EXE_camrig"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (keys, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { script, keys, screen }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// Waits until new lines of `stats` appear.
    #[track_caller]
    fn wait_for_lines(&self) {
        let lines = || self.screen().matches("stats: front").count();
        let before = lines();
        let shown = || (lines() > before + 1).then_some(());
        wait_for("lines of `stats`", shown);
    }

    #[track_caller]
    fn wait_for_text(&self, text: &str) {
        wait_for(text, || self.screen().contains(text).then_some(()));
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// Returns the numbers of the processes of the program in `folder`.
fn ids(folder: &Path) -> Vec<u32> {
    let program = Path::new(env!("CARGO_BIN_EXE_camrig"));
    let ids = fs::read_dir("/proc").unwrap().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_own = |id: &u32| {
        let link = |name: &str| fs::read_link(format!("/proc/{id}/{name}")).ok();
        // The executable may be an emulator, whose first argument is the program.
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let emulated = line.split(|&byte| byte == 0).nth(1) == Some(program.as_os_str().as_bytes());
        (emulated || link("exe").is_some_and(|it| it == program))
            && link("cwd").is_some_and(|it| it == folder)
    };
    ids.filter(is_own).collect()
}

/// Returns the states of the processes of the program in `folder`, such as `S` or `T`, in the order of their numbers.
fn states(folder: &Path) -> Vec<char> {
    let state = |id: u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    };
    ids(folder).into_iter().filter_map(state).collect()
}

#[track_caller]
fn wait_for_states(folder: &Path, what: &str, accepts: impl Fn(&[char]) -> bool) {
    wait_for(what, || accepts(&states(folder)).then_some(()));
}

/// The end of a test: Ctrl-C ends the rig in order, and nothing was restarted.
#[track_caller]
fn interrupt(shell: &mut Shell, folder: &Path) {
    shell.press("\x03");
    wait_for_states(folder, "the end of the rig", <[char]>::is_empty);
    shell.press("echo code $?.\n");
    shell.wait_for_text("code 0.");
    // A stopped rig loses framesets, which its last line counts.
    let stderr = fs::read_to_string(folder.join("stderr")).unwrap();
    let others: Vec<_> = stderr.lines().filter(|line| !line.starts_with("t.toml: ended after ")).collect();
    assert_eq!(others, [""; 0]);
}

#[test]
fn all_processes_of_a_rig_are_stopped_and_continued() {
    let test = Test::new().topology(RIG);
    let folder = test.folder().canonicalize().unwrap();
    let mut shell = Shell::start(&folder);
    shell.press("\"$CAMRIG\" run t.toml 2>stderr\n");
    shell.wait_for_lines();
    shell.press("\x1a");
    let all_stopped = |states: &[char]| states == ['T'; 3];
    wait_for_states(&folder, "a stopped rig", all_stopped);
    let until = Instant::now() + STOPPED;
    while Instant::now() < until {
        assert!(all_stopped(&states(&folder)));
        std::thread::sleep(Duration::from_millis(50));
    }
    shell.press("fg\n");
    shell.wait_for_lines();
    shell.wait_for_lines();
    interrupt(&mut shell, &folder);
}

/// Sets the scroll region of a terminal with 24 lines to those above a table of four.
const REGION: &str = "\x1b[1;20r";

#[test]
fn the_table_below_a_run_is_removed_while_it_is_stopped() {
    let test = Test::new().topology(RIG);
    let folder = test.folder().canonicalize().unwrap();
    let mut shell = Shell::start(&folder);
    shell.press("stty rows 24 cols 100; \"$CAMRIG\" run t.toml >lines\n");
    shell.wait_for_text(REGION);
    // The shell is in the foreground when it has answered, which is after the table has been removed.
    let stopped = |states: &[char]| states == ['T'; 3];
    let answered = |shell: &mut Shell, word: &str| {
        wait_for_states(&folder, "a stopped rig", stopped);
        shell.press(&format!("echo {word}''.\n"));
        shell.wait_for_text(&format!("{word}."));
    };
    shell.press("\x1a");
    answered(&mut shell, "first");
    let shown = shell.screen();
    let removed = shown.rfind("\x1b[r").unwrap();
    assert!(shown.rfind(REGION).unwrap() < removed && removed < shown.find("first.").unwrap(), "{shown:?}");

    let is_again = |shell: &Shell, shown: usize| {
        wait_for("the table again", || shell.screen()[shown..].contains(REGION).then_some(()));
    };
    shell.press("fg\n");
    is_again(&shell, shown.len());

    // The rig can do nothing before SIGSTOP takes effect; it clears the screen after it has been continued.
    let shown = shell.screen().len();
    for id in ids(&folder) {
        kill_process(Pid::from_raw(id as i32).unwrap(), Signal::STOP).unwrap();
    }
    answered(&mut shell, "second");
    shell.press("fg\n");
    is_again(&shell, shown);
    shell.press("\x03");
    wait_for_states(&folder, "the end of the rig", <[char]>::is_empty);
}

/// Otherwise the shell has the lines above a table that is no longer there.
#[test]
fn the_table_below_a_run_is_removed_before_it_is_quit() {
    let test = Test::new().topology(RIG);
    let folder = test.folder().canonicalize().unwrap();
    let mut shell = Shell::start(&folder);
    shell.press("ulimit -c 0; stty rows 24 cols 100; \"$CAMRIG\" run t.toml >lines\n");
    shell.wait_for_text(REGION);
    shell.press("\x1c");
    wait_for_states(&folder, "the end of the rig", <[char]>::is_empty);
    shell.press("echo code $?.\n");
    shell.wait_for_text("code 131.");
    let shown = shell.screen();
    assert!(shown.rfind(REGION).unwrap() < shown.rfind("\x1b[r").unwrap(), "{shown:?}");
}

/// Returns whether a screen has escape sequences of colors.
fn has_colors(screen: &str) -> bool {
    let sequences = screen.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m'));
    let numbers = sequences.filter(|(numbers, _)| numbers.chars().all(|it| it.is_ascii_digit() || it == ';'));
    let mut numbers = numbers.flat_map(|(numbers, _)| numbers.split(';'));
    numbers
        .any(|number| number.parse().is_ok_and(|number: u8| matches!(number, 30..=38 | 40..=48 | 90..=107)))
}

#[test]
fn no_color_is_honoured_everywhere() {
    for (setting, colors) in [("NO_COLOR=1", false), ("NO_COLOR=", true)] {
        let test = Test::new().topology(RIG);
        let folder = test.folder().canonicalize().unwrap();
        fs::write(folder.join("bad.toml"), "[camera.front]\ndriver = 'synthetik'\n").unwrap();
        let mut shell = Shell::start(&folder);
        shell.press(&format!(
            "stty rows 24 cols 100; bind 'set enable-bracketed-paste off'; export TERM=xterm {setting}\n"
        ));
        // Each step begins with the screen that it has added.
        let mut shown = 0;
        let mut step = |shell: &mut Shell, keys: &str, text: &str| {
            shell.press(keys);
            wait_for(text, || shell.screen()[shown..].contains(text).then_some(()));
            assert_eq!(has_colors(&shell.screen()[shown..]), colors, "{keys} {setting}");
            shown = shell.screen().len();
        };
        step(&mut shell, "\"$CAMRIG\" check bad.toml\n", "did you mean");
        let top = "\"$CAMRIG\" run t.toml >lines 2>&1 & until \"$CAMRIG\" top $! 2>errors; do :; done; echo top has en''ded\n";
        step(&mut shell, top, "up and down select");
        shell.press("q");
        shell.wait_for_text("top has ended");
        shell.press("kill %1; wait\n");
        wait_for_states(&folder, "the end of the rig", <[char]>::is_empty);
    }
}

/// The table below a run, which has no color while all is well, dims its title.
#[test]
fn no_color_is_honoured_below_a_run() {
    for (setting, dim) in [("NO_COLOR=1", false), ("NO_COLOR=", true)] {
        let test = Test::new().topology(RIG);
        let folder = test.folder().canonicalize().unwrap();
        let mut shell = Shell::start(&folder);
        shell.press(&format!("stty rows 24 cols 100; export {setting}; \"$CAMRIG\" run t.toml\n"));
        shell.wait_for_text("actors in 3 processes");
        assert_eq!(shell.screen().contains("\x1b[2m"), dim);
        shell.press("\x03");
        wait_for_states(&folder, "the end of the rig", <[char]>::is_empty);
    }
}

#[test]
fn a_worker_may_write_to_a_terminal_with_tostop() {
    let test = Test::new().topology(RIG);
    let folder = test.folder().canonicalize().unwrap();
    let mut shell = Shell::start(&folder);
    shell.press("stty tostop\n\"$CAMRIG\" run t.toml 2>stderr\n");
    shell.wait_for_lines();
    shell.wait_for_lines();
    // In the background all its processes are stopped at its first line, and continue in the foreground.
    shell.press("\x1a");
    wait_for_states(&folder, "a stopped rig", |states| states == ['T'; 3]);
    shell.press("bg; until jobs -s >jobs; [ -s jobs ]; do :; done; echo stopped $?.\n");
    shell.wait_for_text("stopped 0.");
    shell.press("fg\n");
    shell.wait_for_lines();
    interrupt(&mut shell, &folder);
}

/// A watched rig reads its file again after SIGHUP, unless the signal means that the terminal was closed.
#[test]
fn a_watched_rig_ends_with_its_terminal() {
    let test = Test::new().topology(RIG.replace("= 2000", "= 5000"));
    let folder = test.folder().canonicalize().unwrap();
    let mut shell = Shell::start(&folder);
    shell.press("$CAMRIG run t.toml --watch 2>stderr\n");
    shell.wait_for_lines();
    let supervisor = ids(&folder).into_iter().min().unwrap();
    kill_process(Pid::from_raw(supervisor as i32).unwrap(), Signal::HUP).unwrap();
    fs::write(folder.join("t.toml"), RIG.replace("= 2000", "= 6000")).unwrap();
    wait_for("a change", || {
        fs::read_to_string(folder.join("stderr")).unwrap().contains("restart").then_some(())
    });
    shell.wait_for_lines();
    drop(shell);
    wait_for_states(&folder, "the end of the rig", <[char]>::is_empty);
    let stderr = fs::read_to_string(folder.join("stderr")).unwrap();
    assert!(stderr.contains("the terminal was closed, and the rig stops"), "{stderr}");
}
