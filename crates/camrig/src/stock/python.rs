//! The kind `python`, a processor of a script, and the driver `python`, a camera of a script: a Python interpreter in a
//! process of its own runs them.
//!
//! This program finds the interpreter and lets it check the script and its options. The script runs in the Python package
//! `camrig` (`crates/camrig-python`).

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use camrig_frame::CameraInfo;
use camrig_ipc::spawn_thread;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::driver::{Captured, Device, Driver, DriverError};
use crate::error::WrongOptions;
use crate::output::CameraOutput;
use crate::processor::ProcessorOptions;

/// Maximum time in which a script has to be imported for a check: a large library takes some seconds.
const CHECK_TIME: Duration = Duration::from_secs(60);

/// Maximum number of framesets of an input that a script, or a loop of Python, keeps in their slots.
pub const SCRIPT_KEEPS: usize = 2;

/// Interval at which the end of a check is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// Maximum size of the answer to a check.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Runs a module of the package, without the current folder among those of modules: a file there must not replace one of
/// the package.
const BOOT: &str = "import sys; sys.path[:] = filter(None, sys.path); from camrig import _worker; _worker.";

/// The interpreter of this process, if it is one.
static OWN_INTERPRETER: OnceLock<PathBuf> = OnceLock::new();

/// Makes this interpreter the default of scripts in rigs of this process. The first call counts: a process has one.
pub fn set_interpreter(python: PathBuf) {
    let _ = OWN_INTERPRETER.set(python);
}

/// Options of the kind `python`. All others are the script's own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct PythonOptions {
    /// The script, a file of Python.
    script: PathBuf,
    /// The interpreter; by default that of `$VIRTUAL_ENV`, of `.venv` beside the script, or `python3`.
    python: Option<PathBuf>,
    /// The class or function of the script; by default the only processor class in it, or `process`.
    processor: Option<String>,
    /// The options of the script itself.
    #[serde(flatten)]
    own: BTreeMap<String, Value>,
}

/// A problem that the interpreter found.
#[derive(Debug, Deserialize)]
struct ScriptProblem {
    /// The option, if one is at fault.
    option: Option<String>,
    message: String,
}

impl PythonOptions {
    /// Returns why a program that is not an interpreter cannot run the script.
    pub(crate) fn elsewhere(&self) -> String {
        format!("script `{}` runs in a Python interpreter only", self.script.display())
    }

    /// Returns the interpreter.
    fn interpreter(&self, environment: Option<&Path>) -> PathBuf {
        if let Some(python) = &self.python {
            return python.clone();
        }
        let in_folder = |folder: &Path| folder.join("bin/python");
        let beside = self.script.parent().map(|folder| in_folder(&folder.join(".venv")));
        let found = environment.map(in_folder).into_iter().chain(beside).find(|python| python.exists());
        found.unwrap_or_else(|| "python3".into())
    }

    fn found_interpreter(&self) -> PathBuf {
        if let (None, Some(own)) = (&self.python, OWN_INTERPRETER.get()) {
            return own.clone();
        }
        self.interpreter(std::env::var_os("VIRTUAL_ENV").map(PathBuf::from).as_deref())
    }

    /// Starts the interpreter with a program of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    fn start(&self, program: &str) -> Result<Child, String> {
        let python = self.found_interpreter();
        let mut command = Command::new(&python);
        command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
            .spawn()
            .map_err(|error| format!("interpreter `{}` cannot be started: {error}", python.display()))
    }

    /// Lets the interpreter, which was started, import the script and check the options.
    fn ask(&self, mut child: Child) -> Result<Vec<ScriptProblem>, String> {
        let python = self.found_interpreter();
        let named = python.display();
        let request = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        let failed = |error: std::io::Error| format!("interpreter `{named}` is lost: {error}");
        // A script that ends the interpreter does not read the rest.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&request));
        let answer = reader(child.stdout.take());
        let both = answer.and_then(|answer| Ok((answer, reader(child.stderr.take())?)));
        // Without a thread, the process must not stay either: both count towards the same limit.
        let (answer, errors) = both.inspect_err(|_| {
            let _ = (child.kill(), child.wait());
        })?;
        let deadline = Instant::now() + CHECK_TIME;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            if Instant::now() >= deadline {
                // It may have ended since.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("its import takes more than {} s", CHECK_TIME.as_secs()));
            }
            std::thread::sleep(LOOK);
        };
        let answer = answer.recv_timeout(LOOK * 100).unwrap_or_default();
        // The output of the script itself is before the answer.
        let last = answer.lines().last().and_then(|line| serde_json::from_str(line).ok());
        last.ok_or_else(|| {
            let errors = errors.recv_timeout(LOOK * 100).unwrap_or_default();
            let error = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            if error.contains("No module named 'camrig'") || error.contains("from 'camrig'") {
                return format!("interpreter `{named}` lacks the package `camrig`: install its wheel there");
            }
            let error = if error.is_empty() { status.to_string() } else { error.trim().to_owned() };
            format!("interpreter `{named}` cannot check it: {error}")
        })
    }
}

/// Reads an output to its end in a thread of its own.
fn reader(output: Option<impl Read + Send + 'static>) -> Result<std::sync::mpsc::Receiver<String>, String> {
    let (sender, read) = std::sync::mpsc::sync_channel(1);
    let read_all = move || {
        let mut bytes = Vec::new();
        // Output before an error is shown.
        let _ = output.map(|output| output.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes));
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    };
    spawn_thread("python-check", read_all).map_err(|error| error.to_string())?;
    Ok(read)
}

impl PythonOptions {
    /// Checks that the script can be imported and has these options, by `check` of the package.
    fn probe_by(&self, check: &str) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        let has_script = self.script.is_file();
        if !has_script {
            wrong.add(["script"], format!("script `{}` does not exist", self.script.display()));
        }
        let program = if has_script { format!("{BOOT}{check}") } else { String::new() };
        let child = match self.start(&program) {
            Ok(child) => child,
            Err(message) => {
                wrong.add(["python"], message);
                return wrong.or_ok();
            }
        };
        if !has_script {
            // The empty program ends immediately; its exit code does not matter.
            let _ = child.wait_with_output();
            return wrong.or_ok();
        }
        match self.ask(child) {
            Ok(found) => {
                for ScriptProblem { option, message } in found {
                    wrong.add(option.as_deref().into_iter().chain(["script"]), message);
                }
            }
            Err(message) => wrong.add(["script"], format!("script `{}`: {message}", self.script.display())),
        }
        wrong.or_ok()
    }

    fn worker(&self) -> Vec<String> {
        let python = self.found_interpreter().to_string_lossy().into_owned();
        vec![python, "-c".to_owned(), format!("{BOOT}serve()")]
    }
}

impl ProcessorOptions for PythonOptions {
    const KEEPS: usize = SCRIPT_KEEPS;

    fn probe(&self) -> Result<(), WrongOptions> {
        self.probe_by("check()")
    }

    fn command(&self) -> Option<Vec<String>> {
        Some(self.worker())
    }
}

/// Options of the driver `python`. All others are the script's own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct PythonCameraOptions {
    /// The script, a file of Python.
    script: PathBuf,
    /// The interpreter; by default that of `$VIRTUAL_ENV`, of `.venv` beside the script, or `python3`.
    python: Option<PathBuf>,
    /// The class of the script; by default the only driver in it.
    class: Option<String>,
    /// The options of the script itself.
    #[serde(flatten)]
    own: BTreeMap<String, Value>,
}

impl PythonCameraOptions {
    /// Returns the options with which a processor of the script would run.
    fn as_processor(&self) -> PythonOptions {
        let Self { script, python, class, own } = self.clone();
        PythonOptions { script, python, processor: class, own }
    }
}

/// A placeholder for the camera of a script in a program that cannot run it.
pub(crate) struct PythonCamera;

impl Driver for PythonCamera {
    type Options = PythonCameraOptions;

    fn command(options: &PythonCameraOptions) -> Option<Vec<String>> {
        Some(options.as_processor().worker())
    }

    fn probe(options: &PythonCameraOptions) -> Result<Option<Device>, DriverError> {
        options.as_processor().probe_by("check_camera()")?;
        Ok(None)
    }

    fn open(_: &str, options: PythonCameraOptions) -> Result<Self, DriverError> {
        Err(options.as_processor().elsewhere().into())
    }

    fn info(&self) -> CameraInfo {
        CameraInfo::default()
    }

    fn capture(&mut self, _: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        Ok(Captured::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> PythonOptions {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_interpreter_is_the_nearest_one() {
        let folder = tempfile::tempdir().unwrap();
        let environment = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.join("bin")).unwrap();
            std::fs::write(path.join("bin/python"), "").unwrap();
            path
        };
        let script = folder.path().join("detect.py");
        let written = format!("script = {:?}", script.to_str().unwrap());
        let plain = options(&written);
        assert_eq!(plain.interpreter(None), Path::new("python3"));
        assert_eq!(plain.interpreter(Some(&folder.path().join("nowhere"))), Path::new("python3"));
        let beside = environment(".venv");
        assert_eq!(plain.interpreter(None), beside.join("bin/python"));
        let active = environment("active");
        assert_eq!(plain.interpreter(Some(&active)), active.join("bin/python"));
        let named = options(&format!("{written}\npython = 'python3.12'"));
        assert_eq!(named.interpreter(Some(&active)), Path::new("python3.12"));
    }

    #[test]
    fn a_camera_of_a_script_has_options_of_its_own_too() {
        let text = "script = 'camera.py'\npython = 'python3.12'\nclass = 'Ramp'\nstep = 2";
        let options: PythonCameraOptions = toml::from_str(text).unwrap();
        let json = serde_json::to_string(&options.as_processor()).unwrap();
        assert_eq!(json, r#"{"script":"camera.py","python":"python3.12","processor":"Ramp","step":2}"#);
        let command = PythonCamera::command(&options).unwrap();
        assert_eq!((command[0].as_str(), command[1].as_str()), ("python3.12", "-c"));
        let message = PythonCamera::probe(&options).unwrap_err().to_string();
        assert!(message.starts_with("script `camera.py` does not exist"), "{message}");
        let message = PythonCamera::open("left", options).map(drop).unwrap_err().to_string();
        assert_eq!(message, "script `camera.py` runs in a Python interpreter only");
    }

    #[test]
    fn options_of_the_script_are_its_own() {
        let options = options("script = 'detect.py'\nthreshold = 0.5\nmode = 'fast'");
        assert_eq!(options.own.keys().collect::<Vec<_>>(), ["mode", "threshold"]);
        let json = serde_json::to_string(&options).unwrap();
        let expected =
            r#"{"script":"detect.py","python":null,"processor":null,"mode":"fast","threshold":0.5}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn missing_parts_of_an_interpreter_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("detect.py");
        let text = |python: &str| format!("script = {:?}\npython = {python:?}", script.to_str().unwrap());
        let message = |python: &str| options(&text(python)).probe().unwrap_err().to_string();
        let named = script.display();
        assert_eq!(message("python3"), format!("script `{named}` does not exist"));
        let wrong = options(&text("/nowhere/python")).probe().unwrap_err();
        let keys: Vec<_> = wrong.list.iter().flat_map(|wrong| &wrong.options).collect();
        assert_eq!(keys, ["script", "python"]);
        std::fs::write(&script, "").unwrap();
        let lost = "interpreter `/nowhere/python` cannot be started: No such file or directory (os error 2)";
        assert_eq!(message("/nowhere/python"), lost);
        let other = "interpreter `/bin/false` cannot check it: exit status: 1";
        assert_eq!(message("/bin/false"), format!("script `{named}`: {other}"));
    }
}
