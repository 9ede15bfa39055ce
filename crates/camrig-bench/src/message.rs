//! Messages of the processes of a measurement to the benchmark: one line each on their shared standard output.
//!
//! A line is written by one call and is shorter than the size up to which a pipe writes atomically, so lines of several
//! processes never mix.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::allocations::Allocations;

/// Prefix of a message's line; all other output of a candidate is ignored.
const PREFIX: &str = "@camrig-bench ";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// The window of the reader with the meter begins now; the reader is the process with this ID.
    Begin { reader: u32 },
    /// The process with this ID is another reader.
    OtherReader { process: u32 },
    /// The window ended now.
    End,
    /// The reader's measurements.
    Window(Window),
    /// A camera's measurements.
    Produced(Produced),
}

impl Message {
    /// Sends the message to the benchmark. If the benchmark has ended, nothing happens.
    pub(crate) fn send(&self) {
        let Ok(json) = serde_json::to_string(self) else { return };
        let line = format!("{PREFIX}{json}\n");
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    /// Parses a line; `None` for other output.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(PREFIX)?).ok()
    }
}

/// The measurements of one reader in its window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) delivered: u64,
    /// The same by camera: an unpaced way may serve some and starve others.
    pub(crate) by_camera: Vec<u64>,
    /// Gaps in the sequence numbers.
    pub(crate) dropped: u64,
    /// Latency from publishing a frameset until the reader has it.
    pub(crate) hop: Latency,
    /// Latency from before the copy until the reader has the frameset.
    pub(crate) age: Latency,
    /// Time from the launch of the first process to the first frameset of the last camera.
    pub(crate) startup_seconds: f64,
    /// Allocations of the reader's process.
    pub(crate) allocations: Allocations,
}

/// The measurements of one camera's process after its warm-up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Produced {
    pub(crate) camera: usize,
    pub(crate) framesets: u64,
    pub(crate) allocations: Allocations,
}

/// Percentiles in microseconds.
#[allow(clippy::struct_field_names)] // Their unit belongs to their names.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) max_micros: f64,
}
