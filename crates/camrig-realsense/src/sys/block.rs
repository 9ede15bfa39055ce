//! librealsense's processing blocks: each turns one frame into another, on the calling thread.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use arrayvec::ArrayVec;
use camrig::frame::MAX_FRAMES;
use realsense_sys as rs2;

use super::frame::RawFrame;
use super::option::{OptionsView, constant};
use super::{Fault, call, create};

/// The kind of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Decimation,
    SequenceId,
    Threshold,
    DepthToDisparity,
    Spatial,
    Temporal,
    DisparityToDepth,
    HoleFilling,
}

/// A block with a queue of one frame for its result.
pub(crate) struct Block {
    block: NonNull<rs2::rs2_processing_block>,
    queue: NonNull<rs2::rs2_frame_queue>,
}

impl Block {
    pub(crate) fn new(kind: BlockKind) -> Result<Self, Fault> {
        // SAFETY: no precondition.
        let block = create(|error| unsafe {
            match kind {
                BlockKind::Decimation => rs2::rs2_create_decimation_filter_block(error),
                BlockKind::SequenceId => rs2::rs2_create_sequence_id_filter(error),
                BlockKind::Threshold => rs2::rs2_create_threshold(error),
                BlockKind::DepthToDisparity => rs2::rs2_create_disparity_transform_block(1, error),
                BlockKind::Spatial => rs2::rs2_create_spatial_filter_block(error),
                BlockKind::Temporal => rs2::rs2_create_temporal_filter_block(error),
                BlockKind::DisparityToDepth => rs2::rs2_create_disparity_transform_block(0, error),
                BlockKind::HoleFilling => rs2::rs2_create_hole_filling_filter_block(error),
            }
        })?;
        Self::of(block)
    }

    fn of(block: NonNull<rs2::rs2_processing_block>) -> Result<Self, Fault> {
        // SAFETY: no precondition.
        let queue = create(|error| unsafe { rs2::rs2_create_frame_queue(1, error) }).inspect_err(|_| {
            // SAFETY: the block is this function's own, and nothing refers to it.
            unsafe { rs2::rs2_delete_processing_block(block.as_ptr()) }
        })?;
        let own = Self { block, queue };
        // SAFETY: both are alive; the block is deleted before the queue, in `drop`.
        call(|error| unsafe {
            rs2::rs2_start_processing_queue(own.block.as_ptr(), own.queue.as_ptr(), error);
        })?;
        Ok(own)
    }

    /// Returns its options.
    pub(crate) fn options(&self) -> OptionsView<'_> {
        // SAFETY: every block of librealsense begins with its options, and this one is alive while borrowed.
        unsafe { OptionsView::new(self.block.as_ptr().cast_const().cast()) }
    }

    /// Returns librealsense's name of it.
    #[cfg(test)]
    pub(crate) fn name(&self) -> String {
        // SAFETY: the block is alive.
        unsafe { name_of(self.block) }.unwrap_or_default()
    }

    /// Processes a frame.
    pub(crate) fn process(&self, frame: RawFrame) -> Result<RawFrame, Fault> {
        let frame = frame.into_pointer();
        // SAFETY: the block and the frame are alive, and the reference to the frame is passed on.
        call(|error| unsafe { rs2::rs2_process_frame(self.block.as_ptr(), frame.as_ptr(), error) })?;
        let mut result = ptr::null_mut();
        // SAFETY: the queue is alive, and passes its reference on.
        call(|error| unsafe { rs2::rs2_poll_for_frame(self.queue.as_ptr(), &raw mut result, error) })?;
        let result = NonNull::new(result).ok_or_else(|| Fault::new("a filter returned no frame"))?;
        // SAFETY: the reference is ours.
        Ok(unsafe { RawFrame::keep(result) })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: both are this block's own and deleted once, the queue after the block that enqueues there.
        unsafe {
            rs2::rs2_delete_processing_block(self.block.as_ptr());
            rs2::rs2_delete_frame_queue(self.queue.as_ptr());
        }
    }
}

/// Returns librealsense's name of a block.
///
/// # Safety
/// The block is alive.
pub(super) unsafe fn name_of(block: NonNull<rs2::rs2_processing_block>) -> Option<String> {
    let info = rs2::rs2_camera_info_RS2_CAMERA_INFO_NAME;
    // SAFETY: the caller's.
    let name = call(|error| unsafe { rs2::rs2_get_processing_block_info(block.as_ptr(), info, error) });
    name.ok().and_then(constant)
}

/// A block that takes the frames of an instant as one composed frame.
pub(crate) struct FrameSetBlock {
    /// Combines one or two frames into one composite frame.
    compose: Block,
    /// The second frame, while `compose` is called with the first.
    second: NonNull<Cell<Option<RawFrame>>>,
    block: Block,
}

impl FrameSetBlock {
    /// Creates a block that reprojects one of two frames to the viewpoint of the other: to depth or to color.
    pub(crate) fn align(to_depth: bool) -> Result<Self, Fault> {
        let stream =
            if to_depth { rs2::rs2_stream_RS2_STREAM_DEPTH } else { rs2::rs2_stream_RS2_STREAM_COLOR };
        // SAFETY: no precondition.
        Self::new(Block::of(create(|error| unsafe { rs2::rs2_create_align(stream, error) })?)?)
    }

    /// Creates a block that merges depth of two exposures.
    pub(crate) fn hdr_merge() -> Result<Self, Fault> {
        // SAFETY: no precondition.
        let block = create(|error| unsafe { rs2::rs2_create_hdr_merge_processing_block(error) })?;
        Self::new(Block::of(block)?)
    }

    fn new(block: Block) -> Result<Self, Fault> {
        let second = NonNull::from(Box::leak(Box::new(Cell::new(None))));
        // SAFETY: the callback gets `second`, which `drop` frees after the block.
        let compose = create(|error| unsafe {
            rs2::rs2_create_processing_block_fptr(Some(compose), second.as_ptr().cast(), error)
        });
        match compose.and_then(Block::of) {
            Ok(compose) => Ok(Self { compose, second, block }),
            Err(fault) => {
                // SAFETY: made above by `Box::leak`, and no block is left that refers to it.
                drop(unsafe { Box::from_raw(second.as_ptr()) });
                Err(fault)
            }
        }
    }

    /// Processes one or two frames, and returns the frames of the result.
    pub(crate) fn process(
        &self,
        first: RawFrame,
        second: Option<RawFrame>,
    ) -> Result<ArrayVec<RawFrame, MAX_FRAMES>, Fault> {
        // SAFETY: it lives as long as `self`, and only this thread uses it: blocks call on the calling thread.
        unsafe { self.second.as_ref() }.set(second);
        let result = self.block.process(self.compose.process(first)?)?;
        let composed = rs2::rs2_extension_RS2_EXTENSION_COMPOSITE_FRAME;
        let frame = result.pointer();
        // SAFETY: the frame is alive.
        let is_composed =
            call(|error| unsafe { rs2::rs2_is_frame_extendable_to(frame.as_ptr(), composed, error) })?;
        if is_composed == 0 {
            return Ok(std::iter::once(result).collect());
        }
        // SAFETY: the frame is alive, and composed.
        let count = call(|error| unsafe { rs2::rs2_embedded_frames_count(frame.as_ptr(), error) })?;
        (0..count.min(MAX_FRAMES as i32))
            .map(|index| {
                // SAFETY: the frame is alive and has `count` frames; the reference to one is ours.
                let frame = create(|error| unsafe { rs2::rs2_extract_frame(frame.as_ptr(), index, error) })?;
                // SAFETY: as above.
                Ok(unsafe { RawFrame::keep(frame) })
            })
            .collect()
    }
}

impl Drop for FrameSetBlock {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak`, freed once. `compose` is only called from `process`, so it is not used.
        drop(unsafe { Box::from_raw(self.second.as_ptr()) });
    }
}

/// Called by the block that composes, within `FrameSetBlock::process`; it passes `first` on.
unsafe extern "C" fn compose(first: *mut rs2::rs2_frame, source: *mut rs2::rs2_source, user: *mut c_void) {
    // SAFETY: the reference is ours.
    let Some(first) = NonNull::new(first).map(|first| unsafe { RawFrame::keep(first) }) else { return };
    // SAFETY: `FrameSetBlock::new` passed a cell that outlives every call of `process`.
    let second = unsafe { user.cast::<Cell<Option<RawFrame>>>().as_ref() }.and_then(Cell::take);
    let frames = [Some(first), second].into_iter().flatten();
    let mut frames: ArrayVec<_, 2> = frames.map(|frame| frame.into_pointer().as_ptr()).collect();
    let count = frames.len() as c_int;
    // SAFETY: `source` is the block's, alive in its callback; the references are passed on.
    let both = create(|error| unsafe {
        rs2::rs2_allocate_composite_frame(source, frames.as_mut_ptr(), count, error)
    });
    if let Ok(both) = both {
        // SAFETY: as above. If this fails, the waiting side gets no result and reports that.
        let _ = call(|error| unsafe { rs2::rs2_synthetic_frame_ready(source, both.as_ptr(), error) });
    }
}
