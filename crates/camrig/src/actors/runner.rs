//! The actix actor of an actor of the rig. The supervisor's mail starts and ends its instances, which are tasks of the
//! same thread; its links and counts outlast them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::channel::AddressReceiver;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, System, WrapFuture};
use camrig_ipc::ActorCounters;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, LocalSet};

use super::Flow;
use super::calls::DeviceCalls;
use super::camera::CameraInstance;
use super::changes::{LinkChange, LinkChanges};
use super::on_thread::{OnThread, Thread, Within};
use super::processor::run_processor;
use crate::control::{ActorEvent, ActorPart, DeviceRequest};
use crate::failure::{self, Failure};
use crate::ids::ActorId;
use crate::inputs::{InputLinks, Inputs};
use crate::link::LocalLink;
use crate::logging;
use crate::mail::{Mail, Unread};
use crate::output::{InputStatus, OutputLinks, ProcessorOutput, Publisher, Wiring};
use crate::registry::Registry;
use crate::topology::Role;

/// Interval at which a thread without a runtime, which cannot receive mail, checks whether there is some.
const LOOK: Duration = Duration::from_millis(100);

/// An actor with the ends of its links, to be moved to its thread.
pub(crate) struct ActorParts {
    pub(crate) part: ActorPart,
    pub(crate) counters: Arc<ActorCounters>,
    pub(crate) inputs: InputLinks,
    pub(crate) outputs: OutputLinks,
    pub(crate) changes: LinkChanges,
    pub(crate) unread: Unread,
    /// The readers on its thread, and the links to them.
    pub(crate) on_thread: Vec<(ActorId, Arc<LocalLink>)>,
}

/// An actor of the rig on its thread.
pub(crate) struct Runner {
    part: ActorPart,
    registry: Arc<Registry>,
    counters: Arc<ActorCounters>,
    inputs: Inputs,
    status: InputStatus,
    outputs: OutputLinks,
    changes: LinkChanges,
    unread: Unread,
    /// The turns of a camera on its thread.
    on_thread: OnThread,
    report: Rc<dyn Fn(ActorEvent)>,
    flow: watch::Sender<Flow>,
    /// The supervisor's calls to the device of a camera.
    calls: DeviceCalls,
    /// The task of the running instance.
    instance: Option<AbortHandle>,
    /// The reason why the instance is being ended.
    ending: Option<Ending>,
    /// If true, the first instance starts without a message.
    starts: bool,
    finished: bool,
}

/// The reason for ending an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Interrupted,
    GivenUp,
}

/// Runs actors on this thread, which is called `name` in log lines, until each has ended normally, or was given up.
/// `report` gets their events.
pub(crate) fn run(
    name: &str,
    actors: Vec<(ActorParts, AddressReceiver<Runner>)>,
    registry: &Arc<Registry>,
    report: impl Fn(ActorEvent) + 'static,
) {
    logging::set_actor(name);
    let report: Rc<dyn Fn(ActorEvent)> = Rc::new(report);
    let Some((runtime, starts)) = runtime(&actors, &*report) else { return };
    let thread = thread_of(actors.iter().map(|(parts, _)| parts));
    System::with_tokio_rt(|| runtime).block_on(async {
        let tasks: Vec<_> = actors
            .into_iter()
            .map(|(parts, mail)| {
                let on_thread = thread.turns_of(parts.part.id);
                let runner = Runner::new(parts, Arc::clone(registry), on_thread, Rc::clone(&report), starts);
                actix::spawn(Context::with_receiver(mail).into_future(runner))
            })
            .collect();
        for task in tasks {
            if let Err(failure) = task.await.or_else(failure::of_task) {
                log::error!("{}", failure.message);
            }
        }
    });
}

/// Returns the cameras of a thread and the links within it.
fn thread_of<'a>(actors: impl Iterator<Item = &'a ActorParts>) -> Thread {
    let mut thread = Thread::default();
    for ActorParts { part, on_thread, .. } in actors {
        if matches!(part.role, Role::Camera { .. }) {
            thread.cameras.push(part.id);
        }
        let within = |(to, link): &(ActorId, _)| Within { from: part.id, to: *to, link: Arc::clone(link) };
        thread.links.extend(on_thread.iter().map(within));
    }
    thread
}

/// Creates the runtime of a thread. Without free file descriptors that is a failure of its actors; the next message is a
/// reason to try again. Returns also whether the first attempt was successful, and `None` if no more messages can come.
fn runtime(
    actors: &[(ActorParts, AddressReceiver<Runner>)],
    report: &dyn Fn(ActorEvent),
) -> Option<(Runtime, bool)> {
    let counts = || actors.iter().map(|(parts, _)| parts.unread.count()).collect::<Vec<_>>();
    let mut unread = vec![0; actors.len()];
    let mut first = true;
    loop {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => return Some((runtime, first)),
            Err(error) => {
                for (parts, _) in actors {
                    let failure = Failure::new(error.to_string());
                    report(ActorEvent::Failed { actor: parts.part.id, failure });
                }
            }
        }
        first = false;
        while counts() == unread {
            if !actors.iter().all(|(_, mail)| mail.connected()) {
                return None;
            }
            std::thread::sleep(LOOK);
        }
        unread = counts();
    }
}

impl Runner {
    fn new(
        parts: ActorParts,
        registry: Arc<Registry>,
        on_thread: OnThread,
        report: Rc<dyn Fn(ActorEvent)>,
        starts: bool,
    ) -> Self {
        let ActorParts { part, counters, inputs, outputs, changes, unread, .. } = parts;
        let status = InputStatus {
            rig: part.rig.as_str().into(),
            topology: part.topology.as_str().into(),
            links: inputs.status(),
            matching: inputs.match_stats(),
        };
        let (inputs, flow) = (Inputs::new(inputs), watch::Sender::new(Flow::Held));
        let (actor, answered) = (part.id, Rc::clone(&report));
        let calls = DeviceCalls::new(move |number, answer| {
            answered(ActorEvent::Answered { actor, number, answer });
        });
        Self {
            part,
            registry,
            counters,
            inputs,
            status,
            outputs,
            changes,
            unread,
            on_thread,
            report,
            flow,
            calls,
            instance: None,
            ending: None,
            starts,
            finished: false,
        }
    }

    fn allow(&self, flow: Flow) {
        self.flow.send_modify(|current| *current = flow.max(*current));
    }

    /// Starts an instance.
    fn begin(&mut self, reset: bool, context: &mut Context<Self>) {
        let publisher = Publisher::new(Wiring {
            name: self.part.name.clone(),
            slots: self.part.slots,
            links: self.outputs.clone(),
            counters: Arc::clone(&self.counters),
        });
        let instance = self.instance(publisher, reset);
        let task = actix::spawn(async move {
            // Tasks that the instance spawns end with it.
            LocalSet::new().run_until(instance).await
        });
        self.instance = Some(task.abort_handle());
        let task = task.into_actor(self);
        context.spawn(task.map(|result, runner, context| runner.on_end(result, context)));
    }

    /// Returns an instance from build to end.
    fn instance(
        &self,
        publisher: Publisher,
        reset: bool,
    ) -> impl Future<Output = Result<(), Failure>> + use<> {
        let (part, registry) = (self.part.clone(), Arc::clone(&self.registry));
        let (flow, unread, calls) = (self.flow.subscribe(), self.unread.clone(), self.calls.clone());
        let (inputs, status, on_thread) = (self.inputs.clone(), self.status.clone(), self.on_thread.clone());
        let (actor, report) = (self.part.id, Rc::clone(&self.report));
        let (warned, progress) = (Rc::clone(&report), Rc::clone(&report));
        let ready = move || report(ActorEvent::Ready { actor });
        async move {
            let unknown = || Failure::new("is not registered in this program");
            let ActorPart {
                name, role, options, timeline, framesets, stall_timeout_millis, calibrated, ..
            } = part;
            let options = calls.options().unwrap_or(options);
            match role {
                Role::Camera { driver: driver_name } => {
                    let driver = Arc::clone(registry.driver(&driver_name).ok_or_else(unknown)?);
                    let stream_timeout = stall_timeout_millis.map(Duration::from_millis);
                    let camera = CameraInstance {
                        name,
                        driver_name,
                        driver,
                        options,
                        timeline,
                        reset,
                        framesets,
                        stream_timeout,
                        calibrated,
                        calls,
                        on_thread,
                    };
                    camera.run(publisher, flow, unread, ready).await
                }
                Role::Processor { kind } => {
                    let entry = Arc::clone(registry.kind(&kind).ok_or_else(unknown)?);
                    // A supervisor without this kind could not check it.
                    if entry.takes_matches() && !inputs.are_matched() {
                        return Err(Failure::new(format!("kind `{kind}` takes matches: it needs `match`")));
                    }
                    let warn = move |message| warned(ActorEvent::Warned { actor, message });
                    let output = ProcessorOutput::new(publisher, status)
                        .warning(warn)
                        .progressing(move |text| progress(ActorEvent::Progress { actor, text }));
                    run_processor(entry, options, output, inputs, ready).await
                }
            }
        }
    }

    /// Takes the changes of its links.
    fn change_links(&mut self) {
        for change in self.changes.take() {
            match change {
                LinkChange::Publish { link, end, replaces, slots } => {
                    self.outputs.add(link, end, slots);
                    if let Some(replaced) = replaces {
                        self.outputs.end(replaced);
                    }
                }
                LinkChange::End(link) => self.outputs.end(link),
                LinkChange::Read { from, end } => self.inputs.add(&from, end),
            }
        }
    }

    /// Ends the running instance early.
    fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.instance.iter().for_each(AbortHandle::abort);
    }

    /// Passes a request to the instance of a camera.
    fn call_device(&self, request: DeviceRequest) {
        self.calls.add(request);
        if self.instance.is_none() || !matches!(self.part.role, Role::Camera { .. }) {
            self.refuse_calls();
        }
    }

    /// Answers the requests that no instance will answer.
    fn refuse_calls(&self) {
        let ActorPart { name, role, .. } = &self.part;
        self.calls.refuse(&match role {
            Role::Camera { .. } => format!("camera `{name}` is not open"),
            Role::Processor { .. } => format!("processor `{name}` has no device"),
        });
    }

    /// Handles the end of an instance.
    fn on_end(&mut self, result: Result<Result<(), Failure>, JoinError>, context: &mut Context<Self>) {
        self.instance = None;
        self.refuse_calls();
        let ended = match (self.ending.take(), result) {
            (Some(Ending::GivenUp), _) => return context.stop(),
            (_, Ok(ended)) => ended,
            (Some(Ending::Interrupted), Err(error)) if error.is_cancelled() => {
                Err(Failure::new("delivered nothing within its `stall_timeout_millis`"))
            }
            (_, Err(error)) => failure::of_task(error),
        };
        let nothing_more = !self.status.links.is_empty() && self.inputs.give_nothing_more();
        let (failure, is_final) = match (ended, self.inputs.refusal()) {
            (Err(failure), _) => (failure, nothing_more),
            // It has done what it could with the rest.
            (Ok(()), Some(refusal)) => (Failure::new(refusal), true),
            (Ok(()), None) => {
                self.finished = true;
                return context.stop();
            }
        };
        self.inputs.pause();
        (self.report)(ActorEvent::Failed { actor: self.part.id, failure: Failure { is_final, ..failure } });
    }
}

impl Actor for Runner {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if self.starts {
            self.begin(self.part.reset, context);
        }
    }

    /// Ends the links.
    fn stopped(&mut self, _: &mut Self::Context) {
        self.inputs.close();
        self.changes.close();
        self.outputs.end_all();
        if self.finished {
            (self.report)(ActorEvent::Finished { actor: self.part.id });
        }
    }
}

impl Handler<Mail> for Runner {
    type Result = ();

    fn handle(&mut self, mail: Mail, context: &mut Self::Context) {
        self.unread.remove();
        match mail {
            Mail::Go => self.allow(Flow::Flowing),
            Mail::Stop => self.allow(Flow::Stopped),
            Mail::Links => self.change_links(),
            Mail::Interrupt if self.instance.is_some() && self.ending.is_none() => {
                self.end(Ending::Interrupted);
            }
            Mail::Restart { reset } if self.instance.is_none() => {
                self.inputs.resume();
                self.begin(reset, context);
            }
            Mail::Device(request) => self.call_device(request),
            Mail::GiveUp if self.instance.is_none() => context.stop(),
            Mail::GiveUp => self.end(Ending::GivenUp),
            // Late: the instance for which it was meant has ended, or has not.
            Mail::Interrupt | Mail::Restart { .. } => {}
        }
    }
}
