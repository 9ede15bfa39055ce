//! The file of backgrounds: what each camera saw when the file was written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::camera_watch::{CameraWatch, Twist, motion, twist};
use super::cells::Surface;
use crate::files::NewFile;

/// The version of the file.
const VERSION: u32 = 1;

/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 64 << 20;

/// The backgrounds of a rig.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backgrounds {
    version: u32,
    /// By camera.
    cameras: BTreeMap<String, Background>,
}

/// The background of a camera, by cells.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Background {
    serial: String,
    depths_meters: Vec<f32>,
    spreads_meters: Vec<f32>,
    /// The motion that the camera seemed to have: metres and radians.
    zero: Twist,
}

impl Backgrounds {
    /// Reads a file; returns `None` if there is none. An error is a phrase that follows its name.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, String> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot be read: {error}")),
        };
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
        let read: Self =
            serde_json::from_str(&text).map_err(|error| format!("is not a file of backgrounds: {error}"))?;
        if read.version != VERSION {
            return Err(format!("has version {}; this program reads version {VERSION}", read.version));
        }
        Ok(Some(read))
    }

    /// Gives a camera its background, if the file has one. An error is a phrase that follows the file's name.
    pub(super) fn give(&self, name: &str, serial: &str, watch: &mut CameraWatch) -> Result<(), String> {
        let Some(Background { serial: own, depths_meters, spreads_meters, zero }) = self.cameras.get(name)
        else {
            log::warn!(
                "camera `{name}` has no background in the file: it is compared with the start of this run"
            );
            return Ok(());
        };
        if own != serial {
            return Err(format!("has camera `{name}` with serial number `{own}`, not `{serial}`"));
        }
        let is_whole = [depths_meters, spreads_meters].iter().all(|cells| {
            cells.len() == watch.cells.len()
                && cells.iter().all(|meters| meters.is_finite() && *meters >= 0.0)
        });
        if !is_whole || !zero.iter().all(|part| part.is_finite()) {
            return Err(format!("has no background for the image size of camera `{name}`"));
        }
        let surface = Surface::new(&watch.cells, depths_meters.clone(), spreads_meters.clone());
        watch.know(surface, motion(*zero));
        Ok(())
    }

    /// Writes the backgrounds of cameras, with their names and serial numbers, to a file that does not exist.
    pub(super) fn write<'a>(
        path: &Path,
        cameras: impl Iterator<Item = (&'a str, &'a str, &'a CameraWatch)>,
    ) -> io::Result<()> {
        let cameras = cameras.filter_map(|(name, serial, watch)| {
            let (surface, zero) = watch.known()?;
            let background = Background {
                serial: serial.to_owned(),
                depths_meters: surface.depths.clone(),
                spreads_meters: surface.spreads.clone(),
                zero: twist(zero),
            };
            Some((name.to_owned(), background))
        });
        let all = Self { version: VERSION, cameras: cameras.collect() };
        let mut file = NewFile::creating(path)?;
        let mut writer = BufWriter::new(file.file());
        serde_json::to_writer(&mut writer, &all)?;
        writer.flush()?;
        drop(writer);
        file.keep()
    }
}
