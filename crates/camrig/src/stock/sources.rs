//! Values of each source of framesets.

use std::borrow::Cow;

use crate::frameset::FrameSet;

/// A value for each camera and each actor that publishes its framesets: a processor can read a camera, and another processor
/// that derives from it. Sorted by camera, then by producer.
#[derive(Default)]
pub(super) struct Sources<T>(Vec<Source<T>>);

/// A camera, the actor that publishes its framesets, and the value of both.
pub(super) struct Source<T> {
    pub(super) camera: String,
    pub(super) producer: String,
    pub(super) value: T,
}

impl<T> Source<T> {
    /// Returns whether the camera's own actor publishes the framesets.
    pub(super) fn is_camera(&self) -> bool {
        self.camera == self.producer
    }

    /// Returns the camera's name; as in recordings after that of a processor, where the camera `is_shared` with another producer.
    pub(super) fn name(&self, is_shared: bool) -> Cow<'_, str> {
        let Self { camera, producer, .. } = self;
        if is_shared && !self.is_camera() {
            return format!("{producer}/{camera}").into();
        }
        camera.into()
    }
}

impl<T> Sources<T> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    fn search(&self, frames: &FrameSet) -> Result<usize, usize> {
        let key = (frames.camera(), frames.producer());
        self.0.binary_search_by(|source| (&*source.camera, &*source.producer).cmp(&key))
    }

    /// Returns the value of the source of this frameset; `None` before [`Self::of`].
    pub(super) fn get_mut(&mut self, frames: &FrameSet) -> Option<&mut T> {
        let at = self.search(frames).ok()?;
        Some(&mut self.0[at].value)
    }

    /// Returns the value of the source of this frameset, which is `new` if there is none.
    pub(super) fn of(&mut self, frames: &FrameSet, new: impl FnOnce() -> T) -> &mut T {
        let at = self.search(frames).unwrap_or_else(|at| {
            let (camera, producer) = (frames.camera().to_owned(), frames.producer().to_owned());
            self.0.insert(at, Source { camera, producer, value: new() });
            at
        });
        &mut self.0[at].value
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Source<T>> + Clone {
        self.0.iter()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|source| &mut source.value)
    }

    /// Returns whether several actors publish framesets of this camera.
    pub(super) fn share(&self, camera: &str) -> bool {
        self.0.iter().filter(|source| source.camera == camera).count() > 1
    }
}
