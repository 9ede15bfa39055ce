//! The agent of a host, `camrig join`: runs the parts of rigs that first hosts give it.
//!
//! It runs drivers and kinds of its own program only. Its workers are supervised as on a first host; when a first host is
//! disconnected for longer than the option `patience`, the parts of its runs stop.

mod parts;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use camrig::{Registry, console, spawn_thread};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use zenoh::query::Query;
use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

use self::parts::Parts;
use crate::clock;
use crate::protocol::{AgentKeys, Answer, HostRequest, read, write};
use crate::session::{self, SessionOptions};

/// Maximum number of requests that are answered at a time; further ones get no answer.
const REQUESTS_MAX: usize = 16;

/// Maximum number of pending events.
const EVENTS_MAX: usize = 256;

/// Maximum length of a line of the log, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// Maximum time for which an agent waits until another one of its name is no longer connected to the router.
const NAME_TIME: Duration = Duration::from_secs(6);

/// Time between two checks of it.
const NAME_PAUSE: Duration = Duration::from_millis(500);

/// Maximum time between two checks of the time without an event.
const LOOK: Duration = Duration::from_secs(3600);

/// The addresses of an agent, and the peers whose requests it accepts.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Where it listens, such as `tls/0.0.0.0:7447`; empty if it is connected to a router.
    pub listen: Vec<String>,
    /// Routers that it connects to, such as `quic/10.0.0.20:7447`.
    pub connect: Vec<String>,
    /// The name of this host at a router, which topologies give it too; `None` without one.
    pub name: Option<String>,
    /// The file of its identity.
    pub identity: PathBuf,
    /// The fingerprints of the first hosts whose requests it accepts, or of the router.
    pub peers: Vec<String>,
    /// Allows `tcp`, which is not encrypted, on other addresses than loopback.
    pub insecure: bool,
    /// The time for which a first host may be disconnected before the parts of its runs stop.
    pub patience: Duration,
}

/// An event at an agent.
enum Event {
    /// The first host of a run is connected.
    Here(String),
    /// The first host of a run is disconnected.
    Gone(String),
    End,
}

/// Runs the agent until a signal ends it; then its parts stop in order.
///
/// # Errors
/// A message if it cannot listen, or the system lacks resources.
pub fn run(options: &AgentOptions, registry: &Registry) -> Result<(), String> {
    let session_options = SessionOptions {
        listen: options.listen.clone(),
        connect: options.connect.clone(),
        router: options.name.is_some(),
        insecure: options.insecure,
        identity: Some(options.identity.clone()),
        peers: options.peers.clone(),
    };
    let session = session::open_agent(&session_options).map_err(|error| error.to_string())?;
    let keys = AgentKeys::of(options.name.as_deref());
    if let Some(name) = &options.name {
        await_name(&session, &keys, name)?;
    }
    session::provide(session.clone());
    let (sender, events) = sync_channel(EVENTS_MAX);
    end_by_signals(sender.clone()).map_err(|error| format!("signals cannot be received: {error}"))?;
    publish_log(&session, &keys).map_err(|error| format!("the log cannot be published: {error}"))?;
    let parts = Arc::new(Parts::new(registry, &options.identity));
    serve(&session, &keys, &parts, sender).map_err(|error| format!("Zenoh: {error}"))?;
    for address in &options.listen {
        console::print_note(format_args!("agent: listens at {address}"));
    }
    if let Some(name) = &options.name {
        console::print_note(format_args!("agent: connected as {name} to {}", options.connect.join(" or ")));
    }
    watch(&parts, &events, options.patience);
    parts.stop_all();
    session::close(&session);
    Ok(())
}

/// Waits until no other agent of this name is connected to the router, within a bounded time: this one may have been restarted.
fn await_name(session: &Session, keys: &AgentKeys, name: &str) -> Result<(), String> {
    let until = Instant::now() + NAME_TIME;
    let is_free = || -> zenoh::Result<bool> {
        let tokens = session.liveliness().get(keys.alive()).timeout(NAME_PAUSE * 2).wait()?;
        Ok(tokens.recv().is_err())
    };
    while !is_free().map_err(|error| format!("Zenoh: {error}"))? {
        if Instant::now() >= until {
            return Err(format!(
                "another agent is connected to the router as `{name}`: choose another `--name`"
            ));
        }
        std::thread::sleep(NAME_PAUSE);
    }
    Ok(())
}

/// One of the requests that are answered at a time.
struct Answering(Arc<AtomicUsize>);

impl Answering {
    /// Counts a request; `None` if there are too many.
    fn begin(count: &Arc<AtomicUsize>) -> Option<Self> {
        let answering = Self(Arc::clone(count));
        (count.fetch_add(1, Ordering::AcqRel) < REQUESTS_MAX).then_some(answering)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers requests, and notes which first hosts are connected.
fn serve(
    session: &Session,
    keys: &AgentKeys,
    parts: &Arc<Parts>,
    events: SyncSender<Event>,
) -> zenoh::Result<()> {
    let runs = keys.runs();
    let alive = move |sample: zenoh::sample::Sample| {
        let Some(run) = sample.key_expr().as_str().strip_prefix(&runs) else { return };
        let event = if sample.kind() == SampleKind::Put { Event::Here } else { Event::Gone };
        let _ = events.send(event(run.to_owned()));
    };
    session
        .liveliness()
        .declare_subscriber(keys.runs() + "*")
        .history(true)
        .callback(alive)
        .background()
        .wait()?;
    let (parts, count) = (Arc::clone(parts), Arc::default());
    let answer = move |query: Query| {
        // Nothing may wait on this thread of Zenoh, so there is no answer that says why.
        let Some(answering) = Answering::begin(&count) else {
            return log::warn!("a request is not answered: {REQUESTS_MAX} others are");
        };
        let parts = Arc::clone(&parts);
        // On a thread of its own: a check opens devices, and a stop waits.
        let thread = spawn_thread("answer", move || {
            let _answering = answering;
            reply(&query, &respond(&parts, &query));
        });
        if let Err(error) = thread {
            log::error!("a request cannot be answered: {error}");
        }
    };
    session.declare_queryable(keys.ask()).callback(answer).background().wait()?;
    let clock = clock::serve(session, &keys.clock())?;
    let token = session.liveliness().declare_token(keys.alive()).wait()?;
    // They last as long as the session.
    std::mem::forget((clock, token));
    Ok(())
}

fn respond(parts: &Parts, query: &Query) -> Answer {
    let bytes = query.payload().map(|payload| payload.to_bytes().into_owned()).unwrap_or_default();
    match read::<HostRequest>("the first host", &bytes) {
        Ok(request) => parts.answer(request),
        Err(refused) => Answer::Refused(vec![refused]),
    }
}

fn reply(query: &Query, answer: &Answer) {
    if let Err(error) = query.reply(query.key_expr().clone(), write(answer)).wait() {
        log::warn!("a request cannot be answered: {error}");
    }
}

/// Waits for the end, and stops the parts whose first host is disconnected for longer than `patience`.
fn watch(parts: &Parts, events: &Receiver<Event>, patience: Duration) {
    let mut gone: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        let next = gone.values().min().copied();
        let wait = next.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
        match events.recv_timeout(wait) {
            Ok(Event::Here(run)) => drop(gone.remove(&run)),
            Ok(Event::Gone(run)) => drop(gone.insert(run, Instant::now() + patience)),
            Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = Instant::now();
        let due: Vec<_> = gone.iter().filter(|(_, due)| **due <= now).map(|(run, _)| run.clone()).collect();
        for run in due {
            gone.remove(&run);
            parts.abandon(&run);
        }
    }
}

fn end_by_signals(events: SyncSender<Event>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let pass_on = move || {
        for _ in signals.forever() {
            let _ = events.try_send(Event::End);
        }
    };
    spawn_thread("signals", pass_on).map(drop)
}

/// Publishes each line that this process and its workers write on stderr. It is still written there.
fn publish_log(session: &Session, keys: &AgentKeys) -> std::io::Result<()> {
    let (reader, writer) = std::io::pipe()?;
    let mut original = std::fs::File::from(rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3)?);
    let publisher = session.declare_publisher(keys.log()).wait().map_err(std::io::Error::other)?;
    let pass_on = move || {
        let mut lines = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            match std::io::Read::take(&mut lines, LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            // A line that cannot be written or published is lost, as on any terminal that is closed.
            let _ = original.write_all(&line);
            let _ = publisher.put(line.trim_ascii_end()).wait();
        }
    };
    spawn_thread("log", pass_on)?;
    rustix::stdio::dup2_stderr(&writer)?;
    Ok(())
}

/// Returns the text of a systemd unit that runs an agent.
pub fn unit(program: &Path, arguments: &[String]) -> String {
    let quoted = |word: &str| {
        format!(
            "\"{}\"",
            word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$")
        )
    };
    let words: Vec<_> = std::iter::once(program.display().to_string())
        .chain(arguments.iter().cloned())
        .map(|word| quoted(&word))
        .collect();
    format!(
        "[Unit]\nDescription=Agent of camrig: runs its part of rigs over several hosts\nAfter=network-online.target\n\
         Wants=network-online.target\n\n[Service]\nExecStart={}\nRestart=always\nRestartSec=2\nKillSignal=SIGTERM\n\
         TimeoutStopSec=45\n\n[Install]\nWantedBy=multi-user.target\n",
        words.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_has_ended_makes_room_for_another() {
        let count = Arc::default();
        for _ in 0..2 {
            // The last ones end by a panic, or before they have a thread.
            let all: Vec<_> = (0..REQUESTS_MAX).map_while(|_| Answering::begin(&count)).collect();
            assert_eq!(all.len(), REQUESTS_MAX);
            assert!(Answering::begin(&count).is_none());
            let panics = std::thread::spawn(move || {
                let _all = all;
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(panics.join().is_err());
        }
    }

    #[test]
    fn the_unit_starts_the_same_agent() {
        let unit = unit(
            Path::new("/opt/my camrig"),
            &["join".to_owned(), "--listen".to_owned(), "tls/[::]:7447".to_owned(), "50%$".to_owned()],
        );
        assert!(
            unit.contains(
                "\nExecStart=\"/opt/my camrig\" \"join\" \"--listen\" \"tls/[::]:7447\" \"50%%$$\"\n"
            ),
            "{unit}"
        );
        assert!(unit.contains("\nRestart=always\n"));
    }

    /// A machine without systemd has nothing to compare with.
    #[test]
    fn systemd_accepts_the_unit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("camrig-agent.service");
        let arguments = ["join", "--listen", "tls/[::]:7447", "--identity", "/a folder/50%$\"id.pem"];
        std::fs::write(&path, unit(&std::env::current_exe().unwrap(), &arguments.map(str::to_owned)))
            .unwrap();
        match std::process::Command::new("systemd-analyze").arg("verify").arg(&path).output() {
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                // It also names faults of other units of the machine.
                assert!(!said.contains("camrig-agent"), "{said}");
            }
        }
    }
}
