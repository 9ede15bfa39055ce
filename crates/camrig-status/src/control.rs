//! The control socket: takes requests that change a running rig, and answers each.
//!
//! It is an abstract Unix socket beside the status socket, with a name of its own, so that a client of the status
//! never waits behind a change. Both sides accept the users that those of the status socket accept. A request and its
//! answer are one frame each: the number of bytes as a 32-bit little-endian number, then as much JSON.
//!
//! Messages of clients are not trusted: a frame has a maximum size and arrives within a bounded time, unknown fields are
//! refused, and a bounded number of clients is served at a time.

mod frames;
mod messages;
mod server;

use std::io::{Error, ErrorKind, Result};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

pub use self::frames::CONTROL_VERSION;
use self::frames::{receive, send};
pub use self::messages::{Answer, Apply, Attach, Edit, Edits, Request};
pub use self::server::ControlSocket;
use crate::socket::{CONTROL, connect};

/// Maximum time that a client waits for an answer: a camera may take long to open.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);

/// Returns the name of the control socket of the rig whose status socket is `rig`.
fn control_name(rig: &str) -> String {
    format!("{CONTROL}{rig}")
}

/// Sends a request to the rig whose status socket is called `rig`, and waits for its answer.
///
/// # Errors
/// When the rig has ended, does not answer, or belongs to another user.
pub fn ask(rig: &str, request: &Request) -> Result<Answer> {
    exchange(rig, request).map(|(_, answer)| answer)
}

/// Adds a processor to the rig whose status socket is called `rig`, and waits for the answer. It is removed when
/// [`AttachedConnection`] drops, or this process ends in any way; `None` if it was not added.
///
/// # Errors
/// As [`ask`].
pub fn attach(rig: &str, attach: Attach) -> Result<(Answer, Option<AttachedConnection>)> {
    let (stream, answer) = exchange(rig, &Request::Attach(attach))?;
    let is_added = matches!(answer, Answer::Changes(_));
    Ok((answer, is_added.then_some(AttachedConnection(stream))))
}

/// The connection of an attached processor.
#[derive(Debug)]
pub struct AttachedConnection(UnixStream);

impl AttachedConnection {
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
    match send(&stream, request) {
        // A rig that refuses a client does not read its request.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        sent => sent?,
    }
    let answer = wait_for_answer(&stream)?;
    Ok((stream, answer))
}

/// Waits for an answer, which is sent as soon as it is known.
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
    use std::io::Write;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::frames::FRAME_TIMEOUT;
    use super::server::{ACCEPT_PAUSE, CLIENTS_MAX};
    use super::*;
    use crate::socket::StatusSocket;

    /// Longer means that the event will not happen.
    const WATCHDOG: Duration = Duration::from_secs(60);

    /// Returns the name of a rig, its socket, and the names of processors whose clients have gone.
    fn serve() -> (String, ControlSocket, Receiver<String>) {
        let (left, gone) = sync_channel(4);
        let rig = StatusSocket::open().unwrap().name().to_owned();
        let answer = |request| match request {
            Request::Topology => Answer::Topology { name: "t.toml".to_owned(), text: "# \u{0}".to_owned() },
            Request::Apply(apply) => Answer::Changes(vec![apply.text, apply.by]),
            Request::Edit(edits) => Answer::Changes(vec![edits.by]),
            Request::Pause { cameras, .. } => Answer::Changes(cameras),
            Request::Controls { camera, .. } => Answer::Controls(Err(camera)),
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
        Request::Apply(Apply { name, text, restarts: Vec::new(), base: None, live: false, dry_run: true, by })
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
        let until = Instant::now() + WATCHDOG;
        while !ask(&rig, &Request::Topology).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        {
            assert!(Instant::now() < until, "the socket is still served");
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
            b"{\"camrig_control\":4}",
            b"{\"camrig_control\":4,\"content\":\"erase\"}",
            b"{\"camrig_control\":4,\"content\":\"topology\",\"more\":1}",
            b"{\"camrig_control\":4,\"content\":{\"apply\":{\"name\":\"\",\"text\":\"\",\"by\":\"\",\"as\":1}}}",
            &b"[".repeat(1 << 20),
        ] {
            assert!(refused(json).starts_with(start), "{}", refused(json));
        }
        assert_eq!(
            refused(b"{\"camrig_control\":5,\"content\":\"new\"}"),
            "the message has version 5 of the control socket, this program has version 4"
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
