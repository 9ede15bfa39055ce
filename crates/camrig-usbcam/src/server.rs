//! Cameras on sockets: one TCP port a camera, on which a host's `vhci_hcd` is attached.
//!
//! Each camera has a thread that serves its connection: it answers control transfers and queues other URBs. Each stream
//! that was committed has a thread that fills these URBs with frames; motion sensors that are on have one for samples. The
//! result of an URB never follows the result of its unlinking, or `vhci_hcd` drops the device: both are decided and sent
//! under the lock of the endpoint's queue.

mod link;
mod queue;
mod streams;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::link::Link;
use self::queue::{Queue, URBS_MAX, Urb};
use self::streams::{Grid, Sampling};
use crate::descriptors::{Speed, endpoint_of, endpoint_on};
use crate::device::{Device, Effect, Identity};
use crate::faults::{Action, Faults, Frozen, Moment};
use crate::hwmon::VERSION;
use crate::models::Model;
use crate::usbip::{self, Request, STALL, Submit, UNLINKED};

/// The emulator's first bytes on a connection. The number of the port follows, counted among those of its speed; then the
/// host may pass the socket to the kernel.
pub const READY: &[u8; 2] = b"GO";

/// Time between the command for a reset and the disconnection.
const RESET_DELAY: Duration = Duration::from_millis(50);

/// Time after which the kernel cancels a control transfer.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// Polling interval of waiting threads for conditions without a condition variable.
const LOOK: Duration = Duration::from_millis(20);

/// Settings of an emulated camera.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model.
    pub model: &'static Model,
    /// Serial numbers and firmware.
    pub identity: Identity,
    /// Speed of its link.
    pub speed: Speed,
    /// TCP port; 0 takes any that is free.
    pub port: u16,
    /// If true, each transfer is written to standard error.
    pub log: bool,
}

/// A running camera.
pub struct EmulatedCamera {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    index: usize,
    device: Mutex<Device>,
    faults: Mutex<Faults>,
    plug: Mutex<Plug>,
    plug_changed: Condvar,
    /// The stream for results while a host is attached.
    writer: Mutex<Option<TcpStream>>,
    /// The same connection, for closing it while a write to it blocks.
    connection: Mutex<Option<TcpStream>>,
    /// By endpoint.
    queues: BTreeMap<u8, Queue>,
    grid: Mutex<Grid>,
    /// By motion sensor.
    sampling: Mutex<[Sampling; 2]>,
    counters: Counters,
    link: Arc<Link>,
    started: Instant,
    log: bool,
}

/// State of the camera's connection to the bus.
#[derive(Clone, Copy, Debug)]
struct Plug {
    plugged: bool,
    /// Number of the port among those of its speed.
    port: u8,
    /// End of the current reset or brown-out, if any.
    down_until: Option<Instant>,
    /// Duration of a reset; `None`: the camera never returns.
    reset_time: Option<Duration>,
}

/// Event counters since the start.
#[derive(Debug, Default)]
struct Counters {
    attached: AtomicU64,
    frames: AtomicU64,
    /// Frames that the host did not fetch in time.
    overrun: AtomicU64,
    /// Frames for which the link had no time.
    congested: AtomicU64,
    /// Frames that were due before a late one was sent.
    delayed: AtomicU64,
    torn: AtomicU64,
    skipped: AtomicU64,
    monitor_commands: AtomicU64,
    /// Number of programs that opened the camera: each requests its version once.
    opens: AtomicU64,
    stalls: AtomicU64,
    resets: AtomicU64,
}

impl EmulatedCamera {
    /// Starts a camera that listens on `127.0.0.1`.
    ///
    /// # Errors
    /// If the port is in use, or no thread can be created.
    pub fn start(index: usize, settings: Settings, link: Arc<Link>) -> io::Result<Self> {
        let Settings { model, identity, speed, port, log } = settings;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let motion = model.motion_interface.map(endpoint_on);
        let endpoints = model.streams().map(endpoint_of).chain(motion);
        let queues = endpoints.map(|endpoint| (endpoint, Queue::default())).collect();
        let plug = Plug {
            plugged: true,
            port: index as u8,
            down_until: None,
            reset_time: Some(Duration::from_secs(1)),
        };
        let shared = Arc::new(Shared {
            index,
            device: Mutex::new(Device::new(model, identity, speed)),
            faults: Mutex::default(),
            plug: Mutex::new(plug),
            plug_changed: Condvar::new(),
            writer: Mutex::default(),
            connection: Mutex::default(),
            queues,
            grid: Mutex::default(),
            sampling: Mutex::default(),
            counters: Counters::default(),
            link,
            started: Instant::now(),
            log,
        });
        let accepting = Arc::clone(&shared);
        spawn(format!("camera-{index}"), move || accepting.accept(&listener))?;
        Ok(Self { shared, address })
    }

    /// Returns the address on which the camera listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the counters as one line.
    pub fn stats(&self) -> String {
        let Counters { attached, opens, frames, overrun, congested, delayed, .. } = &self.shared.counters;
        let Counters { torn, skipped, monitor_commands, stalls, resets, .. } = &self.shared.counters;
        let device = lock(&self.shared.device);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "camera {} {} {}: connected {}, attached {}, opens {}, frames {}, overrun {}, congested {}, delayed {}, torn {}, skipped {}, monitor {}, stalls {}, resets {}",
            self.shared.index,
            device.model().name,
            device.serial(),
            u8::from(lock(&self.shared.writer).is_some()),
            of(attached),
            of(opens),
            of(frames),
            of(overrun),
            of(congested),
            of(delayed),
            of(torn),
            of(skipped),
            of(monitor_commands),
            of(stalls),
            of(resets),
        )
    }

    /// Returns the values of the controls, as one line.
    pub fn controls(&self) -> String {
        lock(&self.shared.device).describe_controls()
    }

    /// Carries out an action that concerns this camera.
    pub fn act(&self, action: &Action) {
        let shared = &self.shared;
        match action {
            Action::Unplug(_) => {
                lock(&shared.plug).plugged = false;
                shared.disconnect();
            }
            Action::UnplugAfter(_, transfers) => lock(&shared.faults).unplug_after = *transfers,
            Action::UnplugAt(_, moment) => lock(&shared.faults).unplug_at = *moment,
            Action::Plug(_) => {
                let mut plug = lock(&shared.plug);
                (plug.plugged, plug.down_until) = (true, None);
                shared.plug_changed.notify_all();
            }
            Action::Port(_, port) => lock(&shared.plug).port = *port,
            Action::Serial(_, serial) => lock(&shared.device).set_serial(serial),
            Action::Freeze(_, frozen) => lock(&shared.faults).frozen = *frozen,
            Action::Tear(_, frames) => lock(&shared.faults).torn = *frames,
            Action::Late(_, time) => lock(&shared.faults).late = *time,
            Action::Skip(_, frames) => lock(&shared.faults).skipped = *frames,
            Action::MonitorDelay(_, time) => lock(&shared.faults).monitor_delay = *time,
            Action::MonitorError(_, error) => lock(&shared.device).monitor_error = *error,
            Action::BadCalibration(_, bad) => lock(&shared.device).monitor.damaged_calibration = *bad,
            Action::Firmware(_, firmware) => lock(&shared.device).monitor.firmware = *firmware,
            Action::ResetTime(_, time) => lock(&shared.plug).reset_time = *time,
            Action::Brownout(_, time) => {
                lock(&shared.plug).down_until = Some(Instant::now() + *time);
                shared.disconnect();
            }
            Action::Megabits(_) | Action::Controls(_) | Action::Stats | Action::Wait(_) | Action::Quit => {}
        }
    }
}

/// Unlink messages whose URBs have not arrived. `vhci_hcd` sends an unlink message before its URB if both are queued while it
/// sends other messages. The URB never completes: the result of unlinking follows when it arrives, because the kernel does
/// not accept a result before it has sent the URB.
///
/// A message that comes before all URBs of its connection is for an URB of the connection before, as when the camera was
/// unplugged while the kernel waited for a control transfer: the kernel waits for its result, and sends no URB until then.
#[derive(Debug, Default)]
struct EarlyUnlinks {
    /// Sequence number of the last URB of the connection.
    newest: Option<u32>,
    /// By sequence number of the URB: that of the message.
    kept: BTreeMap<u32, u32>,
}

impl EarlyUnlinks {
    /// Keeps the message `sequence` if URB `victim` has not arrived. Returns false if it has.
    fn keep(&mut self, sequence: u32, victim: u32) -> io::Result<bool> {
        let is_early = self.newest.is_some_and(|newest| victim.wrapping_sub(newest).cast_signed() > 0);
        if is_early && self.kept.len() == URBS_MAX {
            return Err(io::Error::other(format!(
                "more than {URBS_MAX} URBs were unlinked before they arrived"
            )));
        }
        if is_early {
            self.kept.insert(victim, sequence);
        }
        Ok(is_early)
    }

    /// Notes that URB `sequence` has arrived. Returns the number of the message that unlinked it.
    fn take(&mut self, sequence: u32) -> Option<u32> {
        self.newest = Some(sequence);
        self.kept.remove(&sequence)
    }
}

impl Shared {
    /// Serves one connection after the other.
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for connection in listener.incoming().flatten() {
            self.wait_until_plugged();
            lock(&self.device).power_cycle();
            self.thaw(&[Frozen::UntilRestart, Frozen::UntilReset]);
            let ended = self.serve(&connection);
            self.log(format_args!(
                "detached: {}",
                ended.err().map_or_else(String::new, |error| error.to_string())
            ));
            *lock(&self.connection) = None;
            *lock(&self.writer) = None;
            *lock(&self.grid) = Grid::default();
            *lock(&self.sampling) = Default::default();
            self.queues.values().for_each(Queue::stop);
            self.queues.values().for_each(Queue::clear);
        }
    }

    fn wait_until_plugged(&self) {
        let mut plug = lock(&self.plug);
        loop {
            let is_up = plug.down_until.is_none_or(|until| until <= Instant::now());
            if plug.plugged && is_up {
                plug.down_until = None;
                return;
            }
            plug = self.plug_changed.wait_timeout(plug, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn serve(self: &Arc<Self>, mut connection: &TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        *lock(&self.connection) = Some(connection.try_clone()?);
        *lock(&self.writer) = Some(connection.try_clone()?);
        let port = lock(&self.plug).port;
        connection.write_all(&[READY.as_slice(), &[port]].concat())?;
        self.counters.attached.fetch_add(1, Ordering::Relaxed);
        self.log(format_args!("attached"));
        let mut early = EarlyUnlinks::default();
        loop {
            match usbip::read_request(&mut connection)? {
                Request::Submit(submit) => match early.take(submit.sequence) {
                    Some(sequence) => {
                        self.log(format_args!("URB {} was unlinked before it arrived", submit.sequence));
                        self.send(&usbip::unlink_result(sequence, UNLINKED))?;
                    }
                    None if submit.endpoint == 0 => self.control(&submit)?,
                    None => self.queue_urb(&submit)?,
                },
                Request::Unlink { sequence, victim } => {
                    if !early.keep(sequence, victim)? {
                        self.unlink(sequence, victim)?;
                    }
                }
            }
        }
    }

    fn control(self: &Arc<Self>, submit: &Submit) -> io::Result<()> {
        let (answer, effect) = {
            let mut device = lock(&self.device);
            device.monitor.now = self.started.elapsed();
            device.control(submit.setup, &submit.data)
        };
        if lock(&self.faults).unplugs_at(Moment::of(submit.setup, effect.as_ref())) {
            lock(&self.plug).plugged = false;
            self.disconnect();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let [kind, request, _, value, interface, entity, ..] = submit.setup;
        self.log(format_args!(
            "control {kind:02x} {request:02x} selector {value:#x} interface {interface} entity {entity}: {}",
            answer.as_ref().map_or_else(|| "stall".to_owned(), |data| format!("{} bytes", data.len())),
        ));
        if let Some(effect) = effect {
            self.carry_out(effect)?;
        }
        let is_in = kind & 0x80 != 0;
        let message = match answer {
            Some(data) if is_in => usbip::submit_result(submit.sequence, 0, data.len() as u32, &data),
            Some(_) => usbip::submit_result(submit.sequence, 0, submit.data.len() as u32, &[]),
            None => {
                self.counters.stalls.fetch_add(1, Ordering::Relaxed);
                usbip::submit_result(submit.sequence, STALL, 0, &[])
            }
        };
        self.send(&message)
    }

    fn carry_out(self: &Arc<Self>, effect: Effect) -> io::Result<()> {
        match effect {
            Effect::Start(commit) => {
                self.log(format_args!("start {commit:?}"));
                let shared = Arc::clone(self);
                let Some(queue) = self.queues.get(&endpoint_of(commit.stream)) else { return Ok(()) };
                self.thaw(&[Frozen::UntilRestart]);
                lock(&self.grid).add(endpoint_of(commit.stream));
                let generation = queue.start();
                spawn(format!("stream-{}", self.index), move || shared.stream(&commit, generation))?;
            }
            Effect::Motion => {
                let (rates, interface) = {
                    let device = lock(&self.device);
                    (device.motion.rates(), device.model().motion_interface)
                };
                self.log(format_args!("motion {rates:?}"));
                self.set_rates(rates);
                let Some(endpoint) = interface.map(endpoint_on) else { return Ok(()) };
                let Some(queue) = self.queues.get(&endpoint) else { return Ok(()) };
                let (shared, generation) = (Arc::clone(self), queue.start());
                spawn(format!("motion-{}", self.index), move || shared.sample(endpoint, generation))?;
            }
            Effect::Stop { endpoint } => {
                self.log(format_args!("stop endpoint {endpoint}"));
                self.queues.get(&endpoint).into_iter().for_each(Queue::stop);
                lock(&self.grid).remove(endpoint);
            }
            Effect::Monitor { operation, failed } => {
                let delay = lock(&self.faults).monitor_delay;
                let ending = match (failed, delay >= CONTROL_TIMEOUT) {
                    (true, _) => " failed",
                    (false, true) => " late",
                    (false, false) => "",
                };
                self.log(format_args!("monitor {operation:#04x}{ending}"));
                self.counters.monitor_commands.fetch_add(1, Ordering::Relaxed);
                self.counters.opens.fetch_add((operation == VERSION).into(), Ordering::Relaxed);
                std::thread::sleep(delay);
            }
            Effect::Reset => {
                self.log(format_args!("reset"));
                self.counters.resets.fetch_add(1, Ordering::Relaxed);
                let mut plug = lock(&self.plug);
                plug.down_until = plug.reset_time.map(|time| Instant::now() + time);
                plug.plugged &= plug.reset_time.is_some();
                drop(plug);
                let shared = Arc::clone(self);
                spawn(format!("reset-{}", self.index), move || {
                    std::thread::sleep(RESET_DELAY);
                    shared.disconnect();
                })?;
            }
        }
        Ok(())
    }

    /// Ends a freeze of these kinds.
    fn thaw(&self, kinds: &[Frozen]) {
        let mut faults = lock(&self.faults);
        if kinds.contains(&faults.frozen) {
            faults.frozen = Frozen::No;
        }
    }

    fn queue_urb(&self, submit: &Submit) -> io::Result<()> {
        let Some(queue) = self.queues.get(&(submit.endpoint as u8)) else {
            return self.send(&usbip::submit_result(submit.sequence, STALL, 0, &[]));
        };
        if queue.push(Urb { sequence: submit.sequence, length: submit.length }) {
            return Ok(());
        }
        let endpoint = submit.endpoint;
        Err(io::Error::other(format!("more than {URBS_MAX} URBs wait on endpoint {endpoint}")))
    }

    fn unlink(&self, sequence: u32, victim: u32) -> io::Result<()> {
        for queue in self.queues.values() {
            // Sent under the lock: no thread can still send a result for this URB.
            if let Some(_locked) = queue.remove(victim) {
                return self.send(&usbip::unlink_result(sequence, UNLINKED));
            }
        }
        self.send(&usbip::unlink_result(sequence, 0))
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        let writer = lock(&self.writer);
        let mut stream = writer.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(message)
    }

    fn disconnect(&self) {
        if let Some(connection) = lock(&self.connection).as_ref() {
            // Fails when the host was quicker.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn log(&self, what: std::fmt::Arguments<'_>) {
        if self.log {
            let seconds = self.started.elapsed().as_secs_f64();
            // An error on the log output does not stop the camera.
            let _ = writeln!(io::stderr(), "{seconds:10.4} camera {}: {what}", self.index);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name).spawn(run).map(drop)
}
