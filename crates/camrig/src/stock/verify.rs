//! The stock processor `verify`: checks that framesets arrive unchanged.
//!
//! It renders each synthetic frameset again from its metadata, and compares every byte, which detects pixels under
//! the name of another camera, duplicate frames and torn frames. A JPEG is encoded again and compared by its bytes: the
//! encoder is deterministic. For cameras with unpredictable content, it computes a digest: equal digests from two
//! placements mean equal framesets. Motion samples are compared as well.
//!
//! For a stream made by a processor, only the structure is checked, and the digest includes the content. Only the user's code
//! that made it defines the expected content: `verify` would compare that code with itself.
//!
//! * `content`: the checks of headers, pixels, emulated cameras and streams that a processor made
//! * `motion`: the checks of motion samples
//! * `digest`: the digest; `fault`: the faults
//! * this module: the order of framesets, the identity of cameras, the report
//!
//! It has no knowledge of slots, links and placements, only the interface of any processor.

mod content;
mod digest;
mod fault;
mod motion;

use std::fmt::Write as _;
use std::sync::Arc;

use camrig_frame::{CameraInfo, Role, StreamInfo};
use schemars::JsonSchema;
use serde::Deserialize;

use self::content::{check_emulated, check_headers, check_made, check_pixels};
use self::digest::Digest;
use self::fault::Fault;
use super::sources::Sources;
use crate::console::Lines;
use crate::frameset::FrameSet;
use crate::output::ProcessorOutput;
use crate::processor::{Declared, Processor, ProcessorError};
use crate::synthetic::Scene;

/// The options of [`Verify`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VerifyOptions {
    /// Prints a digest of everything that each camera sent, at the end; one for each actor that passes it on.
    digest: bool,
    /// Compares pixels with those that the synthetic driver renders; `false` admits other cameras.
    content: bool,
    /// Compares pixels, numbers and times with those of cameras that `camrig-usbcam` emulates.
    emulated: bool,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { digest: false, content: true, emulated: false }
    }
}

/// Compares framesets with their expected content.
pub(crate) struct Verify {
    options: VerifyOptions,
    sources: Sources<VerifiedCamera>,
    /// Buffer for rendering frames, allocated once.
    rendered: Vec<u8>,
}

/// State of one camera, from one producer.
struct VerifiedCamera {
    info: Arc<CameraInfo>,
    /// The rendered scene; `None` if content is not compared.
    scene: Option<Scene>,
    last: Option<Position>,
    framesets: u64,
    digest: Digest,
}

/// Position of a frameset in the sequence of its producer.
#[derive(Clone, Copy)]
struct Position {
    sequence: u64,
    number: u64,
    arrival_nanos: u64,
}

impl Verify {
    pub(crate) fn new(options: VerifyOptions) -> Self {
        Self { options, sources: Sources::new(), rendered: Vec::new() }
    }

    /// Registers the source of `frames` in `sources`, and checks that its camera is unchanged.
    fn meet(&mut self, frames: &FrameSet) -> Result<(), Fault> {
        let info = frames.info();
        if let Some(known) = self.sources.get_mut(frames) {
            if Arc::ptr_eq(&known.info, info) || known.info == *info {
                return Ok(());
            }
            // The same device with other streams: it was reopened.
            if known.info.serial == info.serial {
                known.scene = self.options.scene(info)?;
                known.info = Arc::clone(info);
                return Ok(());
            }
        }
        for other in self.sources.iter().map(|source| &source.value.info) {
            if other.name == info.name && other.serial != info.serial {
                return Err(Fault::SerialChanged {
                    camera: info.name.clone(),
                    before: other.serial.clone(),
                    now: info.serial.clone(),
                });
            }
            if other.name != info.name && other.serial == info.serial && !info.serial.is_empty() {
                return Err(Fault::SerialTwice {
                    camera: info.name.clone(),
                    serial: info.serial.clone(),
                    other: other.name.clone(),
                });
            }
        }
        let scene = self.options.scene(info)?;
        self.sources.of(frames, || VerifiedCamera {
            info: Arc::clone(info),
            scene,
            last: None,
            framesets: 0,
            digest: Digest::default(),
        });
        Ok(())
    }

    fn look(&mut self, frames: &FrameSet) -> Result<(), Fault> {
        self.meet(frames)?;
        let Some(camera) = self.sources.get_mut(frames) else { return Ok(()) };
        camera.check_order(frames)?;
        if let Some(scene) = &camera.scene {
            if self.options.emulated {
                check_emulated(frames)?;
            }
            check_headers(frames, self.options.emulated)?;
            for frame in frames.frames() {
                if frame.role() == Role::Motion {
                    motion::check(frames, &frame, scene)?;
                } else if scene.shows(frame.stream()) {
                    check_pixels(frames, &frame, scene, &mut self.rendered)?;
                } else {
                    check_made(frames, frame)?;
                }
            }
        }
        if self.options.digest {
            camera.digest.frameset(frames);
        }
        camera.framesets += 1;
        Ok(())
    }

    /// Returns the final report: one line per camera and producer, sorted by both.
    fn report(&self) -> impl Iterator<Item = String> {
        self.sources.iter().map(|source| {
            let (name, camera) = (source.name(self.sources.share(&source.camera)), &source.value);
            let mut line = format!("{name}: {} framesets", camera.framesets);
            if self.options.digest {
                // Writing to a string cannot fail.
                let _ = write!(line, ", digest {:016x}", camera.digest.value());
            }
            line
        })
    }
}

impl Processor for Verify {
    /// Declares no streams: it publishes nothing.
    fn declare(_: &[StreamInfo]) -> Declared {
        Ok(Some(Vec::new()))
    }

    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(self.look(frames)?)
    }

    fn finish(&mut self, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        for line in self.report() {
            if self.options.digest {
                Lines::new().print(&format!("verify: {line}"))?;
            } else {
                log::info!("verify: {line}");
            }
        }
        Ok(())
    }
}

impl VerifiedCamera {
    /// Checks that sequence numbers increase. Only a reopened camera restarts from the beginning: its frame
    /// numbers restart as well, and its time is later.
    fn check_order(&mut self, frames: &FrameSet) -> Result<(), Fault> {
        let number = frames.header().frames.first().map_or(0, |frame| frame.number);
        let place = Position { sequence: frames.sequence(), number, arrival_nanos: frames.arrival_nanos() };
        if let Some(last) = self.last.replace(place) {
            let anew = place.number <= last.number && place.arrival_nanos > last.arrival_nanos;
            if place.sequence <= last.sequence && !anew {
                return Err(Fault::Order {
                    camera: self.info.name.clone(),
                    sequence: place.sequence,
                    last: last.sequence,
                });
            }
        }
        Ok(())
    }
}

impl VerifyOptions {
    /// Returns the scene of a camera; `None` if content is not compared.
    fn scene(self, info: &CameraInfo) -> Result<Option<Scene>, Fault> {
        let (camera, model) = (info.name.clone(), info.model.clone());
        if self.emulated {
            return Scene::of_emulated(info).map(Some).ok_or(Fault::NotEmulated { camera, model });
        }
        let fault = || Fault::NotSynthetic { camera, driver: info.driver.clone(), model };
        self.content.then(|| Scene::of(info).ok_or_else(fault)).transpose()
    }
}

#[cfg(test)]
mod tests;
