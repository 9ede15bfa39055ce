//! A complete camrig program: registry, command line, and exit code.
//!
//! [`App::main`] is the entry point of both the supervisor and the workers, since they are the same program. It makes
//! no decisions about a run, which are the responsibility of the supervisor.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use camrig_usb::UsbDemand;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::calling::{ActorInput, InputActor};
use crate::cli::{self, Act, MadeTopology, OwnCommand};
use crate::driver::Driver;
use crate::hosts::Hosts;
use crate::output::ProcessorOutput;
use crate::processor::{Input, Processor, ProcessorError, ProcessorOptions};
use crate::registry::Registry;
use crate::synthetic::{self, Synthetic, SyntheticOptions};

/// A camrig program: drivers and processors registered by name, and a command line that runs topologies of them.
///
/// ```no_run
/// use camrig::prelude::*;
///
/// struct Count(u64);
///
/// impl Processor for Count {
///     fn process(&mut self, _: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
///         self.0 += 1;
///         Ok(())
///     }
/// }
///
/// fn main() -> ExitCode {
///     App::new().processor("count", |_: NoOptions| Ok(Count(0))).main()
/// }
/// ```
pub struct App {
    registry: Registry,
    commands: Vec<OwnCommand>,
}

/// The default topology of `demo`.
const DEMO: &str = include_str!("demo.toml");

impl App {
    /// Creates a program with the stock drivers `python` and `synthetic`, and the stock processors `attached`, `match`,
    /// `merge`, `pointcloud`, `python`, `snapshot`, `stats`, `verify` and `watch-poses`.
    #[allow(clippy::new_without_default)] // It registers drivers and processors; no generic code needs it.
    pub fn new() -> Self {
        let mut registry = Registry::new();
        registry.set_demo(DEMO);
        registry.usb_mut().add::<Synthetic>(synthetic::DRIVER, SyntheticOptions::usb_demand);
        Self { registry, commands: Vec::new() }
    }

    /// As [`Registry::with_driver`].
    #[must_use]
    pub fn driver<D: Driver>(mut self, name: &str) -> Self {
        self.registry.add_driver::<D>(name);
        self
    }

    /// Registers the function that gives `camrig plan` the USB demand of a camera of the driver `name`. `demand` opens no
    /// device, and returns `None` for a camera without USB, such as a recorded file.
    #[must_use]
    pub fn usb<D: Driver>(mut self, name: &str, demand: fn(&D::Options) -> Option<UsbDemand>) -> Self {
        self.registry.usb_mut().add::<D>(name, demand);
        self
    }

    /// As [`Registry::with_processor`].
    #[must_use]
    pub fn processor<O, P, F, I>(mut self, kind: &str, build: F) -> Self
    where
        O: DeserializeOwned + JsonSchema + 'static,
        I: Input,
        P: Processor<I>,
        F: Fn(O) -> Result<P, ProcessorError> + Send + Sync + 'static,
    {
        self.registry.add_processor(kind, build);
        self
    }

    /// As [`Registry::with_actor`].
    #[must_use]
    pub fn actor<O, A, F, I>(mut self, kind: &str, build: F) -> Self
    where
        O: DeserializeOwned + JsonSchema + 'static,
        I: Input + ActorInput,
        A: InputActor<I>,
        F: Fn(O, ProcessorOutput) -> Result<A, ProcessorError> + Send + Sync + 'static,
    {
        self.registry.add_actor(kind, build);
        self
    }

    /// As [`Registry::with_options`].
    ///
    /// # Panics
    /// If no such kind is registered.
    #[must_use]
    pub fn options<O: ProcessorOptions>(mut self, kind: &str) -> Self {
        self.registry.add_options::<O>(kind);
        self
    }

    /// Replaces the topology that `demo` refers to on the command line; `text` is the content of a topology file.
    #[must_use]
    pub fn demo(mut self, text: &'static str) -> Self {
        self.registry.set_demo(text);
        self
    }

    /// Returns the topology that `demo` refers to so far.
    pub fn demo_topology(&self) -> &'static str {
        self.registry.demo()
    }

    /// Adds a command to the command line, in addition to `run`, `check` and the others. It prints its own output.
    #[must_use]
    pub fn command(
        mut self,
        command: clap::Command,
        act: impl Fn(&clap::ArgMatches) -> ExitCode + 'static,
    ) -> Self {
        self.commands.push(OwnCommand { command, act: Act::Whole(Box::new(act)) });
        self
    }

    /// Adds a command that needs the drivers and kinds of the program. It prints its own output.
    #[must_use]
    pub fn registry_command(
        mut self,
        command: clap::Command,
        act: impl Fn(&clap::ArgMatches, &Registry) -> ExitCode + 'static,
    ) -> Self {
        self.commands.push(OwnCommand { command, act: Act::Registry(Box::new(act)) });
        self
    }

    /// Sets how actors of other hosts are run. Without it a topology that names other hosts is refused.
    #[must_use]
    pub fn hosts(mut self, hosts: impl Hosts + 'static) -> Self {
        self.registry.set_hosts(Arc::new(hosts));
        self
    }

    /// Adds a command that creates a topology from its arguments, which is then run as by `run`. It also accepts
    /// the options of `run`. If there is no topology to run, `make` returns the exit code, after it has printed the reason.
    #[must_use]
    pub fn run_command(
        mut self,
        command: clap::Command,
        make: impl Fn(&clap::ArgMatches) -> Result<MadeTopology, ExitCode> + 'static,
    ) -> Self {
        self.commands.push(OwnCommand { command, act: Act::Make(Box::new(make)) });
        self
    }

    /// Returns the drivers and kinds of the program, for a program with rigs of its own.
    pub fn registry(self) -> Registry {
        self.registry
    }

    /// Runs the program; call it before starting any thread. Reads the command line, executes it, and returns the exit code: 0
    /// stopped as requested, 1 `plan` found too little bandwidth, 64 usage, 69 a camera is unavailable, 70 an actor or worker
    /// failed permanently, 73 a file cannot be written, 78 topology, 130 a second Ctrl-C.
    pub fn main(self) -> ExitCode {
        crate::threads::block_file_size_signal();
        if let Some(code) = crate::attach::hand_over_if_asked() {
            return code;
        }
        if let Some(code) = self.registry.serve_worker() {
            return code;
        }
        let registry = Arc::new(self.registry);
        let name = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&name).file_name().map(|name| name.to_string_lossy().into_owned());
        cli::main(name.as_deref().unwrap_or("camrig"), &self.commands, &registry, registry.usb())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    #[test]
    fn the_demo_needs_only_parts_of_every_program() {
        let App { registry, .. } = App::new();
        let demo = Topology::parse("demo", registry.demo(), None, &registry).unwrap();
        assert_eq!((demo.actors().len(), demo.processes().len()), (7, 8));
    }

    #[test]
    fn a_program_can_have_a_demo_and_commands_of_its_own() {
        let app = App::new()
            .demo("[camera.c]\ndriver = 'synthetic'\n")
            .command(clap::Command::new("own"), |_| ExitCode::SUCCESS)
            .run_command(clap::Command::new("made"), |_| Err(ExitCode::FAILURE));
        assert_eq!(app.registry.demo(), "[camera.c]\ndriver = 'synthetic'\n");
        let commands: Vec<_> = app.commands.iter().map(|own| own.command.get_name()).collect();
        assert_eq!(commands, ["own", "made"]);
    }
}
