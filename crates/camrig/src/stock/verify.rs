//! The stock processor `verify`: nothing arrives but what the camera saw.
//!
//! It renders each synthetic frameset again, from what travels with it, and compares every byte, so that no
//! camera's pixels ever appear under another's name, no frame twice and none torn. Of cameras whose content
//! nobody can know it digests what it sees: equal digests from two placements mean equal framesets.
//! It deliberately knows nothing of slots, links and placements: it sees what any processor sees.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use camrig_frame::{CameraInfo, Frame};
use serde::Deserialize;

use crate::frameset::FrameSet;
use crate::outlet::Outlet;
use crate::processor::{Processor, ProcessorError};
use crate::synthetic::Scene;

/// The options of [`Verify`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VerifyOptions {
    /// Print a digest of everything that each camera sent, at the end.
    digest: bool,
    /// Compare pixels with what the synthetic driver renders; `false` admits other cameras.
    content: bool,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { digest: false, content: true }
    }
}

/// Compares framesets with what they have to be.
pub(crate) struct Verify {
    options: VerifyOptions,
    cameras: BTreeMap<String, Camera>,
    /// Where frames are rendered again; kept, so that it is allocated once.
    rendered: Vec<u8>,
}

/// What is known of one camera.
struct Camera {
    info: Arc<CameraInfo>,
    /// What it sees; none when content is not compared.
    scene: Option<Scene>,
    last: Option<Place>,
    framesets: u64,
    digest: Digest,
}

/// Where a frameset stands among those of its camera.
#[derive(Clone, Copy)]
struct Place {
    sequence: u64,
    number: u64,
    arrival_nanos: u64,
}

/// Why framesets are not what they have to be.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(
        "the content of `{camera}` is unknown: driver `{driver}` with model `{model}` is not synthetic; \
         `content = false` only digests"
    )]
    NotSynthetic { camera: String, driver: String, model: String },
    #[error("`{camera}` has serial {serial}, but so has `{other}`")]
    SerialTwice { camera: String, serial: String, other: String },
    #[error("`{camera}` had serial {before}, and now has {now}")]
    SerialChanged { camera: String, before: String, now: String },
    #[error("frameset {sequence} of `{camera}` came after frameset {last}")]
    Order { camera: String, sequence: u64, last: u64 },
    #[error("frameset {sequence} of `{camera}` has {found}, but the camera has {expected}")]
    Streams { camera: String, sequence: u64, found: String, expected: String },
    #[error("frameset {sequence} of `{camera}` mixes frames {first} and {other}")]
    Numbers { camera: String, sequence: u64, first: u64, other: u64 },
    #[error(
        "frameset {sequence} of `{camera}`: in {stream} frame {number} the pixel at column {x}, row {y} is \
         {found}, not {expected}"
    )]
    Pixel {
        camera: String,
        sequence: u64,
        stream: &'static str,
        number: u64,
        x: usize,
        y: usize,
        found: String,
        expected: String,
    },
}

impl Verify {
    pub(crate) fn new(options: VerifyOptions) -> Self {
        Self { options, cameras: BTreeMap::new(), rendered: Vec::new() }
    }

    /// Makes sure that `cameras` knows the camera behind `frames`, and that it is the one it was.
    fn meet(&mut self, frames: &FrameSet) -> Result<(), Fault> {
        let info = frames.info();
        let known = self.cameras.get_mut(frames.camera());
        match known {
            Some(camera) if Arc::ptr_eq(&camera.info, info) || camera.info == *info => return Ok(()),
            Some(camera) if camera.info.serial != info.serial => {
                return Err(Fault::SerialChanged {
                    camera: info.name.clone(),
                    before: camera.info.serial.clone(),
                    now: info.serial.clone(),
                });
            }
            // The same device with other streams: it was opened anew.
            Some(camera) => {
                camera.scene = self.options.content.then(|| scene(info)).transpose()?;
                camera.info = Arc::clone(info);
                return Ok(());
            }
            None => {}
        }
        let same_serial = |camera: &&Camera| !info.serial.is_empty() && camera.info.serial == info.serial;
        if let Some(other) = self.cameras.values().find(same_serial) {
            return Err(Fault::SerialTwice {
                camera: info.name.clone(),
                serial: info.serial.clone(),
                other: other.info.name.clone(),
            });
        }
        let camera = Camera {
            info: Arc::clone(info),
            scene: self.options.content.then(|| scene(info)).transpose()?,
            last: None,
            framesets: 0,
            digest: Digest::default(),
        };
        self.cameras.insert(info.name.clone(), camera);
        Ok(())
    }

    fn look(&mut self, frames: &FrameSet) -> Result<(), Fault> {
        self.meet(frames)?;
        let Some(camera) = self.cameras.get_mut(frames.camera()) else { return Ok(()) };
        camera.check_order(frames)?;
        if let Some(scene) = &camera.scene {
            check_headers(frames)?;
            for frame in frames.frames() {
                check_pixels(frames, &frame, scene, &mut self.rendered)?;
            }
        }
        if self.options.digest {
            camera.digest.frameset(frames);
        }
        camera.framesets += 1;
        Ok(())
    }

    /// What is to be said at the end, a line for each camera, sorted by name.
    fn report(&self) -> impl Iterator<Item = String> {
        self.cameras.iter().map(|(name, camera)| {
            let mut line = format!("{name}: {} framesets", camera.framesets);
            if self.options.digest {
                // Writing to a string cannot fail.
                let _ = write!(line, ", digest {:016x}", camera.digest.0);
            }
            line
        })
    }
}

impl Processor for Verify {
    fn process(&mut self, frames: &FrameSet, _: &mut Outlet) -> Result<(), ProcessorError> {
        Ok(self.look(frames)?)
    }

    fn finish(&mut self, _: &mut Outlet) -> Result<(), ProcessorError> {
        for line in self.report() {
            if self.options.digest {
                println!("verify: {line}");
            } else {
                log::info!("verify: {line}");
            }
        }
        Ok(())
    }
}

impl Camera {
    /// Sequences increase. Only a camera that was opened anew counts from the beginning again: its numbers
    /// too, and later.
    fn check_order(&mut self, frames: &FrameSet) -> Result<(), Fault> {
        let number = frames.header().frames.first().map_or(0, |frame| frame.number);
        let place = Place { sequence: frames.sequence(), number, arrival_nanos: frames.arrival_nanos() };
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

fn scene(info: &CameraInfo) -> Result<Scene, Fault> {
    Scene::of(info).ok_or_else(|| Fault::NotSynthetic {
        camera: info.name.clone(),
        driver: info.driver.clone(),
        model: info.model.clone(),
    })
}

/// Checks that the frames are one of each stream that the camera has, as large as it says, of one instant.
fn check_headers(frames: &FrameSet) -> Result<(), Fault> {
    let headers = &frames.header().frames;
    let expected = || {
        frames.info().streams.iter().map(|info| {
            let (width, height) = (info.profile.width(), info.profile.height());
            (info.stream, info.format, width, height, width * info.format.bytes_per_pixel())
        })
    };
    let found = || {
        headers
            .iter()
            .map(|frame| (frame.stream, frame.format, frame.width, frame.height, frame.stride_bytes))
    };
    if !expected().eq(found()) {
        let names = |shapes: &mut dyn Iterator<Item = _>| {
            let names: Vec<_> = shapes
                .map(|(stream, format, width, height, stride)| {
                    format!("{stream} {format} {width}x{height} with {stride} bytes a row")
                })
                .collect();
            if names.is_empty() { "no frames".to_owned() } else { names.join(", ") }
        };
        return Err(Fault::Streams {
            camera: frames.camera().to_owned(),
            sequence: frames.sequence(),
            found: names(&mut found()),
            expected: names(&mut expected()),
        });
    }
    let first = headers.first().map_or(0, |frame| frame.number);
    match headers.iter().find(|frame| frame.number != first) {
        Some(frame) => Err(Fault::Numbers {
            camera: frames.camera().to_owned(),
            sequence: frames.sequence(),
            first,
            other: frame.number,
        }),
        None => Ok(()),
    }
}

/// Renders a frame again into `rendered`, and compares.
fn check_pixels(
    frames: &FrameSet,
    frame: &Frame<'_>,
    scene: &Scene,
    rendered: &mut Vec<u8>,
) -> Result<(), Fault> {
    let (header, pixels) = (frame.header(), frame.bytes());
    rendered.resize(pixels.len(), 0);
    scene.render(header.stream, header.number, rendered);
    if pixels == rendered {
        return Ok(());
    }
    let at = pixels.iter().zip(rendered.iter()).position(|(found, expected)| found != expected).unwrap_or(0);
    let size = header.format.bytes_per_pixel() as usize;
    let pixel = at / size;
    let hex = |bytes: &[u8]| {
        let bytes: Vec<_> = bytes[pixel * size..][..size].iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(" ")
    };
    Err(Fault::Pixel {
        camera: frames.camera().to_owned(),
        sequence: frames.sequence(),
        stream: header.stream.name(),
        number: header.number,
        x: pixel % header.width as usize,
        y: pixel / header.width as usize,
        found: hex(pixels),
        expected: hex(rendered),
    })
}

/// A digest of everything that is the same in every placement: all but the arrival.
///
/// FNV-1a over words of 8 bytes, with a rotation, because a product carries no bit downwards. It finds
/// accidents, not forgeries.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn frameset(&mut self, frames: &FrameSet) {
        let header = frames.header();
        self.word(header.sequence);
        self.word(header.frames.len() as u64);
        for frame in frames.frames() {
            let header = frame.header();
            self.word(header.stream as u64);
            self.word(header.format as u64);
            self.word(header.width.into());
            self.word(header.height.into());
            self.word(header.number);
            self.word(header.timestamp.clock as u64);
            self.word(header.timestamp.nanos);
            self.word(header.metadata.iter().count() as u64);
            for (key, value) in header.metadata.iter() {
                self.word(key.number() as u64);
                self.word(value as u64);
            }
            // Row by row: padding is no pixel.
            frame.rows().for_each(|row| self.bytes(row));
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|&word| self.word(u64::from_le_bytes(word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
}
