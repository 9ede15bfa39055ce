//! Processors and actors of the user's own, called with their inputs.
//!
//! A [`Processor`] handles its inputs as a stream, called directly. A user-defined actor is sent each input as a
//! message and responds, possibly later, when it is ready for the next one.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, MailboxError, Message, StreamHandler,
};
use futures_util::stream;
use tokio::task::JoinHandle;

use crate::error::ProcessorError;
use crate::failure::{self, Failure};
use crate::frameset::FrameSet;
use crate::inputs::Inputs;
use crate::matching::Match;
use crate::output::ProcessorOutput;
use crate::processor::{Input, Processor};

/// Time that an actor without further input may continue its work before it is stopped.
const STOP_WAIT_MAX: Duration = Duration::from_secs(1);

/// A processor or an actor that runs on this thread: completes when it has ended.
pub(crate) type Instance = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// Starts a processor on this thread, which must run an actix system.
pub(crate) fn start_processor<I: Input>(
    processor: impl Processor<I>,
    output: ProcessorOutput,
    inputs: Inputs,
) -> Instance {
    let error = Rc::default();
    let actor = ProcessorActor { processor: Box::new(processor), output, error: Rc::clone(&error) };
    let input = stream::unfold(inputs, |inputs| async {
        I::next(&inputs).await.transpose().map(|input| (input, inputs))
    });
    let mut context = Context::<ProcessorActor<I>>::new();
    context.add_stream(input);
    // Not `Actor::start`: the task's handle reports how the actor ended, including a panic.
    let ended = actix::spawn(context.into_future(actor));
    Box::pin(async move {
        ended.await.or_else(failure::of_task)?;
        error.take().map_or(Ok(()), failure::of_error)
    })
}

/// Starts an actor on this thread, which must run an actix system.
///
/// # Errors
/// If a thread for receiving the actor's inputs cannot be created.
pub(crate) fn start_actor<A, I>(actor: A, inputs: Inputs) -> Result<Instance, ProcessorError>
where
    I: Input + ActorInput,
    A: InputActor<I>,
{
    inputs.listen_on_a_thread()?;
    let context = Context::new();
    let address = context.address();
    let ended = actix::spawn(context.into_future(actor));
    Ok(Box::pin(feed::<A, I>(address, ended, inputs)))
}

/// An input as a message to an actor, which responds when it is ready for the next one.
pub trait ActorInput: Message<Result = Result<(), ProcessorError>> + Send {}

impl<I: Message<Result = Result<(), ProcessorError>> + Send> ActorInput for I {}

/// An actix actor that handles inputs of the type `I`: every actor with a handler of [`FrameSet`] or [`Match`].
///
/// One implementation for each type of input: so the compiler finds `I` of an actor that handles only one of them, besides
/// any other messages.
pub trait InputActor<I: ActorInput>: Actor<Context = Context<Self>> + Handler<I> {}

impl<A: Actor<Context = Context<A>> + Handler<FrameSet>> InputActor<FrameSet> for A {}

impl<A: Actor<Context = Context<A>> + Handler<Match>> InputActor<Match> for A {}

struct ProcessorActor<I> {
    processor: Box<dyn Processor<I>>,
    output: ProcessorOutput,
    /// The error that stopped it, if any: a stream has no caller to return it to.
    error: Rc<RefCell<Option<ProcessorError>>>,
}

impl<I: Input> Actor for ProcessorActor<I> {
    type Context = Context<Self>;
}

impl<I: Input> StreamHandler<Result<I, ProcessorError>> for ProcessorActor<I> {
    fn handle(&mut self, input: Result<I, ProcessorError>, context: &mut Self::Context) {
        if let Err(error) = input.and_then(|input| self.processor.process(&input, &mut self.output)) {
            *self.error.borrow_mut() = Some(error);
            context.stop();
        }
    }

    /// Finishes the processor. `Actor::stopped` would do so after a panic as well, where a second one ends the process.
    fn finished(&mut self, context: &mut Self::Context) {
        let finished = self.processor.finish(&mut self.output);
        *self.error.borrow_mut() = finished.err();
        context.stop();
    }
}

/// Sends an actor one input after another until the inputs or the actor end.
async fn feed<A, I>(address: Addr<A>, mut ended: JoinHandle<()>, inputs: Inputs) -> Result<(), Failure>
where
    I: Input + ActorInput,
    A: InputActor<I>,
{
    while let Some(input) = I::next(&inputs).await.map_err(Failure::new)? {
        match address.send(input).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return failure::of_error(error),
            // The actor stopped or panicked: its task has the reason.
            Err(MailboxError::Closed | MailboxError::Timeout) => break,
        }
    }
    // An actor without any address stops after finishing its work, which never happens with a timer: it is then
    // stopped by dropping its context.
    drop(address);
    if let Ok(ended) = actix::clock::timeout(STOP_WAIT_MAX, &mut ended).await {
        return ended.or_else(failure::of_task);
    }
    ended.abort();
    ended.await.or_else(|error| if error.is_cancelled() { Ok(()) } else { failure::of_task(error) })
}
