//! Selects the framesets of a recording to export, and names cameras and files.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::super::edit::check_camera;
use super::matched::Matched;
use super::{CommandError, ExportArgs};
use crate::read::Parts;

/// Another name for a camera: `CAMERA=NAME`.
#[derive(Clone, Debug)]
pub(in super::super) struct Rename {
    camera: String,
    name: String,
}

impl FromStr for Rename {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').filter(|(camera, name)| !camera.is_empty() && !name.is_empty());
        let (camera, name) = parts.ok_or("expected CAMERA=NAME")?;
        if name.contains('/') || matches!(name, "." | "..") {
            return Err("expected CAMERA=NAME, the name being that of a folder");
        }
        Ok(Self { camera: camera.to_owned(), name: name.to_owned() })
    }
}

/// The framesets that are exported.
pub(in super::super) struct Chosen {
    cameras: BTreeMap<String, ExportedCamera>,
    every: u64,
    matched: Option<Matched>,
}

/// A camera that is exported.
#[derive(Default)]
struct ExportedCamera {
    /// Its name in the export.
    name: String,
    /// Number of its framesets so far.
    seen: u64,
    /// The number of the last frameset, and the number of times that the numbers restarted.
    last: Option<u64>,
    rounds: u32,
}

impl Chosen {
    /// Checks the options about cameras and matches.
    ///
    /// # Errors
    /// If the recording has no such camera, or two would have the same name.
    pub(super) fn new(parts: &Parts, args: &ExportArgs) -> Result<Self, CommandError> {
        for name in &args.camera {
            check_camera("--camera", parts, name)?;
        }
        for Rename { camera, .. } in &args.rename {
            check_camera("--rename", parts, camera)?;
        }
        let wanted = |name: &str| args.camera.is_empty() || args.camera.iter().any(|wanted| wanted == name);
        let mut cameras: BTreeMap<String, ExportedCamera> = BTreeMap::new();
        for recorded in parts.cameras().into_iter().filter(|camera| wanted(&camera.name)) {
            let renamed = args.rename.iter().rfind(|rename| rename.camera == recorded.name);
            let name = renamed.map_or(&recorded.name, |rename| &rename.name).clone();
            if let Some((other, _)) = cameras.iter().find(|(_, known)| known.name == name) {
                let text = format!("`{other}` and `{}` would both be called `{name}`", recorded.name);
                return Err(CommandError::Usage(text));
            }
            let camera = ExportedCamera { name, rounds: 1, ..ExportedCamera::default() };
            cameras.insert(recorded.name.clone(), camera);
        }
        let names = cameras.keys().cloned().collect();
        let matched = args.match_nanos.map(|nanos| Matched::open(&args.file, names, nanos)).transpose()?;
        Ok(Self { cameras, every: args.every, matched })
    }

    pub(in super::super) fn has(&self, camera: &str) -> bool {
        self.cameras.contains_key(camera)
    }

    /// Returns the name of a camera in the export.
    pub(in super::super) fn name_of<'a>(&'a self, camera: &'a str) -> &'a str {
        self.cameras.get(camera).map_or(camera, |known| &known.name)
    }

    /// Takes the next frameset of a camera, in the order of the recording. Returns the name of its files, which no other
    /// frameset of the camera has; `None` if it is not wanted.
    pub(in super::super) fn next(&mut self, camera: &str, sequence: u64) -> Option<String> {
        let known = self.cameras.get_mut(camera)?;
        known.rounds += u32::from(known.last.replace(sequence).is_some_and(|last| sequence <= last));
        let index = known.seen;
        known.seen += 1;
        if let Some(matched) = &mut self.matched {
            let number = matched.number_of(camera, index)?;
            return number.is_multiple_of(self.every).then(|| format!("{number:06}"));
        }
        if !index.is_multiple_of(self.every) {
            return None;
        }
        Some(match known.rounds {
            1 => format!("{sequence:06}"),
            rounds => format!("{sequence:06}-{rounds}"),
        })
    }
}
