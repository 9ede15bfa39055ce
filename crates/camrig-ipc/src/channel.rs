//! Channels whose ends can be sent to another process. They wrap ipc-channel, which no other crate uses.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use ipc_channel::{IpcError, TryRecvError};
use serde::{Deserialize, Serialize};

use crate::memory::check_descriptors;

/// Creates a channel. Either end can be sent to another process, inside a message of another channel.
///
/// # Errors
/// If there are not enough file descriptors.
pub fn channel<T>() -> io::Result<(Sender<T>, Receiver<T>)>
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    let (sender, receiver) = ipc::channel()?;
    Ok((Sender(sender), Receiver(receiver)))
}

/// The sending end of a channel.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Sender<T>(pub(crate) IpcSender<T>);

impl<T: Serialize> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Serialize> Sender<T> {
    /// Sends a message. Waits while the channel is full.
    ///
    /// # Errors
    /// If the receiving end is closed, or the system fails, for example without a file descriptor for the message.
    pub fn send(&self, message: T) -> io::Result<()> {
        catching(|| self.0.send(message)).unwrap_or_else(|| Err(IpcError::Io(lost()))).map_err(into_io)
    }
}

/// The receiving end of a channel.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Receiver<T>(pub(crate) IpcReceiver<T>);

/// An error of receiving.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// All sending ends are closed, and all messages were received.
    #[error("every sender of the channel is closed")]
    Disconnected,
    /// The message is not of the channel's type, or there is no file descriptor for it.
    #[error("a message cannot be read: {0}")]
    Unreadable(String),
}

impl<T: for<'de> Deserialize<'de> + Serialize> Receiver<T> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// If there will be no more messages, or the next one is invalid.
    pub fn receive(&self) -> Result<T, ReceiveError> {
        catching(|| self.0.recv()).unwrap_or_else(|| Err(IpcError::Io(lost()))).map_err(ReceiveError::from)
    }

    /// Returns the next message; `None` if there is none yet.
    ///
    /// # Errors
    /// If there will be no more messages, or the next one is invalid.
    pub fn try_receive(&self) -> Result<Option<T>, ReceiveError> {
        let received = catching(|| self.0.try_recv());
        match received.unwrap_or_else(|| Err(TryRecvError::IpcError(IpcError::Io(lost())))) {
            Ok(message) => Ok(Some(message)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::IpcError(error)) => Err(error.into()),
        }
    }
}

impl From<IpcError> for ReceiveError {
    fn from(error: IpcError) -> Self {
        match error {
            IpcError::Disconnected => Self::Disconnected,
            error => Self::Unreadable(error.to_string()),
        }
    }
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether a panic of this thread is one of ipc-channel that becomes an error: a panic hook need not show it.
pub fn panics_are_caught() -> bool {
    CATCHING.get()
}

/// Calls ipc-channel, which panics where a descriptor or an address is missing; returns `None` if it did.
pub(crate) fn catching<T>(call: impl FnOnce() -> T) -> Option<T> {
    CATCHING.set(true);
    // Nothing that a panic leaves behind is used again: the message is lost, and the ends of the channel have no state.
    let outcome = catch_unwind(AssertUnwindSafe(call));
    CATCHING.set(false);
    outcome.ok()
}

/// Returns the reason for a panic of ipc-channel.
fn lost() -> io::Error {
    let other = || io::Error::other("a message has no descriptors, or there are no addresses for its memory");
    check_descriptors().err().unwrap_or_else(other)
}

/// Converts an error of ipc-channel.
pub(crate) fn into_io(error: IpcError) -> io::Error {
    match error {
        IpcError::Io(error) => error,
        IpcError::Disconnected => io::ErrorKind::BrokenPipe.into(),
        IpcError::SerializationError(error) => io::Error::other(error),
    }
}

/// Returns whether nothing could be sent because the other side has closed its socket.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe)
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_and_end_with_the_last_sender() {
        let (sender, receiver) = channel().unwrap();
        sender.send(1).unwrap();
        sender.clone().send(2).unwrap();
        assert_eq!((receiver.receive().unwrap(), receiver.try_receive().unwrap()), (1, Some(2)));
        assert_eq!(receiver.try_receive().unwrap(), None);
        drop(sender);
        assert!(matches!(receiver.receive(), Err(ReceiveError::Disconnected)));
    }

    #[test]
    fn a_message_of_another_type_is_unreadable() {
        let (sender, receiver) = channel::<(Sender<u8>, Receiver<String>)>().unwrap();
        let (one, other) = (channel::<u8>().unwrap(), channel::<String>().unwrap());
        sender.send((one.0, other.1)).unwrap();
        let (bytes, texts) = receiver.receive().unwrap();
        bytes.send(200).unwrap();
        assert_eq!(one.1.receive().unwrap(), 200);
        drop(other.0);
        assert!(matches!(texts.receive(), Err(ReceiveError::Disconnected)));
        let (raw, wrong) = ipc::channel::<u8>().unwrap();
        raw.send(7).unwrap();
        let wrong = Receiver::<String>(wrong.to_opaque().to());
        assert!(matches!(wrong.receive(), Err(ReceiveError::Unreadable(_))));
    }
}
