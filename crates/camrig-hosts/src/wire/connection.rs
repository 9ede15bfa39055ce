//! One end of a crossing on a session of Zenoh.

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

/// An open end. It is closed on a thread of its own, since Zenoh cannot wait on those of actors.
pub(super) struct Connection {
    /// `None` only while it is dropped.
    open: Option<Open>,
}

struct Open {
    publisher: Publisher<'static>,
    _subscriber: Subscriber<()>,
    _clock: Option<Queryable<()>>,
    session: Session,
}

impl Connection {
    /// Opens an end: `receive` is called with each message, on a thread of Zenoh, and has to return soon. With `serves`, this
    /// host's clock is answered for under that key.
    ///
    /// # Errors
    /// If the session cannot be opened.
    pub(super) fn open(
        options: &SessionOptions,
        ends: Ends,
        serves: Option<String>,
        receive: impl Fn(Sample) + Send + Sync + 'static,
    ) -> Result<Self, SessionError> {
        let session = session::open(options)?;
        let refused = |error: zenoh::Error| SessionError::Open(error.to_string());
        let publisher = session.declare_publisher(ends.writes);
        // Never dropped by Zenoh, and never held back to be sent with others.
        let publisher = publisher.congestion_control(CongestionControl::Block).express(true);
        let publisher = publisher.wait().map_err(refused)?;
        let clock = serves.map(|key| clock::serve(&session, &key)).transpose().map_err(refused)?;
        let subscriber = session.declare_subscriber(ends.reads).callback(receive).wait().map_err(refused)?;
        Ok(Self { open: Some(Open { publisher, _subscriber: subscriber, _clock: clock, session }) })
    }

    /// Sends a message, if there is anybody at the other end. Waits while the network takes none.
    pub(super) fn put(&self, message: ZBytes) {
        if let Some(open) = &self.open
            && let Err(error) = open.publisher.put(message).wait()
        {
            // The session is closed. The other end notices as it notices a cut.
            log::warn!("a message on `{}` is not sent: {error}", open.publisher.key_expr());
        }
    }

    /// Returns the session, for a thread that asks for the clock.
    pub(super) fn session(&self) -> Option<Session> {
        self.open.as_ref().map(|open| open.session.clone())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let open = self.open.take();
        // Without a thread the process ends soon: the system closes the rest.
        if let Ok(closing) = spawn_thread("zenoh-close", move || drop(open)) {
            let _ = closing.join();
        }
    }
}
