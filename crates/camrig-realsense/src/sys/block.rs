//! librealsense's processing blocks: each turns one frame into another, on the calling thread.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use arrayvec::ArrayVec;
use realsense_sys as rs2;

use super::frame::RawFrame;
use super::option::OptionsView;
use super::{Fault, call, create};

/// The kind of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Decimation,
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

    /// Processes a frame.
    pub(crate) fn process(&self, frame: RawFrame) -> Result<RawFrame, Fault> {
        let frame = frame.into_pointer();
        // SAFETY: the block and the frame are alive, and the reference to the frame is handed over.
        call(|error| unsafe { rs2::rs2_process_frame(self.block.as_ptr(), frame.as_ptr(), error) })?;
        let mut result = ptr::null_mut();
        // SAFETY: the queue is alive, and hands its reference over.
        call(|error| unsafe { rs2::rs2_poll_for_frame(self.queue.as_ptr(), &raw mut result, error) })?;
        let result = NonNull::new(result).ok_or_else(|| Fault::new("a filter returned no frame"))?;
        // SAFETY: the reference is ours.
        Ok(unsafe { RawFrame::keep(result) })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: both are this block's own and deleted once, the queue after what enqueues there.
        unsafe {
            rs2::rs2_delete_processing_block(self.block.as_ptr());
            rs2::rs2_delete_frame_queue(self.queue.as_ptr());
        }
    }
}

/// Reprojects one of two frames of an instant to the viewpoint of the other.
pub(crate) struct Aligner {
    /// Combines both frames into one composite frame, which librealsense can align.
    compose: Block,
    /// The second frame, while `compose` is called with the first.
    second: NonNull<Cell<Option<RawFrame>>>,
    align: Block,
}

impl Aligner {
    /// Creates an aligner to depth or to color.
    pub(crate) fn new(to_depth: bool) -> Result<Self, Fault> {
        let stream =
            if to_depth { rs2::rs2_stream_RS2_STREAM_DEPTH } else { rs2::rs2_stream_RS2_STREAM_COLOR };
        // SAFETY: no precondition.
        let align = Block::of(create(|error| unsafe { rs2::rs2_create_align(stream, error) })?)?;
        let second = NonNull::from(Box::leak(Box::new(Cell::new(None))));
        // SAFETY: the callback gets `second`, which `drop` frees after the block.
        let compose = create(|error| unsafe {
            rs2::rs2_create_processing_block_fptr(Some(compose), second.as_ptr().cast(), error)
        });
        match compose.and_then(Block::of) {
            Ok(compose) => Ok(Self { compose, second, align }),
            Err(fault) => {
                // SAFETY: made above by `Box::leak`, and no block is left that refers to it.
                drop(unsafe { Box::from_raw(second.as_ptr()) });
                Err(fault)
            }
        }
    }

    /// Returns both frames, one of them reprojected to the other's viewpoint.
    pub(crate) fn process(&self, first: RawFrame, second: RawFrame) -> Result<ArrayVec<RawFrame, 2>, Fault> {
        // SAFETY: it lives as long as `self`, and only this thread uses it: blocks call on the calling thread.
        unsafe { self.second.as_ref() }.set(Some(second));
        let both = self.align.process(self.compose.process(first)?)?;
        let both = both.pointer();
        // SAFETY: the frame is alive; of one that is not composed the call fails.
        let count = call(|error| unsafe { rs2::rs2_embedded_frames_count(both.as_ptr(), error) })?;
        (0..count.min(2))
            .map(|index| {
                // SAFETY: the frame is alive and has `count` frames; the reference to one is ours.
                let frame = create(|error| unsafe { rs2::rs2_extract_frame(both.as_ptr(), index, error) })?;
                // SAFETY: as above.
                Ok(unsafe { RawFrame::keep(frame) })
            })
            .collect()
    }
}

impl Drop for Aligner {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak`, freed once. `compose` is only called from `process`, so it is not used.
        drop(unsafe { Box::from_raw(self.second.as_ptr()) });
    }
}

/// Called by the block that composes, within `Aligner::process`; it hands `first` over.
unsafe extern "C" fn compose(first: *mut rs2::rs2_frame, source: *mut rs2::rs2_source, user: *mut c_void) {
    // SAFETY: the reference is ours.
    let Some(first) = NonNull::new(first).map(|first| unsafe { RawFrame::keep(first) }) else { return };
    // SAFETY: `Aligner::new` passed a cell that outlives every call of `process`.
    let second = unsafe { user.cast::<Cell<Option<RawFrame>>>().as_ref() }.and_then(Cell::take);
    let Some(second) = second else { return };
    let mut frames = [first, second].map(|frame| frame.into_pointer().as_ptr());
    // SAFETY: `source` is the block's, alive in its callback; both references are handed over.
    let both =
        create(|error| unsafe { rs2::rs2_allocate_composite_frame(source, frames.as_mut_ptr(), 2, error) });
    if let Ok(both) = both {
        // SAFETY: as above. Whoever waits for the result sees that there is none if this fails.
        let _ = call(|error| unsafe { rs2::rs2_synthetic_frame_ready(source, both.as_ptr(), error) });
    }
}
