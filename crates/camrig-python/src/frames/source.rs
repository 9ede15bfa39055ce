//! A frameset of a rig or of a recording.

use std::sync::Arc;

use camrig::FrameSet;
use camrig::frame::{CameraInfo, FrameHeader, FrameSetHeader, Role};
use camrig_record::RecordedFrameSet;
use pyo3::prelude::*;

use crate::errors::MissingStream;
use crate::kept::Kept;
use crate::memory::HeldMemory;

/// A frameset of a rig or of a recording.
#[derive(Clone)]
pub(crate) enum Source {
    Live(FrameSet, Option<Arc<Kept>>),
    Recorded(Arc<RecordedFrameSet>),
}

impl Source {
    pub(crate) fn header(&self) -> &FrameSetHeader {
        match self {
            Self::Live(frames, _) => frames.header(),
            Self::Recorded(recorded) => recorded.header(),
        }
    }

    pub(crate) fn info(&self) -> &Arc<CameraInfo> {
        match self {
            Self::Live(frames, _) => frames.info(),
            Self::Recorded(recorded) => recorded.info(),
        }
    }

    pub(super) fn producer(&self) -> &str {
        match self {
            Self::Live(frames, _) => frames.producer(),
            Self::Recorded(recorded) => &recorded.info().name,
        }
    }

    /// Returns the content of a frame, which is decoded when its bytes are requested.
    pub(super) fn content(&self, index: usize) -> HeldMemory {
        match self {
            Self::Live(frames, kept) => {
                HeldMemory::Live { frames: frames.clone(), index, _kept: kept.clone() }
            }
            Self::Recorded(frames) => HeldMemory::Recorded { frames: Arc::clone(frames), index },
        }
    }

    /// Creates the error of a frameset without something.
    pub(super) fn missing(&self, what: &str) -> PyErr {
        let header = self.header();
        let names: Vec<_> = header.frames.iter().map(|frame| format!("`{}`", frame.stream)).collect();
        let camera = &self.info().name;
        MissingStream::new_err(format!(
            "frameset {} of camera `{camera}` has no {what}; it has: {}",
            header.sequence,
            names.join(", ")
        ))
    }

    /// Returns the frame whose time is that of the frameset.
    fn instant(&self) -> Option<&FrameHeader> {
        let frames = &self.header().frames;
        frames.iter().find(|frame| frame.role == Role::Depth).or_else(|| frames.first())
    }

    pub(crate) fn timestamp_nanos(&self) -> Option<u64> {
        self.instant().map(|frame| frame.timestamp.nanos)
    }

    pub(crate) fn clock(&self) -> Option<&'static str> {
        self.instant().map(|frame| frame.timestamp.clock.name())
    }

    pub(super) fn of_role(&self, role: Role) -> Option<usize> {
        self.header().frames.iter().position(|header| header.role == role)
    }

    pub(super) fn of_stream(&self, name: &str) -> Option<usize> {
        self.header().frames.iter().position(|header| header.stream.name() == name)
    }
}
