//! Worker processes, from the supervisor's side: started, told, watched, ended.
//!
//! It deliberately knows no actor: what a worker says is passed on, and that it ended is said once.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_channel::ipc::{IpcOneShotServer, IpcReceiver, IpcSender};

use crate::control::{ActorEvent, Answer, Order};
use crate::worker::{PROCESS_VARIABLE, SERVER_VARIABLE};

/// How long a worker may take from its start to its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a worker that has not said hello is looked at.
const HELLO_PAUSE: Duration = Duration::from_millis(5);

/// What a worker tells the supervisor, and its end.
pub(crate) enum WorkerEvent {
    /// It is there.
    Hello(IpcSender<Order>),
    /// Something happened to one of its actors.
    Actor(ActorEvent),
    /// It ended, for this reason; always the last event.
    Exited(String),
}

/// A process that the supervisor started.
pub(crate) struct Worker {
    child: Arc<Mutex<Child>>,
    pid: u32,
    orders: Option<IpcSender<Order>>,
}

impl Worker {
    /// Starts the same program as a worker called `process`; everything that it says goes to `events`.
    ///
    /// # Errors
    /// When the system cannot start another process.
    pub(crate) fn start<E: From<(usize, WorkerEvent)> + Send + 'static>(
        index: usize,
        process: &str,
        events: SyncSender<E>,
    ) -> std::io::Result<Self> {
        let (server, server_name) = IpcOneShotServer::<Answer>::new().map_err(std::io::Error::other)?;
        let name = std::env::args_os().next().unwrap_or_default();
        let child = Command::new("/proc/self/exe")
            // The same file, also when it was replaced meanwhile; the name and arguments are for `ps`.
            .arg0(name)
            .args(["worker", process])
            .env(SERVER_VARIABLE, &server_name)
            .env(PROCESS_VARIABLE, process)
            .stdin(Stdio::null())
            // Ctrl-C on the terminal reaches the supervisor only: it stops the rig in order.
            .process_group(0)
            .spawn()?;
        let pid = child.id();
        let child = Arc::new(Mutex::new(child));
        let accepted = Arc::new(AtomicBool::new(false));
        guard_hello(Arc::clone(&child), Arc::clone(&accepted), server_name)?;
        let watched = Arc::clone(&child);
        std::thread::Builder::new().name(process.to_owned()).spawn(move || {
            let first = server.accept();
            accepted.store(true, Ordering::Release);
            if let Ok((answers, first)) = first {
                // None when the worker is gone, or when nobody is left to tell: the supervisor is ending.
                let _ = listen(&answers, first, |event| events.send(E::from((index, event))).is_ok());
            }
            let exited = WorkerEvent::Exited(describe(lock(&watched).wait()));
            let _ = events.send(E::from((index, exited)));
        })?;
        Ok(Self { child, pid, orders: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Notes where the worker hears orders.
    pub(crate) fn greet(&mut self, orders: IpcSender<Order>) {
        self.orders = Some(orders);
    }

    /// Whether it has said hello.
    pub(crate) fn is_there(&self) -> bool {
        self.orders.is_some()
    }

    /// Gives an order. A worker that is gone takes none: its end is an event of its own.
    pub(crate) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    /// Ends the process at once.
    pub(crate) fn kill(&self) {
        // Fails only when it has ended already.
        let _ = lock(&self.child).kill();
    }
}

/// A supervisor that ends for whatever reason leaves no worker behind.
impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes on what the worker says until it is gone.
fn listen(answers: &IpcReceiver<Answer>, first: Answer, tell: impl Fn(WorkerEvent) -> bool) -> Option<()> {
    let mut answer = first;
    loop {
        let told = match answer {
            Answer::Hello(orders) => tell(WorkerEvent::Hello(orders)),
            Answer::Actor(event) => tell(WorkerEvent::Actor(event)),
            Answer::NeverCame => return None,
        };
        answer = told.then(|| answers.recv().ok()).flatten()?;
    }
}

/// `accept` waits for ever if the worker dies before it connects: watch it until then, and connect in its
/// place if it does.
fn guard_hello(
    child: Arc<Mutex<Child>>,
    accepted: Arc<AtomicBool>,
    server_name: String,
) -> std::io::Result<()> {
    let deadline = Instant::now() + HELLO_TIMEOUT;
    let guard = move || {
        while !accepted.load(Ordering::Acquire) {
            let mut child = lock(&child);
            if !matches!(child.try_wait(), Ok(None)) {
                drop(child);
                // Fails when the worker came after all.
                if let Ok(server) = IpcSender::connect(server_name) {
                    let _ = server.send(Answer::NeverCame);
                }
                return;
            }
            if Instant::now() >= deadline {
                let _ = child.kill();
            }
            drop(child);
            std::thread::sleep(HELLO_PAUSE);
        }
    };
    std::thread::Builder::new().name("hello".to_owned()).spawn(guard).map(drop)
}

/// How a process ended, in words.
fn describe(status: std::io::Result<ExitStatus>) -> String {
    let signal_name = |signal: i32| match signal {
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    };
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("was killed by signal {signal}{}", signal_name(signal)),
            (None, Some(code)) => format!("exited with code {code}"),
            (None, None) => status.to_string(),
        },
        Err(error) => format!("cannot be waited for: {error}"),
    }
}
