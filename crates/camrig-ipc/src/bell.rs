//! Waking a process: one ipc-channel inbox per process, a bell for each link into it.
//!
//! A bell carries no data, only which link to look at. Each link has at most one ring on its way (the ledger
//! sees to that), so an inbox never holds more messages than it has links, and a ring never blocks:
//! ipc-channel's socket takes at least 278 small messages.

use ipc_channel::IpcError;
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, bytes_channel};
use serde::{Deserialize, Serialize};

/// Wakes the reader of one link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bell {
    sender: IpcBytesSender,
    link: u32,
}

impl Bell {
    /// Wakes the reader. A reader that is gone needs no waking: its death is the supervisor's to notice.
    pub fn ring(&self) {
        let _ = self.sender.send(&self.link.to_le_bytes());
    }
}

/// Makes the bells of one inbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rings {
    sender: IpcBytesSender,
}

impl Rings {
    /// The bell that wakes the reader of `link`.
    pub fn bell(&self, link: u32) -> Bell {
        Bell { sender: self.sender.clone(), link }
    }
}

/// Where a process hears the bells of all its links.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inbox {
    receiver: IpcBytesReceiver,
}

impl Inbox {
    /// An inbox, and what makes its bells.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new() -> std::io::Result<(Self, Rings)> {
        let (sender, receiver) = bytes_channel()?;
        Ok((Self { receiver }, Rings { sender }))
    }

    /// Waits for the next bell and says of which link; none when no bell exists any more. Whatever else
    /// arrives is passed over.
    pub fn wait(&self) -> Option<u32> {
        loop {
            match self.receiver.recv() {
                Ok(bytes) => {
                    if let Ok(link) = bytes.try_into() {
                        return Some(u32::from_le_bytes(link));
                    }
                }
                Err(IpcError::Io(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}
