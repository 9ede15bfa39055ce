//! The registry of drivers and kinds of processors, each with its options.
//!
//! Registration erases the user's types behind small traits, so that the topology can check options and a process can
//! build actors without knowing them. Options are parsed once per use: [`DriverEntry::check`] returns the typed
//! options, which provide claims and the device. This module has no knowledge of processes and links.

#[cfg(any(test, feature = "program"))]
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use camrig_frame::{CameraInfo, Clock, StreamInfo};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::calling::{self, ActorInput, InputActor, Instance};
#[cfg(feature = "program")]
use crate::demands::UsbDemands;
use crate::driver::{
    Captured, Control, ControlValue, Device, DeviceProfile, Driver, DriverError, RelayedCamera,
};
use crate::error::{WrongOption, WrongOptions};
use crate::hosts::Hosts;
use crate::inputs::{Delivered, Inputs};
use crate::output::{CameraOutput, ProcessorOutput};
use crate::processor::{Declared, Input, Processor, ProcessorError, ProcessorOptions};
use crate::schema::{Mismatch, OptionsSchema};

/// A kind's [`Processor::declare`].
type Declare = fn(&[StreamInfo]) -> Declared;

/// The drivers and kinds of processors that a topology can name.
#[derive(Clone, Default)]
pub struct Registry {
    drivers: BTreeMap<String, Arc<dyn DriverEntry>>,
    kinds: BTreeMap<String, Arc<dyn KindEntry>>,
    /// The program and the arguments of workers, where that is not this executable.
    worker: Option<(String, Vec<String>)>,
    /// The built-in topology.
    #[cfg(any(test, feature = "program"))]
    demo: &'static str,
    /// The USB demand of each driver's cameras.
    #[cfg(feature = "program")]
    usb: UsbDemands,
    /// How actors of other hosts are run, if the program can.
    hosts: Option<Arc<dyn Hosts>>,
}

impl Registry {
    pub(crate) fn add_driver<D: Driver>(&mut self, name: &str) {
        self.drivers.insert(name.to_owned(), Arc::new(TypedDriver::<D>(PhantomData)));
    }

    pub(crate) fn set_worker(&mut self, program: &str, arguments: &[&str]) {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.worker = Some((program.to_owned(), arguments));
    }

    /// Returns the program and the arguments of workers, where that is not this executable.
    pub(crate) fn worker(&self) -> Option<&(String, Vec<String>)> {
        self.worker.as_ref()
    }

    /// Sets the built-in topology.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn set_demo(&mut self, text: &'static str) {
        self.demo = text;
    }

    /// Returns the text of the built-in topology.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn demo(&self) -> &'static str {
        self.demo
    }

    /// Returns the USB demand of each driver's cameras, to add to it.
    #[cfg(feature = "program")]
    pub(crate) fn usb_mut(&mut self) -> &mut UsbDemands {
        &mut self.usb
    }

    /// Returns the USB demand of each driver's cameras.
    #[cfg(feature = "program")]
    pub(crate) fn usb(&self) -> &UsbDemands {
        &self.usb
    }

    /// Sets how actors of other hosts are run.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn set_hosts(&mut self, hosts: Arc<dyn Hosts>) {
        self.hosts = Some(hosts);
    }

    /// Returns how actors of other hosts are run; `None` if the program cannot.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn hosts(&self) -> Option<&Arc<dyn Hosts>> {
        self.hosts.as_ref()
    }

    /// Returns whether the program can run actors on other hosts.
    pub(crate) fn has_hosts(&self) -> bool {
        self.hosts.is_some()
    }

    pub(crate) fn add_actor<O, A, F, I>(&mut self, kind: &str, build: F)
    where
        O: DeserializeOwned + JsonSchema + 'static,
        I: Input + ActorInput,
        A: InputActor<I>,
        F: Fn(O, ProcessorOutput) -> Result<A, ProcessorError> + Send + Sync + 'static,
    {
        self.add_kind(
            kind,
            I::MATCHED,
            |_| Ok(None),
            move |options, output, inputs| calling::start_actor::<A, I>(build(options, output)?, inputs),
        );
    }

    pub(crate) fn add_processor<O, P, F, I>(&mut self, kind: &str, build: F)
    where
        O: DeserializeOwned + JsonSchema + 'static,
        I: Input,
        P: Processor<I>,
        F: Fn(O) -> Result<P, ProcessorError> + Send + Sync + 'static,
    {
        self.add_kind(kind, I::MATCHED, P::declare, move |options, output, inputs| {
            Ok(calling::start_processor(build(options)?, output.declaring(P::declare), inputs))
        });
    }

    pub(crate) fn add_delivered<O, P, F>(&mut self, kind: &str, build: F)
    where
        O: DeserializeOwned + JsonSchema + 'static,
        P: Processor<Delivered>,
        F: Fn(O, &ProcessorOutput) -> Result<P, ProcessorError> + Send + Sync + 'static,
    {
        self.add_kind(kind, false, P::declare, move |options, output, inputs| {
            Ok(calling::start_processor(build(options, &output)?, output.declaring(P::declare), inputs))
        });
    }

    fn add_kind<O, F>(&mut self, kind: &str, takes_matches: bool, declare: Declare, start: F)
    where
        O: DeserializeOwned + JsonSchema + 'static,
        F: Fn(O, ProcessorOutput, Inputs) -> Result<Instance, ProcessorError> + Send + Sync + 'static,
    {
        self.kinds.insert(
            kind.to_owned(),
            Arc::new(TypedKind { start, takes_matches, declare, options: PhantomData }),
        );
    }

    /// Adds the checks of options of type `O` to a kind that was registered.
    ///
    /// # Panics
    /// If there is no such kind.
    pub(crate) fn add_options<O: ProcessorOptions>(&mut self, kind: &str) {
        let Some(entry) = self.kinds.get_mut(kind) else {
            panic!("options of kind `{kind}` are checked, which is not registered");
        };
        *entry = Arc::new(CheckedKind::<O> { kind: Arc::clone(entry), options: PhantomData });
    }

    pub(crate) fn driver(&self, name: &str) -> Option<&Arc<dyn DriverEntry>> {
        self.drivers.get(name)
    }

    pub(crate) fn kind(&self, name: &str) -> Option<&Arc<dyn KindEntry>> {
        self.kinds.get(name)
    }

    pub(crate) fn drivers(&self) -> impl Iterator<Item = (&str, &dyn DriverEntry)> {
        self.drivers.iter().map(|(name, entry)| (name.as_str(), entry.as_ref()))
    }

    /// Returns the names of the drivers, in alphabetical order.
    pub fn driver_names(&self) -> impl Iterator<Item = &str> {
        self.drivers.keys().map(String::as_str)
    }

    /// Returns the names of the kinds of processors, in alphabetical order.
    pub fn kind_names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = (&str, &dyn KindEntry)> {
        self.kinds.iter().map(|(name, entry)| (name.as_str(), entry.as_ref()))
    }
}

/// All reasons why options are refused.
#[derive(Debug, Default)]
pub(crate) struct RefusedOptions {
    /// Options that do not match their schema.
    pub(crate) mismatches: Vec<Mismatch>,
    /// Options that their type rejects, with a location in the topology.
    pub(crate) types: Vec<toml::de::Error>,
    /// Options that the driver or kind rejects.
    pub(crate) values: Vec<WrongOption>,
}

impl RefusedOptions {
    fn is_empty(&self) -> bool {
        self.mismatches.is_empty() && self.types.is_empty() && self.values.is_empty()
    }

    fn or_ok(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// A driver with erased types.
pub(crate) trait DriverEntry: Send + Sync {
    /// Reads and checks options without a device.
    fn check(&self, options: &Spanned<DeValue<'_>>) -> Result<Arc<dyn CameraOptions>, RefusedOptions>;
    /// Opens the device for the camera called `name`. `options` is the text of a TOML table, which was checked.
    fn open(&self, name: &str, options: &str) -> Result<Box<dyn ErasedCamera>, DriverError>;
    /// Resets the device of the camera called `name`.
    fn reset(&self, name: &str, options: &str) -> Result<(), DriverError>;
    /// Returns the library of the driver, with its version; `None` for a driver that needs none.
    #[cfg(feature = "program")]
    fn library(&self) -> Result<Option<String>, DriverError>;
    /// Returns the attached devices; `None` for a driver that has no devices to attach.
    #[cfg(any(test, feature = "program"))]
    fn devices(&self) -> Result<Option<Vec<Device>>, DriverError>;
    /// Returns the schema of the options.
    #[cfg(any(test, feature = "program"))]
    fn schema(&self) -> OptionsSchema;
}

/// The checked options of one camera with an erased type.
pub(crate) trait CameraOptions: Send + Sync {
    /// Returns everything that only this camera can claim.
    fn claims(&self) -> Vec<String>;
    /// Checks that the device is connected.
    fn probe(&self) -> Result<Option<Device>, DriverError>;
    /// Returns the device that an earlier probe found, if it is connected.
    fn recall(&self) -> Option<Device>;
    /// Returns the streams that are known without the device.
    fn streams(&self) -> Vec<DeviceProfile>;
    /// Returns the times of the recording that it plays.
    fn recorded(&self) -> Result<Option<Range<u64>>, DriverError>;
    /// Returns the clock of the timestamps, if it is known without the device.
    fn clock(&self) -> Option<Clock>;
    /// Returns the command of the process that runs it, where that is not this program.
    fn command(&self) -> Option<Vec<String>>;
    /// Returns the cameras of another host whose framesets it passes on; `None` for a camera of this host.
    fn relayed(&self) -> Option<Vec<RelayedCamera>>;
    /// Returns the options themselves, of the driver's type.
    #[cfg(any(test, feature = "program"))]
    fn typed(&self) -> &dyn Any;
}

impl fmt::Debug for dyn CameraOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CameraOptions").field(&self.claims()).finish()
    }
}

/// An open device with an erased type.
pub(crate) trait ErasedCamera {
    fn info(&self) -> CameraInfo;
    fn join(&mut self, timeline: Range<u64>);
    /// Returns whether a declared stream may be silent while others continue.
    fn may_fall_silent(&self) -> bool;
    fn start(&mut self) -> Result<(), DriverError>;
    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError>;
    /// Returns the options that can be read while it is open.
    fn controls(&self) -> Vec<Control>;
    /// Sets one of them, and returns the value that the device has then.
    fn set(&mut self, name: &str, value: &ControlValue) -> Result<ControlValue, DriverError>;
    /// Returns the options of the device as the text of a file.
    fn preset(&self) -> Result<String, DriverError>;
    /// Stops the streams, and keeps the device open.
    fn pause(&mut self) -> Result<(), DriverError>;
    /// Starts the streams again.
    fn resume(&mut self) -> Result<(), DriverError>;
}

/// A kind of processor with erased types.
pub(crate) trait KindEntry: Send + Sync {
    /// Checks options.
    fn check(&self, options: &Spanned<DeValue<'_>>) -> Result<(), RefusedOptions>;
    /// Checks that the files and folders of the options exist. `options` is the text of a TOML table, which was checked.
    fn probe(&self, options: &str) -> Result<(), WrongOptions>;
    /// Returns the command of the process that runs it, where that is not this program.
    fn command(&self, _options: &str) -> Option<Vec<String>> {
        None
    }
    /// Returns whether it may be on the thread of its camera.
    fn shares_thread(&self) -> bool {
        true
    }
    /// Returns the number of framesets of each input that it may keep.
    fn keeps(&self) -> usize {
        0
    }
    /// Returns whether it processes matches, in which case its topology needs `match`.
    fn takes_matches(&self) -> bool;
    /// Returns the streams that it derives from framesets with these streams.
    fn declare(&self, options: &str, input: &[StreamInfo]) -> Declared;
    /// Builds the actor and starts it on the calling thread.
    fn start(
        &self,
        options: &str,
        output: ProcessorOutput,
        inputs: Inputs,
    ) -> Result<Instance, ProcessorError>;
    /// Returns the schema of the options.
    #[cfg(any(test, feature = "program"))]
    fn schema(&self) -> OptionsSchema;
}

struct TypedDriver<D>(PhantomData<fn() -> D>);

impl<D: Driver> DriverEntry for TypedDriver<D> {
    fn check(&self, options: &Spanned<DeValue<'_>>) -> Result<Arc<dyn CameraOptions>, RefusedOptions> {
        let options = read(options, |options| D::check(options).map_err(DriverError::into_wrong_options))?;
        Ok(Arc::new(TypedOptions::<D>(options)))
    }

    fn open(&self, name: &str, options: &str) -> Result<Box<dyn ErasedCamera>, DriverError> {
        Ok(Box::new(TypedCamera(D::open(name, parse_checked(options)?)?)))
    }

    fn reset(&self, name: &str, options: &str) -> Result<(), DriverError> {
        D::reset(name, &parse_checked(options)?)
    }

    #[cfg(feature = "program")]
    fn library(&self) -> Result<Option<String>, DriverError> {
        D::library()
    }

    #[cfg(any(test, feature = "program"))]
    fn devices(&self) -> Result<Option<Vec<Device>>, DriverError> {
        D::devices()
    }

    #[cfg(any(test, feature = "program"))]
    fn schema(&self) -> OptionsSchema {
        OptionsSchema::of::<D::Options>()
    }
}

struct TypedOptions<D: Driver>(D::Options);

impl<D: Driver> CameraOptions for TypedOptions<D> {
    fn claims(&self) -> Vec<String> {
        D::claims(&self.0)
    }

    fn probe(&self) -> Result<Option<Device>, DriverError> {
        D::probe(&self.0)
    }

    fn recall(&self) -> Option<Device> {
        D::recall(&self.0)
    }

    fn streams(&self) -> Vec<DeviceProfile> {
        D::streams(&self.0)
    }

    fn recorded(&self) -> Result<Option<Range<u64>>, DriverError> {
        D::recorded(&self.0)
    }

    fn clock(&self) -> Option<Clock> {
        D::clock(&self.0)
    }

    fn command(&self) -> Option<Vec<String>> {
        D::command(&self.0)
    }

    fn relayed(&self) -> Option<Vec<RelayedCamera>> {
        D::relayed(&self.0)
    }

    #[cfg(any(test, feature = "program"))]
    fn typed(&self) -> &dyn Any {
        &self.0
    }
}

struct TypedCamera<D>(D);

impl<D: Driver> ErasedCamera for TypedCamera<D> {
    fn info(&self) -> CameraInfo {
        self.0.info()
    }

    fn join(&mut self, timeline: Range<u64>) {
        self.0.join(timeline);
    }

    fn may_fall_silent(&self) -> bool {
        self.0.may_fall_silent()
    }

    fn start(&mut self) -> Result<(), DriverError> {
        self.0.start()
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        self.0.capture(output, timeout)
    }

    fn controls(&self) -> Vec<Control> {
        self.0.controls()
    }

    fn set(&mut self, name: &str, value: &ControlValue) -> Result<ControlValue, DriverError> {
        self.0.set(name, value)
    }

    fn preset(&self) -> Result<String, DriverError> {
        self.0.preset()
    }

    fn pause(&mut self) -> Result<(), DriverError> {
        self.0.pause()
    }

    fn resume(&mut self) -> Result<(), DriverError> {
        self.0.resume()
    }
}

struct TypedKind<F, O> {
    start: F,
    declare: Declare,
    takes_matches: bool,
    options: PhantomData<fn() -> O>,
}

impl<F, O> KindEntry for TypedKind<F, O>
where
    O: DeserializeOwned + JsonSchema + 'static,
    F: Fn(O, ProcessorOutput, Inputs) -> Result<Instance, ProcessorError> + Send + Sync + 'static,
{
    fn check(&self, options: &Spanned<DeValue<'_>>) -> Result<(), RefusedOptions> {
        read::<O>(options, |_| Ok(())).map(drop)
    }

    fn probe(&self, _: &str) -> Result<(), WrongOptions> {
        Ok(())
    }

    fn takes_matches(&self) -> bool {
        self.takes_matches
    }

    fn declare(&self, _: &str, input: &[StreamInfo]) -> Declared {
        (self.declare)(input)
    }

    fn start(
        &self,
        options: &str,
        output: ProcessorOutput,
        inputs: Inputs,
    ) -> Result<Instance, ProcessorError> {
        (self.start)(parse(options)?, output, inputs)
    }

    #[cfg(any(test, feature = "program"))]
    fn schema(&self) -> OptionsSchema {
        OptionsSchema::of::<O>()
    }
}

/// A kind whose options have checks of their own.
struct CheckedKind<O> {
    kind: Arc<dyn KindEntry>,
    options: PhantomData<fn() -> O>,
}

impl<O: ProcessorOptions> KindEntry for CheckedKind<O> {
    fn check(&self, options: &Spanned<DeValue<'_>>) -> Result<(), RefusedOptions> {
        read(options, O::check)?;
        self.kind.check(options)
    }

    fn probe(&self, options: &str) -> Result<(), WrongOptions> {
        parse::<O>(options).map_err(|error| WrongOptions::from(error.to_string()))?.probe()
    }

    fn command(&self, options: &str) -> Option<Vec<String>> {
        // Options that cannot be read have been reported.
        parse::<O>(options).ok()?.command()
    }

    fn shares_thread(&self) -> bool {
        O::SHARES_THREAD && self.kind.shares_thread()
    }

    fn keeps(&self) -> usize {
        O::KEEPS
    }

    fn takes_matches(&self) -> bool {
        self.kind.takes_matches()
    }

    fn declare(&self, options: &str, input: &[StreamInfo]) -> Declared {
        let own = parse::<O>(options).map_err(|error| error.to_string())?.declare(input)?;
        own.map_or_else(|| self.kind.declare(options, input), |own| Ok(Some(own)))
    }

    fn start(
        &self,
        options: &str,
        output: ProcessorOutput,
        inputs: Inputs,
    ) -> Result<Instance, ProcessorError> {
        let own: O = parse(options)?;
        self.kind.start(options, output.declaring(move |input| own.declare(input)), inputs)
    }

    #[cfg(any(test, feature = "program"))]
    fn schema(&self) -> OptionsSchema {
        self.kind.schema()
    }
}

/// Reads options of a topology by their schema, by their type and by `check`. Each step skips the options that the previous one
/// refuses, so that all problems are found.
fn read<O: DeserializeOwned + JsonSchema>(
    options: &Spanned<DeValue<'_>>,
    check: impl FnOnce(&O) -> Result<(), WrongOptions>,
) -> Result<O, RefusedOptions> {
    let mismatches = OptionsSchema::of::<O>().check(options);
    let (mut rest, mut removed) = (options.clone(), Vec::new());
    for mismatch in &mismatches {
        removed.extend(remove_at(&mut rest, &mismatch.span));
    }
    let mut refused = RefusedOptions { mismatches, ..RefusedOptions::default() };
    let parsed = loop {
        match O::deserialize(ValueDeserializer::from(rest.clone())) {
            Ok(parsed) => break Some(parsed),
            Err(error) => {
                let option = error.span().and_then(|span| remove_at(&mut rest, &span));
                let is_last = option.is_none();
                // A problem without an option follows from a removed one, if there is any.
                if !is_last || refused.is_empty() {
                    refused.types.push(error);
                }
                removed.extend(option);
                if is_last {
                    break None;
                }
            }
        }
    };
    let Some(parsed) = parsed else { return Err(refused) };
    if let Err(wrong) = check(&parsed) {
        let is_removed =
            |option: &String| removed.iter().any(|removed| option.split('.').next() == Some(removed));
        // A message about an option that was removed is about its default.
        let follows = |wrong: &WrongOption| match wrong.options.as_slice() {
            [] => !removed.is_empty(),
            options => options.iter().any(is_removed),
        };
        refused.values.extend(wrong.list.into_iter().filter(|wrong| !follows(wrong)));
    }
    refused.or_ok()?;
    Ok(parsed)
}

/// Removes the option that contains the location `span`, and returns its name.
fn remove_at(options: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<String> {
    let DeValue::Table(table) = options.get_mut() else { return None };
    let found = table.iter().find(|(key, value)| is_around(&key.span(), span) || contains(value, span));
    let name = found.map(|(key, _)| key.get_ref().clone().into_owned())?;
    table.remove(name.as_str());
    Some(name)
}

/// Returns whether a value, or one in it, contains the location `span`: that of a table that is written with dotted keys
/// does not contain its own values.
fn contains(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let in_table = |table: &DeTable<'_>| {
        table.iter().any(|(key, value)| is_around(&key.span(), span) || contains(value, span))
    };
    is_around(&value.span(), span) || value.get_ref().as_table().is_some_and(in_table)
}

fn is_around(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Parses a driver's options, which were already checked.
fn parse_checked<O: DeserializeOwned>(options: &str) -> Result<O, DriverError> {
    parse(options).map_err(|error| DriverError::new(error.to_string()))
}

/// Parses options as transferred to a worker: the text of a TOML table.
fn parse<O: DeserializeOwned>(options: &str) -> Result<O, toml::de::Error> {
    toml::from_str(options)
}
