//! Framesets that a script keeps: each holds a slot of its camera.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use camrig::{FrameSet, SCRIPT_KEEPS};

/// Counts a frameset as kept by a script until nothing refers to it any more.
pub(crate) struct Kept(Arc<AtomicUsize>);

impl Kept {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Arc<Self> {
        count.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self(Arc::clone(count)))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts the framesets of each camera that a script keeps.
#[derive(Default)]
pub(crate) struct KeptFrames {
    /// By the name of the camera: the count, and whether the script was warned.
    cameras: BTreeMap<String, (Arc<AtomicUsize>, bool)>,
}

impl KeptFrames {
    /// Returns the frameset for a script, or a copy of it if the script keeps as many as its camera has slots for: then it holds
    /// no slot that other readers need.
    pub(crate) fn given(&mut self, frames: &FrameSet) -> (FrameSet, Option<Arc<Kept>>) {
        if !self.cameras.contains_key(frames.camera()) {
            self.cameras.insert(frames.camera().to_owned(), (Arc::default(), false));
        }
        let Some((count, named)) = self.cameras.get_mut(frames.camera()) else {
            return (frames.copied(), None);
        };
        let kept = count.load(Ordering::Acquire);
        if kept < SCRIPT_KEEPS {
            return (frames.clone(), Some(Kept::new(count)));
        }
        if !std::mem::replace(named, true) {
            log::warn!(
                "the script keeps {kept} framesets of camera `{}`, each of which holds a slot, so it gets copies from now \
                 on while it keeps them: `del` arrays that are no longer needed, or keep `frame.copy()`",
                frames.camera()
            );
        }
        (frames.copied(), None)
    }
}
