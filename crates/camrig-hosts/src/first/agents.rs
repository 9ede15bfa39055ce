//! The connection to the agent of one host.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use camrig::{HostSpec, console};
use zenoh::liveliness::LivelinessToken;
use zenoh::{Session, Wait};

use crate::clock::{self, Exchange};
use crate::identity;
use crate::protocol::{AgentKeys, Answer, Hello, HostRequest, read, write};
use crate::session::{self, SessionOptions};

/// Maximum time in which an agent answers for the first time.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Time for one attempt of it.
const ATTEMPT_TIME: Duration = Duration::from_secs(1);

/// Pause after an attempt that failed immediately.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// An agent that answers requests.
pub(super) struct Agent {
    spec: HostSpec,
    keys: AgentKeys,
    session: Session,
    hello: Hello,
    /// While it exists, the agent sees that the run continues.
    token: Mutex<Option<LivelinessToken>>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        session::close(&self.session);
    }
}

impl Agent {
    /// Connects to the agent of a host, and shows its log from then on.
    ///
    /// # Errors
    /// A line that names the host, if it does not answer, or is of another version.
    pub(super) fn connect(spec: &HostSpec) -> Result<Self, String> {
        let options = SessionOptions {
            connect: vec![spec.address.clone()],
            router: spec.router,
            insecure: spec.fingerprint.is_none(),
            identity: Some(identity::default_file()),
            peers: spec.fingerprint.iter().cloned().collect(),
            ..SessionOptions::default()
        };
        let name = &spec.name;
        let session = session::open(&options).map_err(|error| format!("host `{name}`: {error}"))?;
        let keys = AgentKeys::of(spec.router.then_some(name));
        let mut agent =
            Self { spec: spec.clone(), keys, session, hello: Hello::default(), token: Mutex::default() };
        agent.hello = agent.greet()?;
        let host = spec.name.clone();
        let show = move |sample: zenoh::sample::Sample| {
            let line = sample.payload().to_bytes();
            let line: String = String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect();
            console::print_stderr(format_args!("{host}: {line}"));
        };
        let subscribed =
            agent.session.declare_subscriber(agent.keys.log()).callback(show).background().wait();
        subscribed.map_err(|error| format!("host `{name}`: {error}"))?;
        Ok(agent)
    }

    /// Waits for the first answer.
    fn greet(&self) -> Result<Hello, String> {
        let until = Instant::now() + CONNECT_TIME;
        loop {
            // An error is an answer too, but not one of an agent of this version.
            match self.query(&HostRequest::Hello, ATTEMPT_TIME)? {
                Some(Answer::Hello(hello)) => return Ok(hello),
                Some(Answer::Refused(lines)) => {
                    return Err(format!("host `{}`: {}", self.spec.name, lines.join("; ")));
                }
                Some(_) => {
                    return Err(format!("host `{}`: its agent answered another request", self.spec.name));
                }
                None if Instant::now() < until => std::thread::sleep(ATTEMPT_PAUSE),
                None => return Err(self.unreachable()),
            }
        }
    }

    /// Describes an agent that has never answered.
    fn unreachable(&self) -> String {
        let HostSpec { name, address, fingerprint, router, .. } = &self.spec;
        if *router {
            return format!(
                "host `{name}`: no agent of this name is connected to the router at `{address}`; `camrig join --name {name} \
                 --connect {address}` starts one there"
            );
        }
        let place = address.split_once('/').map_or("", |(_, place)| place);
        let listens = place
            .to_socket_addrs()
            .ok()
            .into_iter()
            .flatten()
            .any(|address| TcpStream::connect_timeout(&address, ATTEMPT_TIME).is_ok());
        match (listens, fingerprint) {
            (false, _) => {
                format!("host `{name}`: nothing listens at `{address}`; `camrig join` starts an agent there")
            }
            (true, None) => {
                format!("host `{name}`: the program at `{address}` is not an agent of camrig without TLS")
            }
            (true, Some(fingerprint)) => {
                let own = identity::read(&identity::default_file());
                let own = own.map_or_else(|error| error.to_string(), |own| own.to_string());
                format!(
                    "host `{name}`: the program at `{address}` is not an agent with fingerprint `{fingerprint}` that \
                     takes commands from this host; `camrig join --peer {own}` starts one"
                )
            }
        }
    }

    pub(super) fn spec(&self) -> &HostSpec {
        &self.spec
    }

    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Tells the agent that a run continues, until this connection ends.
    pub(super) fn announce(&self, run: &str) -> Result<(), String> {
        let token = self.session.liveliness().declare_token(self.keys.runs() + run).wait();
        let token = token.map_err(|error| format!("host `{}`: {error}", self.spec.name))?;
        *self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(token);
        Ok(())
    }

    /// Asks once for the time of the agent's host. Waits for the answer.
    pub(super) fn clock(&self) -> Option<Exchange> {
        clock::exchange(&self.session, &self.keys.clock())
    }

    /// Sends a request, and returns the answer.
    ///
    /// # Errors
    /// A line that names the host, if there is no answer within `time`, or one of another version.
    pub(super) fn ask(&self, request: &HostRequest, time: Duration) -> Result<Answer, String> {
        let silent = || format!("host `{}` at `{}` does not answer", self.spec.name, self.spec.address);
        self.query(request, time)?.ok_or_else(silent)
    }

    /// As [`Self::ask`]; `None` if there is no answer.
    fn query(&self, request: &HostRequest, time: Duration) -> Result<Option<Answer>, String> {
        let name = &self.spec.name;
        let replies = self.session.get(self.keys.ask()).payload(write(request)).timeout(time).wait();
        let replies = replies.map_err(|error| format!("host `{name}`: {error}"))?;
        let sample = replies.recv().ok().and_then(|reply| reply.into_result().ok());
        let read = |sample: zenoh::sample::Sample| {
            read(&format!("the agent of host `{name}`"), &sample.payload().to_bytes())
        };
        sample.map(read).transpose()
    }

    /// Sends a request that has no result.
    ///
    /// # Errors
    /// Lines that name the host.
    pub(super) fn done(&self, request: &HostRequest, time: Duration) -> Result<(), Vec<String>> {
        let name = &self.spec.name;
        match self.ask(request, time).map_err(|fact| vec![fact])? {
            Answer::Done => Ok(()),
            Answer::Refused(lines) => {
                Err(lines.into_iter().map(|line| format!("host `{name}`: {line}")).collect())
            }
            _ => Err(vec![format!("host `{name}`: its agent answered another request")]),
        }
    }
}
