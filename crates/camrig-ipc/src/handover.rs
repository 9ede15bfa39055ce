//! A worker that hands its setup over to another process: to a program that attaches to a running rig.
//!
//! The program opens a [`Handover`], and the supervisor starts the worker with its name. The worker sends its setup to the
//! place, and the program serves the supervisor from then on. The worker stays, so that the supervisor has a process to
//! watch, until the program has ended its part, or has ended itself.

use std::io::{Error, Result};
use std::path::Path;

use ipc_channel::IpcError;
use ipc_channel::ipc::{IpcOneShotServer, IpcSender};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::channel::{Receiver, Sender, catching, channel, into_io, is_closed};

/// A setup, and the channel on which the program reports that its part has ended.
#[derive(Serialize, Deserialize)]
struct HandedOver<T> {
    setup: T,
    ended: Sender<()>,
}

/// The place at which a program takes a setup over. Only processes of the same user can reach it.
pub struct Handover<T> {
    server: IpcOneShotServer<Option<HandedOver<T>>>,
    name: String,
}

impl<T: Serialize + DeserializeOwned> Handover<T> {
    /// Opens a place, in the temporary folder.
    ///
    /// # Errors
    /// If there is no file descriptor left, or the folder cannot be written.
    pub fn open() -> Result<Self> {
        let opened = catching(IpcOneShotServer::new);
        let (server, name) =
            opened.unwrap_or_else(|| Err(Error::other("the temporary folder is not usable")))?;
        Ok(Self { server, name })
    }

    /// Returns its name, for the worker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for a worker; returns its setup, and the channel that takes a message when the program has ended its part.
    /// Returns `None` if the place was closed.
    ///
    /// # Errors
    /// If the message is not a setup.
    pub fn take(self) -> Result<Option<(T, Sender<()>)>> {
        let server = self.server;
        let taken = catching(move || server.accept());
        let (_, handed) = taken.unwrap_or(Err(IpcError::Disconnected)).map_err(into_io)?;
        Ok(handed.map(|HandedOver { setup, ended }| (setup, ended)))
    }

    /// Closes the place of this name, at which another thread waits.
    pub fn close(name: &str) {
        // An error means that the thread does not wait any more.
        let _ = send::<T>(name, None);
    }
}

/// Hands a setup over. The channel gets a message when the program has ended its part, and closes if the program has ended.
///
/// # Errors
/// If the program has ended: the remains of its place are removed. Or if the system fails, for example without a descriptor.
pub fn hand_over<T: Serialize + DeserializeOwned>(place: &str, setup: T) -> Result<Receiver<()>> {
    let (ended, receiver) = channel()?;
    let sent = send(place, Some(HandedOver { setup, ended }));
    if sent.as_ref().is_err_and(is_closed) {
        remove(Path::new(place));
    }
    sent.map(|()| receiver)
}

fn send<T: Serialize + DeserializeOwned>(place: &str, handed: Option<HandedOver<T>>) -> Result<()> {
    let sender = IpcSender::connect(place.to_owned())?;
    sender.send(handed).map_err(into_io)
}

/// Removes the socket of a program that has ended, and its folder.
fn remove(socket: &Path) {
    use std::os::unix::fs::FileTypeExt;
    if socket.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket()) {
        // An error means that the program itself has removed them.
        let _ = std::fs::remove_file(socket);
        let _ = socket.parent().map(std::fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_is_passed_on_and_the_end_is_reported() {
        for ends_in_order in [true, false] {
            let place = Handover::<String>::open().unwrap();
            let name = place.name().to_owned();
            let program = std::thread::spawn(move || {
                let (setup, ended) = place.take().unwrap().unwrap();
                if ends_in_order {
                    ended.send(()).unwrap();
                }
                setup
            });
            let ended = hand_over(&name, "setup".to_owned()).unwrap();
            assert_eq!(ended.receive().is_ok(), ends_in_order);
            assert_eq!(program.join().unwrap(), "setup");
            assert!(!Path::new(&name).exists());
        }
    }

    #[test]
    fn a_place_is_closed_from_another_thread() {
        let place = Handover::<String>::open().unwrap();
        let name = place.name().to_owned();
        let program = std::thread::spawn(move || place.take().unwrap().is_none());
        Handover::<String>::close(&name);
        assert!(program.join().unwrap());
        assert!(hand_over(&name, "setup".to_owned()).is_err());
    }

    #[test]
    fn the_place_of_a_program_that_has_ended_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let socket = place.join("socket");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(hand_over(socket.to_str().unwrap(), "setup".to_owned()).is_err());
        assert!(!place.exists());
    }

    #[test]
    fn the_place_of_a_program_that_runs_stays_where_another_error_occurs() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        // Of another type, so that nobody can connect as ipc-channel does.
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(hand_over(socket.to_str().unwrap(), "setup".to_owned()).is_err());
        assert!(socket.exists());
        drop(listener);
    }
}
