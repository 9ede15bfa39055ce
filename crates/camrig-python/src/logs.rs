//! The log of a rig that this interpreter runs, as records of Python's `logging`.

use std::sync::Once;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use camrig::RigHandle;
use log::{Level, LevelFilter, Metadata, Record};
use pyo3::prelude::*;

/// Maximum number of records that wait: further ones are lost, so that no actor waits for the interpreter.
const RECORDS_MAX: usize = 256;

/// The program that requests changes of a rig, for the log and the report.
pub(crate) const BY: &str = "Python";

/// The start of the names of camrig's modules.
const OWN: &str = "camrig";

/// Forwards records to a thread that may wait for the interpreter.
struct Forward(SyncSender<(Level, String)>);

impl log::Log for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(OWN)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = record.args().to_string();
            let level = if is_own_change(&text) { Level::Info } else { record.level() };
            // Lost if too many wait.
            let _ = self.0.try_send((level, text));
        }
    }

    fn flush(&self) {}
}

/// Returns whether a record is about a change that this program requested.
fn is_own_change(text: &str) -> bool {
    let mut own = [BY, RigHandle::SETTER].into_iter().filter_map(|by| text.strip_prefix(by));
    own.any(|rest| rest.starts_with(" changes the rig: "))
}

/// Begins to forward records, once in a process.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let (sender, records) = sync_channel(RECORDS_MAX);
        // Without a thread, or if another library of the process has the log, there are no records.
        if camrig_ipc::spawn_thread("log", move || forward(&records)).is_ok()
            && log::set_boxed_logger(Box::new(Forward(sender))).is_ok()
        {
            log::set_max_level(LevelFilter::Info);
        }
    });
}

fn forward(records: &Receiver<(Level, String)>) {
    while let Ok((level, text)) = records.recv() {
        // At its end, the interpreter takes no more.
        let written = Python::try_attach(|py| write(py, level, &text).map_err(|error| error.print(py)));
        if written.is_none() {
            return;
        }
    }
}

fn write(py: Python<'_>, level: Level, text: &str) -> PyResult<()> {
    let logger = py.import("logging")?.call_method1("getLogger", (OWN,))?;
    logger.call_method1("log", (number(level), "%s", text))?;
    Ok(())
}

/// Returns the number of a level in `logging`.
fn number(level: Level) -> u32 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug | Level::Trace => 10,
    }
}
