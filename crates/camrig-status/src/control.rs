//! The control socket: takes requests that change a running rig, and answers each.
//!
//! It is an abstract Unix socket beside the status socket, with a name of its own, so that a client of the status
//! never waits behind a change. Both sides accept only the same user or root. A request and its answer are one frame
//! each: the number of bytes as a 32-bit little-endian number, then as much JSON.
//!
//! Messages of clients are not trusted: a frame has a maximum size and arrives within a bounded time, unknown fields are
//! refused, and a bounded number of clients is served at a time.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use camrig_ipc::protocol::DeviceAnswer;
use camrig_ipc::spawn_thread;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::socket::{address, connect, is_trusted};

/// The version of requests and answers.
pub const CONTROL_VERSION: u32 = 3;

/// Maximum size of a frame, in bytes: a topology file of the maximum size, each byte of which JSON may escape.
const FRAME_BYTES_MAX: usize = 8 << 20;

/// Maximum time in which a frame has to arrive, once its sender is expected to send it.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time that a client waits for an answer: a camera may take long to open.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);

/// Maximum number of clients that are served at a time, beside those that are attached; further ones are refused.
const CLIENTS_MAX: usize = 16;

/// Time between two looks whether the rig of an attached client has ended.
const ATTACHED_LOOK: Duration = Duration::from_secs(1);

/// Pause before the next attempt when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request with its version.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned<T> {
    camrig_control: u32,
    #[serde(rename = "content")]
    content: T,
}

/// The version of a frame whose content may be of another version.
#[derive(Deserialize)]
struct Version {
    camrig_control: u32,
}

/// A request to a running rig.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The topology that runs.
    Topology,
    /// Changes the rig to another topology.
    Apply(Apply),
    /// Changes the topology that runs a little.
    Edit(Edits),
    /// The options of a camera's device that can be read while it runs, with their present values.
    Controls {
        /// The name of the camera.
        camera: String,
    },
    /// Adds a processor that is removed when the connection of its client ends, which [`attach`] makes.
    Attach(Attach),
    /// Writes the options of a camera's device into a file from which the vendor's programs load them.
    Preset {
        /// The name of the camera.
        camera: String,
        /// The absolute path of the file.
        file: String,
    },
    /// Stops the streams of cameras, or starts them again; their devices stay open.
    Pause {
        /// The names of the cameras.
        cameras: Vec<String>,
        /// Whether to stop the streams.
        paused: bool,
        /// The origin of the request, for the log and the report, such as `camrig pause`.
        by: String,
    },
}

/// A processor that joins a running rig in a process of its own, for as long as its client is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Its name, and that of its process.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The actors that it reads.
    pub inputs: Vec<String>,
    /// Its keys and options, each with the text of its value.
    pub settings: Vec<(String, String)>,
    /// The command of a program that has the kind, which runs the process if the rig has no such kind; may be empty.
    #[serde(default)]
    pub program: Vec<String>,
    /// Who asks, for the log and the report, such as `camrig attach`.
    pub by: String,
}

/// Small changes of the topology that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    /// The changes of its text, in their order.
    pub edits: Vec<Edit>,
    /// Actors that restart although nothing differs.
    #[serde(default)]
    pub restarts: Vec<String>,
    /// Whether to refuse what needs the begin or the end of an actor: only options that devices can set while they run
    /// change.
    #[serde(default)]
    pub live: bool,
    /// Whether to return the changes without carrying them out.
    #[serde(default)]
    pub dry_run: bool,
    /// The program that asks, for the log and the report, such as `camrig set`.
    pub by: String,
}

/// A change of the text of a topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Edit {
    /// Adds a processor, or without inputs a camera.
    Add {
        /// Its name.
        name: String,
        /// Its kind, or its driver.
        kind: String,
        /// The actors that it reads.
        inputs: Vec<String>,
        /// Its keys and options, each with the text of its value.
        settings: Vec<(String, String)>,
    },
    /// Removes an actor, and processes that only it had.
    Remove {
        /// Its name.
        name: String,
    },
    /// Changes keys or options of an actor. An option of a camera may have the name that its device has for it, as in
    /// [`Request::Controls`].
    Set {
        /// Its name.
        name: String,
        /// The keys and options, each with the text of its value.
        settings: Vec<(String, String)>,
    },
}

/// A topology for a running rig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The name of the topology in messages, such as the path of its file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Actors to restart although nothing differs.
    #[serde(default)]
    pub restarts: Vec<String>,
    /// The text that this one was made from: the request is refused if another one runs meanwhile.
    #[serde(default)]
    pub base: Option<String>,
    /// Whether to return the changes without carrying them out.
    #[serde(default)]
    pub dry_run: bool,
    /// The origin of the request, for the log and the report, such as `camrig apply`.
    pub by: String,
}

/// The answer of a rig to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// The topology that runs.
    Topology {
        /// Its name in messages.
        name: String,
        /// Its text.
        text: String,
    },
    /// The changes, one line each, in their order; carried out, unless the request was a dry run.
    Changes(Vec<String>),
    /// The options of a device, or why it does not tell them.
    Controls(DeviceAnswer),
    /// The request was refused, and nothing has changed.
    Refused {
        /// The reason, as one or more lines.
        message: String,
        /// Whether a device or a program is missing.
        unavailable: bool,
    },
    /// The changes were made, but something failed after them.
    Failed {
        /// The error, as one line.
        message: String,
    },
}

impl Answer {
    /// Returns a refusal.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), unavailable: false }
    }
}

/// Returns the name of the control socket of the rig whose status socket is `rig`.
fn control_name(rig: &str) -> String {
    format!("control-{rig}")
}

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
                    // No file descriptor is left, for a while.
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

fn ended() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the rig is ending")
}

fn send(mut stream: &UnixStream, content: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(&Versioned { camrig_control: CONTROL_VERSION, content })?;
    if json.len() > FRAME_BYTES_MAX {
        return Err(too_large(json.len()));
    }
    stream.set_write_timeout(Some(FRAME_TIMEOUT))?;
    stream.write_all(&(json.len() as u32).to_le_bytes())?;
    stream.write_all(&json)
}

fn receive<T: DeserializeOwned>(stream: &UnixStream, until: Instant) -> Result<T> {
    let mut size = [0; size_of::<u32>()];
    read_exact(stream, &mut size, until)?;
    let size = u32::from_le_bytes(size) as usize;
    if size > FRAME_BYTES_MAX {
        return Err(too_large(size));
    }
    let mut json = vec![0; size];
    read_exact(stream, &mut json, until.min(Instant::now() + FRAME_TIMEOUT))?;
    let invalid = |error: serde_json::Error| {
        Error::new(ErrorKind::InvalidData, format!("not a message of camrig's control socket: {error}"))
    };
    let Version { camrig_control: version } = serde_json::from_slice(&json).map_err(invalid)?;
    if version != CONTROL_VERSION {
        let fact = format!(
            "the message has version {version} of the control socket, this program has version {CONTROL_VERSION}"
        );
        return Err(Error::new(ErrorKind::InvalidData, fact));
    }
    let message: Versioned<T> = serde_json::from_slice(&json).map_err(invalid)?;
    Ok(message.content)
}

fn too_large(bytes: usize) -> Error {
    let fact = format!("the message has {bytes} bytes, at most {FRAME_BYTES_MAX} are accepted");
    Error::new(ErrorKind::InvalidData, fact)
}

/// Fills `buffer` from the stream, until the time is over.
fn read_exact(mut stream: &UnixStream, mut buffer: &mut [u8], until: Instant) -> Result<()> {
    while !buffer.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(ErrorKind::TimedOut, "it does not answer in time"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(ended()),
            Ok(size) => buffer = &mut buffer[size..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends a request to the rig whose status socket is called `rig`, and waits for its answer.
///
/// # Errors
/// When the rig has ended, does not answer, or belongs to another user.
pub fn ask(rig: &str, request: &Request) -> Result<Answer> {
    exchange(rig, request).map(|(_, answer)| answer)
}

/// Adds a processor to the rig whose status socket is called `rig`, and waits for the answer. It is removed when
/// [`Attached`] drops, or this process ends in any way; `None` if it was not added.
///
/// # Errors
/// As [`ask`].
pub fn attach(rig: &str, attach: Attach) -> Result<(Answer, Option<Attached>)> {
    let (stream, answer) = exchange(rig, &Request::Attach(attach))?;
    let is_added = matches!(answer, Answer::Changes(_));
    Ok((answer, is_added.then_some(Attached(stream))))
}

/// The connection of an attached processor.
#[derive(Debug)]
pub struct Attached(UnixStream);

impl Attached {
    /// Removes the processor, and waits until it has been removed.
    ///
    /// # Errors
    /// When the rig has ended.
    pub fn leave(self) -> Result<Answer> {
        self.0.shutdown(Shutdown::Write)?;
        wait_for_answer(&self.0)
    }
}

/// Sends a request on a connection of its own, and waits for its answer.
fn exchange(rig: &str, request: &Request) -> Result<(UnixStream, Answer)> {
    let stream = connect(&control_name(rig))?;
    if !is_trusted(&stream) {
        return Err(Error::new(ErrorKind::PermissionDenied, "the rig belongs to another user"));
    }
    match send(&stream, request) {
        // A rig that refuses a client does not read its request.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        sent => sent?,
    }
    let answer = wait_for_answer(&stream)?;
    Ok((stream, answer))
}

/// Waits for an answer, which is sent at once when it is known.
fn wait_for_answer(stream: &UnixStream) -> Result<Answer> {
    let mut first = [0; 1];
    let until = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match rustix::net::recv(stream, &mut first, rustix::net::RecvFlags::PEEK) {
            Ok(_) => return receive(stream, until),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                return Err(Error::new(ErrorKind::TimedOut, "it does not answer in time"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::socket::StatusSocket;

    /// Returns the name of a rig, its socket, and the names of processors whose clients have gone.
    fn serve() -> (String, ControlSocket, Receiver<String>) {
        let (left, gone) = sync_channel(4);
        let rig = StatusSocket::open().unwrap().name().to_owned();
        let answer = |request| match request {
            Request::Topology => Answer::Topology { name: "t.toml".to_owned(), text: "# \u{0}".to_owned() },
            Request::Apply(apply) => Answer::Changes(vec![apply.text, apply.by]),
            Request::Edit(edits) => Answer::Changes(vec![edits.by]),
            Request::Pause { cameras, .. } => Answer::Changes(cameras),
            Request::Controls { camera } => Answer::Controls(Err(camera)),
            Request::Preset { file, .. } => Answer::Changes(vec![file]),
            Request::Attach(attach) if attach.kind == "unknown" => Answer::refused("unknown"),
            Request::Attach(attach) => Answer::Changes(vec![attach.name]),
        };
        let leave = move |attach: &Attach| {
            left.send(attach.name.clone()).unwrap();
            Answer::Changes(vec![format!("remove {}", attach.name)])
        };
        let socket = ControlSocket::serve(&rig, answer, leave).unwrap();
        (rig, socket, gone)
    }

    fn apply(text: String) -> Request {
        let (name, by) = ("t.toml".to_owned(), "a test".to_owned());
        Request::Apply(Apply { name, text, restarts: Vec::new(), base: None, dry_run: true, by })
    }

    fn connected(rig: &str) -> UnixStream {
        connect(&control_name(rig)).unwrap()
    }

    /// Sends these bytes as a frame; returns the answer.
    fn say(rig: &str, json: &[u8]) -> Result<Answer> {
        let mut stream = connected(rig);
        stream.write_all(&(json.len() as u32).to_le_bytes()).unwrap();
        stream.write_all(json).unwrap();
        receive(&stream, Instant::now() + FRAME_TIMEOUT)
    }

    #[test]
    fn each_request_is_answered() {
        let (rig, socket, _) = serve();
        let answer = ask(&rig, &Request::Topology).unwrap();
        assert_eq!(answer, Answer::Topology { name: "t.toml".to_owned(), text: "# \u{0}".to_owned() });
        let text = "\u{1}".repeat(1 << 20);
        let answer = ask(&rig, &apply(text.clone())).unwrap();
        assert_eq!(answer, Answer::Changes(vec![text, "a test".to_owned()]));
        drop(socket);
        while let Err(error) = ask(&rig, &Request::Topology).map(drop) {
            if error.kind() == ErrorKind::ConnectionRefused {
                return;
            }
        }
    }

    #[test]
    fn malformed_requests_are_refused_and_the_next_one_is_answered() {
        let (rig, _socket, _) = serve();
        let refused = |json: &[u8]| match say(&rig, json).unwrap() {
            Answer::Refused { message, unavailable: false } => message,
            answer => panic!("{answer:?}"),
        };
        let start = "not a message of camrig's control socket: ";
        for json in [
            &b""[..],
            b"null",
            b"\xff\xfe",
            b"{\"camrig_control\":3}",
            b"{\"camrig_control\":3,\"content\":\"erase\"}",
            b"{\"camrig_control\":3,\"content\":\"topology\",\"more\":1}",
            b"{\"camrig_control\":3,\"content\":{\"apply\":{\"name\":\"\",\"text\":\"\",\"by\":\"\",\"as\":1}}}",
            &b"[".repeat(1 << 20),
        ] {
            assert!(refused(json).starts_with(start), "{}", refused(json));
        }
        assert_eq!(
            refused(b"{\"camrig_control\":4,\"content\":\"new\"}"),
            "the message has version 4 of the control socket, this program has version 3"
        );
        let mut stream = connected(&rig);
        stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
        let Answer::Refused { message, .. } = receive(&stream, Instant::now() + FRAME_TIMEOUT).unwrap()
        else {
            panic!("a frame of 4 GiB is accepted")
        };
        assert_eq!(message, "the message has 4294967295 bytes, at most 8388608 are accepted");
        assert!(matches!(ask(&rig, &Request::Topology), Ok(Answer::Topology { .. })));
    }

    #[test]
    fn silent_clients_are_bounded_and_given_up() {
        let (rig, _socket, _) = serve();
        let silent: Vec<_> = (0..CLIENTS_MAX).map(|_| connected(&rig)).collect();
        let refused = Answer::refused("the rig has too many requests to answer");
        let until = Instant::now() + 4 * FRAME_TIMEOUT;
        // The connections before it may not have been accepted.
        let mut answers = Vec::new();
        while answers.last() != Some(&refused) {
            answers.push(ask(&rig, &Request::Topology).unwrap());
            assert!(Instant::now() < until, "all are served");
        }
        while ask(&rig, &Request::Topology).unwrap() == refused {
            assert!(Instant::now() < until, "a silent client is never given up");
            std::thread::sleep(ACCEPT_PAUSE);
        }
        drop(silent);
    }

    fn attachment(kind: &str) -> Attach {
        let (name, kind) = ("w".to_owned(), kind.to_owned());
        let (inputs, settings, program) = (Vec::new(), Vec::new(), Vec::new());
        Attach { name, kind, inputs, settings, program, by: "a test".to_owned() }
    }

    #[test]
    fn an_attached_processor_leaves_when_its_client_does() {
        let (rig, _socket, gone) = serve();
        let (answer, attached) = attach(&rig, attachment("stats")).unwrap();
        assert_eq!(answer, Answer::Changes(vec!["w".to_owned()]));
        // It takes no place of other clients, and outlasts many of their requests.
        for _ in 0..2 * CLIENTS_MAX {
            ask(&rig, &Request::Topology).unwrap();
        }
        assert!(gone.try_recv().is_err());
        assert_eq!(attached.unwrap().leave().unwrap(), Answer::Changes(vec!["remove w".to_owned()]));
        assert_eq!(gone.recv().unwrap(), "w");
        // As when its process is killed.
        drop(attach(&rig, attachment("stats")).unwrap());
        assert_eq!(gone.recv().unwrap(), "w");
        let (answer, attached) = attach(&rig, attachment("unknown")).unwrap();
        assert_eq!((answer, attached.is_none()), (Answer::refused("unknown"), true));
        assert!(gone.try_recv().is_err());
    }
}
