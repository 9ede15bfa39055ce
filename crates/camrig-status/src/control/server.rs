//! The rig's end of the control socket.

use std::io::{ErrorKind, Read, Result};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use camrig_ipc::spawn_thread;

use super::control_name;
use super::frames::{FRAME_TIMEOUT, ended, receive, send};
use super::messages::{Answer, Attach, Request};
use crate::socket::{address, is_trusted};

/// Maximum number of clients that are served at a time, beside those that are attached; further ones are refused.
pub(super) const CLIENTS_MAX: usize = 16;

/// Interval of the checks whether the rig of an attached client has ended.
const ATTACHED_LOOK: Duration = Duration::from_secs(1);

/// Pause before the next attempt when no connection can be accepted.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A control socket that is served, until this drops.
pub struct ControlSocket {
    name: String,
    ended: Arc<AtomicBool>,
}

impl ControlSocket {
    /// Serves requests to the rig whose status socket is called `rig`, each connection on a thread of its own. `leave` removes
    /// a processor whose client is gone.
    ///
    /// # Errors
    /// When no file descriptor or thread is left.
    pub fn serve(
        rig: &str,
        answer: impl Fn(Request) -> Answer + Send + Sync + 'static,
        leave: impl Fn(&Attach) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let name = control_name(rig);
        let listener = UnixListener::bind_addr(&address(&name)?)?;
        let ended = Arc::new(AtomicBool::new(false));
        let socket = Self { name, ended: Arc::clone(&ended) };
        let server = Arc::new(Server { answer, leave, ended: Arc::clone(&ended) });
        let clients = Arc::new(AtomicUsize::new(0));
        spawn_thread("control", move || {
            while !ended.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((stream, _)) if is_trusted(&stream) => {
                        let served = Served::begin(&clients);
                        let server = Arc::clone(&server);
                        // Without a thread the client sees the end of its connection.
                        let _ = spawn_thread("control client", move || {
                            // An error means that the client is gone, or sent no request.
                            let _ = server.serve_client(&stream, served);
                        });
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // No file descriptor is left at the moment.
                    Err(_) => std::thread::sleep(ACCEPT_PAUSE),
                }
            }
        })?;
        Ok(socket)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the thread, which waits for a connection; an error means that it has ended.
        drop(address(&self.name).and_then(|address| UnixStream::connect_addr(&address)));
    }
}

/// One of the clients that are served; `None` if there are too many.
struct Served(Option<Arc<AtomicUsize>>);

impl Served {
    fn begin(clients: &Arc<AtomicUsize>) -> Self {
        let admit = |count: usize| (count < CLIENTS_MAX).then_some(count + 1);
        let served = clients.fetch_update(Ordering::AcqRel, Ordering::Acquire, admit);
        Self(served.is_ok().then(|| Arc::clone(clients)))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(clients) = &self.0 {
            clients.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Answers the clients of a rig.
struct Server<A, L> {
    answer: A,
    leave: L,
    ended: Arc<AtomicBool>,
}

impl<A: Fn(Request) -> Answer, L: Fn(&Attach) -> Answer> Server<A, L> {
    /// Answers one request.
    fn serve_client(&self, stream: &UnixStream, served: Served) -> Result<()> {
        if served.0.is_none() {
            return send(stream, &Answer::refused("the rig has too many requests to answer"));
        }
        let request = match receive(stream, Instant::now() + FRAME_TIMEOUT) {
            Ok(request) => request,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return send(stream, &Answer::refused(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let attach = if let Request::Attach(attach) = &request { Some(attach.clone()) } else { None };
        let answer = (self.answer)(request);
        let sent = send(stream, &answer);
        let Some(attach) = attach.filter(|_| matches!(answer, Answer::Changes(_))) else { return sent };
        drop(served);
        if sent.is_ok() {
            self.wait_for_end(stream)?;
        }
        send(stream, &(self.leave)(&attach))
    }

    /// Waits until a client has closed its side of the connection, or the rig has ended, which is an error.
    fn wait_for_end(&self, mut stream: &UnixStream) -> Result<()> {
        stream.set_read_timeout(Some(ATTACHED_LOOK))?;
        loop {
            match stream.read(&mut [0; 1]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    if self.ended.load(Ordering::Acquire) {
                        return Err(ended());
                    }
                }
                // Nothing may follow the request, and an error means that the client is gone.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }
}
