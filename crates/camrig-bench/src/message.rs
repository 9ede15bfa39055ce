//! What processes of a measurement tell the benchmark: a line each on the standard output that they share.
//!
//! A line is written by one call and is shorter than what a pipe takes at once, so lines of several
//! processes never mix.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::meter::{Produced, Window};

/// How a line of ours begins; whatever else a candidate prints is passed over.
const PREFIX: &str = "@camrig-bench ";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// The window of the reader with the meter begins now; it is the process with this id.
    Begin { reader: u32 },
    /// The process with this id reads as well.
    ReadsToo { process: u32 },
    /// The window ended now.
    End,
    /// What the reader saw.
    Window(Window),
    /// What a camera did.
    Produced(Produced),
}

impl Message {
    /// Tells the benchmark. When that is gone there is nobody to tell.
    pub(crate) fn say(&self) {
        let Ok(json) = serde_json::to_string(self) else { return };
        let line = format!("{PREFIX}{json}\n");
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    /// Reads a line.
    pub(crate) fn hear(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(PREFIX)?).ok()
    }
}
