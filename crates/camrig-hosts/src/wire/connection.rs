//! One end of a crossing on a session of Zenoh.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use camrig_ipc::spawn_thread;
use zenoh::bytes::ZBytes;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::query::Queryable;
use zenoh::sample::Sample;
use zenoh::{Session, Wait};

use super::Ends;
use crate::clock;
use crate::session::{self, SessionError, SessionOptions};

/// Silence of the other end after which a session is opened again: Zenoh connects again by itself, much sooner, and may still
/// not deliver.
const REOPEN_AFTER: Duration = Duration::from_secs(10);

/// Time after which opening fails without any session before it is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Maximum time between two openings of a session whose other end stays silent.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(60);

/// An open end. It is closed on a thread of its own, since Zenoh cannot wait on those of actors.
pub(super) struct Connection {
    options: SessionOptions,
    ends: Ends,
    serves: Option<String>,
    receive: Arc<dyn Fn(Sample) + Send + Sync>,
    /// `None` while one that listens is opened again, and while it is dropped.
    open: Mutex<Option<Arc<Open>>>,
    reopening: Mutex<Reopening>,
}

struct Open {
    publisher: Publisher<'static>,
    _subscriber: Subscriber<()>,
    _clock: Option<Queryable<()>>,
    session: Session,
}

/// Decides when a session is opened again.
#[derive(Debug)]
struct Reopening {
    /// The silence at which it is opened next.
    next: Duration,
    pause: Duration,
    count: u32,
}

impl Default for Reopening {
    fn default() -> Self {
        Self { next: REOPEN_AFTER, pause: REOPEN_AFTER, count: 0 }
    }
}

impl Reopening {
    /// Returns whether a session should be opened again whose other end has been silent for this time.
    fn is_due(&mut self, silent: Duration) -> bool {
        if silent < REOPEN_AFTER {
            *self = Self { count: self.count, ..Self::default() };
            return false;
        }
        if silent < self.next {
            return false;
        }
        self.next = silent + self.pause;
        self.pause = (self.pause * 2).min(REOPEN_PAUSE_MAX);
        self.count += 1;
        true
    }

    /// Notes that a session could not be opened at this silence, and whether the old one is still open.
    fn has_failed(&mut self, silent: Duration, is_open: bool) {
        if !is_open {
            self.next = silent + RETRY_PAUSE;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Opens an end: `receive` is called with each message, on a thread of Zenoh, and has to return soon. With `serves`,
    /// requests for this host's clock are answered under that key.
    ///
    /// # Errors
    /// If the session cannot be opened.
    pub(super) fn open(
        options: &SessionOptions,
        ends: Ends,
        serves: Option<String>,
        receive: impl Fn(Sample) + Send + Sync + 'static,
    ) -> Result<Self, SessionError> {
        let connection = Self {
            options: options.clone(),
            ends,
            serves,
            receive: Arc::new(receive),
            open: Mutex::default(),
            reopening: Mutex::default(),
        };
        let open = connection.opened()?;
        *locked(&connection.open) = Some(Arc::new(open));
        Ok(connection)
    }

    fn opened(&self) -> Result<Open, SessionError> {
        let session = session::open(&self.options)?;
        let refused = |error: zenoh::Error| SessionError::Open(error.to_string());
        let publisher = session.declare_publisher(self.ends.writes.clone());
        // Never dropped by Zenoh, and never delayed to be sent with others.
        let publisher = publisher.congestion_control(CongestionControl::Block).express(true);
        let publisher = publisher.wait().map_err(refused)?;
        let clock = self.serves.as_ref().map(|key| clock::serve(&session, key)).transpose();
        let clock = clock.map_err(refused)?;
        let receive = Arc::clone(&self.receive);
        let subscriber = session.declare_subscriber(self.ends.reads.clone());
        let subscriber = subscriber.callback(move |sample| receive(sample)).wait().map_err(refused)?;
        Ok(Open { publisher, _subscriber: subscriber, _clock: clock, session })
    }

    /// Sends a message, if the session is open. Waits while the network accepts none.
    pub(super) fn put(&self, message: ZBytes) {
        self.with_open(|open| {
            if let Err(error) = open.publisher.put(message).wait() {
                // The session is closed. The other end notices as it notices a cut.
                log::warn!("a message on `{}` is not sent: {error}", open.publisher.key_expr());
            }
        });
    }

    /// Returns whether this end knows a receiver of its messages. It may not know one yet although it has had an answer;
    /// Zenoh drops messages sent before then.
    pub(super) fn has_receiver(&self) -> bool {
        let is_known = |open: &Open| {
            // It is ready immediately, and Zenoh cannot wait on the threads of actors.
            let status = pin!(open.publisher.matching_status().into_future());
            let status = status.poll(&mut Context::from_waker(Waker::noop()));
            matches!(status, Poll::Ready(Ok(status)) if status.matching())
        };
        self.with_open(is_known).unwrap_or(false)
    }

    /// Calls `act` with the session; `None` while it is opened again.
    fn with_open<T>(&self, act: impl FnOnce(&Open) -> T) -> Option<T> {
        let open = locked(&self.open).clone()?;
        let result = act(&open);
        // Another thread may have replaced it meanwhile.
        if let Some(open) = Arc::into_inner(open) {
            close(Some(Arc::new(open)), false);
        }
        Some(result)
    }

    /// Opens the session again if the other end has been silent for so long that the connection has to be in doubt. The session
    /// of an agent is not touched: the other end opens its own again. It waits, so do not call it on the thread of an actor.
    pub(super) fn reopen_if_silent(&self, silent: Duration) {
        let is_own = !self.options.connect.is_empty() || !self.options.listen.is_empty();
        if !is_own || !locked(&self.reopening).is_due(silent) {
            return;
        }
        let (key, count) = (&self.ends.writes, locked(&self.reopening).count);
        log::warn!("`{key}`: no answer for {} s: connects anew, number {count}", silent.as_secs());
        // The address of one that listens has to be free. Another one stays open until there is a new one: it may still
        // connect again by itself, and framesets that arrive twice count once.
        if !self.options.listen.is_empty() {
            close(locked(&self.open).take(), true);
        }
        match self.opened() {
            Ok(open) => {
                let old = locked(&self.open).replace(Arc::new(open));
                close(old, false);
            }
            Err(error) => {
                log::warn!("`{key}`: {error}");
                locked(&self.reopening).has_failed(silent, locked(&self.open).is_some());
            }
        }
    }

    /// Returns the session, for a thread that asks for the clock; `None` while it is opened again.
    pub(super) fn session(&self) -> Option<Session> {
        locked(&self.open).as_ref().map(|open| open.session.clone())
    }
}

/// Closes a session; with `wait`, returns when that is done, or after a bounded time.
fn close(open: Option<Arc<Open>>, wait: bool) {
    // Without a thread the process ends soon: the system closes the rest.
    if wait {
        session::ends_in_time(move || drop(open));
    } else {
        let _ = spawn_thread("zenoh-close", move || drop(open));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        close(locked(&self.open).take(), true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_opened_again_ever_more_seldom() {
        let mut reopening = Reopening::default();
        let mut due = |from: u64, to: u64| -> Vec<u64> {
            (from..to).filter(|&second| reopening.is_due(Duration::from_secs(second))).collect()
        };
        assert_eq!(due(0, 300), [10, 20, 40, 80, 140, 200, 260]);
        // An answer has arrived.
        assert_eq!(due(1, 45), [10, 20, 40]);
        assert_eq!(reopening.count, 10);
        // One that is not open at all.
        reopening.has_failed(Duration::from_secs(40), false);
        assert!(reopening.is_due(Duration::from_secs(41)));
        reopening.has_failed(Duration::from_secs(41), true);
        assert!(!reopening.is_due(Duration::from_secs(50)));
    }
}
