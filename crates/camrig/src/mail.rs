//! Mail: messages of the supervisor to an actor, and how the thread of the actor notices them.
//!
//! Every actor has a mailbox. Its thread may be in a long loop, or asleep on the notifier of the process, without
//! returning to the runtime that delivers mail. Such a thread checks the number of [`Unread`] messages, which costs no
//! system call, and lets the runtime deliver them when there are some.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Message, Recipient};
use camrig_ipc::Notifier;

use crate::control::{ActorCommand, DeviceRequest};

/// Maximum number of unread messages of an actor. The supervisor sends one `Go`, one `Stop`, at most three others
/// for each failure, and one request to a device after the other.
pub(crate) const UNREAD_MAX: usize = 16;

/// A message of the supervisor to an actor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mail {
    /// Cameras may capture: every actor of the rig is ready.
    Go,
    /// Cameras end before their next frameset.
    Stop,
    /// Links of the actor begin or end.
    Links,
    /// The instance of a camera fails, because it delivers no framesets.
    Interrupt,
    /// Another instance starts, after a reset of the device if requested.
    Restart { reset: bool },
    /// The actor ends: it has failed permanently.
    GiveUp,
    /// A request to the open device of a camera.
    Device(DeviceRequest),
}

impl Message for Mail {
    type Result = ();
}

impl From<ActorCommand> for Mail {
    fn from(command: ActorCommand) -> Self {
        match command {
            ActorCommand::Interrupt => Self::Interrupt,
            ActorCommand::Restart { reset } => Self::Restart { reset },
            ActorCommand::Finish => Self::Stop,
            ActorCommand::GiveUp => Self::GiveUp,
        }
    }
}

/// The number of unread messages of an actor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(Arc<AtomicUsize>);

impl Unread {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts a message that is about to be sent.
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a message as read.
    pub(crate) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// Lets the other tasks of this thread run until every message has been read.
    pub(crate) async fn all_read(&self) {
        while self.count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Sends mail to one actor, from any thread.
#[derive(Clone)]
pub(crate) struct MailSender {
    /// `None` after the end of the actor. A mailbox has the waker of the task that reads it, and so keeps the descriptors
    /// of that thread's runtime.
    to: Arc<Mutex<Option<Recipient<Mail>>>>,
    unread: Unread,
    /// The notifier on which the thread of the actor sleeps, if it does.
    pub(crate) notifier: Option<Arc<Notifier>>,
}

impl MailSender {
    pub(crate) fn new(to: Recipient<Mail>, unread: Unread, notifier: Option<Arc<Notifier>>) -> Self {
        Self { to: Arc::new(Mutex::new(Some(to))), unread, notifier }
    }

    /// Releases the mailbox: the actor has ended.
    pub(crate) fn close(&self) {
        // Outside the lock: the drop may release a runtime.
        let mailbox = self.mailbox().take();
        drop(mailbox);
    }

    fn mailbox(&self) -> MutexGuard<'_, Option<Recipient<Mail>>> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message, and returns whether it will be delivered: an actor that has ended receives none.
    pub(crate) fn send(&self, mail: Mail) -> bool {
        // Counted first: otherwise it might be read before.
        self.unread.add();
        let is_sent = self.mailbox().as_ref().is_some_and(|to| to.try_send(mail).is_ok());
        if !is_sent {
            self.unread.remove();
        }
        self.notifier.iter().for_each(|notifier| notifier.notify());
        is_sent
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use actix::{Actor, Context, Handler};

    use super::*;

    /// Collects its mail, and counts it as read.
    struct Reader(Unread, Rc<RefCell<Vec<Mail>>>);

    impl Actor for Reader {
        type Context = Context<Self>;
    }

    impl Handler<Mail> for Reader {
        type Result = ();

        fn handle(&mut self, mail: Mail, _: &mut Context<Self>) {
            self.0.remove();
            self.1.borrow_mut().push(mail);
        }
    }

    #[test]
    fn a_busy_task_yields_until_its_mail_is_read() {
        actix::System::new().block_on(async {
            let (unread, read) = (Unread::default(), Rc::default());
            let reader = Reader(unread.clone(), Rc::clone(&read)).start();
            let sender = MailSender::new(reader.recipient(), unread.clone(), None);
            let sent = [Mail::Go, Mail::Interrupt, Mail::Restart { reset: true }, Mail::Stop, Mail::GiveUp];
            for mail in sent.clone() {
                assert!(sender.send(mail));
            }
            assert_eq!((unread.count(), read.borrow().len()), (5, 0));
            unread.all_read().await;
            assert_eq!((unread.count(), &read.borrow()[..]), (0, &sent[..]));
        });
    }

    /// A wake-up that is lost costs a second: 20 of all rounds are too many.
    #[test]
    fn mail_wakes_a_thread_that_sleeps_on_the_notifier() {
        const ROUNDS: usize = 10_000;
        let watchdog = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let system = actix::System::new();
        let unread = Unread::default();
        let reader = system.block_on(async { Reader(unread.clone(), Rc::default()).start() });
        let notifier = Arc::new(Notifier::new().unwrap());
        let mut listener = camrig_ipc::Listener::new(Arc::clone(&notifier));
        let sender = MailSender::new(reader.recipient(), unread.clone(), Some(notifier));
        let (asleep, asleeps) = std::sync::mpsc::sync_channel(0);
        let thread = std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                asleep.send(()).unwrap();
                listener.wait();
            }
        });
        for () in &asleeps {
            sender.send(Mail::Go);
            system.block_on(unread.all_read());
        }
        thread.join().unwrap();
        assert!(std::time::Instant::now() < watchdog, "wake-ups are lost");
    }

    #[test]
    fn mail_that_is_not_delivered_does_not_count() {
        let system = actix::System::new();
        let (unread, read) = (Unread::default(), Rc::default());
        let reader = system.block_on(async { Reader(unread.clone(), read).start() });
        let sender = MailSender::new(reader.recipient(), unread.clone(), None);
        drop(system);
        assert!(!sender.send(Mail::Go));
        assert_eq!(unread.count(), 0);
    }
}
