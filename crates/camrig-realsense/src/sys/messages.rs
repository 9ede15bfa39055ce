//! librealsense's own messages: its log, and the notifications of sensors. Both reach the log of this process, each
//! message once, with the device that it is about.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use realsense_sys as rs2;
use rustix::thread;

use super::{Fault, call};
use crate::repeats::Repeats;

/// An error that librealsense logs in every process whose user has no file of settings, although nothing is wrong.
const NO_SETTINGS: &str = "No valid configuration file";

/// The beginning of an error that librealsense logs for a call that fails: the caller gets it anyway.
const CALL_FAILS: &str = "[rs2_";

/// The beginning of the names of the threads that librealsense starts for a player; its number in [`OPEN`] follows. No
/// actor's thread has such a name, because `#` is in no actor's name.
const PLAYER_THREAD: &str = "rs#";

thread_local! {
    /// The errors that were logged within a call on this thread; `None` outside of calls.
    static WITHIN_CALL: RefCell<Option<Vec<(String, String)>>> = const { RefCell::new(None) };
}

/// Keeps the errors that are logged within a call: if it fails, they explain the error that the caller gets.
pub(super) struct Logged {
    /// Calls within calls are made by callbacks.
    is_outermost: bool,
}

impl Logged {
    /// Begins to keep errors.
    pub(super) fn begin() -> Self {
        let is_outermost = WITHIN_CALL.with_borrow_mut(|kept| {
            let is_outermost = kept.is_none();
            kept.get_or_insert_default();
            is_outermost
        });
        Self { is_outermost }
    }

    /// Logs them, since the call has not failed.
    pub(super) fn log(self) {
        if self.is_outermost {
            for (subject, text) in WITHIN_CALL.take().unwrap_or_default() {
                log_message(open(), log::Level::Error, &subject, &text);
            }
        }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if self.is_outermost {
            for (subject, text) in WITHIN_CALL.take().unwrap_or_default() {
                log::debug!("{subject}: {text}");
            }
        }
    }
}

/// The devices that are open, and the messages logged about them. A callback may run after its device was dropped, so it
/// gets a number of this list instead of a pointer.
static OPEN: Mutex<Open> = Mutex::new(Open { next: 1, devices: BTreeMap::new(), repeats: None });

struct Open {
    next: usize,
    devices: BTreeMap<usize, LoggedMessage>,
    repeats: Option<Repeats>,
}

struct LoggedMessage {
    subject: String,
    /// The first error that the threads of a player have logged.
    error: Option<String>,
}

fn open() -> MutexGuard<'static, Open> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An entry in the list of open devices, until it is dropped.
#[derive(Debug)]
pub(crate) struct Messages(usize);

impl Messages {
    /// Registers a device whose name in messages is `subject`.
    pub(super) fn of(subject: &str) -> Self {
        let mut open = open();
        let number = open.next;
        open.next += 1;
        open.devices.insert(number, LoggedMessage { subject: subject.to_owned(), error: None });
        Self(number)
    }

    /// Makes a call whose new threads are those of this player: a thread begins with the name of the one that starts it.
    /// This distinguishes them from those that other threads start at the same time.
    pub(super) fn own_threads_of<T>(&self, call: impl FnOnce() -> T) -> T {
        let own = thread::name();
        let name = CString::new(format!("{PLAYER_THREAD}{}", self.0)).unwrap_or_default();
        // Without the name no message is the player's.
        let _ = thread::set_name(&name);
        let result = call();
        let _ = own.and_then(|own| thread::set_name(&own));
        result
    }

    /// Returns the first error that a player has logged, which ends its play.
    pub(super) fn error(&self) -> Option<String> {
        open().devices.get(&self.0)?.error.clone()
    }

    /// Logs the notifications of a sensor from now on.
    ///
    /// # Safety
    /// The sensor is alive.
    pub(super) unsafe fn notify(&self, sensor: NonNull<rs2::rs2_sensor>) -> Result<(), Fault> {
        let user = ptr::without_provenance_mut::<c_void>(self.0);
        // SAFETY: the sensor is alive. The callback uses `user` as a number, never as a pointer.
        call(|error| unsafe {
            rs2::rs2_set_notifications_callback(sensor.as_ptr(), Some(on_notification), user, error);
        })
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        open().devices.remove(&self.0);
    }
}

/// Passes librealsense's warnings and errors to the log, from the first call on.
pub(super) fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let severity = rs2::rs2_log_severity_RS2_LOG_SEVERITY_WARN;
        // SAFETY: the callback needs no user pointer, and is valid as long as the process runs.
        let registered = call(|error| unsafe {
            rs2::rs2_log_to_callback(severity, Some(on_log), ptr::null_mut(), error);
        });
        if let Err(fault) = registered {
            log::warn!("librealsense's log is not available: {fault}");
        }
    });
}

/// Returns the number of the player that has this thread, if it is one that librealsense started for a player. A thread
/// that makes a call is the caller's.
fn player_of_thread() -> Option<usize> {
    if WITHIN_CALL.with_borrow(Option::is_some) {
        return None;
    }
    thread::name().ok()?.to_str().ok()?.strip_prefix(PLAYER_THREAD)?.parse().ok()
}

/// Called by librealsense for each line of its log, on any thread.
unsafe extern "C" fn on_log(
    severity: rs2::rs2_log_severity,
    message: *const rs2::rs2_log_message,
    _: *mut c_void,
) {
    // SAFETY: the message is alive during the callback; its text belongs to librealsense and is copied immediately.
    let text = call(|error| unsafe { rs2::rs2_get_raw_log_message(message, error) }).ok().and_then(constant);
    let Some(text) = text else { return };
    let level = if severity >= rs2::rs2_log_severity_RS2_LOG_SEVERITY_ERROR {
        log::Level::Error
    } else {
        log::Level::Warn
    };
    let is_harmless = text.starts_with(NO_SETTINGS) || text.starts_with(CALL_FAILS);
    let mut open = open();
    let player = player_of_thread();
    let subject = match player.and_then(|player| open.devices.get_mut(&player)) {
        Some(entry) => {
            if level == log::Level::Error && !is_harmless {
                entry.error.get_or_insert_with(|| text.clone());
            }
            entry.subject.clone()
        }
        None => everyone(&open),
    };
    if is_harmless {
        drop(open);
        log::debug!("{subject}: {text}");
        return;
    }
    let is_kept = level == log::Level::Error
        && WITHIN_CALL.with_borrow_mut(|kept| {
            kept.as_mut().map(|kept| kept.push((subject.clone(), text.clone()))).is_some()
        });
    if !is_kept {
        log_message(open, level, &subject, &text);
    }
}

/// Called by librealsense for each notification of a sensor; the number of its device is `user`.
extern "C" fn on_notification(notification: *mut rs2::rs2_notification, user: *mut c_void) {
    // SAFETY: the notification is alive during the callback; its text belongs to librealsense and is copied immediately.
    let text = call(|error| unsafe { rs2::rs2_get_notification_description(notification, error) });
    let Some(text) = text.ok().and_then(constant) else { return };
    // SAFETY: as above.
    let severity = call(|error| unsafe { rs2::rs2_get_notification_severity(notification, error) });
    let level = match severity {
        Ok(severity) if severity >= rs2::rs2_log_severity_RS2_LOG_SEVERITY_ERROR => log::Level::Error,
        Ok(rs2::rs2_log_severity_RS2_LOG_SEVERITY_WARN) => log::Level::Warn,
        _ => log::Level::Info,
    };
    let open = open();
    let Some(subject) = open.devices.get(&user.addr()).map(|entry| entry.subject.clone()) else { return };
    log_message(open, level, &subject, &format!("librealsense reports: {text}"));
}

/// Returns the devices that a message may be about, if it does not name one.
fn everyone(open: &Open) -> String {
    let subjects: Vec<_> = open.devices.values().map(|entry| entry.subject.as_str()).collect();
    if subjects.is_empty() {
        "librealsense".to_owned()
    } else {
        format!("librealsense ({})", subjects.join(", "))
    }
}

fn log_message(mut open: MutexGuard<'_, Open>, level: log::Level, subject: &str, text: &str) {
    let text = Fault::new(text).to_string();
    let line = open.repeats.get_or_insert_default().text(subject, &text, Instant::now());
    // A logger may block.
    drop(open);
    if let Some(line) = line {
        log::log!(level, "{line}");
    }
}

/// Copies a text of librealsense; `None` for a null pointer.
fn constant(text: *const c_char) -> Option<String> {
    // SAFETY: not null, so a text of librealsense's that ends with a zero.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_error(text: &CStr) {
        let severity = rs2::rs2_log_severity_RS2_LOG_SEVERITY_ERROR;
        let mut error = ptr::null_mut();
        // SAFETY: the text ends with a zero; librealsense copies it.
        unsafe { rs2::rs2_log(severity, text.as_ptr(), &raw mut error) };
        assert!(error.is_null());
    }

    #[test]
    fn an_error_of_a_players_thread_is_the_players() {
        listen();
        let (ours, other) = (Messages::of("file `ours.bag`"), Messages::of("file `other.bag`"));
        // Both players start their threads at the same time, and so does this test.
        let at_once = std::sync::Barrier::new(3);
        let error = |text: &'static CStr| std::thread::spawn(move || log_error(text));
        let start = |text| (at_once.wait(), error(text)).1;
        std::thread::scope(|scope| {
            let opening =
                scope.spawn(|| other.own_threads_of(|| start(c"it cannot be read either")).join().unwrap());
            let foreign = scope.spawn(|| start(c"no player's").join().unwrap());
            // Messages of every process, and errors that a caller gets, are not errors of a player.
            let texts = [
                c"No valid configuration file found",
                c"[rs2_pipeline_start] it cannot",
                c"it cannot be read",
            ];
            let threads = ours.own_threads_of(|| (at_once.wait(), texts.map(error)).1);
            for thread in threads {
                thread.join().unwrap();
            }
            opening.join().unwrap();
            foreign.join().unwrap();
        });
        log_error(c"the caller's");
        assert_eq!(ours.error().as_deref(), Some("it cannot be read"));
        assert_eq!(other.error().as_deref(), Some("it cannot be read either"));
        let number = ours.0;
        drop(ours);
        assert!(!open().devices.contains_key(&number));
    }

    #[test]
    fn a_thread_keeps_its_name_and_its_errors_in_a_call() {
        listen();
        let before = thread::name().unwrap();
        let ours = Messages::of("file `named.bag`");
        ours.own_threads_of(|| call(|_| log_error(c"the caller gets this"))).unwrap();
        assert_eq!((ours.error(), thread::name().unwrap()), (None, before));
    }

    #[test]
    fn a_message_of_no_certain_device_names_all() {
        let entry = |subject: &str| LoggedMessage { subject: subject.to_owned(), error: None };
        let of = |subjects: &[&str]| {
            let devices = subjects.iter().map(|subject| entry(subject)).enumerate().collect();
            everyone(&Open { next: 1, devices, repeats: None })
        };
        assert_eq!(of(&[]), "librealsense");
        assert_eq!(of(&["camera `1`", "camera `2`"]), "librealsense (camera `1`, camera `2`)");
    }
}
