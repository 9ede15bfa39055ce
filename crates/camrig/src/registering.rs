//! Registering drivers and processors, and serving as a worker.

use std::process::ExitCode;
use std::sync::Arc;

use camrig_ipc::handshake;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::calling::{ActorInput, InputActor};
use crate::driver::Driver;
use crate::inputs::Delivered;
use crate::output::ProcessorOutput;
use crate::processor::{Input, Processor, ProcessorError, ProcessorOptions};
use crate::registry::Registry;
use crate::stock;
use crate::synthetic::{self, Synthetic};
use crate::worker;

impl Registry {
    /// Creates a registry with the stock drivers `python` and `synthetic`, and the stock processors `attached`, `match`,
    /// `merge`, `pointcloud`, `python`, `snapshot`, `stats` and `verify`.
    pub fn new() -> Self {
        let mut registry = Self::default();
        registry.add_driver::<Synthetic>(synthetic::DRIVER);
        stock::register(&mut registry);
        registry
    }

    /// Registers a camera driver under the name used as `driver` in topologies. An existing name is replaced.
    #[must_use]
    pub fn with_driver<D: Driver>(mut self, name: &str) -> Self {
        self.add_driver::<D>(name);
        self
    }

    /// Registers a processor under the name used as `kind` in topologies. It is built from its options on the
    /// thread that will run it; an error of `build` fails the actor. An existing name is replaced.
    #[must_use]
    pub fn with_processor<O, P, F, I>(mut self, kind: &str, build: F) -> Self
    where
        O: DeserializeOwned + JsonSchema + 'static,
        I: Input,
        P: Processor<I>,
        F: Fn(O) -> Result<P, ProcessorError> + Send + Sync + 'static,
    {
        self.add_processor(kind, build);
        self
    }

    /// Registers a processor that takes framesets, or matches where its topology has `match`. `build` also gets its output,
    /// which reports whether the inputs are [matched](ProcessorOutput::matching). An existing name is replaced.
    #[must_use]
    pub fn with_delivered<O, P, F>(mut self, kind: &str, build: F) -> Self
    where
        O: DeserializeOwned + JsonSchema + 'static,
        P: Processor<Delivered>,
        F: Fn(O, &ProcessorOutput) -> Result<P, ProcessorError> + Send + Sync + 'static,
    {
        self.add_delivered(kind, build);
        self
    }

    /// Registers an actix actor under the name used as `kind` in topologies. It handles [`FrameSet`](crate::FrameSet) or
    /// [`Match`](crate::Match), which needs `match` in its topology, and is sent one at a time, the next after its
    /// response to the previous one; its `stopped` is called at the end. After the last one it has one second to finish
    /// its work; timers, and its own address, do not delay the end any longer.
    #[must_use]
    pub fn with_actor<O, A, F, I>(mut self, kind: &str, build: F) -> Self
    where
        O: DeserializeOwned + JsonSchema + 'static,
        I: Input + ActorInput,
        A: InputActor<I>,
        F: Fn(O, ProcessorOutput) -> Result<A, ProcessorError> + Send + Sync + 'static,
    {
        self.add_actor(kind, build);
        self
    }

    /// Checks the options of a registered kind before anything starts, by their type, which is the type that the kind is
    /// built from or one that reads the same options.
    ///
    /// # Panics
    /// If no such kind is registered.
    #[must_use]
    pub fn with_options<O: ProcessorOptions>(mut self, kind: &str) -> Self {
        self.add_options::<O>(kind);
        self
    }

    /// Starts workers by this command instead of this executable: where the program is code of an interpreter. That
    /// process calls [`Self::serve_worker`] with the same drivers and kinds.
    #[must_use]
    pub fn with_worker_command(mut self, program: &str, arguments: &[&str]) -> Self {
        self.set_worker(program, arguments);
        self
    }

    /// Serves as a worker when this process was started as one, and returns the exit code then; `None` in any other
    /// process.
    ///
    /// Workers are this program, started again, unless the topology gives another command. A program whose rigs
    /// have other processes calls this first in its `main`, before any thread is started, with everything registered.
    pub fn serve_worker(&self) -> Option<ExitCode> {
        Some(match handshake::accept()? {
            Ok(setup) => worker::run(&Arc::new(self.clone()), setup),
            Err(error) => worker::refuse(&error),
        })
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};

    use super::*;
    use crate::matching::Match;
    use crate::processor::NoOptions;
    use crate::{FrameSet, ProcessorOutput};

    /// Handles framesets or matches, by its type parameter, and another message.
    struct Reader<I>(std::marker::PhantomData<I>);

    struct Other;

    impl actix::Message for Other {
        type Result = ();
    }

    impl<I: Unpin + 'static> Actor for Reader<I> {
        type Context = Context<Self>;
    }

    impl<I: Unpin + 'static> Handler<Other> for Reader<I> {
        type Result = ();

        fn handle(&mut self, _: Other, _: &mut Self::Context) {}
    }

    impl Handler<FrameSet> for Reader<FrameSet> {
        type Result = Result<(), ProcessorError>;

        fn handle(&mut self, _: FrameSet, _: &mut Self::Context) -> Self::Result {
            Ok(())
        }
    }

    impl Handler<Match> for Reader<Match> {
        type Result = Result<(), ProcessorError>;

        fn handle(&mut self, _: Match, _: &mut Self::Context) -> Self::Result {
            Ok(())
        }
    }

    #[allow(clippy::unnecessary_wraps)] // Registered functions can fail.
    fn reader<I>(_: NoOptions, _: ProcessorOutput) -> Result<Reader<I>, ProcessorError> {
        Ok(Reader(std::marker::PhantomData))
    }

    fn takes_matches(registry: &Registry, kind: &str) -> Option<bool> {
        registry.kind(kind).map(|kind| kind.takes_matches())
    }

    #[test]
    fn the_handler_of_an_actor_decides_its_input() {
        let registry = Registry::new()
            .with_actor("framesets", reader::<FrameSet>)
            .with_actor("matches", reader::<Match>);
        assert_eq!(takes_matches(&registry, "framesets"), Some(false));
        assert_eq!(takes_matches(&registry, "matches"), Some(true));
        assert_eq!(takes_matches(&registry, "neither"), None);
    }

    #[test]
    fn a_later_registration_replaces_an_earlier_one() {
        let registry = Registry::new().with_actor("match", reader::<FrameSet>);
        assert_eq!(takes_matches(&Registry::new(), "match"), Some(true));
        assert_eq!(takes_matches(&registry, "match"), Some(false));
        assert!(registry.driver("synthetic").is_some());
    }

    #[test]
    fn a_program_that_was_not_started_as_a_worker_is_none() {
        assert!(Registry::new().serve_worker().is_none());
    }
}
