//! The files of a split recording.
//!
//! A recorder that splits continues in another file. A camera that started late, or was silent during a whole file, is
//! missing in some of them. This module reads no frameset.

use std::path::Path;

use super::{ReadError, RecordedCamera, Recording, no_camera};
use crate::record::numbered;

/// The files of a recording, at least one.
pub(crate) struct Parts(Vec<Recording>);

impl Parts {
    /// Opens the file, and the files that continue it if it is the first.
    ///
    /// # Errors
    /// If the file cannot be read. A continuation that cannot be read ends the recording.
    pub(crate) fn open(file: &Path) -> Result<Self, ReadError> {
        let mut parts = vec![Recording::open(file, &|_| {})?];
        let place = |recording: &Recording| {
            recording.cameras().first().map(|camera| (camera.origin_nanos, camera.part))
        };
        while let Some((origin, part)) = parts.last().and_then(place)
            && part == parts.len() as u32
        {
            // A missing file, or another recording, ends this one.
            let Ok(next) = Recording::open(&numbered(file, part + 1), &|_| {}) else { break };
            if place(&next) != Some((origin, part + 1)) {
                break;
            }
            parts.push(next);
        }
        Ok(Self(parts))
    }

    pub(crate) fn files(&self) -> &[Recording] {
        &self.0
    }

    /// Returns every camera, as described in the first file that has it.
    pub(crate) fn cameras(&self) -> Vec<&RecordedCamera> {
        let mut cameras: Vec<&RecordedCamera> = Vec::new();
        for camera in self.0.iter().flat_map(Recording::cameras) {
            if cameras.iter().all(|known| known.name != camera.name) {
                cameras.push(camera);
            }
        }
        cameras
    }

    /// Returns the camera of this name.
    ///
    /// # Errors
    /// If there is none, with the names of all cameras.
    pub(crate) fn camera(&self, name: &str) -> Result<&RecordedCamera, ReadError> {
        let cameras = self.cameras();
        let found = cameras.iter().find(|camera| camera.name == name).copied();
        found.ok_or_else(|| no_camera(self.0[0].path(), name, cameras.into_iter()))
    }
}
