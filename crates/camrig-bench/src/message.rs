//! Messages of the processes of a measurement to the benchmark: one line each on their shared standard output.
//!
//! A line is written by one call and is shorter than the size up to which a pipe writes atomically, so lines of several
//! processes never mix.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::meter::{Produced, Window};

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
