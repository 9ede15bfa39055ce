//! Opens sessions of Zenoh from bounded options: without scouting, and only with the endpoints in the options.

use std::env::VarError;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use camrig_frame::MAX_FRAMESET_BYTES;
use camrig_ipc::{set_variable_before_threads, spawn_thread};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zenoh::{Config, Session, Wait};

use crate::identity::{self, Fingerprint, IdentityError};

/// Maximum number of endpoints of a session.
const ENDPOINTS_MAX: usize = 16;

/// Time without any message after which a peer counts as gone, in milliseconds. Liveliness follows from it.
const LEASE_MILLIS: u32 = 2000;

/// Maximum time in which two peers greet each other, in milliseconds: with Zenoh's 10 s, one greeting that is lost would take
/// longer than a host may be lost at the end of a rig.
const OPEN_MILLIS: u32 = 3000;

/// Space for the headers of a message beside its frames, in bytes.
const MESSAGE_EXTRA_BYTES: usize = 1 << 20;

/// Maximum number of connections of a session.
const CONNECTIONS_MAX: u32 = 64;

/// The same of a router: each end of a crossing has its own.
const ROUTER_CONNECTIONS_MAX: u32 = 4096;

/// Maximum time in which a session of an actor or of a first host connects to a router, in milliseconds.
const ROUTER_MILLIS: i64 = 10_000;

/// Number of batches of 64 KB that wait to be sent on a connection, of the priority of frames. With Zenoh's 2, the threads that
/// fill and send them wait for each other up to 32 times for a frameset.
const TX_BATCHES: u32 = 16;

/// Maximum time in which a session closes. Zenoh waits 10 s while it connects again to a router or host that does not answer.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// No maximum time.
const WITHOUT_LIMIT: i64 = -1;

/// The endpoints of a session, and its peers. Without endpoints, it is the session that the program has
/// [provided](provide).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionOptions {
    /// Where to connect to, such as `tls/10.0.0.12:7447`. With `router`, at least one address.
    pub connect: Vec<String>,
    /// Where to listen, such as `tls/0.0.0.0:7447`.
    pub listen: Vec<String>,
    /// Allows `tcp` on other addresses than loopback: any machine on that network can then read and write frames.
    pub insecure: bool,
    /// The file of the secret key of this host, for `tls` and `quic`.
    pub identity: Option<PathBuf>,
    /// The fingerprints of the hosts that may be peers, for `tls` and `quic`.
    pub peers: Vec<String>,
    /// Whether `connect` names a router of Zenoh, which `camrig route` starts, such as `quic/10.0.0.20:7447`.
    pub router: bool,
}

/// The role of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It has messages of those to which it is connected.
    Peer,
    /// It is connected to a router within this time in milliseconds, and has messages of everyone there.
    Client(i64),
    /// It forwards messages between clients, and to other routers.
    Router,
}

/// An error of opening a session.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// An endpoint is not allowed.
    #[error("endpoint `{0}` {1}")]
    Endpoint(String, &'static str),
    /// There are too many endpoints.
    #[error("a session has at most {ENDPOINTS_MAX} endpoints, not {0}")]
    TooMany(usize),
    /// The options name no endpoint, and the program has provided no session.
    #[error("the session has no endpoint: one of `connect` and `listen` is needed")]
    NotProvided,
    /// The identity or the peers cannot be used.
    #[error("{0}")]
    Identity(String),
    /// Zenoh refuses.
    #[error("no session can be opened: {0}")]
    Open(String),
}

const NO_IDENTITY: &str = "`tls` and `quic` need `identity`, the file that `camrig join --new-identity` made";

/// The variable from which Zenoh reads its number of threads.
const THREADS: &str = "ZENOH_RUNTIME";

/// Sends and receives on one thread. Zenoh uses a connection of rustls on two threads at the same time, which rustls does not
/// allow: then a process crashes, or its connection ends (issue 2557 of eclipse-zenoh/zenoh).
const ONE_THREAD: &str = "(rx: (handover: tx))";

/// Sends and receives on several threads. Zenoh closes a connection on one of them, for up to 17 s if the peer does not read:
/// the others serve the other connections meanwhile. A router waits while it receives until it can send.
const SEVERAL_THREADS: &str = "(rx: (worker_threads: 4), tx: (worker_threads: 4))";

/// Has Zenoh send and receive on one thread in this process, or on several if it is an agent or a router without `tls`,
/// unless the variable is set. Call it before the process has other threads.
pub(crate) fn set_threads() {
    let words: Vec<_> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let is_router = words.first().is_some_and(|command| command == "route");
    let is_set = match std::env::var(THREADS) {
        // A worker of an agent inherits the variable, and no router works on one thread.
        Ok(value) => value != SEVERAL_THREADS && !(is_router && value == ONE_THREAD),
        Err(fault) => fault != VarError::NotPresent,
    };
    if !is_set {
        set_variable_before_threads(THREADS, threads_of(words));
    }
}

/// Returns the value of the variable for a program with these arguments.
fn threads_of(words: impl IntoIterator<Item = String>) -> &'static str {
    let mut words = words.into_iter();
    // As `--listen ADDRESS` or `--listen=ADDRESS`.
    let is_tls = |word: String| word.split('=').any(|part| part.starts_with("tls/"));
    let is_several = match words.next().as_deref() {
        // It refuses `tls`.
        Some("route") => true,
        Some("join") => !words.any(is_tls),
        _ => false,
    };
    if is_several { SEVERAL_THREADS } else { ONE_THREAD }
}

/// Warns of `tls` on several threads.
fn warn_of_threads() {
    static WARNED: Once = Once::new();
    if std::env::var(THREADS).map_or(true, |value| value == SEVERAL_THREADS) {
        WARNED.call_once(|| {
            log::warn!("Zenoh may crash with `tls`: start this program with {THREADS}='{ONE_THREAD}'");
        });
    }
}

static PROVIDED: OnceLock<Session> = OnceLock::new();

/// Provides the session of this process, for options without endpoints. Returns whether it is the first one.
pub fn provide(session: Session) -> bool {
    PROVIDED.set(session).is_ok()
}

/// Opens a session, on a thread of its own, since Zenoh cannot wait on those of actors. Endpoints to connect to are tried
/// again, also after a connection ends; the session is open before, but waits for a router.
///
/// # Errors
/// If an endpoint is not allowed, cannot be listened on, the identity cannot be used, or no router answers within 10 s.
pub fn open(options: &SessionOptions) -> Result<Session, SessionError> {
    if options.connect.is_empty() && options.listen.is_empty() {
        return PROVIDED.get().cloned().ok_or(SessionError::NotProvided);
    }
    open_as(options, if options.router { Role::Client(ROUTER_MILLIS) } else { Role::Peer })
}

/// As [`open`]; waits without a limit for a router.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_agent(options: &SessionOptions) -> Result<Session, SessionError> {
    open_as(options, if options.router { Role::Client(WITHOUT_LIMIT) } else { Role::Peer })
}

/// Opens the session of a router.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_router(options: &SessionOptions) -> Result<Session, SessionError> {
    open_as(options, Role::Router)
}

fn open_as(options: &SessionOptions, role: Role) -> Result<Session, SessionError> {
    let config = config_of(options, role)?;
    let opening = spawn_thread("zenoh-open", move || zenoh::open(config).wait());
    let opened = opening.map_err(|error| SessionError::Open(error.to_string()))?.join();
    let opened = opened.map_err(|_| SessionError::Open("Zenoh has panicked".to_owned()))?;
    opened.map_err(|error| SessionError::Open(error.to_string()))
}

/// Closes a session for all that use it, within a bounded time: what is left ends with the process.
pub(crate) fn close(session: &Session) {
    let session = session.clone();
    // An error means that it is closed.
    ends_in_time(move || drop(session.close().wait()));
}

/// Closes something on a thread of its own, since Zenoh cannot wait on those of actors. Returns whether that has ended within a
/// bounded time.
pub(crate) fn ends_in_time(close: impl FnOnce() + Send + 'static) -> bool {
    let (ends, ended) = sync_channel::<()>(0);
    let closing = spawn_thread("zenoh-close", move || {
        close();
        drop(ends);
    });
    // Without a thread it is closed here, since the thread would own it.
    closing.is_err() || ended.recv_timeout(CLOSE_TIME) == Err(RecvTimeoutError::Disconnected)
}

/// Returns the configuration of a session.
///
/// # Errors
/// If an endpoint is not allowed, or the identity cannot be used.
pub fn config(options: &SessionOptions) -> Result<Config, SessionError> {
    config_of(options, Role::Peer)
}

fn config_of(options: &SessionOptions, role: Role) -> Result<Config, SessionError> {
    check(options)?;
    let (mode, timeout_millis, connections_max) = match role {
        Role::Peer => ("peer", WITHOUT_LIMIT, CONNECTIONS_MAX),
        Role::Client(millis) => ("client", millis, CONNECTIONS_MAX),
        Role::Router => ("router", WITHOUT_LIMIT, ROUTER_CONNECTIONS_MAX),
    };
    let endpoints = |endpoints: &[String]| serde_json::json!(endpoints).to_string();
    let max_message_bytes = MAX_FRAMESET_BYTES + MESSAGE_EXTRA_BYTES;
    let mut config = Config::default();
    for (key, value) in [
        ("mode", format!("\"{mode}\"")),
        ("connect/endpoints", endpoints(&options.connect)),
        ("connect/timeout_ms", timeout_millis.to_string()),
        ("connect/exit_on_failure", "false".to_owned()),
        (
            "connect/retry",
            r#"{ "period_init_ms": 200, "period_max_ms": 1000, "period_increase_factor": 2 }"#.to_owned(),
        ),
        ("listen/endpoints", endpoints(&options.listen)),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("scouting/gossip/enabled", "false".to_owned()),
        ("transport/unicast/max_sessions", connections_max.to_string()),
        ("transport/unicast/open_timeout", OPEN_MILLIS.to_string()),
        ("transport/unicast/accept_timeout", OPEN_MILLIS.to_string()),
        ("transport/link/tx/lease", LEASE_MILLIS.to_string()),
        ("transport/link/rx/max_message_size", max_message_bytes.to_string()),
        ("transport/link/tx/queue/size/data", TX_BATCHES.to_string()),
    ] {
        let inserted = config.insert_json5(key, &value);
        inserted.map_err(|error| SessionError::Open(format!("`{key}`: {error}")))?;
    }
    let has = |protocol| options.connect.iter().chain(&options.listen).any(|it| it.starts_with(protocol));
    if has("tls/") {
        warn_of_threads();
    }
    if has("tls/") || has("quic/") {
        let identity =
            options.identity.as_deref().ok_or_else(|| SessionError::Identity(NO_IDENTITY.to_owned()))?;
        identity::secure(&mut config, identity, &fingerprints(options)?)
            .map_err(|error| SessionError::Identity(error.to_string()))?;
    }
    Ok(config)
}

/// Checks the endpoints of a session, without reading a file.
///
/// # Errors
/// If an endpoint is not allowed.
pub fn check(options: &SessionOptions) -> Result<(), SessionError> {
    let all = || options.connect.iter().chain(&options.listen);
    if all().count() > ENDPOINTS_MAX {
        return Err(SessionError::TooMany(all().count()));
    }
    all().try_for_each(|endpoint| check_endpoint(endpoint, options.insecure))?;
    if options.router {
        options.connect.iter().try_for_each(|endpoint| check_of_router(endpoint))?;
    }
    fingerprints(options).map(drop)
}

fn fingerprints(options: &SessionOptions) -> Result<Vec<Fingerprint>, SessionError> {
    let parsed: Result<_, IdentityError> = options.peers.iter().map(|peer| peer.parse()).collect();
    parsed.map_err(|error| SessionError::Identity(error.to_string()))
}

/// Checks that an endpoint can be that of a router. A router needs several threads, and with `tls` they fail: see
/// [`ONE_THREAD`].
///
/// # Errors
/// If it is of `tls`.
pub(crate) fn check_of_router(endpoint: &str) -> Result<(), SessionError> {
    if endpoint.starts_with("tls/") {
        const FACT: &str =
            "uses `tls`, which a router cannot; expected `quic/HOST:PORT`, which is encrypted as well";
        return Err(SessionError::Endpoint(endpoint.to_owned(), FACT));
    }
    Ok(())
}

/// Checks that an endpoint is of a known transport, and that plain `tcp` leaves this host only if that is allowed.
///
/// # Errors
/// If it is not.
pub fn check_endpoint(endpoint: &str, insecure: bool) -> Result<(), SessionError> {
    let refused = |what| Err(SessionError::Endpoint(endpoint.to_owned(), what));
    let address = match endpoint.split_once('/') {
        Some(("tls" | "quic", address)) => return if has_port(address) { Ok(()) } else { refused(PORT) },
        Some(("tcp", address)) if has_port(address) => address,
        Some(("tcp", _)) => return refused(PORT),
        _ => return refused("is not of the form `tls/HOST:PORT`, `quic/HOST:PORT` or `tcp/HOST:PORT`"),
    };
    if insecure || is_loopback(address) {
        return Ok(());
    }
    refused("is plain `tcp`, which is allowed on loopback only; use `tls`, or say `insecure = true`")
}

const PORT: &str = "has no port, or more than an address and a port";

/// Returns whether an address ends with a port, and has no options of Zenoh after it.
fn has_port(address: &str) -> bool {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_and_secure_endpoints_are_allowed() {
        for endpoint in [
            "tls/10.0.0.12:7447",
            "tls/arm.local:7447",
            "quic/10.0.0.12:7447",
            "tcp/127.0.0.1:0",
            "tcp/[::1]:7447",
            "tcp/localhost:1",
        ] {
            assert!(check_endpoint(endpoint, false).is_ok(), "{endpoint}");
        }
        let error = |endpoint: &str| check_endpoint(endpoint, false).unwrap_err().to_string();
        assert_eq!(
            error("tcp/0.0.0.0:7447"),
            "endpoint `tcp/0.0.0.0:7447` is plain `tcp`, which is allowed on loopback only; use `tls`, or say \
             `insecure = true`"
        );
        assert!(check_endpoint("tcp/0.0.0.0:7447", true).is_ok());
        for endpoint in ["", "10.0.0.12:7447", "udp/10.0.0.12:7447", "TCP/127.0.0.1:1"] {
            assert!(
                error(endpoint)
                    .ends_with("is not of the form `tls/HOST:PORT`, `quic/HOST:PORT` or `tcp/HOST:PORT`"),
                "{endpoint}"
            );
        }
        for endpoint in
            ["tcp/127.0.0.1", "tls/:7447", "tls/a:99999", "tcp/127.0.0.1:7447#iface=eth0", "tls/a:1?prio=1"]
        {
            assert!(
                error(endpoint).ends_with("has no port, or more than an address and a port"),
                "{endpoint}"
            );
        }
    }

    #[test]
    fn only_what_serves_several_peers_without_tls_has_several_threads() {
        let threads = |line: &str| threads_of(line.split(' ').map(str::to_owned));
        for line in [
            "join --listen tcp/0.0.0.0:7447 --insecure",
            "join --listen=quic/[::]:1",
            "join --listen quic/a:1 --identity /etc/tls/id.pem",
            "route --listen quic/a:1",
            "route --listen quic/a:1 --identity tls/id.pem",
        ] {
            assert_eq!(threads(line), SEVERAL_THREADS, "{line}");
        }
        for line in [
            "join --listen tls/0.0.0.0:7447",
            "join --listen tcp/a:1 --listen=tls/a:2",
            "run rig.toml",
            "worker join",
            "",
        ] {
            assert_eq!(threads(line), ONE_THREAD, "{line}");
        }
    }

    #[test]
    fn what_does_not_close_is_not_waited_for() {
        assert!(ends_in_time(|| ()));
        let (end, ended) = sync_channel::<()>(0);
        assert!(!ends_in_time(move || assert!(ended.recv().is_err())));
        drop(end);
    }

    #[test]
    fn a_configuration_disables_scouting_and_listens_only_on_given_endpoints() {
        let config = config(&SessionOptions {
            connect: vec!["tcp/127.0.0.1:9".to_owned()],
            ..SessionOptions::default()
        });
        let json = |key: &str| config.as_ref().unwrap().get_json(key).unwrap();
        assert_eq!(json("listen/endpoints"), "[]");
        assert_eq!(json("connect/endpoints"), r#"["tcp/127.0.0.1:9"]"#);
        assert_eq!(
            (json("scouting/multicast/enabled"), json("scouting/gossip/enabled")),
            ("false".into(), "false".into())
        );
        let many =
            SessionOptions { listen: vec!["tcp/127.0.0.1:0".to_owned(); 17], ..SessionOptions::default() };
        let error = super::config(&many).unwrap_err().to_string();
        assert_eq!(error, "a session has at most 16 endpoints, not 17");
        let router = SessionOptions {
            connect: vec!["tls/10.0.0.20:7447".to_owned()],
            router: true,
            ..SessionOptions::default()
        };
        assert_eq!(
            super::config(&router).unwrap_err().to_string(),
            "endpoint `tls/10.0.0.20:7447` uses `tls`, which a router cannot; expected `quic/HOST:PORT`, which is \
             encrypted as well"
        );
        let error = open(&SessionOptions::default()).unwrap_err().to_string();
        assert_eq!(error, "the session has no endpoint: one of `connect` and `listen` is needed");
    }
}
